//! What a shared cache may keep, decided before the policy crate is asked: it reads doubled, contradicting and
//! unreadable directives in ways that would give away what is for one client.

use http::header::{AUTHORIZATION, CACHE_CONTROL, HeaderMap, HeaderValue, RANGE, SET_COOKIE, VARY};
use http::{Method, Request, Response};

/// Whether a response to this request may be considered for the cache.
pub(crate) fn may_store(request: &Request<()>, response: &Response<()>) -> bool {
    let fields = response.headers();
    request.method() == Method::GET
        && !request.headers().contains_key(RANGE)
        && !fields.contains_key(SET_COOKIE) // a cookie is for one client, whatever else the response says
        && fields.get(CACHE_CONTROL).is_none_or(|value| value.to_str().is_ok())
        && fields.get(VARY).is_none_or(varies_by_names)
        && (!request.headers().contains_key(AUTHORIZATION) || allows_sharing(fields))
}

/// Whether a request asks for a cached response or none (RFC 9111, section 5.2.1.7).
pub(crate) fn only_if_cached(request: &Request<()>) -> bool {
    let value = request.headers().get(CACHE_CONTROL).map(HeaderValue::as_bytes).unwrap_or_default();
    value
        .split(|&byte| byte == b',')
        .any(|member| member.trim_ascii().eq_ignore_ascii_case(b"only-if-cached"))
}

/// Whether a response to an authenticated request may be given to others (RFC 9111, section 3.5). All directives have
/// to be clear: well-formed, and each of them there once.
fn allows_sharing(fields: &HeaderMap) -> bool {
    let value = fields.get(CACHE_CONTROL).and_then(|value| value.to_str().ok());
    let Some(directives) = value.and_then(parse) else { return false };
    let doubled =
        |name: &str| directives.iter().filter(|(other, _)| other.eq_ignore_ascii_case(name)).count() > 1;
    let allows = |&(name, argument): &(&str, Option<&str>)| match name.to_ascii_lowercase().as_str() {
        "public" | "must-revalidate" => argument.is_none(),
        "s-maxage" => argument.is_some_and(|seconds| seconds.parse::<u32>().is_ok()),
        _ => false,
    };
    !directives.iter().any(|(name, _)| doubled(name)) && directives.iter().any(allows)
}

/// The directives of `Cache-Control` (RFC 9111, section 5.2), or `None` if it is malformed.
fn parse(mut rest: &str) -> Option<Vec<(&str, Option<&str>)>> {
    let mut directives = Vec::new();
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        if rest.is_empty() {
            return Some(directives);
        }
        let (name, behind) = split_token(rest)?;
        let (argument, behind) = match behind.strip_prefix('=') {
            None => (None, behind),
            Some(quoted) if quoted.starts_with('"') => {
                let (argument, behind) =
                    quoted[1..].split_once('"').filter(|(inner, _)| !inner.contains('\\'))?;
                (Some(argument), behind)
            }
            Some(argument) => split_token(argument).map(|(argument, behind)| (Some(argument), behind))?,
        };
        directives.push((name, argument));
        rest = behind.trim_start_matches([' ', '\t']);
        if !(rest.is_empty() || rest.starts_with(',')) {
            return None;
        }
    }
}

/// A token (RFC 9110, section 5.6.2), and what is behind it.
fn split_token(text: &str) -> Option<(&str, &str)> {
    let end = text.bytes().position(|byte| !is_token(byte)).unwrap_or(text.len());
    (end > 0).then(|| text.split_at(end))
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Whether `Vary` is a list of field names, and not `*` (RFC 9110, section 12.5.5).
fn varies_by_names(vary: &HeaderValue) -> bool {
    let is_name = |member: &[u8]| member != b"*" && member.iter().all(|&byte| is_token(byte));
    vary.as_bytes().split(|&byte| byte == b',').all(|member| is_name(member.trim_ascii()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directives_are_read_strictly() {
        assert_eq!(parse(""), Some(vec![]));
        assert_eq!(
            parse("public, max-age=60 ,x=\"a, b\",, no-cache"),
            Some(vec![("public", None), ("max-age", Some("60")), ("x", Some("a, b")), ("no-cache", None)])
        );
        for malformed in [
            "public x",
            "public;x",
            "=1",
            "a=",
            "a=\"b",
            "a=\"b\"c",
            "a=\"\\\"\"",
            "a =1",
            "\"public\"",
            "a=b=c",
        ] {
            assert_eq!(parse(malformed), None, "{malformed}");
        }
    }
}
