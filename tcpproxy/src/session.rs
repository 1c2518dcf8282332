//! One client and its connection to the server: what the options ask of it, and what the log says of it.

mod context;
mod yielding;

use std::any::Any;
use std::io;
use std::mem;
use std::net::SocketAddr;
use std::ops::ControlFlow::{self, Break, Continue};
use std::rc::Rc;
use std::time::{Duration, Instant};

use eventloop::{AddressPermit, Intents, Progress, Ready, after, panic_message};
use relay::{EndCause, ProxySession, SessionEnd, SessionEvent, SessionPhase, Side, TimeLimit};
use tracing::{debug, info};

use crate::Splice;
use crate::client::Client;
use crate::liveness::{Acknowledged, Liveness};
use crate::operations::proxy_protocol::{self, Parsed};
use crate::operations::session_table::{Listed, SessionRow};
use crate::termination::{By, Cause, Phase, Reason, Termination, shortened};
use crate::ticks::Tick;
use crate::upstream::Connecting;
use context::ActiveSession;

pub(crate) use context::SessionContext;

/// One client that is served.
///
/// The [`ProxySession`] connects it to the server, carries the bytes and passes on how each side ends. This session
/// adds the PROXY headers, counts, yields, ends when the proxy stops, and is logged.
pub(crate) struct Session {
    client: Client,
    connections: ProxySession<Connecting>,
    began: Instant,
    /// The address of the server, once it is reached. All sessions that are connected to it share it.
    server: Option<Rc<SocketAddr>>,
    /// How long that took, in microseconds.
    connect_micros: u32,
    upkeep: Upkeep,
    /// When to look whether the peers acknowledge what was sent; `None` while all is known to be acknowledged.
    liveness_at: Option<Tick>,
    liveness: Liveness,
    /// What ends the session, and in which phase, once that is decided here. Boxed, because it comes late.
    end: Option<Box<(Cause, Phase)>>,
    /// Held for its address, as long as the session exists.
    _permit: AddressPermit,
    /// Dropped last: until then the session is active.
    context: ActiveSession,
}

/// What a session has yet to do for its connection to the server. A short session is spared the five system calls.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Upkeep {
    /// To find out whether it leads back to the proxy, and then to let the kernel probe it.
    Look(Tick),
    /// To let the kernel probe it. (Clients inherit the probes from the listening socket.)
    Probe(Tick),
    Nothing,
}

impl Session {
    /// Begins to serve a client. The connection to the server is started in the first step.
    pub(crate) fn new(
        context: Rc<SessionContext>,
        peer: SocketAddr,
        permit: AddressPermit,
        connections: ProxySession<Connecting>,
        now: Instant,
    ) -> Self {
        let reads_header = context.config.accept_proxy_protocol;
        let mut session = Self {
            client: Client::new(peer, reads_header),
            connections,
            began: now,
            server: None,
            connect_micros: 0,
            upkeep: Upkeep::Nothing,
            liveness_at: None,
            liveness: Liveness::default(),
            end: None,
            _permit: permit,
            context: ActiveSession::new(context),
        };
        debug!(client = %session.client.source(), "session began");
        if !reads_header {
            session.connect(now);
        }
        session
    }

    /// One step; it breaks when the session is over.
    ///
    /// # Errors
    ///
    /// What ends the session with RST to both sides.
    fn step(&mut self, ready: &Ready<'_>) -> Result<ControlFlow<()>, Cause> {
        let now = ready.now();
        if self.context.lifecycle.drain_is_due(now) {
            return Err(Cause::new(By::Proxy, Reason::Stopped));
        }
        let tick_is_due = self.next_tick().is_some_and(|tick| self.context.ticks.instant(tick) <= now);
        if tick_is_due {
            self.upkeep(now);
        }
        if self.context.loops.is_loop(self.client.peer, self.connections.client(), now) {
            return Err(Cause::with_detail(
                By::Proxy,
                Reason::Loop,
                "the server's address leads back to this proxy",
            ));
        }
        loop {
            let before = self.carried();
            let event = self.connections.advance(ready);
            self.note_carried(before, now);
            match event {
                SessionEvent::Waiting => {
                    self.check_silence(now)?;
                    self.check_yield(now)?;
                    match tick_is_due.then(|| self.check_liveness(now)).flatten() {
                        Some((side, error)) => self.connections.fail(side, error),
                        None => return Ok(Continue(())),
                    }
                }
                SessionEvent::FirstBytes => self.read_header(now)?,
                SessionEvent::Connected(server) => self.establish(server, now),
                SessionEvent::ConnectFailed(cause) => return Err(cause),
                SessionEvent::Ended(end) => {
                    self.decide(self.cause(&end.cause), end.phase);
                    return Ok(Break(()));
                }
            }
        }
    }

    /// Reads what has come of the client's PROXY header.
    fn read_header(&mut self, now: Instant) -> Result<(), Cause> {
        let Some(parser) = self.client.header_parser() else { return Ok(()) };
        let bytes = self.connections.first_bytes();
        match parser.advance(bytes) {
            Ok(Parsed::Partial) => {
                let all = bytes.len();
                self.connections.consume(all);
                Ok(())
            }
            Ok(Parsed::Complete { taken, announced }) => {
                self.connections.consume(taken);
                let up = self.connections.up();
                self.client.end_header(announced, up.received() - up.pending() as u64, now);
                if let Some(announced) = announced {
                    self._permit = self.address_permit(announced.source)?;
                }
                let (client, peer) = (self.client.source(), self.client.peer);
                debug!(%client, %peer, bytes = self.client.header_len(), "PROXY header read");
                self.connect(now);
                Ok(())
            }
            Err(error) => Err(Cause::with_detail(By::Client, Reason::BadHeader, error)),
        }
    }

    /// The permit for one more client of an address that a balancer has named.
    fn address_permit(&self, source: SocketAddr) -> Result<AddressPermit, Cause> {
        self.context.address_limit.admit(source.ip()).ok_or_else(|| {
            self.context.counters.change(|statistics| statistics.limited += 1);
            let detail = "its address has as many clients as --max-per-address allows";
            Cause::with_detail(By::Proxy, Reason::Limited, detail)
        })
    }

    fn connect(&mut self, now: Instant) {
        self.connections.connect(self.context.upstream.connect(self.client.source(), now));
        let splice = self.context.config.splice;
        if splice != Splice::Never {
            self.connections.splice(&self.context.pipes, splice == Splice::Always);
        }
    }

    /// The server is reached: it receives the PROXY header before anything else.
    fn establish(&mut self, server: SocketAddr, now: Instant) {
        self.server = Some(self.context.upstream.shared(server));
        let check_age = self.context.loops.check_age(now);
        let age = self.context.config.keepalive.map_or(check_age, |keepalive| check_age.min(keepalive / 2));
        self.upkeep = Upkeep::Look(self.context.ticks.not_before(after(now, age)));
        let connect_time = self.client.header_read_at().unwrap_or(self.began).elapsed();
        self.connect_micros = connect_time.as_micros().try_into().unwrap_or(u32::MAX);
        debug!(client = %self.client.source(), %server, connect_ms = milliseconds(connect_time), "connected");
        if let Some(version) = self.context.config.proxy_protocol {
            let destination = self.client.destination(self.connections.client());
            let header = proxy_protocol::encode(version, self.client.source(), destination);
            self.connections.send_to_server(&header);
        }
    }

    /// The next tick at which there is something to do.
    fn next_tick(&self) -> Option<Tick> {
        match (self.upkeep.tick(), self.liveness_at) {
            (Some(upkeep), Some(liveness)) => Some(upkeep.min(liveness)),
            (upkeep, liveness) => upkeep.or(liveness),
        }
    }

    /// Does for the connection to the server what is due.
    fn upkeep(&mut self, now: Instant) {
        let SessionContext { config, loops, ticks, pending, .. } = &*self.context;
        if self.upkeep.tick().is_none_or(|at| now < ticks.instant(at)) {
            return;
        }
        let due = mem::replace(&mut self.upkeep, Upkeep::Nothing);
        let (Some(server), Some(address)) = (self.connections.server(), &self.server) else { return };
        match (due, config.keepalive) {
            (Upkeep::Look(_), keepalive) => {
                loops.look(self.client.peer, server, **address, pending, now);
                // The kernel counts the silence from the last segment on, also if the option is set later.
                let probe = |keepalive| Upkeep::Probe(ticks.not_before(after(now, keepalive / 2)));
                self.upkeep = keepalive.map_or(Upkeep::Nothing, probe);
            }
            (Upkeep::Probe(_), Some(keepalive)) => {
                let _ = server.set_keepalive(keepalive); // a connection that has failed refuses it, and needs it no more
            }
            _ => {}
        }
    }

    /// A peer that has vanished although bytes were sent to it, if it is time to ask.
    fn check_liveness(&mut self, now: Instant) -> Option<(Side, io::Error)> {
        let ticks = self.context.ticks;
        let keepalive = self.context.keepalive()?;
        self.liveness_at.take_if(|at| ticks.instant(*at) <= now)?;
        match self.liveness.check(&self.connections, keepalive, now) {
            Acknowledged::All => None,
            Acknowledged::NotYet => {
                self.liveness_at = Some(ticks.not_before(after(now, keepalive / 2)));
                None
            }
            Acknowledged::Never(side, error) => Some((side, error)),
        }
    }

    /// How long it took to reach the server, if it was reached.
    fn connect_time(&self) -> Option<Duration> {
        self.server.as_ref().map(|_| Duration::from_micros(self.connect_micros.into()))
    }

    /// The bytes that the server and the client have been given.
    fn carried(&self) -> (u64, u64) {
        (self.connections.up().delivered(), self.connections.down().delivered())
    }

    /// Notes that bytes were carried, unless none were since `before`.
    fn note_carried(&mut self, before: (u64, u64), now: Instant) {
        let carried = self.carried();
        if carried == before {
            return;
        }
        self.context.counters.change(|statistics| {
            statistics.up += carried.0 - before.0;
            statistics.down += carried.1 - before.1;
        });
        if let Some(keepalive) = self.context.keepalive() {
            let ticks = self.context.ticks;
            self.liveness_at.get_or_insert_with(|| ticks.not_before(after(now, keepalive / 2)));
        }
    }

    /// What has ended the connections, in the words of the log.
    fn cause(&self, end: &EndCause) -> Cause {
        match end {
            EndCause::Finished(side) => Cause::new(by(*side), Reason::Fin),
            EndCause::Failed(side, error) => Cause::of_connection(by(*side), error),
            EndCause::NoDestination => {
                let detail = "the end came before the PROXY header was complete";
                Cause::with_detail(By::Client, Reason::NoHeader, detail)
            }
            EndCause::TimedOut(TimeLimit::Opening) => {
                let detail = format!("no PROXY header within {:?}", self.context.config.header_timeout);
                Cause::with_detail(By::Timeout, Reason::NoHeader, detail)
            }
            EndCause::TimedOut(TimeLimit::Idle) => Cause::new(By::Timeout, Reason::Idle),
            EndCause::TimedOut(TimeLimit::Linger | TimeLimit::HalfClose) => {
                Cause::new(By::Timeout, Reason::HalfClosed)
            }
            EndCause::NoServer | EndCause::Refused | EndCause::Closed => {
                Cause::new(By::Proxy, Reason::Error) // decided here before, with more to say
            }
        }
    }

    /// Decides how the session ends, unless that was decided before.
    fn decide(&mut self, cause: Cause, phase: SessionPhase) {
        self.end.get_or_insert_with(|| Box::new((cause, self::phase(phase))));
    }

    /// Ends the session at once. Both connections are reset when it is dropped.
    fn cut(&mut self, cause: Cause) {
        let decided = self.connections.decided();
        if let Some(SessionEnd { cause, phase }) =
            decided.filter(|end| !matches!(end.cause, EndCause::Finished(_)))
            && !matches!(cause, EndCause::NoServer)
        {
            self.decide(self.cause(cause), *phase);
        }
        self.decide(cause, self.connections.phase());
        self.report();
    }

    /// Ends the session, for which the system lacks something.
    pub(crate) fn exhausted(&mut self, error: io::Error) {
        self.cut(Cause::with_detail(By::Proxy, Reason::Exhausted, error));
    }

    /// Logs the session's end, and counts it.
    fn report(&mut self) {
        let end = self.end.take().expect("how a session ends is decided before it is reported");
        let (Cause { by, reason, detail }, phase) = *end;
        let termination = Termination { by, phase, reason };
        let duration = self.began.elapsed();
        if let Some(metrics) = &self.context.metrics {
            metrics.count_session(termination, self.connect_time(), duration);
        }
        /// One event, at one of two levels: a level is a constant of the place where an event is logged.
        macro_rules! session_ended {
            ($level:ident) => {
                $level!(
                    client = %self.client.source(),
                    peer = self.client.passed_on_by().map(tracing::field::display),
                    server = self.server.as_ref().map(tracing::field::display),
                    up = self.connections.up().delivered(),
                    down = self.connections.down().delivered(),
                    connect_ms = self.connect_time().map(milliseconds),
                    duration_ms = milliseconds(duration),
                    %by,
                    %phase,
                    %reason,
                    error = detail.map(shortened),
                    "session ended"
                )
            };
        }
        if self.context.config.quiet_empty && self.is_empty(termination) {
            session_ended!(debug);
        } else {
            session_ended!(info);
        }
    }

    /// Whether the client has ended the session without a byte either way, as a health check does.
    fn is_empty(&self, termination: Termination) -> bool {
        let by_client = termination.by == By::Client
            && matches!(termination.reason, Reason::Fin | Reason::Reset | Reason::NoHeader);
        by_client
            && self.connections.up().received() == self.client.header_len()
            && self.connections.down().received() == 0
    }
}

impl Listed for Session {
    fn row(&self, now: Instant) -> SessionRow {
        let (up, down) = (self.connections.up(), self.connections.down());
        SessionRow {
            client: self.client.source(),
            peer: self.client.passed_on_by(),
            server: self.server.as_deref().copied(),
            phase: phase(self.connections.phase()),
            age: now.saturating_duration_since(self.began),
            idle: now.saturating_duration_since(self.connections.last_active()),
            up: up.delivered(),
            down: down.delivered(),
            up_waiting: up.pending(),
            down_waiting: down.pending(),
        }
    }
}

impl eventloop::Session for Session {
    fn intents(&self, intents: &mut Intents<'_>) {
        if let Some(deadline) = self.context.lifecycle.drain_deadline() {
            intents.deadline(deadline);
        }
        if let Some(at) = self.silent_until() {
            intents.deadline(at);
        }
        if let Some(at) = self.yields_at() {
            intents.deadline(at);
        }
        if let Some(tick) = self.next_tick() {
            intents.deadline(self.context.ticks.instant(tick));
        }
        self.connections.intents(intents);
    }

    fn advance(&mut self, ready: &Ready<'_>) -> eventloop::Result<Progress> {
        match self.step(ready) {
            Ok(Continue(())) => return Ok(Progress::Continue),
            Ok(Break(())) => self.report(),
            Err(cause) => self.cut(cause),
        }
        Ok(Progress::Done)
    }

    fn refused(&mut self, error: io::Error) -> eventloop::Result<()> {
        self.exhausted(error);
        Ok(())
    }

    /// A bug that one client has met ends its session, and no other.
    fn panicked(&mut self, panic: Box<dyn Any + Send>) -> eventloop::Result<()> {
        let detail = format!("a bug of the program: {}", panic_message(&*panic));
        self.cut(Cause::with_detail(By::Proxy, Reason::Error, detail));
        Ok(())
    }
}

impl Upkeep {
    fn tick(self) -> Option<Tick> {
        match self {
            Self::Look(tick) | Self::Probe(tick) => Some(tick),
            Self::Nothing => None,
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.context.loops.forget(self.client.peer);
        if !self.context.pending.is_empty() {
            self.context.pending.wake_acceptor(); // there is room for the next one
        }
    }
}

fn by(side: Side) -> By {
    match side {
        Side::Client => By::Client,
        Side::Server => By::Server,
    }
}

fn phase(phase: SessionPhase) -> Phase {
    match phase {
        SessionPhase::Opening => Phase::Header,
        SessionPhase::Connecting => Phase::Connect,
        SessionPhase::Established => Phase::Data,
        SessionPhase::HalfClosed => Phase::Drain,
    }
}

/// Milliseconds, to the microsecond.
fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the whole session takes with its sources, tables and the allocator's share: `tests/memory.rs`.
    #[test]
    fn a_session_takes_no_more_memory_than_this() {
        assert!(size_of::<Session>() <= 344, "{} bytes", size_of::<Session>());
    }
}
