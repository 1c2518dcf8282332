//! The relay with plans in any order.

#![allow(clippy::unwrap_used)] // a test that cannot go on says so by failing

mod any_order;

use any_order::Plan;
use arbitrary::{Arbitrary, Unstructured};
use proptest::prelude::*;
use testkit::replay;

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn a_relay_keeps_its_promises_in_any_order_of_events(
        bytes in proptest::collection::vec(any::<u8>(), 0..300),
    ) {
        Plan::arbitrary_take_rest(Unstructured::new(&bytes)).unwrap().run();
    }
}

#[test]
fn every_plan_a_fuzzer_found_worth_keeping_is_carried_out() {
    for (name, bytes) in replay::corpus(concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz/corpus/relay")) {
        println!("{name}");
        Plan::arbitrary_take_rest(Unstructured::new(&bytes)).unwrap().run();
    }
}
