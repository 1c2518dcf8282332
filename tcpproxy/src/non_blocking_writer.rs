//! Writing to a standard stream without ever waiting for its reader.

use std::fs::File;
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, Mode, OFlags, fstat, open};

/// The standard output or the standard error, which is written to only if that does not wait.
///
/// A pipe or a terminal is opened once more, as a file that does not block: to set `O_NONBLOCK` on the open one would
/// set it for the other processes that share it, such as the shell. A line is then one write(2). A pipe takes a line of
/// up to `PIPE_BUF` (4096) bytes as a whole or not at all (pipe(7)), a terminal perhaps a part of it. Other streams, and
/// those that cannot be opened, are asked for room with poll(2) before.
#[derive(Debug)]
pub struct NonBlockingWriter {
    stream: StandardStream,
    /// `None` where it cannot be opened again, or need not: other files do not block, and a socket takes a
    /// whole line where it says that it takes anything.
    own: Option<File>,
    /// A part of a line stands at the end.
    torn: AtomicBool,
}

/// What to write to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StandardStream {
    /// The standard output.
    Output,
    /// The standard error.
    Error,
}

impl NonBlockingWriter {
    /// A writer for this stream, which may be closed.
    #[must_use]
    pub fn new(stream: StandardStream) -> Self {
        let path = match stream {
            StandardStream::Output => "/proc/self/fd/1",
            StandardStream::Error => "/proc/self/fd/2",
        };
        let blocks = stream.with(|fd| {
            fstat(fd).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Fifo)
                || fd.is_terminal()
        });
        let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let again = blocks.then(|| open(path, flags, Mode::empty()));
        Self { stream, own: again.and_then(Result::ok).map(File::from), torn: AtomicBool::new(false) }
    }

    /// Whether a line can be written now without waiting.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.stream.with(|fd| {
            let mut fds = [PollFd::from_borrowed_fd(fd, PollFlags::OUT)];
            matches!(poll(&mut fds, Some(&Timespec::default())), Ok(1))
                && fds[0].revents().contains(PollFlags::OUT)
        })
    }

    /// Writes a line of at most 4096 bytes, if there is room; `false` if nothing was written and it may be tried again.
    /// A stream that is closed or fails takes everything: there is no other place to report that.
    #[must_use = "a line that was not written is lost"]
    pub fn write_line(&self, line: &[u8]) -> bool {
        if self.own.is_none() && !self.has_room() {
            return false;
        }
        let torn = self.torn.load(Ordering::Relaxed);
        let bytes = if torn { &[b"\n", line].concat() } else { line };
        let written = match (&self.own, self.stream) {
            (Some(own), _) => (&*own).write(bytes),
            (None, StandardStream::Output) => io::stdout().write(bytes),
            (None, StandardStream::Error) => io::stderr().write(bytes),
        };
        match written {
            Ok(n) => self.torn.store(n < bytes.len(), Ordering::Relaxed),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
            Err(_) => {}
        }
        true
    }
}

impl StandardStream {
    fn with<T>(self, look: impl FnOnce(BorrowedFd<'_>) -> T) -> T {
        match self {
            Self::Output => look(io::stdout().as_fd()),
            Self::Error => look(io::stderr().as_fd()),
        }
    }
}
