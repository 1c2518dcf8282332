//! The host and port that a request is for.

use std::fmt;
use std::net::Ipv6Addr;

/// An origin server: a host and a port, parsed strictly. What is not clear is no origin, and never a default.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Origin {
    /// In lower case; an IPv6 address without its brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
}

/// The port of the scheme `http` (RFC 9110, section 4.2.1).
pub(crate) const HTTP: u16 = 80;

impl Origin {
    /// Parses `HOST[:PORT]`, without user information. No port, or an empty one, means `default`; without a default
    /// it is an error.
    pub(crate) fn parse(authority: &str, default: Option<u16>) -> Option<Self> {
        let (host, port) = match authority.strip_prefix('[') {
            Some(literal) => {
                let (address, port) = literal.split_once(']')?;
                address.parse::<Ipv6Addr>().ok()?;
                (address, port.strip_prefix(':').or(port.is_empty().then_some(""))?)
            }
            None => {
                let (name, port) = authority.split_once(':').unwrap_or((authority, ""));
                (Some(name).filter(|name| is_name(name))?, port)
            }
        };
        let port = if port.is_empty() { default? } else { parse_port(port)? };
        Some(Self { host: host.to_ascii_lowercase(), port })
    }
}

/// The authority, without the port of `http`.
impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') {
            write!(f, "[{host}]")?
        } else {
            f.write_str(host)?
        }
        if *port == HTTP { Ok(()) } else { write!(f, ":{port}") }
    }
}

/// Digits alone: `parse` would take a sign.
fn parse_port(digits: &str) -> Option<u16> {
    let number = digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?;
    number.filter(|&port| port > 0)
}

/// Whether this is an IPv4 address or a name that can be looked up: labels, maybe with a dot at the end. An encoded
/// character is none: programs differ in when they decode it.
fn is_name(name: &str) -> bool {
    let labels = name.strip_suffix('.').unwrap_or(name).split('.');
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    labels.into_iter().all(|label| !label.is_empty() && label.bytes().all(allowed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_authority_is_a_host_and_a_port() {
        for (authority, host, port, shown) in [
            ("Example.ORG", "example.org", 80, "example.org"),
            ("example.org.:80", "example.org.", 80, "example.org."),
            ("a:", "a", 80, "a"),
            ("a_b-c:0081", "a_b-c", 81, "a_b-c:81"),
            ("127.0.0.1:65535", "127.0.0.1", 65535, "127.0.0.1:65535"),
            ("[::1]", "::1", 80, "[::1]"),
            ("[::FFFF:127.0.0.1]:1", "::ffff:127.0.0.1", 1, "[::ffff:127.0.0.1]:1"),
        ] {
            let origin = Origin::parse(authority, Some(HTTP)).unwrap();
            assert_eq!((origin.host.as_str(), origin.port), (host, port), "{authority}");
            assert_eq!(origin.to_string(), shown);
        }
        assert_eq!(Origin::parse("a", None), None, "no port, and no default");
        assert_eq!(Origin::parse("a:", None), None);
        assert!(Origin::parse("a:443", None).is_some());
    }

    #[test]
    fn what_is_not_clear_is_no_origin() {
        for authority in [
            "",
            ":80",
            "a:99999",
            "a:65536",
            "a:0",
            "a:-1",
            "a:+1",
            "a:0x50",
            "a:8 0",
            "a:80 ",
            "a:80:80",
            "a b",
            "a@b",
            "a%2eb",
            "a..b",
            ".",
            "..",
            ".a",
            "a,b",
            "a/b",
            "a\\b",
            "\u{e9}",
            "::1",
            "[::1",
            "[::1]80",
            "[::1]x:80",
            "[a]",
            "[127.0.0.1]",
            "[]",
            "[fe80::1%eth0]",
            "a:٨٠",
        ] {
            assert_eq!(Origin::parse(authority, Some(HTTP)), None, "{authority}");
        }
    }
}
