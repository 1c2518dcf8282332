//! Rings against a model, with random operations.

#![allow(clippy::unwrap_used)] // a test that cannot go on fails

mod queue;

use arbitrary::{Arbitrary, Unstructured};
use proptest::prelude::*;
use testkit::replay;

use queue::Plan;

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn a_ring_behaves_like_a_queue_of_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        Plan::arbitrary_take_rest(Unstructured::new(&bytes)).unwrap().run();
    }
}

#[test]
fn each_plan_of_the_fuzzers_corpus_is_applied() {
    for (name, bytes) in replay::corpus(concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz/corpus/ring")) {
        println!("{name}");
        Plan::arbitrary_take_rest(Unstructured::new(&bytes)).unwrap().run();
    }
}
