//! One client and its server, from the first byte to the end.

use std::fmt;
use std::io;
use std::ops::ControlFlow;
use std::rc::Rc;
use std::time::Instant;

use eventloop::{Connect, Connected, Connector, Intents, Progress, Ready, Session, after};
use ringbuf::RingBuffer;

use crate::dial::Dial;
use crate::limits::{Limits, TimeLimit};
use crate::pipe::Pipes;
use crate::relay::Relay;
use crate::session_event::{EndCause, SessionEnd, SessionEvent, SessionPhase};
use crate::tunnel::{Moved, Side, Tunnel};

/// A client that is connected to a server, from the first byte to the orderly or the reset end.
///
/// ```text
///   Opening ── connect ──▶ Connecting ──▶ Established ──▶ over: both connections are closed
///      └───────── refuse ──────┴────▶ Refusing ─────────────▲
/// ```
///
/// It owns both connections, the rings between them and the client's permit, and is a part of a session: the
/// session passes on [`intents`](Self::intents) and in its step calls [`advance`](Self::advance) until that
/// returns [`SessionEvent::Waiting`] or the end. A session that calls it once a step misses nothing: what is
/// left to do is in the intents.
///
/// A forwarder that waits for the client's first line, and greets the client when the server is connected:
///
/// ```
/// use std::io::Write;
/// use std::net::{SocketAddr, TcpListener, TcpStream};
/// use eventloop::testing::{accept, assert_withstands_misbehaving_clients};
/// use eventloop::{
///     ConnectOptions, Connector, EventLoop, Intents, Listener, Progress, Ready, Session, SocketOptions,
/// };
/// use relay::{Limits, ProxySession, SessionEvent, serve};
///
/// struct Patient { session: ProxySession, server: SocketAddr }
///
/// impl Session for Patient {
///     fn intents(&self, intents: &mut Intents<'_>) {
///         self.session.intents(intents);
///     }
///
///     fn advance(&mut self, ready: &Ready<'_>) -> eventloop::Result<Progress> {
///         loop {
///             match self.session.advance(ready) {
///                 SessionEvent::FirstBytes if self.session.first_bytes().contains(&b'\n') => {
///                     let connector = Connector::new(&[self.server][..], ConnectOptions::default(), ready.now());
///                     self.session.connect(connector);
///                 }
///                 SessionEvent::FirstBytes => {} // more will come, or the session ends
///                 SessionEvent::Connected(_) => self.session.send_to_client(b"welcome\n"),
///                 SessionEvent::ConnectFailed(_) => self.session.refuse(b"sorry\n", ready.now()),
///                 SessionEvent::Waiting => return Ok(Progress::Continue),
///                 SessionEvent::Ended(_) => return Ok(Progress::Done),
///             }
///         }
///     }
/// }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let listener = Listener::bind("127.0.0.1:0".parse()?, SocketOptions::default())?;
/// let origin = TcpListener::bind("127.0.0.1:0")?;
/// let (address, server) = (listener.local_addr()?, origin.local_addr()?);
/// let mut event_loop = EventLoop::new()?;
/// event_loop.spawn(serve(listener, 100, 64 * 1024, Limits::default(), move |session, ready| {
///     ready.spawn(Patient { session, server });
/// }));
/// assert_withstands_misbehaving_clients(&mut event_loop, |event_loop| {
///     let mut client = TcpStream::connect(address)?;
///     client.write_all(b"hello\n")?;
///     Ok((client, Some(accept(event_loop, &origin)?)))
/// });
/// # Ok(()) }
/// ```
///
/// Invariants: those of a [`Tunnel`], and
/// - What the client sends before the server is connected is kept, as far as it fits into one ring.
/// - A client that resets its connection while the server is being connected ends the attempt.
/// - It ends within its [`Limits`] and those of the [`Dial`]. Dropped before, it resets both connections.
pub struct ProxySession<D: Dial = Connector> {
    tunnel: Tunnel<D::Connection>,
    phase: ProxyPhase<D>,
    /// When a byte last moved, or the server was connected; before that, when the session or the refusal began.
    active: Instant,
    /// There is something to do without an event.
    due: bool,
    /// Boxed, because it comes late.
    end: Option<Box<SessionEnd>>,
}

enum ProxyPhase<D> {
    /// This many bytes, and perhaps the end, were seen by the owner.
    Opening {
        seen: usize,
        end_seen: bool,
    },
    Connecting(Box<D>),
    /// The attempt has failed, which was reported.
    Unconnected,
    Established,
    /// The client receives a reply and FIN, and has the time to linger to finish, too.
    Refusing,
    /// The owner has closed it.
    Closing,
    Over,
}

impl<D: Dial> ProxySession<D> {
    /// A session with a client, and the rings for the bytes that go up to the server and down to the client.
    ///
    /// Sessions with the same limits can share them: [`Limits`] are taken as they are, or in an [`Rc`].
    #[must_use]
    pub fn new(
        client: D::Connection,
        up: RingBuffer,
        down: RingBuffer,
        limits: impl Into<Rc<Limits>>,
        now: Instant,
    ) -> Self {
        Self::with_tunnel(Tunnel::without_server(client, up, down, limits.into()), now)
    }

    /// A session whose server is connected already.
    #[must_use]
    pub fn established(
        mut tunnel: Tunnel<D::Connection>,
        limits: impl Into<Rc<Limits>>,
        now: Instant,
    ) -> Self {
        tunnel.limits = limits.into();
        Self { phase: ProxyPhase::Established, ..Self::with_tunnel(tunnel, now) }
    }

    fn with_tunnel(tunnel: Tunnel<D::Connection>, now: Instant) -> Self {
        let phase = ProxyPhase::Opening { seen: 0, end_seen: false };
        Self { tunnel, phase, active: now, due: false, end: None }
    }

    /// Lets bytes be spliced from now on, each of them or while the transfer is bulk: see [`Relay::splice`].
    ///
    /// # Panics
    ///
    /// If no destination is chosen yet: the bytes that come before that are there to be looked at.
    pub fn splice(&mut self, pipes: &Pipes, always: bool) {
        assert!(
            !matches!(self.phase, ProxyPhase::Opening { .. }),
            "a destination is chosen before bytes are spliced"
        );
        self.tunnel.splice(pipes, always);
    }

    /// Limits how many bytes a second go up to the server and down to the client.
    pub fn limit_rate(&mut self, up: Option<u64>, down: Option<u64>, now: Instant) {
        if let Some(rate) = up {
            self.tunnel.up.limit_rate(rate, now);
        }
        if let Some(rate) = down {
            self.tunnel.down.limit_rate(rate, now);
        }
    }

    /// What the client has sent and the server has not received: before a server is connected, its first bytes.
    pub fn first_bytes(&mut self) -> &[u8] {
        self.tunnel.up.peek()
    }

    /// Takes the first `n` of these bytes out, so that the server does not receive them. Bytes that are left are not
    /// reported again: a protocol with several messages looks at the next one at once.
    ///
    /// # Panics
    ///
    /// If there are fewer.
    pub fn consume(&mut self, n: usize) {
        self.tunnel.up.consume(n);
        if let ProxyPhase::Opening { seen, .. } = &mut self.phase {
            *seen = seen.saturating_sub(n);
        }
    }

    /// Whether the client has finished or failed: after its first bytes nothing more comes.
    #[must_use]
    pub fn client_has_ended(&self) -> bool {
        self.tunnel.up().source_is_over()
    }

    /// Sends bytes to the client before anything that the server sends.
    pub fn send_to_client(&mut self, bytes: &[u8]) {
        self.tunnel.down.precede(bytes);
        self.due = true;
    }

    /// Sends bytes to the server before anything that the client has sent.
    pub fn send_to_server(&mut self, bytes: &[u8]) {
        self.tunnel.up.precede(bytes);
        self.due = true;
    }

    /// Chooses the destination, also another one after [`SessionEvent::ConnectFailed`]. Later calls are ignored once a
    /// server is connected or the client refused.
    pub fn connect(&mut self, dial: D) {
        if matches!(
            self.phase,
            ProxyPhase::Opening { .. } | ProxyPhase::Connecting(_) | ProxyPhase::Unconnected
        ) {
            if matches!(self.phase, ProxyPhase::Unconnected) {
                self.end = None; // what the failed attempt has decided
            }
            self.phase = ProxyPhase::Connecting(Box::new(dial));
            self.due = true;
        }
    }

    /// Ends a session that has no server: the client receives the reply and FIN, and has the time to linger to
    /// finish, too. What it sends meanwhile is discarded.
    pub fn refuse(&mut self, reply: &[u8], now: Instant) {
        if matches!(
            self.phase,
            ProxyPhase::Opening { .. } | ProxyPhase::Connecting(_) | ProxyPhase::Unconnected
        ) {
            self.decide(EndCause::Refused);
            (self.phase, self.active) = (ProxyPhase::Refusing, now);
            self.tunnel.down.precede(reply);
            self.tunnel.refuse();
            self.due = true;
        }
    }

    /// Ends the session: what the kernel was given goes out, for which the peers have the time to linger, and
    /// then RST. It advances to the end as before.
    pub fn close(&mut self, now: Instant) {
        self.decide(EndCause::Closed);
        self.tunnel.close(now);
        self.phase = ProxyPhase::Closing;
        self.due = true;
    }

    /// Gives up the peer on this side, as though its connection had failed with this error: what it has sent before goes on
    /// to the other one, which is then reset. For a peer that the owner knows to be unreachable.
    pub fn fail(&mut self, side: Side, error: io::Error) {
        if !self.is_closing() {
            self.tunnel.fail(side, error);
            self.due = true;
        }
    }

    /// The direction from the client to the server.
    #[must_use]
    pub fn up(&self) -> &Relay {
        self.tunnel.up()
    }

    /// The direction from the server to the client.
    #[must_use]
    pub fn down(&self) -> &Relay {
        self.tunnel.down()
    }

    /// The client's connection, until it is closed.
    #[must_use]
    pub fn client(&self) -> Option<&D::Connection> {
        self.tunnel.client()
    }

    /// The server's connection, while there is one.
    #[must_use]
    pub fn server(&self) -> Option<&D::Connection> {
        self.tunnel.server()
    }

    /// When a byte last moved, or the server was connected; before that, when the session or the refusal began.
    #[must_use]
    pub fn last_active(&self) -> Instant {
        self.active
    }

    /// Takes note that a byte moved at that time in the kernel, which only the owner knows. A time before
    /// [`last_active`](Self::last_active) changes nothing.
    pub fn note_active(&mut self, at: Instant) {
        self.active = self.active.max(at);
    }

    /// Whether only the end of the connections is left to do.
    #[must_use]
    pub fn is_closing(&self) -> bool {
        self.tunnel.is_closing()
    }

    /// How far the session is.
    #[must_use]
    pub fn phase(&self) -> SessionPhase {
        match self.phase {
            ProxyPhase::Opening { .. } => SessionPhase::Opening,
            ProxyPhase::Connecting(_) | ProxyPhase::Unconnected | ProxyPhase::Refusing => {
                SessionPhase::Connecting
            }
            ProxyPhase::Established | ProxyPhase::Closing | ProxyPhase::Over => match self.decided() {
                Some(SessionEnd { cause: EndCause::Finished(_), .. }) => SessionPhase::HalfClosed,
                _ => SessionPhase::Established,
            },
        }
    }

    /// What has decided how the session ends, if something has: before it is over, too.
    #[must_use]
    pub fn decided(&self) -> Option<&SessionEnd> {
        self.end.as_deref()
    }

    /// Declares what the session intends to do.
    pub fn intents(&self, intents: &mut Intents<'_>) {
        self.tunnel.intents(intents);
        if let ProxyPhase::Connecting(dial) = &self.phase {
            dial.intents(intents);
        }
        let limit = self.time_limit().map(|(at, _)| at);
        for at in [limit, self.up().resumes_at(), self.down().resumes_at()].into_iter().flatten() {
            intents.deadline(at);
        }
        if self.due {
            intents.again();
        }
    }

    /// Advances the session by a bounded amount of work. To be called until it returns
    /// [`SessionEvent::Waiting`].
    ///
    /// # Panics
    ///
    /// If it is called after [`SessionEvent::Ended`].
    pub fn advance(&mut self, ready: &Ready<'_>) -> SessionEvent<D::Error> {
        assert!(!matches!(self.phase, ProxyPhase::Over), "a session that has ended is not advanced again");
        let now = ready.now();
        self.due = false;
        if let ProxyPhase::Connecting(dial) = &mut self.phase {
            match dial.advance(ready) {
                Connect::Pending => {}
                Connect::Connected(Connected { stream, address, reset }) => {
                    self.establish(stream, reset, now);
                    return SessionEvent::Connected(address);
                }
                Connect::Failed(error) => {
                    self.decide(EndCause::NoServer);
                    self.phase = ProxyPhase::Unconnected;
                    self.due = true;
                    return SessionEvent::ConnectFailed(error);
                }
            }
        } else if matches!(self.phase, ProxyPhase::Unconnected) {
            return self.over();
        }
        if let Some(event) = self.carry(ready) {
            return event;
        }
        if let Some(event) = self.look_at_opening() {
            return event;
        }
        match self.time_limit() {
            Some((at, limit)) if at <= now => {
                self.decide(EndCause::TimedOut(limit));
                self.over()
            }
            _ => SessionEvent::Waiting,
        }
    }

    fn establish(&mut self, server: D::Connection, reset: Option<io::Error>, now: Instant) {
        self.phase = ProxyPhase::Established;
        self.tunnel.set_server(server);
        if let Some(error) = reset {
            self.tunnel.fail(Side::Server, error);
        }
        (self.active, self.due) = (now, true);
    }

    /// Lets the tunnel move what it can.
    fn carry(&mut self, ready: &Ready<'_>) -> Option<SessionEvent<D::Error>> {
        let now = ready.now();
        self.tunnel.up.note_time(now);
        self.tunnel.down.note_time(now);
        let moved = match self.tunnel.advance(ready) {
            ControlFlow::Continue(moved) => moved,
            ControlFlow::Break(end) => {
                self.decide(end.into());
                return Some(self.over());
            }
        };
        let is_established = matches!(self.phase, ProxyPhase::Established);
        if is_established && moved == Moved::Something {
            self.active = now;
        }
        if let Some((side, error)) = self.tunnel.take_failure() {
            if is_established {
                self.active = now; // the other side has its full time to take what is left
            }
            self.decide(EndCause::Failed(side, error));
            if self.tunnel.server_is_absent() {
                return Some(self.over());
            }
        } else if let Some(side) = self.tunnel.finished_first() {
            self.decide(EndCause::Finished(side));
        }
        None
    }

    /// Reports new first bytes, or ends a session that has no destination and receives no more of them.
    fn look_at_opening(&mut self) -> Option<SessionEvent<D::Error>> {
        let ProxyPhase::Opening { seen, end_seen } = &mut self.phase else { return None };
        let up = &self.tunnel.up;
        let (pending, ended) = (up.pending(), up.source_is_over());
        let nothing_more_comes = ended || !up.has_room();
        if pending > *seen || (ended && !*end_seen) {
            (*seen, *end_seen) = (pending, ended);
            self.due = nothing_more_comes;
            return Some(SessionEvent::FirstBytes);
        }
        if nothing_more_comes {
            self.decide(EndCause::NoDestination);
            return Some(self.over());
        }
        None
    }

    /// When time runs out for the session as it stands, and which time that is. The dial and a tunnel that is
    /// closing have their own.
    fn time_limit(&self) -> Option<(Instant, TimeLimit)> {
        let limits = &self.tunnel.limits;
        match self.phase {
            ProxyPhase::Opening { .. } => Some((after(self.active, limits.opening), TimeLimit::Opening)),
            ProxyPhase::Refusing => Some((after(self.active, limits.linger), TimeLimit::Linger)),
            ProxyPhase::Established if !self.tunnel.is_closing() => {
                let failed = matches!(self.decided(), Some(SessionEnd { cause: EndCause::Failed(..), .. }));
                let half_closed = self.up().source_is_over() || self.down().source_is_over();
                let observed = [
                    (failed.then_some(limits.linger), TimeLimit::Linger),
                    (limits.idle, TimeLimit::Idle),
                    (limits.half_close.filter(|_| half_closed), TimeLimit::HalfClose),
                ];
                let observed = observed.into_iter().filter_map(|(quiet, limit)| Some((quiet?, limit)));
                let (quiet, limit) = observed.min_by_key(|&(quiet, _)| quiet)?;
                Some((after(self.active, quiet), limit))
            }
            _ => None,
        }
    }

    /// The first decision stands, except that a FIN only says how the session would end if nothing else came.
    fn decide(&mut self, cause: EndCause) {
        if self.end.as_ref().is_none_or(|end| matches!(end.cause, EndCause::Finished(_))) {
            if self.end.is_some() && matches!(cause, EndCause::Finished(_)) {
                return;
            }
            self.end = Some(Box::new(SessionEnd { cause, phase: self.phase() }));
        }
    }

    /// Resets what is still open.
    fn over(&mut self) -> SessionEvent<D::Error> {
        self.tunnel.reset();
        self.phase = ProxyPhase::Over;
        SessionEvent::Ended(*self.end.take().expect("what ends a session is decided first"))
    }
}

/// A session whose destination needs no decision can be given to the event loop as it is.
impl Session for ProxySession {
    fn intents(&self, intents: &mut Intents<'_>) {
        ProxySession::intents(self, intents);
    }

    fn advance(&mut self, ready: &Ready<'_>) -> eventloop::Result<Progress> {
        loop {
            match ProxySession::advance(self, ready) {
                SessionEvent::Waiting => return Ok(Progress::Continue),
                SessionEvent::Ended(_) => return Ok(Progress::Done),
                SessionEvent::FirstBytes | SessionEvent::Connected(_) | SessionEvent::ConnectFailed(_) => {}
            }
        }
    }
}

impl<D: Dial> fmt::Debug for ProxySession<D>
where
    D::Connection: fmt::Debug,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProxySession")
            .field("phase", &self.phase())
            .field("tunnel", &self.tunnel)
            .field("end", &self.end)
            .finish_non_exhaustive()
    }
}
