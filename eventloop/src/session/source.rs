//! I/O objects the loop can watch.

use std::cell::Cell;
use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::ops::Deref;
use std::os::fd::{AsFd, BorrowedFd};
use std::rc::Rc;

use super::permit::Permit;

/// A non-blocking I/O object that a [`Session`](crate::Session) can ask the loop to watch.
///
/// It behaves like what it wraps: it dereferences to it, and reads and writes through it. The
/// descriptor is closed when the session has dropped the source, or right after that step, if the poller
/// holds on to it. A source belongs to one session at a time.
///
/// ```
/// use std::io::{self, Write};
/// use eventloop::{EventLoop, Intents, Progress, Ready, Result, Session, Source};
///
/// /// Receives until the end.
/// struct Receiver(Source<io::PipeReader>);
///
/// impl Session for Receiver {
///     fn intents(&self, intents: &mut Intents<'_>) {
///         intents.read(&self.0);
///     }
///
///     fn advance(&mut self, ready: &Ready<'_>) -> Result<Progress> {
///         let over = ready.is_readable(&self.0) && self.0.receive(&mut [0; 512])? == Some(0);
///         Ok(if over { Progress::Done } else { Progress::Continue })
///     }
/// }
///
/// # fn main() -> io::Result<()> {
/// let (exit, mut entry) = io::pipe()?;
/// let mut event_loop = EventLoop::new()?;
/// event_loop.spawn(Receiver(Source::wrap(exit)?));
/// entry.write_all(b"a few bytes")?;
/// drop(entry);
/// event_loop.run()
/// # }
/// ```
pub struct Source<T> {
    inner: Rc<Inner<T>>,
}

/// What the loop and the session share about one source.
pub(crate) struct Inner<T: ?Sized> {
    /// What the present turn brought; empty between turns.
    pub(crate) ready: Cell<Readiness>,
    /// What the poller is asked for, as long as it is registered.
    pub(crate) interest: Cell<Interest>,
    /// A read or write has moved bytes, or the object itself was used, since the session's last step.
    pub(crate) used: Cell<bool>,
    /// What the session has declared after the present step; empty between steps.
    pub(crate) declared: Cell<Option<Interest>>,
    /// It is watched for a session.
    pub(crate) registered: Cell<bool>,
    /// The client's permit, if a listener has accepted this connection. It is given back when the source is closed.
    permit: Cell<Option<Permit>>,
    /// Declared last, because it may be unsized.
    io: T,
}

/// A source whose type is forgotten: all that the loop needs is its descriptor.
pub(crate) type AnySource = Rc<Inner<dyn AsFd>>;

/// What the poller has reported of a source in this turn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Readiness {
    /// A read gives bytes, the end or the error: [`Ready::is_readable`](crate::Ready::is_readable).
    pub readable: bool,
    /// A write takes bytes or gives the error: [`Ready::is_writable`](crate::Ready::is_writable).
    pub writable: bool,
    /// The source has failed, or is shut in both directions: [`Ready::is_hung_up`](crate::Ready::is_hung_up).
    pub hung_up: bool,
    /// The peer has finished, and all that it has sent can be read now:
    /// [`Ready::has_finished`](crate::Ready::has_finished).
    pub finished: bool,
}

/// What the poller is asked to report of a source. Without any of these it still reports a failure.
///
/// Reading and writing are watched level-triggered, because a bounded step may leave bytes in a socket. A source without
/// either is watched edge-triggered: level-triggered, a hang-up would be reported in each turn; not watched, never.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Interest {
    pub(crate) read: bool,
    pub(crate) write: bool,
    /// Each time that it becomes readable, once.
    pub(crate) read_edge: bool,
}

impl Interest {
    /// Whether it is watched edge-triggered.
    pub(crate) fn is_edge(self) -> bool {
        !self.read && !self.write
    }
}

impl<T: AsFd + 'static> Source<T> {
    /// Wraps an object, and puts it into non-blocking mode. For a TCP connection there is [`Stream::new`](crate::Stream::new).
    ///
    /// # Errors
    ///
    /// If the mode cannot be set (`FIONBIO`, ioctl(2)).
    pub fn wrap(io: T) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&io, true)?;
        Ok(Self::non_blocking(io, None))
    }

    /// Wraps an object that is in non-blocking mode already.
    pub(crate) fn non_blocking(io: T, permit: Option<Permit>) -> Self {
        Self {
            inner: Rc::new(Inner {
                ready: Cell::default(),
                interest: Cell::default(),
                used: Cell::default(),
                declared: Cell::default(),
                registered: Cell::default(),
                permit: Cell::new(permit),
                io,
            }),
        }
    }

    pub(crate) fn inner(&self) -> &Rc<Inner<T>> {
        &self.inner
    }

    pub(crate) fn permit(&self) -> Option<Permit> {
        self.inner.permit.take()
    }

    pub(crate) fn set_readiness(&self, readiness: Readiness) {
        self.inner.ready.set(readiness);
    }

    pub(crate) fn readiness(&self) -> Readiness {
        self.inner.ready.get()
    }
}

impl<T> Source<T>
where
    for<'a> &'a T: Read,
{
    /// Reads what has arrived, up to the length of `buffer`. `None`: nothing now, so
    /// [`Intents::read`](crate::Intents::read) it. `Some(0)`: the peer has finished, or the buffer is empty.
    ///
    /// # Errors
    ///
    /// What recv(2) reports, such as [`ErrorKind::ConnectionReset`]. The connection has failed then.
    pub fn receive(&self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        retry(|| self.note((&self.inner.io).read(buffer)))
    }
}

impl<T> Source<T>
where
    for<'a> &'a T: Write,
{
    /// Writes as much of `bytes` as the kernel takes now. `None`: the send buffer is full, so
    /// [`Intents::write`](crate::Intents::write) it.
    ///
    /// # Errors
    ///
    /// What send(2) reports, such as [`ErrorKind::BrokenPipe`]. The connection has failed then.
    pub fn send(&self, bytes: &[u8]) -> io::Result<Option<usize>> {
        retry(|| self.note((&self.inner.io).write(bytes)))
    }
}

impl<T> Source<T> {
    /// Notes whether a read or write has moved bytes.
    fn note(&self, moved: io::Result<usize>) -> io::Result<usize> {
        if matches!(moved, Ok(1..)) {
            self.inner.used.set(true);
        }
        moved
    }
}

impl<T> Deref for Source<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.inner.used.set(true);
        &self.inner.io
    }
}

impl<T: fmt::Debug> fmt::Debug for Source<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Source").field(&self.inner.io).finish()
    }
}

impl<T: ?Sized> fmt::Debug for Inner<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inner").field("interest", &self.interest).finish_non_exhaustive()
    }
}

impl<T: ?Sized + AsFd> AsFd for Inner<T> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.io.as_fd()
    }
}

impl<T> Read for &Source<T>
where
    for<'a> &'a T: Read,
{
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.note((&self.inner.io).read(buf))
    }

    fn read_vectored(&mut self, bufs: &mut [io::IoSliceMut<'_>]) -> io::Result<usize> {
        self.note((&self.inner.io).read_vectored(bufs))
    }
}

impl<T> Write for &Source<T>
where
    for<'a> &'a T: Write,
{
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.note((&self.inner.io).write(buf))
    }

    fn write_vectored(&mut self, bufs: &[io::IoSlice<'_>]) -> io::Result<usize> {
        self.note((&self.inner.io).write_vectored(bufs))
    }

    fn flush(&mut self) -> io::Result<()> {
        (&self.inner.io).flush()
    }
}

/// Calls again what a signal has interrupted (EINTR, signal(7)); `None` instead of "would block".
fn retry(mut call: impl FnMut() -> io::Result<usize>) -> io::Result<Option<usize>> {
    loop {
        match call() {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
            outcome => return outcome.map(Some),
        }
    }
}
