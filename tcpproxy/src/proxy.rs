//! The proxy as a whole: it listens, admits clients up to its limit, and stops when asked.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::time::{Duration, Instant};

use eventloop::{AddressLimit, EventLoop, ListenOptions, Listener, check_memory, resolve};
use relay::{Limits, Pipes};
use ringbuf::Pool;
use tracing::{error, warn};

use crate::acceptor::Acceptor;
use crate::error::StartError;
use crate::lifecycle::Lifecycle;
use crate::log::StatusLine;
use crate::loops::Loops;
use crate::operations::descriptors::{self, Allowance};
use crate::operations::metrics::Metrics;
use crate::operations::progress::ProgressDisplay;
use crate::operations::session_table::SessionTable;
use crate::operations::status_server::{Status, StatusServer};
use crate::pending_clients::PendingClients;
use crate::session::SessionContext;
use crate::statistics::{Counters, Statistics};
use crate::stop_signals::StopSignals;
use crate::ticks::Ticks;
use crate::upstream::{ListenAddress, Upstream, check_source};
use crate::{Config, Splice};

/// A proxy that listens. [`run`](Proxy::run) serves until it is stopped.
///
/// ```
/// use tcpproxy::{Config, Proxy};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let proxy = Proxy::start(Config { max_clients: Some(100), ..Config::new("127.0.0.1", 80) })?;
/// println!("open http://{}/", proxy.local_addr());
/// # proxy.stop(); // which a signal or another session of the program would do
/// proxy.run()?; // until it is stopped and the last session is over
/// # Ok(()) }
/// ```
pub struct Proxy {
    event_loop: EventLoop,
    local_addrs: Vec<SocketAddr>,
    metrics_addr: Option<SocketAddr>,
    lifecycle: Rc<Lifecycle>,
    counters: Rc<Counters>,
}

/// Bytes that fit into a pipe: the most that any user may ask for (pipe(7), `pipe-max-size`). The fewer
/// wake-ups for the same bytes, the less they cost.
const PIPE_SIZE: usize = 1 << 20;

impl Proxy {
    /// Looks up the server's name, and listens.
    ///
    /// # Errors
    ///
    /// If the name cannot be resolved, the port cannot be listened on, or clients would be forwarded to the proxy itself;
    /// nothing is left behind.
    pub fn start(config: Config) -> Result<Self, StartError> {
        let addresses = prepare(&config)?;
        let options = ListenOptions { reuse_port: config.reuse_port, ..config.socket_options().into() };
        let mut wanted = config.bind.unwrap_or(SocketAddr::from(([0; 16], 0)));
        wanted.set_port(config.server_port);
        let listener = match config.bind {
            Some(_) => Listener::bind(wanted, options),
            None => Listener::bind_all(config.server_port, options),
        };
        let listener = listener.map_err(|reason| StartError::listening(wanted, reason))?;
        let listening = listener.local_addr().map(|address| vec![ListenAddress::dual_stack(address)]);
        let listening = listening.map_err(|reason| StartError::listening(wanted, reason))?;
        Self::serve(config, addresses, listener, listening, false)
    }

    /// The same with sockets that listen already, in place of `server_port` and `bind`: a service manager
    /// keeps them open (sd_listen_fds(3)), so that clients can wait there while no proxy runs.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start), and if a socket does not listen.
    pub fn start_on(sockets: Vec<TcpListener>, config: Config) -> Result<Self, StartError> {
        let addresses = prepare(&config)?;
        let listening = sockets.iter().map(ListenAddress::of).collect::<io::Result<_>>();
        let listening = listening.map_err(StartError::listening_on_passed)?;
        let listener =
            Listener::adopt(sockets, config.socket_options()).map_err(StartError::listening_on_passed)?;
        Self::serve(config, addresses, listener, listening, true)
    }

    fn serve(
        config: Config,
        addresses: Vec<SocketAddr>,
        listener: Listener,
        listening: Vec<ListenAddress>,
        kept_open: bool,
    ) -> Result<Self, StartError> {
        let leads_back = |&address: &SocketAddr| listening.iter().any(|own| own.is_reached_by(address));
        if let Some(&own) = addresses.first().filter(|_| addresses.iter().all(leads_back)) {
            return Err(StartError::forwarding_to_itself(own));
        }
        check_socket_buffer(&config, &listener);
        let cannot_set_up = |reason| StartError::setting_up("the event loop", reason);
        let metrics = config.metrics.map(|address| listen_for_metrics(address, &config)).transpose()?;
        let local_addrs = listening.iter().map(|own| own.address).collect();
        let mut event_loop = EventLoop::with_poller(config.poller).map_err(cannot_set_up)?;
        // The session of a client has no such error: how it ended is in its own line.
        event_loop
            .on_error(|session, error| error!(session, %error, "a session of the proxy itself has failed"));
        let Allowance { max_clients, pipes } = descriptors::allowance(config.max_clients);
        let _ = event_loop.reserve(max_clients); // without the memory, tables grow as clients come
        let counters = Rc::<Counters>::default();
        let handle = event_loop.handle();
        let lifecycle = Rc::new(Lifecycle::new(
            handle.clone(),
            counters.clone(),
            config.drain_timeout,
            config.exit_on_idle.is_some(),
        ));
        let pipe_size = if config.splice == Splice::Always { config.buffer_size } else { PIPE_SIZE };
        let pool = Pool::new(config.buffer_size, max_clients.saturating_mul(2));
        let limits = Limits {
            opening: config.header_timeout,
            linger: config.linger_timeout,
            idle: config.idle_timeout,
            half_close: config.half_close_timeout,
        };
        let pending = Rc::<PendingClients>::default();
        let (status_listener, metrics_addr) = metrics.unzip();
        let metrics = status_listener.is_some().then(|| Rc::new(Metrics::new()));
        let table = Rc::<SessionTable>::default();
        let listed = metrics.is_some().then(|| table.clone());
        if let (Some(listener), Some(metrics)) = (status_listener, metrics.clone()) {
            let status = Status {
                metrics,
                lifecycle: lifecycle.clone(),
                counters: counters.clone(),
                pending: pending.clone(),
                pool: pool.clone(),
                max_clients,
                table,
                remote: config.remote(),
                started: Instant::now(),
            };
            event_loop.spawn(StatusServer::new(status, handle.clone(), listener));
        }
        let config = Rc::new(config);
        let context = Rc::new(SessionContext {
            upstream: Rc::new(Upstream::new(config.clone(), addresses, listening, Instant::now())),
            lifecycle: lifecycle.clone(),
            counters: counters.clone(),
            address_limit: Rc::new(AddressLimit::new(config.max_per_address)),
            metrics,
            pending,
            loops: Loops::new(handle.clone(), config.loop_check_age),
            limits: Rc::new(limits),
            pipes: Pipes::new(pipe_size, pipes),
            ticks: Ticks::new(Instant::now()),
            config,
        });
        event_loop.spawn(Acceptor::new(context, pool, handle, listener, listed, max_clients, kept_open));
        Ok(Self { event_loop, local_addrs, metrics_addr, lifecycle, counters })
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

    /// The address at which metrics and health can be asked for, with the port that the system chose if it was to.
    #[must_use]
    pub fn metrics_addr(&self) -> Option<SocketAddr> {
        self.metrics_addr
    }

    /// From now on these signals stop the proxy: see [`StopSignals`].
    pub fn stop_on(&mut self, signals: StopSignals) {
        self.event_loop.spawn(signals.into_session(self.lifecycle.clone()));
    }

    /// From now on this line of the terminal shows sessions, bytes and rates.
    pub fn show_progress(&mut self, line: StatusLine) {
        let (lifecycle, counters) = (self.lifecycle.clone(), self.counters.clone());
        self.event_loop.spawn(ProgressDisplay::new(lifecycle, counters, line, Instant::now()));
    }

    /// Serves until it has been stopped and the last session is over.
    ///
    /// # Errors
    ///
    /// If polling fails, or no client can be accepted any more because the kernel refuses to watch the listening
    /// sockets; then at the end of the last session. The failure of a client or of the server ends that session alone.
    pub fn run(mut self) -> io::Result<()> {
        while self.is_running() {
            self.turn(None)?;
        }
        Ok(())
    }

    /// One turn of the loop, for programs and tests that have other things to do between turns:
    /// see [`EventLoop::turn`].
    ///
    /// # Errors
    ///
    /// As [`run`](Self::run).
    pub fn turn(&mut self, timeout: Option<Duration>) -> io::Result<usize> {
        let steps = self.event_loop.turn(timeout)?;
        if !self.is_running() {
            self.lifecycle.outcome()?;
        }
        Ok(steps)
    }

    /// What the proxy has done so far.
    #[must_use]
    pub fn statistics(&self) -> Statistics {
        self.counters.get()
    }

    /// Whether the proxy serves clients, or may: not any more when it has been stopped and the last session has ended.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.event_loop.sessions() > 0
    }

    /// Admits no further client, lets the sessions go on for the drain timeout, and then resets those
    /// that are left. A second call resets them at once.
    ///
    /// Clients in the kernel's accept queue stay there if a service manager keeps the sockets. With
    /// [`Config::reuse_port`] they are served; otherwise they are as long as [`Config::max_clients`] allows.
    pub fn stop(&self) {
        self.lifecycle.stop();
    }

    /// Whether it was asked to stop, and serves only the sessions that are left.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.lifecycle.is_draining()
    }
}

/// Looks up the server's name, and checks that there is memory for the buffers of one session. That memory is not kept,
/// because it is needed only while bytes wait.
fn prepare(config: &Config) -> Result<Vec<SocketAddr>, StartError> {
    let bytes = config.buffer_size.saturating_mul(2);
    check_memory(bytes).map_err(|reason| StartError::setting_aside(bytes, reason))?;
    for &source in &config.source {
        check_source(source).map_err(|reason| StartError::connecting_from(source, reason))?;
    }
    let host = &config.remote_host;
    let addresses = match resolve(host, config.remote_port) {
        Err(error) if config.wait_for_name => {
            warn!(host, %error, "cannot look up the server's name yet; clients wait for it");
            return Ok(Vec::new());
        }
        outcome => outcome.map_err(|reason| StartError::resolving(host, reason))?,
    };
    if !Upstream::sources_reach(config, &addresses) {
        return Err(StartError::no_source_for(host));
    }
    Ok(addresses)
}

/// The kernel lowers what is asked for without an error (socket(7)).
fn check_socket_buffer(config: &Config, listener: &Listener) {
    let Some(wanted) = config.socket_buffer else { return };
    match listener.buffer_sizes() {
        Ok((send, receive)) if send.min(receive) < wanted / 2 * 2 => warn!(
            wanted,
            send,
            receive,
            "the kernel allows less than --socket-buffer; raise net.core.wmem_max and net.core.rmem_max"
        ),
        _ => {}
    }
}

fn listen_for_metrics(address: SocketAddr, config: &Config) -> Result<(Listener, SocketAddr), StartError> {
    Listener::bind(address, config.socket_options())
        .and_then(|listener| listener.local_addr().map(|address| (listener, address)))
        .map_err(|reason| StartError::listening_for_metrics(address, reason))
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxy")
            .field("local_addrs", &self.local_addrs)
            .field("statistics", &self.statistics())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use eventloop::{Intents, Progress, Ready, Session};

    use super::*;
    use crate::log::tests::logged;

    struct Failing;

    impl Session for Failing {
        fn intents(&self, _: &mut Intents<'_>) {}

        fn advance(&mut self, _: &Ready<'_>) -> eventloop::Result<Progress> {
            Err("it cannot go on".into())
        }
    }

    #[test]
    fn an_error_that_ends_a_session_of_the_proxy_itself_is_logged_as_an_error() {
        let lines = logged(|| {
            let mut proxy = Proxy::start(Config::new("127.0.0.1", 9)).unwrap();
            proxy.event_loop.spawn(Failing);
            proxy.turn(Some(Duration::ZERO)).unwrap();
            assert!(proxy.is_running());
        });
        let [line] = &lines[..] else { panic!("{lines:?}") };
        assert_eq!(line["level"], "ERROR");
        assert_eq!(line["fields"]["message"], "a session of the proxy itself has failed");
        assert_eq!(line["fields"]["session"], "tcpproxy::proxy::tests::Failing");
        assert_eq!(line["fields"]["error"], "it cannot go on");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn socket_buffers_that_the_kernel_makes_smaller_are_warned_of_once() {
        let start = |socket_buffer| {
            logged(|| {
                Proxy::start(Config { socket_buffer: Some(socket_buffer), ..Config::new("127.0.0.1", 9) })
                    .unwrap();
            })
        };
        for size in [8 << 10, 65_535, 65_536] {
            let lines = start(size);
            assert!(lines.is_empty(), "{size}: {lines:?}");
        }
        let maximum = |name| -> usize {
            std::fs::read_to_string(format!("/proc/sys/net/core/{name}")).unwrap().trim().parse().unwrap()
        };
        let (send, receive) = (2 * maximum("wmem_max"), 2 * maximum("rmem_max"));
        let lines = start(send.max(receive) + 2);
        let [line] = &lines[..] else { panic!("{lines:?}") };
        assert_eq!(line["level"], "WARN");
        assert_eq!((&line["fields"]["send"], &line["fields"]["receive"]), (&send.into(), &receive.into()));
    }
}
