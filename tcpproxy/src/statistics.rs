//! What a proxy counts.

use std::cell::Cell;

/// What a [`Proxy`](crate::Proxy) has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Statistics {
    /// Sessions there are now.
    pub active: usize,
    /// Sessions that have ended, for whatever reason.
    pub ended: u64,
    /// Clients that were reset because [`Config::allow`](crate::Config::allow) does not name their network.
    pub denied: u64,
    /// Clients that were reset because their address had as many as
    /// [`Config::max_per_address`](crate::Config::max_per_address) allows.
    pub limited: u64,
    /// Failures to accept a client for lack of descriptors or memory; the client stays in the accept queue.
    pub accept_errors: u64,
    /// Bytes written to servers, in all sessions.
    pub up: u64,
    /// Bytes written to clients, in all sessions.
    pub down: u64,
}

/// The present [`Statistics`] of a proxy, which its sessions change.
#[derive(Debug, Default)]
pub(crate) struct Counters(Cell<Statistics>);

impl Counters {
    pub(crate) fn get(&self) -> Statistics {
        self.0.get()
    }

    pub(crate) fn change(&self, change: impl FnOnce(&mut Statistics)) {
        let mut statistics = self.0.get();
        change(&mut statistics);
        self.0.set(statistics);
    }
}
