//! Clients that are not admitted: they are reset, counted, and mentioned now and then.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use eventloop::Stream;
use tracing::{debug, warn};

/// The clients that were denied for one reason.
#[derive(Debug)]
pub(crate) struct Denials {
    /// The message of the log.
    message: &'static str,
    denied: u64,
    mentioned: Option<Instant>,
}

/// How long after a warning no further one follows, however many clients are denied.
const QUIET: Duration = Duration::from_secs(60);

impl Denials {
    pub(crate) fn new(message: &'static str) -> Self {
        Self { message, denied: 0, mentioned: None }
    }

    /// Resets a client.
    pub(crate) fn deny(&mut self, stream: Stream, client: SocketAddr, now: Instant) {
        drop(stream); // resets it
        self.denied += 1;
        debug!(%client, "turned away");
        if self.mentioned.is_none_or(|mentioned| mentioned + QUIET <= now) {
            self.mentioned = Some(now);
            warn!(%client, denied = self.denied, "{}", self.message);
        }
    }
}
