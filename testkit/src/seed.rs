//! The one number that decides everything random in a run.
//!
//! A test draws all its sizes, pauses and endings from a [`Seed`], so that the number printed by a failure is
//! enough to repeat it. The same seed gives the same draws on every machine; a new version of the `rand` crate
//! may change how a range is drawn, which is why `Cargo.lock` is committed.

use std::fmt;
use std::str::FromStr;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

/// A 64-bit seed, written as 16 hexadecimal digits.
///
/// ```
/// use testkit::seed::Seed;
///
/// let seed: Seed = "00c0ffee".parse()?;
/// assert_eq!(seed.to_string(), "0000000000c0ffee");
/// assert_ne!(seed.derive("client"), seed.derive("server"));
/// # Ok::<(), testkit::seed::ParseSeedError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Seed(u64);

impl Seed {
    /// The seed with this number.
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// A random seed.
    pub fn random() -> Self {
        Self(rand::random())
    }

    /// The number of this seed.
    pub const fn number(self) -> u64 {
        self.0
    }

    /// A seed for one part of the run, such as a peer, that does not disturb the draws of the others.
    ///
    /// The label goes through 64-bit FNV-1a and the sum through the finaliser of SplitMix64, both fixed by their
    /// definitions: the result is the same on every machine and in every version.
    #[must_use]
    pub fn derive(self, label: &str) -> Self {
        let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
        for byte in label.bytes() {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        Self(mix(mix(self.0).wrapping_add(hash)))
    }

    /// The generator this seed starts.
    ///
    /// ChaCha8 because its output is fixed by its definition, unlike that of `StdRng`; its key is four words of SplitMix64
    /// and not `seed_from_u64`, which each version of `rand` may define anew.
    pub fn rng(self) -> ChaCha8Rng {
        let mut key = [0; 32];
        for (number, word) in (1..).zip(key.chunks_exact_mut(8)) {
            word.copy_from_slice(&split_mix(self.0, number).to_le_bytes());
        }
        ChaCha8Rng::from_seed(key)
    }
}

impl fmt::Display for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl FromStr for Seed {
    type Err = ParseSeedError;

    /// Reads 1 to 16 hexadecimal digits, with or without `0x`.
    fn from_str(text: &str) -> Result<Self, ParseSeedError> {
        let digits = text.strip_prefix("0x").unwrap_or(text);
        let digits_alone = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        match u64::from_str_radix(digits, 16) {
            Ok(number) if digits_alone => Ok(Self(number)),
            _ => Err(ParseSeedError(text.to_owned())),
        }
    }
}

/// A text that is no seed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseSeedError(String);

impl fmt::Display for ParseSeedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a seed is 1 to 16 hexadecimal digits, not {:?}", self.0)
    }
}

impl std::error::Error for ParseSeedError {}

/// Word `number` of the SplitMix64 sequence that starts at `start`, without computing those before it.
///
/// Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014.
pub(crate) const fn split_mix(start: u64, number: u64) -> u64 {
    mix(start.wrapping_add(number.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
}

/// The finaliser of SplitMix64: every bit of the input changes about half of the output.
pub(crate) const fn mix(word: u64) -> u64 {
    let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

#[cfg(test)]
mod tests {
    use rand::RngExt;

    use super::*;

    #[test]
    fn hexadecimal_there_and_back() {
        for number in [0, 1, 0xc0ffee, u64::MAX] {
            assert_eq!(Seed::new(number).to_string().parse(), Ok(Seed::new(number)));
        }
        assert_eq!("0xff".parse(), Ok(Seed::new(255)));
    }

    #[test]
    fn other_texts_are_refused() {
        for text in ["", "0x", "+1", "-1", "xyz", " 1", "12345678901234567"] {
            assert!(text.parse::<Seed>().is_err(), "{text:?}");
        }
    }

    /// A change here breaks every committed seed.
    #[test]
    fn draws_are_fixed_for_good() {
        assert_eq!(split_mix(1234567, 1), 6457827717110365317, "the published first word for this start");
        assert_eq!(Seed::new(7).derive("client").to_string(), "29fb38198655e721");
        assert_eq!(Seed::new(7).rng().random::<u64>(), 7_387_829_322_293_334_546);
    }
}
