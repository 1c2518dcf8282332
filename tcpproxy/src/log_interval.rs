//! Warnings that any number of clients can cause.

use std::cell::Cell;
use std::time::{Duration, Instant};

/// Limits a warning to one a minute, however often there is a cause for it.
#[derive(Debug, Default)]
pub(crate) struct LogInterval(Cell<Option<Instant>>);

const INTERVAL: Duration = Duration::from_secs(60);

impl LogInterval {
    /// Whether the warning is to be logged at `now`; the next one is not, for a minute.
    pub(crate) fn allows(&self, now: Instant) -> bool {
        let allowed = self.0.get().is_none_or(|logged| logged + INTERVAL <= now);
        if allowed {
            self.0.set(Some(now));
        }
        allowed
    }
}
