//! Metrics, health and the sessions of the moment over HTTP, and a page for people.

mod connection;
mod request;
mod response;
mod sessions;

use std::mem;
use std::rc::Rc;
use std::time::Instant;

use eventloop::{Accept, Intents, Listener, Progress, Ready, Session, Stream};
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
pub(crate) struct StatusServer {
    status: Status,
    listener: Listener,
    connections: Vec<Connection>,
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

impl StatusServer {
    pub(crate) fn new(status: Status, listener: Listener) -> Self {
        Self { status, listener, connections: Vec::new() }
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
        self.listener.intents(intents);
        for connection in &self.connections {
            connection.intents(intents);
        }
    }

    fn advance(&mut self, ready: &Ready<'_>) -> eventloop::Result<Progress> {
        if self.status.lifecycle.is_over() {
            return Ok(Progress::Done);
        }
        let step = |connection: Connection| {
            connection.advance(ready, false, |request| answer(&self.status, request))
        };
        self.connections = mem::take(&mut self.connections).into_iter().filter_map(step).collect();
        while let Accept::Client { stream, .. } = self.listener.accept(ready) {
            self.admit(stream, ready);
        }
        Ok(Progress::Continue)
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

fn respond(status: &Status, request: &StatusRequest) -> Response {
    if request.method == Method::Other {
        return Response {
            fields: "allow: GET, HEAD\r\n",
            ..Response::line(METHOD_NOT_ALLOWED, "only GET and HEAD")
        };
    }
    match request.path.as_str() {
        "/metrics" => Response {
            status: OK,
            content_type: request.format.content_type(),
            fields: "vary: accept\r\n",
            body: status.text(request.format).into(),
        },
        "/healthz" if status.lifecycle.is_draining() => Response::line(SERVICE_UNAVAILABLE, "draining"),
        "/healthz" => Response::line(OK, "serving"),
        "/sessions" => match PageRequest::parse(request) {
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
