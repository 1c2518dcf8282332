//! Sessions that note how they are called: one that does what the test tells it, and one that admits clients.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used)] // each test program uses a part of this

use std::cell::RefCell;
use std::io::Read;
use std::net::{SocketAddr, TcpStream};
use std::rc::Rc;
use std::time::{Duration, Instant};

use eventloop::testing::{pair, session};

use eventloop::{
    Accept, EventLoop, Intents, ListenOptions, Listener, Progress, Ready, Result, Session, SocketOptions,
    Stream, Waker,
};

#[derive(Default)]
pub struct Probe {
    pub stream: Option<Stream>,
    pub read: bool,
    pub write: bool,
    pub deadline: Option<Instant>,
    /// The most bytes to read when readable.
    pub take: usize,
    pub got: Vec<u8>,
    pub ended: bool,
    pub finished: bool,
    pub steps: usize,
    pub readable: usize,
    pub writable: usize,
    pub hung_up: usize,
    pub done: bool,
}

pub struct ProbeSession(pub Rc<RefCell<Probe>>);

impl Session for ProbeSession {
    fn intents(&self, intents: &mut Intents<'_>) {
        let probe = self.0.borrow();
        if let Some(stream) = &probe.stream {
            intents.hangup(stream);
            if probe.read {
                intents.read(stream);
            }
            if probe.write {
                intents.write(stream);
            }
        }
        if let Some(at) = probe.deadline {
            intents.deadline(at);
        }
    }

    fn advance(&mut self, ready: &Ready<'_>) -> Result<Progress> {
        let probe = &mut *self.0.borrow_mut();
        probe.steps += 1;
        if probe.deadline.is_some_and(|at| at <= ready.now()) {
            probe.deadline = None;
        }
        if let Some(mut stream) = probe.stream.as_ref() {
            probe.readable += usize::from(ready.is_readable(stream));
            probe.writable += usize::from(ready.is_writable(stream));
            probe.hung_up += usize::from(ready.is_hung_up(stream));
            probe.finished |= ready.has_finished(stream);
            if probe.take > 0 && ready.is_readable(stream) {
                let mut bytes = vec![0; probe.take];
                let n = stream.read(&mut bytes).unwrap_or(0);
                probe.got.extend(&bytes[..n]);
                if n == 0 {
                    (probe.ended, probe.read) = (true, false);
                }
            }
        }
        if probe.done { Ok(Progress::Done) } else { Ok(Progress::Continue) }
    }
}

/// A loop in the poller of this test program.
pub fn event_loop() -> EventLoop {
    EventLoop::with_poller(crate::POLLER).unwrap()
}

/// What a server has seen.
#[derive(Default)]
pub struct Seen {
    pub served: Vec<Stream>,
    pub full: usize,
    pub exhausted: usize,
}

/// A loop with a server that only admits clients.
pub fn serve_on(listener: Listener) -> (EventLoop, Rc<RefCell<Seen>>) {
    let seen = Rc::<RefCell<Seen>>::default();
    let server =
        session((listener, seen.clone()), |(listener, _), intents| listener.intents(intents), accept_all);
    let mut event_loop = event_loop();
    event_loop.spawn(server);
    (event_loop, seen)
}

fn accept_all((listener, seen): &mut (Listener, Rc<RefCell<Seen>>), ready: &Ready<'_>) -> Result<Progress> {
    let seen = &mut *seen.borrow_mut();
    loop {
        match listener.accept(ready) {
            Accept::Client { stream, .. } => seen.served.push(stream),
            Accept::Full => seen.full += 1,
            Accept::Exhausted(error) => {
                assert_eq!(error.raw_os_error(), Some(rustix::io::Errno::MFILE.raw_os_error()));
                seen.exhausted += 1;
            }
            Accept::Blocked => return Ok(Progress::Continue),
        }
    }
}

/// A listener on a free port, and its address.
pub fn listener(options: impl Into<ListenOptions>) -> (Listener, SocketAddr) {
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap(), options).unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// The errors of sessions that the loop reports from now on, each after the type of its session.
pub fn reports(event_loop: &mut EventLoop) -> Rc<RefCell<Vec<String>>> {
    let reports = Rc::<RefCell<Vec<String>>>::default();
    let noted = reports.clone();
    event_loop.on_error(move |session, error| noted.borrow_mut().push(format!("{session}: {error}")));
    reports
}

/// A loop with a server that only admits clients, and what connects one.
pub fn serve(max_clients: usize) -> (EventLoop, Rc<RefCell<Seen>>, impl Fn() -> TcpStream) {
    let options = SocketOptions { no_delay: true, ..SocketOptions::default() };
    let (listener, address) = listener(options);
    let (mut event_loop, seen) = serve_on(listener.with_max_clients(max_clients));
    event_loop.turn(Some(Duration::ZERO)).unwrap();
    (event_loop, seen, move || TcpStream::connect(address).unwrap())
}

/// A loop with one probe on one end of a connection; the other end is the test's.
pub fn probe(setting: Probe) -> (EventLoop, Rc<RefCell<Probe>>, Waker, TcpStream) {
    let (near, far) = pair().unwrap();
    let probe = Rc::new(RefCell::new(Probe { stream: Some(Stream::new(near).unwrap()), ..setting }));
    let mut event_loop = event_loop();
    let id = event_loop.spawn(ProbeSession(probe.clone()));
    event_loop.turn(Some(Duration::ZERO)).unwrap();
    (event_loop, probe, id, far)
}
