//! Heads as bytes.

use std::io::Write as _;

use http::header::HeaderMap;
use http::{Request, Response};

/// The head of a request in origin form: the path and query without scheme and host. An empty path becomes `/`
/// (RFC 9112, section 3.2.1).
#[must_use]
pub fn encode_request(request: &Request<()>) -> Vec<u8> {
    let target = request.uri().path_and_query().map_or("/", |target| target.as_str());
    let root = if target.starts_with(['/', '*']) { "" } else { "/" };
    encode(&format!("{} {root}{target} HTTP/1.1", request.method()), request.headers())
}

/// The head of a response.
#[must_use]
pub fn encode_response(response: &Response<()>) -> Vec<u8> {
    let status = response.status();
    let reason = status.canonical_reason().unwrap_or_default();
    encode(&format!("HTTP/1.1 {} {reason}", status.as_str()), response.headers())
}

fn encode(first_line: &str, fields: &HeaderMap) -> Vec<u8> {
    let mut head = format!("{first_line}\r\n").into_bytes();
    for (name, value) in fields {
        let _ = write!(head, "{name}: "); // writing into memory cannot fail
        head.extend_from_slice(value.as_bytes());
        head.extend_from_slice(b"\r\n");
    }
    head.extend_from_slice(b"\r\n");
    head
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::head::tests::request_of;

    #[test]
    fn an_empty_path_is_encoded_as_a_slash_except_for_options_of_a_whole_server() {
        for (line, asked) in [
            ("OPTIONS http://a", "OPTIONS *"),
            ("OPTIONS http://a:80", "OPTIONS *"),
            ("OPTIONS *", "OPTIONS *"),
            ("OPTIONS http://a/", "OPTIONS /"),
            ("OPTIONS http://a?b", "OPTIONS /?b"),
            ("GET http://a", "GET /"),
            ("GET http://a?b", "GET /?b"),
        ] {
            let request = request_of(&format!("{line} HTTP/1.1"));
            assert_eq!(encode_request(&request), format!("{asked} HTTP/1.1\r\n\r\n").as_bytes(), "{line}");
        }
    }
}
