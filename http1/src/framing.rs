//! How the end of a body is found (RFC 9112, section 6.3).

use http::header::{CONTENT_LENGTH, HeaderMap, TRANSFER_ENCODING};
use http::{Method, Request, Response, StatusCode, Version};

use crate::head::members;

/// How the end of a body is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// There is no body.
    None,
    /// The body has this many bytes.
    Length(u64),
    /// The body consists of chunks, of which the last is empty.
    Chunked,
    /// The body ends with the connection.
    Close,
}

/// The framing of a request's body. `None` if the head contradicts itself: if two programs read such a request
/// differently, requests can be smuggled (RFC 9112, section 11.2).
#[must_use]
pub fn request_framing(request: &Request<()>) -> Option<Framing> {
    framing(request.version(), request.headers(), Framing::None)
}

/// The framing of the body of a response to a request with this method. `None` if the head contradicts itself.
#[must_use]
pub fn response_framing(method: &Method, response: &Response<()>) -> Option<Framing> {
    let bodiless = response.status().is_informational()
        || matches!(response.status(), StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
        || method == Method::HEAD;
    if method == Method::CONNECT && response.status().is_success() {
        return Some(Framing::None); // a tunnel follows, whatever the head says
    }
    let framing = framing(response.version(), response.headers(), Framing::Close)?;
    Some(if bodiless { Framing::None } else { framing })
}

/// `Transfer-Encoding` beside `Content-Length`, or in HTTP/1.0, is refused. RFC 9112, section 6.1, lets a server accept
/// it, but the next program may interpret it differently.
fn framing(version: Version, fields: &HeaderMap, unstated: Framing) -> Option<Framing> {
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

fn number(digits: &[u8]) -> Option<u64> {
    let digits = str::from_utf8(digits).ok()?;
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::head::tests::response_with;

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
        // Whatever the head says, a tunnel follows (RFC 9112, section 6.3).
        for fields in ["", "Content-Length: 5\r\n", "Transfer-Encoding: chunked\r\n"] {
            assert_eq!(response_framing(&Method::CONNECT, &response_with(fields)), Some(Framing::None));
        }
        let head = response_framing(&Method::HEAD, &response_with("Content-Length: 5\r\n"));
        assert_eq!(head, Some(Framing::None));
    }
}
