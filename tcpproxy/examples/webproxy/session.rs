//! A client: request after request on one connection, each answered by the cache or by an origin.

use std::mem;
use std::rc::Rc;
use std::time::{Duration, Instant};

use eventloop::{Connect, Connected, Connector, Intents, Place, Progress, Ready, SocketOptions, Stream};
use http::uri::Authority;
use http::{Method, Response, StatusCode};
use http1::{HeadError, HeadReader};
use tcpproxy::tunnel::{Passage, Tunnel};
use tcpproxy::wire::Wire;
use tracing::info;

use crate::cache::Found;
use crate::exchange::{Exchange, Outcome, Refusal};
use crate::{LONGEST_HEAD, Shared};

/// A client that is being served.
///
/// Invariants: an answer is begun only when the one before has gone out. One that cannot be completed ends with
/// RST, so that nobody takes the part for the whole.
pub(crate) struct Session {
    shared: Rc<Shared>,
    client: Wire,
    /// The connection that brings the present answer, or has brought the last one and may bring the next.
    origin: Option<(Authority, Wire)>,
    state: State,
    /// When something last happened.
    active: Instant,
    _place: Place,
}

#[derive(Default)]
enum State {
    Request(HeadReader),
    Connecting(Connector, Box<Exchange>),
    Exchange(Box<Exchange>),
    /// The rest of a body comes from the cache.
    Cached {
        body: Rc<Vec<u8>>,
        at: usize,
        keep: bool,
    },
    Tunnel(Stream, Box<Tunnel>),
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

impl Session {
    pub(crate) fn new(shared: Rc<Shared>, stream: Stream, place: Place, now: Instant) -> Option<Self> {
        let client = Wire::new(stream, shared.pool.reserve()?, shared.pool.reserve()?);
        let state = State::Request(HeadReader::new(LONGEST_HEAD));
        Some(Self { shared, client, origin: None, state, active: now, _place: place })
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
            State::Cached { body, at, keep } if at == body.len() => Ok(self.next_request(keep, ready)),
            State::Cached { body, mut at, keep } => {
                at += self.client.output.ring().push_slice(&body[at..]);
                Ok(State::Cached { body, at, keep })
            }
            State::Tunnel(origin, mut tunnel) => match tunnel.advance(self.client.stream(), &origin, ready) {
                Passage::Moved => {
                    self.active = ready.now();
                    Ok(State::Tunnel(origin, tunnel))
                }
                Passage::Blocked => Ok(State::Tunnel(origin, tunnel)),
                Passage::Finished => Ok(State::Over),
                Passage::Broken => Ok(self.cut(ready)),
            },
            State::Farewell if self.client.has_left(ready) => Ok(State::Over),
            State::Farewell => Ok(State::Farewell),
            State::Over => Ok(State::Over),
        }
    }

    fn await_request(&mut self, mut reader: HeadReader, ready: &Ready<'_>) -> Result<State, Refusal> {
        // An origin that ends the connection, or says what nobody has asked, is not asked again.
        self.origin.take_if(|(_, wire)| wire.has_ended() || !wire.input.is_empty());
        if !self.client.output.is_empty() {
            return Ok(State::Request(reader));
        }
        let Some(request) = reader.request(&mut self.client.input)? else {
            return Ok(if self.client.has_ended() { State::Over } else { State::Request(reader) });
        };
        let mut exchange = Box::new(Exchange::new(request)?);
        let found = self.shared.cache.borrow().find(&exchange.request);
        match found {
            Found::Fresh(answer, body) => return Ok(self.answer_cached(&exchange, answer, body, "HIT")),
            Found::Stale(conditional, entry) => exchange.stale = Some((conditional, entry)),
            Found::Nothing => {}
        }
        self.reach_origin(exchange, ready)
    }

    fn answer_cached(
        &mut self,
        exchange: &Exchange,
        answer: Response<()>,
        body: Rc<Vec<u8>>,
        how: &'static str,
    ) -> State {
        exchange.begin_answer(&mut self.client, answer, how);
        let at = if exchange.request.method() == Method::HEAD { body.len() } else { 0 };
        State::Cached { body, at, keep: exchange.client_keeps }
    }

    /// Sends the request over the connection that is there, or sets out for another.
    fn reach_origin(&mut self, mut exchange: Box<Exchange>, ready: &Ready<'_>) -> Result<State, Refusal> {
        let uri = exchange.request.uri();
        if let Some((authority, wire)) = &mut self.origin
            && Some(&*authority) == uri.authority()
            && exchange.is_repeatable()
        {
            exchange.second_hand = true;
            return send(exchange, &mut self.client, wire);
        }
        self.origin = None;
        let (host, port) = (uri.host().unwrap_or_default(), uri.port_u16().unwrap_or(80));
        let lookup = self.shared.resolver.borrow_mut().lookup(host, port);
        let options = SocketOptions::default();
        let connector = Connector::by_name(lookup, self.shared.patience, options, ready.now());
        exchange.second_hand = false;
        Ok(State::Connecting(connector, exchange))
    }

    fn connected(&mut self, stream: Stream, exchange: Box<Exchange>) -> Result<State, Refusal> {
        let pool = &self.shared.pool;
        let (Some(mut up), Some(mut down)) = (pool.reserve(), pool.reserve()) else {
            return Err(Refusal(StatusCode::SERVICE_UNAVAILABLE, "there are too many connections"));
        };
        let Some(authority) = exchange.request.uri().authority().cloned() else { return Ok(State::Over) };
        if exchange.request.method() == Method::CONNECT {
            info!(method = "CONNECT", %authority, "tunnel");
            let _ = up.ring().push_slice(self.client.input.ring().make_contiguous());
            let _ = down.ring().push_slice(ESTABLISHED);
            self.client.input.discard();
            return Ok(State::Tunnel(stream, Box::new(Tunnel::new(up, down))));
        }
        let (_, wire) = self.origin.insert((authority, Wire::new(stream, down, up)));
        send(exchange, &mut self.client, wire)
    }

    fn exchange(&mut self, mut exchange: Box<Exchange>, ready: &Ready<'_>) -> Result<State, Refusal> {
        let Some((_, origin)) = &mut self.origin else { return Ok(State::Over) };
        let outcome = exchange.advance(&mut self.client, origin, &mut self.shared.cache.borrow_mut())?;
        let used_up = !exchange.origin_keeps || !exchange.upload.is_over();
        self.origin.take_if(|_| match outcome {
            Outcome::Pending => false,
            Outcome::Complete | Outcome::Confirmed(..) => used_up,
            Outcome::Unheard | Outcome::Broken => true,
        });
        match outcome {
            Outcome::Pending => Ok(State::Exchange(exchange)),
            Outcome::Complete => Ok(self.next_request(exchange.client_keeps, ready)),
            Outcome::Confirmed(answer, body) => {
                Ok(self.answer_cached(&exchange, answer, body, "REVALIDATED"))
            }
            Outcome::Unheard => self.reach_origin(exchange, ready),
            Outcome::Broken => Ok(self.cut(ready)),
        }
    }

    /// An answer is complete: the next one, if the client keeps the connection.
    fn next_request(&mut self, keep: bool, ready: &Ready<'_>) -> State {
        if keep {
            return State::Request(HeadReader::new(LONGEST_HEAD));
        }
        self.origin = None;
        self.client.finish(ready.now() + FAREWELL);
        State::Farewell
    }

    /// An answer cannot be completed.
    fn cut(&mut self, ready: &Ready<'_>) -> State {
        info!("cut");
        self.origin = None;
        self.client.reset(ready.now() + FAREWELL);
        State::Farewell
    }

    /// Says why there is no answer, in an answer of the proxy's own.
    fn refuse(&mut self, Refusal(status, reason): Refusal, ready: &Ready<'_>) -> State {
        info!(status = status.as_u16(), reason, "refused");
        let text = format!("{status}: {reason}\n");
        let length = text.len();
        let head = format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n");
        let _ = self.client.output.ring().push_slice((head + &text).as_bytes());
        self.next_request(false, ready)
    }

    /// Until when the session waits as it stands.
    fn deadline(&self) -> Option<Instant> {
        match self.state {
            State::Tunnel(..) => Some(self.active + TUNNEL * self.shared.patience),
            State::Farewell | State::Over => None, // the wire has its own
            _ => Some(self.active + self.shared.patience),
        }
    }

    fn run_out_of_time(&mut self, ready: &Ready<'_>) -> State {
        let (status, reason) = match &self.state {
            State::Request(_) if self.client.input.is_empty() => return State::Over,
            State::Request(_) => (StatusCode::REQUEST_TIMEOUT, "the request took too long"),
            State::Connecting(..) => (StatusCode::GATEWAY_TIMEOUT, "the origin cannot be reached in time"),
            State::Exchange(exchange) if exchange.download.is_some() => return self.cut(ready),
            State::Exchange(exchange) if exchange.upload.is_over() => {
                (StatusCode::GATEWAY_TIMEOUT, "the origin does not answer")
            }
            State::Exchange(_) => (StatusCode::REQUEST_TIMEOUT, "the body took too long"),
            _ => return self.cut(ready),
        };
        self.refuse(Refusal(status, reason), ready)
    }

    /// The connections whose bytes the session itself reads and writes.
    fn wires(&mut self) -> impl Iterator<Item = &mut Wire> {
        let client = (!matches!(self.state, State::Tunnel(..))).then_some(&mut self.client);
        client.into_iter().chain(self.origin.as_mut().map(|(_, wire)| wire))
    }
}

fn send(mut exchange: Box<Exchange>, client: &mut Wire, origin: &mut Wire) -> Result<State, Refusal> {
    match exchange.send(client, origin) {
        true => Ok(State::Exchange(exchange)),
        false => Err(HeadError::TooLong.into()),
    }
}

impl eventloop::Session for Session {
    fn intents(&self, want: &mut Intents<'_>) {
        match &self.state {
            State::Tunnel(origin, tunnel) => tunnel.intents(self.client.stream(), origin, want),
            _ => self.client.intents(want),
        }
        if let State::Connecting(connector, _) = &self.state {
            connector.intents(want);
        }
        if let Some((_, wire)) = &self.origin {
            wire.intents(want);
        }
        if let Some(deadline) = self.deadline() {
            want.deadline(deadline);
        }
    }

    fn advance(&mut self, ready: &Ready<'_>) -> Progress {
        let before = mem::discriminant(&self.state);
        let mut changed = self.wires().fold(false, |changed, wire| wire.fill(ready) || changed);
        let state = mem::take(&mut self.state);
        self.state = self.step(state, ready).unwrap_or_else(|refusal| self.refuse(refusal, ready));
        changed |= self.wires().fold(false, |changed, wire| wire.flush(ready) || changed);
        changed |= before != mem::discriminant(&self.state);
        if !changed && self.deadline().is_some_and(|deadline| deadline <= ready.now()) {
            self.state = self.run_out_of_time(ready);
            changed = true;
        }
        if matches!(self.state, State::Over) || self.client.has_failed() {
            return Progress::Done;
        }
        if changed {
            // However slowly the bytes of a request drip in, they are awaited no longer.
            let dripping =
                matches!(self.state, State::Request(_)) && before == mem::discriminant(&self.state);
            self.active = if dripping { self.active } else { ready.now() };
            ready.waker().wake(); // there may be more to do, after a turn of the others
        }
        Progress::Continue
    }
}
