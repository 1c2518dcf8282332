//! Connections to the server that come back to the proxy as clients.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::{Rc, Weak};
use std::time::{Duration, Instant};

use eventloop::{Stream, Waker};
use tracing::warn;

use crate::pending_clients::PendingClients;

/// The clients that are connected, to find a loop that the address of the server does not show: a redirection by the
/// packet filter (NAT), or an address that only the routing table leads here.
///
/// Once in its life a session compares the two ends of its connection to the server with those of each client. Its own
/// end alone says little: a client on this machine may have the same address and port, towards another destination.
#[derive(Debug, Default)]
pub(crate) struct Loops {
    clients: RefCell<HashMap<SocketAddr, Weak<Shared>>>,
    /// When a loop was found last, and logged last.
    found: Cell<Option<Instant>>,
    logged: Cell<Option<Instant>>,
}

/// A session as one end of a possible loop. Its client can be found as long as this exists.
pub(crate) struct LoopCheck {
    loops: Rc<Loops>,
    client: SocketAddr,
    shared: Rc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    waker: RefCell<Option<Waker>>,
    /// A session whose connection to the server may be this client, and the address that it has connected to.
    asked: RefCell<Option<(SocketAddr, Rc<Shared>)>>,
    is_loop: Cell<bool>,
}

/// The age at which a session looks for a loop. A short session is spared the system call.
pub(crate) const LOOK_AFTER: Duration = Duration::from_secs(2);

/// The same for some time after a loop was found.
const LOOK_SOON: Duration = Duration::from_millis(50);

/// For how long after a loop the next one is looked for soon, and not logged again.
const INTERVAL: Duration = Duration::from_secs(60);

impl Loops {
    /// A session with a client of this address. Without memory to note it, the client is not found.
    pub(crate) fn note(self: &Rc<Self>, client: SocketAddr) -> LoopCheck {
        let shared = Rc::<Shared>::default();
        let mut clients = self.clients.borrow_mut();
        if clients.try_reserve(1).is_ok() {
            clients.insert(client, Rc::downgrade(&shared));
        }
        LoopCheck { loops: self.clone(), client, shared }
    }

    /// At which age a session that is connected at `now` looks for a loop.
    pub(crate) fn look_after(&self, now: Instant) -> Duration {
        let was_found = self.found.get().is_some_and(|found| now < found + INTERVAL);
        if was_found { LOOK_SOON } else { LOOK_AFTER }
    }

    fn report(&self, client: SocketAddr, server: SocketAddr, now: Instant) {
        self.found.set(Some(now));
        if self.logged.get().is_none_or(|logged| logged + INTERVAL <= now) {
            self.logged.set(Some(now));
            warn!(%client, %server, "the server's address leads back to this proxy; resetting both ends");
        }
    }
}

impl LoopCheck {
    /// Looks for the client that this connection to the server is. The answer comes in a later step, as
    /// [`is_loop`](Self::is_loop). A client that is pending has no session to answer and is dropped at once.
    pub(crate) fn look(&self, server: &Stream, address: SocketAddr, pending: &PendingClients, now: Instant) {
        let Ok(local) = server.local_addr() else { return };
        if pending.remove(|client| client.address == local && leads_to(&client.stream, address)) {
            self.loops.report(local, address, now);
            self.shared.is_loop.set(true);
            return;
        }
        let client = self.loops.clients.borrow().get(&local).and_then(Weak::upgrade);
        if let Some(client) = client.filter(|client| !Rc::ptr_eq(client, &self.shared)) {
            *client.asked.borrow_mut() = Some((address, self.shared.clone()));
            client.wake();
        }
    }

    /// Whether one end of this session is the other end of one. `client` is the client's connection; `waker` gives the
    /// waker of this session.
    pub(crate) fn is_loop(
        &self,
        client: Option<&Stream>,
        now: Instant,
        waker: impl FnOnce() -> Waker,
    ) -> bool {
        let shared = &self.shared;
        shared.waker.borrow_mut().get_or_insert_with(waker);
        if let Some((address, session)) = shared.asked.take()
            && client.is_some_and(|client| leads_to(client, address))
        {
            self.loops.report(self.client, address, now);
            shared.is_loop.set(true);
            session.is_loop.set(true);
            session.wake();
        }
        shared.is_loop.get()
    }
}

impl Shared {
    fn wake(&self) {
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake();
        }
    }
}

impl Drop for LoopCheck {
    fn drop(&mut self) {
        let mut clients = self.loops.clients.borrow_mut();
        // A client may come again from the address before the session of the earlier one is over.
        if clients.get(&self.client).is_some_and(|known| known.ptr_eq(&Rc::downgrade(&self.shared))) {
            clients.remove(&self.client);
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
    use eventloop::testing::Stage;
    use std::net::{TcpListener, TcpStream};

    /// Our connection to a server, and what the server accepts.
    fn connection(listener: &TcpListener) -> (Stream, Stream, SocketAddr) {
        let ours = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (accepted, address) = listener.accept().unwrap();
        (Stream::new(ours).unwrap(), Stream::new(accepted).unwrap(), address)
    }

    #[test]
    fn a_client_that_is_a_connection_of_ours_is_found_by_both_sessions() {
        let (loops, stage, now) = (Rc::<Loops>::default(), Stage::new(), Instant::now());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (ours, client, address) = connection(&listener);
        let session = loops.note(([192, 0, 2, 1], 4711).into());
        let its_client = loops.note(address);
        let waker = || stage.ready(now).waker();
        assert!(!session.is_loop(None, now, waker) && !its_client.is_loop(Some(&client), now, waker));
        assert_eq!(loops.look_after(now), LOOK_AFTER);
        session.look(&ours, listener.local_addr().unwrap(), &PendingClients::default(), now);
        assert!(its_client.is_loop(Some(&client), now, waker));
        assert!(session.is_loop(None, now, waker));
        assert_eq!(loops.look_after(now), LOOK_SOON);
        assert_eq!(loops.look_after(now + INTERVAL), LOOK_AFTER);
        drop((session, its_client));
        assert!(loops.clients.borrow().is_empty(), "a session that is over takes no memory");
    }

    /// The kernel gives one local port to several connections, if their destinations differ.
    #[test]
    fn a_client_with_the_address_of_a_connection_of_ours_but_another_destination_is_no_loop() {
        let (loops, stage, now) = (Rc::<Loops>::default(), Stage::new(), Instant::now());
        let (server, listener) =
            (TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
        let (ours, _accepted, address) = connection(&server);
        let (_client, client, _) = connection(&listener);
        let session = loops.note(([192, 0, 2, 1], 4711).into());
        let its_client = loops.note(address);
        let waker = || stage.ready(now).waker();
        session.look(&ours, server.local_addr().unwrap(), &PendingClients::default(), now);
        assert!(!its_client.is_loop(Some(&client), now, waker));
        assert!(!session.is_loop(None, now, waker));
    }
}
