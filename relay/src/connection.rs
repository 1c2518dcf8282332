//! What the parts of this crate need of a connection: a TCP stream has it, and so has a simulated one.

use std::io;

use eventloop::{Intents, Permit, Readiness, Ready, Stream};

use crate::source_sink::{ByteSink, ByteSource};

/// A connection that is watched by an event loop: [`Stream`], or in tests a simulated one.
///
/// A connection is born to be reset: its peer receives RST when the value is dropped, and FIN only after
/// [`ByteSink::finish`] or [`close`](Self::close).
pub trait Connection: Sized {
    /// Declares what is to be reported of this connection. Its failure is reported in any case.
    fn declare(&self, intent: Intent, intents: &mut Intents<'_>);

    /// What was reported in this step.
    fn readiness(&self, ready: &Ready<'_>) -> Readiness;

    /// What the peer sends.
    fn source(&self) -> impl ByteSource;

    /// What the peer receives.
    fn sink(&self) -> impl ByteSink;

    /// The error that has ended the connection, if it was not reported before (`SO_ERROR`, socket(7)).
    ///
    /// # Errors
    ///
    /// If the connection cannot be asked.
    fn take_error(&self) -> io::Result<Option<io::Error>>;

    /// From now on "writable" means that every byte written so far was sent.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::Unsupported`] where the system cannot tell.
    fn watch_send_queue(&self) -> io::Result<()>;

    /// How many bytes the peer has not acknowledged, where a FIN counts as one; `None` if the kernel has
    /// forgotten the connection, as after both sides have finished.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::Unsupported`] where the system cannot tell.
    fn unacknowledged(&self) -> io::Result<Option<u32>>;

    /// Takes the client's permit out of the connection, for an owner that outlives it; `None` if it holds none.
    fn take_permit(&self) -> Option<Permit> {
        None
    }

    /// Ends the connection in an orderly way: FIN after the bytes written so far.
    fn close(self);
}

/// What a part intends to do with a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Intent {
    /// To read.
    pub read: bool,
    /// To write.
    pub write: bool,
}

impl Connection for Stream {
    fn declare(&self, intent: Intent, intents: &mut Intents<'_>) {
        if intent.read {
            intents.read(self);
        }
        if intent.write {
            intents.write(self);
        }
        if !intent.read && !intent.write {
            intents.hangup(self);
        }
    }

    fn readiness(&self, ready: &Ready<'_>) -> Readiness {
        ready.readiness(self)
    }

    fn source(&self) -> impl ByteSource {
        self
    }

    fn sink(&self) -> impl ByteSink {
        self
    }

    fn take_error(&self) -> io::Result<Option<io::Error>> {
        (**self).take_error()
    }

    fn watch_send_queue(&self) -> io::Result<()> {
        Stream::watch_send_queue(self)
    }

    fn unacknowledged(&self) -> io::Result<Option<u32>> {
        Ok(self.tcp_status()?.map(|status| status.unacknowledged))
    }

    fn take_permit(&self) -> Option<Permit> {
        Stream::take_permit(self)
    }

    fn close(self) {
        Stream::close(self);
    }
}
