//! Heads of HTTP/1.1 messages: read in any pieces, forwarded, and read again. What is checked stands beside the tests of
//! the crate, which check the corpus again.

#![no_main]
#![allow(dead_code, clippy::unwrap_used)] // the other check; bytes that cannot be checked are a finding

#[path = "../../http1/tests/any_bytes/mod.rs"]
mod any_bytes;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| any_bytes::check_head(bytes));
