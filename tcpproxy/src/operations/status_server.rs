//! Metrics, health and the sessions of the moment over HTTP, and a page for people.

mod connection;
mod request;
mod response;
mod sessions;

use std::any::Any;
use std::cell::RefCell;
use std::io;
use std::mem;
use std::rc::Rc;
use std::time::{Duration, Instant};

use eventloop::{
    Accept, Handle, Intents, Listener, Progress, Ready, Session, Stream, check_memory, panic_message,
};
use ringbuf::Pool;

pub use crate::operations::metrics_format::MetricsFormat;
pub use request::{LONGEST, Method, RequestError, StatusRequest};

use crate::lifecycle::Lifecycle;
use crate::operations::metrics::{Metrics, Moment};
use crate::operations::session_table::SessionTable;
use crate::pending_clients::PendingClients;
use crate::statistics::{Counters, Statistics};
use connection::Connection;
use response::{BAD_REQUEST, METHOD_NOT_ALLOWED, NOT_FOUND, OK, Response, SERVICE_UNAVAILABLE};
use sessions::PageRequest;

/// The session that answers requests for metrics and health. It takes no permits of clients, and ends when the
/// proxy does: it answers as long as there are sessions.
///
/// There are at most [`MOST_CONNECTIONS`]. One more takes the place of the least important, so that idle or
/// slow connections, however many, delay no request.
///
/// A failure of it resets its connections and concerns no client. A new one with the same listener takes its place after
/// [`PAUSE`].
pub(crate) struct StatusServer {
    status: Rc<Status>,
    handle: Handle,
    listener: Rc<RefCell<Listener>>,
    connections: Vec<Connection>,
    /// Until then it does nothing, because the one before has failed.
    paused_until: Option<Instant>,
}

/// What the status server reports.
pub(crate) struct Status {
    pub(crate) metrics: Rc<Metrics>,
    pub(crate) lifecycle: Rc<Lifecycle>,
    pub(crate) counters: Rc<Counters>,
    pub(crate) pending: Rc<PendingClients>,
    pub(crate) pool: Pool,
    pub(crate) max_clients: usize,
    pub(crate) table: Rc<SessionTable>,
    /// The host and port that clients are forwarded to.
    pub(crate) remote: String,
    pub(crate) started: Instant,
}

/// Connections at the same time: a few of Prometheus, of a balancer that checks health, and of a browser.
pub(crate) const MOST_CONNECTIONS: usize = 16;

/// How long after a failure the status server serves again: a failure that lasts is a line of the log a second.
const PAUSE: Duration = Duration::from_secs(1);

impl StatusServer {
    pub(crate) fn new(status: Status, handle: Handle, listener: Listener) -> Self {
        let (status, listener) = (Rc::new(status), Rc::new(RefCell::new(listener)));
        Self { status, handle, listener, connections: Vec::new(), paused_until: None }
    }

    /// Lets another one take its place.
    fn restart(&self) {
        self.handle.spawn(Self {
            status: self.status.clone(),
            handle: self.handle.clone(),
            listener: self.listener.clone(),
            connections: Vec::new(),
            paused_until: Some(Instant::now() + PAUSE),
        });
    }

    /// Serves a new connection, in place of the least important one if there are too many.
    fn admit(&mut self, stream: Stream, ready: &Ready<'_>) {
        let connection = Connection::new(stream, ready.now());
        let Some(connection) = connection.advance(ready, true, |request| answer(&self.status, request))
        else {
            return;
        };
        if self.connections.len() == MOST_CONNECTIONS
            && let Some((least, _)) =
                self.connections.iter().enumerate().min_by_key(|(_, connection)| connection.importance())
        {
            self.connections.swap_remove(least).make_room();
        }
        self.connections.push(connection);
    }
}

impl Session for StatusServer {
    fn intents(&self, intents: &mut Intents<'_>) {
        if let Some(at) = self.paused_until {
            return intents.deadline(at);
        }
        self.listener.borrow().intents(intents);
        for connection in &self.connections {
            connection.intents(intents);
        }
    }

    fn advance(&mut self, ready: &Ready<'_>) -> eventloop::Result<Progress> {
        if self.status.lifecycle.is_over() {
            return Ok(Progress::Done);
        }
        self.paused_until = self.paused_until.filter(|&at| ready.now() < at);
        if self.paused_until.is_some() {
            return Ok(Progress::Continue);
        }
        let step = |connection: Connection| {
            connection.advance(ready, false, |request| answer(&self.status, request))
        };
        self.connections = mem::take(&mut self.connections).into_iter().filter_map(step).collect();
        loop {
            let accepted = self.listener.borrow_mut().accept(ready);
            let Accept::Client { stream, .. } = accepted else { return Ok(Progress::Continue) };
            self.admit(stream, ready);
        }
    }

    fn refused(&mut self, error: io::Error) -> eventloop::Result<()> {
        self.restart();
        Err(error.into())
    }

    fn panicked(&mut self, panic: Box<dyn Any + Send>) -> eventloop::Result<()> {
        self.restart();
        Err(format!("a bug of the program: {}", panic_message(&*panic)).into())
    }
}

impl Status {
    /// The metrics as text.
    fn text(&self, format: MetricsFormat) -> String {
        let moment = Moment {
            statistics: self.counters.get(),
            max_clients: self.max_clients,
            waiting: self.pending.confirm(),
            draining: self.lifecycle.is_draining(),
            buffers: self.pool.lent(),
        };
        self.metrics.text(moment, format)
    }

    /// Totals, and a page of the sessions, as JSON.
    fn sessions(&self, page: PageRequest) -> String {
        let now = Instant::now();
        let Statistics { active, ended, denied, limited, accept_errors, up, down } = self.counters.get();
        format!(
            "{{\"version\":\"{}\",\"remote\":{},\"uptime_ms\":{},\"draining\":{},\"waiting\":{},\"max_clients\":{},\
             \"active\":{active},\"ended\":{ended},\"denied\":{denied},\"limited\":{limited},\
             \"accept_errors\":{accept_errors},\"up\":{up},\"down\":{down},{}}}\n",
            env!("CARGO_PKG_VERSION"),
            sessions::string(&self.remote),
            now.saturating_duration_since(self.started).as_millis(),
            self.lifecycle.is_draining(),
            self.pending.confirm(),
            self.max_clients,
            page.members(self.table.rows(now)),
        )
    }
}

fn answer(status: &Status, request: Result<StatusRequest, RequestError>) -> Vec<u8> {
    match request {
        Ok(request) => respond(status, &request).encode(request.method == Method::Head),
        Err(error) => Response::line(BAD_REQUEST, error).encode(false),
    }
}

/// More than the metrics take as text, twice.
const METRICS_MEMORY: usize = 128 * 1024;

/// What an answer needs is reserved before it is made: a text that cannot grow would end the process.
fn respond(status: &Status, request: &StatusRequest) -> Response {
    let out_of_memory = || Response::line(SERVICE_UNAVAILABLE, "out of memory");
    if request.method == Method::Other {
        return Response {
            fields: "allow: GET, HEAD\r\n",
            ..Response::line(METHOD_NOT_ALLOWED, "only GET and HEAD")
        };
    }
    match request.path.as_str() {
        "/metrics" if check_memory(METRICS_MEMORY).is_err() => out_of_memory(),
        "/metrics" => Response {
            status: OK,
            content_type: request.format.content_type(),
            fields: "vary: accept\r\n",
            body: status.text(request.format).into(),
        },
        "/healthz" if status.lifecycle.is_draining() => Response::line(SERVICE_UNAVAILABLE, "draining"),
        "/healthz" => Response::line(OK, "serving"),
        "/sessions" => match PageRequest::parse(request) {
            Ok(page) if check_memory(page.memory(status.table.len())).is_err() => out_of_memory(),
            Ok(page) => Response {
                status: OK,
                content_type: "application/json",
                fields: "",
                body: status.sessions(page).into(),
            },
            Err(error) => Response::line(BAD_REQUEST, error),
        },
        "/" => Response::file("text/html; charset=utf-8", include_str!("status_server/page/index.html")),
        "/page.css" => Response::file("text/css; charset=utf-8", include_str!("status_server/page/page.css")),
        "/page.js" => {
            Response::file("text/javascript; charset=utf-8", include_str!("status_server/page/page.js"))
        }
        _ => Response::line(NOT_FOUND, "there are /, /sessions, /metrics and /healthz"),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{ErrorKind, Read, Write};
    use std::net::{Ipv4Addr, SocketAddr, TcpStream};

    use eventloop::testing::{PATIENCE, Stage, pair};
    use eventloop::{EventLoop, SocketOptions};

    use super::*;
    use crate::operations::session_table::{Listed, SessionRow};

    /// A session that cannot be listed.
    struct Broken;

    impl Listed for Broken {
        fn row(&self, _: Instant) -> SessionRow {
            panic!("a row with a bug");
        }
    }

    /// What a client reads until the end, or the error that it meets.
    fn ask(event_loop: &mut EventLoop, address: SocketAddr, path: &str) -> io::Result<String> {
        let mut client = TcpStream::connect(address)?;
        client.set_nonblocking(true)?;
        client.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes())?;
        let (begin, mut answer) = (Instant::now(), Vec::new());
        loop {
            match client.read_to_end(&mut answer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                outcome => return outcome.map(|_| String::from_utf8_lossy(&answer).into_owned()),
            }
            assert!(begin.elapsed() < PATIENCE, "no answer");
            let _ = event_loop.turn(Some(Duration::from_millis(10)))?;
        }
    }

    /// A status server of this loop, and its address.
    fn server(event_loop: &EventLoop) -> (StatusServer, SocketAddr) {
        let (handle, counters) = (event_loop.handle(), Rc::<Counters>::default());
        let listener = Listener::bind((Ipv4Addr::LOCALHOST, 0).into(), SocketOptions::default()).unwrap();
        let address = listener.local_addr().unwrap();
        let status = Status {
            metrics: Rc::new(Metrics::new()),
            lifecycle: Rc::new(Lifecycle::new(handle.clone(), counters.clone(), Duration::ZERO, false)),
            counters,
            pending: Rc::default(),
            pool: Pool::new(1024, 2),
            max_clients: 1,
            table: Rc::default(),
            remote: "localhost:80".to_owned(),
            started: Instant::now(),
        };
        (StatusServer::new(status, handle, listener), address)
    }

    #[test]
    fn a_request_that_does_not_come_has_its_time_and_no_more() {
        let event_loop = EventLoop::new().unwrap();
        let (mut server, _) = server(&event_loop);
        let (stage, begin) = (Stage::new(), Instant::now());
        let (near, mut client) = pair().unwrap();
        client.write_all(b"GET /met").unwrap();
        server.admit(Stream::new(near).unwrap(), &stage.ready(begin));
        let until = begin + Duration::from_secs(5);
        assert_eq!(stage.declared(|intents| server.intents(intents)).deadline(), Some(until));
        let mut step = |now| server.advance(&stage.ready(now)).map(|_| server.connections.len()).unwrap();
        assert_eq!(step(until - Duration::from_nanos(1)), 1);
        assert_eq!(step(until), 0);
        assert_eq!(client.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    }

    #[test]
    fn after_a_bug_met_by_one_request_it_serves_again() {
        let mut event_loop = EventLoop::new().unwrap();
        let errors = Rc::new(RefCell::new(Vec::new()));
        let report = errors.clone();
        event_loop.on_error(move |session, error| report.borrow_mut().push(format!("{session}: {error}")));
        let (server, address) = server(&event_loop);
        let table = server.status.table.clone();
        event_loop.spawn(server);
        let broken = table.list(Broken);
        for _ in 0..2 {
            assert_eq!(
                ask(&mut event_loop, address, "/sessions").unwrap_err().kind(),
                ErrorKind::ConnectionReset
            );
            let answer = ask(&mut event_loop, address, "/healthz").unwrap();
            assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        }
        drop(broken);
        assert!(ask(&mut event_loop, address, "/sessions").unwrap().starts_with("HTTP/1.1 200 OK\r\n"));
        let line =
            "tcpproxy::operations::status_server::StatusServer: a bug of the program: a row with a bug";
        assert_eq!(*errors.borrow(), [line, line]);
    }
}
