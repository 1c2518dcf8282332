//! Clients that are not admitted: they are reset, counted, and mentioned now and then.

use std::net::SocketAddr;
use std::time::Instant;

use eventloop::Stream;
use tracing::{debug, warn};

use crate::log_interval::LogInterval;

/// The clients that were denied for one reason.
#[derive(Debug)]
pub(crate) struct Denials {
    /// The message of the log.
    message: &'static str,
    denied: u64,
    interval: LogInterval,
}

impl Denials {
    pub(crate) fn new(message: &'static str) -> Self {
        Self { message, denied: 0, interval: LogInterval::default() }
    }

    /// Resets a client.
    pub(crate) fn deny(&mut self, stream: Stream, client: SocketAddr, now: Instant) {
        drop(stream); // resets it
        self.denied += 1;
        debug!(%client, "turned away");
        if self.interval.allows(now) {
            warn!(%client, denied = self.denied, "{}", self.message);
        }
    }
}
