//! The ring against a model, with random operations.

#![allow(clippy::unwrap_used)] // a test that cannot go on fails

mod queue;

use arbitrary::{Arbitrary, Unstructured};
use proptest::prelude::*;
use testkit::replay;
use testkit::scripted::{ReadStep, WriteStep};

use queue::{Op, Plan, Ring};

fn ops() -> impl Strategy<Value = Vec<Op>> {
    // Few different bytes, so that needles are found, and found twice.
    let bytes = |most| proptest::collection::vec(0..3_u8, 0..most);
    let op = prop_oneof![
        3 => bytes(30).prop_map(Op::Push),
        2 => (0..30_u8).prop_map(Op::Pop),
        2 => (0..30_u8).prop_map(Op::Consume),
        4 => (1..30_usize).prop_map(|n| Op::Fill(ReadStep::Give(n))),
        1 => Just(Op::Fill(ReadStep::Blocked)),
        1 => Just(Op::Fill(ReadStep::Interrupted)),
        1 => Just(Op::Fill(ReadStep::Eof)),
        1 => Just(Op::Fill(ReadStep::Fail(std::io::ErrorKind::ConnectionReset))),
        4 => (1..30_usize).prop_map(|n| Op::Drain(WriteStep::Accept(n))),
        1 => Just(Op::Drain(WriteStep::Blocked)),
        1 => Just(Op::Drain(WriteStep::Interrupted)),
        1 => Just(Op::Drain(WriteStep::Zero)),
        1 => Just(Op::Drain(WriteStep::Fail(std::io::ErrorKind::BrokenPipe))),
        2 => (bytes(4), 0..30_u8).prop_map(|(needle, from)| Op::Find(needle, from)),
        1 => (0..30_u8, 0..30_u8, 0..30_u8).prop_map(|(at, count, from)| Op::FindOwn(at, count, from)),
        1 => Just(Op::MakeContiguous),
        1 => Just(Op::Clear),
        2 => bytes(30).prop_map(Op::PushAll),
        2 => (0..30_u8, 0..30_u8, 0..30_u8).prop_map(|(capacity, held, most)| Op::MoveTo(capacity, held, most)),
    ];
    proptest::collection::vec(op, 0..60)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    #[test]
    fn the_ring_behaves_like_a_queue_of_bytes(capacity in 1..24_usize, ops in ops()) {
        let mut ring = Ring::new(capacity);
        for op in ops {
            ring.apply(&op)?;
        }
    }
}

#[test]
fn every_plan_a_fuzzer_found_worth_keeping_is_carried_out() {
    for (name, bytes) in replay::corpus(concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz/corpus/ring")) {
        println!("{name}");
        Plan::arbitrary_take_rest(Unstructured::new(&bytes)).unwrap().run();
    }
}
