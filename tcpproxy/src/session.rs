//! One client and its connection to the server: what the options ask of it, and what the log says of it.

use std::any::Any;
use std::io;
use std::net::SocketAddr;
use std::ops::ControlFlow::{self, Break, Continue};
use std::rc::Rc;
use std::time::{Duration, Instant};

use eventloop::{Intents, Progress, Ready};
use relay::{EndCause, Peer, ProxySession, SessionEnd, SessionEvent, SessionPhase, TimeLimit};
use tracing::{debug, info};

use crate::Config;
use crate::client::Client;
use crate::lifecycle::{ActiveSession, Lifecycle};
use crate::liveness::Liveness;
use crate::loops::{LoopCheck, Loops};
use crate::operations::address_limit::{AddressLimit, AddressPermit};
use crate::operations::metrics::Metrics;
use crate::operations::proxy_protocol::{self, HeaderParser, Parsed};
use crate::operations::session_table::{Listed, SessionRow};
use crate::pending_clients::PendingClients;
use crate::statistics::Counters;
use crate::termination::{By, Cause, Phase, Reason, Termination, shortened};
use crate::upstream::{Connecting, Upstream};

/// One client that is served.
///
/// The [`ProxySession`] connects it to the server, carries the bytes and passes on how each side ends. This session
/// adds the PROXY headers, counts, yields, ends when the proxy stops, and is logged.
pub(crate) struct Session {
    context: Rc<SessionContext>,
    client: Client,
    connections: ProxySession<Connecting>,
    /// The PROXY header that the client has yet to send.
    header: Option<Box<HeaderParser>>,
    /// The bytes that the header had.
    header_len: u64,
    began: Instant,
    /// When the connection to the server was begun, and how long it took.
    connect_began: Instant,
    connect_time: Option<Duration>,
    server: Option<SocketAddr>,
    /// Until then: when the server's connection is to be probed from, and looked at for a loop. A short session is
    /// spared the five system calls. (Clients inherit the probes from the listening socket.)
    keepalive_at: Option<Instant>,
    /// The bytes up and down that are in the statistics.
    counted: (u64, u64),
    /// How the session ends, once that is decided here, and what the log says beyond that.
    termination: Option<(Termination, Option<String>)>,
    /// Held for its address, as long as the session exists.
    _permit: AddressPermit,
    liveness: Liveness,
    loop_check: LoopCheck,
    /// When the session could have yielded but for bytes that were left, and how many the client and the server had not
    /// acknowledged then.
    stalled: Option<(Instant, [u32; 2])>,
    _active: ActiveSession,
}

/// What the sessions of one proxy have in common.
pub(crate) struct SessionContext {
    pub(crate) config: Config,
    pub(crate) upstream: Rc<Upstream>,
    pub(crate) lifecycle: Rc<Lifecycle>,
    pub(crate) counters: Rc<Counters>,
    pub(crate) metrics: Option<Rc<Metrics>>,
    pub(crate) address_limit: Rc<AddressLimit>,
    pub(crate) pending: Rc<PendingClients>,
    pub(crate) loops: Rc<Loops>,
}

/// How long a client may be silent that has yet to send its PROXY header, while another client waits. A balancer sends
/// it at once, and silent clients must not keep all others away for the whole time that a header may take.
const SILENT_HEADER: Duration = Duration::from_secs(1);

impl Session {
    /// Begins to serve a client. The connection to the server is started in the first step.
    pub(crate) fn new(
        context: Rc<SessionContext>,
        client: Client,
        permit: AddressPermit,
        connections: ProxySession<Connecting>,
        now: Instant,
    ) -> Self {
        let reads_header = context.config.accept_proxy_protocol;
        let loop_check = context.loops.note(client.peer);
        let mut session = Self {
            client,
            connections,
            header: reads_header.then(|| Box::new(HeaderParser::new())),
            header_len: 0,
            began: now,
            connect_began: now,
            connect_time: None,
            server: None,
            keepalive_at: None,
            counted: (0, 0),
            termination: None,
            _permit: permit,
            liveness: Liveness::new(context.config.keepalive),
            loop_check,
            stalled: None,
            _active: context.lifecycle.begin_session(),
            context,
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
        if self.yields_at().is_some_and(|at| at <= now) {
            self.check_yield(now)?;
        }
        if self.keepalive_at.take_if(|at| *at <= now).is_some() {
            self.begin_keepalive(now);
        }
        if self.loop_check.is_loop(self.connections.client(), now, || ready.waker()) {
            return Err(Cause::with_detail(
                By::Proxy,
                Reason::Loop,
                "the server's address leads back to this proxy",
            ));
        }
        loop {
            let event = self.connections.advance(ready);
            self.count();
            match event {
                SessionEvent::Waiting => {
                    self.check_silence(now)?;
                    match self.liveness.check(&self.connections, now) {
                        Some((peer, error)) => self.connections.fail(peer, error),
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
        let Some(parser) = &mut self.header else { return Ok(()) };
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
                self.header_len = up.received() - up.pending() as u64;
                self.header = None;
                if let Some(announced) = announced {
                    self.client.announce(announced);
                    self._permit = self.address_permit(announced.source)?;
                }
                let (client, peer) = (self.client.source(), self.client.peer);
                debug!(%client, %peer, bytes = self.header_len, "PROXY header read");
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
        self.connect_began = now;
        self.connections.connect(self.context.upstream.connect(self.client.source(), now));
    }

    /// The server is reached: it receives the PROXY header before anything else.
    fn establish(&mut self, server: SocketAddr, now: Instant) {
        self.server = Some(server);
        let delay = self.context.loops.look_after(now);
        self.keepalive_at = self.context.config.keepalive.map(|idle| now + (idle / 2).min(delay));
        let connect_time = self.connect_began.elapsed();
        self.connect_time = Some(connect_time);
        debug!(client = %self.client.source(), %server, connect_ms = milliseconds(connect_time), "connected");
        if let Some(version) = self.context.config.proxy_protocol {
            let destination = self.client.destination(self.connections.client());
            let header = proxy_protocol::encode(version, self.client.source(), destination);
            self.connections.send_to_server(&header);
        }
    }

    /// From now on the kernel probes a silent server, which is not to be the proxy itself.
    fn begin_keepalive(&self, now: Instant) {
        if let (Some(server), Some(idle)) = (self.connections.server(), self.context.config.keepalive) {
            let _ = server.set_keepalive(idle); // a connection that has failed refuses it, and needs it no more
            if let Some(address) = self.server {
                self.loop_check.look(server, address, &self.context.pending, now);
            }
        }
    }

    /// Adds the bytes that were carried since the last time to the statistics.
    fn count(&mut self) {
        let carried = (self.connections.up().delivered(), self.connections.down().delivered());
        if carried != self.counted {
            self.context.counters.change(|statistics| {
                statistics.up += carried.0 - self.counted.0;
                statistics.down += carried.1 - self.counted.1;
            });
            self.counted = carried;
        }
    }

    /// When a client that has sent nothing of its header yields to one that waits.
    fn silent_until(&self) -> Option<Instant> {
        let is_silent =
            self.connections.phase() == SessionPhase::Opening && self.connections.up().received() == 0;
        (is_silent && self.context.pending.is_known()).then(|| self.began + SILENT_HEADER)
    }

    /// Called when what has come was read: the header may have come while the program did not run.
    ///
    /// # Errors
    ///
    /// The client has been silent for too long, and another one waits.
    fn check_silence(&self, now: Instant) -> Result<(), Cause> {
        if self.silent_until().is_some_and(|at| at <= now) && self.context.pending.confirm() {
            self.context.pending.forget(); // one session yields to it, the others go on
            return Err(Cause::new(By::Timeout, Reason::Yielded));
        }
        Ok(())
    }

    /// When the session, as it stands, yields to a client that waits.
    fn yields_at(&self) -> Option<Instant> {
        let connections = &self.connections;
        if !self.context.pending.is_known() {
            return None;
        }
        let established = matches!(connections.phase(), SessionPhase::Established | SessionPhase::HalfClosed);
        // A server that takes no bytes may yet answer; its client has done its part.
        let upload_waits = connections.up().pending() > 0;
        let may_yield = established && !upload_waits && !connections.is_closing();
        let quiet = self.context.config.yield_idle?;
        let active =
            self.stalled.map_or(connections.last_active(), |(at, _)| connections.last_active().max(at));
        may_yield.then(|| active + quiet)
    }

    /// Yields, if the client that waits is still there and no byte has moved in the kernel, either.
    ///
    /// # Errors
    ///
    /// The session yields although bytes are left for a peer that takes none: they are lost.
    fn check_yield(&mut self, now: Instant) -> Result<(), Cause> {
        if !self.context.pending.confirm() {
            return Ok(());
        }
        let unacknowledged = [self.connections.client(), self.connections.server()].map(|stream| {
            let status = stream.and_then(|stream| stream.tcp_status().ok().flatten());
            status.map_or(0, |status| status.unacknowledged)
        });
        let pending = self.connections.up().pending() + self.connections.down().pending();
        let cause = Cause::new(By::Timeout, Reason::Yielded);
        if pending == 0 && unacknowledged == [0, 0] {
            self.decide(cause, self.connections.phase());
            self.context.pending.forget(); // one session yields to it, the others go on
            self.connections.close(now);
            return Ok(());
        }
        // Bytes that are written move on in the kernel: what is left of them shows whether a peer takes any.
        let before = self.stalled.replace((now, unacknowledged));
        match before {
            Some((at, before))
                if before == unacknowledged
                    && unacknowledged[1] == 0
                    && at >= self.connections.last_active() =>
            {
                self.context.pending.forget();
                Err(cause)
            }
            _ => Ok(()),
        }
    }

    /// What has ended the connections, in the words of the log.
    fn cause(&self, end: &EndCause) -> Cause {
        match end {
            EndCause::Finished(peer) => Cause::new(by(*peer), Reason::Fin),
            EndCause::Failed(peer, error) => Cause::of_connection(by(*peer), error),
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
    fn decide(&mut self, Cause { by, reason, detail }: Cause, phase: SessionPhase) {
        let phase = self::phase(phase);
        self.termination.get_or_insert((Termination { by, phase, reason }, detail));
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
        let (termination, detail) = self
            .termination
            .take()
            .unwrap_or((Termination { by: By::Proxy, phase: Phase::Data, reason: Reason::Error }, None));
        let duration = self.began.elapsed();
        if let Some(metrics) = &self.context.metrics {
            metrics.count_session(termination, self.connect_time, duration);
        }
        /// One event, at one of two levels: a level is a constant of the place where an event is logged.
        macro_rules! session_ended {
            ($level:ident) => {
                $level!(
                    client = %self.client.source(),
                    peer = self.client.passed_on_by().map(tracing::field::display),
                    server = self.server.map(tracing::field::display),
                    up = self.connections.up().delivered(),
                    down = self.connections.down().delivered(),
                    connect_ms = self.connect_time.map(milliseconds),
                    duration_ms = milliseconds(duration),
                    by = %termination.by,
                    phase = %termination.phase,
                    reason = %termination.reason,
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
            && self.connections.up().received() == self.header_len
            && self.connections.down().received() == 0
    }
}

impl Listed for Session {
    fn row(&self, now: Instant) -> SessionRow {
        let (up, down) = (self.connections.up(), self.connections.down());
        SessionRow {
            client: self.client.source(),
            peer: self.client.passed_on_by(),
            server: self.server,
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
        for at in [self.silent_until(), self.yields_at(), self.keepalive_at].into_iter().flatten() {
            intents.deadline(at);
        }
        if let Some(at) = self.liveness.deadline() {
            intents.deadline(at);
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
        let text = panic.downcast_ref::<&str>().copied();
        let text = text.or(panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("without a message");
        self.cut(Cause::with_detail(By::Proxy, Reason::Error, format!("a bug of the program: {text}")));
        Ok(())
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.context.pending.wake_acceptor(); // there is room for the next one
    }
}

fn by(peer: Peer) -> By {
    match peer {
        Peer::Client => By::Client,
        Peer::Server => By::Server,
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
