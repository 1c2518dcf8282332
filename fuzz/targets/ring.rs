//! `ringbuf::RingBuffer` against a queue of bytes. What is checked stands beside the tests of the crate, which carry out
//! the corpus again.

#![no_main]

#[path = "../../ringbuf/tests/queue/mod.rs"]
mod queue;

libfuzzer_sys::fuzz_target!(|plan: queue::Plan| plan.run());
