//! Accepting clients, without a spin when descriptors run out.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use crate::listen_socket::ListenSocket;
use crate::options::retry_at;
use crate::session::Permits;
use crate::stream::canonical;
use crate::{Intents, ListenOptions, Progress, Ready, Result, Session, Source, Stream};

/// A listening TCP socket, or several, with a limit on the clients that are served at once. It is a part
/// of a session: the session passes on [`intents`](Listener::intents) and calls
/// [`accept`](Listener::accept) in its step.
///
/// Each stream that it accepts holds one of its permits. While all are taken no client is accepted:
/// pending clients stay in the kernel's accept queue, with what they have sent. When such a stream is
/// closed, the session that has the listener is woken.
///
/// ```
/// use std::net::TcpStream;
///
/// use eventloop::{
///     Accept, EventLoop, Intents, Listener, Progress, Ready, Result, Session, SocketOptions,
/// };
///
/// /// Greets its clients, and says when they have to wait.
/// struct Greeter(Listener);
///
/// impl Session for Greeter {
///     fn intents(&self, intents: &mut Intents<'_>) {
///         self.0.intents(intents);
///     }
///
///     fn advance(&mut self, ready: &Ready<'_>) -> Result<Progress> {
///         loop {
///             match self.0.accept(ready) {
///                 Accept::Client { stream, address } => {
///                     let _ = stream.send(format!("hello {address}").as_bytes()); // it may have left
///                     stream.close();
///                 }
///                 Accept::Full => println!("a client waits for another one to leave"),
///                 Accept::Exhausted(error) => println!("clients wait: {error}"),
///                 Accept::Blocked => return Ok(Progress::Continue),
///             }
///         }
///     }
/// }
///
/// # fn main() -> std::io::Result<()> {
/// let listener = Listener::bind("127.0.0.1:0".parse().unwrap(), SocketOptions::default())?;
/// let listening = listener.local_addr()?;
/// let client = TcpStream::connect(listening)?;
/// let mut event_loop = EventLoop::new()?;
/// event_loop.spawn(Greeter(listener.with_max_clients(100)));
/// event_loop.turn(None)?; // its first step
/// event_loop.turn(None)?; // the client is accepted
/// let address = client.local_addr()?;
/// assert_eq!(std::io::read_to_string(client)?, format!("hello {address}"));
/// # let client = |_: &mut EventLoop| Ok((TcpStream::connect(listening)?, None));
/// # eventloop::testing::assert_withstands_misbehaving_clients(&mut event_loop, client);
/// # Ok(()) }
/// ```
///
/// [`into_session`](Listener::into_session) is shorter for a server that ignores pending clients.
#[derive(Debug)]
pub struct Listener {
    sockets: Vec<ListenSocket>,
    /// The socket that is asked first for the next client, so that each gets its turn.
    next: usize,
    options: ListenOptions,
    permits: Permits,
    /// When to try again after descriptors ran out.
    retry_at: Option<Instant>,
    batch: Batch,
}

/// What [`Listener::accept`] found.
#[must_use]
#[derive(Debug)]
pub enum Accept {
    /// A client.
    Client {
        /// The connection to it, which holds its permit.
        stream: Stream,
        /// Its address; an IPv4 client of an IPv6 socket has an IPv4 address.
        address: SocketAddr,
    },
    /// No client is to be accepted now.
    Blocked,
    /// A client is pending, but all permits are taken. It is returned once for clients that arrive, and once if a client is
    /// pending when the last permit is taken.
    Full,
    /// A client may be pending, but the system has run out of what a connection needs: descriptors (`EMFILE`,
    /// `ENFILE`) or memory (`ENOBUFS`, `ENOMEM`, or this process's own, [`check_memory`](crate::check_memory)). The
    /// listener pauses for [`ListenOptions::retry_after`] and tries again.
    Exhausted(io::Error),
}

/// How many clients are accepted in one turn.
///
/// One, so that no call is made just to learn that there is no other. A turn that finds another one pending
/// right after a full batch accepts twice as many, up to a limit: those that are served already get their
/// steps, too.
#[derive(Debug, Default)]
struct Batch {
    /// The turn, as [`Ready::turn`] counts.
    turn: Option<u64>,
    limit: usize,
    accepted: usize,
}

/// A listener as a session.
struct ListenerSession<F> {
    listener: Listener,
    serve: F,
}

/// How many clients may be pending; Linux lowers it to `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// The most clients that are accepted in one turn.
const MAX_BATCH: usize = 32;

impl Listener {
    /// Listens on `address`, without a limit on clients; port 0 lets the system choose one. The
    /// address can be taken over from connections in `TIME_WAIT` (`SO_REUSEADDR`). An unspecified IPv6
    /// address takes IPv4 clients too.
    ///
    /// # Errors
    ///
    /// What socket(2), bind(2) or listen(2) report; the caller knows the address to name.
    pub fn bind(address: SocketAddr, options: impl Into<ListenOptions>) -> io::Result<Self> {
        let options = options.into();
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        if options.reuse_port {
            socket.set_reuse_port(true)?;
        }
        if address.is_ipv6() {
            socket.set_only_v6(false)?;
        }
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        Self::adopt(vec![socket.into()], options)
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
    pub fn adopt(sockets: Vec<TcpListener>, options: impl Into<ListenOptions>) -> io::Result<Self> {
        if sockets.is_empty() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "there is no socket to listen on"));
        }
        let options = options.into();
        let listen = |socket| ListenSocket::new(socket, options.socket);
        let sockets = sockets.into_iter().map(listen).collect::<io::Result<_>>()?;
        let permits = Permits::new(usize::MAX);
        Ok(Self { sockets, next: 0, options, permits, retry_at: None, batch: Batch::default() })
    }

    /// The address it listens on, with the port that the system chose for port 0; of several sockets the
    /// first one's.
    ///
    /// # Errors
    ///
    /// What getsockname(2) reports.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.sockets[0].socket.local_addr()
    }

    /// The addresses of all its sockets.
    ///
    /// # Errors
    ///
    /// As [`local_addr`](Self::local_addr).
    pub fn local_addrs(&self) -> io::Result<Vec<SocketAddr>> {
        self.sockets.iter().map(|listening| listening.socket.local_addr()).collect()
    }

    /// What the kernel may hold of each connection for sending and for receiving, its bookkeeping included: what came
    /// of [`SocketOptions::buffer_size`](crate::SocketOptions::buffer_size).
    ///
    /// # Errors
    ///
    /// What getsockopt(2) reports.
    pub fn buffer_sizes(&self) -> io::Result<(usize, usize)> {
        let socket = SockRef::from(&*self.sockets[0].socket);
        Ok((socket.send_buffer_size()?, socket.recv_buffer_size()?))
    }

    /// From now on the kernel drops each SYN, whereas clients in the accept queue, or in the handshake, can
    /// still be accepted. To be used for some time before a listener that shares its port with others
    /// ([`ListenOptions::reuse_port`]) is dropped: the kernel resets the clients in the queue of a listener
    /// that closes.
    ///
    /// A client that connects meanwhile gets no answer, tries again after a second (RFC 6298, section 2.1),
    /// and reaches one of the others if this listener is gone by then.
    ///
    /// # Errors
    ///
    /// What setsockopt(2) reports for `SO_ATTACH_FILTER`; `Unsupported` elsewhere than on Linux.
    pub fn drop_new_connections(&self) -> io::Result<()> {
        self.sockets.iter().try_for_each(ListenSocket::drop_new_connections)
    }

    /// Whether a client is in the accept queue; also `true` if the kernel cannot tell.
    #[must_use]
    pub fn has_pending_clients(&self) -> bool {
        let mut fds: Vec<PollFd<'_>> =
            self.sockets.iter().map(|listening| PollFd::new(&*listening.socket, PollFlags::IN)).collect();
        !matches!(poll(&mut fds, Some(&Timespec::default())), Ok(0))
    }

    /// Limits how many of the streams that it accepts may be open at once. Called before the first client is
    /// accepted.
    #[must_use]
    pub fn with_max_clients(self, max_clients: usize) -> Self {
        Self { permits: Permits::new(max_clients), ..self }
    }

    /// A session that accepts clients, as long as there are permits, and gives each to `serve`, which
    /// spawns a session for it. For a server that has nothing else to do about its clients.
    #[must_use]
    pub fn into_session(self, serve: impl FnMut(Stream, &Ready<'_>)) -> impl Session {
        ListenerSession { listener: self, serve }
    }

    /// Declares that clients are to be accepted, or, while all permits are taken, that their arrival is to
    /// be reported.
    pub fn intents(&self, intents: &mut Intents<'_>) {
        for ListenSocket { socket, .. } in &self.sockets {
            match self.retry_at {
                Some(_) => intents.hangup(socket),
                None if self.permits.all_taken() => intents.read_edge(socket),
                None => intents.read(socket),
            }
        }
        if let Some(at) = self.retry_at {
            intents.deadline(at);
        }
    }

    /// Accepts one client, if one is pending and a permit is left; call it until it returns
    /// [`Blocked`](Accept::Blocked). It returns a bounded number of clients in a turn, and anything else
    /// once. Clients that have gone again while they were pending, and network errors that accept(2) passes
    /// on for them, are skipped.
    pub fn accept(&mut self, ready: &Ready<'_>) -> Accept {
        let due = match self.retry_at {
            Some(at) => at <= ready.now(),
            None => self.sockets.iter().any(|listening| ready.is_readable(&listening.socket)),
        };
        if !due {
            return Accept::Blocked;
        }
        if self.batch.turn != Some(ready.turn()) {
            self.batch.begin(ready.turn());
            if self.permits.all_taken() {
                return Accept::Full;
            }
        }
        if self.batch.accepted == self.batch.limit || self.permits.all_taken() {
            return Accept::Blocked;
        }
        self.batch.accepted += 1;
        let outcome = self.accept_next(ready);
        if self.permits.all_taken() {
            self.permits.wake_when_free(ready.waker());
        }
        outcome
    }

    fn accept_next(&mut self, ready: &Ready<'_>) -> Accept {
        // After a pause no readiness was reported.
        let retrying = self.retry_at.take().is_some();
        if let Err(error) = ready.check_memory() {
            self.retry_at = Some(retry_at(ready.now(), self.options.retry_after));
            return Accept::Exhausted(error);
        }
        for turn in 0..self.sockets.len() {
            let at = (self.next + turn) % self.sockets.len();
            let listening = &self.sockets[at];
            if !retrying && !ready.is_readable(&listening.socket) {
                continue;
            }
            match listening.accept(self.options.socket) {
                Ok(Some((stream, address))) => {
                    self.next = at + 1;
                    let stream = Source::non_blocking(stream, Some(self.permits.take()));
                    return Accept::Client { stream, address: canonical(address) };
                }
                Ok(None) => {}
                Err(error) => {
                    self.retry_at = Some(retry_at(ready.now(), self.options.retry_after));
                    return Accept::Exhausted(error);
                }
            }
        }
        Accept::Blocked
    }
}

impl Batch {
    fn begin(&mut self, turn: u64) {
        let more = self.accepted == self.limit && self.turn.is_some_and(|last| last + 1 == turn);
        let limit = if more { (2 * self.limit).clamp(1, MAX_BATCH) } else { 1 };
        *self = Self { turn: Some(turn), limit, accepted: 0 };
    }
}

impl<F: FnMut(Stream, &Ready<'_>)> Session for ListenerSession<F> {
    fn intents(&self, intents: &mut Intents<'_>) {
        self.listener.intents(intents);
    }

    fn advance(&mut self, ready: &Ready<'_>) -> Result<Progress> {
        while let Accept::Client { stream, .. } = self.listener.accept(ready) {
            (self.serve)(stream, ready);
        }
        Ok(Progress::Continue)
    }
}

/// Whether binding failed because this machine has no IPv6, rather than because of the port.
fn no_ipv6(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw_os_error);
    matches!(errno, Some(Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL | Errno::PROTONOSUPPORT | Errno::INVAL))
}
