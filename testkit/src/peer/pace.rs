use std::ops::RangeInclusive;
use std::time::Duration;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

/// How fast a peer sends or receives: the bytes of each call, and the pauses between them.
#[derive(Clone, Debug, PartialEq)]
pub struct Pace {
    chunk: RangeInclusive<usize>,
    pause: Option<(u32, Duration)>,
    rate: Option<u64>,
}

impl Pace {
    /// Without pauses, 64 KiB a call.
    pub const FAST: Self = Self::chunks(65_536..=65_536);

    /// A byte a call.
    pub const BYTE_AT_A_TIME: Self = Self::chunks(1..=1);

    /// Calls of a size drawn from `bytes`, which must begin above 0.
    pub const fn chunks(bytes: RangeInclusive<usize>) -> Self {
        assert!(*bytes.start() > 0 && *bytes.start() <= *bytes.end(), "a call moves one byte or more");
        Self { chunk: bytes, pause: None, rate: None }
    }

    /// Pauses after one in `calls` calls, drawn at random, for up to `longest`.
    ///
    /// # Panics
    ///
    /// When `calls` is 0.
    #[must_use]
    pub fn pausing(mut self, calls: u32, longest: Duration) -> Self {
        assert!(calls > 0, "one in 0 calls is no share");
        self.pause = Some((calls, longest));
        self
    }

    /// At most this many bytes a second, kept by a pause after each call.
    ///
    /// # Panics
    ///
    /// When `bytes_a_second` is 0; that is a stall, see [`Gate`](super::Gate).
    #[must_use]
    pub fn limited(mut self, bytes_a_second: u64) -> Self {
        assert!(bytes_a_second > 0, "a rate of 0 is a stall: use a gate");
        self.rate = Some(bytes_a_second);
        self
    }

    /// How many bytes the largest call moves.
    pub(super) const fn largest_chunk(&self) -> usize {
        *self.chunk.end()
    }

    /// How many bytes the next call moves.
    pub(super) fn next_chunk(&self, rng: &mut ChaCha8Rng) -> usize {
        rng.random_range(self.chunk.clone())
    }

    /// How long to pause after a call that moved `bytes`.
    pub(super) fn pause_after(&self, bytes: usize, rng: &mut ChaCha8Rng) -> Duration {
        let drawn = match self.pause {
            Some((calls, longest)) if rng.random_range(0..calls) == 0 => {
                rng.random_range(Duration::ZERO..=longest)
            }
            _ => Duration::ZERO,
        };
        let owed =
            self.rate.map_or(Duration::ZERO, |rate| Duration::from_secs_f64(bytes as f64 / rate as f64));
        drawn + owed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seed::Seed;

    #[test]
    fn draws_keep_to_the_ranges() {
        let mut rng = Seed::new(1).rng();
        let longest = Duration::from_millis(3);
        let pace = Pace::chunks(2..=5).pausing(2, longest);
        let (mut pauses, calls) = (0, 1000);
        for _ in 0..calls {
            assert!((2..=5).contains(&pace.next_chunk(&mut rng)));
            let pause = pace.pause_after(1, &mut rng);
            assert!(pause <= longest);
            pauses += u32::from(!pause.is_zero());
        }
        assert!((300..700).contains(&pauses), "one in two of {calls}, not {pauses}");
    }

    #[test]
    fn a_rate_is_kept_by_pauses() {
        let mut rng = Seed::new(1).rng();
        let pace = Pace::FAST.limited(1_000);
        assert_eq!(pace.pause_after(500, &mut rng), Duration::from_millis(500));
        assert_eq!(Pace::FAST.pause_after(500, &mut rng), Duration::ZERO);
    }
}
