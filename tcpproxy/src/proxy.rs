//! The proxy as a whole: it listens, admits clients up to its limit, and stops when asked.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::hint::black_box;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::rc::Rc;
use std::time::{Duration, Instant};

use eventloop::signals::{SIGHUP, SIGINT, SIGTERM};
use eventloop::{
    EventLoop, Handle, Intents, ListenOptions, Listener, Progress, Ready, Signals, SocketOptions, resolve,
};
use ringbuf::Pool;
use tracing::info;

use crate::acceptor::Reception;
use crate::error::StartError;
use crate::log::StatusLine;
use crate::operations::descriptors::{self, Allowance};
use crate::operations::metrics::{Metrics, Moment};
use crate::operations::progress::Watch;
use crate::operations::status_server::{MetricsFormat, StatusServer};
use crate::upstream::addresses::Destination;
use crate::{Config, Splice};
use relay::Pipes;
use relay::Tunnel;

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
    local_addrs: Vec<SocketAddr>,
    metrics_addr: Option<SocketAddr>,
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
    /// Clients that were turned away because [`Config::allow`] does not name their network.
    pub denied: u64,
    /// Times that the system lacked what a client's connection needs; the client then waits.
    pub accept_errors: u64,
    /// Bytes that servers have been given, in all sessions.
    pub up: u64,
    /// Bytes that clients have been given, in all sessions.
    pub down: u64,
}

/// What the sessions and the reception share.
pub(crate) struct Shared {
    pub(crate) config: Config,
    /// How many clients can be served at once.
    pub(crate) places: usize,
    pub(crate) destination: RefCell<Destination>,
    pub(crate) stop: Cell<Option<Stop>>,
    /// All places are taken and somebody is known to wait for one.
    pub(crate) somebody_waits: Cell<bool>,
    /// What is told to those who ask for it, if anybody can.
    pub(crate) metrics: Option<Metrics>,
    pool: Pool,
    pipes: Pipes,
    pub(crate) handle: Handle,
    statistics: Cell<Statistics>,
    /// Since when nobody needs the proxy, while there is no session.
    idle_since: Cell<Instant>,
    /// Somebody may still be admitted.
    receiving: Cell<bool>,
}

/// The proxy was asked to stop, and this is when it stops waiting for sessions to end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stop(Instant);

/// The session that hears of signals. It ends when the proxy was asked to stop and the last client has
/// gone.
struct StopOnSignal {
    shared: Rc<Shared>,
    signals: Signals,
}

/// Bytes that fit into a pipe: the most that any user may ask for (pipe(7), `pipe-max-size`). The fewer
/// wake-ups for the same bytes, the less they cost.
const PIPE_SIZE: usize = 1 << 20;

impl Proxy {
    /// Looks up the server's name, and listens.
    ///
    /// # Errors
    ///
    /// If the name cannot be resolved, or the port cannot be listened on; nothing is left behind.
    pub fn start(config: Config) -> Result<Self, StartError> {
        let addresses = prepare(&config)?;
        let options = ListenOptions { reuse_port: config.reuse_port, ..connection_options(&config).into() };
        let wanted = SocketAddr::new(config.bind.unwrap_or(IpAddr::from([0; 16])), config.server_port);
        let listener = match config.bind {
            Some(_) => Listener::bind(wanted, options),
            None => Listener::bind_all(config.server_port, options),
        };
        let listener = listener.map_err(|reason| StartError::listening(wanted, reason))?;
        Self::serve(config, addresses, listener, false)
    }

    /// The same with sockets that listen already, in place of `server_port` and `bind`: a service manager
    /// keeps them open (sd_listen_fds(3)), so that clients can wait there while no proxy runs.
    ///
    /// # Errors
    ///
    /// If the name cannot be resolved, or a socket does not listen.
    pub fn start_on(sockets: Vec<TcpListener>, config: Config) -> Result<Self, StartError> {
        let addresses = prepare(&config)?;
        let listener =
            Listener::adopt(sockets, connection_options(&config)).map_err(StartError::listening_on_passed)?;
        Self::serve(config, addresses, listener, true)
    }

    fn serve(
        config: Config,
        addresses: Vec<SocketAddr>,
        listener: Listener,
        kept_open: bool,
    ) -> Result<Self, StartError> {
        let cannot_set_up = |reason| StartError::setting_up("the event loop", reason);
        let metrics = config.metrics.map(|address| listen_for_metrics(address, &config)).transpose()?;
        let local_addrs = listener.local_addrs().map_err(cannot_set_up)?;
        let mut event_loop = EventLoop::new().map_err(cannot_set_up)?;
        let Allowance { places, pipes } = descriptors::allowance(config.max_clients);
        let (host, port, now) = (config.remote_host.clone(), config.remote_port, Instant::now());
        let shared = Rc::new(Shared {
            destination: RefCell::new(Destination::new(host, port, addresses, now)),
            stop: Cell::default(),
            somebody_waits: Cell::default(),
            metrics: config.metrics.map(|_| Metrics::new()),
            pool: Pool::new(config.buffer_size, places.saturating_mul(2)),
            pipes: Pipes::new(
                if config.splice == Splice::Always { config.buffer_size } else { PIPE_SIZE },
                pipes,
            ),
            handle: event_loop.handle(),
            statistics: Cell::default(),
            idle_since: Cell::new(now),
            receiving: Cell::new(true),
            config,
            places,
        });
        event_loop.spawn(Reception::new(shared.clone(), listener, kept_open));
        let (listener, metrics_addr) = metrics.unzip();
        if let Some(listener) = listener {
            event_loop.spawn(StatusServer::new(shared.clone(), listener));
        }
        Ok(Self { event_loop, local_addrs, metrics_addr, shared })
    }

    /// The address it listens on, with the port that the system chose if it was to; the first one, if there
    /// are several.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addrs[0]
    }

    /// Every address it listens on: more than one only if [that many sockets](Self::start_on) were passed.
    #[must_use]
    pub fn local_addrs(&self) -> &[SocketAddr] {
        &self.local_addrs
    }

    /// Where it tells its metrics, with the port that the system chose if it was to.
    #[must_use]
    pub fn metrics_addr(&self) -> Option<SocketAddr> {
        self.metrics_addr
    }

    /// From now on the first SIGTERM or SIGINT is understood as [`stop`](Self::stop), and a second one
    /// ends the sessions that are left at once. SIGHUP, which would end the program, does nothing: there is
    /// no configuration to read again.
    ///
    /// # Errors
    ///
    /// If the signals cannot be caught.
    pub fn stop_on_signals(&mut self) -> Result<(), StartError> {
        let signals = Signals::new(&[SIGTERM, SIGINT, SIGHUP])
            .map_err(|reason| StartError::setting_up("the reception of signals", reason))?;
        self.event_loop.spawn(StopOnSignal { shared: self.shared.clone(), signals });
        Ok(())
    }

    /// From now on this line of the terminal says what is going on.
    pub fn show_progress(&mut self, line: StatusLine) {
        self.event_loop.spawn(Watch::new(self.shared.clone(), line, Instant::now()));
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
    ///
    /// Who waits already in the kernel's queue stays there if a service manager keeps the sockets. With
    /// [`Config::reuse_port`] he is served; else he is if there is a place for him now.
    pub fn stop(&self) {
        self.shared.stop();
    }

    /// Whether it was asked to stop, and serves only those who are left.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.shared.is_stopping()
    }
}

impl Shared {
    /// The tunnel of one more session.
    pub(crate) fn tunnel(&self) -> Tunnel {
        let ring = || self.pool.reserve().expect("the pool has two rings for each place");
        let tunnel = Tunnel::new(ring(), ring(), self.config.linger_timeout);
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
        if self.active() > 0 {
            return;
        }
        self.note_use(Instant::now());
        if self.is_stopping() || self.config.exit_on_idle.is_some() {
            self.handle.wake_all(); // whoever waits for the end of the last session
        }
    }

    /// Nobody is admitted any more.
    pub(crate) fn reception_ended(&self) {
        self.receiving.set(false);
        self.handle.wake_all();
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stop.get().is_some()
    }

    /// Whether it was asked to stop, and has done so.
    pub(crate) fn is_over(&self) -> bool {
        self.is_stopping() && !self.receiving.get() && self.active() == 0
    }

    pub(crate) fn statistics(&self) -> Statistics {
        self.statistics.get()
    }

    /// How many sessions there are.
    pub(crate) fn active(&self) -> usize {
        self.statistics.get().active
    }

    /// Somebody needed the proxy until now.
    pub(crate) fn note_use(&self, now: Instant) {
        self.idle_since.set(now);
    }

    /// When the proxy is to stop because nobody comes.
    pub(crate) fn idle_exit(&self) -> Option<Instant> {
        let quiet = self.config.exit_on_idle.filter(|_| self.active() == 0 && !self.is_stopping());
        quiet.map(|quiet| self.idle_since.get() + quiet)
    }

    /// So many have been turned away by now.
    pub(crate) fn note_denied(&self, denied: u64) {
        self.change_statistics(|statistics| statistics.denied = denied);
    }

    /// The system lacked what a client's connection needs.
    pub(crate) fn note_accept_error(&self) {
        self.change_statistics(|statistics| statistics.accept_errors += 1);
    }

    /// What is told to those who ask for metrics.
    pub(crate) fn metrics_text(&self, format: MetricsFormat) -> String {
        let moment = Moment {
            statistics: self.statistics.get(),
            places: self.places,
            waiting: self.somebody_waits.get(),
            draining: self.is_stopping(),
            buffers: self.pool.lent(),
        };
        self.metrics.as_ref().map(|metrics| metrics.text(moment, format)).unwrap_or_default()
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

    pub(crate) fn stop(&self) {
        let now = Instant::now();
        let at = if self.is_stopping() { now } else { now + self.config.drain_timeout };
        info!(sessions = self.active(), "stopping");
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

impl eventloop::Session for StopOnSignal {
    fn intents(&self, intents: &mut Intents<'_>) {
        self.signals.intents(intents);
    }

    fn advance(&mut self, ready: &Ready<'_>) -> eventloop::Result<Progress> {
        while let Some(signal) = self.signals.advance(ready) {
            match signal {
                SIGHUP => info!("SIGHUP: there is nothing to read again"),
                _ => self.shared.stop(),
            }
        }
        if self.shared.is_over() { Ok(Progress::Done) } else { Ok(Progress::Continue) }
    }
}

/// What is done before anybody can come: the server's name is looked up, and memory for the buffers of one
/// session is shown to be there. It is not kept, because it is needed only while bytes wait.
fn prepare(config: &Config) -> Result<Vec<SocketAddr>, StartError> {
    let mut buffers = Vec::<u8>::new();
    let bytes = config.buffer_size.saturating_mul(2);
    let reserved = buffers.try_reserve_exact(bytes);
    black_box(buffers); // or else the compiler sees that nobody uses them
    reserved.map_err(|_| StartError::setting_aside(bytes, io::ErrorKind::OutOfMemory.into()))?;
    let host = &config.remote_host;
    resolve(host, config.remote_port).map_err(|reason| StartError::resolving(host, reason))
}

fn listen_for_metrics(address: SocketAddr, config: &Config) -> Result<(Listener, SocketAddr), StartError> {
    Listener::bind(address, connection_options(config))
        .and_then(|listener| listener.local_addr().map(|address| (listener, address)))
        .map_err(|reason| StartError::listening_for_metrics(address, reason))
}

pub(crate) fn connection_options(config: &Config) -> SocketOptions {
    SocketOptions { no_delay: true, keepalive: config.keepalive, ..SocketOptions::default() }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxy")
            .field("local_addrs", &self.local_addrs)
            .field("statistics", &self.statistics())
            .finish()
    }
}
