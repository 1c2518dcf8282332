//! Requests to the status server. What is checked stands beside the tests of the crate, which check the corpus again.

#![no_main]

#[path = "../../tcpproxy/tests/status_request/mod.rs"]
mod status_request;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| status_request::check(bytes));
