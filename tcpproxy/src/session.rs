//! One client and its connection to the server: how it comes about, how long it may last, and what the log
//! says of it.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use eventloop::{Connected, Intents, Progress, Ready, Stream};
use relay::{Peer, Tunnel};
use tracing::info;

use crate::client::Client;
use crate::operations::proxy_protocol::{Announced, HeaderReceiver, HeaderSender, Received, Sent};
use crate::proxy::Shared;
use crate::termination::{By, Ending, How, Phase};
use crate::upstream::{Approach, Arrival};

/// A client that is being served.
///
/// What is carried, and that whoever is not to see a clean end is reset, is the [`Tunnel`]'s affair. The
/// session brings it about, counts, and cuts it when time is up.
pub(crate) struct Session {
    shared: Rc<Shared>,
    client: Client,
    server: Server,
    tunnel: Tunnel,
    began: Instant,
    /// How long it took to reach the server.
    connect_time: Option<Duration>,
    /// When a byte last moved, or the server was reached.
    active: Instant,
    /// What decided how the session ends, as soon as something has.
    ending: Option<(Ending, Option<String>)>,
}

/// How far the way to the server is.
enum Server {
    /// The client has yet to say who it is.
    Awaited(Box<HeaderReceiver>),
    Approached(Box<Approach>),
    Reached {
        stream: Stream,
        address: SocketAddr,
        /// What goes out before anything else.
        header: Option<Box<HeaderSender>>,
    },
}

impl Session {
    /// Begins to serve a client. The connection to the server is started in the first step.
    pub(crate) fn new(shared: Rc<Shared>, client: Client, now: Instant) -> Self {
        let server = if shared.config.accept_proxy_protocol {
            Server::Awaited(Box::new(HeaderReceiver::new(shared.config.header_timeout, now)))
        } else {
            Server::Approached(Box::new(Approach::new(&shared, now)))
        };
        shared.session_began();
        let tunnel = shared.tunnel();
        Self { shared, client, server, tunnel, began: now, connect_time: None, active: now, ending: None }
    }

    /// One step; `true` when the session is over.
    fn step(&mut self, ready: &Ready<'_>) -> bool {
        let now = ready.now();
        if self.shared.stop.get().is_some_and(|stop| stop.is_due(now)) {
            return self.cut(By::Proxy, How::Stopped);
        }
        if let Server::Awaited(header) = &mut self.server {
            match header.advance(&self.client.stream, ready) {
                Received::Partly => {}
                Received::Whole(announced) => self.welcome(announced, now),
                Received::Never(by, how, why) => return self.cut_because(by, how, Some(why)),
            }
            // What was found readable may have been the header alone, so the tunnel has to wait for news.
            return !self.establish(ready);
        }
        if self.server.stream().is_none() && !self.establish(ready) {
            return true;
        }
        self.carry(ready);
        if self.server.stream().is_none() && self.tunnel.has_lost(Peer::Client) {
            self.server.give_up(); // whoever it was for has gone
            return true;
        }
        self.tunnel.is_over() || self.check_time(now)
    }

    /// The client has said who it is, or that nobody in particular is there.
    fn welcome(&mut self, announced: Option<Announced>, now: Instant) {
        if let Some(announced) = announced {
            self.client.announce(announced);
        }
        self.server = Server::Approached(Box::new(Approach::new(&self.shared, now)));
    }

    /// Gets on with reaching the server; `false` if that has failed for good.
    fn establish(&mut self, ready: &Ready<'_>) -> bool {
        if let Server::Approached(approach) = &mut self.server {
            match approach.advance(&self.shared, ready) {
                Arrival::Pending => return true,
                Arrival::Failed(by, how, why) => return !self.cut_because(by, how, Some(why)),
                Arrival::Reached(server) => {
                    self.connect_time = Some(approach.since().elapsed());
                    self.arrive(server, ready.now());
                }
            }
        }
        self.introduce(ready)
    }

    /// There is a connection to the server.
    fn arrive(&mut self, Connected { stream, address, reset }: Connected, now: Instant) {
        let config = &self.shared.config;
        let header = config.proxy_protocol.filter(|_| reset.is_none()).map(|version| {
            let until = now + config.connect_timeout;
            Box::new(HeaderSender::new(version, self.client.source(), self.client.destination(), until))
        });
        self.server = Server::Reached { stream, address, header };
        self.active = now;
        if let Some(error) = reset {
            self.lose_server(&error);
        }
    }

    /// Gets on with telling the server who the client is; `false` if it does not want to know.
    fn introduce(&mut self, ready: &Ready<'_>) -> bool {
        let Server::Reached { stream, header, .. } = &mut self.server else { return true };
        let Some(sender) = header else { return true };
        match sender.advance(stream, ready) {
            Sent::Partly => {}
            Sent::Whole => *header = None,
            Sent::Failed(error) => {
                *header = None;
                self.lose_server(&error);
            }
            Sent::Late => {
                let why = Some("it does not take the PROXY header".to_owned());
                return !self.cut_because(By::Server, How::Unanswered, why);
            }
        }
        true
    }

    /// Lets the tunnel move what it can, and counts.
    fn carry(&mut self, ready: &Ready<'_>) {
        let step = self.tunnel.advance(&self.client.stream, self.server.stream(), ready);
        if step.moved() || step.failure.is_some() {
            self.active = ready.now(); // after a failure the other side has its full time to take what is left
            self.shared.count(step.up, step.down);
        }
        if let Some((peer, error)) = step.failure {
            self.decide_by(peer, &error);
        }
        if self.ending.is_none() {
            // The first FIN decides who ended the session, unless something worse comes.
            if self.tunnel.up().source_is_over() {
                self.decide(By::Client, How::Fin, None);
            } else if self.tunnel.down().source_is_over() {
                self.decide(By::Server, How::Fin, None);
            }
        }
    }

    /// `true` if time has run out for the session as it stands and it is over.
    fn check_time(&mut self, now: Instant) -> bool {
        let Some((limit, how)) = self.time_limit() else { return false };
        if now < limit {
            return false;
        }
        if how != How::Yielded {
            return self.cut(By::Timeout, how);
        }
        self.decide(By::Timeout, how, None);
        self.shared.place_is_free();
        self.tunnel.close(&self.client.stream, self.server.stream(), now);
        self.tunnel.is_over()
    }

    /// When time runs out for the session as it stands, and which time that is. The connector has its own,
    /// and so has a tunnel that takes leave.
    fn time_limit(&self) -> Option<(Instant, How)> {
        self.server.stream().filter(|_| !self.tunnel.is_closing())?;
        let (config, tunnel) = (&self.shared.config, &self.tunnel);
        let after = |quiet: Option<Duration>, how| quiet.map(|quiet| (self.active + quiet, how));
        let failed = tunnel.has_lost(Peer::Client) || tunnel.has_lost(Peer::Server);
        let lost = after(failed.then_some(config.linger_timeout), How::HalfClosed);
        let idle = after(config.idle_timeout, How::Idle);
        let half_closed = tunnel.up().source_is_over() || tunnel.down().source_is_over();
        let half_close = after(config.half_close_timeout.filter(|_| half_closed), How::HalfClosed);
        let may_yield =
            self.shared.somebody_waits.get() && tunnel.up().pending() + tunnel.down().pending() == 0;
        let yielded = after(config.yield_idle.filter(|_| may_yield), How::Yielded);
        [lost, idle, half_close, yielded].into_iter().flatten().min_by_key(|&(at, _)| at)
    }

    /// Ends the session at once, with RST to both sides.
    fn cut(&mut self, by: By, how: How) -> bool {
        self.cut_because(by, how, None)
    }

    fn cut_because(&mut self, by: By, how: How, detail: Option<String>) -> bool {
        self.decide(by, how, detail);
        self.server.give_up();
        self.tunnel.cut(&self.client.stream, self.server.stream());
        true
    }

    /// The connection to the server has failed before the tunnel had it.
    fn lose_server(&mut self, error: &io::Error) {
        self.decide_by(Peer::Server, error);
        self.tunnel.lose(Peer::Server);
    }

    /// A connection has failed, or there was no memory for what it has sent.
    fn decide_by(&mut self, peer: Peer, error: &io::Error) {
        let how = How::of_connection(error);
        let by = match peer {
            _ if how == How::Exhausted => By::Proxy,
            Peer::Client => By::Client,
            Peer::Server => By::Server,
        };
        self.decide(by, how, Some(error.to_string()));
    }

    /// Settles how the session ends. The first decision stands, except that a FIN only says how it
    /// would end if nothing else came.
    fn decide(&mut self, by: By, how: How, detail: Option<String>) {
        if self.ending.as_ref().is_some_and(|(ending, _)| ending.how != How::Fin) {
            return;
        }
        let phase = match self.server.stream() {
            None if matches!(self.server, Server::Awaited(_)) => Phase::Header,
            None => Phase::Connect,
            Some(_) if self.ending.is_some() => Phase::Drain,
            Some(_) => Phase::Data,
        };
        self.ending = Some((Ending { by, phase, how }, detail));
    }

    /// The metrics and the log hear how it was.
    fn report(&mut self) {
        let (ending, detail) = self
            .ending
            .take()
            .unwrap_or((Ending { by: By::Proxy, phase: Phase::Data, how: How::Error }, None));
        let server = match &self.server {
            Server::Reached { address, .. } => Some(*address),
            Server::Awaited(_) | Server::Approached(_) => None,
        };
        let duration = self.began.elapsed();
        if let Some(metrics) = &self.shared.metrics {
            metrics.session_ended(ending, self.connect_time, duration);
        }
        info!(
            client = %self.client.source(),
            peer = self.client.passed_on_by().map(tracing::field::display),
            server = server.map(tracing::field::display),
            up = self.tunnel.up().delivered(),
            down = self.tunnel.down().delivered(),
            connect_ms = self.connect_time.map(milliseconds),
            duration_ms = milliseconds(duration),
            by = %ending.by,
            phase = %ending.phase,
            how = %ending.how,
            error = detail.map(shortened),
            "session ended"
        );
    }
}

impl eventloop::Session for Session {
    fn intents(&self, intents: &mut Intents<'_>) {
        if let Some(stop) = self.shared.stop.get() {
            intents.deadline(stop.at());
        }
        match &self.server {
            Server::Awaited(header) => return header.intents(&self.client.stream, intents),
            Server::Approached(approach) => approach.intents(intents),
            Server::Reached { stream, header: Some(header), .. } => header.intents(stream, intents),
            Server::Reached { .. } => {}
        }
        self.tunnel.intents(&self.client.stream, self.server.stream(), intents);
        if let Some((at, _)) = self.time_limit() {
            intents.deadline(at);
        }
    }

    fn advance(&mut self, ready: &Ready<'_>) -> eventloop::Result<Progress> {
        if self.step(ready) {
            self.report();
            return Ok(Progress::Done);
        }
        Ok(Progress::Continue)
    }

    fn refused(&mut self, error: io::Error) -> eventloop::Result<()> {
        self.cut_because(By::Proxy, How::Exhausted, Some(error.to_string()));
        self.report();
        Ok(())
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.shared.session_ended();
    }
}

impl Server {
    /// The connection, once bytes can be carried.
    fn stream(&self) -> Option<&Stream> {
        match self {
            Self::Reached { stream, header: None, .. } => Some(stream),
            _ => None,
        }
    }

    /// A server that has got a part of a header is not to take that for all there is.
    fn give_up(&self) {
        if let Self::Reached { stream, header: Some(_), .. } = self {
            let _ = stream.reset_on_close(); // whoever is gone already need not be told
        }
    }
}

/// Milliseconds, to the microsecond.
fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

/// As much of what there is to say as leaves the line whole, which has a longest length: a server of a hundred
/// addresses can refuse at each of them.
fn shortened(mut detail: String) -> String {
    const MOST: usize = 2000;
    if detail.len() > MOST {
        detail.truncate((0..=MOST).rfind(|&at| detail.is_char_boundary(at)).unwrap_or(0));
        detail.push('…');
    }
    detail
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_long_for_a_line_is_cut_between_two_characters() {
        assert_eq!(shortened("é".repeat(1000)), "é".repeat(1000));
        assert_eq!(shortened("x".to_owned() + &"é".repeat(1000)), "x".to_owned() + &"é".repeat(999) + "…");
    }
}
