//! `relay::Relay` under a loop that reports things in any order. What is checked stands beside the tests of the
//! crate, which carry out the corpus again.

#![no_main]

#[path = "../../relay/tests/any_order/mod.rs"]
mod any_order;

libfuzzer_sys::fuzz_target!(|plan: any_order::Plan| plan.run());
