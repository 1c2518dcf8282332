//! Accepting clients, without a spin when descriptors run out.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Instant;

use rustix::io::Errno;
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use crate::exhaustion::RETRY;
use crate::source::canonical;
use crate::{Intents, Ready, SocketOptions, Source, Stream};

/// A listening TCP socket. It is a part of a session: the session passes on
/// [`intents`](Listener::intents) and calls [`accept`](Listener::accept) when it is ready.
#[derive(Debug)]
pub struct Listener {
    socket: Source<TcpListener>,
    options: SocketOptions,
    /// Whether accepted connections have the options already.
    inherited: bool,
    /// When to try again after descriptors ran out.
    retry_at: Option<Instant>,
}

/// What [`Listener::accept`] found.
#[must_use]
#[derive(Debug)]
pub enum Accept {
    /// A client, and the address it came from; an IPv4 client of an IPv6 socket has an IPv4 address.
    Client(Stream, SocketAddr),
    /// Nobody is waiting now.
    Blocked,
    /// Somebody may be waiting, but the system lacks what a connection needs: descriptors (`EMFILE`,
    /// `ENFILE`) or memory (`ENOBUFS`, `ENOMEM`). The listener pauses and tries again in 100 ms.
    Exhausted(io::Error),
}

/// How many may wait to be accepted; Linux lowers it to `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// How many clients that have gone again one call may skip.
const MAX_SKIPPED: usize = 64;

impl Listener {
    /// Listens on `address`; port 0 lets the system choose one. The address can be taken over from
    /// connections in `TIME_WAIT` (`SO_REUSEADDR`). An unspecified IPv6 address takes IPv4 clients too.
    ///
    /// # Errors
    ///
    /// What socket(2), bind(2) or listen(2) report; the caller knows the address to name.
    pub fn bind(address: SocketAddr, options: SocketOptions) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_nonblocking(true)?;
        socket.set_reuse_address(true)?;
        if address.is_ipv6() {
            socket.set_only_v6(false)?;
        }
        // Linux hands these options down to accepted connections, which saves calls for each client.
        let inherited = options.apply(&SockRef::from(&socket)).is_ok() && cfg!(target_os = "linux");
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        Ok(Self { socket: Source::new(socket.into()), options, inherited, retry_at: None })
    }

    /// Listens on `port` of every address, IPv6 and IPv4; IPv4 alone where there is no IPv6.
    ///
    /// # Errors
    ///
    /// As [`bind`](Self::bind).
    pub fn bind_all(port: u16, options: SocketOptions) -> io::Result<Self> {
        match Self::bind((Ipv6Addr::UNSPECIFIED, port).into(), options) {
            Err(error) if no_ipv6(&error) => Self::bind((Ipv4Addr::UNSPECIFIED, port).into(), options),
            outcome => outcome,
        }
    }

    /// The address it listens on, with the port that the system chose if it was to.
    ///
    /// # Errors
    ///
    /// What getsockname(2) reports.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Declares that clients are welcome now.
    pub fn intents(&self, want: &mut Intents<'_>) {
        match self.retry_at {
            Some(at) => {
                want.hangup(&self.socket);
                want.deadline(at);
            }
            None => want.read(&self.socket),
        }
    }

    /// Declares that nobody is to be accepted now, but that an arrival is of interest; see
    /// [`has_arrival`](Self::has_arrival).
    pub fn intents_when_full(&self, want: &mut Intents<'_>) {
        want.arrival(&self.socket);
    }

    /// Whether there is somebody to accept, or a pause is over.
    #[must_use]
    pub fn is_ready(&self, ready: &Ready) -> bool {
        match self.retry_at {
            Some(at) => at <= ready.now(),
            None => ready.is_readable(&self.socket),
        }
    }

    /// Whether somebody has come, or still waits, since [`intents_when_full`](Self::intents_when_full)
    /// was declared.
    #[must_use]
    pub fn has_arrival(&self, ready: &Ready) -> bool {
        ready.is_readable(&self.socket)
    }

    /// Accepts one client, if somebody is waiting. Clients that have gone again while they waited, and
    /// network errors that accept(2) passes on for them, are skipped.
    pub fn accept(&mut self, now: Instant) -> Accept {
        self.retry_at = None;
        for _ in 0..MAX_SKIPPED {
            let error = match self.accept_one() {
                Ok((stream, address)) => return Accept::Client(stream, canonical(address)),
                Err(error) => error,
            };
            match error.raw_os_error().map(Errno::from_raw_os_error) {
                Some(Errno::AGAIN) => return Accept::Blocked,
                Some(
                    Errno::INTR
                    | Errno::CONNABORTED
                    | Errno::PROTO
                    | Errno::NETDOWN
                    | Errno::NETUNREACH
                    | Errno::HOSTDOWN
                    | Errno::HOSTUNREACH
                    | Errno::NOPROTOOPT
                    | Errno::PERM
                    | Errno::TIMEDOUT,
                ) => {}
                _ => {
                    self.retry_at = Some(now + RETRY);
                    return Accept::Exhausted(error);
                }
            }
        }
        Accept::Blocked // those who are left are reported again in the next turn
    }

    fn accept_one(&self) -> io::Result<(Stream, SocketAddr)> {
        let (stream, address) = accept_nonblocking(&self.socket)?;
        if !self.inherited {
            // A client that is gone already refuses options; reading from it will tell why.
            let _ = self.options.apply(&SockRef::from(&stream));
        }
        Ok((Source::new(stream), address))
    }
}

/// One system call where there is accept4(2).
#[cfg(any(target_os = "linux", target_os = "freebsd", target_os = "netbsd", target_os = "openbsd"))]
fn accept_nonblocking(listener: &TcpListener) -> io::Result<(TcpStream, SocketAddr)> {
    use rustix::net::{SocketFlags, acceptfrom_with};
    let (fd, address) = acceptfrom_with(listener, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC)?;
    let address = address.and_then(|any| SocketAddr::try_from(any).ok());
    match address {
        Some(address) => Ok((fd.into(), address)),
        None => Err(Errno::CONNABORTED.into()), // the client is gone, and its address with it
    }
}

#[cfg(not(any(target_os = "linux", target_os = "freebsd", target_os = "netbsd", target_os = "openbsd")))]
fn accept_nonblocking(listener: &TcpListener) -> io::Result<(TcpStream, SocketAddr)> {
    let (stream, address) = listener.accept()?;
    stream.set_nonblocking(true)?;
    Ok((stream, address))
}

/// Whether binding failed because this machine has no IPv6, rather than because of the port.
fn no_ipv6(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw_os_error);
    matches!(errno, Some(Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL | Errno::PROTONOSUPPORT | Errno::INVAL))
}
