//! Whether a peer is still there although it acknowledges nothing.

use std::io::{self, ErrorKind};
use std::time::{Duration, Instant};

use eventloop::{Stream, TcpStatus};
use relay::{Dial, ProxySession, Side};

/// Gives up a peer that has vanished with data in flight, within the keepalive time.
///
/// The kernel sends no keepalive probe while data is unacknowledged: it retransmits, for 15 minutes with the usual
/// `tcp_retries2`. `TCP_USER_TIMEOUT` would end that, but it also ends a live peer that has closed its window (since
/// Linux 5.11), such as a paused download. So sock_diag(7) is asked twice in the keepalive time, while the session has
/// sent something that may be unacknowledged:
/// - A live peer with a closed window has nothing in flight, and answers the probes of its window.
/// - A peer that has vanished has data in flight and acknowledges nothing, or leaves several probes unanswered.
#[derive(Debug, Default)]
pub(crate) struct Liveness {
    /// The client and the server, while one of them has not acknowledged something.
    peers: Option<Box<[PeerLiveness; 2]>>,
}

/// What the kernel has said.
#[must_use]
pub(crate) enum Acknowledged {
    /// There is nothing that a peer has not acknowledged.
    All,
    /// There is, and the kernel is to be asked again.
    NotYet,
    /// The peer on this side has vanished.
    Never(Side, io::Error),
}

/// What was known about one peer when the kernel was asked last.
#[derive(Debug, Default)]
struct PeerLiveness {
    /// Since when it has had data in flight and has acknowledged nothing.
    silent_since: Option<Instant>,
}

/// Probes without an answer that show a peer of a closed window to be gone. One may be on its way.
const UNANSWERED_PROBES: u8 = 2;

/// The kernel counts time in ticks, of 10 ms at most: an acknowledgement that is this much older than a moment came
/// before it.
const TICK: Duration = Duration::from_millis(20);

impl Liveness {
    /// Asks the kernel whether the peers acknowledge what was sent.
    pub(crate) fn check<D>(
        &mut self,
        session: &ProxySession<D>,
        keepalive: Duration,
        now: Instant,
    ) -> Acknowledged
    where
        D: Dial<Connection = Stream>,
    {
        if session.is_closing() {
            return Acknowledged::All; // that has a limit of its own
        }
        let mut outcome = Acknowledged::All;
        let mut peers = self.peers.take().unwrap_or_default();
        let connections = [(Side::Client, session.client()), (Side::Server, session.server())];
        for ((side, stream), liveness) in connections.into_iter().zip(&mut *peers) {
            let status = stream.and_then(|stream| stream.tcp_status().ok().flatten());
            if liveness.is_dead(status, keepalive, now) {
                let why = format!("no acknowledgement for {keepalive:?} or longer");
                return Acknowledged::Never(side, io::Error::new(ErrorKind::TimedOut, why));
            }
            if status.is_some_and(|status| status.unacknowledged > 0) {
                outcome = Acknowledged::NotYet;
            }
        }
        if matches!(outcome, Acknowledged::NotYet) {
            self.peers = Some(peers);
        }
        outcome
    }
}

impl PeerLiveness {
    /// Takes note of what the kernel says; `None` if it does not know.
    fn is_dead(&mut self, status: Option<TcpStatus>, keepalive: Duration, now: Instant) -> bool {
        // While all is acknowledged, unanswered probes are those of the keepalive, which the kernel counts itself.
        let Some(status) = status.filter(|status| status.unacknowledged > 0) else {
            self.silent_since = None;
            return false;
        };
        let silent = |since: &Instant| status.since_last_ack >= now.saturating_duration_since(*since) + TICK;
        let since = (status.in_flight > 0).then(|| self.silent_since.filter(silent).unwrap_or(now));
        self.silent_since = since;
        let probes_unanswered =
            status.unanswered_probes >= UNANSWERED_PROBES && status.since_last_ack >= keepalive;
        probes_unanswered || since.is_some_and(|since| now.saturating_duration_since(since) >= keepalive)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEEPALIVE: Duration = Duration::from_secs(10);

    fn status(unacknowledged: u32, in_flight: u32, unanswered_probes: u8, ack: Duration) -> TcpStatus {
        TcpStatus {
            unacknowledged,
            in_flight,
            unanswered_probes,
            since_last_ack: ack,
            ..TcpStatus::default()
        }
    }

    /// Asks every five seconds, and returns when the peer is given up.
    fn given_up(mut at: impl FnMut(u64) -> TcpStatus) -> Option<u64> {
        let (begin, mut liveness) = (Instant::now(), PeerLiveness::default());
        (0..1000).map(|step| step * 5).find(|&second| {
            liveness.is_dead(Some(at(second)), KEEPALIVE, begin + Duration::from_secs(second))
        })
    }

    #[test]
    fn a_peer_that_vanishes_with_data_in_flight_is_given_up_within_twice_the_keepalive_time() {
        let last_ack = Duration::from_secs(3600); // long ago: it was idle
        assert_eq!(given_up(|second| status(9, 1, 0, last_ack + Duration::from_secs(second))), Some(10));
        let just_now = Duration::from_millis(1);
        assert_eq!(given_up(|second| status(9, 1, 0, just_now + Duration::from_secs(second))), Some(15));
    }

    #[test]
    fn a_live_peer_with_a_closed_window_is_never_given_up() {
        // Each probe is answered; there are up to two minutes between two of them (tcp(7)).
        assert_eq!(given_up(|second| status(9, 0, 0, Duration::from_secs(second % 120))), None);
        assert_eq!(
            given_up(|second| status(9, 0, u8::from(second % 120 == 0), Duration::from_secs(119))),
            None
        );
    }

    #[test]
    fn a_peer_whose_window_is_closed_and_that_vanishes_is_given_up() {
        let probes = |second: u64| u8::try_from(second / 100).unwrap();
        let vanished = given_up(|second| status(9, 0, probes(second), Duration::from_secs(second)));
        assert_eq!(vanished, Some(200));
    }

    #[test]
    fn a_live_peer_is_never_given_up_however_often_data_is_in_flight() {
        for ack in [0, 1, 100, 4999] {
            assert_eq!(given_up(|_| status(9, 1, 0, Duration::from_millis(ack))), None);
        }
        // It was silent for long because there was nothing to acknowledge.
        assert_eq!(
            given_up(|second| status(9, u32::from(second % 10 == 0), 0, Duration::from_secs(60))),
            None
        );
    }

    #[test]
    fn a_kernel_that_does_not_answer_is_no_sign_of_death() {
        let (begin, mut liveness) = (Instant::now(), PeerLiveness::default());
        for second in 0..1000 {
            assert!(!liveness.is_dead(None, KEEPALIVE, begin + Duration::from_secs(second)));
        }
    }
}
