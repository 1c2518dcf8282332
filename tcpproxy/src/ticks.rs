//! Times at which sessions are looked after.

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

/// The ticks of a proxy: each is a tenth of a second, counted from its start.
///
/// What a session does when it is some seconds old, or some seconds after it has sent something, it does at a tick. So
/// a thousand sessions that were begun one after the other share a turn of the loop, which they would wake a thousand
/// times otherwise. A tick takes a quarter of the memory of an [`Instant`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ticks {
    start: Instant,
}

/// One of them. There are enough for 13 years; what is later happens at the last one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Tick(NonZeroU32);

const LENGTH: Duration = Duration::from_millis(100);

impl Ticks {
    pub(crate) fn new(start: Instant) -> Self {
        Self { start }
    }

    /// The first tick that is not before this instant.
    pub(crate) fn not_before(&self, at: Instant) -> Tick {
        let ticks = at.saturating_duration_since(self.start).as_nanos().div_ceil(LENGTH.as_nanos());
        let ticks = u32::try_from(ticks).unwrap_or(u32::MAX);
        Tick(NonZeroU32::new(ticks).unwrap_or(NonZeroU32::MIN))
    }

    pub(crate) fn instant(&self, tick: Tick) -> Instant {
        self.start + LENGTH * tick.0.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tick_is_never_early_and_at_most_a_tenth_of_a_second_late() {
        let start = Instant::now();
        let ticks = Ticks::new(start);
        for milliseconds in [1, 99, 100, 101, 1000, 1_000_001, 86_400_000 * 365 * 13] {
            let at = start + Duration::from_millis(milliseconds);
            let tick = ticks.instant(ticks.not_before(at));
            assert!(at <= tick && tick < at + LENGTH, "{milliseconds} ms");
        }
    }

    #[test]
    fn sessions_that_begin_one_after_the_other_share_a_tick() {
        let start = Instant::now();
        let ticks = Ticks::new(start);
        let mut shared: Vec<Tick> =
            (1..=100).map(|ms| ticks.not_before(start + Duration::from_millis(ms))).collect();
        shared.dedup();
        assert_eq!(shared.len(), 1);
    }
}
