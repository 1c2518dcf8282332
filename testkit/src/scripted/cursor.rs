use std::collections::VecDeque;
use std::io::{self, ErrorKind};

use crate::scripted::Calls;

/// How far a script has come, and what was asked meanwhile: what readers and writers have in common.
#[derive(Clone, Debug)]
pub(super) struct Cursor<S> {
    script: VecDeque<S>,
    pub(super) afterwards: S,
    pub(super) blocked: bool,
    /// The end or an error was reported.
    pub(super) ended: bool,
    pub(super) calls: Calls,
}

impl<S: Copy> Cursor<S> {
    pub(super) fn new(script: VecDeque<S>, afterwards: S) -> Self {
        Self { script, afterwards, blocked: false, ended: false, calls: Calls::default() }
    }

    /// Counts a call for `len` bytes. Returns the step that it meets; a call for nothing meets none, nor does one after
    /// the end.
    pub(super) fn call(&mut self, len: usize) -> Option<S> {
        self.calls.after_blocked += usize::from(self.blocked);
        self.calls.after_end += usize::from(self.ended);
        self.calls.empty += usize::from(len == 0);
        if self.ended || len == 0 {
            return None;
        }
        self.blocked = false;
        Some(self.script.pop_front().unwrap_or(self.afterwards))
    }

    pub(super) fn block(&mut self) -> io::Error {
        self.blocked = true;
        ErrorKind::WouldBlock.into()
    }

    pub(super) fn fail(&mut self, kind: ErrorKind) -> io::Error {
        self.ended = true;
        kind.into()
    }

    pub(super) fn steps_left(&self) -> usize {
        self.script.len()
    }
}
