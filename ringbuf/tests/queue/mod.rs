//! A ring and its model: a queue of bytes that has no storage to wrap around in.
//!
//! Random operations come from proptest (`model.rs`) and from a fuzzer (`fuzz/` in the repository).

use std::collections::VecDeque;

use arbitrary::Arbitrary;
use proptest::prelude::*;
use ringbuf::{Drain, Fill, RingBuffer};
use testkit::payload::Payload;
use testkit::scripted::{ReadStep, ScriptedReader, ScriptedWriter, WriteStep};
use testkit::seed::Seed;

#[derive(Arbitrary, Clone, Debug)]
pub(crate) enum Op {
    Push(Vec<u8>),
    Pop(u8),
    Consume(u8),
    Fill(ReadStep),
    Drain(WriteStep),
    Find(Vec<u8>, u8),
    /// Looks for bytes that wait: from this one on, so many of them, beginning there.
    FindOwn(u8, u8, u8),
    MakeContiguous,
    Clear,
    PushAll(Vec<u8>),
    /// To a ring of one more than this capacity that holds so many bytes, at the most so many.
    MoveTo(u8, u8, u8),
}

/// A ring, and what it should hold.
pub(crate) struct Ring {
    ring: RingBuffer,
    model: VecDeque<u8>,
    capacity: usize,
    filled: u64,
}

impl Ring {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { ring: RingBuffer::new(capacity), model: VecDeque::new(), capacity, filled: 0 }
    }

    /// Carries out one operation on both and compares every value that comes back, and then the contents.
    pub(crate) fn apply(&mut self, op: &Op) -> Result<(), TestCaseError> {
        let Self { ring, model, .. } = self;
        let room = self.capacity - model.len();
        match *op {
            Op::Push(ref bytes) => {
                let fits = room.min(bytes.len());
                prop_assert_eq!(ring.push_slice(bytes).unwrap(), fits);
                model.extend(&bytes[..fits]);
            }
            Op::Pop(n) => {
                let mut out = vec![0xaa; n.into()];
                let got = ring.pop_slice(&mut out);
                let expected: Vec<u8> = model.drain(..out.len().min(model.len())).collect();
                prop_assert_eq!(&out[..got], expected);
                prop_assert!(out[got..].iter().all(|&byte| byte == 0xaa), "nothing beyond is touched");
            }
            Op::Consume(n) => {
                let n = model.len().min(n.into());
                ring.consume(n);
                model.drain(..n);
            }
            Op::Fill(step) => self.fill(step)?,
            Op::Drain(step) => self.drain(step)?,
            Op::Find(ref needle, from) => self.find(needle, from.into())?,
            Op::FindOwn(at, count, from) => {
                let own: Vec<u8> = model.iter().copied().skip(at.into()).take(count.into()).collect();
                self.find(&own, from.into())?;
            }
            Op::MakeContiguous => {
                prop_assert_eq!(ring.make_contiguous(), model.make_contiguous());
                prop_assert!(ring.as_slices().1.is_empty());
            }
            Op::Clear => {
                ring.clear();
                model.clear();
            }
            Op::PushAll(ref bytes) => {
                let fits = bytes.len() <= room;
                prop_assert_eq!(ring.push_all(bytes).unwrap(), fits);
                model.extend(bytes.iter().filter(|_| fits));
            }
            Op::MoveTo(capacity, held, most) => {
                let mut other = RingBuffer::new(usize::from(capacity) + 1);
                let held = other.push_slice(&vec![0xaa; held.into()]).unwrap();
                let moved = model.len().min(other.free()).min(most.into());
                prop_assert_eq!(ring.move_to(&mut other, most.into()).unwrap(), moved);
                let expected: Vec<u8> = [0xaa].repeat(held).into_iter().chain(model.drain(..moved)).collect();
                prop_assert_eq!(other.make_contiguous(), expected);
            }
        }
        self.verify()
    }

    fn fill(&mut self, step: ReadStep) -> Result<(), TestCaseError> {
        // Each byte comes once, so that two of them that change places show.
        let payload = Payload::new(Seed::new(self.filled));
        self.filled += 1;
        let room = self.capacity - self.model.len();
        let mut reader = ScriptedReader::new(payload, [step]).afterwards(ReadStep::Blocked);
        let outcome = self.ring.fill_from(&mut reader).map_err(|error| error.kind());
        let expected = match step {
            _ if room == 0 => Ok(Fill::Full),
            ReadStep::Give(n) => Ok(Fill::Read(n.min(room))),
            ReadStep::Eof => Ok(Fill::Eof),
            ReadStep::Fail(kind) => Err(kind),
            ReadStep::Blocked | ReadStep::Interrupted => Ok(Fill::Blocked),
        };
        prop_assert_eq!(outcome, expected);
        let calls = usize::from(room > 0) * if step == ReadStep::Interrupted { 2 } else { 1 };
        prop_assert_eq!(reader.calls().total(), calls, "one call, and one more after a signal");
        self.model.extend(payload.bytes(0, reader.given() as usize));
        Ok(())
    }

    fn drain(&mut self, step: WriteStep) -> Result<(), TestCaseError> {
        let waiting = self.model.len();
        let mut writer = ScriptedWriter::new([step]).afterwards(WriteStep::Blocked);
        let outcome = self.ring.drain_to(&mut writer).map_err(|error| error.kind());
        let expected = match step {
            _ if waiting == 0 => Ok(Drain::Empty),
            WriteStep::Accept(n) => Ok(Drain::Wrote(n.min(waiting))),
            WriteStep::Zero => Err(std::io::ErrorKind::WriteZero),
            WriteStep::Fail(kind) => Err(kind),
            WriteStep::Blocked | WriteStep::Interrupted => Ok(Drain::Blocked),
        };
        prop_assert_eq!(outcome, expected);
        let calls = usize::from(waiting > 0) * if step == WriteStep::Interrupted { 2 } else { 1 };
        prop_assert_eq!(writer.calls().total(), calls, "one call, and one more after a signal");
        let taken: Vec<u8> = self.model.drain(..writer.written().len()).collect();
        prop_assert_eq!(writer.written(), taken);
        Ok(())
    }

    fn find(&mut self, needle: &[u8], from: usize) -> Result<(), TestCaseError> {
        let bytes = &*self.model.make_contiguous();
        let expected = (from..=bytes.len()).find(|&at| bytes[at..].starts_with(needle));
        prop_assert_eq!(self.ring.find(needle, from), expected);
        Ok(())
    }

    fn verify(&self) -> Result<(), TestCaseError> {
        let Self { ring, model, capacity, .. } = self;
        prop_assert_eq!(ring.capacity(), *capacity);
        prop_assert_eq!(ring.len(), model.len());
        prop_assert_eq!(ring.free(), capacity - model.len());
        prop_assert_eq!((ring.is_empty(), ring.is_full()), (model.is_empty(), model.len() == *capacity));
        let (first, second) = ring.as_slices();
        prop_assert!(second.is_empty() || !first.is_empty(), "the first slice is used first");
        prop_assert!(first.iter().chain(second).eq(model));
        Ok(())
    }
}

/// What a fuzzer makes up.
#[derive(Arbitrary, Debug)]
pub(crate) struct Plan {
    /// One less than the capacity.
    capacity: u8,
    ops: Vec<Op>,
}

impl Plan {
    /// Carries out every operation.
    ///
    /// # Panics
    ///
    /// When the ring does what the model does not.
    pub(crate) fn run(&self) {
        let mut ring = Ring::new(usize::from(self.capacity) + 1);
        for (number, op) in self.ops.iter().enumerate() {
            if let Err(error) = ring.apply(op) {
                panic!("operation {number}, {op:?}: {error}");
            }
        }
    }
}
