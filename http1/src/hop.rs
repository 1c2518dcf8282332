//! What a proxy changes in a head between two hops.

use std::time::SystemTime;

use http::header::{CONNECTION, CONTENT_LENGTH, DATE, HOST, MAX_FORWARDS, TRANSFER_ENCODING, VIA};
use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, Version};

use crate::body::Framing;
use crate::head::members;

/// Fields that concern one connection only (RFC 9110, section 7.6.1).
const HOP_BY_HOP: &str = "connection keep-alive proxy-authenticate proxy-authorization proxy-connection te trailer \
                          transfer-encoding upgrade";

/// Whether the sender of a message keeps the connection after it.
#[must_use]
pub fn keeps(version: Version, fields: &HeaderMap) -> bool {
    let closes = members(fields, CONNECTION).any(|option| option.eq_ignore_ascii_case("close"));
    version == Version::HTTP_11 && !closes
}

/// Makes fields that have come fit for the next hop: without those that were for this one, with the framing in which
/// the body goes on, and with a `Via` that names this hop (RFC 9110, section 7.6.3). `Host` stays in any case.
pub fn pass_on(version: Version, fields: &mut HeaderMap, framing: Framing, name: &str) {
    let named: Vec<HeaderName> = members(fields, CONNECTION).filter_map(|name| name.parse().ok()).collect();
    for name in named.into_iter().filter(|name| name != HOST) {
        fields.remove(name);
    }
    for name in HOP_BY_HOP.split_whitespace() {
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
    let via = format!("{} {name}", if version == Version::HTTP_10 { "1.0" } else { "1.1" });
    fields.extend(HeaderValue::try_from(via).ok().map(|via| (VIA, via)));
}

/// Counts this hop, if the request says after how many it is to go no further: TRACE and OPTIONS may. Returns whether
/// it goes on; if not, the proxy itself has to answer (RFC 9110, section 7.6.2).
#[must_use]
pub fn count_hop(request: &mut Request<()>) -> bool {
    if !matches!(*request.method(), Method::TRACE | Method::OPTIONS) {
        return true;
    }
    let left = request.headers().get(MAX_FORWARDS).and_then(|left| left.to_str().ok()?.parse::<u32>().ok());
    if let Some(fewer) = left.and_then(|left| left.checked_sub(1)) {
        request.headers_mut().insert(MAX_FORWARDS, fewer.into());
    }
    left != Some(0)
}

/// Adds the time, unless the fields of a response tell it: whoever passes it on must (RFC 9110, section 6.6.1).
pub fn add_date(fields: &mut HeaderMap) {
    if !fields.contains_key(DATE) {
        let now = HeaderValue::try_from(httpdate::fmt_http_date(SystemTime::now()));
        fields.extend(now.ok().map(|now| (DATE, now)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::HeadReader;
    use ringbuf::Pool;

    fn request_with(line: &str) -> Request<()> {
        let mut from = Pool::new(1024, 1).reserve().unwrap();
        assert!(from.push_all(format!("{line}\r\n\r\n").as_bytes()).unwrap());
        HeadReader::new(1024).request(&mut from).unwrap().unwrap()
    }

    #[test]
    fn what_is_for_one_hop_is_not_passed_on() {
        let mut fields = request_with(
            "GET / HTTP/1.1\r\nConnection: mine, Host, Content-Length\r\nMine: 1\r\nHost: a\r\nKeep-Alive: 5\r\nContent-Length: 5\r\nTE: x\r\n\
             Ours: 1",
        )
        .into_parts()
        .0
        .headers;
        pass_on(Version::HTTP_10, &mut fields, Framing::Length(5), "here");
        let mut left: Vec<&str> = fields.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["content-length", "host", "ours", "via"]);
        assert_eq!(fields["via"], "1.0 here");
    }

    #[test]
    fn a_request_goes_as_far_as_it_says() {
        for (request, left) in [
            ("OPTIONS * HTTP/1.1\r\nMax-Forwards: 2", Some("1")),
            ("TRACE / HTTP/1.1\r\nMax-Forwards: 1", Some("0")),
            ("TRACE / HTTP/1.1\r\nMax-Forwards: 0", None),
            ("GET / HTTP/1.1\r\nMax-Forwards: 0", Some("0")),
            ("OPTIONS * HTTP/1.1\r\nMax-Forwards: many", Some("many")),
            ("OPTIONS * HTTP/1.1\r\nA: b", Some("")),
        ] {
            let mut asked = request_with(request);
            let goes_on = count_hop(&mut asked);
            let said = asked.headers().get(MAX_FORWARDS).map_or("", |value| value.to_str().unwrap());
            assert_eq!(goes_on.then_some(said), left, "{request}");
        }
    }

    #[test]
    fn a_date_is_added_where_there_is_none() {
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
