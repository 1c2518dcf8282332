use std::io::{self, Read};
use std::mem;
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::connect::{Connected, connect, reset_at_close};
use super::server::PlantedProxy;
use super::{Bug, PlantedOptions, copy, log};

/// A session whose server was reached.
pub(super) struct PlantedSession<'a> {
    pub(super) proxy: &'a PlantedProxy,
    pub(super) options: &'a PlantedOptions,
    pub(super) client: Half<'a>,
    pub(super) server: Half<'a>,
    /// Set when one side has reset, or the session is cut: both sides are reset at the end.
    pub(super) reset: AtomicBool,
    /// Set when the time of the session was up.
    pub(super) cut: AtomicBool,
    /// Set when a proxy that gives up at once has done so.
    pub(super) stopped: AtomicBool,
    /// When the first direction ended, and since when nothing has moved.
    pub(super) quiet_since: Mutex<Option<Instant>>,
    /// Whether the client has sent something.
    pub(super) client_spoke: AtomicBool,
    /// Held while writing by proxies that take turns.
    pub(super) turn: Mutex<()>,
}

/// One socket of a session.
pub(super) struct Half<'a> {
    pub(super) stream: &'a TcpStream,
    /// Whether a FIN was sent on it.
    pub(super) finished: AtomicBool,
    /// Whether its stream has ended.
    pub(super) ended: AtomicBool,
}

impl PlantedSession<'_> {
    pub(super) fn has(&self, bug: Bug) -> bool {
        self.proxy.has(bug)
    }

    pub(super) fn is_reset(&self) -> bool {
        self.reset.load(Ordering::SeqCst)
    }

    /// Whether the client is forgotten in CLOSE_WAIT.
    pub(super) fn leaves_client_open(&self) -> bool {
        let silent = !self.client_spoke.load(Ordering::SeqCst);
        self.has(Bug::LeavesCloseWait) && silent && self.client.ended.load(Ordering::SeqCst)
    }

    pub(super) fn quiet_since(&self) -> MutexGuard<'_, Option<Instant>> {
        self.quiet_since.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Connects to the server and carries bytes until both directions have ended.
pub(super) fn run(client: &TcpStream, proxy: &PlantedProxy) -> io::Result<()> {
    let options = &proxy.options;
    let Connected { server, reset, took } = match connect(client, proxy) {
        Ok(connected) => connected,
        Err(error) => {
            match options.bug {
                Some(Bug::RefusalBecomesFin) => {}
                Some(Bug::HangsWhenRefused) => mem::forget(client.try_clone()?),
                _ => reset_at_close(client)?,
            }
            return Err(error);
        }
    };
    for stream in [client, &server] {
        stream.set_nodelay(true)?;
    }
    if options.bug == Some(Bug::ForgetsEarlyBytes) && took > Duration::from_millis(500) {
        forget(client)?;
    }
    let half = |stream| Half { stream, finished: AtomicBool::new(false), ended: AtomicBool::new(false) };
    log::misdirect(options, client);
    let session = PlantedSession {
        proxy,
        options,
        client: half(client),
        server: half(&server),
        reset: AtomicBool::new(reset),
        cut: AtomicBool::new(false),
        stopped: AtomicBool::new(false),
        quiet_since: Mutex::new(None),
        client_spoke: AtomicBool::new(false),
        turn: Mutex::new(()),
    };
    thread::scope(|scope| {
        let up = thread::Builder::new().stack_size(super::server::STACK);
        let up = up.spawn_scoped(scope, || copy::copy(&session, &session.client, &session.server, false));
        copy::copy(&session, &session.server, &session.client, reset);
        up.map(drop)
    })?;
    if session.leaves_client_open() {
        mem::forget(client.try_clone()?);
    }
    let looks_complete = session.has(Bug::CutsWithFin) && session.cut.load(Ordering::SeqCst);
    if session.is_reset() && !looks_complete {
        reset_at_close(client)?;
        reset_at_close(&server)?;
    }
    Ok(())
}

/// Throws away what has arrived.
pub(super) fn forget(mut stream: &TcpStream) -> io::Result<()> {
    stream.set_nonblocking(true)?;
    let mut bytes = [0; 65_536];
    while matches!(stream.read(&mut bytes), Ok(1..)) {}
    stream.set_nonblocking(false)
}
