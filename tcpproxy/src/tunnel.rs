//! Two connections joined by two relays, one for each direction.

use eventloop::{Intents, Ready, Stream};
use ringbuf::Slot;

use crate::relay::{Ending, Relay};

/// Carries bytes both ways between a client and a server until both have finished or one has failed.
///
/// It is a part of a session, which owns the connections: the session passes on
/// [`intents`](Self::intents) and calls [`advance`](Self::advance) in its step.
#[derive(Debug)]
pub struct Tunnel {
    up: Relay,
    down: Relay,
}

/// What one call of [`Tunnel::advance`] has come to.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passage {
    /// Bytes have moved.
    Moved,
    /// There was nothing to do.
    Blocked,
    /// Both sides have finished, and both know.
    Finished,
    /// A side has failed, and what it had sent before was delivered: both connections have to be reset.
    /// The server's is when it is dropped; the client may have bytes yet to receive.
    Broken,
}

impl Tunnel {
    /// A tunnel with the rights to two rings: from the client up to the server, and down again. What waits
    /// in them already goes out first.
    #[must_use]
    pub fn new(up: Slot, down: Slot) -> Self {
        Self { up: Relay::new(up), down: Relay::new(down) }
    }

    /// Declares what the relays wait for.
    pub fn intents(&self, client: &Stream, server: &Stream, want: &mut Intents<'_>) {
        for (from, to, relay) in [(client, server, &self.up), (server, client, &self.down)] {
            if relay.wants_read() {
                want.read(from);
            }
            if relay.wants_write() {
                want.write(to);
            }
        }
    }

    /// Moves what can be moved, a bounded amount.
    pub fn advance(&mut self, client: &Stream, server: &Stream, ready: &Ready<'_>) -> Passage {
        for (from, to, relay) in [(client, server, &mut self.up), (server, client, &mut self.down)] {
            if ready.is_readable(from) {
                relay.note_readable();
            }
            if ready.is_writable(to) {
                relay.note_writable();
            }
        }
        // A write to a connection that was reset takes the error away, and a read would then find a clean end.
        let up = self.up.advance(&mut &*client, &mut &*server);
        if up.sink_error.is_some() {
            self.down.note_source_lost();
        }
        let down = self.down.advance(&mut &*server, &mut &*client);
        if down.sink_error.is_some() {
            self.up.note_source_lost();
        }
        let moved = up.received + up.delivered + down.received + down.delivered;
        let passage = if moved > 0 { Passage::Moved } else { Passage::Blocked };
        match (self.up.ending(), self.down.ending()) {
            (Some(Ending::Finished), Some(Ending::Finished)) => Passage::Finished,
            (None, None | Some(Ending::Finished)) | (Some(Ending::Finished), None) => passage,
            (Some(Ending::Abandoned), None) => {
                self.down.note_source_lost(); // what the server sent before it failed can still be had
                passage
            }
            _ => {
                let _ = server.reset_on_close(); // who is gone needs it no more
                Passage::Broken
            }
        }
    }
}
