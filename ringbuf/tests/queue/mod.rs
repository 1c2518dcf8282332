//! Operations on a ring, each compared with a model: a queue of bytes without storage that wraps.
//!
//! One [`Plan`] serves proptest (`any_operations.rs`) and the fuzzer (`fuzz/` in the repository). Both make
//! plans from random bytes.

use std::collections::VecDeque;
use std::io::ErrorKind;

use arbitrary::{Arbitrary, Unstructured};
use ringbuf::{Drain, Fill, Pool, RingBuffer};
use testkit::payload::Payload;
use testkit::scripted::{ReadStep, ScriptedReader, ScriptedWriter, WriteStep};
use testkit::seed::Seed;

/// Operations on rings of one capacity.
#[derive(Debug)]
pub(crate) struct Plan {
    /// One less than the capacity in bytes. The capacity is of the size of one read or write, so that full, empty and
    /// wrapped rings are all frequent.
    capacity: u8,
    ops: Vec<Op>,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Op {
    Push(Pattern),
    PushAll(Pattern),
    /// This number of bytes.
    Pop(u8),
    /// This number of bytes, or as many as there are.
    Consume(u8),
    Fill(ReadStep),
    Drain(WriteStep),
    /// Searches for the `len` buffered bytes that begin at index `at`, the last one changed or not.
    Find {
        at: u8,
        len: u8,
        changed: bool,
        from: u8,
    },
    MakeContiguous,
    Clear,
    /// Moves at most `limit` bytes to a ring that holds `held` bytes.
    MoveTo {
        held: u8,
        limit: u8,
    },
}

/// `len` bytes that count from 0 to `period`, again and again.
#[derive(Arbitrary, Clone, Copy, Debug)]
struct Pattern {
    len: u8,
    period: u8,
}

/// Operations until the bytes are used up. (A `Vec<Op>` would end before each of them with a probability of one half.)
impl<'a> Arbitrary<'a> for Plan {
    fn arbitrary(bytes: &mut Unstructured<'a>) -> arbitrary::Result<Self> {
        let (capacity, mut ops) = (bytes.arbitrary()?, Vec::new());
        while !bytes.is_empty() {
            ops.push(bytes.arbitrary()?);
        }
        Ok(Self { capacity, ops })
    }
}

impl Pattern {
    fn bytes(self) -> Vec<u8> {
        (0..=self.period).cycle().take(self.len.into()).collect()
    }
}

impl Plan {
    /// Applies every operation to a ring that owns its storage, and to one that borrows it from a pool.
    ///
    /// # Panics
    ///
    /// When a ring and the model differ.
    pub(crate) fn run(&self) {
        let capacity = usize::from(self.capacity) + 1;
        let pool = Pool::new(capacity, 2);
        let reserve = || pool.reserve().expect("the pool is new");
        let owned = [RingBuffer::new(capacity), RingBuffer::new(capacity)];
        for (rings, pool) in [(owned, None), ([reserve(), reserve()], Some(&pool))] {
            let [ring, other] = rings;
            let mut pair = Pair { ring, model: VecDeque::new(), capacity, fills: 0, other, pool };
            pair.verify();
            for &op in &self.ops {
                pair.apply(op);
                pair.verify();
            }
        }
    }
}

/// A ring, and the bytes that it should hold.
struct Pair<'a> {
    ring: RingBuffer,
    model: VecDeque<u8>,
    capacity: usize,
    fills: u64,
    /// The ring to which bytes are moved; empty between operations.
    other: RingBuffer,
    /// The pool that lends the storage of both rings.
    pool: Option<&'a Pool>,
}

impl Pair<'_> {
    /// Applies one operation to both and compares every value that comes back.
    fn apply(&mut self, op: Op) {
        let Self { ring, model, .. } = self;
        let room = self.capacity - model.len();
        match op {
            Op::Push(pattern) => {
                let bytes = pattern.bytes();
                let fits = room.min(bytes.len());
                assert_eq!(ring.push_slice(&bytes).unwrap(), fits);
                model.extend(&bytes[..fits]);
            }
            Op::PushAll(pattern) => {
                let bytes = pattern.bytes();
                let fits = bytes.len() <= room;
                assert_eq!(ring.push_all(&bytes).unwrap(), fits);
                model.extend(bytes.iter().filter(|_| fits));
            }
            Op::Pop(n) => {
                let mut out = vec![0xaa; n.into()];
                let popped = ring.pop_slice(&mut out);
                let expected: Vec<u8> = model.drain(..out.len().min(model.len())).collect();
                assert_eq!(&out[..popped], expected);
                assert!(
                    out[popped..].iter().all(|&byte| byte == 0xaa),
                    "bytes behind those popped are untouched"
                );
            }
            Op::Consume(n) => {
                let n = model.len().min(n.into());
                ring.consume(n);
                model.drain(..n);
            }
            Op::Fill(step) => self.fill(step),
            Op::Drain(step) => self.drain(step),
            Op::Find { at, len, changed, from } => {
                let bytes = &*model.make_contiguous();
                let mut needle: Vec<u8> = bytes.iter().copied().skip(at.into()).take(len.into()).collect();
                if let Some(last) = needle.last_mut() {
                    *last = last.wrapping_add(changed.into());
                }
                let expected = (from.into()..=bytes.len()).find(|&at| bytes[at..].starts_with(&needle));
                assert_eq!(ring.find(&needle, from.into()), expected);
            }
            Op::MakeContiguous => {
                assert_eq!(ring.make_contiguous(), model.make_contiguous());
                assert!(ring.as_slices().1.is_empty());
            }
            Op::Clear => {
                ring.clear();
                model.clear();
            }
            Op::MoveTo { held, limit } => {
                let held = self.other.push_slice(&vec![0xaa; held.into()]).unwrap();
                let moved = model.len().min(self.other.free()).min(limit.into());
                assert_eq!(ring.move_to(&mut self.other, limit.into()).unwrap(), moved);
                let expected: Vec<u8> = [0xaa].repeat(held).into_iter().chain(model.drain(..moved)).collect();
                assert_eq!(self.other.make_contiguous(), expected);
                self.other.clear();
            }
        }
    }

    fn fill(&mut self, step: ReadStep) {
        // Neighbouring bytes differ, so that a change of their order shows.
        let payload = Payload::new(Seed::new(self.fills));
        self.fills += 1;
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
        assert_eq!(outcome, expected);
        let calls = usize::from(room > 0) * if step == ReadStep::Interrupted { 2 } else { 1 };
        assert_eq!(reader.calls().total(), calls, "one call, and one more after a signal");
        self.model.extend(payload.bytes(0, reader.given() as usize));
    }

    fn drain(&mut self, step: WriteStep) {
        let buffered = self.model.len();
        let mut writer = ScriptedWriter::new([step]).afterwards(WriteStep::Blocked);
        let outcome = self.ring.drain_to(&mut writer).map_err(|error| error.kind());
        let expected = match step {
            _ if buffered == 0 => Ok(Drain::Empty),
            WriteStep::Accept(n) => Ok(Drain::Wrote(n.min(buffered))),
            WriteStep::Zero => Err(ErrorKind::WriteZero),
            WriteStep::Fail(kind) => Err(kind),
            WriteStep::Blocked | WriteStep::Interrupted => Ok(Drain::Blocked),
        };
        assert_eq!(outcome, expected);
        let calls = usize::from(buffered > 0) * if step == WriteStep::Interrupted { 2 } else { 1 };
        assert_eq!(writer.calls().total(), calls, "one call, and one more after a signal");
        let written: Vec<u8> = self.model.drain(..writer.written().len()).collect();
        assert_eq!(writer.written(), written);
    }

    /// Checks the invariants that hold after every operation.
    fn verify(&self) {
        let Self { ring, model, capacity, .. } = self;
        assert_eq!(ring.capacity(), *capacity);
        assert_eq!(ring.len(), model.len());
        assert_eq!(ring.free(), capacity - model.len());
        assert_eq!((ring.is_empty(), ring.is_full()), (model.is_empty(), model.len() == *capacity));
        let (first, second) = ring.as_slices();
        assert!(second.is_empty() || !first.is_empty(), "the first slice is used first");
        assert!(first.iter().chain(second).eq(model));
        if let Some(pool) = self.pool {
            assert_eq!(
                pool.lent(),
                usize::from(!model.is_empty()),
                "storage is lent while bytes are buffered"
            );
        }
    }
}
