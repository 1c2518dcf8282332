//! The heads of messages: from bytes to requests and responses, and back.

use std::io::Write as _;

use http::header::{CONTENT_LENGTH, COOKIE, SET_COOKIE, TRANSFER_ENCODING};
use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::uri::PathAndQuery;
use http::{Method, Request, Response, StatusCode, Uri, Version};
use httparse::Status;
use ringbuf::RingBuffer;

use crate::body::Framing;

/// Takes the heads of messages out of a ring, one after the other.
///
/// It remembers how far it has looked for the end of a head, so that one which comes byte by byte costs linear time.
#[derive(Debug)]
pub struct HeadReader {
    longest: usize,
    searched: usize,
}

/// Why there is no head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadError {
    /// It does not end within the longest length.
    TooLong,
    /// It is not the head of an HTTP/1 message.
    Malformed,
}

/// The most fields that are accepted.
const MOST_FIELDS: usize = 128;
impl HeadReader {
    /// A reader of heads of at most `longest` bytes.
    #[must_use]
    pub fn new(longest: usize) -> Self {
        Self { longest, searched: 0 }
    }

    /// The next request, if its head has come to the end.
    ///
    /// # Errors
    ///
    /// Why there will never be one.
    pub fn request(&mut self, from: &mut RingBuffer) -> Result<Option<Request<()>>, HeadError> {
        self.take(from, request)
    }

    /// The next response, if its head has come to the end.
    ///
    /// # Errors
    ///
    /// Why there will never be one.
    pub fn response(&mut self, from: &mut RingBuffer) -> Result<Option<Response<()>>, HeadError> {
        self.take(from, response)
    }

    fn take<T>(&mut self, from: &mut RingBuffer, parse: Parse<T>) -> Result<Option<T>, HeadError> {
        match from.find(b"\r\n\r\n", self.searched) {
            Some(end) if end + 4 <= self.longest => {
                let (length, head) = parse(&from.make_contiguous()[..end + 4])?;
                from.consume(length);
                self.searched = 0;
                Ok(Some(head))
            }
            None if from.len() < self.longest => {
                self.searched = from.len().saturating_sub(3);
                Ok(None)
            }
            _ => Err(HeadError::TooLong),
        }
    }
}

/// Reads a head: its length, and what it says.
type Parse<T> = fn(&[u8]) -> Result<(usize, T), HeadError>;

fn request(bytes: &[u8]) -> Result<(usize, Request<()>), HeadError> {
    let mut fields = [httparse::EMPTY_HEADER; MOST_FIELDS];
    let mut parsed = httparse::Request::new(&mut fields);
    let length = complete(parsed.parse(bytes))?;
    let mut request = Request::new(());
    *request.method_mut() = parsed.method.and_then(|name| name.parse().ok()).ok_or(HeadError::Malformed)?;
    *request.uri_mut() =
        parsed.path.and_then(|path| target(request.method(), path)).ok_or(HeadError::Malformed)?;
    *request.version_mut() = version(parsed.version);
    *request.headers_mut() = header_map(parsed.headers).ok_or(HeadError::Malformed)?;
    Ok((length, request))
}

/// What a request is for. [`Uri`] does not tell an empty path from `/`, but of OPTIONS the former asks about the whole
/// server, which is told `*` (RFC 9112, section 3.2.4).
fn target(method: &Method, path: &str) -> Option<Uri> {
    let uri: Uri = path.parse().ok()?;
    let pathless = path.split_once("://").is_some_and(|(_, behind)| !behind.contains(['/', '?']));
    if method != Method::OPTIONS || !pathless {
        return Some(uri);
    }
    let mut parts = uri.into_parts();
    parts.path_and_query = Some(PathAndQuery::from_static("*"));
    Uri::from_parts(parts).ok()
}

fn response(bytes: &[u8]) -> Result<(usize, Response<()>), HeadError> {
    let mut fields = [httparse::EMPTY_HEADER; MOST_FIELDS];
    let mut parsed = httparse::Response::new(&mut fields);
    let length = complete(parsed.parse(bytes))?;
    let mut response = Response::new(());
    *response.status_mut() =
        parsed.code.and_then(|code| StatusCode::from_u16(code).ok()).ok_or(HeadError::Malformed)?;
    *response.version_mut() = version(parsed.version);
    *response.headers_mut() = header_map(parsed.headers).ok_or(HeadError::Malformed)?;
    Ok((length, response))
}

fn complete(parsed: httparse::Result<usize>) -> Result<usize, HeadError> {
    match parsed {
        Ok(Status::Complete(length)) => Ok(length),
        Err(httparse::Error::TooManyHeaders) => Err(HeadError::TooLong),
        _ => Err(HeadError::Malformed),
    }
}

fn version(minor: Option<u8>) -> Version {
    if minor == Some(0) { Version::HTTP_10 } else { Version::HTTP_11 }
}

/// One line for each name but `Set-Cookie`: several mean the same (RFC 9110, section 5.3), and are easily overlooked.
fn header_map(fields: &[httparse::Header<'_>]) -> Option<HeaderMap> {
    let mut map = HeaderMap::with_capacity(fields.len());
    for field in fields {
        let name: HeaderName = field.name.parse().ok()?;
        let value = HeaderValue::from_bytes(field.value).ok()?;
        match map.get(&name).filter(|_| name != SET_COOKIE).map(HeaderValue::as_bytes) {
            Some(before) => {
                let separator: &[u8] = if name == COOKIE { b"; " } else { b", " };
                let joined = HeaderValue::from_bytes(&[before, field.value].join(separator)).ok()?;
                map.insert(name, joined);
            }
            None => drop(map.append(name, value)),
        }
    }
    Some(map)
}

/// The comma-separated members of a list-valued field.
pub(crate) fn members(fields: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &str> {
    fields.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().split(',').map(str::trim)
}

/// How the end of a request's body is found (RFC 9112, section 6.3). `None` if its head contradicts itself: that is how
/// requests are smuggled past those who read them differently.
#[must_use]
pub fn request_framing(request: &Request<()>) -> Option<Framing> {
    framing(request.version(), request.headers(), Framing::None)
}

/// How the end of the body is found of a response to a request with this method. `None` if its head contradicts itself.
#[must_use]
pub fn response_framing(method: &Method, response: &Response<()>) -> Option<Framing> {
    let bodiless = response.status().is_informational()
        || matches!(response.status(), StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
        || method == Method::HEAD;
    let framing = framing(response.version(), response.headers(), Framing::Close)?;
    Some(if bodiless { Framing::None } else { framing })
}

fn framing(version: Version, fields: &HeaderMap, unstated: Framing) -> Option<Framing> {
    let number = |digits: &str| {
        digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok()).flatten()
    };
    match (fields.get(TRANSFER_ENCODING), fields.get(CONTENT_LENGTH)) {
        (None, None) => Some(unstated),
        (Some(coding), None) => {
            let understood =
                version == Version::HTTP_11 && coding.as_bytes().eq_ignore_ascii_case(b"chunked");
            understood.then_some(Framing::Chunked)
        }
        (None, Some(_)) => {
            let mut lengths = members(fields, CONTENT_LENGTH).map(number);
            let length = lengths.next()??;
            lengths.all(|other| other == Some(length)).then_some(Framing::Length(length))
        }
        (Some(_), Some(_)) => None,
    }
}

/// The head of a request to the origin of its URI. An empty path is said as `/` (RFC 9112, section 3.2.1).
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
    use crate::pass_on;
    use proptest::prelude::*;
    use ringbuf::Pool;

    fn ring(bytes: &[u8]) -> RingBuffer {
        let mut ring = Pool::new(1024, 1).reserve().unwrap();
        assert_eq!(ring.push_slice(bytes).unwrap(), bytes.len());
        ring
    }

    fn response_with(fields: &str) -> Response<()> {
        let mut from = ring(format!("HTTP/1.1 200 OK\r\n{fields}\r\n").as_bytes());
        HeadReader::new(1024).response(&mut from).unwrap().unwrap()
    }

    #[test]
    fn a_head_may_come_byte_by_byte_and_leaves_what_is_behind_it() {
        let head = b"GET http://a/b?c HTTP/1.1\r\nHost: a\r\n\r\n";
        let mut from = ring(b"");
        let mut reader = HeadReader::new(head.len());
        for &byte in &head[..head.len() - 1] {
            from.push_slice(&[byte]).unwrap();
            assert_eq!(reader.request(&mut from).unwrap().map(|_| ()), None);
        }
        from.push_slice(b"\nbehind").unwrap();
        let request = reader.request(&mut from).unwrap().unwrap();
        assert_eq!(encode_request(&request), b"GET /b?c HTTP/1.1\r\nhost: a\r\n\r\n");
        assert_eq!(from.make_contiguous(), b"behind");
    }

    #[test]
    fn a_head_is_found_across_the_wrap_of_the_ring() {
        for offset in 0..64 {
            let mut ring = Pool::new(64, 1).reserve().unwrap();
            ring.push_slice(&[0; 64][..offset]).unwrap();
            ring.push_slice(b"x").unwrap();
            ring.consume(offset);
            ring.push_slice(b" / HTTP/1.1\r\nA: b\r\n\r\n").unwrap();
            let request = HeadReader::new(64).request(&mut ring).unwrap().unwrap();
            assert_eq!((request.method().as_str(), request.uri().path()), ("x", "/"));
        }
    }

    #[test]
    fn a_head_that_is_too_long_is_refused_at_its_limit() {
        let head = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        assert!(HeadReader::new(head.len()).request(&mut ring(head)).unwrap().is_some());
        for there in [head.len() - 1, head.len()] {
            let error = HeadReader::new(head.len() - 1).request(&mut ring(&head[..there])).unwrap_err();
            assert_eq!(error, HeadError::TooLong);
        }
        let fields = "A: b\r\n".repeat(129);
        let many = format!("GET / HTTP/1.1\r\n{fields}\r\n");
        assert_eq!(
            HeadReader::new(1024).request(&mut ring(many.as_bytes())).unwrap_err(),
            HeadError::TooLong
        );
    }

    #[test]
    fn several_lines_of_a_name_become_one_but_for_cookies_that_are_set() {
        let response = response_with("A: 1\r\nSet-Cookie: x\r\na: 2\r\nSet-Cookie: y\r\n");
        assert_eq!(response.headers()["a"], "1, 2");
        assert_eq!(response.headers().get_all("set-cookie").iter().count(), 2);
        let mut from = ring(b"GET / HTTP/1.1\r\nCookie: a\r\nCookie: b\r\n\r\n");
        assert_eq!(HeadReader::new(99).request(&mut from).unwrap().unwrap().headers()["cookie"], "a; b");
    }

    #[test]
    fn an_empty_path_is_a_slash_but_for_options_of_a_whole_server() {
        for (line, asked) in [
            ("OPTIONS http://a", "OPTIONS *"),
            ("OPTIONS http://a:80", "OPTIONS *"),
            ("OPTIONS *", "OPTIONS *"),
            ("OPTIONS http://a/", "OPTIONS /"),
            ("OPTIONS http://a?b", "OPTIONS /?b"),
            ("GET http://a", "GET /"),
            ("GET http://a?b", "GET /?b"),
        ] {
            let mut from = ring(format!("{line} HTTP/1.1\r\n\r\n").as_bytes());
            let request = HeadReader::new(99).request(&mut from).unwrap().unwrap();
            assert_eq!(encode_request(&request), format!("{asked} HTTP/1.1\r\n\r\n").as_bytes(), "{line}");
        }
    }

    #[test]
    fn framing_follows_the_head_and_refuses_contradictions() {
        let framing = |fields| response_framing(&Method::GET, &response_with(fields));
        assert_eq!(framing(""), Some(Framing::Close));
        assert_eq!(framing("Content-Length: 5\r\n"), Some(Framing::Length(5)));
        assert_eq!(framing("Content-Length: 5, 5\r\nContent-Length: 5\r\n"), Some(Framing::Length(5)));
        assert_eq!(framing("Content-Length: 18446744073709551615\r\n"), Some(Framing::Length(u64::MAX)));
        assert_eq!(framing("Transfer-Encoding: Chunked\r\n"), Some(Framing::Chunked));
        for fields in [
            "Content-Length: 5\r\nContent-Length: 6\r\n",
            "Content-Length: 5,\r\n",
            "Content-Length: \r\n",
            "Content-Length: -5\r\n",
            "Content-Length: +5\r\n",
            "Content-Length: 0x5\r\n",
            "Content-Length: 18446744073709551616\r\n",
            "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding: identity\r\n",
            "Transfer-Encoding: gzip, chunked\r\n",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        ] {
            assert_eq!(framing(fields), None, "{fields}");
        }
        let head = response_framing(&Method::HEAD, &response_with("Content-Length: 5\r\n"));
        assert_eq!(head, Some(Framing::None));
    }

    proptest! {
        #[test]
        fn no_bytes_bring_it_down(
            pieces in prop::collection::vec(
                prop_oneof![
                    prop::sample::select(vec![
                        "GET ", "http://a/", " HTTP/1.1", "HTTP/1.1 200 OK", "\r\n", "\n", ": ", "Connection", "close", "5", ",",
                        "Content-Length: ", "Transfer-Encoding: chunked\r\n", "Host: a\r\n", "\r\n\r\n",
                    ]).prop_map(|text| text.as_bytes().to_vec()),
                    prop::collection::vec(any::<u8>(), 0..5),
                ],
                0..40,
            ),
        ) {
            let bytes = pieces.concat();
            let bytes = &bytes[..bytes.len().min(1024)];
            if let Ok(Some(mut request)) = HeadReader::new(512).request(&mut ring(bytes)) {
                let framing = request_framing(&request).unwrap_or(Framing::None);
                pass_on(request.version(), request.headers_mut(), framing, "here");
                let head = encode_request(&request);
                let again = HeadReader::new(1024).request(&mut ring(&head)).unwrap().unwrap();
                prop_assert_eq!(again.headers().keys_len(), request.headers().keys_len());
            }
            if let Ok(Some(mut response)) = HeadReader::new(512).response(&mut ring(bytes)) {
                let framing = response_framing(&Method::GET, &response).unwrap_or(Framing::None);
                pass_on(response.version(), response.headers_mut(), framing, "here");
                let head = encode_response(&response);
                prop_assert!(HeadReader::new(1024).response(&mut ring(&head)).unwrap().is_some());
            }
        }
    }
}
