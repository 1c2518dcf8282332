//! One client and its connection to the server: two relays, and how it all ends.

use std::io::{self, ErrorKind, Write};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use eventloop::{
    Connect, ConnectError, Connected, Connector, Intents, Place, Progress, Ready, SocketOptions, Stream,
};
use ringbuf::Slot;
use tracing::info;

use crate::destination::{Directions, Inquiry};
use crate::ending::{By, Ending, How, Phase};
use crate::proxy::Shared;
use crate::relay::{self, Relay, Sink};
use crate::side::{Goodbye, Side};

/// A client that is being served.
///
/// Invariants:
/// - A FIN goes out only because a FIN came in. Whatever else ends a session ends it with RST, so that
///   nobody takes a part for the whole.
/// - What one side sent before it failed is delivered to the other before that hears of the failure.
pub(crate) struct Session {
    shared: Rc<Shared>,
    client: Side,
    server: Server,
    /// Client to server.
    up: Relay,
    /// Server to client.
    down: Relay,
    began: Instant,
    connected: Option<Instant>,
    /// When a byte last moved, or the server was reached.
    active: Instant,
    /// What decided how the session ends, as soon as something has.
    ending: Option<(Ending, Option<String>)>,
    farewell: Option<Farewell>,
    _place: Place,
}

/// A client that was admitted.
pub(crate) struct Client {
    pub(crate) stream: Stream,
    pub(crate) address: SocketAddr,
    pub(crate) place: Place,
}

enum Server {
    Resolving(Inquiry),
    Connecting(Connector),
    Connected(Side),
}

/// The end of a session in which nothing more is read: each side is reset as soon as the kernel has sent
/// it what it has.
struct Farewell {
    client: Goodbye,
    server: Goodbye,
}

impl Session {
    /// Begins to serve a client. The connection to the server is started in the first step.
    pub(crate) fn new(shared: Rc<Shared>, client: Client, (up, down): (Slot, Slot), now: Instant) -> Self {
        let server = match shared.destination.borrow_mut().directions(now) {
            Directions::Known(addresses) => Server::Connecting(connector(&shared, &addresses, now)),
            Directions::Ask(inquiry) => Server::Resolving(inquiry),
        };
        shared.session_began();
        Self {
            shared,
            client: Side::new(client.stream, client.address),
            server,
            _place: client.place,
            up: Relay::new(up),
            down: Relay::new(down),
            began: now,
            connected: None,
            active: now,
            ending: None,
            farewell: None,
        }
    }

    /// One step; `true` when the session is over.
    fn step(&mut self, ready: &Ready<'_>) -> bool {
        let now = ready.now();
        if self.farewell.is_some() {
            return self.say_farewell(ready);
        }
        if self.shared.stop.get().is_some_and(|stop| stop.is_due(now)) {
            return self.cut(By::Proxy, How::Stopped);
        }
        self.note_readiness(ready);
        if !matches!(self.server, Server::Connected(_)) && self.establish(ready) {
            return true;
        }
        self.relay(now);
        if self.client.lost && !matches!(self.server, Server::Connected(_)) {
            return true; // whoever it was for has gone: dropping the attempt cancels it
        }
        if self.up.ending().is_some() && self.down.ending().is_some() {
            return self.conclude(now);
        }
        self.check_time(now)
    }

    fn note_readiness(&mut self, ready: &Ready<'_>) {
        let now = ready.now();
        if ready.is_readable(&self.client.stream) {
            self.up.note_readable();
        }
        if ready.is_writable(&self.client.stream) {
            self.down.note_writable();
        }
        if let Some(error) = self.client.hung_up(ready) {
            self.lose(By::Client, &error, now);
        }
        if let Server::Connected(server) = &self.server {
            if ready.is_readable(&server.stream) {
                self.down.note_readable();
            }
            if ready.is_writable(&server.stream) {
                self.up.note_writable();
            }
            if let Some(error) = server.hung_up(ready) {
                self.lose(By::Server, &error, now);
            }
        }
    }

    /// Gets on with reaching the server; `true` if that has failed for good.
    fn establish(&mut self, ready: &Ready<'_>) -> bool {
        let now = ready.now();
        if let Server::Resolving(inquiry) = &mut self.server {
            let Some(answer) = inquiry.lookup.advance(ready) else { return false };
            let addresses = self.shared.destination.borrow_mut().learn(answer, now);
            self.server = Server::Connecting(connector(&self.shared, &addresses, now));
        }
        let Server::Connecting(connector) = &mut self.server else { return false };
        match connector.advance(ready) {
            Connect::Pending => false,
            Connect::Connected(Connected { stream, address, reset }) => {
                self.server = Server::Connected(Side::new(stream, address));
                self.connected = Some(Instant::now());
                self.active = now;
                self.up.note_writable();
                if let Some(error) = reset {
                    self.lose(By::Server, &error, now);
                }
                false
            }
            Connect::Failed(error) => {
                self.shared.destination.borrow_mut().doubt(now);
                self.decide(By::Server, how_it_failed(&error), Some(error.to_string()));
                true
            }
        }
    }

    /// Moves bytes both ways.
    ///
    /// What one direction meets is taken note of before the other moves: a write to a connection that was
    /// reset takes the error away, and a read would then find a clean end. A failure met on the way down
    /// concerns the way up, hence a second round.
    fn relay(&mut self, now: Instant) {
        for _ in 0..2 {
            let step = match &self.server {
                Server::Connected(server) => self.up.advance(&mut &self.client.stream, &mut &server.stream),
                _ => self.up.advance(&mut &self.client.stream, &mut NotYet),
            };
            self.take_note(By::Client, By::Server, step, now);
            let Server::Connected(server) = &self.server else { break };
            let step = self.down.advance(&mut &server.stream, &mut &self.client.stream);
            if !self.take_note(By::Server, By::Client, step, now) {
                break;
            }
        }
        if self.ending.is_none() {
            // The first FIN decides who ended the session, unless something worse comes.
            if self.up.source_is_over() {
                self.decide(By::Client, How::Fin, None);
            } else if self.down.source_is_over() {
                self.decide(By::Server, How::Fin, None);
            }
        }
    }

    /// Takes note of a step of the relay between these sides; `true` if one of them has failed.
    fn take_note(&mut self, source: By, sink: By, step: relay::Step, now: Instant) -> bool {
        if step.received + step.delivered > 0 {
            self.active = now;
            self.shared.count(source, step.delivered);
        }
        let failures = [(source, step.source_error), (sink, step.sink_error)];
        let mut failed = false;
        for (by, error) in failures.into_iter().filter_map(|(by, error)| Some((by, error?))) {
            self.lose(by, &error, now);
            failed = true;
        }
        failed
    }

    /// One side has failed: what it sent before goes on to the other, nothing goes to it any more.
    fn lose(&mut self, by: By, error: &io::Error, now: Instant) {
        self.decide(by, How::of_connection(error), Some(error.to_string()));
        let (side, from, to) = match (by, &mut self.server) {
            (By::Client, _) => (&mut self.client, &mut self.up, &mut self.down),
            (_, Server::Connected(server)) => (server, &mut self.down, &mut self.up),
            _ => return,
        };
        side.lost = true;
        self.active = now; // the other side has its full time to take what is left
        from.note_source_lost();
        to.abandon();
    }

    /// Both directions are over: close if both sides finished properly, else see to it that the side
    /// that is still there hears of the failure.
    fn conclude(&mut self, now: Instant) -> bool {
        let finished = |relay: &Relay| relay.ending() == Some(relay::Ending::Finished);
        if finished(&self.up) && finished(&self.down) {
            return true;
        }
        self.bid_farewell(now)
    }

    fn check_time(&mut self, now: Instant) -> bool {
        let Some((limit, how)) = self.time_limit() else { return false };
        if now < limit {
            return false;
        }
        if how == How::Yielded {
            self.decide(By::Timeout, how, None);
            self.shared.place_is_free();
            return self.bid_farewell(now);
        }
        self.cut(By::Timeout, how)
    }

    /// When time runs out for the session as it stands, and which time that is.
    fn time_limit(&self) -> Option<(Instant, How)> {
        let Server::Connected(server) = &self.server else { return None };
        let config = &self.shared.config;
        let after = |quiet: Option<Duration>, how| quiet.map(|quiet| (self.active + quiet, how));
        let lost = after((self.client.lost || server.lost).then_some(config.linger_timeout), How::HalfClosed);
        let idle = after(config.idle_timeout, How::Idle);
        let half_closed = self.up.source_is_over() || self.down.source_is_over();
        let half_close = after(config.half_close_timeout.filter(|_| half_closed), How::HalfClosed);
        let may_yield = self.shared.somebody_waits.get() && self.up.pending() + self.down.pending() == 0;
        let yielded = after(config.yield_idle.filter(|_| may_yield), How::Yielded);
        [lost, idle, half_close, yielded].into_iter().flatten().min_by_key(|&(at, _)| at)
    }

    /// Ends the session at once, with RST to both sides.
    fn cut(&mut self, by: By, how: How) -> bool {
        self.decide(by, how, None);
        true
    }

    /// Lets the kernel send what it has, and then resets whoever is still there.
    fn bid_farewell(&mut self, now: Instant) -> bool {
        let linger = self.shared.config.linger_timeout;
        let client = Goodbye::begin(&self.client, &self.down, linger, now);
        let server = match &self.server {
            Server::Connected(server) => Goodbye::begin(server, &self.up, linger, now),
            _ => Goodbye::Said,
        };
        self.farewell = Some(Farewell { client, server });
        [client, server] == [Goodbye::Said; 2]
    }

    fn say_farewell(&mut self, ready: &Ready<'_>) -> bool {
        let Some(farewell) = &mut self.farewell else { return true };
        farewell.client.advance(&mut self.client, ready);
        if let Server::Connected(server) = &mut self.server {
            farewell.server.advance(server, ready);
        }
        let stopped = self.shared.stop.get().is_some_and(|stop| stop.is_due(ready.now()));
        stopped || [farewell.client, farewell.server] == [Goodbye::Said; 2]
    }

    /// Settles how the session ends. The first decision stands, except that a FIN only says how it
    /// would end if nothing else came.
    fn decide(&mut self, by: By, how: How, detail: Option<String>) {
        if self.ending.as_ref().is_some_and(|(ending, _)| ending.how != How::Fin) {
            return;
        }
        let phase = match &self.server {
            Server::Resolving(_) | Server::Connecting(_) => Phase::Connect,
            Server::Connected(_) if self.ending.is_some() => Phase::Drain,
            Server::Connected(_) => Phase::Data,
        };
        self.ending = Some((Ending { by, phase, how }, detail));
    }

    /// The last act: whoever is not to see a clean end is reset, and the log hears how it was.
    fn close(&mut self) {
        let (ending, detail) = self
            .ending
            .take()
            .unwrap_or((Ending { by: By::Proxy, phase: Phase::Data, how: How::Error }, None));
        if ending.how != How::Fin {
            self.client.reset();
            if let Server::Connected(server) = &self.server {
                server.reset();
            }
        }
        let server = match &self.server {
            Server::Connected(server) => Some(server.address),
            _ => None,
        };
        let now = Instant::now();
        info!(
            client = %self.client.address,
            server = server.map(display),
            up = self.up.delivered(),
            down = self.down.delivered(),
            connect_ms = self.connected.map(|at| milliseconds(at - self.began)),
            duration_ms = milliseconds(now - self.began),
            by = %ending.by,
            phase = %ending.phase,
            how = %ending.how,
            error = detail,
            "session ended"
        );
    }
}

impl eventloop::Session for Session {
    fn intents(&self, want: &mut Intents<'_>) {
        if let Some(stop) = self.shared.stop.get() {
            want.deadline(stop.at());
        }
        if let Some(farewell) = &self.farewell {
            farewell.client.intents(&self.client, want);
            if let Server::Connected(server) = &self.server {
                farewell.server.intents(server, want);
            }
            return;
        }
        match &self.server {
            Server::Resolving(inquiry) => inquiry.lookup.intents(want),
            Server::Connecting(connector) => connector.intents(want),
            Server::Connected(server) => {
                server.intents(want, &self.down, Some(&self.up));
            }
        }
        let connected = matches!(self.server, Server::Connected(_));
        self.client.intents(want, &self.up, connected.then_some(&self.down));
        if let Some((at, _)) = self.time_limit() {
            want.deadline(at);
        }
    }

    fn advance(&mut self, ready: &Ready<'_>) -> Progress {
        if self.step(ready) {
            self.close();
            return Progress::Done;
        }
        Progress::Continue
    }

    fn refused(&mut self, error: io::Error) {
        self.decide(By::Proxy, How::Exhausted, Some(error.to_string()));
        self.close();
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.shared.session_ended();
    }
}

/// The sink of the client's bytes while the server is not reached: the ring fills, and then the client
/// has to wait.
struct NotYet;

impl Write for NotYet {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(ErrorKind::WouldBlock.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Sink for NotYet {
    fn finish(&mut self) -> io::Result<()> {
        Err(ErrorKind::WouldBlock.into())
    }
}

fn connector(shared: &Shared, addresses: &[SocketAddr], now: Instant) -> Connector {
    let options = SocketOptions { keepalive: shared.config.keepalive };
    Connector::new(addresses, shared.config.connect_timeout, options, now)
}

/// The last attempt speaks for all: it is the one that was given the most time.
fn how_it_failed(error: &ConnectError) -> How {
    error.attempts.last().map_or(How::Unreachable, |(_, error)| How::of_attempt(error))
}

/// Milliseconds, to the microsecond.
fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}
