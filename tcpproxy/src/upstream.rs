//! The way from a client to the server, until there is a connection.

pub(crate) mod addresses;

use std::net::SocketAddr;
use std::time::Instant;

use eventloop::{Connect, ConnectError, ConnectOptions, Connected, Connector, Intents, Ready};

use crate::proxy::{Shared, connection_options};
use crate::termination::{By, How};
use crate::upstream::addresses::{Directions, Inquiry, PATIENCE};

/// A session's way to its server: the name is looked up, and the connection made.
///
/// It is a part of a session: the session passes on [`intents`](Self::intents) and calls
/// [`advance`](Self::advance). Dropping it gives up.
#[derive(Debug)]
pub(crate) struct Approach {
    since: Instant,
    state: State,
}

#[derive(Debug)]
enum State {
    /// The answer is waited for until then.
    Resolving(Option<Inquiry>, Instant),
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
    /// It cannot be reached: whose fault that is, how, and in words.
    Failed(By, How, String),
}

impl Approach {
    /// Sets out. The first attempt to connect is made in the first step.
    pub(crate) fn new(shared: &Shared, now: Instant) -> Self {
        let state = match shared.destination.borrow_mut().directions(now) {
            Directions::Known(addresses) => connecting(shared, &addresses, now),
            Directions::Ask(inquiry) => {
                State::Resolving(Some(inquiry), now + PATIENCE.min(shared.config.connect_timeout))
            }
        };
        Self { since: now, state }
    }

    /// When it set out.
    pub(crate) fn since(&self) -> Instant {
        self.since
    }

    pub(crate) fn intents(&self, intents: &mut Intents<'_>) {
        match &self.state {
            State::Resolving(inquiry, until) => {
                if let Some(inquiry) = inquiry {
                    inquiry.lookup.intents(intents);
                }
                intents.deadline(*until);
            }
            State::Connecting(connector) => connector.intents(intents),
        }
    }

    /// Gets on with it.
    pub(crate) fn advance(&mut self, shared: &Shared, ready: &Ready<'_>) -> Arrival {
        let now = ready.now();
        if let State::Resolving(inquiry, until) = &mut self.state {
            let mut destination = shared.destination.borrow_mut();
            let answer = inquiry.as_mut().and_then(|inquiry| inquiry.lookup.advance(ready));
            let addresses = match (answer, inquiry.take_if(|_| *until <= now)) {
                (Some(answer), _) => destination.learn(answer, now),
                (None, Some(late)) => destination.do_without(late),
                (None, None) => return Arrival::Pending,
            };
            drop(destination);
            self.state = connecting(shared, &addresses, now);
        }
        let State::Connecting(connector) = &mut self.state else { return Arrival::Pending };
        match connector.advance(ready) {
            Connect::Pending => Arrival::Pending,
            Connect::Connected(server) => Arrival::Reached(server),
            Connect::Failed(error) => {
                shared.destination.borrow_mut().doubt(now);
                let (by, how) = how_it_failed(&error);
                Arrival::Failed(by, how, error.to_string())
            }
        }
    }
}

fn connecting(shared: &Shared, addresses: &[SocketAddr], now: Instant) -> State {
    let socket = connection_options(&shared.config);
    let options =
        ConnectOptions { socket, timeout: shared.config.connect_timeout, ..ConnectOptions::default() };
    State::Connecting(Connector::new(addresses, options, now))
}

/// The last attempt speaks for all: it is the one that was given the most time.
fn how_it_failed(error: &ConnectError) -> (By, How) {
    match error.attempts.last().map_or(How::Unreachable, |(_, error)| How::of_attempt(error)) {
        How::Exhausted => (By::Proxy, How::Exhausted),
        how => (By::Server, how),
    }
}
