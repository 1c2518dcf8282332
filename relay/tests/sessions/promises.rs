//! What a session promises: after each step, and about its end.

use std::time::Duration;

use relay::{EndCause, Side};

use super::socket::Closed;
use super::{CONNECT, LINGER, OPENING, Run};

impl Run {
    /// What holds after every step.
    pub(super) fn verify(&self) {
        let world = self.world.borrow();
        let Some(session) = &self.session else {
            assert_eq!(self.pool.lent(), 0, "a session that is over has no memory");
            assert!(!world.client.is_open() && (!self.connected || !world.server.is_open()));
            return;
        };
        assert!(session.up().pending() <= self.capacity && session.down().pending() <= self.capacity);
        let pending = [session.up().pending(), session.down().pending()];
        assert_eq!(
            self.pool.lent(),
            pending.iter().filter(|&&pending| pending > 0).count(),
            "memory is lent"
        );
        if session.is_closing() {
            let rings = (self.pool.reserve(), self.pool.reserve());
            assert!(rings.0.is_some() && rings.1.is_some(), "what only closes holds no ring");
        }
        let rates = [(self.setup.up_rate, &world.client), (self.setup.down_rate, &world.server)];
        for (rate, source) in rates.into_iter().filter_map(|(rate, source)| Some((rate?, source))) {
            let rate = f64::from(rate.max(1));
            let most = rate * (world.now - self.began).as_secs_f64() + 2.0 * (rate / 50.0).max(1.0) + 1.0;
            assert!(source.read as f64 <= most, "{} bytes at {rate} a second, at most {most}", source.read);
        }
    }

    /// How a session ended depends on what happened, and on nothing else.
    pub(super) fn judge(&self) {
        let (world, end) = (self.world.borrow(), self.end.as_ref().expect("the session is over"));
        let reset = |peer| match peer {
            Side::Client => world.client.peer_reset.is_some(),
            Side::Server => world.server.peer_reset.is_some(),
        };
        match &end.cause {
            EndCause::Finished(_) => {
                for (sink, source) in [(&world.client, &world.server), (&world.server, &world.client)] {
                    assert!(source.peer_finished && sink.finished);
                    let all = sink.preface.len() as u64 + source.arrived - source.consumed;
                    assert_eq!(
                        (sink.closed, sink.written),
                        (Some(Closed::Orderly), all),
                        "every byte arrives"
                    );
                }
            }
            EndCause::Failed(peer, _) => assert!(reset(*peer), "the {peer:?} has not failed"),
            EndCause::NoDestination => assert!(!self.connected && self.setup.opening.is_some()),
            EndCause::NoServer => assert!(!self.connected),
            EndCause::Refused => assert!(world.refused),
            EndCause::TimedOut(_) => {}
            EndCause::Closed => assert!(self.owner_closed),
        }
        let sum = |seconds: Option<u8>| Duration::from_secs(seconds.unwrap_or(0).into());
        let idle = sum(self.setup.idle) + sum(self.setup.half_close);
        // Each byte that is pending may take its time, and so may each pause of a limited direction.
        let bytes = (world.client.arrived + world.server.arrived + 40) as u32;
        let most = OPENING + CONNECT + 3 * LINGER + 2 * idle + Duration::from_secs(2) * bytes;
        let took = self.ended_at.saturating_duration_since(self.last_op);
        assert!(took <= most, "it took {took:?}");
    }
}
