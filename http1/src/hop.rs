//! What a proxy changes in a head between two hops.

use std::time::SystemTime;

use http::header::{
    AGE, CACHE_CONTROL, CONNECTION, CONTENT_LENGTH, DATE, EXPIRES, HOST, MAX_FORWARDS, PRAGMA,
};
use http::header::{HeaderMap, HeaderName, HeaderValue, SET_COOKIE, TRANSFER_ENCODING, VARY, VIA};
use http::header::{PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRAILER, UPGRADE};
use http::{Method, Request, Version};

use crate::framing::Framing;
use crate::head::members;

/// Fields that concern one connection only (RFC 9110, section 7.6.1).
const HOP_BY_HOP: [HeaderName; 9] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    HeaderName::from_static("proxy-connection"),
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// Fields that are for all recipients, so that no connection option removes them (RFC 9110, section 7.6.1). Without
/// them a cache might share a private response.
const END_TO_END: [HeaderName; 9] = [HOST, AGE, CACHE_CONTROL, DATE, EXPIRES, PRAGMA, SET_COOKIE, VARY, VIA];

/// Whether the sender of a message keeps the connection after it (RFC 9112, section 9.3). With HTTP/1.0 the answer is no.
#[must_use]
pub fn keeps_connection(version: Version, fields: &HeaderMap) -> bool {
    let closes = members(fields, CONNECTION).any(|option| option.eq_ignore_ascii_case(b"close"));
    version == Version::HTTP_11 && !closes
}

/// Changes the fields of a received message into those for the next hop: without the fields for the last hop, with
/// the framing of the outgoing body, and with `received_by` added to `Via` (RFC 9110, section 7.6.3). `version` is that
/// of the received message.
pub fn forward(version: Version, fields: &mut HeaderMap, framing: Framing, received_by: &str) {
    let named = members(fields, CONNECTION).filter_map(|name| HeaderName::from_bytes(name).ok());
    let named: Vec<HeaderName> = named.filter(|name| !END_TO_END.contains(name)).collect();
    for name in named {
        fields.remove(name);
    }
    for name in &HOP_BY_HOP {
        fields.remove(name);
    }
    match framing {
        Framing::Length(length) => drop(fields.insert(CONTENT_LENGTH, length.into())),
        Framing::Chunked => {
            fields.remove(CONTENT_LENGTH);
            fields.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
        Framing::None | Framing::Close => {}
    }
    let mut via = fields.get(VIA).map_or(Vec::new(), |before| [before.as_bytes(), b", "].concat());
    via.extend(if version == Version::HTTP_10 { b"1.0 " } else { b"1.1 " });
    via.extend(received_by.bytes());
    if let Ok(via) = HeaderValue::from_bytes(&via) {
        fields.insert(VIA, via);
    }
}

/// Whether the recipient with this name has forwarded the message before, as `Via` says (RFC 9110, section 7.6.3).
#[must_use]
pub fn has_passed(fields: &HeaderMap, received_by: &str) -> bool {
    members(fields, VIA).any(|hop| {
        hop.split(u8::is_ascii_whitespace)
            .nth(1)
            .is_some_and(|by| by.eq_ignore_ascii_case(received_by.as_bytes()))
    })
}

/// Decrements `Max-Forwards` of a TRACE or OPTIONS request. Returns whether the request is to be forwarded; if not, the
/// proxy itself has to respond (RFC 9110, section 7.6.2).
#[must_use]
pub fn decrement_max_forwards(request: &mut Request<()>) -> bool {
    if !matches!(*request.method(), Method::TRACE | Method::OPTIONS) {
        return true;
    }
    let left = request.headers().get(MAX_FORWARDS).and_then(|left| left.to_str().ok()?.parse::<u32>().ok());
    if let Some(fewer) = left.and_then(|left| left.checked_sub(1)) {
        request.headers_mut().insert(MAX_FORWARDS, fewer.into());
    }
    left != Some(0)
}

/// Adds the current time as `Date`, unless the response has one (RFC 9110, section 6.6.1).
pub fn add_date(fields: &mut HeaderMap) {
    if !fields.contains_key(DATE) {
        let now = HeaderValue::try_from(httpdate::fmt_http_date(SystemTime::now()));
        fields.extend(now.ok().map(|now| (DATE, now)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::head::tests::request_of;

    #[test]
    fn fields_for_one_hop_are_not_forwarded() {
        let mut fields = request_of(
            "GET / HTTP/1.1\r\nConnection: mine, Host, Content-Length\r\nMine: 1\r\nHost: a\r\nKeep-Alive: 5\r\nContent-Length: 5\r\nTE: x\r\n\
             Ours: 1",
        )
        .into_parts()
        .0
        .headers;
        forward(Version::HTTP_10, &mut fields, Framing::Length(5), "here");
        let mut left: Vec<&str> = fields.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["content-length", "host", "ours", "via"]);
        assert_eq!(fields["via"], "1.0 here");
    }

    #[test]
    fn connection_options_remove_no_field_that_keeps_a_response_private() {
        let mut fields = request_of(
            "GET / HTTP/1.1\r\nConnection: Cache-Control, Vary, Set-Cookie, Age, Via\r\nCache-Control: private\r\nVary: a\r\nSet-Cookie: b\r\n\
             Age: 5\r\nVia: 1.1 there",
        )
        .into_parts()
        .0
        .headers;
        forward(Version::HTTP_11, &mut fields, Framing::None, "here");
        for name in ["cache-control", "vary", "set-cookie", "age"] {
            assert!(fields.contains_key(name), "{name}");
        }
        assert_eq!(fields["via"], "1.1 there, 1.1 here");
    }

    #[test]
    fn each_hop_appends_its_name_to_via_and_recognizes_it() {
        let request = request_of("GET / HTTP/1.1\r\nVia: 1.0 fred, HTTP/1.1 here:80 (Webproxy/1.0)");
        for (name, passed) in [("fred", true), ("HERE:80", true), ("here", false), ("(Webproxy/1.0)", false)]
        {
            assert_eq!(has_passed(request.headers(), name), passed, "{name}");
        }
        let mut fields = request.into_parts().0.headers;
        forward(Version::HTTP_11, &mut fields, Framing::None, "there");
        assert_eq!(fields["via"], "1.0 fred, HTTP/1.1 here:80 (Webproxy/1.0), 1.1 there");
        assert!(has_passed(&fields, "there"));
    }

    #[test]
    fn a_request_is_forwarded_as_often_as_max_forwards_allows() {
        for (request, left) in [
            ("OPTIONS * HTTP/1.1\r\nMax-Forwards: 2", Some("1")),
            ("TRACE / HTTP/1.1\r\nMax-Forwards: 1", Some("0")),
            ("TRACE / HTTP/1.1\r\nMax-Forwards: 0", None),
            ("GET / HTTP/1.1\r\nMax-Forwards: 0", Some("0")),
            ("OPTIONS * HTTP/1.1\r\nMax-Forwards: many", Some("many")),
            ("OPTIONS * HTTP/1.1\r\nA: b", Some("")),
        ] {
            let mut asked = request_of(request);
            let goes_on = decrement_max_forwards(&mut asked);
            let said = asked.headers().get(MAX_FORWARDS).map_or("", |value| value.to_str().unwrap());
            assert_eq!(goes_on.then_some(said), left, "{request}");
        }
    }

    #[test]
    fn a_date_is_added_to_a_response_without_one() {
        let mut fields = HeaderMap::new();
        add_date(&mut fields);
        let date = fields[DATE].to_str().unwrap().to_owned();
        assert!(httpdate::parse_http_date(&date).unwrap() <= SystemTime::now());
        let old = HeaderValue::from_static("Sun, 06 Nov 1994 08:49:37 GMT");
        fields.insert(DATE, old.clone());
        add_date(&mut fields);
        assert_eq!(fields.get_all(DATE).iter().collect::<Vec<_>>(), [&old]);
    }
}
