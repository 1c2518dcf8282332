//! Requests to the status server: more bytes never change the verdict on the bytes so far.

#![no_main]

use tcpproxy::operations::status_server::StatusRequest;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let whole = StatusRequest::parse(bytes);
    let mut prefixes = (0..=bytes.len()).map(|end| StatusRequest::parse(&bytes[..end]));
    assert_eq!(prefixes.find(|verdict| *verdict != Ok(None)).unwrap_or(Ok(None)), whole);
});
