//! The host to forward to, and the addresses it has.

use std::net::SocketAddr;
use std::rc::{Rc, Weak};
use std::time::{Duration, Instant};

use eventloop::{Addresses, Lookup, Resolver};

/// The host to forward to. Its name is looked up again when a client comes and the last answer is more
/// than a few seconds old, so that a change is noticed. One client waits for that; those who come
/// meanwhile are served with the addresses that were known before.
#[derive(Debug)]
pub(crate) struct Destination {
    host: String,
    port: u16,
    resolver: Resolver,
    known: Vec<SocketAddr>,
    fresh_until: Instant,
    /// Upgrades while somebody waits for a lookup.
    looking: Weak<()>,
}

/// Where to connect to, or how to find out.
#[derive(Debug)]
pub(crate) enum Directions {
    Known(Vec<SocketAddr>),
    Ask(Inquiry),
}

/// A lookup on behalf of the destination.
#[derive(Debug)]
pub(crate) struct Inquiry {
    pub(crate) lookup: Lookup,
    _looking: Rc<()>,
}

/// How long addresses count as fresh.
const FRESH: Duration = Duration::from_secs(5);

impl Destination {
    /// A host whose addresses were looked up just now.
    pub(crate) fn new(host: String, port: u16, known: Vec<SocketAddr>, now: Instant) -> Self {
        let (resolver, looking) = (Resolver::new(), Weak::new());
        Self { host, port, resolver, known, fresh_until: now + FRESH, looking }
    }

    /// Where to connect to now.
    pub(crate) fn directions(&mut self, now: Instant) -> Directions {
        if now < self.fresh_until || self.looking.strong_count() > 0 {
            return Directions::Known(self.known.clone());
        }
        let looking = Rc::new(());
        self.looking = Rc::downgrade(&looking);
        Directions::Ask(Inquiry { lookup: self.resolver.lookup(&self.host, self.port), _looking: looking })
    }

    /// What to try, given the answer to a lookup: if the resolver fails now, what it said before.
    pub(crate) fn learn(&mut self, answer: Addresses, now: Instant) -> Vec<SocketAddr> {
        match answer {
            Ok(addresses) => {
                self.known = addresses;
                self.fresh_until = now + FRESH;
            }
            Err(error) => {
                tracing::warn!(host = self.host, %error, "cannot look up the server's name now; using the addresses it had");
            }
        }
        self.known.clone()
    }

    /// None of the addresses could be reached: look them up again for the next client.
    pub(crate) fn doubt(&mut self, now: Instant) {
        self.fresh_until = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asks(destination: &mut Destination, now: Instant) -> Option<Inquiry> {
        match destination.directions(now) {
            Directions::Known(addresses) => {
                assert!(!addresses.is_empty());
                None
            }
            Directions::Ask(inquiry) => Some(inquiry),
        }
    }

    fn destination(now: Instant) -> Destination {
        Destination::new("localhost".to_owned(), 80, vec![([127, 0, 0, 1], 80).into()], now)
    }

    #[test]
    fn a_fresh_answer_is_used_and_an_old_one_looked_up_by_one_client_at_a_time() {
        let now = Instant::now();
        let mut destination = destination(now);
        assert!(asks(&mut destination, now).is_none());
        let inquiry = asks(&mut destination, now + FRESH).expect("the answer is old");
        assert!(asks(&mut destination, now + FRESH).is_none(), "others do not wait for the same");
        drop(inquiry); // its client has left
        assert!(asks(&mut destination, now + FRESH).is_some());
    }

    #[test]
    fn a_server_that_was_not_reached_is_looked_up_again_at_once() {
        let now = Instant::now();
        let mut destination = destination(now);
        destination.doubt(now);
        assert!(asks(&mut destination, now).is_some());
    }

    #[test]
    fn a_changed_address_is_learned_and_a_failing_resolver_changes_nothing() {
        let now = Instant::now();
        let mut destination = destination(now);
        let moved: SocketAddr = ([127, 0, 0, 2], 80).into();
        assert_eq!(destination.learn(Ok(vec![moved]), now), [moved]);
        let failure = Err(std::io::Error::other("no answer"));
        assert_eq!(destination.learn(failure, now), [moved]);
    }
}
