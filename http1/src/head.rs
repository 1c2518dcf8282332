//! The heads of messages: from bytes to requests and responses.

use http::header::{COOKIE, HeaderMap, HeaderName, HeaderValue, SET_COOKIE};
use http::uri::PathAndQuery;
use http::{Method, Request, Response, StatusCode, Uri, Version};
use httparse::Status;
use ringbuf::RingBuffer;

/// Takes the heads of messages out of a ring, one after the other.
///
/// The reader counts the bytes that it has scanned for the end of a head, so that a head which is received byte by byte
/// costs linear time.
///
/// ```
/// use http1::{HeadError, HeadReader};
/// use ringbuf::RingBuffer;
///
/// let (mut ring, mut reader) = (RingBuffer::new(1024), HeadReader::new(64));
/// let mut heads = Vec::new();
/// for byte in b"GET /a HTTP/1.1\r\nHost: a\r\n\r\nGET /b HTTP/1.1\r\nHost: b\r\n\r\n" {
///     assert!(ring.push_all(&[*byte])?);
///     heads.extend(reader.request(&mut ring).expect("both heads are well formed"));
/// }
/// assert_eq!(heads[0].uri().path(), "/a");
/// assert_eq!(heads[1].headers()["host"], "b");
/// assert!(ring.push_all(&[b'x'; 65])?);
/// assert_eq!(reader.request(&mut ring).unwrap_err(), HeadError::TooLong);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct HeadReader {
    limit: usize,
    scanned: usize,
}

/// Why bytes are not a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadError {
    /// The head is longer than the limit or the ring, or has more than 128 fields.
    TooLong,
    /// The bytes are not the head of an HTTP/1 message.
    Malformed,
}

/// The most fields that a head may have.
const MAX_FIELDS: usize = 128;

impl HeadReader {
    /// A reader of heads of at most `limit` bytes. A head also has to fit into the ring it is read from.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { limit, scanned: 0 }
    }

    /// Takes the next request out of the ring. `None` if its head is not complete yet. Bytes after the head stay.
    ///
    /// # Errors
    ///
    /// [`HeadError`] as soon as no further byte can make a head of those in the ring.
    ///
    /// # Panics
    ///
    /// If bytes of an incomplete head were taken out of the ring.
    pub fn request(&mut self, from: &mut RingBuffer) -> Result<Option<Request<()>>, HeadError> {
        self.take(from, request)
    }

    /// Takes the next response out of the ring. `None` if its head is not complete yet. Bytes after the head stay.
    ///
    /// # Errors
    ///
    /// [`HeadError`] as soon as no further byte can make a head of those in the ring.
    ///
    /// # Panics
    ///
    /// If bytes of an incomplete head were taken out of the ring.
    pub fn response(&mut self, from: &mut RingBuffer) -> Result<Option<Response<()>>, HeadError> {
        self.take(from, response)
    }

    fn take<T>(&mut self, from: &mut RingBuffer, parse: Parse<T>) -> Result<Option<T>, HeadError> {
        let full = from.is_full();
        let bytes = from.make_contiguous();
        assert!(
            self.scanned <= bytes.len(),
            "bytes were taken out of the ring while a head was read from it"
        );
        match end_of_head(bytes, self.scanned)? {
            Some(end) if end <= self.limit => {
                let (length, head) = parse(&bytes[..end])?;
                from.consume(length);
                self.scanned = 0;
                Ok(Some(head))
            }
            None if bytes.len() < self.limit && !full => {
                self.scanned = bytes.len();
                Ok(None)
            }
            _ => Err(HeadError::TooLong),
        }
    }
}

/// The index behind the first empty line that has a line before it. Lines that end before `scanned` were checked before.
///
/// A line feed alone ends no line here, although RFC 9112, section 2.2, allows it: a program that does not allow it
/// reads another message.
fn end_of_head(bytes: &[u8], scanned: usize) -> Result<Option<usize>, HeadError> {
    let mut from = scanned;
    while let Some(distance) = bytes[from..].iter().position(|&byte| byte == b'\n') {
        let end = from + distance + 1;
        match &bytes[..end] {
            [.., b'\r', b'\n', b'\r', b'\n'] => return Ok(Some(end)),
            [.., b'\r', b'\n'] => from = end,
            _ => return Err(HeadError::Malformed),
        }
    }
    Ok(None)
}

/// Parses a head: its length in bytes, and the message.
type Parse<T> = fn(&[u8]) -> Result<(usize, T), HeadError>;

fn request(bytes: &[u8]) -> Result<(usize, Request<()>), HeadError> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
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

/// The target of a request. [`Uri`] does not distinguish an empty path from `/`. For OPTIONS an empty path means the
/// whole server, which is written `*` (RFC 9112, section 3.2.4).
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
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
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

/// The fields, with several lines of one name joined into one (RFC 9110, section 5.3), except for `Set-Cookie`: code that
/// looks up a field would miss the second line.
fn header_map(fields: &[httparse::Header<'_>]) -> Option<HeaderMap> {
    let mut map = HeaderMap::with_capacity(fields.len());
    for field in fields {
        let name: HeaderName = field.name.parse().ok()?;
        let value = HeaderValue::from_bytes(field.value).ok()?;
        match map.get(&name).filter(|_| name != SET_COOKIE).map(HeaderValue::as_bytes) {
            Some(before) => {
                let separator: &[u8] = if name == COOKIE { b"; " } else { b", " };
                // White space around a value is not part of it (RFC 9110, section 5.5): one of the two may be empty.
                let joined = [before, field.value].join(separator);
                let joined = HeaderValue::from_bytes(joined.trim_ascii()).ok()?;
                map.insert(name, joined);
            }
            None => drop(map.append(name, value)),
        }
    }
    Some(map)
}

/// The comma-separated members of a list-valued field, without the white space around them (RFC 9110, section 5.6.1).
pub(crate) fn members(fields: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &[u8]> {
    let value = fields.get(name).map(HeaderValue::as_bytes).unwrap_or_default();
    value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::encode_request;
    use ringbuf::Pool;

    fn ring(bytes: &[u8]) -> RingBuffer {
        let mut ring = Pool::new(1024, 1).reserve().unwrap();
        assert_eq!(ring.push_slice(bytes).unwrap(), bytes.len());
        ring
    }

    /// A response with these fields, each with its CRLF.
    pub(crate) fn response_with(fields: &str) -> Response<()> {
        let mut from = ring(format!("HTTP/1.1 200 OK\r\n{fields}\r\n").as_bytes());
        HeadReader::new(1024).response(&mut from).unwrap().unwrap()
    }

    /// A request of these lines, without the CRLF of the last one.
    pub(crate) fn request_of(lines: &str) -> Request<()> {
        let mut from = ring(format!("{lines}\r\n\r\n").as_bytes());
        HeadReader::new(1024).request(&mut from).unwrap().unwrap()
    }

    #[test]
    fn a_head_is_read_byte_by_byte_and_the_bytes_behind_it_stay() {
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
            let _ = ring.push_slice(&[0; 64][..offset]);
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
    fn a_head_that_is_longer_than_its_ring_is_refused_when_the_ring_is_full() {
        let mut from = Pool::new(64, 1).reserve().unwrap();
        let mut reader = HeadReader::new(1024);
        let _ = from.push_slice(&[b'x'; 63]);
        assert_eq!(reader.request(&mut from).unwrap().map(|_| ()), None);
        from.push_slice(b"x").unwrap();
        assert!(from.is_full());
        assert_eq!(reader.request(&mut from).unwrap_err(), HeadError::TooLong);
    }

    #[test]
    #[should_panic = "bytes were taken out of the ring while a head was read from it"]
    fn taking_bytes_of_an_incomplete_head_out_of_the_ring_panics() {
        let (mut from, mut reader) = (ring(b"GET / HT"), HeadReader::new(99));
        assert!(reader.request(&mut from).unwrap().is_none());
        from.clear();
        let _ = reader.request(&mut from);
    }

    #[test]
    fn a_head_that_fills_its_ring_is_read() {
        let head = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        let mut from = Pool::new(head.len(), 1).reserve().unwrap();
        from.push_slice(head).unwrap();
        assert!(HeadReader::new(1024).request(&mut from).unwrap().is_some());
    }

    #[test]
    fn only_carriage_return_and_line_feed_together_end_a_line() {
        for head in [
            "GET / HTTP/1.1\n",
            "\nGET / HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.1\nHost: a\r\n\r\n",
            "GET / HTTP/1.1\r\nA: b\nHost: a\r\n\r\n",
            "GET / HTTP/1.1\r\nA: b\n\r\n",
            "GET / HTTP/1.1\r\nA: b\rHost: a\r\n\r\n",
            "GET / HTTP/1.1\r\nA: b\r\r\n\r\n",
            "GET / HTTP/1.1\rHost: a\r\n\r\n",
        ] {
            let error = HeadReader::new(99).request(&mut ring(head.as_bytes())).map(|_| ());
            assert_eq!(error, Err(HeadError::Malformed), "{head:?}");
        }
    }

    #[test]
    fn several_lines_of_a_name_become_one_except_for_set_cookie() {
        let response = response_with("A: 1\r\nSet-Cookie: x\r\na: 2\r\nSet-Cookie: y\r\n");
        assert_eq!(response.headers()["a"], "1, 2");
        assert_eq!(response.headers().get_all("set-cookie").iter().count(), 2);
        assert_eq!(response_with("A: 1\r\nA:\r\n").headers()["a"], "1,", "without white space at the end");
        let request = request_of("GET / HTTP/1.1\r\nCookie: a\r\nCookie: b");
        assert_eq!(request.headers()["cookie"], "a; b");
    }
}
