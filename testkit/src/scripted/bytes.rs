//! Steps from the bytes a fuzzer makes up, one byte each.

use std::io::ErrorKind;

use arbitrary::{Arbitrary, Result, Unstructured};

use crate::scripted::{ReadStep, WriteStep};

/// The first numbers are the steps that are no transfer; those above are the bytes to transfer.
const MOVES: u8 = 6;

impl Arbitrary<'_> for ReadStep {
    fn arbitrary(bytes: &mut Unstructured<'_>) -> Result<Self> {
        Ok(match u8::arbitrary(bytes)? {
            0 => Self::Eof,
            1 => Self::Fail(ErrorKind::ConnectionReset),
            2 => Self::Fail(ErrorKind::TimedOut),
            3 => Self::Interrupted,
            4 | 5 => Self::Blocked,
            number => Self::Give(usize::from(number - MOVES) + 1),
        })
    }

    fn size_hint(depth: usize) -> (usize, Option<usize>) {
        u8::size_hint(depth)
    }
}

impl Arbitrary<'_> for WriteStep {
    fn arbitrary(bytes: &mut Unstructured<'_>) -> Result<Self> {
        Ok(match u8::arbitrary(bytes)? {
            0 => Self::Zero,
            1 => Self::Fail(ErrorKind::BrokenPipe),
            2 => Self::Fail(ErrorKind::ConnectionReset),
            3 => Self::Interrupted,
            4 | 5 => Self::Blocked,
            number => Self::Accept(usize::from(number - MOVES) + 1),
        })
    }

    fn size_hint(depth: usize) -> (usize, Option<usize>) {
        u8::size_hint(depth)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_is_a_step_and_none_moves_nothing() {
        for byte in 0..=u8::MAX {
            let read = ReadStep::arbitrary(&mut Unstructured::new(&[byte])).unwrap();
            let write = WriteStep::arbitrary(&mut Unstructured::new(&[byte])).unwrap();
            assert_ne!((read, write), (ReadStep::Give(0), WriteStep::Accept(0)));
            assert_eq!(matches!(read, ReadStep::Give(_)), byte >= MOVES);
        }
    }
}
