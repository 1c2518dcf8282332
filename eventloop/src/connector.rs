//! Connecting to a host: every address, staggered, within one deadline.

use std::collections::VecDeque;
use std::error::Error;
use std::fmt;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use crate::deadlines::after;
use crate::exhaustion::{CONNECT_PIECES, check_pieces, is_exhaustion};
use crate::options::retry_at;
use crate::{ConnectOptions, Intents, Lookup, Ready, Source, Stream};

/// An attempt to reach one of several addresses of the same host, after RFC 8305 ("happy eyeballs").
///
/// The first address is tried at once. The next one is tried when the attempt before has failed or has been
/// silent for [`ConnectOptions::attempt_delay`], or less if not all would get their turn; the address families
/// take turns. The first connection that is made wins, and the others are given up. An attempt for which the
/// system has no descriptor or memory is made again after [`ConnectOptions::retry_after`].
///
/// It is a part of a session: the session passes on [`intents`](Connector::intents) and calls
/// [`advance`](Connector::advance). Dropping it gives up.
///
/// ```
/// use std::net::TcpListener;
/// use std::time::{Duration, Instant};
///
/// use eventloop::{
///     Connect, ConnectOptions, Connector, EventLoop, Intents, Progress, Ready, Result, Session,
/// };
///
/// /// Connects, sends a greeting, and finishes.
/// struct Greeting(Connector);
///
/// impl Session for Greeting {
///     fn intents(&self, intents: &mut Intents<'_>) {
///         self.0.intents(intents);
///     }
///
///     fn advance(&mut self, ready: &Ready<'_>) -> Result<Progress> {
///         match self.0.advance(ready) {
///             Connect::Pending => Ok(Progress::Continue),
///             Connect::Connected(connected) => {
///                 connected.stream.send(b"hello")?; // a new connection has room for a few bytes
///                 connected.stream.close();
///                 Ok(Progress::Done)
///             }
///             Connect::Failed(error) => Err(error.into()),
///         }
///     }
/// }
///
/// # fn main() -> std::io::Result<()> {
/// let server = TcpListener::bind("127.0.0.1:0")?;
/// let addresses = [server.local_addr()?]; // of a name: Resolver::new().lookup("localhost", 80)
/// let mut event_loop = EventLoop::new()?;
/// let connector = Connector::new(&addresses[..], ConnectOptions::default(), Instant::now());
/// event_loop.spawn(Greeting(connector));
/// event_loop.run()?;
/// assert_eq!(std::io::read_to_string(server.accept()?.0)?, "hello");
/// # eventloop::testing::assert_withstands_misbehaving_clients(&mut event_loop, |event_loop| {
/// #     let connector = Connector::new(&addresses[..], ConnectOptions::default(), Instant::now());
/// #     event_loop.spawn(Greeting(connector));
/// #     Ok((eventloop::testing::accept(event_loop, &server)?, None))
/// # });
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Connector {
    /// Until the addresses are known.
    lookup: Option<Lookup>,
    untried: VecDeque<SocketAddr>,
    attempts: Vec<Attempt>,
    failures: Vec<(SocketAddr, io::Error)>,
    /// The system had run out of what an attempt needs; it is made again.
    exhausted: Option<io::Error>,
    /// How many attempts were found so since the last one that began, or the last pause.
    exhausted_in_a_row: usize,
    next_attempt: Instant,
    deadline: Instant,
    options: ConnectOptions,
    observer: Option<AttemptObserver>,
    /// The outcome was returned.
    over: bool,
}

/// What happens on the way to the outcome of a [`Connector`]: see [`Connector::on_attempt`].
#[derive(Debug)]
pub enum ConnectEvent<'a> {
    /// An attempt begins.
    Started(SocketAddr),
    /// It has failed. If the system had run out of something, it is made again.
    Failed(SocketAddr, &'a io::Error),
}

struct AttemptObserver(Box<dyn FnMut(ConnectEvent<'_>)>);

/// How far a [`Connector`] is.
#[must_use]
#[derive(Debug)]
pub enum Connect<S = Stream, E = ConnectError> {
    /// No answer yet.
    Pending,
    /// The connection is made; the connector has done its work.
    Connected(Connected<S>),
    /// No address can be reached; the connector has done its work.
    Failed(E),
}

/// A connection that was made.
#[derive(Debug)]
pub struct Connected<S = Stream> {
    /// The connection.
    pub stream: S,
    /// The address that answered.
    pub address: SocketAddr,
    /// Set if the peer has reset the connection already and had sent nothing: looking whether the
    /// connection was made has used up the error that a read would have shown.
    pub reset: Option<io::Error>,
}

/// Why no address could be reached: every attempt with its error.
#[derive(Debug, Default)]
pub struct ConnectError {
    /// Why the addresses are not known, if the lookup has failed.
    pub unresolved: Option<io::Error>,
    /// The addresses in the order in which they failed, and why.
    pub attempts: Vec<(SocketAddr, io::Error)>,
    /// The connector was advanced after its end.
    over: bool,
}

#[derive(Debug)]
struct Attempt {
    stream: Stream,
    address: SocketAddr,
}

impl Connector {
    /// Prepares to connect to one of the addresses that a lookup brings, or of those given, within
    /// the options' timeout from `now`; [`advance`](Self::advance) then begins.
    #[must_use]
    pub fn new(addresses: impl Into<Lookup>, options: ConnectOptions, now: Instant) -> Self {
        Self {
            lookup: Some(addresses.into()),
            untried: VecDeque::new(),
            attempts: Vec::new(),
            failures: Vec::new(),
            exhausted: None,
            exhausted_in_a_row: 0,
            next_attempt: now,
            deadline: after(now, options.timeout),
            options,
            observer: None,
            over: false,
        }
    }

    /// From now on `observer` receives what happens to the attempts, for a log.
    pub fn on_attempt(&mut self, observer: impl FnMut(ConnectEvent<'_>) + 'static) {
        self.observer = Some(AttemptObserver(Box::new(observer)));
    }

    /// Declares what the lookup or the attempts under way wait for, and a first step if there has been none.
    pub fn intents(&self, intents: &mut Intents<'_>) {
        if self.over {
            return;
        }
        if let Some(lookup) = &self.lookup {
            lookup.intents(intents);
        }
        for attempt in &self.attempts {
            intents.write(&attempt.stream);
        }
        intents.deadline(self.deadline);
        if !self.untried.is_empty() {
            intents.deadline(self.next_attempt);
        }
    }

    /// Advances the lookup or the attempts under way and starts the next one if it is time. The outcome is
    /// returned once; after that there is an error that says so.
    pub fn advance(&mut self, ready: &Ready<'_>) -> Connect {
        if self.over {
            return Connect::Failed(ConnectError { over: true, ..ConnectError::default() });
        }
        let outcome = self.attempt(ready);
        self.over = !matches!(outcome, Connect::Pending);
        outcome
    }

    /// The addresses that have failed, or were still silent when a later one answered. With the next
    /// connections to this host they are best tried last.
    pub fn passed_over(&self) -> impl Iterator<Item = SocketAddr> {
        let failed = self.failures.iter().map(|&(address, _)| address);
        failed.chain(self.attempts.iter().map(|attempt| attempt.address))
    }

    fn attempt(&mut self, ready: &Ready<'_>) -> Connect {
        if let Some(lookup) = &mut self.lookup {
            let late = || Err(no_answer(self.options.timeout));
            match lookup.advance(ready).or_else(|| (self.deadline <= ready.now()).then(late)) {
                None => return Connect::Pending,
                Some(Err(error)) => {
                    let unresolved = Some(error);
                    return Connect::Failed(ConnectError { unresolved, ..ConnectError::default() });
                }
                Some(Ok(addresses)) => {
                    self.untried = interleave(&addresses);
                    self.lookup = None;
                    // Each address gets its turn, also if all are silent.
                    let share = self.deadline.saturating_duration_since(ready.now())
                        / u32::try_from(addresses.len().max(1)).unwrap_or(u32::MAX);
                    self.options.attempt_delay = self.options.attempt_delay.min(share);
                }
            }
        }
        let under_way = self.attempts.len();
        // In the order in which they were started: those after one that answers are dropped with their list.
        for attempt in std::mem::take(&mut self.attempts) {
            if !ready.is_writable(&attempt.stream) {
                self.attempts.push(attempt);
            } else if let Some(connected) = self.look_at(attempt) {
                return Connect::Connected(connected);
            }
        }
        if self.attempts.len() < under_way {
            self.next_attempt = ready.now(); // one has failed: do not wait before the next
        }
        while !self.untried.is_empty() && self.next_attempt <= ready.now() {
            if let Some(connected) = self.start_next(ready.now()) {
                return Connect::Connected(connected);
            }
        }
        let hopeless = self.attempts.is_empty() && self.untried.is_empty();
        if hopeless || self.deadline <= ready.now() {
            return Connect::Failed(self.give_up());
        }
        Connect::Pending
    }

    fn give_up(&mut self) -> ConnectError {
        for Attempt { address, .. } in std::mem::take(&mut self.attempts) {
            let _ = self.fail(address, no_answer(self.options.timeout));
        }
        if let (Some(error), Some(address)) = (self.exhausted.take(), self.untried.pop_front()) {
            self.failures.push((address, error));
        }
        ConnectError { attempts: std::mem::take(&mut self.failures), ..ConnectError::default() }
    }

    /// Starts one attempt. Over loopback it often succeeds or fails at once, so it is looked at once.
    fn start_next(&mut self, now: Instant) -> Option<Connected> {
        let address = self.untried.pop_front()?;
        self.observe(ConnectEvent::Started(address));
        match start(address, &self.options) {
            Ok(stream) => {
                self.exhausted = None;
                self.exhausted_in_a_row = 0;
                self.next_attempt = after(now, self.options.attempt_delay);
                let before = self.failures.len();
                let connected = self.look_at(Attempt { stream, address });
                if self.failures.len() > before {
                    self.next_attempt = now;
                }
                connected
            }
            Err(error) if is_exhaustion(&error) => {
                self.observe(ConnectEvent::Failed(address, &error));
                // Local ports may be left towards another address.
                self.untried.push_back(address);
                self.exhausted = Some(error);
                self.exhausted_in_a_row += 1;
                if self.exhausted_in_a_row >= self.untried.len() {
                    self.exhausted_in_a_row = 0;
                    self.next_attempt = retry_at(now, self.options.retry_after);
                }
                None
            }
            Err(error) => self.fail(address, error),
        }
    }

    /// An attempt has failed for good.
    fn fail(&mut self, address: SocketAddr, error: io::Error) -> Option<Connected> {
        self.observe(ConnectEvent::Failed(address, &error));
        self.failures.push((address, error));
        None
    }

    fn observe(&mut self, event: ConnectEvent<'_>) {
        if let Some(AttemptObserver(observer)) = &mut self.observer {
            observer(event);
        }
    }

    /// Looks at one attempt. A failed one is recorded, a pending one is kept.
    ///
    /// `SO_ERROR` is not asked: a server may accept, send, and reset before this process looks, and then
    /// it says `ECONNRESET` although the connection was made and its bytes can be read. So a socket that has a
    /// peer is connected; otherwise what a read would find decides.
    fn look_at(&mut self, attempt: Attempt) -> Option<Connected> {
        let Attempt { stream, address } = attempt;
        if let Ok(peer) = stream.peer_addr() {
            if is_local_port(peer.port()) && stream.local_addr().is_ok_and(|local| local == peer) {
                return self.fail(address, to_itself());
            }
            return Some(Connected { stream, address, reset: None });
        }
        match stream.peek(&mut [0]) {
            Ok(_) => Some(Connected { stream, address, reset: None }),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                self.attempts.push(Attempt { stream, address });
                None
            }
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {
                Some(Connected { stream, address, reset: Some(error) })
            }
            Err(error) => self.fail(address, error),
        }
    }
}

impl fmt::Debug for AttemptObserver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AttemptObserver")
    }
}

impl ConnectError {
    /// Whether no address has answered, rather than refused.
    #[must_use]
    pub fn is_timeout(&self) -> bool {
        let mut errors =
            self.unresolved.iter().chain(self.attempts.iter().map(|(_, error)| error)).peekable();
        errors.peek().is_some() && errors.all(|error| error.kind() == ErrorKind::TimedOut)
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(error) = &self.unresolved {
            return write!(f, "the name cannot be resolved: {error}");
        }
        if self.over {
            return f.write_str("the connector has returned its outcome already");
        }
        if self.attempts.is_empty() {
            return f.write_str("the host has no address");
        }
        for (i, (address, error)) in self.attempts.iter().enumerate() {
            let separator = if i == 0 { "" } else { "; " };
            write!(f, "{separator}{address}: {error}")?;
        }
        Ok(())
    }
}

impl Error for ConnectError {}

/// Begins a non-blocking connect.
fn start(address: SocketAddr, options: &ConnectOptions) -> io::Result<Stream> {
    check_pieces::<CONNECT_PIECES>()?;
    #[cfg(target_os = "linux")]
    let kind = Type::STREAM.nonblocking(); // saves two system calls (socket(2))
    #[cfg(not(target_os = "linux"))]
    let kind = Type::STREAM;
    let socket = Socket::new(Domain::for_address(address), kind, Some(Protocol::TCP))?;
    #[cfg(not(target_os = "linux"))]
    socket.set_nonblocking(true)?;
    options.socket.apply(&SockRef::from(&socket))?;
    options.bind_source(&socket, address)?;
    match socket.connect(&address.into()) {
        Err(error) if error.kind() == ErrorKind::AddrNotAvailable && !has_source(address) => {
            Err(io::Error::new(ErrorKind::NetworkUnreachable, "this machine has no address to connect from"))
        }
        Err(error) if error.raw_os_error() != Some(Errno::INPROGRESS.raw_os_error()) => Err(error),
        _ => Ok(Source::non_blocking(TcpStream::from(socket), None)),
    }
}

/// Whether this machine has an address from which it can reach `address`. connect(2) says `EADDRNOTAVAIL` if it has
/// none, as for `::1` where IPv6 is off, and if it has no local port left. A datagram socket takes no port of TCP, and
/// connecting it sends nothing.
fn has_source(address: SocketAddr) -> bool {
    let any: IpAddr =
        if address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    UdpSocket::bind((any, 0)).and_then(|socket| socket.connect(address)).is_ok()
}

/// The error of an attempt or a lookup that has had its time.
fn no_answer(timeout: Duration) -> io::Error {
    io::Error::new(ErrorKind::TimedOut, format!("no answer within {timeout:?}"))
}

/// The error of a connection to itself: where no socket listens on a port of the range from which the
/// kernel takes local ports, a connect over loopback can meet its own SYN (simultaneous open, RFC 9293,
/// section 3.5).
fn to_itself() -> io::Error {
    io::Error::new(ErrorKind::ConnectionRefused, "no socket listens there")
}

/// Whether the kernel may choose this port for a connection of its own (`ip_local_port_range`, ip(7)), so
/// that a connection to it may be one to itself. Read once: it saves a system call for each connection.
fn is_local_port(port: u16) -> bool {
    static RANGE: OnceLock<(u16, u16)> = OnceLock::new();
    let (first, last) = *RANGE.get_or_init(|| {
        let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
        let mut ports = range.split_whitespace().filter_map(|port| port.parse().ok());
        match (ports.next(), ports.next()) {
            (Some(first), Some(last)) => (first, last),
            _ => (0, u16::MAX), // where the system does not tell, every connection is looked at
        }
    });
    (first..=last).contains(&port)
}

/// Lets the address families take turns, beginning with the family that comes first (RFC 8305,
/// section 4).
fn interleave(addresses: &[SocketAddr]) -> VecDeque<SocketAddr> {
    let first_is_ipv6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (first, second): (Vec<_>, Vec<_>) = addresses.iter().partition(|a| a.is_ipv6() == first_is_ipv6);
    let mut second = second.into_iter();
    let mut mixed = VecDeque::with_capacity(addresses.len());
    for address in first {
        mixed.push_back(address);
        mixed.extend(second.next());
    }
    mixed.extend(second);
    mixed
}
