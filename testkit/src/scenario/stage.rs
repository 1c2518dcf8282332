use std::collections::{HashMap, VecDeque};
use std::io;
use std::mem;
use std::net::SocketAddr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::peer::{Connection, Listener, PeerOptions, Report, Server};
use crate::scenario::{Kind, NAME, PATIENCE, Played, Scenario};

/// A proxy with a server behind it that plays its side of each session as its client comes.
///
/// Sessions are played from any number of threads. Several at once have to be drawn as concurrent ones.
#[derive(Debug)]
pub struct Stage {
    /// Where the proxy listens.
    proxy: Vec<SocketAddr>,
    /// Where the server does.
    origin: Vec<SocketAddr>,
    sessions: Arc<Sessions>,
    servers: Mutex<Vec<Server<()>>>,
}

/// What clients and servers share.
#[derive(Debug)]
struct Sessions {
    concurrent: bool,
    state: Mutex<SessionState>,
    served: Condvar,
}

#[derive(Debug, Default)]
struct SessionState {
    /// The sessions whose client is not done, or whose server is not.
    under_way: HashMap<Name, Entry>,
    /// The last of those whose client vanished before the server was reached. It may still be.
    vanished: VecDeque<(Name, Arc<Scenario>)>,
    /// How many clients have vanished, or will.
    vanishing: usize,
    /// Connections that brought too few bytes for a name.
    nameless: usize,
    /// What no session is to blame for.
    faults: Vec<String>,
}

#[derive(Debug)]
struct Entry {
    scenario: Arc<Scenario>,
    /// The report of each connection to the server; `None` while it lasts.
    served: Vec<Option<Report>>,
}

type Name = [u8; NAME as usize];

/// How many sessions are remembered whose client vanished. A connection that comes later than these came too late.
const MEMORY: usize = 4096;

impl Stage {
    /// A stage around the proxy at these addresses, which forwards to these listeners. A client takes one of the
    /// addresses, as its scenario has drawn it.
    ///
    /// Concurrent sessions are distinguished by the first bytes of their clients. Otherwise there is one at a time.
    ///
    /// # Errors
    ///
    /// When there is no descriptor left.
    ///
    /// # Panics
    ///
    /// When there is no address, or no listener.
    pub fn new(proxy: Vec<SocketAddr>, origin: Vec<Listener>, concurrent: bool) -> io::Result<Self> {
        assert!(!proxy.is_empty() && !origin.is_empty(), "a proxy stands between two addresses");
        let sessions = Arc::new(Sessions { concurrent, state: Mutex::default(), served: Condvar::new() });
        let stage = Self {
            proxy,
            origin: origin.iter().map(Listener::address).collect(),
            sessions,
            servers: Mutex::default(),
        };
        stage.serve_at(origin)?;
        Ok(stage)
    }

    /// Where the proxy listens.
    pub fn proxy(&self) -> &[SocketAddr] {
        &self.proxy
    }

    /// Plays one session to its end.
    ///
    /// # Panics
    ///
    /// When a session is under way that cannot be told from this one.
    pub fn play(&self, scenario: &Scenario) -> Played {
        let name = self.sessions.enter(scenario);
        let address = scenario.address(&self.proxy);
        let client = Connection::connect(address, scenario.client_options(), PATIENCE)
            .map(|connection| connection.run(&scenario.client_script()));
        let servers = self.sessions.leave(&name);
        Played { scenario: scenario.clone(), client, servers }
    }

    /// What went wrong that no session is to blame for, such as a connection that no client made.
    ///
    /// # Errors
    ///
    /// All of it.
    pub fn check(&self) -> Result<(), String> {
        let state = self.sessions.lock();
        let mut faults = state.faults.clone();
        // A client that resets at once may take back even its name.
        if state.nameless > state.vanishing {
            faults.push(format!(
                "{} connections to the server began with no name of a session, but only {} clients vanished",
                state.nameless, state.vanishing
            ));
        }
        if faults.is_empty() { Ok(()) } else { Err(faults.join("\n")) }
    }

    /// Closes the server while `meanwhile` runs: a client that is forwarded to it is refused. No session may be under way.
    ///
    /// # Errors
    ///
    /// When the addresses cannot be listened on again.
    pub fn without_server<T>(&self, meanwhile: impl FnOnce() -> T) -> io::Result<T> {
        let servers = mem::take(&mut *self.servers());
        for server in servers {
            server.finish();
        }
        let result = meanwhile();
        let again = self.origin.iter().map(|&address| listen_again(address));
        self.serve_at(again.collect::<io::Result<_>>()?)?;
        Ok(result)
    }

    /// Waits for the connections to the server that are left, and accepts no more.
    ///
    /// # Errors
    ///
    /// As [`check`](Self::check).
    pub fn finish(self) -> Result<(), String> {
        for server in mem::take(&mut *self.servers()) {
            server.finish();
        }
        self.check()
    }

    fn serve_at(&self, listeners: Vec<Listener>) -> io::Result<()> {
        for listener in listeners {
            let sessions = self.sessions.clone();
            self.servers().push(Server::start(listener, move |connection| sessions.serve(connection))?);
        }
        Ok(())
    }

    fn servers(&self) -> MutexGuard<'_, Vec<Server<()>>> {
        self.servers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Plays all `scenarios` at once through the proxy at these addresses, which forwards to `listener`, and judges each.
///
/// # Errors
///
/// Every session that went wrong: what it was, why, and what both sides saw.
///
/// # Panics
///
/// When there is no descriptor left, and when several scenarios were not drawn to run at once.
pub fn play(
    proxy: Vec<SocketAddr>,
    listener: Listener,
    scenarios: &[Scenario],
) -> Result<Vec<Played>, String> {
    let stage = Stage::new(proxy, vec![listener], scenarios.len() > 1)
        .unwrap_or_else(|error| panic!("the server cannot be started: {error}"));
    let played: Vec<_> = thread::scope(|scope| {
        let clients: Vec<_> = scenarios.iter().map(|scenario| scope.spawn(|| stage.play(scenario))).collect();
        let joined = clients.into_iter().map(thread::ScopedJoinHandle::join);
        joined.map(|played| played.unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
    });
    let mut failures: Vec<_> = played
        .iter()
        .filter_map(|played| played.judge().err().map(|why| format!("{why}\n{played:#?}")))
        .collect();
    failures.extend(stage.finish().err());
    if failures.is_empty() { Ok(played) } else { Err(failures.join("\n\n")) }
}

/// Another connection may have got the port for its own meanwhile.
fn listen_again(address: SocketAddr) -> io::Result<Listener> {
    let until = Instant::now() + PATIENCE;
    loop {
        match Listener::bind_to(address, PeerOptions::default()) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && Instant::now() < until => {
                // There is no event for a port that becomes free.
                thread::sleep(Duration::from_millis(20));
            }
            outcome => return outcome,
        }
    }
}

impl Sessions {
    fn lock(&self) -> MutexGuard<'_, SessionState> {
        // Each change of the state is whole: a panic elsewhere spoils nothing.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The session begins.
    fn enter(&self, scenario: &Scenario) -> Name {
        let name = if self.concurrent { scenario.name() } else { Name::default() };
        let entry = Entry { scenario: Arc::new(scenario.clone()), served: Vec::new() };
        let mut state = self.lock();
        state.vanishing += usize::from(scenario.kind == Kind::Vanish);
        assert!(state.under_way.insert(name, entry).is_none(), "two sessions of one name: {scenario:?}");
        name
    }

    /// The client is done: waits until the server is, too.
    fn leave(&self, name: &Name) -> Vec<Report> {
        let state = self.lock();
        // Each connection of the server has its own deadlines.
        let unfinished = |state: &mut SessionState| state.under_way[name].served.iter().any(Option::is_none);
        let mut state = self.served.wait_while(state, unfinished).unwrap_or_else(PoisonError::into_inner);
        let Entry { scenario, served } = state.under_way.remove(name).expect("it was there a moment ago");
        if scenario.kind == Kind::Vanish && served.is_empty() {
            if state.vanished.len() == MEMORY {
                state.vanished.pop_front();
            }
            state.vanished.push_back((*name, scenario));
        }
        served.into_iter().flatten().collect()
    }

    /// Finds out which session this connection is, and plays the server's side of it.
    fn serve(&self, connection: Connection) {
        let Some(name) = self.read_name(&connection) else { return };
        let mut state = self.lock();
        if let Some(entry) = state.under_way.get_mut(&name) {
            let (scenario, number) = (entry.scenario.clone(), entry.served.len());
            entry.served.push(None);
            drop(state);
            let report = connection.run(&scenario.server_script());
            let mut state = self.lock();
            let entry = state.under_way.get_mut(&name).expect("its client waits for this connection");
            entry.served[number] = Some(report);
            self.served.notify_all();
        } else if let Some(at) = state.vanished.iter().position(|(vanished, _)| *vanished == name) {
            let (_, scenario) = state.vanished.remove(at).expect("it was found there");
            drop(state);
            let report = connection.run(&scenario.server_script());
            if let Err(why) = scenario.judge_server(&report) {
                self.lock().faults.push(format!("{why}\n{scenario:?}\nserver: {report:?}"));
            }
        } else {
            let from = connection.remote();
            state.faults.push(if self.concurrent {
                format!("no session begins with {name:02x?}, as the connection from {from} did")
            } else {
                format!("a connection came from {from}, but no client was there")
            });
        }
    }

    fn read_name(&self, connection: &Connection) -> Option<Name> {
        if !self.concurrent {
            return Some(Name::default());
        }
        let read = connection.peek(NAME as usize, PATIENCE).ok().and_then(|bytes| bytes.try_into().ok());
        if read.is_none() {
            self.lock().nameless += 1;
        }
        read
    }
}
