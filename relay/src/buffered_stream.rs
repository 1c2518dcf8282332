//! One connection with a ring in each direction, for programs that understand what they carry.
//!
//! ```text
//!            fill                               flush
//!   peer ───────────▶ input ──▶ the program ──▶ output ───────────▶ peer
//! ```
//!
//! A [`Relay`](crate::relay::Relay) carries bytes from one connection to another as they are. Whoever
//! parses them on the way, or answers them, has a buffered stream to each peer, and moves bytes from one's input
//! to another's output.

use std::time::Instant;

use eventloop::{Intents, Ready, Stream};
use ringbuf::{Drain, Fill, RingBuffer};

use crate::lingering_close::LingeringClose;

/// A connection, what its peer has sent that nobody has used yet, and what the peer is to get.
///
/// Its session passes on [`intents`](Self::intents), and in each step calls [`fill`](Self::fill), does its
/// work, and calls [`flush`](Self::flush). Where a step has changed something there may be more to do
/// without any news from the kernel: the session then asks for another one, with
/// [`Progress::Again`](eventloop::Progress::Again).
///
/// Invariants:
/// - Nothing is read that was not found readable, and after the stream has refused bytes nothing is
///   written until it is found writable.
/// - Between steps there are rings only for bytes that wait.
#[derive(Debug)]
pub struct BufferedStream {
    /// What the peer has sent.
    pub input: RingBuffer,
    /// What the peer is to get.
    pub output: RingBuffer,
    stream: Stream,
    /// What the peer sends has ended.
    ended: Option<InputEnd>,
    /// A write has failed: the peer gets nothing any more, but what it sent before can be read.
    deaf: bool,
    /// The stream has refused bytes since it was found writable.
    blocked: bool,
    closing: Option<Closing>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum InputEnd {
    Finished,
    Failed,
}

/// How a stream is closed, and how far it is with that.
#[derive(Clone, Copy, Debug)]
enum Closing {
    /// What waits goes out, then FIN.
    Finish(Instant),
    /// The peer has got its FIN, and has until then to finish, too.
    Linger(Instant),
    /// What waits goes out, then RST.
    Reset(Instant),
    LingeringClose(LingeringClose),
}

impl BufferedStream {
    /// A buffered stream to the peer of a new connection, with the rights to two rings.
    #[must_use]
    pub fn new(stream: Stream, input: RingBuffer, output: RingBuffer) -> Self {
        Self { input, output, stream, ended: None, deaf: false, blocked: false, closing: None }
    }

    /// The connection.
    #[must_use]
    pub fn stream(&self) -> &Stream {
        &self.stream
    }

    /// Declares that what fits is to be read and what waits is to be written.
    pub fn intents(&self, intents: &mut Intents<'_>) {
        if !self.has_failed() {
            intents.hangup(&self.stream);
        }
        if self.ended.is_none() && !self.input.is_full() {
            intents.read(&self.stream);
        }
        if !self.output.is_empty() {
            intents.write(&self.stream);
        }
        match self.closing {
            Some(Closing::Finish(until) | Closing::Linger(until) | Closing::Reset(until)) => {
                intents.deadline(until)
            }
            Some(Closing::LingeringClose(closing)) => closing.intents(&self.stream, intents),
            None => {}
        }
    }

    /// Reads once, if there is something and room for it. Returns whether that changed anything.
    pub fn fill(&mut self, ready: &Ready<'_>) -> bool {
        let due = ready.is_readable(&self.stream) || ready.is_hung_up(&self.stream);
        if !due || self.ended.is_some() || self.input.is_full() {
            return false;
        }
        match self.input.fill_from(&mut &self.stream) {
            Ok(Fill::Read(_)) => {}
            // The error that would tell the end from a reset has been used up by the write that met it.
            Ok(Fill::Eof) if self.deaf => self.ended = Some(InputEnd::Failed),
            Ok(Fill::Eof) => self.ended = Some(InputEnd::Finished),
            Ok(Fill::Blocked | Fill::Full) => return false,
            Err(_) => self.ended = Some(InputEnd::Failed),
        }
        true
    }

    /// Writes once, if something waits and the stream takes it. Returns whether that changed anything. After a
    /// failure what waits is lost.
    pub fn flush(&mut self, ready: &Ready<'_>) -> bool {
        self.blocked &= !ready.is_writable(&self.stream);
        let mut changed = false;
        if !self.blocked && !self.output.is_empty() {
            match self.output.drain_to(&mut &self.stream) {
                Ok(Drain::Wrote(_)) => changed = true,
                Ok(Drain::Blocked | Drain::Empty) => {}
                Err(_) => {
                    self.output.clear();
                    changed = !std::mem::replace(&mut self.deaf, true);
                }
            }
            self.blocked = !self.output.is_empty();
        }
        changed
    }

    /// Whether the peer has ended what it sends, properly or not; what came before may still wait.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.ended.is_some()
    }

    /// Whether the connection has failed, so that the peer gets nothing any more.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.deaf || self.ended == Some(InputEnd::Failed)
    }

    /// From now on the stream is only closed: what waits goes out, then FIN. What the peer still sends is
    /// forgotten until it has finished too, or until `until`: a close with unread bytes would reset, and
    /// could overtake what the peer has yet to receive (RFC 9112, section 9.6).
    pub fn finish(&mut self, until: Instant) {
        self.closing = Some(Closing::Finish(until));
    }

    /// From now on the stream is only closed: what waits goes out, then RST as soon as the kernel has
    /// sent it, at `until` at the latest. So the peer cannot take a part for the whole.
    pub fn reset(&mut self, until: Instant) {
        self.closing = Some(Closing::Reset(until));
    }

    /// Advances the close, after [`flush`](Self::flush). Returns whether the stream can be dropped.
    pub fn is_closed(&mut self, ready: &Ready<'_>) -> bool {
        let (now, sent, failed) = (ready.now(), self.output.is_empty(), self.has_failed());
        if self.closing.is_some() {
            self.input.clear();
        }
        match &mut self.closing {
            None => false,
            Some(Closing::LingeringClose(closing)) => closing.advance(&self.stream, ready) || failed,
            Some(Closing::Reset(until)) if failed || *until <= now => {
                self.closing = Some(Closing::LingeringClose(LingeringClose::at_once(&self.stream)));
                true
            }
            Some(Closing::Finish(until) | Closing::Linger(until)) if failed || *until <= now => true,
            Some(Closing::Reset(until)) if sent => {
                let linger = until.saturating_duration_since(now);
                self.closing =
                    Some(Closing::LingeringClose(LingeringClose::begin(&self.stream, false, linger, now)));
                false
            }
            Some(Closing::Finish(until)) if sent => {
                let _ = self.stream.finish(); // who is gone already does not hear it, and shows as failed or late
                self.closing = Some(Closing::Linger(*until));
                self.ended.is_some()
            }
            Some(Closing::Linger(_)) => self.ended.is_some(),
            Some(Closing::Reset(_) | Closing::Finish(_)) => false,
        }
    }
}
