//! Connections to the server that come back to the proxy as clients.

use std::cell::{Cell, RefCell};
use std::collections::hash_map::{Entry, RandomState};
use std::collections::{HashMap, HashSet};
use std::hash::BuildHasher;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use eventloop::{Handle, SessionId, Stream};
use tracing::warn;

use crate::log_interval::LogInterval;
use crate::pending_clients::PendingClients;

/// The clients that are connected, to find a loop that the address of the server does not show: a redirection by the
/// packet filter (NAT), or an address that only the routing table leads here.
///
/// Once in its life a session compares the two ends of its connection to the server with those of each client. Its own
/// end alone says little: a client on this machine may have the same address and port, towards another destination.
///
/// A session is known by the address of its client.
#[derive(Debug)]
pub(crate) struct Loops {
    /// The event loop of the sessions.
    handle: Handle,
    /// Each session, by the hash of its client's address: the address itself takes four times the memory. If two have the
    /// same hash, the earlier one is not found.
    sessions: RefCell<HashMap<u64, SessionId>>,
    hasher: RandomState,
    /// What sessions are asked.
    questions: RefCell<HashMap<SocketAddr, Question>>,
    /// Sessions that are found to be an end of a loop, and do not know it yet.
    found: RefCell<HashSet<SocketAddr>>,
    /// The age at which a session looks for a loop.
    check_age: Duration,
    /// When a loop was found last.
    found_at: Cell<Option<Instant>>,
    warning: LogInterval,
}

/// Whether the client of a session is a connection to the server.
#[derive(Debug)]
struct Question {
    /// The address that the connection was made to.
    address: SocketAddr,
    /// The session that has made it.
    asker: SocketAddr,
}

/// The age at which a session looks for a loop, for some time after one was found.
const LOOK_SOON: Duration = Duration::from_millis(50);

/// For how long after a loop the next one is looked for soon.
const INTERVAL: Duration = Duration::from_secs(60);

impl Loops {
    /// Of the sessions of this event loop.
    pub(crate) fn new(handle: Handle, check_age: Duration) -> Self {
        Self {
            handle,
            check_age,
            sessions: RefCell::default(),
            hasher: RandomState::new(),
            questions: RefCell::default(),
            found: RefCell::default(),
            found_at: Cell::default(),
            warning: LogInterval::default(),
        }
    }

    /// There is a session with a client of this address. Without memory to note it, it is not found.
    pub(crate) fn note(&self, client: SocketAddr, session: SessionId) {
        let mut sessions = self.sessions.borrow_mut();
        if sessions.try_reserve(1).is_ok() {
            sessions.insert(self.hasher.hash_one(client), session);
        }
    }

    /// A session with a client of this address is over. Another one may have a client of the same address by now.
    pub(crate) fn forget(&self, client: SocketAddr) {
        let hash = self.hasher.hash_one(client);
        if let Entry::Occupied(noted) = self.sessions.borrow_mut().entry(hash)
            && self.handle.is_over(*noted.get())
        {
            noted.remove();
            if self.is_busy() {
                self.questions.borrow_mut().remove(&client);
                self.found.borrow_mut().remove(&client);
            }
        }
    }

    /// The age at which a session that is connected at `now` looks for a loop.
    pub(crate) fn check_age(&self, now: Instant) -> Duration {
        let was_found = self.found_at.get().is_some_and(|found| now < found + INTERVAL);
        if was_found { LOOK_SOON } else { self.check_age }
    }

    /// Looks for the client that this connection to the server is, for the session with the client `asker`. The answer
    /// comes in a later step, as [`is_loop`](Self::is_loop). A client that is pending has no session to answer and is
    /// dropped at once.
    pub(crate) fn look(
        &self,
        asker: SocketAddr,
        server: &Stream,
        address: SocketAddr,
        pending: &PendingClients,
        now: Instant,
    ) {
        let Ok(local) = server.local_addr() else { return };
        if pending.remove(|client| client.address == local && leads_to(&client.stream, address)) {
            self.report(local, address, now);
            self.found.borrow_mut().insert(asker);
        } else if local != asker
            && let Some(&session) = self.sessions.borrow().get(&self.hasher.hash_one(local))
        {
            self.questions.borrow_mut().insert(local, Question { address, asker });
            self.handle.wake(session);
        }
    }

    /// Whether one end of this session is the other end of one. `client` is the client's connection.
    pub(crate) fn is_loop(&self, session: SocketAddr, client: Option<&Stream>, now: Instant) -> bool {
        if !self.is_busy() {
            return false;
        }
        let question = self.questions.borrow_mut().remove(&session);
        if let Some(Question { address, asker }) = question
            && client.is_some_and(|client| leads_to(client, address))
        {
            self.report(session, address, now);
            self.found.borrow_mut().extend([session, asker]);
            if let Some(&asker) = self.sessions.borrow().get(&self.hasher.hash_one(asker)) {
                self.handle.wake(asker);
            }
        }
        self.found.borrow_mut().remove(&session)
    }

    /// Whether a session is asked, or found.
    fn is_busy(&self) -> bool {
        !self.questions.borrow().is_empty() || !self.found.borrow().is_empty()
    }

    fn report(&self, client: SocketAddr, server: SocketAddr, now: Instant) {
        self.found_at.set(Some(now));
        if self.warning.allows(now) {
            warn!(%client, %server, "the server's address leads back to this proxy; resetting both ends");
        }
    }
}

/// Whether the client has connected to this address.
fn leads_to(client: &Stream, address: SocketAddr) -> bool {
    let end = |address: SocketAddr| (address.ip().to_canonical(), address.port());
    client.original_destination().is_ok_and(|destination| end(destination) == end(address))
}

#[cfg(test)]
mod tests {
    use super::*;
    use eventloop::EventLoop;
    use eventloop::testing::idle;
    use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream};

    /// Our connection to a server, and what the server accepts.
    fn connection(listener: &TcpListener) -> (Stream, Stream, SocketAddr) {
        let ours = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (accepted, address) = listener.accept().unwrap();
        (Stream::new(ours).unwrap(), Stream::new(accepted).unwrap(), address)
    }

    const CHECK_AGE: Duration = Duration::from_secs(2);
    const CLIENT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 4711);

    #[test]
    fn a_client_that_is_a_connection_of_ours_is_found_by_both_sessions() {
        let mut event_loop = EventLoop::new().unwrap();
        let (loops, now) = (Loops::new(event_loop.handle(), CHECK_AGE), Instant::now());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (ours, client, address) = connection(&listener);
        loops.note(CLIENT, event_loop.spawn(idle()).session());
        loops.note(address, event_loop.spawn(idle()).session());
        assert_eq!(event_loop.turn(Some(Duration::ZERO)).unwrap(), 2);
        assert!(!loops.is_loop(CLIENT, None, now) && !loops.is_loop(address, Some(&client), now));
        assert_eq!(loops.check_age(now), CHECK_AGE);
        loops.look(CLIENT, &ours, listener.local_addr().unwrap(), &PendingClients::default(), now);
        assert_eq!(event_loop.turn(Some(Duration::ZERO)).unwrap(), 1, "the session of the client is woken");
        assert!(loops.is_loop(address, Some(&client), now));
        assert_eq!(event_loop.turn(Some(Duration::ZERO)).unwrap(), 1, "and so is the one that has asked");
        assert!(loops.is_loop(CLIENT, None, now));
        assert_eq!(loops.check_age(now), LOOK_SOON);
        assert_eq!(loops.check_age(now + INTERVAL), CHECK_AGE);
    }

    /// The kernel gives one local port to several connections, if their destinations differ.
    #[test]
    fn a_client_with_the_address_of_a_connection_of_ours_but_another_destination_is_no_loop() {
        let mut event_loop = EventLoop::new().unwrap();
        let (loops, now) = (Loops::new(event_loop.handle(), CHECK_AGE), Instant::now());
        let (server, listener) =
            (TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
        let (ours, _accepted, address) = connection(&server);
        let (_client, client, _) = connection(&listener);
        loops.note(address, event_loop.spawn(idle()).session());
        loops.look(CLIENT, &ours, server.local_addr().unwrap(), &PendingClients::default(), now);
        assert!(!loops.is_loop(address, Some(&client), now));
        assert!(!loops.is_loop(CLIENT, None, now));
    }

    #[test]
    fn a_session_that_is_over_takes_no_memory_and_leaves_a_later_one_of_the_same_address_alone() {
        let mut event_loop = EventLoop::new().unwrap();
        let loops = Loops::new(event_loop.handle(), CHECK_AGE);
        loops.note(CLIENT, event_loop.spawn(idle()).session());
        loops.forget(CLIENT); // an earlier session
        assert_eq!(loops.sessions.borrow().len(), 1);
        drop(event_loop);
        loops.forget(CLIENT);
        assert!(loops.sessions.borrow().is_empty());
    }
}
