use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice, Write};

use crate::scripted::Calls;

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
    script: VecDeque<WriteStep>,
    afterwards: WriteStep,
    written: Vec<u8>,
    finishes: Vec<usize>,
    blocked: bool,
    failed: bool,
    calls: Calls,
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
        Self {
            script,
            afterwards: WriteStep::Accept(usize::MAX),
            written: Vec::new(),
            finishes: Vec::new(),
            blocked: false,
            failed: false,
            calls: Calls::default(),
        }
    }

    /// Takes `step` again and again once the script is over, in place of accepting everything.
    ///
    /// # Panics
    ///
    /// When the step is `Accept(0)`.
    #[must_use]
    pub fn afterwards(mut self, step: WriteStep) -> Self {
        assert!(step != WriteStep::Accept(0), "a write of 0 bytes is a step of its own: write Zero");
        self.afterwards = step;
        self
    }

    /// Says that the poller has reported readiness, so that the next call is no spin.
    pub fn wake(&mut self) {
        self.blocked = false;
    }

    /// Whether the last call reported `WouldBlock` and no [`wake`](Self::wake) came since.
    pub const fn is_blocked(&self) -> bool {
        self.blocked
    }

    /// Everything taken so far.
    pub fn written(&self) -> &[u8] {
        &self.written
    }

    /// Ends the stream, as `shutdown(SHUT_WR)` does: later writes find a `BrokenPipe`.
    ///
    /// Finishing is recorded each time it is asked for, since asking twice is a bug a test wants to see.
    pub fn finish(&mut self) {
        self.finishes.push(self.written.len());
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
        self.script.len()
    }

    /// What was asked so far.
    pub const fn calls(&self) -> Calls {
        self.calls
    }

    /// Takes the next step for a call that offers `len` bytes: how many to take.
    fn step(&mut self, len: usize) -> io::Result<usize> {
        let ended = self.failed || !self.finishes.is_empty();
        if self.blocked {
            self.calls.after_blocked += 1;
        }
        if ended {
            self.calls.after_end += 1;
        }
        if len == 0 {
            self.calls.empty += 1;
        }
        if ended {
            return Err(ErrorKind::BrokenPipe.into());
        }
        if len == 0 {
            return Ok(0);
        }
        self.blocked = false;
        match self.script.pop_front().unwrap_or(self.afterwards) {
            WriteStep::Accept(most) => Ok(most.min(len)),
            WriteStep::Blocked => {
                self.blocked = true;
                Err(ErrorKind::WouldBlock.into())
            }
            WriteStep::Interrupted => Err(ErrorKind::Interrupted.into()),
            WriteStep::Zero => Ok(0),
            WriteStep::Fail(kind) => {
                self.failed = true;
                Err(kind.into())
            }
        }
    }
}

impl Write for ScriptedWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.calls.plain += 1;
        let count = self.step(bytes.len())?;
        self.written.extend_from_slice(&bytes[..count]);
        Ok(count)
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.calls.vectored += 1;
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
        assert!(writer.is_blocked());
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
