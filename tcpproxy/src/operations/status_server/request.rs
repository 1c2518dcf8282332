//! From bytes to what a request asks for.

use std::error::Error;
use std::fmt;

use httparse::Status;

use crate::operations::metrics_format::MetricsFormat;

/// A request to the status server: as much of HTTP/1 as it takes to answer one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusRequest {
    /// What is to be done.
    pub method: Method,
    /// The path, as it was sent: nothing is decoded.
    pub path: String,
    /// What follows the first `?`; empty without one.
    pub query: String,
    /// The format of metrics that the client prefers.
    pub format: MetricsFormat,
}

/// What is to be done for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Answer.
    Get,
    /// Answer with the head alone.
    Head,
    /// Something else.
    Other,
}

/// Why bytes are no request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestError {
    /// The head does not follow the grammar of HTTP/1 (RFC 9112).
    Malformed,
    /// The head has more than [`LONGEST`] bytes, or too many fields.
    TooLong,
    /// HTTP/1.1 without a `Host` field (RFC 9112, section 3.2).
    NoHost,
    /// More than one `Host` field, or one that names no host (RFC 9112, section 3.2).
    BadHost,
}

/// The longest head of a request, in bytes. Browsers send about 700.
pub const LONGEST: usize = 4096;

/// The most fields of a request.
const MOST_FIELDS: usize = 64;

impl StatusRequest {
    /// Reads the head of a request from all bytes of a connection so far; `None` if it is incomplete. What
    /// follows the head is not looked at.
    ///
    /// A line may end with LF alone (RFC 9112, section 2.2).
    ///
    /// # Errors
    ///
    /// Why these bytes are no request, whatever may follow.
    pub fn parse(bytes: &[u8]) -> Result<Option<Self>, RequestError> {
        let mut fields = [httparse::EMPTY_HEADER; MOST_FIELDS];
        let mut parsed = httparse::Request::new(&mut fields);
        match parsed.parse(&bytes[..bytes.len().min(LONGEST)]) {
            Ok(Status::Complete(_)) => {}
            Ok(Status::Partial) if bytes.len() < LONGEST => return Ok(None),
            Ok(Status::Partial) | Err(httparse::Error::TooManyHeaders) => return Err(RequestError::TooLong),
            Err(_) => return Err(RequestError::Malformed),
        }
        check_host(&parsed)?;
        let method = match parsed.method {
            Some("GET") => Method::Get,
            Some("HEAD") => Method::Head,
            _ => Method::Other,
        };
        let target = origin_form(parsed.path.unwrap_or_default());
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let format = MetricsFormat::preferred(values(&parsed, "accept"));
        Ok(Some(Self { method, path: path.to_owned(), query: query.to_owned(), format }))
    }

    /// The value of the first parameter of the query with this name.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<&str> {
        let mut parameters = self.query.split('&').filter_map(|parameter| parameter.split_once('='));
        parameters.find_map(|(other, value)| (other == name).then_some(value))
    }
}

/// The values of the fields with this name, in their order.
fn values<'a>(request: &'a httparse::Request<'_, '_>, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
    let fields = request.headers.iter().filter(move |field| field.name.eq_ignore_ascii_case(name));
    fields.map(|field| field.value)
}

fn check_host(request: &httparse::Request<'_, '_>) -> Result<(), RequestError> {
    let mut hosts = values(request, "host");
    match (hosts.next(), hosts.next()) {
        (None, _) if request.version == Some(0) => Ok(()),
        (None, _) => Err(RequestError::NoHost),
        (Some(host), None) if host.iter().all(may_be_in_host) => Ok(()),
        _ => Err(RequestError::BadHost),
    }
}

/// Whether a byte may be in a host with a port (RFC 3986, section 3.2).
fn may_be_in_host(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=:[]".contains(byte)
}

/// A target without scheme and host: a server takes the absolute form, too (RFC 9112, section 3.2.2).
fn origin_form(target: &str) -> &str {
    match target.split_at_checked("http://".len()) {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http://") => {
            rest.find(['/', '?']).map_or("/", |at| &rest[at..])
        }
        _ => target,
    }
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed => write!(f, "this is not a request of HTTP/1"),
            Self::TooLong => {
                write!(f, "the head of a request has at most {LONGEST} bytes and {MOST_FIELDS} fields")
            }
            Self::NoHost => write!(f, "a request of HTTP/1.1 has a Host field"),
            Self::BadHost => write!(f, "a request has one Host field, which names a host"),
        }
    }
}

impl Error for RequestError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(head: &str) -> Result<Option<StatusRequest>, RequestError> {
        StatusRequest::parse(head.as_bytes())
    }

    #[track_caller]
    fn path_and_query(target: &str) -> (String, String) {
        let request = parse(&format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n")).unwrap().unwrap();
        (request.path, request.query)
    }

    #[test]
    fn a_request_is_incomplete_until_its_empty_line_and_what_follows_does_not_matter() {
        for head in ["GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n", "GET /healthz HTTP/1.0\n\n"] {
            for at in 0..head.len() {
                assert_eq!(parse(&head[..at]), Ok(None), "{at}");
            }
            let request = parse(&format!("{head}\0\x7f GET")).unwrap().unwrap();
            assert_eq!((request.method, request.path.as_str()), (Method::Get, "/healthz"));
        }
    }

    #[test]
    fn a_line_may_end_with_a_line_feed_alone() {
        for head in
            ["GET /a HTTP/1.1\nHost: a\n\n", "GET /a HTTP/1.1\r\nHost: a\n\r\n", "\n\r\nGET /a HTTP/1.0\n\n"]
        {
            assert_eq!(parse(head).unwrap().unwrap().path, "/a", "{head:?}");
        }
    }

    #[test]
    fn one_host_is_due_from_http_1_1_on_and_two_are_wrong_in_either_version() {
        let head = |version, fields| parse(&format!("GET / HTTP/1.{version}\r\n{fields}\r\n")).map(|_| ());
        for host in
            ["Host: a\r\n", "host:\r\n", "HOST: [::1]:9090\r\n", "Host: a.example:80\r\nAccept: b\r\n"]
        {
            assert_eq!(head(0, host), Ok(()), "{host}");
            assert_eq!(head(1, host), Ok(()), "{host}");
        }
        assert_eq!(head(0, ""), Ok(()));
        assert_eq!(head(1, ""), Err(RequestError::NoHost));
        assert_eq!(head(1, "Hosts: a\r\n"), Err(RequestError::NoHost));
        for hosts in [
            "Host: a\r\nHost: a\r\n",
            "Host: a\r\nX: y\r\nhost: b\r\n",
            "Host: a b\r\n",
            "Host: a/b\r\n",
            "Host: u@a\r\n",
        ] {
            assert_eq!(head(0, hosts), Err(RequestError::BadHost), "{hosts}");
            assert_eq!(head(1, hosts), Err(RequestError::BadHost), "{hosts}");
        }
    }

    #[test]
    fn the_target_is_split_into_path_and_query_in_either_form() {
        for (target, path, query) in [
            ("/", "/", ""),
            ("/metrics", "/metrics", ""),
            ("/sessions?sort=age&page=2", "/sessions", "sort=age&page=2"),
            ("/a?b?c", "/a", "b?c"),
            ("http://a", "/", ""),
            ("HTTP://a:80/b?c", "/b", "c"),
            ("http://a?b", "", "b"),
            ("*", "*", ""),
        ] {
            assert_eq!(path_and_query(target), (path.to_owned(), query.to_owned()), "{target}");
        }
        let request = parse("GET /?a=1&b&a=2&c= HTTP/1.0\n\n").unwrap().unwrap();
        assert_eq!(
            ["a", "b", "c", "d"].map(|name| request.parameter(name)),
            [Some("1"), None, Some(""), None]
        );
    }

    #[test]
    fn what_is_no_request_is_refused_as_soon_as_it_shows() {
        for bytes in [
            &b"\x16\x03\x01\x02\0"[..],
            b"GET / HTTP/2.0\r\n",
            b"GET /\r\n",
            b"G\0T",
            b"GET / HTTP/1.1\r\nHost : a\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\n b: c\r\n\r\n",
            b"GET / HTTP/1.1\rHost",
        ] {
            assert_eq!(StatusRequest::parse(bytes), Err(RequestError::Malformed), "{}", bytes.escape_ascii());
        }
        let long = format!("GET /{} HTTP/1.0\r\n\r\n", "x".repeat(LONGEST));
        assert_eq!(parse(&long[..LONGEST - 1]), Ok(None));
        assert_eq!(parse(&long[..LONGEST]), Err(RequestError::TooLong));
        assert_eq!(parse(&long), Err(RequestError::TooLong));
        let many = format!("GET / HTTP/1.0\r\n{}\r\n", "a: b\r\n".repeat(MOST_FIELDS + 1));
        assert_eq!(parse(&many), Err(RequestError::TooLong));
    }
}
