//! The way to the server: its name is looked up, and a connection is made.

mod addresses;

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Instant;

use eventloop::{ConnectError, ConnectOptions, Connector, Intents, Ready, Stream};
use relay::{Dial, Dialed};

use crate::Config;
use crate::termination::{By, Cause, Reason};
use addresses::{LOOKUP_PATIENCE, Resolution, ServerAddresses, Waiter};

/// The server that clients are forwarded to.
#[derive(Debug)]
pub(crate) struct Upstream {
    addresses: RefCell<ServerAddresses>,
    options: ConnectOptions,
}

/// The connection to the server in the making, for one session: lookup, then connect.
///
/// Dropping it cancels the lookup and resets what is half-open.
#[derive(Debug)]
pub(crate) struct Connecting {
    upstream: Rc<Upstream>,
    state: State,
}

#[derive(Debug)]
enum State {
    /// The addresses are looked up; at the instant those known before are used instead. The waiter is `None` only
    /// within a step.
    Resolving(Option<Waiter>, Instant),
    Connecting(Connector),
}

impl Upstream {
    /// The server that `config` names, whose addresses were looked up at `now`.
    pub(crate) fn new(config: &Config, addresses: Vec<SocketAddr>, now: Instant) -> Self {
        let (host, port) = (config.remote_host.clone(), config.remote_port);
        Self {
            addresses: RefCell::new(ServerAddresses::new(host, port, addresses, now)),
            options: ConnectOptions {
                socket: config.socket_options(),
                timeout: config.connect_timeout,
                ..ConnectOptions::default()
            },
        }
    }

    /// Prepares a connection. The first attempt is made in the first step.
    pub(crate) fn connect(self: &Rc<Self>, now: Instant) -> Connecting {
        let resolution = self.addresses.borrow_mut().resolve(now);
        let state = match resolution {
            Resolution::Known(addresses) => self.try_addresses(&addresses, now),
            Resolution::Pending(waiter) => {
                State::Resolving(Some(waiter), now + LOOKUP_PATIENCE.min(self.options.timeout))
            }
        };
        Connecting { upstream: self.clone(), state }
    }

    fn try_addresses(&self, addresses: &[SocketAddr], now: Instant) -> State {
        State::Connecting(Connector::new(addresses, self.options, now))
    }
}

impl Connecting {
    /// The connector, once the addresses to try are known.
    fn connector(&mut self, ready: &Ready<'_>) -> Option<&mut Connector> {
        let now = ready.now();
        if let State::Resolving(waiter, until) = &mut self.state {
            let mut addresses = self.upstream.addresses.borrow_mut();
            let answer = waiter.as_mut().and_then(|waiter| waiter.lookup.advance(ready));
            let found = match (answer, waiter.take_if(|_| *until <= now)) {
                (Some(answer), _) => addresses.update(answer, now),
                (None, Some(late)) => addresses.leave_pending(late),
                (None, None) => return None,
            };
            drop(addresses);
            self.state = self.upstream.try_addresses(&found, now);
        }
        match &mut self.state {
            State::Resolving(..) => None,
            State::Connecting(connector) => Some(connector),
        }
    }
}

impl Dial for Connecting {
    type Connection = Stream;
    type Error = Cause;

    fn intents(&self, intents: &mut Intents<'_>) {
        match &self.state {
            State::Resolving(waiter, until) => {
                if let Some(waiter) = waiter {
                    waiter.lookup.intents(intents);
                }
                intents.deadline(*until);
            }
            State::Connecting(connector) => connector.intents(intents),
        }
    }

    fn advance(&mut self, ready: &Ready<'_>) -> Dialed<Stream, Cause> {
        let Some(connector) = self.connector(ready) else { return Dialed::Pending };
        match Dial::advance(connector, ready) {
            Dialed::Pending => Dialed::Pending,
            Dialed::Connected { connection, address, reset } => {
                Dialed::Connected { connection, address, reset }
            }
            Dialed::Failed(error) => {
                self.upstream.addresses.borrow_mut().doubt(ready.now());
                Dialed::Failed(cause(&error))
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
