//! The way to the server: its name is looked up, and a connection is made.

mod addresses;
mod own_address;
mod retry;
mod sources;

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::{Rc, Weak};
use std::time::{Duration, Instant};

use eventloop::{
    Connect, ConnectError, ConnectEvent, ConnectOptions, Connector, Intents, Ready, SocketOptions, Stream,
};
use relay::Dial;

use crate::Config;
use crate::log_interval::LogInterval;
use crate::termination::{By, Cause, Reason};
use addresses::{LOOKUP_PATIENCE, Resolution, ServerAddresses, Waiter};
use retry::Retry;
use sources::Sources;
use tracing::{Level, debug, enabled, warn};

pub(crate) use own_address::ListenAddress;
pub(crate) use sources::check_source;

/// The server that clients are forwarded to.
#[derive(Debug)]
pub(crate) struct Upstream {
    config: Rc<Config>,
    addresses: RefCell<ServerAddresses>,
    options: ConnectOptions,
    sources: Sources,
    /// With `--spread`: how many connections were begun.
    turn: Cell<usize>,
    /// Where the proxy listens: a connection to one of these would come back as a client.
    listening: Vec<ListenAddress>,
    loop_warning: LogInterval,
    /// The addresses that sessions are connected to.
    connected: RefCell<Vec<Weak<SocketAddr>>>,
}

/// The connection to the server in the making, for one session: lookup, then connect.
///
/// Dropping it cancels the lookup and resets what is half-open.
#[derive(Debug)]
pub(crate) struct Connecting {
    upstream: Rc<Upstream>,
    /// The client that it is made for, in the log.
    client: SocketAddr,
    phase: ConnectPhase,
    retry: Retry,
}

#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "each session spends its time in the large one")]
enum ConnectPhase {
    /// The addresses are looked up; at the instant those known before are used instead. The waiter is `None` only
    /// within a step.
    Resolving(Option<Waiter>, Instant),
    Connecting(Connector),
    /// It failed, and is tried again then.
    Pausing(Instant),
    /// It cannot be reached; `None` once that was returned.
    Failed(Option<Cause>),
}

impl Upstream {
    /// The server that `config` names, whose addresses were looked up at `now`, for a proxy that listens there.
    pub(crate) fn new(
        config: Rc<Config>,
        addresses: Vec<SocketAddr>,
        listening: Vec<ListenAddress>,
        now: Instant,
    ) -> Self {
        let (host, port) = (config.remote_host.clone(), config.remote_port);
        Self {
            addresses: RefCell::new(ServerAddresses::new(host, port, addresses, now)),
            options: ConnectOptions {
                // The session begins with probes later.
                socket: SocketOptions { keepalive: None, ..config.socket_options() },
                ..ConnectOptions::default()
            },
            sources: Sources::new(&config.source),
            turn: Cell::default(),
            listening,
            loop_warning: LogInterval::default(),
            connected: RefCell::default(),
            config,
        }
    }

    /// Whether one of the addresses can be reached from one that `config` names as source.
    pub(crate) fn sources_reach(config: &Config, addresses: &[SocketAddr]) -> bool {
        let sources = Sources::new(&config.source);
        addresses.iter().any(|address| sources.reach(address))
    }

    /// Prepares a connection for a client. The first attempt is made in the first step.
    pub(crate) fn connect(self: &Rc<Self>, client: SocketAddr, now: Instant) -> Connecting {
        let retry = Retry::new(&self.config, now);
        let phase = self.begin(client, retry.time_left(now), now);
        Connecting { upstream: self.clone(), client, phase, retry }
    }

    /// An address that a session is connected to, as one that all such sessions share.
    pub(crate) fn shared(&self, address: SocketAddr) -> Rc<SocketAddr> {
        let mut connected = self.connected.borrow_mut();
        let known = connected.iter().filter_map(Weak::upgrade).find(|known| **known == address);
        known.unwrap_or_else(|| {
            connected.retain(|known| known.strong_count() > 0);
            let shared = Rc::new(address);
            connected.push(Rc::downgrade(&shared));
            shared
        })
    }

    /// Begins an attempt, which may take as long as `timeout`.
    fn begin(&self, client: SocketAddr, timeout: Duration, now: Instant) -> ConnectPhase {
        let resolution = self.addresses.borrow_mut().resolve(now);
        match resolution {
            Resolution::Known(addresses) => self.try_addresses(&addresses, client, timeout, now),
            Resolution::Pending(waiter) => {
                ConnectPhase::Resolving(Some(waiter), now + LOOKUP_PATIENCE.min(timeout))
            }
        }
    }

    /// Tries the addresses that do not lead back to the proxy.
    fn try_addresses(
        &self,
        addresses: &[SocketAddr],
        client: SocketAddr,
        timeout: Duration,
        now: Instant,
    ) -> ConnectPhase {
        let mut addresses = self.order(addresses);
        addresses.sort_by_key(|address| self.addresses.borrow().is_avoided(address, now));
        let leads_back = |&address: &SocketAddr| self.listening.iter().any(|own| own.is_reached_by(address));
        let (own, others): (Vec<SocketAddr>, Vec<SocketAddr>) = addresses.into_iter().partition(leads_back);
        if let Some(own) = own.first() {
            if self.loop_warning.allows(now) {
                warn!(address = %own, "the server's address is one on which this proxy listens; not connecting to itself");
            }
            if others.is_empty() {
                let detail = format!("{own} is an address of this proxy");
                return ConnectPhase::Failed(Some(Cause::with_detail(By::Proxy, Reason::Loop, detail)));
            }
        }
        let options = ConnectOptions { timeout, ..self.sources.apply(self.options) };
        let mut connector = Connector::new(others.as_slice(), options, now);
        if enabled!(Level::DEBUG) {
            connector.on_attempt(move |event| match event {
                ConnectEvent::Started(address) => debug!(%client, %address, "connecting"),
                ConnectEvent::Failed(address, error) => debug!(%client, %address, %error, "connect failed"),
            });
        }
        ConnectPhase::Connecting(connector)
    }

    /// The addresses that can be reached from the sources, in the order in which they are tried.
    fn order(&self, addresses: &[SocketAddr]) -> Vec<SocketAddr> {
        let mut addresses: Vec<_> =
            addresses.iter().copied().filter(|address| self.sources.reach(address)).collect();
        if self.config.spread && !addresses.is_empty() {
            addresses.sort_unstable(); // a resolver may return them in another order each time
            let first = self.turn.replace(self.turn.get().wrapping_add(1)) % addresses.len();
            addresses.rotate_left(first);
        }
        addresses
    }
}

impl Connecting {
    /// The connector, once the addresses to try are known.
    ///
    /// # Errors
    ///
    /// None of them can be tried.
    fn connector(&mut self, ready: &Ready<'_>) -> Result<Option<&mut Connector>, Cause> {
        let now = ready.now();
        if let ConnectPhase::Pausing(at) = self.phase
            && at <= now
        {
            self.phase = self.upstream.begin(self.client, self.retry.time_left(now), now);
        }
        if let ConnectPhase::Resolving(waiter, until) = &mut self.phase {
            let mut addresses = self.upstream.addresses.borrow_mut();
            let answer = waiter.as_mut().and_then(|waiter| waiter.lookup.advance(ready));
            let found = match (answer, waiter.take_if(|_| *until <= now)) {
                (Some(answer), _) => addresses.update(answer, now),
                (None, Some(late)) => addresses.leave_pending(late),
                (None, None) => return Ok(None),
            };
            drop(addresses);
            self.phase = self.upstream.try_addresses(&found, self.client, self.retry.time_left(now), now);
        }
        match &mut self.phase {
            ConnectPhase::Resolving(..) | ConnectPhase::Pausing(_) => Ok(None),
            ConnectPhase::Connecting(connector) => Ok(Some(connector)),
            ConnectPhase::Failed(cause) => cause.take().map_or(Ok(None), Err),
        }
    }
}

impl Dial for Connecting {
    type Connection = Stream;
    type Error = Cause;

    fn intents(&self, intents: &mut Intents<'_>) {
        match &self.phase {
            ConnectPhase::Resolving(waiter, until) => {
                if let Some(waiter) = waiter {
                    waiter.lookup.intents(intents);
                }
                intents.deadline(*until);
            }
            ConnectPhase::Connecting(connector) => connector.intents(intents),
            ConnectPhase::Pausing(at) => intents.deadline(*at),
            ConnectPhase::Failed(_) => {}
        }
    }

    fn advance(&mut self, ready: &Ready<'_>) -> Connect<Stream, Cause> {
        let connector = match self.connector(ready) {
            Ok(Some(connector)) => connector,
            Ok(None) => return Connect::Pending,
            Err(cause) => return Connect::Failed(cause),
        };
        match connector.advance(ready) {
            Connect::Pending => Connect::Pending,
            Connect::Connected(connected) => {
                let passed_over: Vec<SocketAddr> = connector.passed_over().collect();
                let mut addresses = self.upstream.addresses.borrow_mut();
                addresses.avoid(passed_over.into_iter(), ready.now());
                Connect::Connected(connected)
            }
            Connect::Failed(error) => {
                let mut addresses = self.upstream.addresses.borrow_mut();
                addresses.doubt(ready.now());
                addresses.avoid(error.attempts.iter().map(|&(address, _)| address), ready.now());
                drop(addresses);
                match self.retry.after(error.attempts.last().map(|(_, error)| error), ready.now()) {
                    Some(at) => {
                        self.phase = ConnectPhase::Pausing(at);
                        Connect::Pending
                    }
                    None => Connect::Failed(cause(&error)),
                }
            }
        }
    }
}

/// The last attempt decides the reason: it had the most time.
fn cause(error: &ConnectError) -> Cause {
    let last = error.attempts.last();
    let reason = last.map_or(Reason::Unreachable, |(_, error)| Reason::of_attempt(error));
    let by = if reason == Reason::Exhausted { By::Proxy } else { By::Server };
    Cause::with_detail(by, reason, error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use eventloop::testing::Stage;
    use std::net::{IpAddr, Ipv4Addr};

    const CLIENT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 47690);

    fn addresses() -> Vec<SocketAddr> {
        ["192.0.2.2:80", "192.0.2.1:80", "[2001:db8::1]:80"].map(|address| address.parse().unwrap()).to_vec()
    }

    fn first_addresses(config: Config, sessions: usize) -> Vec<String> {
        let upstream = Upstream::new(Rc::new(config), addresses(), Vec::new(), Instant::now());
        (0..sessions).map(|_| upstream.order(&addresses())[0].to_string()).collect()
    }

    #[test]
    fn with_spread_sessions_begin_with_the_addresses_in_turn_and_keep_all_of_them() {
        let config = Config { spread: true, ..Config::new("host", 80) };
        let turns = ["192.0.2.1:80", "192.0.2.2:80", "[2001:db8::1]:80"];
        assert_eq!(first_addresses(config.clone(), 6), [turns, turns].concat());
        let upstream = Upstream::new(Rc::new(config), addresses(), Vec::new(), Instant::now());
        for _ in 0..4 {
            let mut order = upstream.order(&addresses());
            order.sort_unstable();
            assert_eq!(order.len(), 3);
            order.dedup();
            assert_eq!(order.len(), 3);
        }
        // As the resolver shuffles its answers, the turn stays.
        let shuffled: Vec<SocketAddr> = addresses().into_iter().rev().collect();
        let firsts = [addresses(), shuffled].map(|addresses| upstream.order(&addresses)[0]);
        assert_ne!(firsts[0], firsts[1]);
    }

    #[test]
    fn without_spread_each_session_begins_with_the_first_address() {
        assert_eq!(first_addresses(Config::new("host", 80), 2), ["192.0.2.2:80"; 2]);
        let source = vec!["2001:db8::7".parse().unwrap()];
        let config = Config { source, ..Config::new("host", 80) };
        assert_eq!(first_addresses(config, 2), ["[2001:db8::1]:80"; 2]);
    }

    /// The addresses of the server's name may lead back to the proxy at any time: the machine may get an address, or
    /// the name.
    #[test]
    fn a_server_whose_every_address_is_the_proxys_own_is_not_connected() {
        let (own, now) = (SocketAddr::from(([127, 0, 0, 1], 80)), Instant::now());
        let listening = vec![ListenAddress::dual_stack(own)];
        let config = Config::new("localhost", 80);
        let upstream = Rc::new(Upstream::new(config.into(), vec![own], listening, now));
        let stage = Stage::new();
        match upstream.connect(CLIENT, now).advance(&stage.ready(now)) {
            Connect::Failed(cause) => assert_eq!((cause.by, cause.reason), (By::Proxy, Reason::Loop)),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn of_several_addresses_those_that_lead_back_are_left_out() {
        let server = std::net::TcpListener::bind("127.0.0.2:0").unwrap();
        let address = server.local_addr().unwrap();
        let own = SocketAddr::from(([127, 0, 0, 1], address.port()));
        let now = Instant::now();
        let listening = vec![ListenAddress::dual_stack(own)];
        let config = Config::new("localhost", address.port());
        let upstream = Rc::new(Upstream::new(config.into(), vec![own, address], listening, now));
        let stage = Stage::new();
        match upstream.connect(CLIENT, now).advance(&stage.ready(now)) {
            Connect::Connected(connected) => assert_eq!(connected.address, address),
            other => panic!("{other:?}"),
        }
    }
}
