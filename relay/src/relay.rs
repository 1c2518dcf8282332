//! One direction of a session: bytes from a source through a ring to a sink, then the end.
//!
//! ```text
//!            readable                     writable
//! source ───────────────▶  ring (lent)  ───────────────▶ sink
//!
//!   Open ──── end or error of the source ────▶ Draining ──── ring empty ────▶ Done
//!     └──────────────── error of the sink: pending bytes are lost ────────────▲
//! ```

use std::io::{self, ErrorKind};
use std::time::Instant;

use ringbuf::{Drain, Fill, RingBuffer};

use crate::buffer::{Buffer, Bulk};
use crate::pipe::Pipes;
use crate::rate_limit::RateLimit;
use crate::source_sink::{ByteSink, ByteSource};

/// One direction of a session. It knows no event loop and works with anything that is [`ByteSource`] and
/// [`ByteSink`], so that it can be tested in memory.
///
/// Invariants:
/// - Bytes leave in the order in which they came, each once, and at most one ring of them is pending.
/// - The end is passed on once, after the last byte, and only if the source has ended: a source that
///   failed never looks like one that ended.
/// - After [`advance`](Relay::advance), if bytes are pending, the sink has refused to take them; if none are
///   and the source is open, the relay intends to read.
///
/// ```
/// use std::io::{self, Write};
/// use relay::{DirectionEnd, Relay, ByteSink, ByteSource};
/// use ringbuf::Pool;
///
/// struct Letter(&'static [u8]);
/// impl io::Read for Letter {
///     fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> { self.0.read(buffer) }
/// }
/// impl ByteSource for Letter {}
///
/// #[derive(Default)]
/// struct Inbox { bytes: Vec<u8>, finished: bool }
/// impl Write for Inbox {
///     fn write(&mut self, bytes: &[u8]) -> io::Result<usize> { self.bytes.write(bytes) }
///     fn flush(&mut self) -> io::Result<()> { Ok(()) }
/// }
/// impl ByteSink for Inbox {
///     fn finish(&mut self) -> io::Result<()> { self.finished = true; Ok(()) }
/// }
///
/// let pool = Pool::new(4, 1);
/// let mut relay = Relay::new(pool.reserve().expect("the pool is new"));
/// let (mut letter, mut inbox) = (Letter(b"twelve bytes"), Inbox::default());
/// while relay.end().is_none() {
///     relay.note_readable(); // what an event loop reports
///     relay.note_writable();
///     let _ = relay.advance(&mut letter, &mut inbox);
/// }
/// assert_eq!((relay.end(), inbox.finished), (Some(DirectionEnd::Finished), true));
/// assert_eq!(inbox.bytes, b"twelve bytes");
/// ```
#[derive(Debug)]
pub struct Relay {
    /// Closed when the direction has ended.
    buffer: Buffer,
    bulk: Bulk,
    extras: Option<Box<Extras>>,
    state: RelayState,
    /// The source was found ready and has not been drained since.
    readable: bool,
    /// The sink has not refused anything since it was found ready.
    writable: bool,
    /// The source has failed, although it may still hand out what arrived before.
    source_lost: bool,
    /// The source has ended: all that it will ever give can be read now.
    source_finished: bool,
    received: u64,
    delivered: u64,
}

/// What few directions have.
#[derive(Debug, Default)]
struct Extras {
    /// Bytes of the program's own, such as a reply or a PROXY header, that go out before those of the source.
    preface: Vec<u8>,
    /// How many more bytes may be read now, if there is a limit.
    rate: Option<RateLimit>,
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
    /// The source failed: every byte before that was delivered. The receiver does not know yet that the
    /// stream is incomplete.
    Broken,
    /// The sink failed, or the relay was abandoned: bytes may be lost.
    Abandoned,
}

/// What one call of [`Relay::advance`] did.
#[must_use = "a failure is reported only once"]
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
            bulk: Bulk::default(),
            extras: None,
            state: RelayState::Open,
            readable: false,
            writable: true,
            source_lost: false,
            source_finished: false,
            received: 0,
            delivered: 0,
        }
    }

    /// Lets bytes go through pipes of this store in place of the ring: while the transfer is bulk, or
    /// (`always`) from the first byte on. While no pipe is available they are copied.
    pub fn splice(&mut self, pipes: Pipes, always: bool) {
        self.bulk = Bulk::new(always);
        self.buffer.splice(pipes);
    }

    /// The source has something to read, has ended, or has failed.
    pub fn note_readable(&mut self) {
        self.readable = true;
    }

    /// The sink takes bytes again, or has failed.
    pub fn note_writable(&mut self) {
        self.writable = true;
    }

    /// The source has ended in an orderly way, and all that it will ever give can be read now, each time as much
    /// as there is room for. A read that fills less than its room then counts as the last one, and the end
    /// travels with its bytes.
    pub fn note_source_finished(&mut self) {
        self.source_finished = true;
        self.readable = true;
    }

    /// The source is known to have failed, though not from reading: what it still hands out is
    /// delivered, but an end that it then shows is not believed.
    pub fn note_source_lost(&mut self) {
        self.source_lost = true;
        self.readable = true;
    }

    /// From now on at most this many bytes a second are read.
    pub(crate) fn limit_rate(&mut self, rate: u64, now: Instant) {
        self.extras.get_or_insert_default().rate = Some(RateLimit::new(rate, now));
    }

    /// Time has passed: a rate limit may allow more.
    pub(crate) fn note_time(&mut self, now: Instant) {
        if let Some(rate) = self.rate_mut() {
            rate.refill(now);
        }
    }

    /// Sends bytes of the program's own before those of the source that have not been delivered yet. They do
    /// not count as delivered.
    pub fn precede(&mut self, bytes: &[u8]) {
        self.extras.get_or_insert_default().preface.extend(bytes);
    }

    /// The pending bytes, oldest first and in one piece, to be looked at before they are delivered. Those that are
    /// [spliced](Self::splice) cannot be looked at.
    pub fn peek(&mut self) -> &[u8] {
        self.buffer.peek()
    }

    /// Takes the first `n` pending bytes out: they are not delivered.
    ///
    /// # Panics
    ///
    /// If [`peek`](Self::peek) returns fewer bytes.
    pub fn consume(&mut self, n: usize) {
        self.buffer.consume(n);
    }

    /// Gives up this direction: pending bytes are lost, and nothing more is read or written.
    pub fn abandon(&mut self) {
        if self.end().is_none() {
            self.end_direction(DirectionEnd::Abandoned);
        }
    }

    /// Moves what can be moved: reads as long as the source was left with more, writes as long as the
    /// sink takes everything, a bounded number of times.
    ///
    /// There is no read after a short one and no write after a short one: those would only report that
    /// nothing is available.
    pub fn advance(&mut self, source: &mut impl ByteSource, sink: &mut impl ByteSink) -> Transfer {
        let mut transfer = Transfer::default();
        for _ in 0..ROUNDS {
            let fills = self.can_fill();
            if fills {
                self.fill(source, &mut transfer);
            }
            let drains = self.can_drain();
            if drains {
                self.drain(sink, &mut transfer);
            }
            if !fills && !drains {
                break;
            }
        }
        self.buffer.end_step();
        transfer
    }

    /// Whether the next thing to do is to read, as soon as the source is readable.
    #[must_use]
    pub fn intends_read(&self) -> bool {
        self.state == RelayState::Open && self.allowance() > 0 && self.has_room()
    }

    /// Whether there is something to write, as soon as the sink is writable.
    #[must_use]
    pub fn intends_write(&self) -> bool {
        match self.state {
            RelayState::Open => self.has_preface() || self.pending() > 0,
            RelayState::Draining(_) => true,
            RelayState::Done(_) => false,
        }
    }

    /// When the rate limit allows the next read, if only that keeps it from reading.
    pub(crate) fn resumes_at(&self) -> Option<Instant> {
        let rate = self.rate().filter(|rate| rate.tokens() == 0)?;
        (self.state == RelayState::Open && self.has_room()).then(|| rate.next())
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

    /// Bytes that are pending.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.buffer.len()
    }

    /// Whether the ring, or the pipe in use, has room for more.
    pub(crate) fn has_room(&self) -> bool {
        self.end().is_none() && self.buffer.has_room()
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

    /// How many bytes may be read now; `u64::MAX` if there is no limit.
    fn allowance(&self) -> u64 {
        self.rate().map_or(u64::MAX, RateLimit::tokens)
    }

    fn rate(&self) -> Option<&RateLimit> {
        self.extras.as_ref()?.rate.as_ref()
    }

    fn rate_mut(&mut self) -> Option<&mut RateLimit> {
        self.extras.as_mut()?.rate.as_mut()
    }

    fn has_preface(&self) -> bool {
        self.extras.as_ref().is_some_and(|extras| !extras.preface.is_empty())
    }

    /// Whether [`advance`](Self::advance) would read or write.
    pub(crate) fn can_advance(&self) -> bool {
        self.can_fill() || self.can_drain()
    }

    fn can_fill(&self) -> bool {
        self.readable && self.intends_read()
    }

    fn can_drain(&self) -> bool {
        self.writable && self.intends_write()
    }

    fn fill(&mut self, source: &mut impl ByteSource, transfer: &mut Transfer) {
        let allowance = self.allowance();
        match self.buffer.fill_from(source, &mut self.bulk, allowance) {
            Ok(Fill::Read(n)) => {
                // A read that was not allowed to fill the room proves nothing when it is short.
                let drained = !self.buffer.is_full() && self.rate().is_none();
                self.readable = !drained || self.source_lost;
                self.received += n as u64;
                transfer.received += n;
                if let Some(rate) = self.rate_mut() {
                    rate.take(n as u64);
                }
                if drained && self.source_finished && self.buffer.short_read_was_last(source) {
                    self.end_source();
                }
            }
            // A connection that has failed gives its error or its end; one that was given up gives neither.
            Ok(Fill::Blocked) if self.source_lost => self.end_source(),
            Ok(Fill::Blocked) => self.readable = false,
            Ok(Fill::Full) => {}
            Ok(Fill::Eof) => self.end_source(),
            Err(error) => {
                self.state = RelayState::Draining(DirectionEnd::Broken);
                transfer.source_error = Some(error);
            }
        }
    }

    /// The source has ended, and all that it has sent was read.
    pub(crate) fn end_source(&mut self) {
        let end = if self.source_lost { DirectionEnd::Broken } else { DirectionEnd::Finished };
        self.state = RelayState::Draining(end);
    }

    fn drain(&mut self, sink: &mut impl ByteSink, transfer: &mut Transfer) {
        if let Err(error) = self.drain_preface(sink) {
            return self.lose_sink(error, transfer);
        }
        if self.has_preface() {
            return self.writable = false;
        }
        let end_follows = self.state == RelayState::Draining(DirectionEnd::Finished);
        match self.buffer.drain_to(sink, end_follows) {
            Ok(Drain::Wrote(n)) => {
                self.writable = self.buffer.is_empty();
                self.delivered += n as u64;
                transfer.delivered += n;
            }
            Ok(Drain::Blocked) => self.writable = false,
            Ok(Drain::Empty) => {}
            Err(error) => return self.lose_sink(error, transfer),
        }
        if let RelayState::Draining(end) = self.state
            && self.pending() == 0
        {
            match if end == DirectionEnd::Finished { sink.finish() } else { Ok(()) } {
                Ok(()) => self.end_direction(end),
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.writable = false,
                Err(error) => self.lose_sink(error, transfer),
            }
        }
    }

    /// Writes the preface once, if there is one; a sink that takes nothing now is not an error.
    fn drain_preface(&mut self, sink: &mut impl ByteSink) -> io::Result<()> {
        let Some(extras) = &mut self.extras else { return Ok(()) };
        while !extras.preface.is_empty() {
            match sink.write(&extras.preface) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(n) => {
                    extras.preface.drain(..n);
                    break;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        self.extras.take_if(|extras| extras.rate.is_none() && extras.preface.is_empty());
        Ok(())
    }

    /// The direction is over; its ring goes back to the pool.
    fn end_direction(&mut self, end: DirectionEnd) {
        self.buffer.close();
        self.extras = None;
        self.state = RelayState::Done(end);
    }

    fn lose_sink(&mut self, error: io::Error, transfer: &mut Transfer) {
        self.abandon();
        transfer.sink_error = Some(error);
    }
}

#[cfg(test)]
mod tests;
