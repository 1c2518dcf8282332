//! How many bytes a second one direction may carry.

use std::time::{Duration, Instant};

/// A token bucket: it fills at the rate, one token a byte, and holds at most what comes in two pauses.
#[derive(Debug)]
pub(crate) struct RateLimit {
    /// Bytes a second; at least 1.
    rate: u64,
    tokens: u64,
    /// Up to this time the tokens are counted.
    counted: Instant,
}

/// A direction that has used up its tokens pauses for this long, or until there is one token.
const PAUSE: Duration = Duration::from_millis(20);

impl RateLimit {
    /// The first bytes need no pause.
    pub(crate) fn new(rate: u64, now: Instant) -> Self {
        let mut limit = Self { rate: rate.max(1), tokens: 0, counted: now };
        limit.tokens = limit.quantum();
        limit
    }

    /// How many bytes may be carried, at the time of the last refill.
    pub(crate) fn tokens(&self) -> u64 {
        self.tokens
    }

    /// Adds the tokens that have come.
    #[cold] // most directions have no limit
    pub(crate) fn refill(&mut self, now: Instant) {
        let elapsed = now.saturating_duration_since(self.counted);
        let come = elapsed.as_nanos() * u128::from(self.rate) / NANOS;
        let most = 2 * self.quantum();
        if come + u128::from(self.tokens) >= u128::from(most) {
            (self.tokens, self.counted) = (most, now);
        } else {
            let come = u64::try_from(come).expect("it is less than the bucket holds");
            self.tokens += come;
            self.counted += self.time_for(come);
        }
    }

    pub(crate) fn take(&mut self, bytes: u64) {
        self.tokens = self.tokens.saturating_sub(bytes);
    }

    /// When a pause that began with no token left is over.
    #[cold]
    pub(crate) fn next(&self) -> Instant {
        self.counted + self.time_for(self.quantum())
    }

    fn quantum(&self) -> u64 {
        u64::try_from(u128::from(self.rate) * PAUSE.as_nanos() / NANOS).unwrap_or(u64::MAX / 2).max(1)
    }

    /// How long it takes until this many tokens have come, rounded up.
    fn time_for(&self, tokens: u64) -> Duration {
        let nanos = (u128::from(tokens) * NANOS).div_ceil(u128::from(self.rate));
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

const NANOS: u128 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes carried in `seconds` when each step takes all it may and the next one comes `late` after its time.
    fn carried(rate: u64, seconds: u64, late: Duration) -> u64 {
        let begin = Instant::now();
        let (mut now, mut sum) = (begin, 0);
        let mut limit = RateLimit::new(rate, begin);
        while now < begin + Duration::from_secs(seconds) {
            limit.refill(now);
            let bytes = limit.tokens();
            limit.take(bytes);
            sum += bytes;
            now = limit.next().max(now) + late;
        }
        sum
    }

    #[test]
    fn the_rate_is_kept_within_five_percent() {
        for rate in [1, 7, 100, 65_537, 10_000_000, 12_345_678_901] {
            for late in [Duration::ZERO, Duration::from_micros(700), Duration::from_millis(7)] {
                let expected = rate * 20;
                let got = carried(rate, 20, late);
                assert!(got >= expected - expected / 20 - 1, "{got} bytes at {rate} a second, {late:?}");
                assert!(got <= expected + expected / 20 + 1, "{got} bytes at {rate} a second, {late:?}");
            }
        }
    }

    #[test]
    fn what_was_not_used_in_a_pause_is_not_saved_up() {
        let begin = Instant::now();
        let mut limit = RateLimit::new(1000, begin);
        limit.refill(begin + Duration::from_secs(3600));
        assert_eq!(limit.tokens(), 40);
    }
}
