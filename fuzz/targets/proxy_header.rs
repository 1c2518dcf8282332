//! Headers of the PROXY protocol, in any pieces, against a slow and literal reference. What is checked stands beside the
//! tests of the crate, which check the corpus again.

#![no_main]

#[path = "../../tcpproxy/tests/proxy_header/reference.rs"]
mod reference;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| reference::check(bytes));
