//! One direction of a session: bytes from a source through a ring to a sink, then the end.
//!
//! ```text
//!            readable                     writable
//! source ───────────────▶  ring (lent)  ───────────────▶ sink
//!
//!   Open ──── end or error of the source ────▶ Draining ──── ring empty ────▶ Done
//!     └──────────────── error of the sink: what waits is lost ────────────────▲
//! ```
//!
//! A relay knows no loop, and works with anything that is [`Read`] and [`Sink`], so it is tested in
//! memory.

use std::io::{self, ErrorKind, Read, Write};

use eventloop::Stream;
use ringbuf::{Drain, Fill, Slot};

/// Where a relay delivers: a writer that can be told that nothing more comes.
pub trait Sink: Write {
    /// Passes on the end of the stream: for TCP, FIN.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::WouldBlock`] to be asked again when the sink has become writable; anything else
    /// counts as a failure of the sink.
    fn finish(&mut self) -> io::Result<()>;
}

impl Sink for &Stream {
    fn finish(&mut self) -> io::Result<()> {
        Stream::finish(self)
    }
}

/// One direction of a session.
///
/// Invariants:
/// - Bytes leave in the order in which they came, each once, and no more than one ring of them waits.
/// - The end is passed on once, after the last byte, and only if the source has ended: a source that
///   failed never looks like one that ended.
/// - After [`advance`](Relay::advance), if bytes wait, the sink has refused to take them; if none wait
///   and the source is open, it is worth waiting until the source is readable.
#[derive(Debug)]
pub struct Relay {
    slot: Slot,
    state: State,
    /// The source was found ready and has not been drained since.
    readable: bool,
    /// The sink has not refused anything since it was found ready.
    writable: bool,
    /// The source has failed, although it may still hand out what arrived before.
    source_lost: bool,
    received: u64,
    delivered: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    Draining(Ending),
    Done(Ending),
}

/// How a direction ended, as its receiver has to see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The source ended: every byte was delivered, and then the end.
    Finished,
    /// The source failed: every byte before that was delivered, and the receiver has yet to hear that
    /// the stream is not complete.
    Broken,
    /// The sink failed, or the relay was told to stop: bytes may be lost.
    Abandoned,
}

/// What one call of [`Relay::advance`] did.
#[must_use = "a failure is told only once"]
#[derive(Debug, Default)]
pub struct Step {
    /// Bytes that came in.
    pub received: usize,
    /// Bytes that went out.
    pub delivered: usize,
    /// The source failed with this.
    pub source_error: Option<io::Error>,
    /// The sink failed with this.
    pub sink_error: Option<io::Error>,
}

/// How often one step fills and drains the ring, so that other sessions get their turn.
const ROUNDS: usize = 8;

impl Relay {
    /// A relay that has not begun. Its sink counts as writable until it refuses something, as a new
    /// connection is; its source as not readable until that is noted.
    #[must_use]
    pub fn new(slot: Slot) -> Self {
        Self {
            slot,
            state: State::Open,
            readable: false,
            writable: true,
            source_lost: false,
            received: 0,
            delivered: 0,
        }
    }

    /// The source has something to read, has ended, or has failed.
    pub fn note_readable(&mut self) {
        self.readable = true;
    }

    /// The sink takes bytes again, or has failed.
    pub fn note_writable(&mut self) {
        self.writable = true;
    }

    /// The source is known to have failed, though not from reading: what it still hands out is
    /// delivered, but an end that it then shows is not believed.
    pub fn note_source_lost(&mut self) {
        self.source_lost = true;
        self.readable = true;
    }

    /// Gives up this direction: what waits is lost, and nothing more is read or written.
    pub fn abandon(&mut self) {
        if self.ending().is_none() {
            self.slot.discard();
            self.state = State::Done(Ending::Abandoned);
        }
    }

    /// Moves what can be moved: reads as long as the source was left with more, writes as long as the
    /// sink takes everything, a bounded number of times.
    ///
    /// There is no read after a short one and no write after a short one: those would only hear that
    /// there is nothing to be had.
    pub fn advance(&mut self, source: &mut impl Read, sink: &mut impl Sink) -> Step {
        let mut step = Step::default();
        for _ in 0..ROUNDS {
            if !self.can_fill() && !self.can_drain() {
                break;
            }
            self.fill(source, &mut step);
            self.drain(sink, &mut step);
        }
        self.slot.settle();
        step
    }

    /// Whether it is worth waiting until the source is readable.
    #[must_use]
    pub fn wants_read(&self) -> bool {
        self.state == State::Open && !self.slot.is_full()
    }

    /// Whether it is worth waiting until the sink is writable.
    #[must_use]
    pub fn wants_write(&self) -> bool {
        match self.state {
            State::Open => !self.slot.is_empty(),
            State::Draining(_) => true,
            State::Done(_) => false,
        }
    }

    /// How this direction ended, if it has.
    #[must_use]
    pub fn ending(&self) -> Option<Ending> {
        match self.state {
            State::Done(ending) => Some(ending),
            State::Open | State::Draining(_) => None,
        }
    }

    /// Whether the source has ended or failed, or the whole direction is over.
    #[must_use]
    pub fn source_is_over(&self) -> bool {
        self.state != State::Open
    }

    /// Bytes that wait in the ring.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.slot.len()
    }

    /// Bytes taken from the source so far.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Bytes that the sink has taken so far.
    #[must_use]
    pub fn delivered(&self) -> u64 {
        self.delivered
    }

    fn can_fill(&self) -> bool {
        self.readable && self.wants_read()
    }

    fn can_drain(&self) -> bool {
        self.writable && self.wants_write()
    }

    fn fill(&mut self, source: &mut impl Read, step: &mut Step) {
        if !self.can_fill() {
            return;
        }
        let room = self.slot.free();
        match self.slot.ring().fill_from(source) {
            Ok(Fill::Read(n)) => {
                self.readable = n == room;
                self.received += n as u64;
                step.received += n;
            }
            Ok(Fill::Blocked) => self.readable = false,
            Ok(Fill::Full) => {}
            Ok(Fill::Eof) if self.source_lost => self.state = State::Draining(Ending::Broken),
            Ok(Fill::Eof) => self.state = State::Draining(Ending::Finished),
            Err(error) => {
                self.state = State::Draining(Ending::Broken);
                step.source_error = Some(error);
            }
        }
    }

    fn drain(&mut self, sink: &mut impl Sink, step: &mut Step) {
        if !self.can_drain() {
            return;
        }
        let outcome = if self.slot.is_empty() { Ok(Drain::Empty) } else { self.slot.ring().drain_to(sink) };
        match outcome {
            Ok(Drain::Wrote(n)) => {
                self.writable = self.slot.is_empty();
                self.delivered += n as u64;
                step.delivered += n;
            }
            Ok(Drain::Blocked) => self.writable = false,
            Ok(Drain::Empty) => {}
            Err(error) => return self.lose_sink(error, step),
        }
        if let State::Draining(ending) = self.state
            && self.slot.is_empty()
        {
            match if ending == Ending::Finished { sink.finish() } else { Ok(()) } {
                Ok(()) => self.state = State::Done(ending),
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.writable = false,
                Err(error) => self.lose_sink(error, step),
            }
        }
    }

    fn lose_sink(&mut self, error: io::Error, step: &mut Step) {
        self.abandon();
        step.sink_error = Some(error);
    }
}

#[cfg(test)]
mod tests;
