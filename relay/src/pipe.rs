//! Bytes that are pending in the kernel: splice(2) moves them from one socket to another without copying them.
//!
//! ```text
//!            splice(2)                      splice(2)
//! socket ───────────────▶  pipe (lent)  ───────────────▶ socket
//! ```
//!
//! Only Linux has it; elsewhere no pipe is available, and bytes are copied.

use std::cell::{Cell, RefCell};
use std::io;
use std::ops::{Deref, DerefMut};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::time::{Duration, Instant};

use ringbuf::{Drain, Fill};

/// A pipe, and how many bytes are in it.
///
/// A pipe is filled only when it is empty. How much fits into one depends on how the kernel has cut the
/// bytes up, so one that holds a few may be full. If an empty one takes nothing, the socket has nothing to give.
#[derive(Debug)]
pub struct Pipe {
    entry: OwnedFd,
    exit: OwnedFd,
    len: usize,
    capacity: usize,
}

/// A bounded store of pipes for many connections. A `Pipes` is a handle: its clones are the same store.
///
/// ```
/// use std::time::{Duration, Instant};
/// use eventloop::testing::{assert_withstands_misbehaving_clients, pair};
/// use eventloop::{EventLoop, Stream};
/// use relay::{Limits, Pipes, ProxySession, Tunnel};
/// use ringbuf::Pool;
///
/// let (pool, pipes) = (Pool::new(64 * 1024, 2), Pipes::new(1024 * 1024, 64));
/// let mut event_loop = EventLoop::new()?;
/// assert_withstands_misbehaving_clients(&mut event_loop, |event_loop| {
///     let ((near_client, client), (near_server, server)) = (pair()?, pair()?);
///     let (near_client, near_server) = (Stream::new(near_client)?, Stream::new(near_server)?);
///     let (up, down) = (pool.reserve().expect("two rings"), pool.reserve().expect("two rings"));
///     let mut tunnel = Tunnel::new(near_client, near_server, up, down, Duration::from_secs(30));
///     tunnel.splice(&pipes, true); // from the first byte on; `false`: while the transfer is bulk
///     event_loop.spawn(ProxySession::established(tunnel, Limits::default(), Instant::now()));
///     Ok((client, Some(server)))
/// });
/// assert_eq!((pool.lent(), pipes.lent()), (0, 0));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Pipes {
    store: Rc<PipeStore>,
}

/// A pipe of a store. Dropping it gives it back, unless bytes are left in it: then it is closed.
#[derive(Debug)]
pub(crate) struct LentPipe {
    /// Absent only while it is dropped.
    pipe: Option<Pipe>,
    pipes: Pipes,
}

#[derive(Debug)]
struct PipeStore {
    capacity: usize,
    most: usize,
    lent: Cell<usize>,
    /// When the system has refused to make a pipe.
    refused: Cell<Option<Instant>>,
    spare: RefCell<Vec<Pipe>>,
}

impl Pipes {
    /// A store of at most `most` pipes with room for `capacity` bytes each. None is made yet, and none will
    /// be that the system does not give so much room (pipe(7), `/proc/sys/fs/pipe-max-size` and
    /// `pipe-user-pages-soft`).
    #[must_use]
    pub fn new(capacity: usize, most: usize) -> Self {
        let store = PipeStore {
            capacity,
            most,
            lent: Cell::new(0),
            refused: Cell::new(None),
            spare: RefCell::default(),
        };
        Self { store: Rc::new(store) }
    }

    /// An empty pipe: the one that was given back last, or a new one. `None` if all are lent, or if the
    /// system refuses to make one; it is then not asked again for a second.
    pub(crate) fn lend(&self) -> Option<LentPipe> {
        let store = &self.store;
        if store.lent.get() == store.most {
            return None;
        }
        let spare = store.spare.borrow_mut().pop();
        let pipe = spare.or_else(|| self.make(Instant::now(), Pipe::new))?;
        store.lent.set(store.lent.get() + 1);
        Some(LentPipe { pipe: Some(pipe), pipes: self.clone() })
    }

    fn make(&self, now: Instant, make: impl FnOnce(usize) -> io::Result<Pipe>) -> Option<Pipe> {
        let refused = &self.store.refused;
        if refused.get().is_some_and(|at| now < at + RETRY) {
            return None;
        }
        let pipe = make(self.store.capacity).ok();
        refused.set(pipe.is_none().then_some(now));
        pipe
    }

    /// The number of pipes that are lent now.
    #[must_use]
    pub fn lent(&self) -> usize {
        self.store.lent.get()
    }
}

/// How long the system is not asked again after it has refused to make a pipe.
const RETRY: Duration = Duration::from_secs(1);

impl Drop for LentPipe {
    fn drop(&mut self) {
        let store = &self.pipes.store;
        store.lent.set(store.lent.get() - 1);
        store.spare.borrow_mut().extend(self.pipe.take().filter(Pipe::is_empty));
    }
}

impl Deref for LentPipe {
    type Target = Pipe;

    fn deref(&self) -> &Pipe {
        self.pipe.as_ref().expect("it is there until it is dropped")
    }
}

impl DerefMut for LentPipe {
    fn deref_mut(&mut self) -> &mut Pipe {
        self.pipe.as_mut().expect("it is there until it is dropped")
    }
}

impl Pipe {
    /// The number of bytes in it.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether no byte is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The most bytes that it is filled with.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Moves what a socket has received, up to the capacity, in one system call; [`Fill::Full`] if the pipe
    /// is not empty. [`Fill::Blocked`] does not say for certain that the socket has nothing: its next byte
    /// may be one that was sent as urgent, which only a read can fetch.
    ///
    /// # Errors
    ///
    /// What splice(2) reports; [`io::ErrorKind::Unsupported`] where there is none. The error of a
    /// connection that has failed is reported once, so it must not be lost.
    pub fn fill_from(&mut self, source: impl AsFd) -> io::Result<Fill> {
        if !self.is_empty() {
            return Ok(Fill::Full);
        }
        let moved = sys::splice(source.as_fd(), self.entry.as_fd(), self.capacity, false);
        self.note_filled(moved)
    }

    /// Moves bytes to a socket, as many as it takes, in one system call. If the end of the stream follows, the
    /// last bytes can travel with it (`SPLICE_F_MORE`).
    ///
    /// # Errors
    ///
    /// What splice(2) reports.
    pub fn drain_to(&mut self, sink: impl AsFd, end_follows: bool) -> io::Result<Drain> {
        if self.is_empty() {
            return Ok(Drain::Empty);
        }
        let moved = sys::splice(self.exit.as_fd(), sink.as_fd(), self.len, end_follows);
        self.note_drained(moved)
    }

    /// Drops all bytes in it.
    pub(crate) fn discard(&mut self) -> io::Result<Drain> {
        let n = self.len;
        while self.len > 0 {
            self.len -= rustix::io::read(&self.exit, &mut [0; 16 * 1024])?;
        }
        Ok(Drain::Wrote(n))
    }

    fn new(capacity: usize) -> io::Result<Self> {
        let (exit, entry) = sys::pipe(capacity)?;
        Ok(Self { entry, exit, len: 0, capacity })
    }

    fn note_filled(&mut self, moved: io::Result<usize>) -> io::Result<Fill> {
        match moved {
            Ok(0) => Ok(Fill::Eof),
            Ok(n) => {
                self.len += n;
                Ok(Fill::Read(n))
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Fill::Blocked),
            Err(error) => Err(error),
        }
    }

    fn note_drained(&mut self, moved: io::Result<usize>) -> io::Result<Drain> {
        match moved {
            Ok(0) => Err(io::ErrorKind::WriteZero.into()),
            Ok(n) => {
                self.len -= n;
                Ok(Drain::Wrote(n))
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Drain::Blocked),
            Err(error) => Err(error),
        }
    }
}

#[cfg(target_os = "linux")]
mod sys {
    use super::{BorrowedFd, OwnedFd, io};
    use rustix::io::retry_on_intr;
    use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with};

    pub(super) fn pipe(capacity: usize) -> io::Result<(OwnedFd, OwnedFd)> {
        let (exit, entry) = pipe_with(PipeFlags::NONBLOCK | PipeFlags::CLOEXEC)?;
        // Beyond what the user may have, pipes are so small that copying is better.
        fcntl_setpipe_size(&entry, capacity)?;
        Ok((exit, entry))
    }

    pub(super) fn splice(
        from: BorrowedFd<'_>,
        to: BorrowedFd<'_>,
        most: usize,
        more_follows: bool,
    ) -> io::Result<usize> {
        let mut flags = SpliceFlags::NONBLOCK | SpliceFlags::MOVE;
        flags.set(SpliceFlags::MORE, more_follows);
        Ok(retry_on_intr(|| rustix::pipe::splice(from, None, to, None, most, flags))?)
    }
}

#[cfg(not(target_os = "linux"))]
mod sys {
    use super::{BorrowedFd, OwnedFd, io};

    pub(super) fn pipe(_: usize) -> io::Result<(OwnedFd, OwnedFd)> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(super) fn splice(_: BorrowedFd<'_>, _: BorrowedFd<'_>, _: usize, _: bool) -> io::Result<usize> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

#[cfg(test)]
impl Pipe {
    /// What a source without a descriptor puts into it.
    pub(crate) fn fill_with(
        &mut self,
        read: impl FnOnce(&mut [u8]) -> io::Result<usize>,
    ) -> io::Result<Fill> {
        if !self.is_empty() {
            return Ok(Fill::Full);
        }
        let mut bytes = vec![0; self.capacity];
        let moved = read(&mut bytes);
        if let Ok(n @ 1..) = moved {
            assert_eq!(rustix::io::write(&self.entry, &bytes[..n]), Ok(n), "an empty pipe takes it");
        }
        self.note_filled(moved)
    }

    /// What a sink without a descriptor takes out of it: the rest is put back, which keeps the order, since
    /// everything was taken out.
    pub(crate) fn drain_with(&mut self, write: impl FnOnce(&[u8]) -> io::Result<usize>) -> io::Result<Drain> {
        if self.is_empty() {
            return Ok(Drain::Empty);
        }
        let mut bytes = vec![0; self.len];
        assert_eq!(rustix::io::read(&self.exit, &mut bytes), Ok(self.len), "the bytes are in it");
        let moved = write(&bytes);
        let rest = &bytes[*moved.as_ref().unwrap_or(&0)..];
        if !rest.is_empty() {
            assert_eq!(rustix::io::write(&self.entry, rest), Ok(rest.len()));
        }
        self.note_drained(moved)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpStream;

    use super::*;

    fn connection() -> (TcpStream, TcpStream) {
        let (near, far) = eventloop::testing::pair().unwrap();
        near.set_nonblocking(true).unwrap();
        (near, far)
    }

    #[test]
    fn bytes_pass_from_socket_to_socket_and_the_pipe_comes_back() {
        let pipes = Pipes::new(1 << 16, 1);
        let ((source, mut sender), (sink, mut receiver)) = (connection(), connection());
        let mut pipe = pipes.lend().unwrap();
        assert!(pipes.lend().is_none(), "there is one");
        assert_eq!(pipe.fill_from(&source).unwrap(), Fill::Blocked);
        sender.write_all(b"hello").unwrap();
        while pipe.fill_from(&source).unwrap() == Fill::Blocked {}
        assert_eq!((pipe.len(), pipe.fill_from(&source).unwrap()), (5, Fill::Full));
        assert_eq!(pipe.drain_to(&sink, false).unwrap(), Drain::Wrote(5));
        assert_eq!(pipe.drain_to(&sink, false).unwrap(), Drain::Empty);
        let mut got = [0; 5];
        receiver.read_exact(&mut got).unwrap();
        assert_eq!(&got, b"hello");
        drop(sender);
        while pipe.fill_from(&source).unwrap() == Fill::Blocked {}
        assert_eq!(pipe.fill_from(&source).unwrap(), Fill::Eof);
        drop(pipe);
        assert_eq!((pipes.lent(), pipes.store.spare.borrow().len()), (0, 1));
    }

    #[test]
    fn a_system_that_refuses_a_pipe_is_not_asked_again_for_a_second() {
        let pipes = Pipes::new(1 << 16, 1);
        let begin = Instant::now();
        let mut asked = 0;
        let mut refuse = |after| {
            let refusal = |_| {
                asked += 1;
                Err(io::ErrorKind::PermissionDenied.into())
            };
            assert!(pipes.make(begin + after, refusal).is_none());
            asked
        };
        assert_eq!(refuse(Duration::ZERO), 1);
        assert_eq!(refuse(Duration::from_millis(1)), 1);
        assert_eq!(refuse(Duration::from_millis(999)), 1);
        assert_eq!(refuse(Duration::from_secs(1)), 2);
        assert_eq!(refuse(Duration::from_millis(1999)), 2);
        assert!(pipes.make(begin + Duration::from_secs(2), Pipe::new).is_some());
        assert!(
            pipes.make(begin + Duration::from_secs(2), Pipe::new).is_some(),
            "nothing is left of the refusal"
        );
    }

    #[test]
    fn a_pipe_with_bytes_in_it_is_not_lent_again() {
        let pipes = Pipes::new(1 << 16, 1);
        let (source, mut sender) = connection();
        sender.write_all(b"left over").unwrap();
        let mut pipe = pipes.lend().unwrap();
        while pipe.fill_from(&source).unwrap() == Fill::Blocked {}
        drop(pipe);
        assert_eq!((pipes.lent(), pipes.store.spare.borrow().len()), (0, 0));
        assert!(pipes.lend().unwrap().is_empty());
    }

    #[test]
    fn a_reset_is_reported_as_an_error() {
        let pipes = Pipes::new(1 << 16, 1);
        let (source, sender) = connection();
        eventloop::testing::reset(sender).unwrap();
        let mut pipe = pipes.lend().unwrap();
        let error = loop {
            match pipe.fill_from(&source) {
                Ok(Fill::Blocked) => {}
                outcome => break outcome.unwrap_err(),
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    }
}
