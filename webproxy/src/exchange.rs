//! One request and its answer: the body up, the head and the body down.

use std::io;

use http::header::{CONNECTION, CONTENT_LENGTH, HOST, HeaderValue};
use http::uri::Authority;
use http::{Method, Request, Response, StatusCode, Version};
use http1::{Body, Framing, HeadError, HeadReader, Stop};
use relay::BufferedStream;
use tracing::info;

use crate::LONGEST_HEAD;
use crate::cache::{Answer, Cache, Entry, Stale};

/// A request that was accepted, and how far its answer has come. It knows a client and an origin, but no loop.
pub(crate) struct Exchange {
    pub(crate) request: Request<()>,
    pub(crate) stale: Option<Stale>,
    /// It goes over a connection that was used before, and that the origin may just be closing.
    pub(crate) second_hand: bool,
    /// Whether the client, and the origin, can go on to another request.
    pub(crate) client_keeps: bool,
    pub(crate) origin_keeps: bool,
    pub(crate) upload: Body,
    reader: HeadReader,
    /// The body of the answer, whose head has gone out.
    pub(crate) download: Option<Body>,
    /// What becomes of it in the cache when it is complete.
    candidate: Option<Entry>,
    /// Its body so far, unless it is too large to be kept.
    record: Option<Vec<u8>>,
}

/// Why there is no answer but one of the proxy's own.
pub(crate) struct Refusal(pub(crate) StatusCode, pub(crate) &'static str);

/// What an exchange has come to.
pub(crate) enum Outcome {
    Pending,
    Complete,
    /// The cache has the answer.
    Confirmed(Answer),
    /// The origin has closed a second-hand connection, and not heard of the request.
    Unheard,
    /// The answer cannot be completed.
    Broken,
}

type Step = Result<Outcome, Refusal>;

/// How the proxy is called in `Via`.
const NAME: &str = "webproxy";
/// The largest body that is kept.
const LARGEST_BODY: usize = 2 << 20;

impl Exchange {
    pub(crate) fn new(mut request: Request<()>) -> Result<Self, Refusal> {
        let refuse = |reason| Err(Refusal(StatusCode::BAD_REQUEST, reason));
        if *request.uri() == "*" || !http1::decrement_max_forwards(&mut request) {
            return Err(Refusal(StatusCode::NOT_IMPLEMENTED, "the proxy itself is not to be asked"));
        }
        let (uri, version) = (request.uri().clone(), request.version());
        let connect = request.method() == Method::CONNECT;
        let asked = if connect { uri.port().is_some() } else { uri.scheme_str() == Some("http") };
        let named = uri.authority().filter(|who| asked && !who.as_str().contains('@'));
        let Some(host) = named.and_then(|who| HeaderValue::from_str(who.as_str()).ok()) else {
            return refuse("a proxy is asked for http://HOST/ or to CONNECT HOST:PORT");
        };
        // What the URI names counts (RFC 9112, section 3.2.2).
        let told = request.headers_mut().insert(HOST, host);
        let invalid = |host: HeaderValue| !host.is_empty() && Authority::try_from(host.as_bytes()).is_err();
        if told.map_or(version == Version::HTTP_11, invalid) {
            return refuse("there must be one Host");
        }
        let Some(framing) = http1::request_framing(&request) else {
            return refuse("the length of the body is not clear");
        };
        let client_keeps = http1::keeps_connection(version, request.headers());
        http1::forward(version, request.headers_mut(), framing, NAME);
        Ok(Self {
            request,
            stale: None,
            second_hand: false,
            client_keeps,
            origin_keeps: true,
            upload: Body::new(framing, framing),
            reader: HeadReader::new(LONGEST_HEAD),
            download: None,
            candidate: None,
            record: None,
        })
    }

    /// Sends the head of the request.
    pub(crate) fn send(&self, origin: &mut BufferedStream) -> Result<(), Refusal> {
        let head = http1::encode_request(self.stale.as_ref().map_or(&self.request, |(request, _)| request));
        if origin.output.push_all(&head)? { Ok(()) } else { Err(HeadError::TooLong.into()) }
    }

    /// Whether nothing is done twice if it is sent again (RFC 9112, section 9.3.1).
    pub(crate) fn is_repeatable(&self) -> bool {
        self.upload.is_complete() && self.request.method().is_idempotent()
    }

    /// Moves what can be moved.
    pub(crate) fn advance(
        &mut self,
        client: &mut BufferedStream,
        origin: &mut BufferedStream,
        cache: &mut Cache,
    ) -> Step {
        if !origin.has_failed() {
            match self.upload.advance(&mut client.input, false, &mut origin.output) {
                Stop::NeedsInput if !client.has_ended() => {}
                Stop::Complete | Stop::NeedsRoom => {}
                Stop::Exhausted => return Err(Refusal::out_of_memory()),
                _ if self.download.is_some() => return Ok(Outcome::Broken),
                _ => return Err(Refusal(StatusCode::BAD_REQUEST, "the body is malformed")),
            }
        }
        let said = if self.download.is_none() { self.hear(client, origin, cache)? } else { Outcome::Pending };
        let Some(body) = &mut self.download else { return Ok(said) };
        let finished = origin.has_ended() && !origin.has_failed();
        let record = &mut self.record;
        let stop = body.advance_observed(&mut origin.input, finished, &mut client.output, &mut |data| {
            record.take_if(|record| record.len() + data.len() > LARGEST_BODY);
            if let Some(record) = record {
                record.extend_from_slice(data);
            }
        });
        match stop {
            Stop::Complete => {
                self.download = None;
                if let (Some(entry), Some(record)) = (self.candidate.take(), self.record.take()) {
                    cache.keep(entry.with_body(record));
                }
                Ok(Outcome::Complete)
            }
            Stop::NeedsRoom => Ok(Outcome::Pending),
            Stop::NeedsInput if !origin.has_ended() => Ok(Outcome::Pending),
            Stop::NeedsInput | Stop::Malformed | Stop::Exhausted => Ok(Outcome::Broken),
        }
    }

    /// Takes the next head of the answer. When that is the last one, the body comes next.
    fn hear(&mut self, client: &mut BufferedStream, origin: &mut BufferedStream, cache: &mut Cache) -> Step {
        let bad = |reason| Refusal(StatusCode::BAD_GATEWAY, reason);
        if !client.output.is_empty() {
            return Ok(Outcome::Pending); // what the client was told before has to go out first
        }
        let head = self.reader.response(&mut origin.input);
        let Some(mut answer) = head.map_err(|_| bad("the head of the answer is malformed"))? else {
            return match origin.has_ended() {
                true if self.second_hand && origin.input.is_empty() => Ok(Outcome::Unheard),
                true => Err(bad("the origin has ended the connection without an answer")),
                false => Ok(Outcome::Pending),
            };
        };
        let (status, version) = (answer.status(), answer.version());
        let old_client = self.request.version() == Version::HTTP_10;
        if status == StatusCode::SWITCHING_PROTOCOLS {
            return Err(bad("the origin switches to a protocol that nobody has asked for"));
        }
        if status.is_informational() {
            http1::forward(version, answer.headers_mut(), Framing::None, NAME);
            if !old_client {
                let _ = client.output.push_slice(&http1::encode_response(&answer))?;
            }
            return Ok(Outcome::Pending);
        }
        let incoming = http1::response_framing(self.request.method(), &answer)
            .ok_or(bad("the length of the answer is not clear"))?;
        let outgoing = match incoming {
            Framing::Close if !old_client => Framing::Chunked,
            Framing::Chunked if old_client => Framing::Close,
            same => same,
        };
        let fields = answer.headers_mut();
        self.origin_keeps = incoming != Framing::Close && http1::keeps_connection(version, fields);
        http1::forward(version, fields, outgoing, NAME);
        http1::add_date(fields);
        if status == StatusCode::NO_CONTENT {
            fields.remove(CONTENT_LENGTH);
        }
        if let Some(stale) = self.stale.take_if(|_| status == StatusCode::NOT_MODIFIED) {
            if let Some(answer) = cache.confirm(&stale, &answer) {
                return Ok(Outcome::Confirmed(answer));
            }
            cache.forget(&self.request);
            return Err(bad("the origin confirms what it has not given"));
        }
        if !self.request.method().is_safe() && (status.is_success() || status.is_redirection()) {
            cache.forget(&self.request); // RFC 9111, section 4.4
        }
        self.candidate = Entry::new(&self.request, &answer);
        self.record = self.candidate.is_some().then(Vec::new);
        self.download = Some(Body::new(incoming, outgoing));
        self.client_keeps &= outgoing != Framing::Close && self.upload.is_complete();
        self.begin_answer(client, answer, "MISS")?;
        Ok(Outcome::Pending)
    }

    /// Sends the head of the answer, for which the client's ring must be empty.
    pub(crate) fn begin_answer(
        &self,
        client: &mut BufferedStream,
        mut answer: Response<()>,
        cache: &'static str,
    ) -> Result<(), Refusal> {
        let (request, status) = (&self.request, answer.status().as_u16());
        info!(method = %request.method(), uri = %request.uri(), status, cache);
        answer.headers_mut().insert("x-cache", HeaderValue::from_static(cache));
        if !self.client_keeps {
            answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        let _ = client.output.push_slice(&http1::encode_response(&answer))?;
        Ok(())
    }
}

impl Refusal {
    fn out_of_memory() -> Self {
        Self(StatusCode::SERVICE_UNAVAILABLE, "there is no memory for it")
    }
}

/// The ring of a message found no memory.
impl From<io::Error> for Refusal {
    fn from(_: io::Error) -> Self {
        Self::out_of_memory()
    }
}

impl From<HeadError> for Refusal {
    fn from(error: HeadError) -> Self {
        match error {
            HeadError::TooLong => Refusal(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "too long a head"),
            HeadError::Malformed => Refusal(StatusCode::BAD_REQUEST, "the head is malformed"),
        }
    }
}
