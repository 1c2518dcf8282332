//! Accepting clients, without a spin when descriptors run out.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::rc::Rc;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use socket2::{Domain, Protocol, Socket, Type};

use crate::listen_socket::Entrance;
use crate::exhaustion::RETRY;
use crate::source::canonical;
use crate::{Intents, ListenOptions, Progress, Ready, Session, SocketOptions, Stream, Waker};

/// A listening TCP socket, or several, with a number of places for clients. It is a part of a session: the
/// session passes on [`intents`](Listener::intents) and calls [`accept`](Listener::accept) in its step.
///
/// While all places are taken nobody is accepted; clients wait in the kernel's queue, with what they
/// have sent. When a [`Place`] is dropped, the session that has the listener is woken.
#[derive(Debug)]
pub struct Listener {
    entrances: Vec<Entrance>,
    /// The entrance that is asked first for the next client, so that each gets its turn.
    next: usize,
    options: SocketOptions,
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

impl Listener {
    /// Listens on `address`, with places for any number of clients; port 0 lets the system choose one. The
    /// address can be taken over from connections in `TIME_WAIT` (`SO_REUSEADDR`). An unspecified IPv6
    /// address takes IPv4 clients too.
    ///
    /// # Errors
    ///
    /// What socket(2), bind(2) or listen(2) report; the caller knows the address to name.
    pub fn bind(address: SocketAddr, options: impl Into<ListenOptions>) -> io::Result<Self> {
        let ListenOptions { connections, reuse_port } = options.into();
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        if reuse_port {
            socket.set_reuse_port(true)?;
        }
        if address.is_ipv6() {
            socket.set_only_v6(false)?;
        }
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        Self::adopt(vec![socket.into()], connections)
    }

    /// Listens on `port` of every address, IPv6 and IPv4; IPv4 alone where there is no IPv6.
    ///
    /// # Errors
    ///
    /// As [`bind`](Self::bind).
    pub fn bind_all(port: u16, options: impl Into<ListenOptions>) -> io::Result<Self> {
        let options = options.into();
        match Self::bind((Ipv6Addr::UNSPECIFIED, port).into(), options) {
            Err(error) if no_ipv6(&error) => Self::bind((Ipv4Addr::UNSPECIFIED, port).into(), options),
            outcome => outcome,
        }
    }

    /// Accepts from sockets that listen already, such as those a service manager passes on
    /// (sd_listen_fds(3)); their clients come in turn.
    ///
    /// # Errors
    ///
    /// `InvalidInput` if there is none, or one does not listen.
    pub fn adopt(sockets: Vec<TcpListener>, options: SocketOptions) -> io::Result<Self> {
        if sockets.is_empty() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "there is no socket to listen on"));
        }
        let entrance = |socket| Entrance::new(socket, options);
        let entrances = sockets.into_iter().map(entrance).collect::<io::Result<_>>()?;
        let places = Rc::new(Places { free: Cell::new(usize::MAX), waker: RefCell::default() });
        Ok(Self { entrances, next: 0, options, places, retry_at: None, batch: (None, 0) })
    }

    /// The address it listens on, with the port that the system chose if it was to; of several sockets the
    /// first one's.
    ///
    /// # Errors
    ///
    /// What getsockname(2) reports.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.entrances[0].socket.local_addr()
    }

    /// The addresses of all its sockets.
    ///
    /// # Errors
    ///
    /// As [`local_addr`](Self::local_addr).
    pub fn local_addrs(&self) -> io::Result<Vec<SocketAddr>> {
        self.entrances.iter().map(|entrance| entrance.socket.local_addr()).collect()
    }

    /// Lets nobody new into the queue, whereas those who are in it, or on their way into it, can still be
    /// accepted. To be used for some time before a listener that shares its port with others
    /// ([`ListenOptions::reuse_port`]) is dropped: the kernel resets whoever is in the queue of a listener
    /// that closes.
    ///
    /// Whoever comes meanwhile gets no answer, tries again after a second (RFC 6298, section 2.1), and finds
    /// one of the others if this listener is gone by then.
    ///
    /// # Errors
    ///
    /// What setsockopt(2) reports for `SO_ATTACH_FILTER`; `Unsupported` elsewhere than on Linux.
    pub fn turn_newcomers_away(&self) -> io::Result<()> {
        self.entrances.iter().try_for_each(Entrance::turn_newcomers_away)
    }

    /// Whether somebody is in the queue now, or may be.
    #[must_use]
    pub fn somebody_waits(&self) -> bool {
        let mut fds: Vec<PollFd<'_>> =
            self.entrances.iter().map(|entrance| PollFd::new(&*entrance.socket, PollFlags::IN)).collect();
        !matches!(poll(&mut fds, Some(&Timespec::default())), Ok(0))
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
        for Entrance { socket, .. } in &self.entrances {
            match self.retry_at {
                Some(_) => want.hangup(socket),
                None if self.places.free.get() == 0 => want.arrival(socket),
                None => want.read(socket),
            }
        }
        if let Some(at) = self.retry_at {
            want.deadline(at);
        }
    }

    /// Accepts one client, if somebody waits and there is a place; call it until it is
    /// [`Blocked`](Accept::Blocked). It returns a bounded number of clients in a turn, and anything else
    /// once. Clients that have gone again while they waited, and network errors that accept(2) passes on for
    /// them, are skipped.
    pub fn accept(&mut self, ready: &Ready<'_>) -> Accept {
        let due = match self.retry_at {
            Some(at) => at <= ready.now(),
            None => self.entrances.iter().any(|entrance| ready.is_readable(&entrance.socket)),
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
        let outcome = self.accept_next(ready);
        if self.places.free.get() == 0 {
            *self.places.waker.borrow_mut() = Some(ready.waker());
        }
        outcome
    }

    fn accept_next(&mut self, ready: &Ready<'_>) -> Accept {
        // After a pause nothing has been said of readiness.
        let retrying = self.retry_at.take().is_some();
        for turn in 0..self.entrances.len() {
            let at = (self.next + turn) % self.entrances.len();
            let entrance = &self.entrances[at];
            if !retrying && !ready.is_readable(&entrance.socket) {
                continue;
            }
            match entrance.accept(self.options) {
                Ok(Some((stream, address))) => {
                    self.next = at + 1;
                    let place = Place::take(&self.places);
                    return Accept::Client { stream, address: canonical(address), place };
                }
                Ok(None) => {}
                Err(error) => {
                    self.retry_at = Some(ready.now() + RETRY);
                    return Accept::Exhausted(error);
                }
            }
        }
        Accept::Blocked
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

/// Whether binding failed because this machine has no IPv6, rather than because of the port.
fn no_ipv6(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw_os_error);
    matches!(errno, Some(Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL | Errno::PROTONOSUPPORT | Errno::INVAL))
}
