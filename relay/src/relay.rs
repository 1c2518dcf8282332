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
use ringbuf::{Drain, Fill, RingBuffer};

use crate::buffer::Buffer;
use crate::pipe::{Pipe, Pipes};

/// Where a relay takes bytes from: a reader that may also know how to fill a pipe.
pub trait Source: Read {
    /// Moves bytes into a pipe, as [`Pipe::fill_from`] does.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unsupported`] if only reading will do; anything else is a failure of the source.
    fn splice_into(&mut self, pipe: &mut Pipe) -> io::Result<Fill> {
        let _ = pipe;
        Err(ErrorKind::Unsupported.into())
    }
}

/// Where a relay delivers: a writer that can be told that nothing more comes, and may also know how to
/// drain a pipe.
pub trait Sink: Write {
    /// Takes bytes out of a pipe, as [`Pipe::drain_to`] does. A relay whose source does not splice does not
    /// ask for it.
    ///
    /// # Errors
    ///
    /// What is a failure of the sink.
    fn splice_from(&mut self, pipe: &mut Pipe) -> io::Result<Drain> {
        let _ = pipe;
        Err(ErrorKind::Unsupported.into())
    }

    /// Passes on the end of the stream: for TCP, FIN.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::WouldBlock`] to be asked again when the sink has become writable; anything else
    /// counts as a failure of the sink.
    fn finish(&mut self) -> io::Result<()>;
}

impl Source for &Stream {
    fn splice_into(&mut self, pipe: &mut Pipe) -> io::Result<Fill> {
        pipe.fill_from(&***self)
    }
}

impl Sink for &Stream {
    fn splice_from(&mut self, pipe: &mut Pipe) -> io::Result<Drain> {
        pipe.drain_to(&***self)
    }

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
    buffer: Buffer,
    state: RelayState,
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
enum RelayState {
    Open,
    Draining(DirectionEnd),
    Done(DirectionEnd),
}

/// How a direction ended, as its receiver has to see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DirectionEnd {
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
pub struct Transfer {
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
    pub fn new(ring: RingBuffer) -> Self {
        Self {
            buffer: Buffer::new(ring),
            state: RelayState::Open,
            readable: false,
            writable: true,
            source_lost: false,
            received: 0,
            delivered: 0,
        }
    }

    /// Lets bytes go through pipes of this store in place of the ring: when many come, here and in other
    /// relays, or (`always`) from the first one on. Without a pipe to be had they are copied.
    #[must_use]
    pub fn splicing(mut self, pipes: Pipes, always: bool) -> Self {
        self.buffer.splice(pipes, always);
        self
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
        if self.end().is_none() {
            self.buffer.discard();
            self.state = RelayState::Done(DirectionEnd::Abandoned);
        }
    }

    /// Moves what can be moved: reads as long as the source was left with more, writes as long as the
    /// sink takes everything, a bounded number of times.
    ///
    /// There is no read after a short one and no write after a short one: those would only hear that
    /// there is nothing to be had.
    pub fn advance(&mut self, source: &mut impl Source, sink: &mut impl Sink) -> Transfer {
        let mut step = Transfer::default();
        for _ in 0..ROUNDS {
            if !self.can_fill() && !self.can_drain() {
                break;
            }
            self.fill(source, &mut step);
            self.drain(sink, &mut step);
        }
        self.buffer.end_step();
        step
    }

    /// Whether it is worth waiting until the source is readable.
    #[must_use]
    pub fn intends_read(&self) -> bool {
        self.state == RelayState::Open && self.buffer.has_room()
    }

    /// Whether it is worth waiting until the sink is writable.
    #[must_use]
    pub fn intends_write(&self) -> bool {
        match self.state {
            RelayState::Open => !self.buffer.is_empty(),
            RelayState::Draining(_) => true,
            RelayState::Done(_) => false,
        }
    }

    /// How this direction ended, if it has.
    #[must_use]
    pub fn end(&self) -> Option<DirectionEnd> {
        match self.state {
            RelayState::Done(end) => Some(end),
            RelayState::Open | RelayState::Draining(_) => None,
        }
    }

    /// Whether the source has ended or failed, or the whole direction is over.
    #[must_use]
    pub fn source_is_over(&self) -> bool {
        self.state != RelayState::Open
    }

    /// Bytes that wait.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.buffer.len()
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
        self.readable && self.intends_read()
    }

    fn can_drain(&self) -> bool {
        self.writable && self.intends_write()
    }

    fn fill(&mut self, source: &mut impl Source, step: &mut Transfer) {
        if !self.can_fill() {
            return;
        }
        match self.buffer.fill_from(source) {
            Ok(Fill::Read(n)) => {
                self.readable = self.buffer.is_full();
                self.received += n as u64;
                step.received += n;
            }
            Ok(Fill::Blocked) => self.readable = false,
            Ok(Fill::Full) => {}
            Ok(Fill::Eof) if self.source_lost => self.state = RelayState::Draining(DirectionEnd::Broken),
            Ok(Fill::Eof) => self.state = RelayState::Draining(DirectionEnd::Finished),
            Err(error) => {
                self.state = RelayState::Draining(DirectionEnd::Broken);
                step.source_error = Some(error);
            }
        }
    }

    fn drain(&mut self, sink: &mut impl Sink, step: &mut Transfer) {
        if !self.can_drain() {
            return;
        }
        match self.buffer.drain_to(sink) {
            Ok(Drain::Wrote(n)) => {
                self.writable = self.buffer.is_empty();
                self.delivered += n as u64;
                step.delivered += n;
            }
            Ok(Drain::Blocked) => self.writable = false,
            Ok(Drain::Empty) => {}
            Err(error) => return self.lose_sink(error, step),
        }
        if let RelayState::Draining(end) = self.state
            && self.buffer.is_empty()
        {
            match if end == DirectionEnd::Finished { sink.finish() } else { Ok(()) } {
                Ok(()) => self.state = RelayState::Done(end),
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.writable = false,
                Err(error) => self.lose_sink(error, step),
            }
        }
    }

    fn lose_sink(&mut self, error: io::Error, step: &mut Transfer) {
        self.abandon();
        step.sink_error = Some(error);
    }
}

#[cfg(test)]
mod tests;
