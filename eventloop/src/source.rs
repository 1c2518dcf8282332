//! I/O objects the loop can watch.

use std::cell::Cell;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::ops::Deref;
use std::os::fd::{AsFd, BorrowedFd};
use std::rc::Rc;
use std::time::Duration;

use socket2::SockRef;

/// A non-blocking I/O object that a [`Session`](crate::Session) can ask the loop to watch.
///
/// It behaves like what it wraps: it dereferences to it, and reads and writes through it. The
/// descriptor is closed when the session has dropped the source and, right after that step, the loop
/// has let go of it. A source belongs to one session at a time.
#[derive(Debug)]
pub struct Source<T> {
    inner: Rc<Inner<T>>,
}

/// A TCP connection as a [`Source`].
pub type Stream = Source<TcpStream>;

/// What the loop and the session share about one source.
#[derive(Debug)]
pub(crate) struct Inner<T: ?Sized> {
    /// What the present turn brought; empty between turns.
    pub(crate) ready: Cell<Readiness>,
    io: T,
}

/// A source whose type is forgotten: all that the loop needs is its descriptor.
pub(crate) type AnySource = Rc<Inner<dyn AsFd>>;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Readiness {
    pub(crate) readable: bool,
    pub(crate) writable: bool,
    pub(crate) hung_up: bool,
}

/// What a session wants to hear of a source. Nothing at all still means: hear of its failure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Want {
    pub(crate) read: bool,
    pub(crate) write: bool,
    pub(crate) arrival: bool,
}

impl<T: AsFd + 'static> Source<T> {
    /// Wraps an object, and puts it into non-blocking mode.
    ///
    /// # Errors
    ///
    /// If the mode cannot be set (`FIONBIO`, ioctl(2)).
    pub fn new(io: T) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&io, true)?;
        Ok(Self::non_blocking(io))
    }

    /// Wraps an object that is in non-blocking mode already.
    pub(crate) fn non_blocking(io: T) -> Self {
        Self { inner: Rc::new(Inner { ready: Cell::default(), io }) }
    }

    pub(crate) fn erased(&self) -> AnySource {
        self.inner.clone()
    }

    pub(crate) fn readiness(&self) -> Readiness {
        self.inner.ready.get()
    }
}

/// What a TCP connection can do beyond reading and writing.
impl Stream {
    /// Sends FIN after the bytes written so far; nothing can be written any more (shutdown(2)).
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::NotConnected`] if the peer has reset the connection.
    pub fn finish(&self) -> io::Result<()> {
        self.shutdown(Shutdown::Write)
    }

    /// Makes the coming close send RST instead of FIN, and discard what the kernel has not sent yet
    /// (`SO_LINGER` of zero, socket(7)). Where the bytes matter, wait with
    /// [`watch_send_queue`](Self::watch_send_queue) first.
    ///
    /// # Errors
    ///
    /// What setsockopt(2) reports.
    pub fn reset_on_close(&self) -> io::Result<()> {
        SockRef::from(&**self).set_linger(Some(Duration::ZERO))
    }

    /// From now on "writable" means that the kernel has sent every byte written so far
    /// (`TCP_NOTSENT_LOWAT` of 1, tcp(7)). It says nothing once [`finish`](Self::finish) was called:
    /// a connection that is shut for writing always counts as writable.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::Unsupported`] where the system has no such option.
    pub fn watch_send_queue(&self) -> io::Result<()> {
        #[cfg(target_os = "linux")]
        return SockRef::from(&**self).set_tcp_notsent_lowat(1);
        #[cfg(not(target_os = "linux"))]
        return Err(io::ErrorKind::Unsupported.into());
    }
}

/// An IPv4 address that is mapped into IPv6 (`::ffff:192.0.2.1`, RFC 4291 section 2.5.5.2) as IPv4.
pub(crate) fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

impl<T> Deref for Source<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.inner.io
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
        (&self.inner.io).read(buf)
    }

    fn read_vectored(&mut self, bufs: &mut [io::IoSliceMut<'_>]) -> io::Result<usize> {
        (&self.inner.io).read_vectored(bufs)
    }
}

impl<T> Write for &Source<T>
where
    for<'a> &'a T: Write,
{
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        (&self.inner.io).write(buf)
    }

    fn write_vectored(&mut self, bufs: &[io::IoSlice<'_>]) -> io::Result<usize> {
        (&self.inner.io).write_vectored(bufs)
    }

    fn flush(&mut self) -> io::Result<()> {
        (&self.inner.io).flush()
    }
}
