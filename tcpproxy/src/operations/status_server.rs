//! Where metrics and health are asked for, over HTTP.

use std::rc::Rc;
use std::time::{Duration, Instant};

use eventloop::{Accept, Intents, Listener, Place, Progress, Ready, Session, Stream};
use http::header::{ALLOW, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http1::{HeadReader, encode_response};
use ringbuf::Pool;

use crate::proxy::Shared;
use relay::BufferedStream;

/// The session that admits those who ask. It has places of its own, so that they take none from clients, and
/// ends when the proxy does: it can be asked as long as there are sessions.
pub(crate) struct Endpoint {
    shared: Rc<Shared>,
    listener: Listener,
    pool: Pool,
}

/// One request and its answer.
struct Inquiry {
    shared: Rc<Shared>,
    wire: BufferedStream,
    state: State,
    /// When it has to be over, whatever the peer does.
    until: Instant,
    _place: Place,
}

enum State {
    Request(HeadReader),
    /// The answer goes out from here on.
    Answer(Vec<u8>, usize),
    Leaving,
}

/// Those who ask at the same time. There is one Prometheus, or two, and somebody who looks after health.
pub(crate) const PLACES: usize = 8;

/// How long somebody may take to ask and to hear the answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// A request has to fit into this, and an answer goes through it.
const RING: usize = 4096;

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const PLAIN: &str = "text/plain; charset=utf-8";

impl Endpoint {
    pub(crate) fn new(shared: Rc<Shared>, listener: Listener) -> Self {
        Self { shared, listener: listener.with_places(PLACES), pool: Pool::new(RING, 2 * PLACES) }
    }
}

impl Session for Endpoint {
    fn intents(&self, want: &mut Intents<'_>) {
        self.listener.intents(want);
    }

    fn advance(&mut self, ready: &Ready<'_>) -> Progress {
        if self.shared.is_over() {
            return Progress::Done;
        }
        while let Accept::Client { stream, place, .. } = self.listener.accept(ready) {
            ready.spawn(Inquiry::new(self.shared.clone(), stream, &self.pool, place, ready.now()));
        }
        Progress::Continue
    }
}

impl Inquiry {
    fn new(shared: Rc<Shared>, stream: Stream, pool: &Pool, place: Place, now: Instant) -> Self {
        let ring = || pool.reserve().expect("the pool has two rings for each place");
        let wire = BufferedStream::new(stream, ring(), ring());
        let state = State::Request(HeadReader::new(RING));
        Self { shared, wire, state, until: now + PATIENCE, _place: place }
    }

    /// One step; `true` when it is over.
    fn step(&mut self, ready: &Ready<'_>) -> bool {
        if self.until <= ready.now() || self.shared.is_over() {
            let _ = self.wire.stream().reset_on_close(); // a part of an answer is not to look like the whole
            return true;
        }
        self.wire.fill(ready);
        if let State::Request(reader) = &mut self.state {
            let response = match reader.request(&mut self.wire.input) {
                Ok(None) if self.wire.has_ended() => return true,
                Ok(None) => return false,
                Ok(Some(request)) => answer(&self.shared, &request),
                Err(_) => respond(StatusCode::BAD_REQUEST, PLAIN, "that is no request\n", true),
            };
            self.state = State::Answer(response, 0);
        }
        if let State::Answer(response, sent) = &mut self.state {
            loop {
                let Ok(n) = self.wire.output.push_slice(&response[*sent..]) else {
                    let _ = self.wire.stream().reset_on_close(); // no memory
                    return true;
                };
                *sent += n;
                if *sent == response.len() {
                    self.state = State::Leaving;
                    self.wire.finish(self.until);
                    break;
                }
                if !self.wire.flush(ready) {
                    break;
                }
            }
        }
        self.wire.flush(ready);
        self.wire.is_closed(ready)
    }
}

impl Session for Inquiry {
    fn intents(&self, want: &mut Intents<'_>) {
        self.wire.intents(want);
        want.deadline(self.until);
    }

    fn advance(&mut self, ready: &Ready<'_>) -> Progress {
        if self.step(ready) { Progress::Done } else { Progress::Continue }
    }
}

fn answer(shared: &Shared, request: &Request<()>) -> Vec<u8> {
    let full = match *request.method() {
        Method::GET => true,
        Method::HEAD => false,
        _ => return respond(StatusCode::METHOD_NOT_ALLOWED, PLAIN, "only GET and HEAD\n", true),
    };
    match request.uri().path() {
        "/metrics" => respond(StatusCode::OK, OPEN_METRICS, &shared.metrics_text(), full),
        "/healthz" if shared.is_stopping() => {
            respond(StatusCode::SERVICE_UNAVAILABLE, PLAIN, "draining\n", full)
        }
        "/healthz" => respond(StatusCode::OK, PLAIN, "serving\n", full),
        _ => respond(StatusCode::NOT_FOUND, PLAIN, "there are /metrics and /healthz\n", full),
    }
}

/// An answer after which the connection is closed; without its body where only the head was asked for.
fn respond(status: StatusCode, kind: &'static str, body: &str, full: bool) -> Vec<u8> {
    let mut response = Response::new(());
    *response.status_mut() = status;
    let fields = response.headers_mut();
    fields.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    fields.insert(CONTENT_LENGTH, body.len().into());
    fields.insert(CONNECTION, HeaderValue::from_static("close"));
    if status == StatusCode::METHOD_NOT_ALLOWED {
        fields.insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
    }
    let mut bytes = encode_response(&response);
    bytes.extend_from_slice(if full { body.as_bytes() } else { &[] });
    bytes
}
