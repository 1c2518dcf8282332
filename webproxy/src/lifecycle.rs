//! The life of the proxy: it serves, it drains, it is over.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use eventloop::{Handle, Intents, Progress, Ready, Session, Signals, after};

use crate::log::Log;

/// Whether the proxy serves, drains or is over.
///
/// It drains from the first [`stop`](Self::stop) on: clients that are pending are served, each response is the last
/// one on its connection, and tunnels go on. It is over when the acceptor and the last client have ended, when the time
/// to drain has passed, or at the second stop. All sessions are woken when it begins to drain.
pub(crate) struct Lifecycle {
    handle: Handle,
    drain_timeout: Duration,
    drain: Cell<Option<Drain>>,
    accepting: Cell<bool>,
    clients: Cell<usize>,
    failure: RefCell<Option<String>>,
}

#[derive(Clone, Copy)]
struct Drain {
    since: Instant,
    until: Instant,
}

/// Counts a client, as long as it exists.
pub(crate) struct ActiveClient(Rc<Lifecycle>);

/// The session that stops the proxy when a signal comes.
pub(crate) struct StopSignals {
    signals: Signals,
    lifecycle: Rc<Lifecycle>,
    log: Rc<Log>,
}

impl Lifecycle {
    pub(crate) fn new(handle: Handle, drain_timeout: Duration) -> Self {
        Self {
            handle,
            drain_timeout,
            drain: Cell::new(None),
            accepting: Cell::new(true),
            clients: Cell::new(0),
            failure: RefCell::default(),
        }
    }

    /// Begins to drain; a second call ends the drain at once.
    fn stop(&self) {
        let now = Instant::now();
        let drain = match self.drain.get() {
            None => Drain { since: now, until: after(now, self.drain_timeout) },
            Some(drain) => Drain { until: now, ..drain },
        };
        self.drain.set(Some(drain));
        self.handle.wake_all();
    }

    /// A part of the proxy that it cannot do without has failed: it drains, and then ends with this error.
    pub(crate) fn fail(&self, failure: String) {
        self.failure.borrow_mut().get_or_insert(failure);
        if self.drain.get().is_none() {
            self.stop();
        }
    }

    /// Since when the proxy drains.
    pub(crate) fn draining_since(&self) -> Option<Instant> {
        self.drain.get().map(|drain| drain.since)
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.drain.get().is_some()
    }

    /// There will be no further client.
    pub(crate) fn end_accepting(&self) {
        self.accepting.set(false);
    }

    pub(crate) fn begin_client(self: &Rc<Self>) -> ActiveClient {
        self.clients.set(self.clients.get() + 1);
        ActiveClient(self.clone())
    }

    pub(crate) fn is_over(&self) -> bool {
        let has_ended = !self.accepting.get() && self.clients.get() == 0;
        self.drain.get().is_some_and(|drain| has_ended || drain.until <= Instant::now())
    }

    /// The time until it is over at the latest, if that is decided.
    pub(crate) fn time_left(&self) -> Option<Duration> {
        self.drain.get().map(|drain| drain.until.saturating_duration_since(Instant::now()))
    }

    /// How the proxy has ended.
    ///
    /// # Errors
    ///
    /// What has failed.
    pub(crate) fn outcome(&self) -> Result<(), String> {
        self.failure.borrow_mut().take().map_or(Ok(()), Err)
    }
}

impl Drop for ActiveClient {
    fn drop(&mut self) {
        self.0.clients.set(self.0.clients.get() - 1);
    }
}

impl StopSignals {
    pub(crate) fn new(signals: Signals, lifecycle: Rc<Lifecycle>, log: Rc<Log>) -> Self {
        Self { signals, lifecycle, log }
    }
}

impl Session for StopSignals {
    fn intents(&self, intents: &mut Intents<'_>) {
        self.signals.intents(intents);
    }

    fn advance(&mut self, ready: &Ready<'_>) -> eventloop::Result<Progress> {
        while self.signals.advance(ready).is_some() {
            self.log.line(&format!("stopping; clients left: {}", self.lifecycle.clients.get()));
            self.lifecycle.stop();
        }
        Ok(Progress::Continue)
    }

    /// A proxy that no signal could stop any more stops now.
    fn refused(&mut self, error: io::Error) -> eventloop::Result<()> {
        let why = format!("no signal can be received: {error}");
        self.lifecycle.fail(why.clone());
        Err(why.into())
    }
}
