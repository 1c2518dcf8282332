//! The ring against a model: a queue of bytes that has no storage to wrap around in.

use std::collections::VecDeque;

use proptest::prelude::*;
use ringbuf::{Drain, Fill, RingBuffer};
use testkit::payload::Payload;
use testkit::scripted::{ReadStep, ScriptedReader, ScriptedWriter, WriteStep};
use testkit::seed::Seed;

#[derive(Clone, Debug)]
enum Op {
    Push(Vec<u8>),
    Pop(usize),
    Consume(usize),
    Fill(ReadStep),
    Drain(WriteStep),
    Find(Vec<u8>, usize),
    MakeContiguous,
    Clear,
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    // Few different bytes, so that needles are found, and found twice.
    let bytes = |most| proptest::collection::vec(0..3_u8, 0..most);
    let op = prop_oneof![
        3 => bytes(30).prop_map(Op::Push),
        2 => (0..30_usize).prop_map(Op::Pop),
        2 => (0..30_usize).prop_map(Op::Consume),
        4 => (1..30_usize).prop_map(|n| Op::Fill(ReadStep::Give(n))),
        1 => Just(Op::Fill(ReadStep::Blocked)),
        1 => Just(Op::Fill(ReadStep::Eof)),
        1 => Just(Op::Fill(ReadStep::Fail(std::io::ErrorKind::ConnectionReset))),
        4 => (1..30_usize).prop_map(|n| Op::Drain(WriteStep::Accept(n))),
        1 => Just(Op::Drain(WriteStep::Blocked)),
        1 => Just(Op::Drain(WriteStep::Zero)),
        2 => (bytes(4), 0..30_usize).prop_map(|(needle, from)| Op::Find(needle, from)),
        1 => Just(Op::MakeContiguous),
        1 => Just(Op::Clear),
    ];
    proptest::collection::vec(op, 0..60)
}

/// Carries out one operation on both and compares every value that comes back.
fn apply(ring: &mut RingBuffer, model: &mut VecDeque<u8>, op: Op) -> Result<(), TestCaseError> {
    let room = ring.capacity() - model.len();
    match op {
        Op::Push(bytes) => {
            let fits = room.min(bytes.len());
            prop_assert_eq!(ring.push_slice(&bytes), fits);
            model.extend(&bytes[..fits]);
        }
        Op::Pop(n) => {
            let mut out = vec![0; n];
            let got = ring.pop_slice(&mut out);
            let expected: Vec<u8> = model.drain(..n.min(model.len())).collect();
            prop_assert_eq!(&out[..got], expected);
        }
        Op::Consume(n) => {
            let n = n.min(model.len());
            ring.consume(n);
            model.drain(..n);
        }
        Op::Fill(step) => {
            let payload = Payload::new(Seed::new(3));
            let mut reader = ScriptedReader::new(payload, [step]);
            let outcome = ring.fill_from(&mut reader).map_err(|error| error.kind());
            let expected = match step {
                _ if room == 0 => Ok(Fill::Full),
                ReadStep::Give(n) => Ok(Fill::Read(n.min(room))),
                ReadStep::Eof => Ok(Fill::Eof),
                ReadStep::Fail(kind) => Err(kind),
                ReadStep::Blocked | ReadStep::Interrupted => Ok(Fill::Blocked),
            };
            prop_assert_eq!(outcome, expected);
            prop_assert_eq!(reader.calls().total(), usize::from(room > 0), "at most one call");
            model.extend(payload.bytes(0, reader.given() as usize));
        }
        Op::Drain(step) => {
            let mut writer = ScriptedWriter::new([step]);
            let outcome = ring.drain_to(&mut writer).map_err(|error| error.kind());
            let expected = match step {
                _ if model.is_empty() => Ok(Drain::Empty),
                WriteStep::Accept(n) => Ok(Drain::Wrote(n.min(model.len()))),
                WriteStep::Zero => Err(std::io::ErrorKind::WriteZero),
                WriteStep::Fail(kind) => Err(kind),
                WriteStep::Blocked | WriteStep::Interrupted => Ok(Drain::Blocked),
            };
            prop_assert_eq!(outcome, expected);
            prop_assert_eq!(writer.calls().total(), usize::from(!model.is_empty()), "at most one call");
            let taken: Vec<u8> = model.drain(..writer.written().len()).collect();
            prop_assert_eq!(writer.written(), taken);
        }
        Op::Find(needle, from) => {
            let bytes: Vec<u8> = model.iter().copied().collect();
            let expected = (from..=bytes.len()).find(|&at| bytes[at..].starts_with(&needle));
            prop_assert_eq!(ring.find(&needle, from), expected);
        }
        Op::MakeContiguous => {
            let bytes: Vec<u8> = model.iter().copied().collect();
            prop_assert_eq!(ring.make_contiguous(), bytes);
            prop_assert!(ring.as_slices().1.is_empty());
        }
        Op::Clear => {
            ring.clear();
            model.clear();
        }
    }
    Ok(())
}

fn verify(ring: &RingBuffer, model: &VecDeque<u8>, capacity: usize) -> Result<(), TestCaseError> {
    prop_assert_eq!(ring.capacity(), capacity);
    prop_assert_eq!(ring.len(), model.len());
    prop_assert_eq!(ring.free(), capacity - model.len());
    prop_assert_eq!((ring.is_empty(), ring.is_full()), (model.is_empty(), model.len() == capacity));
    let (first, second) = ring.as_slices();
    prop_assert!(first.iter().chain(second).eq(model));
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    #[test]
    fn the_ring_behaves_like_a_queue_of_bytes(capacity in 1..24_usize, ops in ops()) {
        let mut ring = RingBuffer::new(capacity);
        let mut model = VecDeque::new();
        for op in ops {
            apply(&mut ring, &mut model, op)?;
            verify(&ring, &model, capacity)?;
        }
    }
}
