//! One line of the log for each request, in the combined log format.

use std::fmt::{self, Write as _};
use std::net::IpAddr;
use std::rc::Rc;

use http::header::{HeaderName, HeaderValue, REFERER, USER_AGENT};
use http::{Request, Version};

use crate::log::Log;
use crate::refusal::Refusal;

/// What the log says about a request. It is written when this is dropped, so that no request is missing from it.
pub(crate) struct Access {
    /// `None` if requests are not logged.
    log: Option<Rc<Log>>,
    client: IpAddr,
    request: String,
    referer: String,
    user_agent: String,
    /// Of the response; 0 if the client got none.
    pub(crate) status: u16,
    /// Bytes of the body that the client was sent.
    pub(crate) bytes: u64,
    /// How many of them are no body but a head.
    pub(crate) head: u64,
    pub(crate) cache: ResultCode,
}

/// Where the response came from, or why there is none.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum ResultCode {
    /// The client got no complete response.
    Aborted,
    Miss,
    Hit,
    Revalidated,
    Tunnel,
    Refused(&'static str),
}

/// The longest part of a line that a client decides.
const MAX_FIELD: usize = 2048;

impl Access {
    pub(crate) fn new(log: &Rc<Log>, client: IpAddr) -> Self {
        let log = log.requests.then(|| log.clone());
        let [request, referer, user_agent] = [const { String::new() }; 3];
        Self {
            log,
            client,
            request,
            referer,
            user_agent,
            status: 0,
            bytes: 0,
            head: 0,
            cache: ResultCode::Aborted,
        }
    }

    /// Takes note of a request, as the client sent it.
    pub(crate) fn requested(&mut self, request: &Request<()>) {
        if self.log.is_some() {
            let version = if request.version() == Version::HTTP_10 { "1.0" } else { "1.1" };
            self.request =
                escape(format!("{} {} HTTP/{version}", request.method(), request.uri()).as_bytes());
            let field = |name: HeaderName| request.headers().get(name).map(HeaderValue::as_bytes).map(escape);
            self.referer = field(REFERER).unwrap_or_default();
            self.user_agent = field(USER_AGENT).unwrap_or_default();
        }
    }

    pub(crate) fn refused(&mut self, refusal: Refusal) {
        self.status = refusal.status.as_u16();
        self.cache = ResultCode::Refused(refusal.reason);
    }
}

impl Drop for Access {
    fn drop(&mut self) {
        if let Some(log) = self.log.take() {
            let part = |text: &str| if text.is_empty() { "-".to_owned() } else { text.to_owned() };
            log.line(&format!(
                r#"{} - - [{}] "{}" {:03} {} "{}" "{}" {}"#,
                self.client,
                log.time(),
                part(&self.request),
                self.status,
                self.bytes.saturating_sub(self.head),
                part(&self.referer),
                part(&self.user_agent),
                self.cache,
            ));
        }
    }
}

impl fmt::Display for ResultCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Aborted => "ABORTED",
            Self::Miss => "MISS",
            Self::Hit => "HIT",
            Self::Revalidated => "REVALIDATED",
            Self::Tunnel => "TUNNEL",
            Self::Refused(reason) => return write!(f, "\"{reason}\""),
        })
    }
}

/// Printable ASCII as it is, and each other byte as `\xNN`: a terminal or a log tool sees nothing that a client has
/// made up. Too long a text ends with dots.
fn escape(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for &byte in bytes {
        if text.len() >= MAX_FIELD {
            text.push_str("...");
            break;
        }
        match byte {
            b'"' | b'\\' => text.extend(['\\', char::from(byte)]),
            b' '..=b'~' => text.push(char::from(byte)),
            _ => {
                let _ = write!(text, "\\x{byte:02x}"); // writing into memory cannot fail
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_printable_characters_of_ascii_are_logged() {
        let all: Vec<u8> = (0..=255).collect();
        assert!(escape(&all).bytes().all(|byte| (b' '..=b'~').contains(&byte)));
        assert_eq!(escape("\u{85}\u{202e}\"\\\n".as_bytes()), r#"\xc2\x85\xe2\x80\xae\"\\\x0a"#);
        assert_eq!(escape(&[b'a'; 5000]).len(), MAX_FIELD + 3);
    }
}
