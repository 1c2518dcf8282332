//! The host to forward to, and the addresses it has.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use eventloop::{Addresses, Lookup, Resolver};

/// The host to forward to. Its name is looked up for each client, so that a change is noticed, but not
/// more often than every few seconds.
#[derive(Debug)]
pub(crate) struct Destination {
    host: String,
    port: u16,
    resolver: Resolver,
    known: Vec<SocketAddr>,
    fresh_until: Instant,
}

/// How long addresses count as fresh.
const FRESH: Duration = Duration::from_secs(5);

impl Destination {
    /// A host whose addresses were looked up just now.
    pub(crate) fn new(host: String, port: u16, known: Vec<SocketAddr>, now: Instant) -> Self {
        Self { host, port, resolver: Resolver::new(), known, fresh_until: now + FRESH }
    }

    /// The addresses if they are fresh, else a lookup to wait for; it takes literal addresses no time.
    pub(crate) fn addresses(&mut self, now: Instant) -> Result<Vec<SocketAddr>, Lookup> {
        if now < self.fresh_until {
            Ok(self.known.clone())
        } else {
            Err(self.resolver.lookup(&self.host, self.port))
        }
    }

    /// What to try, given the answer to a lookup: if the resolver fails now, what it said before.
    pub(crate) fn learn(&mut self, answer: Addresses, now: Instant) -> Addresses {
        match answer {
            Ok(addresses) => {
                self.known.clone_from(&addresses);
                self.fresh_until = now + FRESH;
                Ok(addresses)
            }
            Err(error) if self.known.is_empty() => Err(error),
            Err(error) => {
                tracing::warn!(host = self.host, %error, "cannot resolve the server's name; using the addresses it had");
                Ok(self.known.clone())
            }
        }
    }

    /// None of the addresses could be reached: look them up again for the next client.
    pub(crate) fn doubt(&mut self, now: Instant) {
        self.fresh_until = now;
    }
}
