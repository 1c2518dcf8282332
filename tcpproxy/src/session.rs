//! One client and its connection to the server: how it is made, how long it may last, and what the log says of it.

use std::net::SocketAddr;
use std::ops::ControlFlow::{self, Break, Continue};
use std::rc::Rc;
use std::time::{Duration, Instant};
use std::{cell::Cell, io};

use eventloop::{Connected, Intents, Progress, Ready, Stream};
use relay::{Peer, Tunnel};
use tracing::info;

use crate::Config;
use crate::client::Client;
use crate::lifecycle::{ActiveSession, Lifecycle};
use crate::operations::metrics::Metrics;
use crate::operations::proxy_protocol::{Announced, HeaderReceiver, HeaderSender, Received, Sent};
use crate::statistics::Counters;
use crate::termination::{By, Cause, Phase, Reason, Termination};
use crate::upstream::{Connecting, Upstream};

/// One client that is served.
///
/// The [`Tunnel`] carries the bytes and passes on how each side ends. The session connects it to the server, counts,
/// and resets both sides when a time limit has passed.
pub(crate) struct Session {
    context: Rc<SessionContext>,
    client: Client,
    state: State,
    tunnel: Tunnel,
    began: Instant,
    /// How long it took to reach the server.
    connect_time: Option<Duration>,
    /// When a byte last moved, or the server was reached.
    last_activity: Instant,
    /// How the session ends, once that is decided, and what the log says beyond that.
    termination: Option<(Termination, Option<String>)>,
    _active: ActiveSession,
}

/// What the sessions of one proxy have in common.
pub(crate) struct SessionContext {
    pub(crate) config: Config,
    pub(crate) upstream: Rc<Upstream>,
    pub(crate) lifecycle: Rc<Lifecycle>,
    pub(crate) counters: Rc<Counters>,
    pub(crate) metrics: Option<Rc<Metrics>>,
    /// Whether a client is known to wait because as many as may be are served. A session that yields clears it.
    pub(crate) client_is_pending: Rc<Cell<bool>>,
}

/// How far a session has come on its way to the server.
enum State {
    /// The client has yet to send its PROXY header.
    ReadingHeader(Box<HeaderReceiver>),
    Connecting(Box<Connecting>),
    Established(Server),
}

/// The connection to the server.
struct Server {
    stream: Stream,
    address: SocketAddr,
    /// The PROXY header, which goes out before anything else.
    header: Option<Box<HeaderSender>>,
}

impl Session {
    /// Begins to serve a client. The connection to the server is started in the first step.
    pub(crate) fn new(context: Rc<SessionContext>, client: Client, tunnel: Tunnel, now: Instant) -> Self {
        let config = &context.config;
        let state = if config.accept_proxy_protocol {
            State::ReadingHeader(Box::new(HeaderReceiver::new(config.header_timeout, now)))
        } else {
            State::Connecting(Box::new(context.upstream.connect(now)))
        };
        Self {
            client,
            state,
            tunnel,
            began: now,
            connect_time: None,
            last_activity: now,
            termination: None,
            _active: context.lifecycle.begin_session(),
            context,
        }
    }

    /// One step; it breaks when the session is over.
    ///
    /// # Errors
    ///
    /// What ends the session with RST to both sides.
    fn step(&mut self, ready: &Ready<'_>) -> Result<ControlFlow<()>, Cause> {
        if self.context.lifecycle.drain_is_due(ready.now()) {
            return Err(Cause::new(By::Proxy, Reason::Stopped));
        }
        if let State::ReadingHeader(header) = &mut self.state {
            match header.advance(&self.client.stream, ready) {
                Received::Partly => return Ok(Continue(())),
                Received::Whole(announced) => self.end_header(announced, ready.now()),
                Received::Never(cause) => return Err(cause),
            }
            // The client may have been readable for its header alone: the tunnel waits for the next turn.
            return self.connect(ready).map(Continue);
        }
        if self.server().is_none() {
            self.connect(ready)?;
        }
        self.relay(ready);
        if self.server().is_none() && self.tunnel.has_lost(Peer::Client) {
            self.reset_unannounced_server();
            return Ok(Break(()));
        }
        if self.tunnel.is_over() { Ok(Break(())) } else { self.check_time_limits(ready.now()) }
    }

    /// The client's PROXY header is complete.
    fn end_header(&mut self, announced: Option<Announced>, now: Instant) {
        if let Some(announced) = announced {
            self.client.announce(announced);
        }
        self.state = State::Connecting(Box::new(self.context.upstream.connect(now)));
    }

    /// Advances the connection to the server, and then the PROXY header for it.
    fn connect(&mut self, ready: &Ready<'_>) -> Result<(), Cause> {
        if let State::Connecting(connecting) = &mut self.state {
            let Some(connected) = connecting.advance(ready)? else { return Ok(()) };
            self.connect_time = Some(connecting.since().elapsed());
            self.establish(connected, ready.now());
        }
        self.send_header(ready)
    }

    /// The server is reached.
    fn establish(&mut self, Connected { stream, address, reset }: Connected, now: Instant) {
        let config = &self.context.config;
        let header = config.proxy_protocol.filter(|_| reset.is_none()).map(|version| {
            let until = now + config.connect_timeout;
            Box::new(HeaderSender::new(version, self.client.source(), self.client.destination(), until))
        });
        self.state = State::Established(Server { stream, address, header });
        self.last_activity = now;
        if let Some(error) = reset {
            self.lose_server(&error);
        }
    }

    /// Advances the PROXY header for the server, if there is one.
    fn send_header(&mut self, ready: &Ready<'_>) -> Result<(), Cause> {
        let State::Established(Server { stream, header, .. }) = &mut self.state else { return Ok(()) };
        let Some(sender) = header else { return Ok(()) };
        match sender.advance(stream, ready) {
            Sent::Partly => {}
            Sent::Whole => *header = None,
            Sent::Failed(error) => {
                *header = None;
                self.lose_server(&error);
            }
            Sent::Late => {
                let detail = "it does not take the PROXY header";
                return Err(Cause::with_detail(By::Server, Reason::Unanswered, detail));
            }
        }
        Ok(())
    }

    /// Lets the tunnel move what it can, and counts.
    fn relay(&mut self, ready: &Ready<'_>) {
        let step = self.tunnel.advance(&self.client.stream, self.state.server(), ready);
        if step.moved() || step.failure.is_some() {
            // After a failure the other side has its full time to take what is left.
            self.last_activity = ready.now();
            self.context.counters.change(|statistics| {
                statistics.up += step.up as u64;
                statistics.down += step.down as u64;
            });
        }
        if let Some((peer, error)) = step.failure {
            self.decide(Cause::of_connection(by(peer), &error));
        }
        if self.termination.is_none() {
            // The first FIN decides who ended the session, unless something worse comes.
            if self.tunnel.up().source_is_over() {
                self.decide(Cause::new(By::Client, Reason::Fin));
            } else if self.tunnel.down().source_is_over() {
                self.decide(Cause::new(By::Server, Reason::Fin));
            }
        }
    }

    fn check_time_limits(&mut self, now: Instant) -> Result<ControlFlow<()>, Cause> {
        let Some((_, reason)) = self.time_limit().filter(|&(at, _)| at <= now) else {
            return Ok(Continue(()));
        };
        let cause = Cause::new(By::Timeout, reason);
        if reason != Reason::Yielded {
            return Err(cause);
        }
        self.decide(cause);
        self.context.client_is_pending.set(false); // one session yields to it, the others go on
        self.tunnel.close(&self.client.stream, self.state.server(), now);
        Ok(if self.tunnel.is_over() { Break(()) } else { Continue(()) })
    }

    /// When the next time limit of the session as it stands passes, and which it is. Connecting has a limit of its
    /// own, and so has closing.
    fn time_limit(&self) -> Option<(Instant, Reason)> {
        self.server().filter(|_| !self.tunnel.is_closing())?;
        let (config, tunnel) = (&self.context.config, &self.tunnel);
        let after = |quiet: Option<Duration>, reason| quiet.map(|quiet| (self.last_activity + quiet, reason));
        let failed = tunnel.has_lost(Peer::Client) || tunnel.has_lost(Peer::Server);
        let lost = after(failed.then_some(config.linger_timeout), Reason::HalfClosed);
        let idle = after(config.idle_timeout, Reason::Idle);
        let half_closed = tunnel.up().source_is_over() || tunnel.down().source_is_over();
        let half_close = after(config.half_close_timeout.filter(|_| half_closed), Reason::HalfClosed);
        let may_yield =
            self.context.client_is_pending.get() && tunnel.up().pending() + tunnel.down().pending() == 0;
        let yielded = after(config.yield_idle.filter(|_| may_yield), Reason::Yielded);
        [lost, idle, half_close, yielded].into_iter().flatten().min_by_key(|&(at, _)| at)
    }

    /// Ends the session at once, with RST to both sides.
    fn cut(&mut self, cause: Cause) {
        self.decide(cause);
        self.reset_unannounced_server();
        self.tunnel.cut(&self.client.stream, self.state.server());
    }

    /// A server that has received a part of a PROXY header must not take that for all there is.
    fn reset_unannounced_server(&self) {
        if let State::Established(Server { stream, header: Some(_), .. }) = &self.state {
            let _ = stream.reset_on_close(); // a connection that has failed refuses the option, and needs no reset
        }
    }

    /// The connection to the server has failed before the tunnel had it.
    fn lose_server(&mut self, error: &io::Error) {
        self.decide(Cause::of_connection(By::Server, error));
        self.tunnel.lose(Peer::Server);
    }

    /// Decides how the session ends. The first decision stands, except that a FIN only says how it ends if nothing
    /// else comes.
    fn decide(&mut self, Cause { by, reason, detail }: Cause) {
        if self.termination.as_ref().is_some_and(|(termination, _)| termination.reason != Reason::Fin) {
            return;
        }
        let phase = match &self.state {
            State::ReadingHeader(_) => Phase::Header,
            _ if self.server().is_none() => Phase::Connect,
            _ if self.termination.is_some() => Phase::Drain,
            _ => Phase::Data,
        };
        self.termination = Some((Termination { by, phase, reason }, detail));
    }

    /// The server's connection, once bytes can be carried.
    fn server(&self) -> Option<&Stream> {
        self.state.server()
    }

    /// Logs the session's end, and counts it.
    fn report(&mut self) {
        let (termination, detail) = self
            .termination
            .take()
            .unwrap_or((Termination { by: By::Proxy, phase: Phase::Data, reason: Reason::Error }, None));
        let server = match &self.state {
            State::Established(server) => Some(server.address),
            State::ReadingHeader(_) | State::Connecting(_) => None,
        };
        let duration = self.began.elapsed();
        if let Some(metrics) = &self.context.metrics {
            metrics.count_session(termination, self.connect_time, duration);
        }
        info!(
            client = %self.client.source(),
            peer = self.client.passed_on_by().map(tracing::field::display),
            server = server.map(tracing::field::display),
            up = self.tunnel.up().delivered(),
            down = self.tunnel.down().delivered(),
            connect_ms = self.connect_time.map(milliseconds),
            duration_ms = milliseconds(duration),
            by = %termination.by,
            phase = %termination.phase,
            reason = %termination.reason,
            error = detail.map(shortened),
            "session ended"
        );
    }
}

impl eventloop::Session for Session {
    fn intents(&self, intents: &mut Intents<'_>) {
        if let Some(deadline) = self.context.lifecycle.drain_deadline() {
            intents.deadline(deadline);
        }
        match &self.state {
            State::ReadingHeader(header) => return header.intents(&self.client.stream, intents),
            State::Connecting(connecting) => connecting.intents(intents),
            State::Established(Server { stream, header: Some(header), .. }) => {
                header.intents(stream, intents)
            }
            State::Established(_) => {}
        }
        self.tunnel.intents(&self.client.stream, self.server(), intents);
        if let Some((at, _)) = self.time_limit() {
            intents.deadline(at);
        }
    }

    fn advance(&mut self, ready: &Ready<'_>) -> eventloop::Result<Progress> {
        match self.step(ready) {
            Ok(Continue(())) => return Ok(Progress::Continue),
            Ok(Break(())) => {}
            Err(cause) => self.cut(cause),
        }
        self.report();
        Ok(Progress::Done)
    }

    fn refused(&mut self, error: io::Error) -> eventloop::Result<()> {
        self.cut(Cause::with_detail(By::Proxy, Reason::Exhausted, error));
        self.report();
        Ok(())
    }
}

impl State {
    /// The server's connection, once bytes can be carried.
    fn server(&self) -> Option<&Stream> {
        match self {
            Self::Established(Server { stream, header: None, .. }) => Some(stream),
            _ => None,
        }
    }
}

fn by(peer: Peer) -> By {
    match peer {
        Peer::Client => By::Client,
        Peer::Server => By::Server,
    }
}

/// Milliseconds, to the microsecond.
fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

/// A detail of at most 2000 bytes, because a log line has a greatest length: a server of a hundred addresses can refuse
/// at each of them.
fn shortened(mut detail: String) -> String {
    const MAX_LEN: usize = 2000;
    if detail.len() > MAX_LEN {
        detail.truncate((0..=MAX_LEN).rfind(|&at| detail.is_char_boundary(at)).unwrap_or(0));
        detail.push('…');
    }
    detail
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_detail_that_is_too_long_for_a_line_is_cut_between_two_characters() {
        assert_eq!(shortened("é".repeat(1000)), "é".repeat(1000));
        assert_eq!(shortened("x".to_owned() + &"é".repeat(1000)), "x".to_owned() + &"é".repeat(999) + "…");
    }
}
