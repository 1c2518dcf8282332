//! Admits clients: a number of them, and not all from one address.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;

use eventloop::{Accept, AddressLimit, Intents, Listener, Progress, Ready, Session, Stream};
use http::StatusCode;

use crate::access::Access;
use crate::client::Client;
use crate::refusal::Refusal;
use crate::shared::Shared;
use crate::site::site;

/// The session that accepts clients.
pub(crate) struct Acceptor {
    shared: Rc<Shared>,
    listener: Listener,
    address_limit: Rc<AddressLimit>,
    /// The log has a line about what ran out since the last client was accepted.
    exhausted: bool,
}

const TOO_MANY: Refusal =
    Refusal::new(StatusCode::TOO_MANY_REQUESTS, "too many connections from this address");

impl Acceptor {
    pub(crate) fn new(shared: Rc<Shared>, listener: Listener) -> Self {
        let address_limit = Rc::new(AddressLimit::new(Some(shared.max_per_address)));
        Self { shared, listener, address_limit, exhausted: false }
    }

    fn admit(&self, stream: Stream, address: SocketAddr, ready: &Ready<'_>) {
        match self.address_limit.admit(site(address.ip())) {
            Some(permit) => {
                if let Some(client) =
                    Client::new(self.shared.clone(), stream, address.ip(), permit, ready.now())
                {
                    ready.spawn(client);
                }
            }
            None => self.turn_away(stream, address.ip()),
        }
    }

    fn accept(&mut self, ready: &Ready<'_>) {
        loop {
            match self.listener.accept(ready) {
                Accept::Client { stream, address } => {
                    self.exhausted = false;
                    self.admit(stream, address, ready);
                }
                Accept::Blocked | Accept::Full => return,
                Accept::Exhausted(error) => {
                    if !std::mem::replace(&mut self.exhausted, true) {
                        self.shared.log.line(&format!("cannot accept clients for now: {error}"));
                    }
                    return;
                }
            }
        }
    }

    /// A new connection takes a short response at once. What its client has sent is read first: unread bytes would turn
    /// the close into a reset.
    fn turn_away(&self, stream: Stream, address: IpAddr) {
        let mut access = Access::new(&self.shared.log, address);
        access.refused(TOO_MANY);
        let _ = stream.receive(&mut [0; 4096]);
        let _ = stream.send(TOO_MANY.encode().as_bytes());
        stream.close();
    }
}

impl Session for Acceptor {
    fn intents(&self, intents: &mut Intents<'_>) {
        self.listener.intents(intents);
    }

    fn advance(&mut self, ready: &Ready<'_>) -> eventloop::Result<Progress> {
        self.accept(ready);
        let lifecycle = &self.shared.lifecycle;
        if !lifecycle.is_draining() {
            return Ok(Progress::Continue);
        }
        // Clients in the queue would be reset with the socket; those that come from now on try another time.
        let _ = self.listener.drop_new_connections(); // where the system cannot, they may be reset
        if self.listener.has_pending_clients() {
            return Ok(Progress::Continue);
        }
        lifecycle.end_accepting();
        Ok(Progress::Done)
    }

    /// A proxy without an acceptor is of no use: it ends, so that a service manager can start the next one.
    fn refused(&mut self, error: io::Error) -> eventloop::Result<()> {
        let why = format!("no further client can be accepted: {error}");
        self.shared.lifecycle.fail(why.clone());
        self.shared.lifecycle.end_accepting();
        Err(why.into())
    }
}
