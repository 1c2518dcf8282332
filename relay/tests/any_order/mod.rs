//! A relay whose loop reports things in any order, needed or not, and what it must keep to all the same.
//!
//! Plans come from proptest (`relay.rs`) and from a fuzzer (`fuzz/` in the repository).

use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice, IoSliceMut, Read, Write};

use arbitrary::{Arbitrary, Unstructured};
use relay::{ByteSink, ByteSource, DirectionEnd, Relay};
use ringbuf::Pool;
use testkit::payload::Payload;
use testkit::scripted::{ReadStep, ScriptedReader, ScriptedWriter, WriteStep};
use testkit::seed::Seed;

/// What happens to a relay.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// One less than the capacity of its ring, before it is cut to at most 64.
    capacity: u8,
    finishes: Vec<FinishStep>,
    reads: Vec<ReadStep>,
    writes: Vec<WriteStep>,
    events: Vec<Event>,
}

/// What the loop does next.
#[derive(Clone, Copy, Debug)]
enum Event {
    Readable,
    Writable,
    SourceLost,
    Abandon,
    Advance,
}

/// What the sink says to the end of the stream.
#[derive(Arbitrary, Clone, Copy, Debug, PartialEq, Eq)]
enum FinishStep {
    Takes,
    Blocks,
    Fails,
}

/// Steps and events until the bytes are used up. (A derived `Vec` would end before each of them with a probability of
/// one half.)
impl<'a> Arbitrary<'a> for Plan {
    fn arbitrary(bytes: &mut Unstructured<'a>) -> arbitrary::Result<Self> {
        let capacity = bytes.arbitrary()?;
        let mut plan = Self { capacity, finishes: vec![], reads: vec![], writes: vec![], events: vec![] };
        while !bytes.is_empty() {
            match u8::arbitrary(bytes)? {
                0..8 => plan.finishes.push(bytes.arbitrary()?),
                8..60 => plan.reads.push(bytes.arbitrary()?),
                60..112 => plan.writes.push(bytes.arbitrary()?),
                // Most plans go on for long before one of these ends them.
                112..115 => plan.events.push(Event::SourceLost),
                115..118 => plan.events.push(Event::Abandon),
                118..160 => plan.events.push(Event::Readable),
                160..200 => plan.events.push(Event::Writable),
                200.. => plan.events.push(Event::Advance),
            }
        }
        Ok(plan)
    }
}

/// More rounds than this in one step would keep others waiting.
const ROUNDS: usize = 16;

impl Plan {
    /// Does everything planned, then goes on as a loop does until the relay is done.
    ///
    /// # Panics
    ///
    /// When the relay breaks a promise.
    pub(crate) fn run(&self) {
        let mut run = Run::new(self);
        for event in &self.events {
            run.meet(*event);
        }
        run.go_on_to_the_end();
        run.judge();
    }
}

/// A source that can only be read.
struct Inlet<'a>(&'a mut ScriptedReader);

impl ByteSource for Inlet<'_> {}

impl Read for Inlet<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }

    fn read_vectored(&mut self, buffers: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        self.0.read_vectored(buffers)
    }
}

/// A relay between its scripts.
struct Run {
    payload: Payload,
    pool: Pool,
    capacity: usize,
    relay: Relay,
    reader: ScriptedReader,
    outlet: Outlet,
    abandoned: bool,
    /// The source was known to have failed before its end was read.
    lost_before_the_end: bool,
    source_errors: usize,
    sink_errors: usize,
}

impl Run {
    fn new(plan: &Plan) -> Self {
        let payload = Payload::new(Seed::new(9));
        let capacity = usize::from(plan.capacity % 64) + 1;
        let pool = Pool::new(capacity, 1);
        Self {
            payload,
            relay: Relay::new(pool.reserve().expect("the pool is new")),
            pool,
            capacity,
            reader: ScriptedReader::new(payload, plan.reads.iter().copied()),
            outlet: Outlet {
                writer: ScriptedWriter::new(plan.writes.iter().copied()),
                finishes: plan.finishes.iter().copied().collect(),
                blocked: false,
                failed: false,
            },
            abandoned: false,
            lost_before_the_end: false,
            source_errors: 0,
            sink_errors: 0,
        }
    }

    fn meet(&mut self, event: Event) {
        match event {
            Event::Readable => {
                self.reader.wake();
                self.relay.note_readable();
            }
            Event::Writable => {
                self.outlet.wake();
                self.relay.note_writable();
            }
            Event::SourceLost => {
                self.lost_before_the_end |= !self.reader.has_ended();
                self.reader.wake();
                self.relay.note_source_lost();
            }
            Event::Abandon => {
                self.abandoned |= self.relay.end().is_none();
                self.relay.abandon();
            }
            Event::Advance => self.advance(),
        }
        self.verify();
    }

    fn advance(&mut self) {
        let end = self.relay.end();
        let before = (self.relay.received(), self.relay.delivered());
        let step = self.relay.advance(&mut Inlet(&mut self.reader), &mut self.outlet);
        self.source_errors += usize::from(step.source_error.is_some());
        self.sink_errors += usize::from(step.sink_error.is_some());
        assert_eq!(before.0 + step.received as u64, self.relay.received());
        assert_eq!(before.1 + step.delivered as u64, self.relay.delivered());
        assert!(step.received.max(step.delivered) <= ROUNDS * self.capacity, "a step is bounded: {step:?}");
        if end.is_some() {
            assert_eq!((step.received, step.delivered), (0, 0), "what is over stays over");
            assert_eq!(self.relay.end(), end);
        }
    }

    /// What holds at any time.
    fn verify(&self) {
        let Self { relay, reader, outlet, .. } = self;
        let written = outlet.writer.written();
        assert!(relay.pending() <= self.capacity);
        assert_eq!(self.pool.lent(), usize::from(relay.pending() > 0), "a ring is lent while bytes wait");
        assert_eq!((relay.received(), relay.delivered()), (reader.given(), written.len() as u64));
        assert_eq!(written, self.payload.bytes(0, written.len()), "in order, each once");
        for calls in [reader.calls(), outlet.writer.calls()] {
            assert_eq!((calls.after_blocked, calls.after_end, calls.empty), (0, 0, 0), "needless calls");
        }
        assert!(self.source_errors <= 1 && self.sink_errors <= 1, "an error is reported once");
        match relay.end() {
            None => {
                assert!(relay.intends_read() || relay.intends_write(), "nothing to wait for, but not over");
                assert_eq!(relay.received() - relay.delivered(), relay.pending() as u64, "none is lost");
                assert!(outlet.writer.finishes().is_empty(), "the end comes last");
            }
            Some(_) => {
                assert!(!relay.intends_read() && !relay.intends_write() && relay.pending() == 0);
                assert!(relay.source_is_over());
            }
        }
    }

    /// Reports what is waited for, as a loop does.
    fn go_on_to_the_end(&mut self) {
        let most = 4 + self.reader.steps_left() + self.outlet.steps_left() + 2 * self.capacity;
        // Of what a step of the script gives, the ring takes a part at a time.
        let most = most + 256 * self.reader.steps_left();
        for _ in 0..most {
            if self.relay.end().is_some() {
                return;
            }
            if self.relay.intends_read() {
                self.meet(Event::Readable);
            }
            if self.relay.intends_write() {
                self.meet(Event::Writable);
            }
            self.meet(Event::Advance);
        }
        panic!("not over after {most} more steps: {:?}", self.relay);
    }

    /// What happened to its two ends decides how a relay ends, and nothing else does.
    fn judge(&self) {
        let Self { relay, reader, outlet, .. } = self;
        let finishes = outlet.writer.finishes();
        let expected = if self.abandoned || self.sink_errors > 0 {
            DirectionEnd::Abandoned
        } else if self.source_errors > 0 || self.lost_before_the_end {
            DirectionEnd::Broken
        } else {
            DirectionEnd::Finished
        };
        assert_eq!(relay.end(), Some(expected));
        if expected == DirectionEnd::Finished {
            assert_eq!(finishes, [reader.given() as usize], "one end, after every byte");
        } else {
            assert!(finishes.is_empty(), "what is not complete does not look so");
        }
        if expected == DirectionEnd::Broken {
            assert_eq!(relay.delivered(), reader.given(), "what came before the failure arrives");
        }
        assert_eq!(self.sink_errors > 0, outlet.failed);
    }
}

/// A scripted writer that can also be finished.
struct Outlet {
    writer: ScriptedWriter,
    finishes: VecDeque<FinishStep>,
    /// It has blocked, and was not woken since.
    blocked: bool,
    failed: bool,
}

impl Outlet {
    fn wake(&mut self) {
        self.blocked = false;
        self.writer.wake();
    }

    fn steps_left(&self) -> usize {
        self.writer.steps_left() + self.finishes.len()
    }

    /// A writer that takes nothing of something has failed, too.
    fn note(&mut self, outcome: io::Result<usize>) -> io::Result<usize> {
        assert!(!self.failed, "asked after it failed");
        self.failed = self.writer.has_failed() || matches!(outcome, Ok(0));
        outcome
    }
}

impl Write for Outlet {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let outcome = self.writer.write(bytes);
        self.note(outcome)
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let outcome = self.writer.write_vectored(slices);
        self.note(outcome)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl ByteSink for Outlet {
    fn finish(&mut self) -> io::Result<()> {
        assert!(!self.blocked, "asked again before it said that it is writable");
        assert!(!self.failed, "asked after it failed");
        match self.finishes.pop_front() {
            None | Some(FinishStep::Takes) => {
                self.writer.finish();
                Ok(())
            }
            Some(FinishStep::Blocks) => {
                self.blocked = true;
                Err(ErrorKind::WouldBlock.into())
            }
            Some(FinishStep::Fails) => {
                self.failed = true;
                Err(ErrorKind::NotConnected.into())
            }
        }
    }
}
