//! Requests to the status server, for the tests and for the fuzzer.

use tcpproxy::operations::status_server::StatusRequest;

/// More bytes never change the verdict on the bytes so far.
///
/// # Panics
///
/// If they do.
pub(crate) fn check(bytes: &[u8]) {
    let whole = StatusRequest::parse(bytes);
    let mut prefixes = (0..=bytes.len()).map(|end| StatusRequest::parse(&bytes[..end]));
    assert_eq!(prefixes.find(|verdict| *verdict != Ok(None)).unwrap_or(Ok(None)), whole);
}
