//! The addresses of the server, looked up again from time to time.

use std::net::SocketAddr;
use std::rc::{Rc, Weak};
use std::time::{Duration, Instant};

use eventloop::{Addresses, Lookup, Resolver};
use tracing::warn;

use crate::log_interval::LogInterval;

/// The addresses of the server. Its name is looked up again when a client comes and the last answer is older than
/// [`FRESH`], so that a change is noticed.
///
/// One session waits for that lookup, and for [`LOOKUP_PATIENCE`] at most. Sessions that begin meanwhile use the
/// addresses known before, and so does that session if the answer is late. Only when no address could be reached do
/// all sessions wait for the answer.
#[derive(Debug)]
pub(super) struct ServerAddresses {
    host: String,
    port: u16,
    resolver: Resolver,
    known: Vec<SocketAddr>,
    fresh_until: Instant,
    /// None of the known addresses could be reached.
    doubtful: bool,
    /// Upgrades while a session waits for a lookup, or its answer is late.
    pending: Weak<()>,
    /// A lookup for which no session waits any more. Later sessions use its answer.
    late: Option<Waiter>,
    /// No lookup begins before that.
    next_lookup: Instant,
    /// Lookups that have failed since a warning said so.
    failed_lookups: u32,
    warning: LogInterval,
    /// Addresses that have failed or were silent, and until when they are tried after the others.
    avoided: Vec<(SocketAddr, Instant)>,
}

/// Where to connect to, or the lookup that will tell.
#[derive(Debug)]
pub(super) enum Resolution {
    Known(Vec<SocketAddr>),
    Pending(Waiter),
}

/// What a session waits for: the answer to a lookup of the server's name.
#[derive(Debug)]
pub(super) struct Waiter {
    pub(super) lookup: Lookup,
    /// When it was asked.
    since: Instant,
    _pending: Rc<()>,
}

/// How long addresses count as fresh.
const FRESH: Duration = Duration::from_secs(5);

/// How long it takes from one lookup to the next at least, whatever clients do.
const LOOKUP_INTERVAL: Duration = Duration::from_secs(1);

/// How long an address that has failed or was silent is tried after the others (RFC 8305, section 4: the order may
/// follow what is known of earlier connections).
const AVOIDED: Duration = Duration::from_secs(60);

/// How long a session waits for a lookup while there are addresses that were right a little while ago.
pub(super) const LOOKUP_PATIENCE: Duration = Duration::from_secs(1);

impl ServerAddresses {
    /// The addresses of a host that were looked up at `now`.
    pub(super) fn new(host: String, port: u16, known: Vec<SocketAddr>, now: Instant) -> Self {
        let (resolver, pending) = (Resolver::new(), Weak::new());
        let fresh_until = now + FRESH;
        Self {
            host,
            port,
            resolver,
            known,
            fresh_until,
            doubtful: false,
            pending,
            late: None,
            next_lookup: now,
            failed_lookups: 0,
            warning: LogInterval::default(),
            avoided: Vec::new(),
        }
    }

    /// Where to connect to now.
    pub(super) fn resolve(&mut self, now: Instant) -> Resolution {
        if let Some(answer) = self.late.as_mut().and_then(|waiter| waiter.lookup.take())
            && let Some(waiter) = self.late.take()
        {
            self.store(answer, waiter.since);
        }
        let open = self.pending.strong_count() > 0;
        let may_ask = if open { self.doubtful } else { self.next_lookup <= now };
        if now < self.fresh_until || !may_ask {
            return Resolution::Known(self.known.clone());
        }
        if !open {
            self.next_lookup = now + LOOKUP_INTERVAL; // a lookup that is open is shared
        }
        let pending = self.pending.upgrade().unwrap_or_default();
        self.pending = Rc::downgrade(&pending);
        let lookup = self.resolver.lookup(&self.host, self.port);
        Resolution::Pending(Waiter { lookup, since: now, _pending: pending })
    }

    /// Stores the answer to a lookup, and returns the addresses to try: if the lookup has failed, those known before.
    pub(super) fn update(&mut self, answer: Addresses, now: Instant) -> Vec<SocketAddr> {
        self.store(answer, now);
        self.known.clone()
    }

    /// Takes over a lookup whose answer is late, and returns the addresses to try in its place.
    pub(super) fn leave_pending(&mut self, waiter: Waiter) -> Vec<SocketAddr> {
        self.late.get_or_insert(waiter);
        self.known.clone()
    }

    /// None of the addresses could be reached: the next session looks them up again.
    pub(super) fn doubt(&mut self, now: Instant) {
        self.fresh_until = now;
        self.doubtful = true;
    }

    /// These addresses have failed or were silent: for a while they are tried after the others.
    pub(super) fn avoid(&mut self, addresses: impl Iterator<Item = SocketAddr>, now: Instant) {
        self.avoided.retain(|&(_, until)| now < until);
        for address in addresses {
            self.avoided.retain(|&(avoided, _)| avoided != address);
            self.avoided.push((address, now + AVOIDED));
        }
    }

    /// Whether an address is to be tried after the others.
    pub(super) fn is_avoided(&self, address: &SocketAddr, now: Instant) -> bool {
        self.avoided.iter().any(|(avoided, until)| avoided == address && now < *until)
    }

    /// Stores an answer that was right at that time.
    fn store(&mut self, answer: Addresses, at: Instant) {
        match answer {
            Ok(addresses) => {
                self.known = addresses;
                self.fresh_until = at + FRESH;
                self.doubtful = false;
            }
            Err(error) => {
                self.failed_lookups += 1;
                if self.warning.allows(at) {
                    let times = std::mem::take(&mut self.failed_lookups);
                    warn!(host = self.host, %error, times, "cannot look up the server's name now; using the addresses it had");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pending(addresses: &mut ServerAddresses, now: Instant) -> Option<Waiter> {
        match addresses.resolve(now) {
            Resolution::Known(known) => {
                assert!(!known.is_empty());
                None
            }
            Resolution::Pending(waiter) => Some(waiter),
        }
    }

    fn addresses(now: Instant) -> ServerAddresses {
        ServerAddresses::new("localhost".to_owned(), 80, vec![([127, 0, 0, 1], 80).into()], now)
    }

    #[test]
    fn a_fresh_answer_is_used_and_an_old_one_is_looked_up_by_one_session_at_a_time() {
        let now = Instant::now();
        let mut addresses = addresses(now);
        assert!(pending(&mut addresses, now).is_none());
        let waiter = pending(&mut addresses, now + FRESH).expect("the answer is old");
        assert!(
            pending(&mut addresses, now + FRESH).is_none(),
            "other sessions do not wait for the same answer"
        );
        drop(waiter); // its session has ended
        assert!(pending(&mut addresses, now + FRESH + LOOKUP_INTERVAL).is_some());
    }

    #[test]
    fn there_is_one_lookup_a_second_whatever_clients_do() {
        let now = Instant::now();
        let mut addresses = addresses(now);
        let mut lookups = 0;
        for client in 0..3000 {
            let now = now + FRESH + Duration::from_millis(client);
            if let Some(waiter) = pending(&mut addresses, now) {
                lookups += 1;
                if client % 2 == 0 {
                    addresses.update(Err(std::io::Error::other("no answer")), now);
                }
                drop(waiter); // answered, or its client has left
            }
            addresses.doubt(now); // the server is down
        }
        assert_eq!(lookups, 3, "in three seconds");
    }

    #[test]
    fn an_address_that_failed_is_avoided_for_a_while_only() {
        let now = Instant::now();
        let mut addresses = addresses(now);
        let bad: SocketAddr = ([192, 0, 2, 1], 80).into();
        addresses.avoid([bad].into_iter(), now);
        addresses.avoid([bad].into_iter(), now);
        assert!(addresses.is_avoided(&bad, now) && addresses.avoided.len() == 1);
        assert!(!addresses.is_avoided(&([192, 0, 2, 2], 80).into(), now));
        assert!(!addresses.is_avoided(&bad, now + AVOIDED));
    }

    #[test]
    fn a_server_that_was_not_reached_is_looked_up_again_at_once() {
        let now = Instant::now();
        let mut addresses = addresses(now);
        addresses.doubt(now);
        assert!(pending(&mut addresses, now).is_some());
    }

    /// Otherwise sessions that begin before the answer would fail like those before them.
    #[test]
    fn every_session_waits_for_the_answer_while_the_addresses_are_in_doubt() {
        let now = Instant::now();
        let mut addresses = addresses(now);
        addresses.doubt(now);
        let (first, second) = (pending(&mut addresses, now), pending(&mut addresses, now));
        assert!(first.is_some() && second.is_some());
        let moved: SocketAddr = ([127, 0, 0, 2], 80).into();
        addresses.update(Ok(vec![moved]), now);
        assert!(pending(&mut addresses, now).is_none(), "they are fresh again");
    }

    #[test]
    fn a_late_answer_delays_no_session_and_serves_later_ones() {
        let now = Instant::now();
        let mut addresses = addresses(now);
        let mut waiter = pending(&mut addresses, now + FRESH).unwrap();
        waiter.lookup = Lookup::from([].as_slice()); // the test takes the resolver's part
        let _ = waiter.lookup.take(); // so this one is without an answer
        assert_eq!(addresses.leave_pending(waiter), [([127, 0, 0, 1], 80).into()]);
        assert!(
            pending(&mut addresses, now + FRESH + LOOKUP_PATIENCE).is_none(),
            "the lookup is still pending"
        );
        let moved: SocketAddr = ([127, 0, 0, 2], 80).into();
        addresses.late.as_mut().unwrap().lookup = Lookup::from([moved].as_slice());
        match addresses.resolve(now + FRESH + LOOKUP_PATIENCE) {
            Resolution::Known(known) => assert_eq!(known, [moved]),
            Resolution::Pending(_) => panic!("the answer is there, and fresh"),
        }
        assert!(pending(&mut addresses, now + FRESH * 2).is_some(), "it counts from when it was asked for");
    }

    #[test]
    fn a_changed_address_is_learned_and_a_failing_resolver_changes_nothing() {
        let now = Instant::now();
        let mut addresses = addresses(now);
        let moved: SocketAddr = ([127, 0, 0, 2], 80).into();
        assert_eq!(addresses.update(Ok(vec![moved]), now), [moved]);
        let failure = Err(std::io::Error::other("no answer"));
        assert_eq!(addresses.update(failure, now), [moved]);
    }
}
