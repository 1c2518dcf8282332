//! Responses kept in memory, within a budget: those that were not used lately go first.

mod budget;
mod directives;
mod entry;
mod recording;

use std::collections::{HashMap, VecDeque};
use std::mem;
use std::rc::Rc;
use std::time::SystemTime;

use http::header::RANGE;
use http::{Method, Request, Response};
use slotmap::{SlotMap, new_key_type};

use budget::Budget;
use entry::{Entry, Use, normalized_get};

pub(crate) use directives::only_if_cached;
pub(crate) use entry::{Cached, CachedBody, Candidate};
pub(crate) use recording::Recording;

/// The cache, shared by all clients.
///
/// Invariants: all bodies and heads, the recordings, and the bodies on their way to clients take no more than the
/// budget together. A URI has at most [`MAX_VARIANTS`] entries.
pub(crate) struct Cache {
    entries: SlotMap<Key, Rc<Entry>>,
    /// The entries of each URI, the latest last.
    variants: HashMap<String, Vec<Key>>,
    /// All entries, and some that have gone, in the order in which they may be evicted.
    queue: VecDeque<Key>,
    budget: Budget,
    max_object_size: usize,
}

new_key_type! { struct Key; }

/// Entries of one URI, which are tried one by one.
const MAX_VARIANTS: usize = 8;

/// What an origin has to confirm, and how it is asked to.
pub(crate) struct Stale {
    pub(crate) request: Request<()>,
    entry: Rc<Entry>,
}

/// What the cache has for a request.
pub(crate) enum Found {
    Fresh(Cached),
    Stale(Stale),
    Nothing,
}

impl Cache {
    pub(crate) fn new(size: usize, max_object_size: usize) -> Self {
        Self {
            entries: SlotMap::with_key(),
            variants: HashMap::new(),
            queue: VecDeque::new(),
            budget: Budget::new(size),
            max_object_size,
        }
    }

    /// What there is for a request without a body. A HEAD can be served from what a GET has brought.
    pub(crate) fn find(&self, request: &Request<()>) -> Found {
        let get = request.method() == Method::GET;
        if !(get || request.method() == Method::HEAD) || request.headers().contains_key(RANGE) {
            return Found::Nothing;
        }
        let Some(keys) = self.variants.get(&key(request)) else { return Found::Nothing };
        let request = normalized_get(request);
        // The origin answers a condition of the client's own.
        let conditional = request.headers().keys().any(|name| name.as_str().starts_with("if-"));
        let now = SystemTime::now();
        for entry in keys.iter().rev().filter_map(|&key| self.entries.get(key)) {
            match entry.usable(request.as_ref(), now) {
                Use::Fresh(cached) => {
                    entry.used.set(true);
                    return Found::Fresh(cached);
                }
                Use::Stale(request) if get && !conditional => {
                    entry.used.set(true);
                    return Found::Stale(Stale { request, entry: entry.clone() });
                }
                Use::Stale(_) | Use::Mismatch => {}
            }
        }
        Found::Nothing
    }

    /// Begins to record the body of a response.
    pub(crate) fn record(&self) -> Recording {
        Recording::new(self.budget.share())
    }

    /// Uses a 304 (Not Modified) of the origin for an entry. `None` if it confirms another one.
    pub(crate) fn confirm(
        &mut self,
        stale: &Stale,
        not_modified: &Response<()>,
        request: &Request<()>,
    ) -> Option<Cached> {
        let (cached, candidate) = stale.entry.confirmed(&stale.request, not_modified, SystemTime::now())?;
        match candidate {
            Some(candidate) => self.keep(candidate, &cached.0, stale.entry.body.clone(), request),
            None => self.forget(request),
        }
        Some(cached)
    }

    /// Forgets what a request has changed.
    pub(crate) fn forget(&mut self, request: &Request<()>) {
        for key in self.variants.remove(&key(request)).unwrap_or_default() {
            self.entries.remove(key);
        }
        self.sweep_queue();
    }

    /// Keeps a complete response in place of an older one.
    pub(crate) fn keep(
        &mut self,
        candidate: Candidate,
        response: &Response<()>,
        body: Rc<CachedBody>,
        request: &Request<()>,
    ) {
        let uri = key(request);
        let now = SystemTime::now();
        let mut keys = self.variants.remove(&uri).unwrap_or_default();
        keys.retain(|&key| {
            let stays = self.entries.get(key).is_some_and(|older| !older.is_replaced_by(&candidate, now));
            if !stays {
                self.entries.remove(key);
            }
            stays
        });
        if keys.len() == MAX_VARIANTS {
            self.entries.remove(keys.remove(0));
        }
        if !keys.is_empty() {
            self.variants.insert(uri.clone(), keys);
        }
        let cost = candidate.cost(&uri, response.headers());
        let mut share = self.budget.share();
        if self.make_room(cost) && share.resize(cost) {
            let key = self.entries.insert(Rc::new(candidate.into_entry(uri.clone(), body, share)));
            self.variants.entry(uri).or_default().push(key);
            self.queue.push_back(key);
            self.sweep_queue();
        }
    }

    /// Evicts entries until there is room for this many bytes, or no entry is left. An entry that was used since it was
    /// last looked at goes to the end of the queue once more.
    fn make_room(&mut self, bytes: usize) -> bool {
        while !self.budget.has(bytes) {
            let Some(key) = self.queue.pop_front() else { return false };
            match self.entries.get(key) {
                Some(entry) if entry.used.replace(false) => self.queue.push_back(key),
                Some(_) => self.remove(key),
                None => {}
            }
        }
        true
    }

    fn remove(&mut self, key: Key) {
        let Some(entry) = self.entries.remove(key) else { return };
        if let Some(keys) = self.variants.get_mut(&entry.key) {
            keys.retain(|&other| other != key);
            if keys.is_empty() {
                self.variants.remove(&entry.key);
            }
        }
    }

    /// Drops keys of entries that have gone, once they are the most.
    fn sweep_queue(&mut self) {
        if self.queue.len() > 2 * self.entries.len() + MAX_VARIANTS {
            let mut queue = mem::take(&mut self.queue);
            queue.retain(|&key| self.entries.contains_key(key));
            self.queue = queue;
        }
    }
}

fn key(request: &Request<()>) -> String {
    request.uri().to_string()
}

#[cfg(test)]
mod tests;
