//! The end of a connection whose peer must not take a part for the whole.

use std::time::{Duration, Instant};

use eventloop::{Intents, Ready, after};

use crate::connection::{Connection, Intent};

/// Waits until the peer has acknowledged what was written, and then resets the connection.
///
/// A close with a reset discards what the kernel has not sent yet, and what it would have to send again
/// because the network has lost it. So a connection whose last bytes were written before the other side
/// failed is closed in this way. Where the kernel does not tell what was acknowledged, the close waits until
/// all was sent.
///
/// Invariant: it ends after `linger` at the latest.
#[derive(Debug)]
pub(crate) struct LingeringClose<C> {
    stream: C,
    phase: ClosePhase,
    until: Instant,
}

#[derive(Clone, Copy, Debug)]
enum ClosePhase {
    /// The kernel still has bytes to send.
    Sending,
    /// All was sent. The kernel is asked at `at` whether all was acknowledged; the next pause is twice as
    /// long.
    Acknowledging { at: Instant, pause: Duration },
    /// The kernel does not tell.
    Grace,
}

/// How long the kernel has to send a FIN and the bytes before it where it does not tell what was
/// acknowledged.
const GRACE: Duration = Duration::from_secs(1);
/// The pause after the first answer that something is unacknowledged; each is twice as long as the one
/// before.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(256);

impl<C: Connection> LingeringClose<C> {
    /// Begins, after the last byte was written to `stream`, and FIN if `finished`. The peer has `linger` to
    /// acknowledge them. `None`: it has done so, and the connection is closed.
    pub(crate) fn begin(stream: C, finished: bool, linger: Duration, now: Instant) -> Option<Self> {
        let until = after(now, linger);
        if !finished && stream.watch_send_queue().is_ok() {
            return Some(Self { stream, phase: ClosePhase::Sending, until });
        }
        Self { stream, phase: ClosePhase::Grace, until }.ask(now, FIRST_PAUSE).unwrap_or_else(|mut close| {
            close.until = until.min(now + GRACE);
            Some(close)
        })
    }

    pub(crate) fn stream(&self) -> &C {
        &self.stream
    }

    pub(crate) fn intents(&self, intents: &mut Intents<'_>) {
        let sending = matches!(self.phase, ClosePhase::Sending);
        self.stream.declare(Intent { read: false, write: sending }, intents);
        intents.deadline(self.until);
        if let ClosePhase::Acknowledging { at, .. } = self.phase {
            intents.deadline(at);
        }
    }

    /// Advances the close. `None`: the connection is closed.
    pub(crate) fn advance(self, ready: &Ready<'_>) -> Option<Self> {
        let (now, readiness) = (ready.now(), self.stream.readiness(ready));
        if self.until <= now || (readiness.hung_up && !matches!(self.stream.take_error(), Ok(None))) {
            return None;
        }
        if readiness.hung_up {
            // Both sides have finished. The kernel may have the last bytes and FIN to send again.
            return self.ask(now, FIRST_PAUSE).unwrap_or_else(|close| {
                close.stream.close();
                None
            });
        }
        match self.phase {
            ClosePhase::Sending if readiness.writable => self.ask(now, FIRST_PAUSE).unwrap_or(None),
            ClosePhase::Acknowledging { at, pause } if at <= now => {
                self.ask(now, (2 * pause).min(LONGEST_PAUSE)).unwrap_or(None)
            }
            _ => Some(self),
        }
    }

    /// Asks the kernel whether all was acknowledged. If not, it is asked again after `pause`. The error is a
    /// close whose kernel does not tell.
    fn ask(mut self, now: Instant, pause: Duration) -> Result<Option<Self>, Self> {
        match self.stream.unacknowledged() {
            Ok(None | Some(0)) => Ok(None),
            Ok(Some(_)) => {
                self.phase = ClosePhase::Acknowledging { at: now + pause, pause };
                Ok(Some(self))
            }
            Err(_) => Err(self),
        }
    }
}
