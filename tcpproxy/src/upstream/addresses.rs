//! The host to forward to, and the addresses it has.

use std::net::SocketAddr;
use std::rc::{Rc, Weak};
use std::time::{Duration, Instant};

use eventloop::{Addresses, Lookup, Resolver};
use tracing::warn;

/// The host to forward to. Its name is looked up again when a client comes and the last answer is more
/// than a few seconds old, so that a change is noticed.
///
/// One client waits for that, and not for long; those who come meanwhile are served with the addresses that
/// were known before, and so is that one if the answer is late. Only when a server was not reached, and the
/// addresses are in doubt, does everybody wait for the answer.
#[derive(Debug)]
pub(crate) struct Destination {
    host: String,
    port: u16,
    resolver: Resolver,
    known: Vec<SocketAddr>,
    fresh_until: Instant,
    /// None of the known addresses could be reached.
    doubtful: bool,
    /// Upgrades while somebody waits for a lookup, or its answer is late.
    looking: Weak<()>,
    /// A lookup that nobody waits for any more. Its answer is for those who come later.
    late: Option<Inquiry>,
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
    /// When it was asked.
    since: Instant,
    _looking: Rc<()>,
}

/// How long addresses count as fresh.
const FRESH: Duration = Duration::from_secs(5);

/// How long a client waits for a lookup while there are addresses that were good a little while ago.
pub(crate) const PATIENCE: Duration = Duration::from_secs(1);

impl Destination {
    /// A host whose addresses were looked up just now.
    pub(crate) fn new(host: String, port: u16, known: Vec<SocketAddr>, now: Instant) -> Self {
        let (resolver, looking) = (Resolver::new(), Weak::new());
        let fresh_until = now + FRESH;
        Self { host, port, resolver, known, fresh_until, doubtful: false, looking, late: None }
    }

    /// Where to connect to now.
    pub(crate) fn directions(&mut self, now: Instant) -> Directions {
        if let Some(answer) = self.late.as_mut().and_then(|inquiry| inquiry.lookup.take())
            && let Some(inquiry) = self.late.take()
        {
            self.take_note(answer, inquiry.since);
        }
        let others_look = self.looking.strong_count() > 0 && !self.doubtful;
        if now < self.fresh_until || others_look {
            return Directions::Known(self.known.clone());
        }
        let looking = self.looking.upgrade().unwrap_or_default();
        self.looking = Rc::downgrade(&looking);
        let lookup = self.resolver.lookup(&self.host, self.port);
        Directions::Ask(Inquiry { lookup, since: now, _looking: looking })
    }

    /// What to try, given the answer to a lookup: if the resolver fails now, what it said before.
    pub(crate) fn learn(&mut self, answer: Addresses, now: Instant) -> Vec<SocketAddr> {
        self.take_note(answer, now);
        self.known.clone()
    }

    /// What to try in place of an answer that is late.
    pub(crate) fn do_without(&mut self, inquiry: Inquiry) -> Vec<SocketAddr> {
        self.late.get_or_insert(inquiry);
        self.known.clone()
    }

    /// None of the addresses could be reached: look them up again for the next client.
    pub(crate) fn doubt(&mut self, now: Instant) {
        self.fresh_until = now;
        self.doubtful = true;
    }

    /// An answer that was right at that time.
    fn take_note(&mut self, answer: Addresses, at: Instant) {
        match answer {
            Ok(addresses) => {
                self.known = addresses;
                self.fresh_until = at + FRESH;
                self.doubtful = false;
            }
            Err(error) => {
                warn!(host = self.host, %error, "cannot look up the server's name now; using the addresses it had");
            }
        }
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

    /// Else those who come while the answer is awaited would only fail like those before them.
    #[test]
    fn everybody_waits_for_the_answer_while_the_addresses_are_in_doubt() {
        let now = Instant::now();
        let mut destination = destination(now);
        destination.doubt(now);
        let (first, second) = (asks(&mut destination, now), asks(&mut destination, now));
        assert!(first.is_some() && second.is_some());
        let moved: SocketAddr = ([127, 0, 0, 2], 80).into();
        destination.learn(Ok(vec![moved]), now);
        assert!(asks(&mut destination, now).is_none(), "they are fresh again");
    }

    #[test]
    fn a_late_answer_is_waited_for_by_nobody_and_serves_those_who_come_later() {
        let now = Instant::now();
        let mut destination = destination(now);
        let mut inquiry = asks(&mut destination, now + FRESH).unwrap();
        inquiry.lookup = Lookup::from([].as_slice()); // the test plays the resolver's part
        let _ = inquiry.lookup.take(); // so this one is without an answer
        assert_eq!(destination.do_without(inquiry), [([127, 0, 0, 1], 80).into()]);
        assert!(asks(&mut destination, now + FRESH + PATIENCE).is_none(), "it is being looked for");
        let moved: SocketAddr = ([127, 0, 0, 2], 80).into();
        destination.late.as_mut().unwrap().lookup = Lookup::from([moved].as_slice());
        match destination.directions(now + FRESH + PATIENCE) {
            Directions::Known(addresses) => assert_eq!(addresses, [moved]),
            Directions::Ask(_) => panic!("the answer is there, and fresh"),
        }
        assert!(asks(&mut destination, now + FRESH * 2).is_some(), "it was right when it was asked for");
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
