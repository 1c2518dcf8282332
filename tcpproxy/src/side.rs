//! One of the two connections of a session, and how it is taken leave of.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use eventloop::{Intents, Ready, Stream};

use crate::relay::{self, Relay};

/// One of the two connections.
pub(crate) struct Side {
    pub(crate) stream: Stream,
    pub(crate) address: SocketAddr,
    /// The connection has failed. What arrived before may still be read.
    pub(crate) lost: bool,
    /// Both FINs have been exchanged.
    complete: bool,
}

/// What is still to be waited for before a side is reset.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Goodbye {
    /// Nothing is to be waited for.
    Said,
    /// The kernel still has bytes to send, for which it has time until then.
    Sending(Instant),
    /// The side has got its FIN. The kernel does not tell when that has been sent, so it has time until
    /// then, unless the side is seen to be gone before.
    Finishing(Instant),
}

/// How long a side that has got its FIN is left alone before it is reset, so that the FIN and what is
/// before it can be sent.
const GRACE: Duration = Duration::from_secs(1);

impl Side {
    pub(crate) fn new(stream: Stream, address: SocketAddr) -> Self {
        Self { stream, address, lost: false, complete: false }
    }

    pub(crate) fn intents(&self, want: &mut Intents<'_>, from: &Relay, to: Option<&Relay>) {
        if !self.lost {
            want.hangup(&self.stream);
        }
        if from.wants_read() {
            want.read(&self.stream);
        }
        if to.is_some_and(Relay::wants_write) {
            want.write(&self.stream);
        }
    }

    /// Makes the coming close a reset, unless both FINs have been exchanged: then the kernel may still have
    /// to send ours and what is before it, and a reset would only take that away.
    pub(crate) fn reset(&self) {
        if !self.complete {
            // A side that is gone already refuses the option, and needs it no more.
            let _ = self.stream.reset_on_close();
        }
    }

    /// Why the connection failed, if it did so while nothing was wanted of it.
    pub(crate) fn hung_up(&self, ready: &Ready<'_>) -> Option<io::Error> {
        if self.lost || !ready.is_hung_up(&self.stream) {
            return None;
        }
        self.stream.take_error().unwrap_or_else(Some)
    }
}

impl Goodbye {
    /// Takes leave of a side to which this relay delivered. Where the system cannot tell when everything
    /// has been sent, there is a time to wait.
    pub(crate) fn begin(side: &Side, to: &Relay, linger: Duration, now: Instant) -> Self {
        match to.ending() {
            _ if side.lost => Self::Said,
            Some(relay::Ending::Finished) => Self::Finishing(now + GRACE),
            _ if side.stream.watch_send_queue().is_ok() => Self::Sending(now + linger),
            _ => Self::Finishing(now + GRACE),
        }
    }

    pub(crate) fn intents(self, side: &Side, want: &mut Intents<'_>) {
        match self {
            Self::Said => return,
            Self::Sending(_) => want.write(&side.stream),
            Self::Finishing(_) => want.hangup(&side.stream),
        }
        if let Self::Sending(deadline) | Self::Finishing(deadline) = self {
            want.deadline(deadline);
        }
    }

    pub(crate) fn advance(&mut self, side: &mut Side, ready: &Ready<'_>) {
        let over = match *self {
            Self::Said => true,
            Self::Sending(deadline) => ready.is_writable(&side.stream) || deadline <= ready.now(),
            Self::Finishing(deadline) => {
                let gone = ready.is_hung_up(&side.stream);
                side.complete = gone && side.hung_up(ready).is_none();
                gone || deadline <= ready.now()
            }
        };
        if over {
            *self = Self::Said;
        }
    }
}
