//! Clients that were accepted and cannot be served yet.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io::ErrorKind;
use std::net::SocketAddr;

use eventloop::{AddressPermit, Intents, Ready, Stream, Waker};

/// The clients at the head of the accept queue, which are accepted for their addresses and to see whether they are
/// still there. A session yields only to one that is; the others are served in their turn.
///
/// A client that has reset its connection has left. So has one that has finished without having sent anything, as far
/// as is known: it may also have closed for writing alone, so it keeps its turn.
#[derive(Debug, Default)]
pub(crate) struct PendingClients {
    clients: RefCell<VecDeque<PendingClient>>,
    /// A client is known to wait. A session that yields to it clears this.
    known: Cell<bool>,
    /// Accepts further clients.
    acceptor: RefCell<Option<Waker>>,
}

/// A client that waits.
#[derive(Debug)]
pub(crate) struct PendingClient {
    pub(crate) stream: Stream,
    pub(crate) address: SocketAddr,
    pub(crate) permit: AddressPermit,
    /// Its connection has failed: looking takes the error away.
    failed: Cell<bool>,
}

/// How many clients are accepted at most before they can be served: beside one that is there, those that have finished.
pub(crate) const MAX_PENDING: usize = 8;

/// What a pending client has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Presence {
    Waits,
    Finished,
    Left,
}

impl PendingClients {
    /// Whether a client was seen to wait.
    pub(crate) fn is_known(&self) -> bool {
        self.known.get()
    }

    /// A client waits; `true` if that was not known.
    pub(crate) fn note(&self) -> bool {
        !self.known.replace(true)
    }

    /// A session makes room for the client that is known, or the client is admitted.
    pub(crate) fn forget(&self) {
        self.known.set(false);
    }

    /// Whether a client waits now. If the one that was known has left, the acceptor is woken to look for another.
    pub(crate) fn confirm(&self) -> bool {
        if self.known.get() && !self.clients.borrow().is_empty() && !self.has_waiting() {
            self.known.set(false);
            self.wake_acceptor();
        }
        self.known.get()
    }

    /// Lets the acceptor look at the clients that wait, and for others.
    pub(crate) fn wake_acceptor(&self) {
        if let Some(acceptor) = &*self.acceptor.borrow() {
            acceptor.wake();
        }
    }

    /// Whether one of the clients has not left.
    pub(crate) fn has_waiting(&self) -> bool {
        self.clients.borrow().iter().any(|client| client.presence() == Presence::Waits)
    }

    /// Whether a further client is to be accepted: none is there that waits.
    pub(crate) fn wants_more(&self) -> bool {
        self.clients.borrow().len() < MAX_PENDING && !self.has_waiting()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.clients.borrow().is_empty()
    }

    pub(crate) fn push(&self, client: PendingClient, acceptor: Waker) {
        self.clients.borrow_mut().push_back(client);
        *self.acceptor.borrow_mut() = Some(acceptor);
    }

    /// The client whose turn it is.
    pub(crate) fn pop(&self) -> Option<PendingClient> {
        self.clients.borrow_mut().pop_front()
    }

    /// Drops one that fits; `false` if none does. The acceptor is woken to look for another.
    pub(crate) fn remove(&self, fits: impl Fn(&PendingClient) -> bool) -> bool {
        let mut clients = self.clients.borrow_mut();
        let found = clients.iter().position(fits).and_then(|at| clients.remove(at)).is_some();
        drop(clients);
        if found {
            self.known.set(self.known.get() && self.has_waiting());
            self.wake_acceptor();
        }
        found
    }

    /// Declares that their failure is of interest.
    pub(crate) fn intents(&self, intents: &mut Intents<'_>) {
        for client in &*self.clients.borrow() {
            intents.hangup(&client.stream);
        }
    }

    /// Drops those whose connection has failed.
    pub(crate) fn remove_failed(&self, ready: &Ready<'_>) {
        let mut clients = self.clients.borrow_mut();
        let before = clients.len();
        clients.retain(|client| {
            let looked_at = client.failed.get() || ready.is_hung_up(&client.stream);
            !looked_at || client.presence() != Presence::Left
        });
        let removed = clients.len() < before;
        drop(clients);
        if removed && !self.has_waiting() {
            self.known.set(false);
        }
    }
}

impl PendingClient {
    pub(crate) fn new(stream: Stream, address: SocketAddr, permit: AddressPermit) -> Self {
        Self { stream, address, permit, failed: Cell::new(false) }
    }

    fn presence(&self) -> Presence {
        if self.failed.get() {
            return Presence::Left;
        }
        match self.stream.peek(&mut [0]) {
            Ok(0) => Presence::Finished,
            Ok(_) => Presence::Waits,
            Err(error) if error.kind() == ErrorKind::WouldBlock => Presence::Waits,
            Err(_) => {
                self.failed.set(true);
                Presence::Left
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use eventloop::EventLoop;
    use eventloop::testing::{idle, pair};

    use super::*;

    /// Otherwise it would accept no client ever again: while one waits, it does not look for others.
    #[test]
    fn the_acceptor_is_woken_when_a_session_takes_the_last_client_away() {
        let mut event_loop = EventLoop::new().unwrap();
        let acceptor = event_loop.spawn(idle());
        event_loop.turn(Some(Duration::ZERO)).unwrap();
        let pending = PendingClients::default();
        let (own, _peer) = pair().unwrap();
        let address = own.peer_addr().unwrap();
        let client = PendingClient::new(Stream::new(own).unwrap(), address, AddressPermit::unlimited());
        pending.push(client, acceptor);
        assert!(pending.note() && pending.has_waiting() && !pending.wants_more());
        assert!(pending.remove(|client| client.address == address));
        assert!(!pending.is_known() && pending.wants_more());
        assert_eq!(event_loop.turn(Some(Duration::ZERO)).unwrap(), 1);
    }
}
