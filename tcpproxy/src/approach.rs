//! The way from a client to the server, until there is a connection.

use std::net::SocketAddr;
use std::time::Instant;

use eventloop::{Connect, ConnectError, Connected, Connector, Intents, Ready, SocketOptions};

use crate::destination::{Directions, Inquiry};
use crate::ending::How;
use crate::proxy::Shared;

/// A session's way to its server: the name is looked up, and the connection made.
///
/// It is a part of a session: the session passes on [`intents`](Self::intents) and calls
/// [`advance`](Self::advance). Dropping it gives up.
#[derive(Debug)]
pub(crate) enum Approach {
    Resolving(Inquiry),
    Connecting(Connector),
}

/// How far an approach has come.
#[must_use]
#[derive(Debug)]
pub(crate) enum Arrival {
    /// Not there yet.
    Pending,
    /// The server is reached.
    Reached(Connected),
    /// It cannot be reached: how, and in words.
    Failed(How, String),
}

impl Approach {
    /// Sets out. The first attempt to connect is made in the first step.
    pub(crate) fn new(shared: &Shared, now: Instant) -> Self {
        match shared.destination.borrow_mut().directions(now) {
            Directions::Known(addresses) => Self::connecting(shared, &addresses, now),
            Directions::Ask(inquiry) => Self::Resolving(inquiry),
        }
    }

    fn connecting(shared: &Shared, addresses: &[SocketAddr], now: Instant) -> Self {
        let options = SocketOptions { keepalive: shared.config.keepalive };
        Self::Connecting(Connector::new(addresses, shared.config.connect_timeout, options, now))
    }

    pub(crate) fn intents(&self, want: &mut Intents<'_>) {
        match self {
            Self::Resolving(inquiry) => inquiry.lookup.intents(want),
            Self::Connecting(connector) => connector.intents(want),
        }
    }

    /// Gets on with it.
    pub(crate) fn advance(&mut self, shared: &Shared, ready: &Ready<'_>) -> Arrival {
        let now = ready.now();
        if let Self::Resolving(inquiry) = self {
            let Some(answer) = inquiry.lookup.advance(ready) else { return Arrival::Pending };
            let addresses = shared.destination.borrow_mut().learn(answer, now);
            *self = Self::connecting(shared, &addresses, now);
        }
        let Self::Connecting(connector) = self else { return Arrival::Pending };
        match connector.advance(ready) {
            Connect::Pending => Arrival::Pending,
            Connect::Connected(server) => Arrival::Reached(server),
            Connect::Failed(error) => {
                shared.destination.borrow_mut().doubt(now);
                Arrival::Failed(how_it_failed(&error), error.to_string())
            }
        }
    }
}

/// The last attempt speaks for all: it is the one that was given the most time.
fn how_it_failed(error: &ConnectError) -> How {
    error.attempts.last().map_or(How::Unreachable, |(_, error)| How::of_attempt(error))
}
