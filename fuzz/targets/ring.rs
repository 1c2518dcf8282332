//! `ringbuf::RingBuffer`, with storage of its own and of a pool, against a queue of bytes. What is checked stands beside
//! the tests of the crate, which apply the corpus again.

#![no_main]
#![allow(clippy::unwrap_used)] // a plan that cannot go on is a finding

#[path = "../../ringbuf/tests/queue/mod.rs"]
mod queue;

libfuzzer_sys::fuzz_target!(|plan: queue::Plan| plan.run());
