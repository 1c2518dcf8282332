//! Two connections joined by two relays, one for each direction.

use std::io;
use std::mem;
use std::ops::ControlFlow;
use std::rc::Rc;
use std::time::{Duration, Instant};

use eventloop::{Intents, Permit, Ready, Stream};
use ringbuf::RingBuffer;

use crate::connection::{Connection, Intent};
use crate::limits::Limits;
use crate::pipe::Pipes;
use crate::relay::{DirectionEnd, Relay, Transfer};
use crate::side::SidePhase;

/// Carries bytes both ways between a client and a server until both have finished or one has failed. In the
/// second case the other one receives the bytes before the failure and then RST.
///
/// It owns both connections and the client's permit, and is a part of a session: the session passes on
/// [`intents`](Self::intents) and calls [`advance`](Self::advance) in its step until that returns the end. A program that
/// sends bytes of its own first, or limits rates and times, makes a
/// [`ProxySession`](crate::ProxySession::established) of it.
///
/// ```
/// use std::time::Duration;
/// use eventloop::testing::{assert_withstands_misbehaving_clients, pair};
/// use eventloop::{EventLoop, Intents, Progress, Ready, Session, Stream};
/// use relay::Tunnel;
/// use ringbuf::Pool;
///
/// struct Join(Tunnel);
///
/// impl Session for Join {
///     fn intents(&self, intents: &mut Intents<'_>) {
///         self.0.intents(intents);
///     }
///
///     fn advance(&mut self, ready: &Ready<'_>) -> eventloop::Result<Progress> {
///         Ok(if self.0.advance(ready).is_break() { Progress::Done } else { Progress::Continue })
///     }
/// }
///
/// # fn main() -> std::io::Result<()> {
/// let pool = Pool::new(64 * 1024, 2);
/// let mut event_loop = EventLoop::new()?;
/// assert_withstands_misbehaving_clients(&mut event_loop, |event_loop| {
///     let ((near_client, client), (near_server, server)) = (pair()?, pair()?);
///     let (near_client, near_server) = (Stream::new(near_client)?, Stream::new(near_server)?);
///     let (up, down) = (pool.reserve().expect("two rings"), pool.reserve().expect("two rings"));
///     let linger = Duration::from_secs(30);
///     event_loop.spawn(Join(Tunnel::new(near_client, near_server, up, down, linger)));
///     Ok((client, Some(server)))
/// });
/// assert_eq!(pool.lent(), 0);
/// # Ok(()) }
/// ```
///
/// Invariants:
/// - A FIN goes out only because a FIN came in. Every other end of one connection ends the other with RST, so
///   that no peer takes a part for the whole. A tunnel that is dropped before its end resets both.
/// - What one peer sent before it failed is delivered to the other before the RST.
#[derive(Debug)]
pub struct Tunnel<C = Stream> {
    /// Client to server.
    pub(crate) up: Relay,
    /// Server to client.
    pub(crate) down: Relay,
    client: SidePhase<C>,
    server: SidePhase<C>,
    /// Held until both connections are closed: the server's may outlive the client's.
    _permit: Option<Permit>,
    /// Of these it observes `linger`; the others are its owner's. They are the same for many tunnels.
    pub(crate) limits: Rc<Limits>,
    /// What has decided how the tunnel ends, until it is returned. Boxed, because it comes late.
    end: Option<Box<TunnelEnd>>,
}

/// One of the two sides of a tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The side that has connected to this program.
    Client,
    /// The side that this program has connected to.
    Server,
}

/// How a tunnel ended.
#[derive(Debug)]
pub enum TunnelEnd {
    /// Both peers have finished, the one on this side first, and every byte was delivered.
    Finished(Side),
    /// The connection of this side failed, or (`OutOfMemory`) there was no memory for its bytes.
    Failed(Side, io::Error),
    /// The owner of the tunnel has closed it.
    Closed,
}

/// Whether a step of a tunnel has moved anything.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moved {
    /// No byte has moved.
    Nothing,
    /// A byte was received from a peer or given to one, or a peer has finished.
    Something,
}

impl<C: Connection> Tunnel<C> {
    /// A tunnel with the rights to two rings: from the client up to the server, and down again. Bytes that are
    /// pending in them go out first. After a failure of one peer the other one has `linger` to acknowledge its
    /// last bytes.
    #[must_use]
    pub fn new(client: C, server: C, up: RingBuffer, down: RingBuffer, linger: Duration) -> Self {
        let limits = Limits { linger, ..Limits::default() };
        let mut tunnel = Self::without_server(client, up, down, limits.into());
        tunnel.set_server(server);
        tunnel
    }

    /// A tunnel whose server is not connected yet: it takes from the client what fits.
    pub(crate) fn without_server(client: C, up: RingBuffer, down: RingBuffer, limits: Rc<Limits>) -> Self {
        Self {
            up: Relay::new(up),
            down: Relay::new(down),
            _permit: client.take_permit(),
            client: SidePhase::Open(client),
            server: SidePhase::Absent,
            limits,
            end: None,
        }
    }

    pub(crate) fn set_server(&mut self, server: C) {
        self.server = SidePhase::Open(server);
        self.up.note_writable(); // as a new connection is
    }

    /// The client has finished, which was found out before it became part of the tunnel: what it has sent is
    /// in the ring.
    pub(crate) fn note_client_finished(&mut self) {
        self.up.end_source();
    }

    /// There will be no server: the client receives what is pending for it, then FIN, and what it still sends
    /// is discarded.
    pub(crate) fn refuse(&mut self) {
        self.server = SidePhase::Null;
        self.up.note_writable();
        self.down.end_source();
    }

    /// Lets bytes be spliced: see [`Relay::splice`].
    pub fn splice(&mut self, pipes: &Pipes, always: bool) {
        self.up.splice(pipes.clone(), always);
        self.down.splice(pipes.clone(), always);
    }

    /// The direction from the client to the server.
    #[must_use]
    pub fn up(&self) -> &Relay {
        &self.up
    }

    /// The direction from the server to the client.
    #[must_use]
    pub fn down(&self) -> &Relay {
        &self.down
    }

    /// The client's connection, until it is closed.
    #[must_use]
    pub fn client(&self) -> Option<&C> {
        self.client.connection()
    }

    /// The server's connection, until it is closed.
    #[must_use]
    pub fn server(&self) -> Option<&C> {
        self.server.connection()
    }

    /// Takes the failure that ends the tunnel.
    pub(crate) fn take_failure(&mut self) -> Option<(Side, io::Error)> {
        let end = self.end.as_deref_mut().filter(|end| matches!(end, TunnelEnd::Failed(..)))?;
        match mem::replace(end, TunnelEnd::Closed) {
            TunnelEnd::Failed(side, error) => Some((side, error)),
            TunnelEnd::Finished(_) | TunnelEnd::Closed => None,
        }
    }

    pub(crate) fn server_is_absent(&self) -> bool {
        matches!(self.server, SidePhase::Absent)
    }

    /// Which side has finished first, if one has.
    pub(crate) fn finished_first(&self) -> Option<Side> {
        match self.end.as_deref() {
            Some(&TunnelEnd::Finished(side)) => Some(side),
            _ => None,
        }
    }

    /// Whether the tunnel moves nothing any more and only closes its connections.
    #[must_use]
    pub fn is_closing(&self) -> bool {
        self.client.stream().is_none()
    }

    /// Declares what the tunnel intends to do.
    pub fn intents(&self, intents: &mut Intents<'_>) {
        let client = Intent { read: self.up.intends_read(), write: self.down.intends_write() };
        let server = Intent { read: self.down.intends_read(), write: self.up.intends_write() };
        self.client.intents(client, intents);
        self.server.intents(server, intents);
    }

    /// Moves what can be moved, a bounded amount. [`ControlFlow::Break`] says that the tunnel is over: both
    /// connections are closed.
    ///
    /// # Panics
    ///
    /// If it is called again after that.
    pub fn advance(&mut self, ready: &Ready<'_>) -> ControlFlow<TunnelEnd, Moved> {
        let mut moved = Moved::Nothing;
        if self.is_closing() {
            self.client.linger(ready);
            self.server.linger(ready);
        } else {
            self.note_readiness(ready);
            self.relay(&mut moved);
            self.note_ends(ready.now(), &mut moved);
        }
        if self.client.is_closed() && self.server.is_closed() {
            return ControlFlow::Break(
                *self.end.take().expect("a tunnel that is over is not advanced again"),
            );
        }
        ControlFlow::Continue(moved)
    }

    /// Ends the tunnel: what the kernel was given goes out, for which the peers have the time to linger, and
    /// then RST. Bytes that are pending in the tunnel are lost.
    pub fn close(&mut self, now: Instant) {
        if !self.is_closing() {
            self.end = Some(Box::new(TunnelEnd::Closed));
            self.begin_close(now);
        }
    }

    /// Resets both connections at once.
    pub(crate) fn reset(&mut self) {
        self.up.abandon();
        self.down.abandon();
        (self.client, self.server) = (SidePhase::Closed, SidePhase::Closed);
    }

    fn note_readiness(&mut self, ready: &Ready<'_>) {
        for side in [Side::Client, Side::Server] {
            let (phase, from, to) = match side {
                Side::Client => (&self.client, &mut self.up, &mut self.down),
                Side::Server => (&self.server, &mut self.down, &mut self.up),
            };
            let Some(stream) = phase.stream() else { continue };
            let readiness = stream.readiness(ready);
            if readiness.readable {
                from.note_readable();
            }
            if readiness.writable {
                to.note_writable();
            }
            if readiness.finished {
                from.note_source_finished();
            }
            // It may have failed, or both sides have finished.
            if readiness.hung_up
                && matches!(phase, SidePhase::Open(_))
                && let Some(error) = stream.take_error().unwrap_or_else(Some)
            {
                self.fail(side, error);
            }
        }
    }

    /// Moves bytes both ways.
    ///
    /// What one direction meets is noted before the other one moves: a write to a connection that was reset
    /// takes the error away, and a read would then find a clean end. A failure met on the way down concerns
    /// the way up, hence a second round.
    fn relay(&mut self, moved: &mut Moved) {
        for _ in 0..2 {
            // If the other direction is over, both connections are closed after this step, which sends FIN.
            if self.up.can_advance() {
                let is_last = self.down.end() == Some(DirectionEnd::Finished);
                let transfer = self.up.advance(&mut self.client.source(), &mut self.server.sink(is_last));
                let _ = self.note_transfer(Side::Client, Side::Server, transfer, moved);
            }
            if !self.down.can_advance() {
                return;
            }
            let is_last = self.up.end() == Some(DirectionEnd::Finished);
            let transfer = self.down.advance(&mut self.server.source(), &mut self.client.sink(is_last));
            if self.note_transfer(Side::Server, Side::Client, transfer, moved).is_continue() {
                return;
            }
        }
    }

    /// Notes what one direction has done. The break says that a connection has failed.
    fn note_transfer(
        &mut self,
        from: Side,
        to: Side,
        transfer: Transfer,
        moved: &mut Moved,
    ) -> ControlFlow<()> {
        if transfer.received + transfer.delivered > 0 {
            *moved = Moved::Something;
        }
        let mut flow = ControlFlow::Continue(());
        if let Some(error) = transfer.source_error {
            self.fail(from, error);
            flow = ControlFlow::Break(());
        }
        if let Some(error) = transfer.sink_error {
            self.fail(to, error);
            flow = ControlFlow::Break(());
        }
        flow
    }

    /// This side's connection has failed: what it sent before goes on to the other, and nothing goes to it
    /// any more. The first failure decides how the tunnel ends.
    pub(crate) fn fail(&mut self, side: Side, error: io::Error) {
        let (phase, from, to) = match side {
            Side::Client => (&mut self.client, &mut self.up, &mut self.down),
            Side::Server => (&mut self.server, &mut self.down, &mut self.up),
        };
        from.note_source_lost();
        to.abandon();
        phase.fail();
        if !matches!(self.end.as_deref(), Some(TunnelEnd::Failed(..) | TunnelEnd::Closed)) {
            self.end = Some(Box::new(TunnelEnd::Failed(side, error)));
        }
    }

    fn note_ends(&mut self, now: Instant, moved: &mut Moved) {
        if self.end.is_none() {
            let finished = if self.up.source_is_over() {
                Some(Side::Client)
            } else {
                self.down.source_is_over().then_some(Side::Server)
            };
            if let Some(side) = finished {
                self.end = Some(Box::new(TunnelEnd::Finished(side)));
                *moved = Moved::Something;
            }
        }
        match (self.up.end(), self.down.end()) {
            (Some(DirectionEnd::Finished), Some(DirectionEnd::Finished)) => {
                self.client.close();
                self.server.close();
            }
            (Some(_), Some(_)) => self.begin_close(now),
            _ => {}
        }
    }

    fn begin_close(&mut self, now: Instant) {
        let has_finished = |to: &Relay| to.end() == Some(DirectionEnd::Finished);
        let linger = self.limits.linger;
        self.client.begin_linger(has_finished(&self.down), linger, now);
        self.server.begin_linger(has_finished(&self.up), linger, now);
        self.up.abandon();
        self.down.abandon();
    }
}
