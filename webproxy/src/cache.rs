//! Answers kept in memory: so many bytes at the most, of which the oldest go first.

use std::collections::VecDeque;
use std::mem;
use std::rc::Rc;
use std::time::SystemTime;

use http::header::{AGE, CACHE_CONTROL, CONTENT_LENGTH, DATE, HeaderValue, RANGE, SET_COOKIE};
use http::{HeaderMap, Method, Request, Response};
use http_cache_semantics::{AfterResponse, BeforeRequest, CachePolicy};

/// All bodies together.
const CAPACITY: usize = 64 << 20;
/// So few that they can be looked through one by one. This also bounds all heads together.
const MOST_ENTRIES: usize = 512;

#[derive(Default)]
pub(crate) struct Cache {
    entries: VecDeque<Rc<Entry>>,
    size: usize,
}

/// An answer, and the policy that tells when it may be given to whom.
pub(crate) struct Entry {
    asked: Request<()>,
    policy: CachePolicy,
    date: Option<HeaderValue>,
    body: Rc<Vec<u8>>,
}

/// The head and the body of an answer.
pub(crate) type Answer = (Response<()>, Rc<Vec<u8>>);

/// What an origin has to confirm, and how it is asked to.
pub(crate) type Stale = (Request<()>, Rc<Entry>);

pub(crate) enum Found {
    Fresh(Answer),
    Stale(Stale),
    Nothing,
}

impl Cache {
    /// What there is for a request. HEAD can be answered by what GET has brought.
    pub(crate) fn find(&self, request: &Request<()>) -> Found {
        let mut asked = plain(request.clone(), Request::headers_mut);
        let get = mem::replace(asked.method_mut(), Method::GET) == Method::GET;
        if !(get || request.method() == Method::HEAD) || asked.headers().contains_key(RANGE) {
            return Found::Nothing;
        }
        // Who has a condition of their own gets the origin's word on that.
        let conditional = asked.headers().keys().any(|name| name.as_str().starts_with("if-"));
        let now = SystemTime::now();
        for entry in self.entries.iter().filter(|entry| entry.asked.uri() == asked.uri()) {
            match entry.policy.before_request(&asked, now) {
                BeforeRequest::Fresh(head) if !entry.policy.is_stale(now) => {
                    return Found::Fresh(entry.answer(head));
                }
                BeforeRequest::Stale { request, matches: true } if get && !conditional => {
                    return Found::Stale((Request::from_parts(request, ()), entry.clone()));
                }
                _ => {}
            }
        }
        Found::Nothing
    }

    /// Keeps a complete answer in place of an older one.
    pub(crate) fn keep(&mut self, entry: Entry) {
        let now = SystemTime::now();
        self.remove_if(|older| {
            let known = older.policy.before_request(&entry.asked, now);
            older.asked.uri() == entry.asked.uri()
                && !matches!(known, BeforeRequest::Stale { matches: false, .. })
        });
        self.size += entry.body.len();
        self.entries.push_back(Rc::new(entry));
        while self.size > CAPACITY || self.entries.len() > MOST_ENTRIES {
            self.size -= self.entries.pop_front().map_or(0, |oldest| oldest.body.len());
        }
    }

    /// Takes note that the origin confirms an entry. `None` if it means another one.
    pub(crate) fn confirm(&mut self, (request, entry): &Stale, told: &Response<()>) -> Option<Answer> {
        let told = plain(told.clone(), Response::headers_mut);
        let outcome = entry.policy.after_response(request, &told, SystemTime::now());
        let AfterResponse::NotModified(policy, head) = outcome else { return None };
        let date = told.headers().get(DATE).cloned();
        let entry = Entry { asked: entry.asked.clone(), policy, date, body: entry.body.clone() };
        let answer = entry.answer(head);
        self.keep(entry);
        Some(answer)
    }

    /// Forgets what a request has changed.
    pub(crate) fn forget(&mut self, request: &Request<()>) {
        self.remove_if(|entry| entry.asked.uri() == request.uri());
    }

    fn remove_if(&mut self, condition: impl Fn(&Entry) -> bool) {
        self.entries.retain(|entry| !condition(entry));
        self.size = self.entries.iter().map(|entry| entry.body.len()).sum();
    }
}

impl Entry {
    /// An entry for this answer, if it may be kept when its body is complete.
    pub(crate) fn new(request: &Request<()>, answer: &Response<()>) -> Option<Self> {
        let asked = plain(request.clone(), Request::headers_mut);
        let policy = CachePolicy::new(&asked, &plain(answer.clone(), Response::headers_mut));
        // A cookie is for one client, whatever else the answer says.
        let shared = request.method() == Method::GET && !answer.headers().contains_key(SET_COOKIE);
        let date = answer.headers().get(DATE).cloned();
        (shared && policy.is_storable()).then(|| Self { asked, policy, date, body: Rc::default() })
    }

    pub(crate) fn with_body(self, mut body: Vec<u8>) -> Self {
        body.shrink_to_fit();
        Self { body: Rc::new(body), ..self }
    }

    /// The answer, with the head that the policy gives. Its `Date` is not that of the origin, nor in HTTP's format.
    fn answer(&self, mut head: http::response::Parts) -> Answer {
        head.headers.remove(DATE);
        head.headers.extend(self.date.clone().map(|date| (DATE, date)));
        head.headers.insert(CONTENT_LENGTH, self.body.len().into());
        (Response::from_parts(head, ()), self.body.clone())
    }
}

/// A message as a policy understands it: it takes directives in lower case only, and panics at an age beyond measure.
fn plain<T>(mut message: T, fields: fn(&mut T) -> &mut HeaderMap) -> T {
    for (name, value) in fields(&mut message) {
        let mut plain = value.as_bytes().to_ascii_lowercase();
        plain.iter_mut().filter(|byte| !byte.is_ascii()).for_each(|byte| *byte = b'?');
        if name == AGE && plain.len() > 9 {
            *value = HeaderValue::from_static("999999999");
        } else if name == CACHE_CONTROL {
            *value = HeaderValue::from_bytes(&plain).expect("it is ASCII, as it was before");
        }
    }
    message
}
