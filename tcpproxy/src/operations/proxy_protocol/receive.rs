//! Hearing from a balancer who the client is.

use std::io::{self, ErrorKind, Read};
use std::time::{Duration, Instant};

use eventloop::{Intents, Ready, Stream};

use super::{Announced, HeaderParser, Parsed};
use crate::termination::{By, Cause, Reason};

/// A header that a client owes before anything else. It may come in pieces, and nothing after it is touched.
///
/// It is a part of a session: the session passes on [`intents`](Self::intents) and calls
/// [`advance`](Self::advance).
pub(crate) struct HeaderReceiver {
    parser: HeaderParser,
    timeout: Duration,
    until: Instant,
}

/// How far a header has come.
#[must_use]
#[derive(Debug)]
pub(crate) enum Received {
    /// Some of it has yet to come.
    Partly,
    /// All of it has. A connection that was made for nobody, such as a balancer's health check, says nothing.
    Whole(Option<Announced>),
    /// It will not come.
    Never(Cause),
}

/// Bytes that are looked at in one step. Most headers are shorter, and the longest takes a few steps.
const STEP: usize = 4096;

impl HeaderReceiver {
    /// Waits for a header from now on, for so long.
    pub(crate) fn new(timeout: Duration, now: Instant) -> Self {
        Self { parser: HeaderParser::new(), timeout, until: now + timeout }
    }

    pub(crate) fn intents(&self, client: &Stream, intents: &mut Intents<'_>) {
        intents.read(client);
        intents.deadline(self.until);
    }

    /// Gets on with it.
    pub(crate) fn advance(&mut self, client: &Stream, ready: &Ready<'_>) -> Received {
        let received = if ready.is_readable(client) { self.read(client) } else { Received::Partly };
        match received {
            Received::Partly if self.until <= ready.now() => {
                let why = format!("no PROXY header within {:?}", self.timeout);
                Received::Never(Cause::with_detail(By::Timeout, Reason::NoHeader, why))
            }
            received => received,
        }
    }

    /// Takes what belongs to the header from what has come, and leaves the rest.
    fn read(&mut self, client: &Stream) -> Received {
        let never = |reason, why: &str| Received::Never(Cause::with_detail(By::Client, reason, why));
        let failed = |error: &io::Error| Received::Never(Cause::of_connection(By::Client, error));
        let mut bytes = [0; STEP];
        let come = match client.peek(&mut bytes) {
            Ok(0) => return never(Reason::NoHeader, "the end came before the PROXY header was complete"),
            Ok(n) => n,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                return Received::Partly;
            }
            Err(error) => return failed(&error),
        };
        let (taken, received) = match self.parser.advance(&bytes[..come]) {
            Ok(Parsed::Complete { taken, announced }) => (taken, Received::Whole(announced)),
            Ok(Parsed::Partial) => (come, Received::Partly),
            Err(error) => return never(Reason::BadHeader, &error.to_string()),
        };
        // What was peeked at is there, so this does not block, and ends the loop's reports of it.
        match (&mut &*client).read_exact(&mut bytes[..taken]) {
            Ok(()) => received,
            Err(error) => failed(&error),
        }
    }
}
