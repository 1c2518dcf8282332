//! A client: request after request on one connection, each answered by the cache or by an origin.

use std::mem;
use std::ops::ControlFlow;
use std::rc::Rc;
use std::time::{Duration, Instant};

use eventloop::{Connect, ConnectOptions, Connected, Connector, Intents, Progress};
use eventloop::{Ready, Session, Stream};
use http::uri::Authority;
use http::{Method, StatusCode};
use http1::HeadReader;
use relay::BufferedStream;
use relay::Tunnel;
use tracing::info;

use crate::cache::{Answer, Found};
use crate::exchange::{Exchange, Outcome, Refusal};
use crate::{LONGEST_HEAD, SOCKET, Shared};

/// A client that is being served.
///
/// Invariants: an answer is begun only when the one before has gone out. One that cannot be completed ends with
/// RST, so that nobody takes the part for the whole.
pub(crate) struct Client {
    shared: Rc<Shared>,
    wire: BufferedStream,
    /// The connection that brings the present answer, or has brought the last one and may bring the next.
    origin: Option<(Authority, BufferedStream)>,
    state: State,
    /// When something last happened.
    active: Instant,
}

#[derive(Default)]
enum State {
    Request(HeadReader),
    Connecting(Box<Connector>, Box<Exchange>),
    Exchange(Box<Exchange>),
    /// The rest of the body, from here on, comes from the cache.
    Cached(Box<Exchange>, Rc<Vec<u8>>, usize),
    Tunnel(Box<Tunnel>),
    /// The client gets the rest, and is left.
    Farewell,
    #[default]
    Over,
}

/// How long a client may take to receive the rest.
const FAREWELL: Duration = Duration::from_secs(5);
/// A tunnel may be silent for so many times the usual patience.
const TUNNEL: u32 = 20;
const ESTABLISHED: &[u8] = b"HTTP/1.1 200 Connection established\r\n\r\n";

impl Client {
    pub(crate) fn new(shared: Rc<Shared>, stream: Stream, now: Instant) -> Option<Self> {
        let wire = BufferedStream::new(stream, shared.pool.reserve()?, shared.pool.reserve()?);
        let state = State::Request(HeadReader::new(LONGEST_HEAD));
        Some(Self { shared, wire, origin: None, state, active: now })
    }

    /// Does what can be done in this state, and returns the one it leads to.
    fn step(&mut self, state: State, ready: &Ready<'_>) -> Result<State, Refusal> {
        match state {
            State::Request(reader) => self.await_request(reader, ready),
            State::Connecting(mut connector, exchange) => match connector.advance(ready) {
                Connect::Pending => Ok(State::Connecting(connector, exchange)),
                Connect::Connected(Connected { stream, reset: None, .. }) => self.connected(stream, exchange),
                Connect::Failed(error) if error.is_timeout() => {
                    Err(Refusal(StatusCode::GATEWAY_TIMEOUT, "the origin cannot be reached in time"))
                }
                _ => Err(Refusal(StatusCode::BAD_GATEWAY, "the origin cannot be reached")),
            },
            State::Exchange(exchange) => self.exchange(exchange, ready),
            State::Cached(exchange, body, at) if at == body.len() => {
                Ok(self.next_request(exchange.client_keeps, ready))
            }
            State::Cached(exchange, body, at) => {
                let sent = self.wire.output.push_slice(&body[at..])?;
                Ok(State::Cached(exchange, body, at + sent))
            }
            State::Tunnel(mut tunnel) => match tunnel.advance(ready) {
                ControlFlow::Continue(moved) => {
                    self.active = if moved.is_something() { ready.now() } else { self.active };
                    Ok(State::Tunnel(tunnel))
                }
                ControlFlow::Break(_) => Ok(State::Over),
            },
            State::Farewell | State::Over if self.wire.advance_close(ready).is_break() => Ok(State::Over),
            farewell => Ok(farewell),
        }
    }

    fn await_request(&mut self, mut reader: HeadReader, ready: &Ready<'_>) -> Result<State, Refusal> {
        // An origin that ends the connection, or says what nobody has asked, is not asked again.
        if self.origin.as_ref().is_some_and(|(_, wire)| wire.has_ended() || !wire.input.is_empty()) {
            self.close_origin();
        }
        if !self.wire.output.is_empty() {
            return Ok(State::Request(reader));
        }
        let Some(request) = reader.request(&mut self.wire.input)? else {
            return Ok(match self.wire.has_ended() {
                true => self.next_request(false, ready),
                false => State::Request(reader),
            });
        };
        let mut exchange = Box::new(Exchange::new(request)?);
        let found = self.shared.cache.borrow().find(&exchange.request);
        match found {
            Found::Fresh(answer) => return self.answer_cached(exchange, answer, "HIT"),
            Found::Stale(stale) => exchange.stale = Some(stale),
            Found::Nothing => {}
        }
        self.reach_origin(exchange, ready)
    }

    fn answer_cached(
        &mut self,
        exchange: Box<Exchange>,
        (head, body): Answer,
        how: &'static str,
    ) -> Result<State, Refusal> {
        exchange.begin_answer(&mut self.wire, head, how)?;
        let at = if exchange.request.method() == Method::HEAD { body.len() } else { 0 };
        Ok(State::Cached(exchange, body, at))
    }

    /// Sends the request over the connection that is there, or sets out for another.
    fn reach_origin(&mut self, mut exchange: Box<Exchange>, ready: &Ready<'_>) -> Result<State, Refusal> {
        let uri = exchange.request.uri();
        if let Some((authority, wire)) = &mut self.origin
            && Some(&*authority) == uri.authority()
            && exchange.is_repeatable()
        {
            exchange.second_hand = true;
            exchange.send(wire)?;
            return Ok(State::Exchange(exchange));
        }
        self.close_origin();
        let (host, port) = (uri.host().unwrap_or_default(), uri.port_u16().unwrap_or(80));
        let (lookup, now) = (self.shared.resolver.lookup(host, port), ready.now());
        exchange.second_hand = false;
        let options =
            ConnectOptions { socket: SOCKET, timeout: self.shared.patience, ..ConnectOptions::default() };
        let connector = Connector::new(lookup, options, now);
        Ok(State::Connecting(Box::new(connector), exchange))
    }

    fn connected(&mut self, stream: Stream, exchange: Box<Exchange>) -> Result<State, Refusal> {
        let (pool, uri) = (&self.shared.pool, exchange.request.uri());
        let too_many = || Refusal(StatusCode::SERVICE_UNAVAILABLE, "there are too many connections");
        let authority = uri.authority().cloned().ok_or_else(too_many)?;
        if exchange.request.method() == Method::CONNECT {
            info!(method = "CONNECT", %authority, "tunnel");
            let _ = self.wire.output.push_slice(ESTABLISHED)?;
            let tunnel = self.wire.tunnel_to(stream, FAREWELL);
            return Ok(tunnel.map_or(State::Over, |tunnel| State::Tunnel(Box::new(tunnel))));
        }
        let (Some(up), Some(down)) = (pool.reserve(), pool.reserve()) else { return Err(too_many()) };
        let (_, wire) = self.origin.insert((authority, BufferedStream::new(stream, down, up)));
        exchange.send(wire)?;
        Ok(State::Exchange(exchange))
    }

    fn exchange(&mut self, mut exchange: Box<Exchange>, ready: &Ready<'_>) -> Result<State, Refusal> {
        let Some((_, origin)) = &mut self.origin else { return Ok(State::Over) };
        let outcome = exchange.advance(&mut self.wire, origin, &mut self.shared.cache.borrow_mut())?;
        let done = !matches!(outcome, Outcome::Pending);
        if done && !(exchange.origin_keeps && exchange.upload.is_complete()) {
            self.close_origin();
        }
        match outcome {
            Outcome::Pending => Ok(State::Exchange(exchange)),
            Outcome::Complete => Ok(self.next_request(exchange.client_keeps, ready)),
            Outcome::Confirmed(answer) => self.answer_cached(exchange, answer, "REVALIDATED"),
            Outcome::Unheard => {
                self.origin = None;
                self.reach_origin(exchange, ready)
            }
            Outcome::Broken => Ok(self.cut(ready)),
        }
    }

    /// An answer is complete: the next one, if the client keeps the connection.
    fn next_request(&mut self, keep: bool, ready: &Ready<'_>) -> State {
        if keep {
            return State::Request(HeadReader::new(LONGEST_HEAD));
        }
        self.close_origin();
        self.wire.finish(ready.now() + FAREWELL);
        State::Farewell
    }

    /// The origin's connection is not used again.
    fn close_origin(&mut self) {
        if let Some((_, wire)) = self.origin.take() {
            wire.close();
        }
    }

    /// An answer cannot be completed.
    fn cut(&mut self, ready: &Ready<'_>) -> State {
        self.origin = None;
        self.wire.reset(ready.now() + FAREWELL);
        State::Farewell
    }

    /// Says why there is no answer.
    fn refuse(&mut self, Refusal(status, reason): Refusal, ready: &Ready<'_>) -> State {
        info!(status = status.as_u16(), reason, "refused");
        let why = format!("Proxy-Status: webproxy; details=\"{reason}\""); // RFC 9209
        let answer = format!("HTTP/1.1 {status}\r\n{why}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
        match self.wire.output.push_slice(answer.as_bytes()) {
            Ok(_) => self.next_request(false, ready),
            Err(_) => self.cut(ready), // no memory, not even to say so
        }
    }

    /// Until when the session waits as it stands.
    fn deadline(&self) -> Option<Instant> {
        match self.state {
            State::Tunnel(..) => Some(self.active + TUNNEL * self.shared.patience),
            State::Connecting(..) | State::Farewell | State::Over => None, // these have their own
            _ => Some(self.active + self.shared.patience),
        }
    }

    fn run_out_of_time(&mut self, ready: &Ready<'_>) -> State {
        let (status, reason) = match &mut self.state {
            State::Tunnel(_) => return State::Over, // which resets both
            State::Request(_) if !self.wire.output.is_empty() => return self.cut(ready),
            State::Request(_) if self.wire.input.is_empty() => return self.next_request(false, ready),
            State::Request(_) => (StatusCode::REQUEST_TIMEOUT, "the request took too long"),
            State::Exchange(exchange) if exchange.download.is_some() => return self.cut(ready),
            State::Exchange(exchange) if exchange.upload.is_complete() => {
                (StatusCode::GATEWAY_TIMEOUT, "the origin does not answer")
            }
            State::Exchange(_) => (StatusCode::REQUEST_TIMEOUT, "the body took too long"),
            _ => return self.cut(ready),
        };
        self.refuse(Refusal(status, reason), ready)
    }

    /// Whether the last answer has gone out and the next request has not come.
    fn awaits_request(&self) -> bool {
        matches!(self.state, State::Request(_)) && self.wire.output.is_empty()
    }

    /// The connections whose bytes the session itself reads and writes.
    fn wires(&mut self) -> impl Iterator<Item = &mut BufferedStream> {
        let own = (!matches!(self.state, State::Tunnel(..))).then_some(&mut self.wire);
        own.into_iter().chain(self.origin.as_mut().map(|(_, wire)| wire))
    }
}

impl Session for Client {
    fn intents(&self, intents: &mut Intents<'_>) {
        match &self.state {
            State::Tunnel(tunnel) => tunnel.intents(intents),
            _ => self.wire.intents(intents),
        }
        if let State::Connecting(connector, _) = &self.state {
            connector.intents(intents);
        }
        if let Some((_, wire)) = &self.origin {
            wire.intents(intents);
        }
        if let Some(deadline) = self.deadline() {
            intents.deadline(deadline);
        }
    }

    fn advance(&mut self, ready: &Ready<'_>) -> eventloop::Result<Progress> {
        let before = mem::discriminant(&self.state);
        let mut changed = self.wires().fold(false, |changed, wire| wire.fill(ready) | changed);
        let unused: usize = self.wires().map(|wire| wire.input.len()).sum();
        let state = mem::take(&mut self.state);
        self.state = self.step(state, ready).unwrap_or_else(|refusal| self.refuse(refusal, ready));
        changed |= unused != self.wires().map(|wire| wire.input.len()).sum::<usize>();
        changed |= self.wires().fold(false, |changed, wire| wire.flush(ready) | changed);
        let late = self.deadline().is_some_and(|deadline| deadline <= ready.now());
        if late && (!changed || self.awaits_request()) {
            self.state = self.run_out_of_time(ready);
        }
        let moved_on = before != mem::discriminant(&self.state);
        if matches!(self.state, State::Over) || self.wire.has_failed() {
            return Ok(Progress::Done);
        }
        if moved_on || changed {
            // However many bytes of a request drip in, they are awaited no longer.
            self.active = if moved_on || !self.awaits_request() { ready.now() } else { self.active };
            return Ok(Progress::Again); // there may be more to do
        }
        Ok(Progress::Continue)
    }
}
