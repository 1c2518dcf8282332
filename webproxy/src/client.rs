//! A client: request after request on one connection, each answered by the cache or by an origin.

use std::any::Any;
use std::mem;
use std::net::IpAddr;
use std::ops::ControlFlow;
use std::rc::Rc;
use std::time::{Duration, Instant};

use eventloop::{AddressPermit, Connect, ConnectOptions, Connected, Connector, Intents, Progress};
use eventloop::{Permit, Ready, Session, Stream, after, panic_message};
use http::{Method, StatusCode};
use http1::HeadReader;
use relay::{BufferedStream, Moved, Tunnel};

use crate::SOCKET;
use crate::access::{Access, ResultCode};
use crate::cache::{self, Cached, CachedBody, Found};
use crate::exchange::{Exchange, ExchangeStep};
use crate::lifecycle::ActiveClient;
use crate::refusal::Refusal;
use crate::request::ProxyRequest;
use crate::shared::{MAX_HEAD, Shared};
use crate::site::site;

/// A client that is being served.
///
/// Invariants: a response begins only when the one before has gone out. A response that cannot be completed ends with
/// RST, so that no client takes the part for the whole.
pub(crate) struct Client {
    shared: Rc<Shared>,
    stream: BufferedStream,
    /// The connection that brings the present response.
    origin: Option<BufferedStream>,
    phase: ClientPhase,
    /// The last progress.
    active: Instant,
    address: IpAddr,
    /// The log's line on the present request.
    access: Option<Access>,
    /// Kept as long as the rings: a tunnel may close the client's connection before the origin's.
    _permits: (Option<Permit>, AddressPermit, ActiveClient),
}

#[derive(Default)]
enum ClientPhase {
    ReadingRequest(HeadReader),
    Connecting(Box<Connector>, Box<Exchange>),
    Exchanging(Box<Exchange>),
    /// The rest of the body, from here on, comes from the cache.
    SendingCached(Box<Exchange>, Rc<CachedBody>, usize, ResultCode),
    Tunnelling(Box<Tunnel>),
    /// The client gets the rest, and then the end.
    Closing,
    #[default]
    Closed,
}

type NextPhase = Result<ClientPhase, Refusal>;

/// How long a client may take to receive the rest.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a client that has asked for nothing is waited for while the proxy drains: its request may be on the way.
const DRAIN_PATIENCE: Duration = Duration::from_secs(1);
/// A tunnel may be silent for this many times the usual timeout.
const TUNNEL_FACTOR: u32 = 20;
const ESTABLISHED: &[u8] = b"HTTP/1.1 200 Connection established\r\n\r\n";

impl Client {
    /// `None` if all rings are taken, which the limit on clients makes impossible.
    pub(crate) fn new(
        shared: Rc<Shared>,
        stream: Stream,
        address: IpAddr,
        permit: AddressPermit,
        now: Instant,
    ) -> Option<Self> {
        let permits = (stream.take_permit(), permit, shared.lifecycle.begin_client());
        let stream = BufferedStream::new(stream, shared.rings.reserve()?, shared.rings.reserve()?);
        let phase = ClientPhase::ReadingRequest(HeadReader::new(MAX_HEAD));
        Some(Self {
            shared,
            stream,
            origin: None,
            phase,
            active: now,
            address,
            access: None,
            _permits: permits,
        })
    }

    /// Does what can be done in this phase, and returns the next one.
    fn step(&mut self, phase: ClientPhase, ready: &Ready<'_>) -> NextPhase {
        match phase {
            ClientPhase::ReadingRequest(reader) => self.read_request(reader, ready),
            ClientPhase::Connecting(mut connector, exchange) => match connector.advance(ready) {
                Connect::Pending => Ok(ClientPhase::Connecting(connector, exchange)),
                Connect::Connected(Connected { stream, reset: None, .. }) => self.connected(stream, exchange),
                Connect::Failed(error) if error.is_timeout() => {
                    Err(Refusal::new(StatusCode::GATEWAY_TIMEOUT, "no connection to the origin in time"))
                }
                _ => Err(Refusal::bad_gateway("no connection to the origin")),
            },
            ClientPhase::Exchanging(exchange) => self.exchange(exchange, ready),
            ClientPhase::SendingCached(exchange, body, at, result_code) => {
                self.send_cached(exchange, body, at, result_code, ready)
            }
            ClientPhase::Tunnelling(mut tunnel) => Ok(match tunnel.advance(ready) {
                ControlFlow::Continue(moved) => {
                    self.access().bytes = tunnel.down().delivered();
                    self.active = if moved == Moved::Something { ready.now() } else { self.active };
                    ClientPhase::Tunnelling(tunnel)
                }
                ControlFlow::Break(_) => ClientPhase::Closed,
            }),
            ClientPhase::Closing | ClientPhase::Closed => Ok(match self.stream.advance_close(ready) {
                ControlFlow::Continue(()) => ClientPhase::Closing,
                ControlFlow::Break(()) => ClientPhase::Closed,
            }),
        }
    }

    fn read_request(&mut self, mut reader: HeadReader, ready: &Ready<'_>) -> NextPhase {
        if !self.stream.output.is_empty() {
            return Ok(ClientPhase::ReadingRequest(reader)); // the last response goes out first
        }
        let head = match reader.request(&mut self.stream.input) {
            Ok(Some(head)) => head,
            Ok(None) if self.stream.has_ended() => return Ok(self.finish(ready)),
            Ok(None) => return Ok(ClientPhase::ReadingRequest(reader)),
            Err(error) => return Err(error.into()),
        };
        self.access().requested(&head);
        let request = ProxyRequest::accept(head, &self.shared.name)?;
        let found = match request.has_body() {
            true => Found::Nothing,
            false => self.shared.cache.borrow().find(&request.head),
        };
        let mut exchange = Box::new(Exchange::new(request, !self.shared.lifecycle.is_draining()));
        match found {
            Found::Fresh(cached) => return self.begin_cached(exchange, cached, ResultCode::Hit, ready),
            _ if cache::only_if_cached(&exchange.request.head) => {
                return Err(Refusal::new(StatusCode::GATEWAY_TIMEOUT, "not in the cache"));
            }
            Found::Stale(stale) => exchange.stale = Some(stale),
            Found::Nothing => {}
        }
        self.reach_origin(exchange, ready)
    }

    fn begin_cached(
        &mut self,
        exchange: Box<Exchange>,
        cached: Cached,
        result_code: ResultCode,
        ready: &Ready<'_>,
    ) -> NextPhase {
        let (head, body) = cached;
        let access = self.access.get_or_insert_with(|| Access::new(&self.shared.log, self.address));
        exchange.begin_response(&mut self.stream, head, result_code, access)?;
        let at = if exchange.request.method() == Method::HEAD { body.as_slice().len() } else { 0 };
        self.send_cached(exchange, body, at, result_code, ready)
    }

    fn send_cached(
        &mut self,
        exchange: Box<Exchange>,
        body: Rc<CachedBody>,
        at: usize,
        result_code: ResultCode,
        ready: &Ready<'_>,
    ) -> NextPhase {
        let sent = self.stream.output.push_slice(&body.as_slice()[at..])?;
        self.access().bytes += sent as u64;
        if at + sent < body.as_slice().len() {
            return Ok(ClientPhase::SendingCached(exchange, body, at + sent, result_code));
        }
        Ok(self.complete(exchange.client_keeps(), result_code, ready))
    }

    /// Sends the request over an idle connection, or begins to connect.
    fn reach_origin(&mut self, mut exchange: Box<Exchange>, ready: &Ready<'_>) -> NextPhase {
        let origin = &exchange.request.origin;
        // A connection that the origin may just be closing is only for what can be sent again.
        if exchange.is_repeatable()
            && !exchange.reused
            && let Some(stream) = self.shared.origins.take(origin)
        {
            exchange.reused = true;
            exchange.send(self.origin.insert(stream))?;
            return Ok(ClientPhase::Exchanging(exchange));
        }
        let lookup = self.shared.resolver.lookup_for(site(self.address), &origin.host, origin.port);
        exchange.reused = false;
        let options =
            ConnectOptions { socket: SOCKET, timeout: self.shared.timeout, ..ConnectOptions::default() };
        Ok(ClientPhase::Connecting(Box::new(Connector::new(lookup, options, ready.now())), exchange))
    }

    fn connected(&mut self, stream: Stream, exchange: Box<Exchange>) -> NextPhase {
        if self.shared.is_self(&stream) {
            return Err(Refusal::new(StatusCode::LOOP_DETECTED, "connection to the proxy itself"));
        }
        if exchange.request.method() == Method::CONNECT {
            let _ = self.stream.output.push_slice(ESTABLISHED)?;
            let access = self.access();
            access.status = StatusCode::OK.as_u16();
            access.head = ESTABLISHED.len() as u64;
            access.cache = ResultCode::Tunnel;
            let tunnel = self.stream.tunnel_to(stream, CLOSE_TIMEOUT);
            return Ok(tunnel.map_or(ClientPhase::Closed, |tunnel| ClientPhase::Tunnelling(Box::new(tunnel))));
        }
        let rings = &self.shared.rings;
        let (Some(up), Some(down)) = (rings.reserve(), rings.reserve()) else {
            return Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "too many connections"));
        };
        exchange.send(self.origin.insert(BufferedStream::new(stream, down, up)))?;
        Ok(ClientPhase::Exchanging(exchange))
    }

    fn exchange(&mut self, mut exchange: Box<Exchange>, ready: &Ready<'_>) -> NextPhase {
        let Some(mut origin) = self.origin.take() else { return Ok(ClientPhase::Closed) };
        let access = self.access.get_or_insert_with(|| Access::new(&self.shared.log, self.address));
        let outcome = exchange.advance(&mut self.stream, &mut origin, &self.shared, access)?;
        if let ExchangeStep::Pending = outcome {
            self.origin = Some(origin);
            return Ok(ClientPhase::Exchanging(exchange));
        }
        let _ = origin.flush(ready); // the last bytes of the request's body may have come together with the response
        let idle = exchange.origin_keeps()
            && origin.input.is_empty()
            && origin.output.is_empty()
            && !origin.has_ended();
        let in_order = !matches!(outcome, ExchangeStep::Broken);
        if in_order && idle {
            self.shared.origins.put(exchange.request.origin.clone(), origin, ready.now());
        } else if in_order {
            origin.close();
        }
        match outcome {
            ExchangeStep::Confirmed(cached) => {
                self.begin_cached(exchange, cached, ResultCode::Revalidated, ready)
            }
            ExchangeStep::Retry => self.reach_origin(exchange, ready),
            ExchangeStep::Complete => Ok(self.complete(exchange.client_keeps(), ResultCode::Miss, ready)),
            ExchangeStep::Pending | ExchangeStep::Broken => Ok(self.cut(ready)),
        }
    }

    /// A response is complete: the next request, if the client keeps the connection.
    fn complete(&mut self, keep: bool, result_code: ResultCode, ready: &Ready<'_>) -> ClientPhase {
        if let Some(mut access) = self.access.take() {
            access.cache = result_code;
        }
        let keep = keep && !self.shared.lifecycle.is_draining();
        if keep { ClientPhase::ReadingRequest(HeadReader::new(MAX_HEAD)) } else { self.finish(ready) }
    }

    /// The client gets what waits, and then FIN.
    fn finish(&mut self, ready: &Ready<'_>) -> ClientPhase {
        self.origin = None;
        self.stream.finish(ready.now() + CLOSE_TIMEOUT);
        ClientPhase::Closing
    }

    /// The client gets what waits, and then RST: a response cannot be completed.
    fn cut(&mut self, ready: &Ready<'_>) -> ClientPhase {
        self.access = None;
        self.origin = None;
        self.stream.reset(ready.now() + CLOSE_TIMEOUT);
        ClientPhase::Closing
    }

    /// Sends a response of the proxy's own. If another one has begun, the client would take this for a part of it: that one
    /// is cut.
    fn refuse(&mut self, refusal: Refusal, ready: &Ready<'_>) -> ClientPhase {
        if self.access().status != 0 {
            return self.cut(ready);
        }
        self.access().refused(refusal);
        self.access = None;
        match self.stream.output.push_slice(refusal.encode().as_bytes()) {
            Ok(_) => self.finish(ready),
            Err(_) => self.cut(ready), // there is no memory for a response
        }
    }

    /// Until when the session waits as it stands.
    fn deadline(&self) -> Option<Instant> {
        match self.phase {
            ClientPhase::Tunnelling(..) => {
                Some(after(self.active, self.shared.timeout.saturating_mul(TUNNEL_FACTOR)))
            }
            ClientPhase::Connecting(..) | ClientPhase::Closing | ClientPhase::Closed => None, // these have their own
            ClientPhase::ReadingRequest(_) if self.is_idle() => {
                let usual = after(self.active, self.shared.timeout);
                let drain = self.shared.lifecycle.draining_since();
                Some(drain.map_or(usual, |since| usual.min(self.active.max(since) + DRAIN_PATIENCE)))
            }
            _ => Some(after(self.active, self.shared.timeout)),
        }
    }

    fn run_out_of_time(&mut self, ready: &Ready<'_>) -> ClientPhase {
        let origin_has_all = self.origin.as_ref().is_some_and(|origin| origin.output.is_empty());
        let (status, reason) = match &self.phase {
            ClientPhase::Tunnelling(_) => return ClientPhase::Closed, // which resets both
            ClientPhase::ReadingRequest(_) if !self.stream.output.is_empty() => return self.cut(ready),
            ClientPhase::ReadingRequest(_) if self.stream.input.is_empty() => return self.finish(ready),
            ClientPhase::ReadingRequest(_) => (StatusCode::REQUEST_TIMEOUT, "request not complete in time"),
            ClientPhase::Exchanging(exchange) if origin_has_all && !exchange.has_whole_request() => {
                (StatusCode::REQUEST_TIMEOUT, "body not complete in time")
            }
            _ => (StatusCode::GATEWAY_TIMEOUT, "no response of the origin in time"),
        };
        self.refuse(Refusal::new(status, reason), ready)
    }

    /// The log's line on the present request, or on one that was not understood.
    fn access(&mut self) -> &mut Access {
        self.access.get_or_insert_with(|| Access::new(&self.shared.log, self.address))
    }

    /// Whether the last response has gone out and the next request has not come.
    fn awaits_request(&self) -> bool {
        matches!(self.phase, ClientPhase::ReadingRequest(_)) && self.stream.output.is_empty()
    }

    /// Whether nothing has come of the next request, either.
    fn is_idle(&self) -> bool {
        self.awaits_request() && self.stream.input.is_empty()
    }

    /// The connections whose bytes the session itself reads and writes.
    fn streams(&mut self) -> impl Iterator<Item = &mut BufferedStream> {
        let own = (!matches!(self.phase, ClientPhase::Tunnelling(..))).then_some(&mut self.stream);
        own.into_iter().chain(self.origin.as_mut())
    }
}

impl Session for Client {
    fn intents(&self, intents: &mut Intents<'_>) {
        match &self.phase {
            ClientPhase::Tunnelling(tunnel) => tunnel.intents(intents),
            _ => self.stream.intents(intents),
        }
        if let ClientPhase::Connecting(connector, _) = &self.phase {
            connector.intents(intents);
        }
        if let Some(origin) = &self.origin {
            origin.intents(intents);
        }
        if let Some(deadline) = self.deadline() {
            intents.deadline(deadline);
        }
    }

    fn advance(&mut self, ready: &Ready<'_>) -> eventloop::Result<Progress> {
        let before = mem::discriminant(&self.phase);
        let mut changed = self.streams().fold(false, |changed, stream| stream.fill(ready) | changed);
        let unused: usize = self.streams().map(|stream| stream.input.len()).sum();
        let phase = mem::take(&mut self.phase);
        self.phase = self.step(phase, ready).unwrap_or_else(|refusal| self.refuse(refusal, ready));
        changed |= unused != self.streams().map(|stream| stream.input.len()).sum::<usize>();
        changed |= self.streams().fold(false, |changed, stream| stream.flush(ready) | changed);
        let late = self.deadline().is_some_and(|deadline| deadline <= ready.now());
        if late && (!changed || self.awaits_request()) {
            self.phase = self.run_out_of_time(ready);
        }
        let moved_on = before != mem::discriminant(&self.phase);
        if matches!(self.phase, ClientPhase::Closed) || self.stream.has_failed() {
            return Ok(Progress::Done);
        }
        if moved_on || changed {
            // Bytes of a request that drip in do not prolong the wait for it.
            self.active = if moved_on || !self.awaits_request() { ready.now() } else { self.active };
            return Ok(Progress::Again); // there may be more to do
        }
        Ok(Progress::Continue)
    }

    /// A bug that one client has met ends its connections, and no other client's.
    fn panicked(&mut self, panic: Box<dyn Any + Send>) -> eventloop::Result<()> {
        Err(format!("a bug of the program: {}", panic_message(&*panic)).into())
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, ErrorKind, Read};

    use clap::Parser as _;
    use eventloop::EventLoop;
    use eventloop::testing::{Stage, pair, until_over};
    use http::{Request, Response};

    use super::*;
    use crate::cli::Options;
    use crate::lifecycle::Lifecycle;
    use crate::log;

    /// The refusal would be taken for bytes of the response's body.
    #[test]
    fn a_response_that_has_begun_is_cut_and_not_followed_by_a_refusal() {
        let (mut event_loop, stage, now) = (EventLoop::new().unwrap(), Stage::new(), Instant::now());
        let (log, _writer) = log::start(false).unwrap();
        let lifecycle = Rc::new(Lifecycle::new(event_loop.handle(), Duration::ZERO));
        let options = Options::parse_from(["webproxy", "0"]);
        let shared = Shared::new(&options, ([127, 0, 0, 1], 0).into(), lifecycle, Rc::new(log));
        let (mut peer, own) = pair().unwrap();
        let (stream, address) = (Stream::new(own).unwrap(), [127, 0, 0, 1].into());
        let mut client =
            Client::new(Rc::new(shared), stream, address, AddressPermit::unlimited(), now).unwrap();
        let request = Request::get("http://a/").header("host", "a").body(()).unwrap();
        let exchange = Exchange::new(ProxyRequest::accept(request, "proxy").unwrap(), true);
        client.access();
        let access = client.access.as_mut().unwrap();
        let response = Response::builder().header("content-length", 500).body(()).unwrap();
        exchange.begin_response(&mut client.stream, response, ResultCode::Miss, access).unwrap();
        let out_of_memory = Refusal::from(io::Error::from(ErrorKind::OutOfMemory));
        client.phase = client.refuse(out_of_memory, &stage.ready(now));
        event_loop.spawn(client);
        until_over(&mut event_loop, 0);
        let mut received = Vec::new();
        assert_eq!(peer.read_to_end(&mut received).unwrap_err().kind(), ErrorKind::ConnectionReset);
        let received = String::from_utf8(received).unwrap();
        assert!(received.starts_with("HTTP/1.1 200 ") && !received.contains("503"), "{received}");
    }
}
