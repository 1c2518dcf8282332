//! One response in the cache.

use std::borrow::Cow;
use std::cell::Cell;
use std::rc::Rc;
use std::time::SystemTime;

use http::header::{AGE, CACHE_CONTROL, CONTENT_LENGTH, DATE, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, Response};
use http_cache_semantics::{AfterResponse, BeforeRequest, CachePolicy};

use super::budget::Share;
use super::directives::may_store;

/// A response, and the policy that tells for which requests, and until when, it may be used.
pub(crate) struct Entry {
    pub(super) key: String,
    request: Request<()>,
    policy: CachePolicy,
    date: Option<HeaderValue>,
    pub(super) body: Rc<CachedBody>,
    /// It has been used since the cache last looked for one to evict.
    pub(super) used: Cell<bool>,
    /// For the heads.
    _share: Share,
}

/// A body in the cache, or on its way to clients: it counts until the last of them is done.
pub(crate) struct CachedBody {
    pub(super) bytes: Vec<u8>,
    pub(super) _share: Share,
}

/// A response that may be kept when its body is complete.
pub(crate) struct Candidate {
    request: Request<()>,
    policy: CachePolicy,
    date: Option<HeaderValue>,
}

/// A response from the cache: its head and its body.
pub(crate) type Cached = (Response<()>, Rc<CachedBody>);

/// What an entry is good for.
pub(super) enum Use {
    /// The response, as it is.
    Fresh(Cached),
    /// The origin has to confirm it, and is asked so.
    Stale(Request<()>),
    /// The entry is for other requests.
    Mismatch,
}

/// What an entry takes besides its body and the bytes of its fields: a guess on the high side.
const OVERHEAD: usize = 2048;

impl CachedBody {
    pub(crate) fn as_slice(&self) -> &[u8] {
        &self.bytes
    }
}

impl Candidate {
    pub(crate) fn new(request: &Request<()>, response: &Response<()>) -> Option<Self> {
        if !may_store(request, response) {
            return None;
        }
        let request = normalized_request(request.clone());
        let policy = CachePolicy::new(&request, &normalized_response(response.clone()));
        let date = response.headers().get(DATE).cloned();
        policy.is_storable().then_some(Self { request, policy, date })
    }

    /// Roughly what the entry takes besides its body: the policy has copies of both heads, and of the URI.
    pub(super) fn cost(&self, uri: &str, response: &HeaderMap) -> usize {
        2 * (size(self.request.headers()) + size(response)) + 4 * uri.len() + OVERHEAD
    }

    pub(super) fn into_entry(self, key: String, body: Rc<CachedBody>, share: Share) -> Entry {
        let Self { request, policy, date } = self;
        Entry { key, request, policy, date, body, used: Cell::new(false), _share: share }
    }
}

impl Entry {
    /// What the entry is good for. `request` is normalized, and a GET.
    pub(super) fn usable(&self, request: &Request<()>, now: SystemTime) -> Use {
        match self.policy.before_request(request, now) {
            BeforeRequest::Fresh(head) if !self.policy.is_stale(now) => Use::Fresh(self.respond(head)),
            BeforeRequest::Stale { request, matches: true } => Use::Stale(Request::from_parts(request, ())),
            _ => Use::Mismatch,
        }
    }

    /// Whether it would be used for the requests that `candidate` is for.
    pub(super) fn is_replaced_by(&self, candidate: &Candidate, now: SystemTime) -> bool {
        let known = self.policy.before_request(&candidate.request, now);
        !matches!(known, BeforeRequest::Stale { matches: false, .. })
    }

    /// The response, if `not_modified` confirms it, and what to keep in place of this entry, if that may be kept.
    pub(super) fn confirmed(
        &self,
        request: &Request<()>,
        not_modified: &Response<()>,
        now: SystemTime,
    ) -> Option<(Cached, Option<Candidate>)> {
        let not_modified = normalized_response(not_modified.clone());
        let AfterResponse::NotModified(policy, head) =
            self.policy.after_response(request, &not_modified, now)
        else {
            return None;
        };
        let date = not_modified.headers().get(DATE).cloned();
        let merged = Response::from_parts(head.clone(), ());
        let keep = may_store(request, &merged) && policy.is_storable();
        let response = respond(head, date.as_ref(), &self.body);
        Some((response, keep.then(|| Candidate { request: self.request.clone(), policy, date })))
    }

    fn respond(&self, head: http::response::Parts) -> Cached {
        respond(head, self.date.as_ref(), &self.body)
    }
}

/// A response with the head that the policy gives. Its `Date` is not that of the origin, nor in HTTP's format.
fn respond(mut head: http::response::Parts, date: Option<&HeaderValue>, body: &Rc<CachedBody>) -> Cached {
    head.headers.remove(DATE);
    if let Some(date) = date {
        head.headers.insert(DATE, date.clone());
    }
    head.headers.insert(CONTENT_LENGTH, body.bytes.len().into());
    (Response::from_parts(head, ()), body.clone())
}

fn size(fields: &HeaderMap) -> usize {
    fields.iter().map(|(name, value): (&HeaderName, _)| name.as_str().len() + value.len() + 64).sum()
}

/// The request as a GET, as the policy crate takes it.
pub(super) fn normalized_get(request: &Request<()>) -> Cow<'_, Request<()>> {
    if request.method() == Method::GET && !request.headers().contains_key(CACHE_CONTROL) {
        return Cow::Borrowed(request);
    }
    let mut request = normalized_request(request.clone());
    *request.method_mut() = Method::GET;
    Cow::Owned(request)
}

/// The policy crate takes directives in lower case only.
fn normalized_request(mut request: Request<()>) -> Request<()> {
    lower_directives(request.headers_mut());
    request
}

/// It also panics at an age beyond measure.
fn normalized_response(mut response: Response<()>) -> Response<()> {
    let fields = response.headers_mut();
    lower_directives(fields);
    if let Some(age) = fields.get_mut(AGE)
        && age.len() > 9
    {
        *age = HeaderValue::from_static("999999999");
    }
    response
}

fn lower_directives(fields: &mut HeaderMap) {
    if let Some(value) = fields.get_mut(CACHE_CONTROL) {
        let lower: Vec<u8> = value
            .as_bytes()
            .iter()
            .map(|byte| if byte.is_ascii() { byte.to_ascii_lowercase() } else { b'?' })
            .collect();
        *value = HeaderValue::from_bytes(&lower).expect("the value was valid, and is in ASCII now");
    }
}
