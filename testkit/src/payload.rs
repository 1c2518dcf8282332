//! Bytes that know their place in the stream, and the check that they arrived there.
//!
//! Every byte is a function of a seed and its offset. So a stream of any length needs no memory on either side, a
//! receiver knows what each byte should be, and a block at the wrong place says where it came from.

use std::fmt;

use crate::seed::{Seed, split_mix};

/// An endless stream of bytes, each a function of (seed, offset).
///
/// ```
/// use testkit::{payload::Payload, seed::Seed};
///
/// let payload = Payload::new(Seed::new(1));
/// let mut tail = [0; 10];
/// payload.fill(90, &mut tail);
/// assert_eq!(payload.bytes(0, 100)[90..], tail);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Payload {
    start: u64,
}

impl Payload {
    /// The stream of this seed.
    pub const fn new(seed: Seed) -> Self {
        Self { start: seed.number() }
    }

    /// Writes the bytes from `offset` on into `out`.
    pub fn fill(&self, offset: u64, out: &mut [u8]) {
        let within = (offset % 8) as usize;
        let mut number = offset / 8;
        let (head, rest) = out.split_at_mut(if within == 0 { 0 } else { (8 - within).min(out.len()) });
        if !head.is_empty() {
            head.copy_from_slice(&self.word(number)[within..within + head.len()]);
            number += 1;
        }
        let mut words = rest.chunks_exact_mut(8);
        for word in &mut words {
            word.copy_from_slice(&self.word(number));
            number += 1;
        }
        let tail = words.into_remainder();
        tail.copy_from_slice(&self.word(number)[..tail.len()]);
    }

    /// `len` bytes from `offset` on.
    pub fn bytes(&self, offset: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.fill(offset, &mut bytes);
        bytes
    }

    /// Eight bytes at a time, since one multiplication chain a byte would be too slow for a gigabyte.
    fn word(&self, number: u64) -> [u8; 8] {
        split_mix(self.start, number).to_le_bytes()
    }
}

/// Checks that received bytes are those of a [`Payload`] from its beginning on.
///
/// Feed it every byte in the order of arrival, then ask [`finish`](Self::finish). The first wrong byte decides; what
/// comes after it is only counted.
///
/// ```
/// use testkit::{payload::{Mismatch, Payload, Verifier}, seed::Seed};
///
/// let payload = Payload::new(Seed::new(1));
/// let mut verifier = Verifier::new(payload);
/// verifier.feed(&payload.bytes(0, 100))?;
/// assert_eq!(verifier.finish(101), Err(Mismatch::Truncated { expected: 101, received: 100 }));
/// # Ok::<(), Mismatch>(())
/// ```
#[derive(Clone)]
pub struct Verifier {
    payload: Payload,
    received: u64,
    /// The bytes from the first wrong one on, at most [`EVIDENCE`] of them. Empty while everything was right.
    evidence: Vec<u8>,
    /// Where the first wrong byte is, if there is one.
    wrong_at: Option<u64>,
    verdict: Option<Mismatch>,
}

impl Verifier {
    /// A verifier which has received nothing yet.
    pub const fn new(payload: Payload) -> Self {
        Self { payload, received: 0, evidence: Vec::new(), wrong_at: None, verdict: None }
    }

    /// How many bytes were fed, right or wrong.
    pub const fn received(&self) -> u64 {
        self.received
    }

    /// Takes the next bytes of the stream.
    ///
    /// # Errors
    ///
    /// The first mismatch, and the same one again at every later call. It takes up to 32 bytes beyond the first wrong
    /// one to tell where they come from, so the error may come a call later, or only at [`finish`](Self::finish).
    pub fn feed(&mut self, bytes: &[u8]) -> Result<(), Mismatch> {
        let mut suspects = bytes;
        if self.wrong_at.is_none() {
            let right = self.right_prefix(bytes);
            suspects = &bytes[right..];
            if !suspects.is_empty() {
                self.wrong_at = Some(self.received + right as u64);
            }
        }
        self.received += bytes.len() as u64;
        let wanted = EVIDENCE - self.evidence.len();
        self.evidence.extend_from_slice(&suspects[..wanted.min(suspects.len())]);
        if self.evidence.len() == EVIDENCE && self.verdict.is_none() {
            self.verdict = self.judge();
        }
        self.verdict.clone().map_or(Ok(()), Err)
    }

    /// Takes the next bytes of the stream as right, whatever they are.
    pub const fn skip(&mut self, bytes: u64) {
        self.received += bytes;
    }

    /// The stream has ended: was it exactly the first `expected` bytes of the payload?
    ///
    /// # Errors
    ///
    /// The first mismatch of the content, else [`Mismatch::Truncated`] or [`Mismatch::Excess`]. Wrong bytes beyond
    /// `expected` are an excess too.
    pub fn finish(&self, expected: u64) -> Result<(), Mismatch> {
        let received = self.received;
        if self.wrong_at.is_some_and(|at| at < expected) {
            return Err(self.verdict.clone().or_else(|| self.judge()).expect("a wrong byte has a verdict"));
        }
        match received.cmp(&expected) {
            std::cmp::Ordering::Less => Err(Mismatch::Truncated { expected, received }),
            std::cmp::Ordering::Equal => Ok(()),
            std::cmp::Ordering::Greater => Err(Mismatch::Excess { expected, received }),
        }
    }

    /// The first mismatch of the content so far, judged with the bytes there are; `None` while every byte was right.
    pub fn mismatch(&self) -> Option<Mismatch> {
        self.verdict.clone().or_else(|| self.judge())
    }

    /// How many of the next bytes are right.
    fn right_prefix(&self, bytes: &[u8]) -> usize {
        let mut expected = [0; 4096];
        let mut right = 0;
        for chunk in bytes.chunks(expected.len()) {
            let expected = &mut expected[..chunk.len()];
            self.payload.fill(self.received + right as u64, expected);
            if chunk != expected {
                return right + chunk.iter().zip(expected).take_while(|(a, b)| *a == *b).count();
            }
            right += chunk.len();
        }
        right
    }

    fn judge(&self) -> Option<Mismatch> {
        let at = self.wrong_at?;
        let expected = self.payload.bytes(at, 1)[0];
        let corrupted = Mismatch::Corrupted { at, expected, received: self.evidence[0] };
        Some(match self.origin(at) {
            Some(origin) if origin > at => Mismatch::Skipped { at, bytes: origin - at },
            Some(origin) => Mismatch::Repeated { at, bytes: at - origin },
            None => corrupted,
        })
    }

    /// Where in the stream the evidence belongs, if it is long enough to tell and belongs near.
    fn origin(&self, at: u64) -> Option<u64> {
        if self.evidence.len() < LEAST_EVIDENCE {
            return None;
        }
        let from = at.saturating_sub(SEARCH);
        let len = usize::try_from(at - from + SEARCH).expect("twice the search range fits in memory");
        let stream = self.payload.bytes(from, len + self.evidence.len());
        let found = stream.windows(self.evidence.len()).position(|window| window == self.evidence)?;
        Some(from + found as u64)
    }
}

/// Short, since it stands in reports that name the mismatch themselves.
impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier").field("received", &self.received).finish_non_exhaustive()
    }
}

/// How far from the first wrong byte its origin is looked for, each way: more than a proxy and two kernels hold.
const SEARCH: u64 = 4 << 20;

/// How many bytes are kept from the first wrong one on.
const EVIDENCE: usize = 32;

/// With fewer bytes than this, some place in the search range may fit by chance.
const LEAST_EVIDENCE: usize = 8;

/// How received bytes differ from those sent. Offsets and counts are in bytes from the start of the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mismatch {
    /// The byte at `at` is wrong and what follows belongs nowhere near.
    Corrupted {
        /// Offset of the first wrong byte.
        at: u64,
        /// The byte that was sent there.
        expected: u8,
        /// The byte that arrived.
        received: u8,
    },
    /// The bytes at `at` belong further on: a block before them was lost, or overtaken.
    Skipped {
        /// Offset of the first wrong byte.
        at: u64,
        /// How many bytes are missing there.
        bytes: u64,
    },
    /// The bytes at `at` belong further back: a block came twice, or late.
    Repeated {
        /// Offset of the first wrong byte.
        at: u64,
        /// How far back the stream went.
        bytes: u64,
    },
    /// The stream ended early; every byte that came was right.
    Truncated {
        /// Bytes sent.
        expected: u64,
        /// Bytes received.
        received: u64,
    },
    /// More bytes came than were sent; those that were sent all came right.
    Excess {
        /// Bytes sent.
        expected: u64,
        /// Bytes received.
        received: u64,
    },
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Corrupted { at, expected, received } => {
                write!(f, "corrupted: byte {at} is {received:#04x}, sent was {expected:#04x}")
            }
            Self::Skipped { at, bytes } => {
                let plural = if *bytes == 1 { "" } else { "s" };
                write!(f, "lost or overtaken: at byte {at} came what belongs {bytes} byte{plural} further on")
            }
            Self::Repeated { at, bytes } => {
                let plural = if *bytes == 1 { "" } else { "s" };
                write!(
                    f,
                    "repeated or late: at byte {at} came what belongs {bytes} byte{plural} further back"
                )
            }
            Self::Truncated { expected, received } => {
                write!(
                    f,
                    "truncated: {received} of {expected} bytes arrived, {} are missing",
                    expected - received
                )
            }
            Self::Excess { expected, received } => {
                write!(
                    f,
                    "excess: {received} bytes arrived of {expected} sent, {} too many",
                    received - expected
                )
            }
        }
    }
}

impl std::error::Error for Mismatch {}

#[cfg(test)]
mod tests {
    use super::*;

    const PAYLOAD: Payload = Payload::new(Seed::new(42));

    /// The verdict on `bytes` fed in pieces of `piece`, when `expected` bytes were sent.
    fn verdict(bytes: &[u8], piece: usize, expected: u64) -> Result<(), Mismatch> {
        let mut verifier = Verifier::new(PAYLOAD);
        let fed = bytes.chunks(piece).try_for_each(|chunk| verifier.feed(chunk));
        let finished = verifier.finish(expected);
        if let Err(mismatch) = fed {
            assert_eq!(verifier.mismatch(), Some(mismatch), "the verdict stands");
        }
        finished
    }

    #[test]
    fn every_offset_and_length_agree() {
        let whole = PAYLOAD.bytes(0, 64);
        for offset in 0..40 {
            for len in 0..24 {
                assert_eq!(PAYLOAD.bytes(offset as u64, len), whole[offset..offset + len]);
            }
        }
    }

    #[test]
    fn seeds_differ() {
        assert_ne!(PAYLOAD.bytes(0, 16), Payload::new(Seed::new(43)).bytes(0, 16));
    }

    #[test]
    fn the_right_bytes_pass_in_any_pieces() {
        let bytes = PAYLOAD.bytes(0, 10_000);
        for piece in [1, 7, 4096, 10_000] {
            assert_eq!(verdict(&bytes, piece, 10_000), Ok(()));
        }
        assert_eq!(verdict(&[], 1, 0), Ok(()));
    }

    #[test]
    fn each_way_to_be_wrong_has_its_name() {
        let sent = PAYLOAD.bytes(0, 10_000);
        let expected = 10_000;
        for piece in [1, 5, 32, 10_000] {
            let check = |bytes: &[u8]| verdict(bytes, piece, expected).unwrap_err();

            assert_eq!(check(&sent[..9_999]), Mismatch::Truncated { expected, received: 9_999 });
            assert_eq!(check(&PAYLOAD.bytes(0, 10_003)), Mismatch::Excess { expected, received: 10_003 });
            assert_eq!(check(&[&sent[..], b"!"].concat()), Mismatch::Excess { expected, received: 10_001 });

            let mut corrupted = sent.clone();
            corrupted[5_000] ^= 1;
            let verdict =
                Mismatch::Corrupted { at: 5_000, expected: sent[5_000], received: corrupted[5_000] };
            assert_eq!(check(&corrupted), verdict);

            let lost = [&sent[..3_000], &sent[3_100..]].concat();
            assert_eq!(check(&lost), Mismatch::Skipped { at: 3_000, bytes: 100 });
            let twice = [&sent[..3_000], &sent[2_900..]].concat();
            assert_eq!(check(&twice), Mismatch::Repeated { at: 3_000, bytes: 100 });
            let swapped = [&sent[..1_000], &sent[2_000..3_000], &sent[1_000..2_000], &sent[3_000..]].concat();
            assert_eq!(check(&swapped), Mismatch::Skipped { at: 1_000, bytes: 1_000 });
        }
    }

    #[test]
    fn a_wrong_last_byte_is_known_at_the_end() {
        let mut bytes = PAYLOAD.bytes(0, 100);
        bytes[99] ^= 0xff;
        let mut verifier = Verifier::new(PAYLOAD);
        assert_eq!(verifier.feed(&bytes), Ok(()), "one byte is too little to tell how it is wrong");
        assert!(matches!(verifier.mismatch(), Some(Mismatch::Corrupted { at: 99, .. })));
        assert!(matches!(verifier.finish(100), Err(Mismatch::Corrupted { at: 99, .. })));
    }

    #[test]
    fn a_shift_beyond_the_search_is_corruption() {
        let bytes = [PAYLOAD.bytes(0, 100), PAYLOAD.bytes(SEARCH + 200, 100)].concat();
        assert!(matches!(verdict(&bytes, 200, 200), Err(Mismatch::Corrupted { at: 100, .. })));
    }
}
