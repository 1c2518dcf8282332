//! What the sessions of one proxy share.

use std::ops::Deref;
use std::rc::Rc;
use std::time::Duration;

use eventloop::AddressLimit;
use relay::{Limits, Pipes};

use crate::Config;
use crate::lifecycle::Lifecycle;
use crate::loops::Loops;
use crate::operations::metrics::Metrics;
use crate::pending_clients::PendingClients;
use crate::statistics::Counters;
use crate::ticks::Ticks;
use crate::upstream::Upstream;

/// What the sessions of one proxy have in common.
pub(crate) struct SessionContext {
    pub(crate) config: Rc<Config>,
    pub(crate) upstream: Rc<Upstream>,
    pub(crate) lifecycle: Rc<Lifecycle>,
    pub(crate) counters: Rc<Counters>,
    pub(crate) metrics: Option<Rc<Metrics>>,
    pub(crate) address_limit: Rc<AddressLimit>,
    pub(crate) pending: Rc<PendingClients>,
    pub(crate) loops: Loops,
    pub(crate) limits: Rc<Limits>,
    pub(crate) pipes: Pipes,
    pub(crate) ticks: Ticks,
}

/// What a session has in common with others, as long as it counts as one.
pub(super) struct ActiveSession(Rc<SessionContext>);

impl ActiveSession {
    pub(super) fn new(context: Rc<SessionContext>) -> Self {
        context.lifecycle.begin_session();
        Self(context)
    }
}

impl Deref for ActiveSession {
    type Target = SessionContext;

    fn deref(&self) -> &SessionContext {
        &self.0
    }
}

impl Drop for ActiveSession {
    fn drop(&mut self) {
        self.0.lifecycle.end_session();
    }
}

impl SessionContext {
    /// How long a peer may acknowledge nothing.
    pub(super) fn keepalive(&self) -> Option<Duration> {
        self.config.keepalive.map(|keepalive| keepalive.max(Duration::from_secs(1)))
    }
}
