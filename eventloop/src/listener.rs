//! Accepting clients, without a spin when descriptors run out.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::rc::Rc;
use std::time::Instant;

use rustix::io::Errno;
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use crate::exhaustion::RETRY;
use crate::source::canonical;
use crate::{Intents, Progress, Ready, Session, SocketOptions, Source, Stream, Waker};

/// A listening TCP socket with a number of places for clients. It is a part of a session: the session
/// passes on [`intents`](Listener::intents) and calls [`accept`](Listener::accept) in its step.
///
/// While all places are taken nobody is accepted; clients wait in the kernel's queue, with what they
/// have sent. When a [`Place`] is dropped, the session that has the listener is woken.
#[derive(Debug)]
pub struct Listener {
    socket: Source<TcpListener>,
    options: SocketOptions,
    /// Whether accepted connections have the options, and are non-blocking, without further calls.
    native: bool,
    places: Rc<Places>,
    /// When to try again after descriptors ran out.
    retry_at: Option<Instant>,
    /// The turn in which somebody was accepted last, and how many it were.
    batch: (Option<Instant>, usize),
}

/// What [`Listener::accept`] found.
#[must_use]
#[derive(Debug)]
pub enum Accept {
    /// A client.
    Client {
        /// The connection to it.
        stream: Stream,
        /// Where it came from; an IPv4 client of an IPv6 socket has an IPv4 address.
        address: SocketAddr,
        /// The place it takes, to be kept as long as it is served.
        place: Place,
    },
    /// Nobody is to be accepted now.
    Blocked,
    /// Somebody waits, but all places are taken. It is said when a client arrives and when one that has
    /// waited must go on waiting, not all the time.
    Full,
    /// Somebody may be waiting, but the system lacks what a connection needs: descriptors (`EMFILE`,
    /// `ENFILE`) or memory (`ENOBUFS`, `ENOMEM`). The listener pauses and tries again in 100 ms.
    Exhausted(io::Error),
}

/// The right to be served, one of a [`Listener`]'s places. Dropping it gives the place to the next
/// client.
#[derive(Debug)]
pub struct Place {
    places: Rc<Places>,
}

/// A listener as a session.
struct Reception<F> {
    listener: Listener,
    welcome: F,
}

#[derive(Debug)]
struct Places {
    free: Cell<usize>,
    /// The session to wake when a place becomes free after all were taken.
    waker: RefCell<Option<Waker>>,
}

/// How many may wait to be accepted; Linux lowers it to `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// Clients accepted in one turn, so that those who are served already get their steps.
const BATCH: usize = 32;

/// How many clients that have gone again one call may skip.
const MAX_SKIPPED: usize = 64;

impl Listener {
    /// Listens on `address`, with places for any number of clients; port 0 lets the system choose one. The address can be taken over from
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
        let native = NATIVE && options.apply(&SockRef::from(&socket)).is_ok();
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        let places = Rc::new(Places { free: Cell::new(usize::MAX), waker: RefCell::default() });
        let socket = Source::new(socket.into());
        Ok(Self { socket, options, native, places, retry_at: None, batch: (None, 0) })
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

    /// The same with places for so many clients at once.
    #[must_use]
    pub fn with_places(self, places: usize) -> Self {
        self.places.free.set(places);
        self
    }

    /// A session that accepts clients, as long as there are places, and gives each to `welcome`, which
    /// spawns a session for it. For a server that has nothing else to do about its clients.
    #[must_use]
    pub fn into_session(self, welcome: impl FnMut(Stream, Place, &Ready<'_>)) -> impl Session {
        Reception { listener: self, welcome }
    }

    /// Declares that clients are welcome, or, while all places are taken, that an arrival is of interest.
    pub fn intents(&self, want: &mut Intents<'_>) {
        match self.retry_at {
            Some(at) => {
                want.hangup(&self.socket);
                want.deadline(at);
            }
            None if self.places.free.get() == 0 => want.arrival(&self.socket),
            None => want.read(&self.socket),
        }
    }

    /// Accepts one client, if somebody waits and there is a place; call it until it is
    /// [`Blocked`](Accept::Blocked). It returns a bounded number of clients in a turn, and anything else once. Clients that have gone again while they waited, and
    /// network errors that accept(2) passes on for them, are skipped.
    pub fn accept(&mut self, ready: &Ready<'_>) -> Accept {
        let due = match self.retry_at {
            Some(at) => at <= ready.now(),
            None => ready.is_readable(&self.socket),
        };
        if !due {
            return Accept::Blocked;
        }
        if self.batch.0 != Some(ready.now()) {
            self.batch = (Some(ready.now()), 0);
            if self.places.free.get() == 0 {
                return Accept::Full;
            }
        }
        if self.batch.1 == BATCH || self.places.free.get() == 0 {
            return Accept::Blocked;
        }
        self.batch.1 += 1;
        self.retry_at = None;
        let outcome = self.accept_next(ready.now());
        if self.places.free.get() == 0 {
            *self.places.waker.borrow_mut() = Some(ready.waker());
        }
        outcome
    }

    fn accept_next(&mut self, now: Instant) -> Accept {
        for _ in 0..MAX_SKIPPED {
            let error = match self.accept_one() {
                Ok((stream, address)) => {
                    let place = Place::take(&self.places);
                    return Accept::Client { stream, address: canonical(address), place };
                }
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
        if self.native {
            return accept_native(&self.socket).map(|(stream, address)| (Source::new(stream), address));
        }
        let (stream, address) = self.socket.accept()?;
        stream.set_nonblocking(true)?;
        // A client that is gone already refuses options; reading from it will tell why.
        let _ = self.options.apply(&SockRef::from(&stream));
        Ok((Source::new(stream), address))
    }
}

impl<F: FnMut(Stream, Place, &Ready<'_>)> Session for Reception<F> {
    fn intents(&self, want: &mut Intents<'_>) {
        self.listener.intents(want);
    }

    fn advance(&mut self, ready: &Ready<'_>) -> Progress {
        while let Accept::Client { stream, place, .. } = self.listener.accept(ready) {
            (self.welcome)(stream, place, ready);
        }
        Progress::Continue
    }
}

impl Place {
    fn take(places: &Rc<Places>) -> Self {
        places.free.set(places.free.get() - 1);
        Self { places: places.clone() }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.free.set(self.places.free.get() + 1);
        if let Some(waker) = self.places.waker.take() {
            waker.wake();
        }
    }
}

/// Whether this system has accept4(2) and lets connections inherit options. The plain way is tested where
/// it has, too.
const NATIVE: bool = cfg!(target_os = "linux");

/// One system call, with accept4(2).
#[cfg(target_os = "linux")]
fn accept_native(listener: &TcpListener) -> io::Result<(TcpStream, SocketAddr)> {
    use rustix::net::{SocketFlags, acceptfrom_with};
    let (fd, address) = acceptfrom_with(listener, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC)?;
    let address = address.and_then(|any| SocketAddr::try_from(any).ok());
    match address {
        Some(address) => Ok((fd.into(), address)),
        None => Err(Errno::CONNABORTED.into()), // the client is gone, and its address with it
    }
}

#[cfg(not(target_os = "linux"))]
fn accept_native(listener: &TcpListener) -> io::Result<(TcpStream, SocketAddr)> {
    listener.accept()
}

/// Whether binding failed because this machine has no IPv6, rather than because of the port.
fn no_ipv6(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw_os_error);
    matches!(errno, Some(Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL | Errno::PROTONOSUPPORT | Errno::INVAL))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{ErrorKind, Read};
    use std::time::Duration;

    #[test]
    fn accepted_connections_are_alike_with_and_without_what_only_linux_has() {
        let options = SocketOptions { keepalive: Some(Duration::from_secs(42)) };
        for native in [NATIVE, false] {
            let mut listener = Listener::bind("127.0.0.1:0".parse().unwrap(), options).unwrap();
            if !native {
                // As on a system where nothing is inherited.
                let plain = TcpListener::bind("127.0.0.1:0").unwrap();
                plain.set_nonblocking(true).unwrap();
                (listener.socket, listener.native) = (Source::new(plain), false);
            }
            let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (stream, address) = listener.accept_one().unwrap();
            assert_eq!(address, client.local_addr().unwrap());
            assert_eq!((&stream).read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
            assert!(stream.nodelay().unwrap());
            let socket = SockRef::from(&*stream);
            assert!(socket.keepalive().unwrap() && socket.out_of_band_inline().unwrap());
            assert_eq!(socket.tcp_keepalive_time().unwrap(), Duration::from_secs(42));
            assert_eq!(listener.accept_one().unwrap_err().kind(), ErrorKind::WouldBlock);
        }
    }
}
