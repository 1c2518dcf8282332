use std::io;
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};

use crate::peer::connection::wait;

/// Something a peer waits at, [`Step::Await`](super::Step::Await), until a test or another peer opens it.
///
/// Clones are the same gate.
#[derive(Clone, Debug)]
pub struct Gate {
    /// Readable, with an end of file, once the gate is open.
    opened: Arc<UnixStream>,
    end: Arc<UnixStream>,
}

impl Gate {
    /// A closed gate that some peer is to open, [`Step::Open`](super::Step::Open).
    ///
    /// # Errors
    ///
    /// When there is no descriptor left.
    pub fn new() -> io::Result<Self> {
        let (opened, end) = UnixStream::pair()?;
        Ok(Self { opened: Arc::new(opened), end: Arc::new(end) })
    }

    /// Opens it: every thread that waits, now or later, goes on.
    pub fn open(&self) {
        // Fails if it is open already.
        let _ = self.end.shutdown(Shutdown::Both);
    }

    /// Waits until it is open, and returns whether it was within `patience`.
    pub fn wait(&self, patience: Duration) -> bool {
        wait(&mut [self.poll_fd()], Instant::now() + patience).is_some()
    }

    pub(super) fn poll_fd(&self) -> PollFd<'_> {
        PollFd::from_borrowed_fd(self.opened.as_fd(), PollFlags::IN)
    }
}

/// Opens its [`Gate`] when dropped: a test that fails leaves no thread waiting.
#[derive(Debug)]
pub struct Opener {
    gate: Gate,
}

impl Opener {
    /// Opens the gate now.
    pub fn open(self) {}
}

impl Drop for Opener {
    fn drop(&mut self) {
        self.gate.open();
    }
}

/// A closed gate that a test is to open, and what opens it.
///
/// # Errors
///
/// When there is no descriptor left.
pub fn gate() -> io::Result<(Gate, Opener)> {
    let gate = Gate::new()?;
    Ok((gate.clone(), Opener { gate }))
}
