//! One request and its response: the body up, the head and the body down.

use std::cell::RefCell;

use http::header::{CONNECTION, CONTENT_LENGTH, HeaderValue};
use http::{Response, StatusCode};
use http1::{Body, Framing, HeadError, HeadReader, Stop};
use relay::BufferedStream;

use crate::access::{Access, ResultCode};
use crate::cache::{Cache, Cached, Candidate, Recording, Stale};
use crate::refusal::Refusal;
use crate::request::ProxyRequest;
use crate::shared::{MAX_HEAD, Shared};

/// A request that was accepted, and how far its response has come. It knows a client and an origin, but no loop.
pub(crate) struct Exchange {
    pub(crate) request: ProxyRequest,
    pub(crate) stale: Option<Stale>,
    /// The connection to the origin was used before, and the origin may just be closing it.
    pub(crate) reused: bool,
    client_keeps: bool,
    origin_keeps: bool,
    upload: Body,
    reader: HeadReader,
    /// The body of the response, once its head has been sent.
    download: Option<Body>,
    /// The response for the cache, until its body is complete or too large.
    kept: Option<Kept>,
}

struct Kept {
    candidate: Candidate,
    head: Response<()>,
    recording: Recording,
}

/// How far a step has brought an exchange.
pub(crate) enum ExchangeStep {
    Pending,
    Complete,
    /// The cache has the response.
    Confirmed(Cached),
    /// The request is to be sent again: the origin has closed a connection that was used before, or it has confirmed
    /// another response than the cache has.
    Retry,
    /// The response cannot be completed.
    Broken,
}

impl Exchange {
    /// `keeps` says whether the proxy allows another request to follow on the client's connection.
    pub(crate) fn new(request: ProxyRequest, keeps: bool) -> Self {
        let (framing, client_keeps) = (request.framing, request.keeps && keeps);
        Self {
            request,
            stale: None,
            reused: false,
            client_keeps,
            origin_keeps: true,
            upload: Body::new(framing, framing),
            reader: HeadReader::new(MAX_HEAD),
            download: None,
            kept: None,
        }
    }

    /// Sends the head of the request.
    pub(crate) fn send(&self, origin: &mut BufferedStream) -> Result<(), Refusal> {
        let head =
            http1::encode_request(self.stale.as_ref().map_or(&self.request.head, |stale| &stale.request));
        if origin.output.push_all(&head)? { Ok(()) } else { Err(HeadError::TooLong.into()) }
    }

    /// Whether nothing is done twice if it is sent again (RFC 9112, section 9.3.1).
    pub(crate) fn is_repeatable(&self) -> bool {
        !self.request.has_body() && self.request.method().is_idempotent()
    }

    /// Whether another request may follow on the client's connection. Not if a part of this one's body is left there:
    /// it would be taken for the next request.
    pub(crate) fn client_keeps(&self) -> bool {
        self.client_keeps && self.upload.is_complete()
    }

    /// Whether another request may follow on the origin's connection.
    pub(crate) fn origin_keeps(&self) -> bool {
        self.origin_keeps && self.upload.is_complete()
    }

    /// Whether the client has sent all of its body.
    pub(crate) fn has_whole_request(&self) -> bool {
        self.upload.is_complete()
    }

    /// Moves as many bytes as possible.
    pub(crate) fn advance(
        &mut self,
        client: &mut BufferedStream,
        origin: &mut BufferedStream,
        shared: &Shared,
        access: &mut Access,
    ) -> Result<ExchangeStep, Refusal> {
        if !origin.has_failed() {
            match self.upload.advance(&mut client.input, false, &mut origin.output) {
                Stop::NeedsInput if !client.has_ended() => {}
                Stop::Complete | Stop::NeedsRoom => {}
                Stop::Exhausted => return Err(Refusal::OUT_OF_MEMORY),
                Stop::NeedsInput | Stop::Malformed => return Err(Refusal::bad_request("malformed body")),
            }
        }
        if self.download.is_none() {
            let outcome = self.read_response(client, origin, shared, access)?;
            if !matches!(outcome, ExchangeStep::Pending) {
                return Ok(outcome);
            }
        }
        self.forward_body(client, origin, &shared.cache, access)
    }

    fn forward_body(
        &mut self,
        client: &mut BufferedStream,
        origin: &mut BufferedStream,
        cache: &RefCell<Cache>,
        access: &mut Access,
    ) -> Result<ExchangeStep, Refusal> {
        let Some(body) = &mut self.download else { return Ok(ExchangeStep::Pending) };
        let kept = &mut self.kept;
        let finished = origin.has_ended() && !origin.has_failed();
        let stop = body.advance_observed(&mut origin.input, finished, &mut client.output, &mut |data| {
            access.bytes += data.len() as u64;
            kept.take_if(|kept| !kept.recording.push(data, &mut cache.borrow_mut()));
        });
        match stop {
            Stop::Complete => {
                if let Some(Kept { candidate, head, recording }) = self.kept.take() {
                    cache.borrow_mut().keep(candidate, &head, recording.into_body(), &self.request.head);
                }
                Ok(ExchangeStep::Complete)
            }
            Stop::NeedsRoom => Ok(ExchangeStep::Pending),
            Stop::NeedsInput if !origin.has_ended() => Ok(ExchangeStep::Pending),
            Stop::NeedsInput | Stop::Malformed | Stop::Exhausted => Ok(ExchangeStep::Broken),
        }
    }

    /// Reads the next head of the response. After the final one the body comes next.
    fn read_response(
        &mut self,
        client: &mut BufferedStream,
        origin: &mut BufferedStream,
        shared: &Shared,
        access: &mut Access,
    ) -> Result<ExchangeStep, Refusal> {
        if !client.output.is_empty() {
            return Ok(ExchangeStep::Pending); // an interim response has to go out first
        }
        let head = self.reader.response(&mut origin.input);
        let Some(mut response) = head.map_err(|_| Refusal::bad_gateway("malformed head of the response"))?
        else {
            return match origin.has_ended() {
                true if self.reused && origin.input.is_empty() => Ok(ExchangeStep::Retry),
                true => Err(Refusal::bad_gateway("the origin closed the connection without a response")),
                false => Ok(ExchangeStep::Pending),
            };
        };
        let (status, version) = (response.status(), response.version());
        if status == StatusCode::SWITCHING_PROTOCOLS {
            return Err(Refusal::bad_gateway("the origin switches protocols unasked"));
        }
        // No framing in a response that never has a body (RFC 9110, section 8.6).
        if status.is_informational() || status == StatusCode::NO_CONTENT {
            response.headers_mut().remove(CONTENT_LENGTH);
        }
        if status.is_informational() {
            http1::forward(version, response.headers_mut(), Framing::None, &shared.name);
            if !self.request.is_http10() {
                let _ = client.output.push_slice(&http1::encode_response(&response))?;
            }
            return Ok(ExchangeStep::Pending);
        }
        let incoming = http1::response_framing(self.request.method(), &response)
            .ok_or(Refusal::bad_gateway("unclear length of the response"))?;
        let outgoing = match incoming {
            Framing::Close if !self.request.is_http10() => Framing::Chunked,
            Framing::Chunked if self.request.is_http10() => Framing::Close,
            same => same,
        };
        self.origin_keeps =
            incoming != Framing::Close && http1::keeps_connection(version, response.headers());
        http1::forward(version, response.headers_mut(), outgoing, &shared.name);
        http1::add_date(response.headers_mut());
        let step = self.update_cache(&response, &mut shared.cache.borrow_mut());
        if !matches!(step, ExchangeStep::Pending) {
            return Ok(step);
        }
        self.download = Some(Body::new(incoming, outgoing));
        self.client_keeps &= outgoing != Framing::Close && self.upload.is_complete();
        self.client_keeps &= !shared.lifecycle.is_draining();
        self.begin_response(client, response, ResultCode::Miss, access)?;
        Ok(ExchangeStep::Pending)
    }

    /// Updates the cache after a response, which goes to the client if the step is pending.
    fn update_cache(&mut self, response: &Response<()>, cache: &mut Cache) -> ExchangeStep {
        let (request, status) = (&self.request.head, response.status());
        if let Some(stale) = self.stale.take_if(|_| status == StatusCode::NOT_MODIFIED) {
            if let Some(cached) = cache.confirm(&stale, response, request) {
                return ExchangeStep::Confirmed(cached);
            }
            cache.forget(request);
            return ExchangeStep::Retry;
        }
        if !request.method().is_safe() && (status.is_success() || status.is_redirection()) {
            cache.forget(request); // RFC 9111, section 4.4
        }
        let candidate = if self.request.has_body() { None } else { Candidate::new(request, response) };
        self.kept =
            candidate.map(|candidate| Kept { candidate, head: response.clone(), recording: cache.record() });
        ExchangeStep::Pending
    }

    /// Sends the head of the response, for which the client's ring must be empty.
    pub(crate) fn begin_response(
        &self,
        client: &mut BufferedStream,
        mut response: Response<()>,
        result_code: ResultCode,
        access: &mut Access,
    ) -> Result<(), Refusal> {
        let cache = match result_code {
            ResultCode::Hit => "HIT",
            ResultCode::Revalidated => "REVALIDATED",
            _ => "MISS",
        };
        response.headers_mut().insert("x-cache", HeaderValue::from_static(cache));
        if !self.client_keeps() {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        // A head of at most half a ring, and what the proxy adds, fit into an empty ring.
        let _ = client.output.push_slice(&http1::encode_response(&response))?;
        access.status = response.status().as_u16();
        Ok(())
    }
}
