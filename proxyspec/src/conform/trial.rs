//! One case under way: what its function may use.

mod stand;

pub use stand::{RunningProxy, Stand};

use std::io;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::conform::{Service, Stop, Subject, broken};
use crate::recipe::{Recipe, Setting};
use testkit::payload::Payload;
use testkit::peer::{Connection, Gate, Listener, Peer, PeerOptions, Report, Script};
use testkit::procfs::TcpState;
use testkit::proxy::Proxy;
use testkit::seed::Seed;
use testkit::watchdog::Activity;

/// How long a proxy may take to reach its server, or to answer, on a busy machine.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// How often a condition without an event is looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// One case under way: what it is about, and what it may use.
#[derive(Debug)]
pub struct Trial {
    subject: Subject,
    service: Service,
    seed: Seed,
    status: Activity,
    notes: Mutex<Notes>,
}

#[derive(Debug, Default)]
struct Notes {
    /// The processes of the proxies that were started, to be ended if the case does not end.
    started: Vec<u32>,
    /// How proxies have ended by themselves.
    deaths: Vec<String>,
}

impl Trial {
    pub(super) fn new(subject: Subject, service: Service, seed: Seed) -> Self {
        Self { subject, service, seed, status: Activity::default(), notes: Mutex::default() }
    }

    /// What decides everything random in this case.
    pub const fn seed(&self) -> Seed {
        self.seed
    }

    /// The bytes that clients send and servers expect.
    pub fn upwards(&self) -> Payload {
        Payload::new(self.seed.derive("upwards"))
    }

    /// The bytes that servers send and clients expect.
    pub fn downwards(&self) -> Payload {
        Payload::new(self.seed.derive("downwards"))
    }

    /// How many clients the proxy serves.
    pub const fn service(&self) -> Service {
        self.service
    }

    /// Notes what the case is doing, for the report if it does not end.
    pub fn doing(&self, what: impl Into<String>) {
        self.status.set(what);
    }

    /// The recipe of the proxy, for cases that start it in their own way.
    ///
    /// # Errors
    ///
    /// [`Stop::NotApplicable`] when the suite has not started it.
    pub fn recipe(&self) -> Result<&Recipe, Stop> {
        match &self.subject {
            Subject::Command(recipe) => Ok(recipe),
            Subject::Running { .. } => Err(Stop::NotApplicable("the proxy was not started here".to_owned())),
        }
    }

    /// The recipe with this setting.
    ///
    /// # Errors
    ///
    /// [`Stop::NotApplicable`] when the recipe does not say where it goes.
    pub fn recipe_with(&self, setting: Setting, value: &str) -> Result<Recipe, Stop> {
        let recipe = self.recipe()?;
        if !recipe.takes(setting) {
            let why = format!("its command does not say {{{}:…}}", setting.name());
            return Err(Stop::NotApplicable(why));
        }
        Ok(recipe.with(setting, value))
    }

    /// Where a server for the proxy has to listen; port 0 is any.
    pub fn origin(&self) -> SocketAddr {
        match &self.subject {
            Subject::Command(_) => SocketAddr::from(([127, 0, 0, 1], 0)),
            Subject::Running { origin, .. } => *origin,
        }
    }

    /// A server's socket for the proxy.
    ///
    /// # Errors
    ///
    /// When the address is taken.
    pub fn listen(&self, options: PeerOptions) -> Result<Listener, Stop> {
        Ok(Listener::bind_to(self.origin(), options)?)
    }

    /// The proxy, in front of the server at `origin`.
    ///
    /// # Errors
    ///
    /// When it cannot be started.
    pub fn start(&self, origin: SocketAddr) -> Result<RunningProxy<'_>, Stop> {
        match &self.subject {
            Subject::Command(recipe) => self.start_recipe(recipe, &origin.ip().to_string(), origin.port()),
            Subject::Running { proxy, .. } => Ok(RunningProxy { trial: self, address: *proxy, proxy: None }),
        }
    }

    /// The proxy in front of a server that is slow to answer: it has ten minutes to connect, if it has a
    /// setting for it: the next SYN may be a minute away.
    ///
    /// # Errors
    ///
    /// When it cannot be started.
    pub fn start_patiently(&self, origin: SocketAddr) -> Result<RunningProxy<'_>, Stop> {
        match self.recipe_with(Setting::Connect, "600") {
            Ok(recipe) => self.start_recipe(&recipe, &origin.ip().to_string(), origin.port()),
            Err(_) => self.start(origin),
        }
    }

    /// The proxy from a recipe of the case's own, in front of any host.
    ///
    /// # Errors
    ///
    /// When it cannot be started.
    pub fn start_recipe(&self, recipe: &Recipe, host: &str, port: u16) -> Result<RunningProxy<'_>, Stop> {
        self.doing("starting the proxy");
        Ok(self.running(recipe.start(host, port)?))
    }

    fn running(&self, proxy: Proxy) -> RunningProxy<'_> {
        self.notes().started.push(proxy.pid());
        self.doing("");
        RunningProxy { trial: self, address: proxy.address(), proxy: Some(proxy) }
    }

    /// The proxy again, on a port that it had before, in front of its server.
    ///
    /// # Errors
    ///
    /// When it cannot be started.
    pub fn stand_again(&self, recipe: &Recipe, listener: Listener, listen: u16) -> Result<Stand<'_>, Stop> {
        self.doing("starting the proxy again");
        let origin = listener.address();
        let running = self.running(recipe.start_on(&origin.ip().to_string(), origin.port(), listen)?);
        Ok(Stand { trial: self, listener, running })
    }

    /// The proxy in front of a server of this suite, with default options.
    ///
    /// # Errors
    ///
    /// When one of them cannot be started.
    pub fn stand(&self) -> Result<Stand<'_>, Stop> {
        self.stand_with(PeerOptions::default())
    }

    /// The proxy in front of a server of this suite, whose connections have these options.
    ///
    /// # Errors
    ///
    /// When one of them cannot be started.
    pub fn stand_with(&self, options: PeerOptions) -> Result<Stand<'_>, Stop> {
        let listener = self.listen(options)?;
        let running = self.start(listener.address())?;
        Ok(Stand { trial: self, listener, running })
    }

    /// The proxy from a recipe of the case's own in front of a server of this suite, whose connections have these
    /// options.
    ///
    /// # Errors
    ///
    /// When one of them cannot be started.
    pub fn stand_of(&self, recipe: &Recipe, options: PeerOptions) -> Result<Stand<'_>, Stop> {
        let listener = self.listen(options)?;
        let host = listener.address().ip().to_string();
        self.stand_before(recipe, &host, listener)
    }

    /// The proxy with this setting in front of a server of this suite, with default options.
    ///
    /// # Errors
    ///
    /// [`Stop::NotApplicable`] when it has no such setting; and when one of them cannot be started.
    pub fn stand_set(&self, setting: Setting, value: &str) -> Result<Stand<'_>, Stop> {
        self.stand_of(&self.recipe_with(setting, value)?, PeerOptions::default())
    }

    /// The proxy from a recipe of the case's own in front of this server, which it connects to at `host`.
    ///
    /// # Errors
    ///
    /// When it cannot be started.
    pub fn stand_before(&self, recipe: &Recipe, host: &str, listener: Listener) -> Result<Stand<'_>, Stop> {
        let running = self.start_recipe(recipe, host, listener.address().port())?;
        Ok(Stand { trial: self, listener, running })
    }

    /// The script of a client: with what clients send and expect.
    pub fn of_client(&self, script: Script) -> Script {
        let script = script.sends(self.upwards()).expects(self.downwards());
        script.seed(self.seed.derive("client")).through(self.started())
    }

    /// The script of a server.
    pub fn of_server(&self, script: Script) -> Script {
        let script = script.sends(self.downwards()).expects(self.upwards());
        script.seed(self.seed.derive("server")).through(self.started())
    }

    pub(super) const fn status(&self) -> &Activity {
        &self.status
    }

    /// The processes of the proxies that run.
    pub(super) fn started(&self) -> Vec<u32> {
        self.notes().started.clone()
    }

    /// How proxies have ended by themselves.
    pub(super) fn deaths(&self) -> Vec<String> {
        self.notes().deaths.clone()
    }

    fn notes(&self) -> std::sync::MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits for a condition without an event, such as the state of a process.
///
/// # Errors
///
/// What `look` found at last, when it did not find the right thing within `patience`; and whatever fails in it.
pub(super) fn until<T>(
    patience: Duration,
    mut look: impl FnMut() -> Result<Result<T, String>, Stop>,
) -> Result<T, Stop> {
    let until = Instant::now() + patience;
    loop {
        let begin = Instant::now();
        match look()? {
            Ok(found) => return Ok(found),
            Err(observed) if Instant::now() > until => return broken(observed),
            // Where tables are long, looking is not all that is done.
            Err(_) => thread::sleep(LOOK_AGAIN.max(begin.elapsed())),
        }
    }
}

/// The states of the proxy's connections.
pub(super) fn connections(proxy: &Proxy) -> Result<Vec<TcpState>, Stop> {
    let sockets = alive(proxy.sockets())?;
    Ok(sockets.iter().map(|socket| socket.state).filter(|state| *state != TcpState::Listen).collect())
}

/// Waits until the proxy connects to its server.
pub(super) fn until_connecting(proxy: &Proxy) -> Result<(), Stop> {
    until(PATIENCE, || {
        let states = connections(proxy)?;
        let observed = || format!("the proxy does not connect to the server; its connections are {states:?}");
        Ok(states.contains(&TcpState::SynSent).then_some(()).ok_or_else(observed))
    })
}

/// Waits until a step of a script has opened the gate.
///
/// # Errors
///
/// `otherwise`, when it is not open within `patience`.
pub(super) fn passed(gate: &Gate, patience: Duration, otherwise: &str) -> Result<(), Stop> {
    if gate.wait(patience) { Ok(()) } else { broken(otherwise) }
}

/// A connection of a client to the proxy at this address.
pub(super) fn connect(proxy: SocketAddr, options: PeerOptions) -> Result<Connection, Stop> {
    Connection::connect(proxy, options, PATIENCE).or_else(no_connection)
}

/// Waits until the script of a peer has ended, and returns what it saw.
pub(super) fn joined(peer: Peer) -> Result<Report, Stop> {
    peer.join().or_else(no_connection)
}

/// A client has no connection.
pub(super) fn no_connection<T>(error: io::Error) -> Result<T, Stop> {
    broken(format!("no connection to the proxy: {error}"))
}

/// [`io::Result`] of a figure of a proxy: that it has ended is a broken promise.
pub(super) fn alive<T>(figure: io::Result<T>) -> Result<T, Stop> {
    figure.or_else(|error| broken(format!("the proxy cannot be looked at: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_that_does_not_come_is_reported_as_it_was_seen_last() {
        let mut looks = 0;
        let outcome = until(Duration::from_millis(20), || {
            looks += 1;
            Ok(if looks < 0 { Ok(()) } else { Err(format!("look {looks}")) })
        });
        assert_eq!(outcome, broken(format!("look {looks}")));
    }
}
