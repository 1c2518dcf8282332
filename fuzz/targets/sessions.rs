//! `relay::ProxySession` between two simulated peers. What is checked stands beside the tests of the crate, which carry
//! out the corpus again.

#![no_main]

#[path = "../../relay/tests/sessions/mod.rs"]
mod sessions;

libfuzzer_sys::fuzz_target!(|plan: sessions::Plan| plan.run());
