//! The life of a proxy: it serves, it drains, it is over.

use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use eventloop::{Handle, after};
use tracing::info;

use crate::statistics::Counters;

/// Whether the proxy serves, drains or is over.
///
/// It drains from the first [`stop`](Self::stop) on: no new client is admitted, and sessions may go on until a
/// deadline. It is over when the acceptor and the last session have ended. All sessions of the loop are woken when
/// that changes.
pub(crate) struct Lifecycle {
    handle: Handle,
    counters: Rc<Counters>,
    drain_timeout: Duration,
    /// Whether the acceptor waits for the last session's end while the proxy serves, too.
    exits_on_idle: bool,
    drain_deadline: Cell<Option<Instant>>,
    accepting: Cell<bool>,
    /// What the proxy cannot do without, and has lost.
    failure: Cell<Option<io::Error>>,
}

impl Lifecycle {
    pub(crate) fn new(
        handle: Handle,
        counters: Rc<Counters>,
        drain_timeout: Duration,
        exits_on_idle: bool,
    ) -> Self {
        let (drain_deadline, accepting, failure) = (Cell::new(None), Cell::new(true), Cell::new(None));
        Self { handle, counters, drain_timeout, exits_on_idle, drain_deadline, accepting, failure }
    }

    pub(crate) fn begin_session(&self) {
        self.counters.change(|statistics| statistics.active += 1);
    }

    pub(crate) fn end_session(&self) {
        self.counters.change(|statistics| {
            statistics.active -= 1;
            statistics.ended += 1;
        });
        if self.active_sessions() == 0 && (self.is_draining() || self.exits_on_idle) {
            self.handle.wake_all();
        }
    }

    /// How many sessions there are.
    pub(crate) fn active_sessions(&self) -> usize {
        self.counters.get().active
    }

    /// Begins to drain. A second call ends the drain at once.
    pub(crate) fn stop(&self) {
        let now = Instant::now();
        let deadline = if self.is_draining() { now } else { after(now, self.drain_timeout) };
        info!(sessions = self.active_sessions(), "stopping");
        self.drain_deadline.set(Some(deadline));
        self.handle.wake_all();
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.drain_deadline().is_some()
    }

    /// While the proxy drains, when sessions that are left are to be reset.
    pub(crate) fn drain_deadline(&self) -> Option<Instant> {
        self.drain_deadline.get()
    }

    /// Whether sessions that are left are to be reset now.
    pub(crate) fn drain_is_due(&self, now: Instant) -> bool {
        self.drain_deadline().is_some_and(|deadline| deadline <= now)
    }

    /// The acceptor has ended: there will be no further session.
    pub(crate) fn end_accepting(&self) {
        self.accepting.set(false);
        self.handle.wake_all();
    }

    /// A part of the proxy that it cannot do without has failed: it drains, and then ends with this error.
    pub(crate) fn fail(&self, failure: io::Error) {
        self.failure.set(Some(failure));
        if !self.is_draining() {
            self.stop();
        }
    }

    /// How the proxy has ended.
    ///
    /// # Errors
    ///
    /// What has failed.
    pub(crate) fn outcome(&self) -> io::Result<()> {
        self.failure.take().map_or(Ok(()), Err)
    }

    pub(crate) fn is_over(&self) -> bool {
        self.is_draining() && !self.accepting.get() && self.active_sessions() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use eventloop::EventLoop;

    #[test]
    fn a_failure_while_it_drains_leaves_sessions_the_time_they_have() {
        let (event_loop, hour) = (EventLoop::new().unwrap(), Duration::from_secs(3600));
        let lifecycle = Lifecycle::new(event_loop.handle(), Rc::default(), hour, false);
        lifecycle.stop();
        lifecycle.fail(io::Error::other("no further client can be accepted"));
        assert!(!lifecycle.drain_is_due(Instant::now()));
        lifecycle.outcome().unwrap_err();
    }
}
