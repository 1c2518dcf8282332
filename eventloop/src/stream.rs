//! TCP connections as sources.

use std::io;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use socket2::SockRef;

use crate::Permit;
use crate::Source;
use crate::options::{SocketOptions, set_keepalive};

/// A TCP connection as a [`Source`].
///
/// One that a [`Listener`](crate::Listener) has accepted holds its client's permit: the next client is
/// accepted when it is closed.
///
/// # How it ends
///
/// A connection is born to be reset (`SO_LINGER` of zero, socket(7)): if the stream is dropped, by an early return, a
/// panic or the end of the process, the peer receives RST, so that it does not take a part for the whole.
/// [`close`](Self::close) is the orderly end.
///
/// ```
/// use std::io::{ErrorKind, Read};
/// use eventloop::Stream;
/// use eventloop::testing::pair;
///
/// # fn main() -> std::io::Result<()> {
/// let ((near, mut far), (other_near, mut other_far)) = (pair()?, pair()?);
/// let (stream, other) = (Stream::new(near)?, Stream::new(other_near)?);
/// assert_eq!(stream.receive(&mut [0; 10])?, None, "nothing has come");
/// stream.send(b"all of it")?;
/// stream.close();
/// let mut got = String::new();
/// assert_eq!(far.read_to_string(&mut got)?, 9);
/// drop(other);
/// assert_eq!(other_far.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
/// # Ok(()) }
/// ```
pub type Stream = Source<TcpStream>;

impl Stream {
    /// Makes a stream of a connection that was accepted or made elsewhere, with the default
    /// [`SocketOptions`](crate::SocketOptions).
    ///
    /// # Errors
    ///
    /// What the system reports of the socket (ioctl(2), setsockopt(2)).
    pub fn new(connection: TcpStream) -> io::Result<Self> {
        SocketOptions::default().apply(&SockRef::from(&connection))?;
        Self::wrap(connection)
    }

    /// Sends FIN after the bytes written so far; nothing can be written any more (shutdown(2)).
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::NotConnected`] if the peer has reset the connection.
    pub fn finish(&self) -> io::Result<()> {
        self.shutdown(Shutdown::Write)
    }

    /// Ends the connection in an orderly way: the kernel delivers what was written and sends FIN, unless
    /// [`finish`](Self::finish) has done so before.
    ///
    /// If bytes of the peer have not been read, the kernel sends RST instead (RFC 2525, section 2.17).
    pub fn close(self) {
        self.finish_on_drop();
    }

    /// From now on dropping the stream is an orderly end, as [`close`](Self::close): for a session that is
    /// about to end, and owns its stream until it is dropped.
    pub fn finish_on_drop(&self) {
        // It fails where the peer has reset the connection already, and then nothing is left to end.
        let _ = SockRef::from(&**self).set_linger(None);
    }

    /// Takes the client's permit out of a stream that a [`Listener`](crate::Listener) has accepted, for a
    /// session that goes on when its client's connection is closed. The next client is then accepted when
    /// the permit is dropped.
    #[must_use = "the next client is accepted as soon as the permit is dropped"]
    pub fn take_permit(&self) -> Option<Permit> {
        self.permit()
    }

    /// The address that the peer of an accepted connection has connected to: the one before this machine's packet filter
    /// has redirected it (NAT, `SO_ORIGINAL_DST`), or else the local one.
    ///
    /// # Errors
    ///
    /// What getsockname(2) reports.
    pub fn original_destination(&self) -> io::Result<SocketAddr> {
        #[cfg(target_os = "linux")]
        {
            let socket = SockRef::from(&**self);
            let redirected = socket.original_dst_v4().or_else(|_| socket.original_dst_v6());
            if let Some(address) = redirected.ok().and_then(|address| address.as_socket()) {
                return Ok(canonical(address));
            }
        }
        self.local_addr().map(canonical)
    }

    /// Lets the kernel probe a peer that has been silent for `idle`, and give it up after as long again:
    /// see [`SocketOptions::keepalive`](crate::SocketOptions::keepalive). To be used where not each
    /// connection is to pay the system calls for it, but only one that lasts.
    ///
    /// # Errors
    ///
    /// What setsockopt(2) reports.
    pub fn set_keepalive(&self, idle: Duration) -> io::Result<()> {
        set_keepalive(&SockRef::from(&**self), idle)
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

/// An IPv4 address that is mapped into IPv6 (`::ffff:192.0.2.1`, RFC 4291 section 2.5.5.2) as IPv4. The
/// zone of a link-local IPv6 address stays.
pub(crate) fn canonical(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V6(v6) if v6.ip().to_ipv4_mapped().is_none() => address,
        other => SocketAddr::new(other.ip().to_canonical(), other.port()),
    }
}
