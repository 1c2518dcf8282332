use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSliceMut, Read};

use crate::payload::Payload;
use crate::scripted::Calls;
use crate::scripted::cursor::Cursor;

/// What one call to `read` or `read_vectored` of a [`ScriptedReader`] meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadStep {
    /// At most this many bytes, less if the buffers are smaller. Never 0, which would be an end.
    Give(usize),
    /// Nothing there yet: `WouldBlock`.
    Blocked,
    /// A signal came first: `Interrupted`.
    Interrupted,
    /// An error of this kind. As on a socket it is reported once; later reads find the end.
    Fail(ErrorKind),
    /// The end of the stream, now and for every later read.
    Eof,
}

/// A reader that follows a script and gives the bytes of a [`Payload`] from its beginning on.
#[derive(Clone, Debug)]
pub struct ScriptedReader {
    payload: Payload,
    cursor: Cursor<ReadStep>,
    given: u64,
}

impl ScriptedReader {
    /// A reader of this script, after which the stream ends.
    ///
    /// # Panics
    ///
    /// When a step is `Give(0)`.
    pub fn new(payload: Payload, script: impl IntoIterator<Item = ReadStep>) -> Self {
        let script: VecDeque<_> = script.into_iter().collect();
        assert!(!script.contains(&ReadStep::Give(0)), "a read of 0 bytes means the end: write Eof");
        Self { payload, cursor: Cursor::new(script, ReadStep::Eof), given: 0 }
    }

    /// Takes `step` again and again once the script is over, in place of the end.
    ///
    /// # Panics
    ///
    /// When the step is `Give(0)`.
    #[must_use]
    pub fn afterwards(mut self, step: ReadStep) -> Self {
        assert!(step != ReadStep::Give(0), "a read of 0 bytes means the end: write Eof");
        self.cursor.afterwards = step;
        self
    }

    /// Says that the poller has reported readiness, so that the next call is no spin.
    pub fn wake(&mut self) {
        self.cursor.blocked = false;
    }

    /// How many bytes were given: the stream so far is `payload.bytes(0, given)`.
    pub const fn given(&self) -> u64 {
        self.given
    }

    /// Whether the end or an error was reported.
    pub const fn has_ended(&self) -> bool {
        self.cursor.ended
    }

    /// How many steps of the script were not taken yet.
    pub fn steps_left(&self) -> usize {
        self.cursor.steps_left()
    }

    /// What was asked so far.
    pub const fn calls(&self) -> Calls {
        self.cursor.calls
    }

    /// Takes the next step for a call with `room` bytes of room: how many bytes to give.
    fn step(&mut self, room: usize) -> io::Result<usize> {
        match self.cursor.call(room) {
            Some(ReadStep::Give(most)) => Ok(most.min(room)),
            Some(ReadStep::Blocked) => Err(self.cursor.block()),
            Some(ReadStep::Interrupted) => Err(ErrorKind::Interrupted.into()),
            Some(ReadStep::Fail(kind)) => Err(self.cursor.fail(kind)),
            Some(ReadStep::Eof) => {
                self.cursor.ended = true;
                Ok(0)
            }
            None => Ok(0),
        }
    }

    fn give(&mut self, out: &mut [u8]) {
        self.payload.fill(self.given, out);
        self.given += out.len() as u64;
    }
}

impl Read for ScriptedReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.cursor.calls.plain += 1;
        let count = self.step(buffer.len())?;
        self.give(&mut buffer[..count]);
        Ok(count)
    }

    fn read_vectored(&mut self, buffers: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        self.cursor.calls.vectored += 1;
        let count = self.step(buffers.iter().map(|buffer| buffer.len()).sum())?;
        let mut left = count;
        for buffer in buffers {
            let part = left.min(buffer.len());
            self.give(&mut buffer[..part]);
            left -= part;
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seed::Seed;

    const PAYLOAD: Payload = Payload::new(Seed::new(3));

    fn reader(script: &[ReadStep]) -> ScriptedReader {
        ScriptedReader::new(PAYLOAD, script.iter().copied())
    }

    #[test]
    fn a_vectored_read_fills_several_slices() {
        let mut reader = reader(&[ReadStep::Give(5), ReadStep::Give(9)]);
        let (mut first, mut second) = ([0; 3], [0; 4]);
        let mut read = || {
            let mut slices = [IoSliceMut::new(&mut first), IoSliceMut::new(&mut second)];
            reader.read_vectored(&mut slices).unwrap()
        };
        assert_eq!(read(), 5);
        assert_eq!(read(), 7);
        assert_eq!(reader.calls(), Calls { vectored: 2, ..Calls::default() });
        assert_eq!([&first[..], &second].concat(), PAYLOAD.bytes(5, 7));
        assert_eq!(reader.given(), 12);
    }

    #[test]
    fn an_error_is_reported_once_and_then_the_end() {
        let mut reader = reader(&[ReadStep::Fail(ErrorKind::ConnectionReset), ReadStep::Give(1)]);
        assert_eq!(reader.read(&mut [0; 4]).unwrap_err().kind(), ErrorKind::ConnectionReset);
        assert_eq!(reader.read(&mut [0; 4]).unwrap(), 0);
        assert_eq!(reader.calls().after_end, 1);
        assert_eq!(reader.steps_left(), 1, "the stream was over");
    }

    #[test]
    fn the_end_stays_the_end() {
        let mut reader = reader(&[ReadStep::Eof, ReadStep::Give(1)]);
        assert_eq!(reader.read(&mut [0; 4]).unwrap(), 0);
        assert_eq!(reader.read(&mut [0; 4]).unwrap(), 0);
        assert!(reader.has_ended());
    }

    #[test]
    fn an_empty_buffer_takes_no_step() {
        let mut reader = reader(&[ReadStep::Give(1)]);
        assert_eq!(reader.read(&mut []).unwrap(), 0);
        assert_eq!(reader.calls().empty, 1);
        assert_eq!(reader.steps_left(), 1);
    }

    #[test]
    fn calls_after_blocked_count_until_woken() {
        let mut reader = reader(&[]).afterwards(ReadStep::Blocked);
        for _ in 0..3 {
            assert_eq!(reader.read(&mut [0; 4]).unwrap_err().kind(), ErrorKind::WouldBlock);
        }
        assert_eq!(reader.calls().after_blocked, 2);
        reader.wake();
        assert!(reader.read(&mut [0; 4]).is_err());
        assert_eq!(reader.calls().after_blocked, 2);
    }
}
