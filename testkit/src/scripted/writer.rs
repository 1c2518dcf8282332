use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice, Write};

use crate::scripted::Calls;
use crate::scripted::cursor::Cursor;

/// What one call to `write` or `write_vectored` of a [`ScriptedWriter`] meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteStep {
    /// At most this many bytes are taken, less if fewer are offered. Never 0, which is [`Zero`](Self::Zero).
    Accept(usize),
    /// No room: `WouldBlock`.
    Blocked,
    /// A signal came first: `Interrupted`.
    Interrupted,
    /// Takes 0 bytes and calls it a success, as a broken writer does.
    Zero,
    /// An error of this kind. As on a socket it is reported once; later writes find a `BrokenPipe`.
    Fail(ErrorKind),
}

/// A writer that follows a script and records what it takes.
#[derive(Clone, Debug)]
pub struct ScriptedWriter {
    cursor: Cursor<WriteStep>,
    written: Vec<u8>,
    finishes: Vec<usize>,
    failed: bool,
}

impl ScriptedWriter {
    /// A writer of this script, after which it takes everything.
    ///
    /// # Panics
    ///
    /// When a step is `Accept(0)`.
    pub fn new(script: impl IntoIterator<Item = WriteStep>) -> Self {
        let script: VecDeque<_> = script.into_iter().collect();
        assert!(
            !script.contains(&WriteStep::Accept(0)),
            "a write of 0 bytes is a step of its own: write Zero"
        );
        let cursor = Cursor::new(script, WriteStep::Accept(usize::MAX));
        Self { cursor, written: Vec::new(), finishes: Vec::new(), failed: false }
    }

    /// Takes `step` again and again once the script is over, in place of accepting everything.
    ///
    /// # Panics
    ///
    /// When the step is `Accept(0)`.
    #[must_use]
    pub fn afterwards(mut self, step: WriteStep) -> Self {
        assert!(step != WriteStep::Accept(0), "a write of 0 bytes is a step of its own: write Zero");
        self.cursor.afterwards = step;
        self
    }

    /// Says that the poller has reported readiness, so that the next call is no spin.
    pub fn wake(&mut self) {
        self.cursor.blocked = false;
    }

    /// Everything taken so far.
    pub fn written(&self) -> &[u8] {
        &self.written
    }

    /// Ends the stream, as `shutdown(SHUT_WR)` does: later writes find a `BrokenPipe`.
    ///
    /// Each call is recorded, so that a test finds a second one, which is a bug.
    pub fn finish(&mut self) {
        self.finishes.push(self.written.len());
        self.cursor.ended = true;
    }

    /// How many bytes had been taken at each [`finish`](Self::finish).
    pub fn finishes(&self) -> &[usize] {
        &self.finishes
    }

    /// Whether an error was reported.
    pub const fn has_failed(&self) -> bool {
        self.failed
    }

    /// How many steps of the script were not taken yet.
    pub fn steps_left(&self) -> usize {
        self.cursor.steps_left()
    }

    /// What was asked so far.
    pub const fn calls(&self) -> Calls {
        self.cursor.calls
    }

    /// Takes the next step for a call that offers `len` bytes: how many to take.
    fn step(&mut self, len: usize) -> io::Result<usize> {
        match self.cursor.call(len) {
            Some(WriteStep::Accept(most)) => Ok(most.min(len)),
            Some(WriteStep::Blocked) => Err(self.cursor.block()),
            Some(WriteStep::Interrupted) => Err(ErrorKind::Interrupted.into()),
            Some(WriteStep::Fail(kind)) => {
                self.failed = true;
                Err(self.cursor.fail(kind))
            }
            None if self.cursor.ended => Err(ErrorKind::BrokenPipe.into()),
            Some(WriteStep::Zero) | None => Ok(0),
        }
    }
}

impl Write for ScriptedWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.cursor.calls.plain += 1;
        let count = self.step(bytes.len())?;
        self.written.extend_from_slice(&bytes[..count]);
        Ok(count)
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.cursor.calls.vectored += 1;
        let count = self.step(slices.iter().map(|slice| slice.len()).sum())?;
        let mut left = count;
        for slice in slices {
            let part = left.min(slice.len());
            self.written.extend_from_slice(&slice[..part]);
            left -= part;
        }
        Ok(count)
    }

    /// There is nothing to flush: what was taken is recorded at once.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vectored_write_takes_from_several_slices() {
        let mut writer = ScriptedWriter::new([WriteStep::Accept(5)]);
        let slices = [IoSlice::new(b"abc"), IoSlice::new(b"defg")];
        assert_eq!(writer.write_vectored(&slices).unwrap(), 5);
        assert_eq!(writer.write_vectored(&slices).unwrap(), 7, "after the script it takes everything");
        assert_eq!(writer.written(), b"abcdeabcdefg");
        assert_eq!(writer.calls(), Calls { vectored: 2, ..Calls::default() });
    }

    #[test]
    fn steps_come_in_order() {
        let script = [WriteStep::Interrupted, WriteStep::Zero, WriteStep::Blocked, WriteStep::Accept(1)];
        let mut writer = ScriptedWriter::new(script);
        assert_eq!(writer.write(b"xy").unwrap_err().kind(), ErrorKind::Interrupted);
        assert_eq!(writer.write(b"xy").unwrap(), 0);
        assert_eq!(writer.write(b"xy").unwrap_err().kind(), ErrorKind::WouldBlock);
        writer.wake();
        assert_eq!(writer.write(b"xy").unwrap(), 1);
        assert_eq!(writer.written(), b"x");
        assert_eq!(writer.calls(), Calls { plain: 4, ..Calls::default() });
    }

    #[test]
    fn nothing_is_taken_after_an_error() {
        let mut writer = ScriptedWriter::new([WriteStep::Fail(ErrorKind::ConnectionReset)]);
        assert_eq!(writer.write(b"x").unwrap_err().kind(), ErrorKind::ConnectionReset);
        assert_eq!(writer.write(b"x").unwrap_err().kind(), ErrorKind::BrokenPipe);
        assert!(writer.has_failed());
        assert_eq!(writer.calls().after_end, 1);
    }

    #[test]
    fn each_finish_is_recorded_with_its_place() {
        let mut writer = ScriptedWriter::new([]);
        writer.write_all(b"abc").unwrap();
        writer.finish();
        assert_eq!(writer.write(b"x").unwrap_err().kind(), ErrorKind::BrokenPipe);
        writer.finish();
        assert_eq!(writer.finishes(), [3, 3]);
    }

    #[test]
    fn an_empty_write_takes_no_step() {
        let mut writer = ScriptedWriter::new([WriteStep::Accept(1)]);
        assert_eq!(writer.write(&[]).unwrap(), 0);
        assert_eq!(writer.calls().empty, 1);
        assert_eq!(writer.steps_left(), 1);
    }
}
