//! The proxy as a whole: it listens, admits clients up to its limit, and stops when asked.

use std::cell::{Cell, RefCell};
use std::error::Error;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::{Duration, Instant};

use eventloop::signals::{SIGINT, SIGTERM};
use eventloop::{
    Accept, EventLoop, Handle, Intents, Listener, Progress, Ready, Signals, SocketOptions, resolve,
};
use ringbuf::Pool;
use tracing::{info, warn};

use crate::descriptors::{self, Allowance};
use crate::destination::Destination;
use crate::pipe::Pipes;
use crate::session::{Client, Session};
use crate::tunnel::Tunnel;
use crate::{Config, Splice};

/// A proxy that listens. [`run`](Proxy::run) serves until it is stopped.
///
/// ```no_run
/// use tcpproxy::{Config, Proxy};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let proxy = Proxy::start(Config { server_port: 8000, ..Config::new("www.example.org", 80) })?;
/// println!("open http://{}/", proxy.local_addr());
/// proxy.run()?;
/// # Ok(()) }
/// ```
pub struct Proxy {
    event_loop: EventLoop,
    local_addr: SocketAddr,
    shared: Rc<Shared>,
}

/// What a [`Proxy`] has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Statistics {
    /// Sessions there are now.
    pub active: usize,
    /// Sessions that are over, however they ended.
    pub ended: u64,
    /// Bytes that servers have been given, in all sessions.
    pub up: u64,
    /// Bytes that clients have been given, in all sessions.
    pub down: u64,
}

/// Why a proxy could not start: what was tried, and what the system said.
#[derive(Debug)]
pub struct StartError {
    attempt: String,
    reason: io::Error,
}

/// What the sessions and the reception share.
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) destination: RefCell<Destination>,
    pub(crate) stop: Cell<Option<Stop>>,
    /// All places are taken and somebody is known to wait for one.
    pub(crate) somebody_waits: Cell<bool>,
    pool: Pool,
    pipes: Pipes,
    handle: Handle,
    statistics: Cell<Statistics>,
}

/// The proxy was asked to stop, and this is when it stops waiting for sessions to end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stop(Instant);

/// The session that admits clients. It ends when the proxy was asked to stop.
struct Reception {
    shared: Rc<Shared>,
    listener: Listener,
    told_that_somebody_waits: bool,
    told_that_resources_ran_out: bool,
}

/// The session that hears of signals. It ends when the proxy was asked to stop and the last client has
/// gone.
struct StopOnSignal {
    shared: Rc<Shared>,
    signals: Signals,
}

impl Proxy {
    /// Looks up the server's name, and listens.
    ///
    /// # Errors
    ///
    /// If the name cannot be resolved, or the port cannot be listened on; nothing is left behind.
    pub fn start(config: Config) -> Result<Self, StartError> {
        let (host, port) = (config.remote_host.clone(), config.remote_port);
        let addresses = resolve(&host, port)
            .map_err(|reason| StartError { attempt: format!("cannot resolve {host}"), reason })?;
        let options = SocketOptions { keepalive: config.keepalive };
        let listener = match config.bind {
            Some(ip) => Listener::bind(SocketAddr::new(ip, config.server_port), options),
            None => Listener::bind_all(config.server_port, options),
        };
        let wanted = SocketAddr::new(config.bind.unwrap_or(IpAddr::from([0; 16])), config.server_port);
        let cannot_listen = |reason| StartError { attempt: format!("cannot listen on {wanted}"), reason };
        let listener = listener.map_err(cannot_listen)?;
        let local_addr = listener.local_addr().map_err(cannot_listen)?;
        let mut event_loop = EventLoop::new()
            .map_err(|reason| StartError { attempt: "cannot set up the event loop".to_owned(), reason })?;
        let Allowance { places, pipes } = descriptors::allowance(config.max_clients);
        let shared = Rc::new(Shared {
            destination: RefCell::new(Destination::new(host, port, addresses, Instant::now())),
            stop: Cell::default(),
            somebody_waits: Cell::default(),
            pool: Pool::new(config.buffer_size, places.saturating_mul(2)),
            pipes: Pipes::new(config.buffer_size, pipes),
            handle: event_loop.handle(),
            statistics: Cell::default(),
            config,
        });
        let reception = Reception {
            shared: shared.clone(),
            listener: listener.with_places(places),
            told_that_somebody_waits: false,
            told_that_resources_ran_out: false,
        };
        event_loop.spawn(reception);
        Ok(Self { event_loop, local_addr, shared })
    }

    /// The address it listens on, with the port that the system chose if it was to.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// From now on the first SIGTERM or SIGINT is understood as [`stop`](Self::stop), and a second one
    /// ends the sessions that are left at once.
    ///
    /// # Errors
    ///
    /// If the signals cannot be caught.
    pub fn stop_on_signals(&mut self) -> io::Result<()> {
        let signals = Signals::new(&[SIGTERM, SIGINT])?;
        self.event_loop.spawn(StopOnSignal { shared: self.shared.clone(), signals });
        Ok(())
    }

    /// Serves until it has been stopped and the last session is over.
    ///
    /// # Errors
    ///
    /// If polling fails; what goes wrong with a client or the server is that session's affair alone.
    pub fn run(mut self) -> io::Result<()> {
        self.event_loop.run()
    }

    /// One turn of the loop, for programs and tests that have other things to do between turns:
    /// see [`EventLoop::turn`].
    ///
    /// # Errors
    ///
    /// As [`run`](Self::run).
    pub fn turn(&mut self, timeout: Option<Duration>) -> io::Result<usize> {
        self.event_loop.turn(timeout)
    }

    /// What the proxy has done so far.
    #[must_use]
    pub fn statistics(&self) -> Statistics {
        self.shared.statistics.get()
    }

    /// Whether the proxy serves or may serve anybody: not any more when it has been stopped and the last
    /// session is over.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.event_loop.sessions() > 0
    }

    /// Admits nobody any more, lets the sessions go on for the drain timeout, and then resets those
    /// that are left. Asked again, it does so at once.
    pub fn stop(&self) {
        self.shared.stop();
    }
}

impl Shared {
    /// The tunnel of one more session.
    pub(crate) fn tunnel(&self) -> Tunnel {
        let slot = || self.pool.reserve().expect("the pool has two slots for each place");
        let tunnel = Tunnel::new(slot(), slot(), self.config.linger_timeout);
        match self.config.splice {
            Splice::Never => tunnel,
            when => tunnel.splicing(&self.pipes, when == Splice::Always),
        }
    }

    pub(crate) fn session_began(&self) {
        self.change_statistics(|statistics| statistics.active += 1);
    }

    pub(crate) fn session_ended(&self) {
        self.change_statistics(|statistics| {
            statistics.active -= 1;
            statistics.ended += 1;
        });
        if self.statistics.get().active == 0 && self.stop.get().is_some() {
            self.handle.wake_all(); // whoever waits for the end of the last session
        }
    }

    /// So many bytes were delivered to the server and to the client.
    pub(crate) fn count(&self, up: usize, down: usize) {
        self.change_statistics(|statistics| {
            statistics.up += up as u64;
            statistics.down += down as u64;
        });
    }

    fn change_statistics(&self, change: impl FnOnce(&mut Statistics)) {
        let mut statistics = self.statistics.get();
        change(&mut statistics);
        self.statistics.set(statistics);
    }

    /// A session gives up its place for whoever waits. One does; the others may keep theirs.
    pub(crate) fn place_is_free(&self) {
        self.somebody_waits.set(false);
    }

    fn stop(&self) {
        let now = Instant::now();
        let at = if self.stop.get().is_some() { now } else { now + self.config.drain_timeout };
        info!(sessions = self.statistics.get().active, "stopping");
        self.stop.set(Some(Stop(at)));
        self.handle.wake_all();
    }
}

impl Stop {
    /// When sessions that are left are to be cut.
    pub(crate) fn at(self) -> Instant {
        self.0
    }

    pub(crate) fn is_due(self, now: Instant) -> bool {
        self.0 <= now
    }
}

impl Reception {
    /// Admits clients as long as there are places, and takes note when somebody has to wait.
    fn receive(&mut self, ready: &Ready<'_>) {
        loop {
            match self.listener.accept(ready) {
                Accept::Client { stream, address, place } => {
                    self.told_that_resources_ran_out = false;
                    self.shared.somebody_waits.set(false);
                    let client = Client { stream, address, _place: place };
                    ready.spawn(Session::new(self.shared.clone(), client, ready.now()));
                }
                Accept::Blocked => return,
                Accept::Full => return self.note_that_somebody_waits(),
                Accept::Exhausted(error) => {
                    if !std::mem::replace(&mut self.told_that_resources_ran_out, true) {
                        warn!(%error, "cannot accept clients for now; they wait");
                    }
                    return;
                }
            }
        }
    }

    fn note_that_somebody_waits(&mut self) {
        if !self.shared.somebody_waits.replace(true) && self.shared.config.yield_idle.is_some() {
            self.shared.handle.wake_all(); // their time may be up now
        }
        if !std::mem::replace(&mut self.told_that_somebody_waits, true) {
            warn!(
                serving = self.shared.statistics.get().active,
                "all places are taken and a client is waiting; --max-clients serves more"
            );
        }
    }
}

impl eventloop::Session for Reception {
    fn intents(&self, want: &mut Intents<'_>) {
        self.listener.intents(want);
    }

    fn advance(&mut self, ready: &Ready<'_>) -> Progress {
        if self.shared.stop.get().is_some() {
            return Progress::Done;
        }
        self.receive(ready);
        Progress::Continue
    }
}

impl eventloop::Session for StopOnSignal {
    fn intents(&self, want: &mut Intents<'_>) {
        self.signals.intents(want);
    }

    fn advance(&mut self, ready: &Ready<'_>) -> Progress {
        while self.signals.advance(ready).is_some() {
            self.shared.stop();
        }
        let over = self.shared.stop.get().is_some() && self.shared.statistics.get().active == 0;
        if over { Progress::Done } else { Progress::Continue }
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxy")
            .field("local_addr", &self.local_addr)
            .field("statistics", &self.statistics())
            .finish()
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.attempt, self.reason)
    }
}

impl Error for StartError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.reason)
    }
}
