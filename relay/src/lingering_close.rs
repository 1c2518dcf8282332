//! The end of a connection whose peer must not take a part for the whole.

use std::time::{Duration, Instant};

use eventloop::{Intents, Ready, Stream};

/// Waits until the kernel has sent what it has, and then makes the coming close a reset.
///
/// Closing with a reset throws away what the kernel has not sent yet, so whoever has written the last byte
/// before a failure of the other side waits here first. It is a part of a session: the session passes on
/// [`intents`](Self::intents) and calls [`advance`](Self::advance).
#[derive(Clone, Copy, Debug)]
pub(crate) struct LingeringClose(ClosePhase);

#[derive(Clone, Copy, Debug)]
enum ClosePhase {
    /// The kernel still has bytes to send, for which it has time until then.
    Sending(Instant),
    /// The peer has got its FIN. The kernel does not tell when that has been sent, so it has time until
    /// then, unless the peer is seen to be gone before.
    Finished(Instant),
    /// Nothing is to be waited for.
    Said,
    /// Both FINs have been exchanged. The kernel may still have ours and what is before it to send, and a
    /// reset would only take that away.
    Complete,
}

/// How long a peer that has got its FIN is left alone before it is reset, so that the FIN and what is
/// before it can be sent.
const GRACE: Duration = Duration::from_secs(1);

impl LingeringClose {
    /// Begins, after the last byte was written to `stream`, and FIN if `finished`. The kernel has `linger`
    /// to send them. Where the system cannot tell when it has, there is a time to wait.
    pub(crate) fn begin(stream: &Stream, finished: bool, linger: Duration, now: Instant) -> Self {
        Self(if !finished && stream.watch_send_queue().is_ok() {
            ClosePhase::Sending(now + linger)
        } else {
            ClosePhase::Finished(now + GRACE)
        })
    }

    /// Begins without waiting: the coming close is a reset.
    pub(crate) fn at_once(stream: &Stream) -> Self {
        // A peer that is gone already refuses the option, and needs it no more.
        let _ = stream.reset_on_close();
        Self(ClosePhase::Said)
    }

    pub(crate) fn is_over(self) -> bool {
        matches!(self.0, ClosePhase::Said | ClosePhase::Complete)
    }

    pub(crate) fn intents(self, stream: &Stream, intents: &mut Intents<'_>) {
        match self.0 {
            ClosePhase::Sending(until) => {
                intents.write(stream);
                intents.deadline(until);
            }
            ClosePhase::Finished(until) => {
                intents.hangup(stream);
                intents.deadline(until);
            }
            ClosePhase::Said | ClosePhase::Complete => {}
        }
    }

    /// Gets on with it; `true` when the stream can be dropped.
    pub(crate) fn advance(&mut self, stream: &Stream, ready: &Ready<'_>) -> bool {
        match self.0 {
            ClosePhase::Sending(until) if ready.is_writable(stream) || until <= ready.now() => {
                self.cut(stream)
            }
            ClosePhase::Finished(until) if ready.is_hung_up(stream) || until <= ready.now() => {
                let gone = ready.is_hung_up(stream) && matches!(stream.take_error(), Ok(None));
                if gone {
                    self.0 = ClosePhase::Complete;
                } else {
                    self.cut(stream);
                }
            }
            _ => {}
        }
        self.is_over()
    }

    /// Waits no longer.
    pub(crate) fn cut(&mut self, stream: &Stream) {
        if !self.is_over() {
            *self = Self::at_once(stream);
        }
    }
}
