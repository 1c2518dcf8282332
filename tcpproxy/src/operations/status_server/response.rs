//! What is answered, as bytes.

use std::borrow::Cow;

/// An answer, after which the connection is closed.
pub(super) struct Response {
    /// Code and reason.
    pub(super) status: &'static str,
    pub(super) content_type: &'static str,
    /// Further fields, each with its line end.
    pub(super) fields: &'static str,
    pub(super) body: Cow<'static, str>,
}

pub(super) const OK: &str = "200 OK";
pub(super) const BAD_REQUEST: &str = "400 Bad Request";
pub(super) const NOT_FOUND: &str = "404 Not Found";
pub(super) const METHOD_NOT_ALLOWED: &str = "405 Method Not Allowed";
pub(super) const SERVICE_UNAVAILABLE: &str = "503 Service Unavailable";

impl Response {
    /// One line of text.
    pub(super) fn line(status: &'static str, line: impl std::fmt::Display) -> Self {
        Self {
            status,
            content_type: "text/plain; charset=utf-8",
            fields: "",
            body: format!("{line}\n").into(),
        }
    }

    /// A file of the page for people. It may load and ask for what this server has, and nothing else.
    pub(super) fn file(content_type: &'static str, content: &'static str) -> Self {
        let fields = "content-security-policy: default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; \
            img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'\r\n\
            referrer-policy: no-referrer\r\n";
        Self { status: OK, content_type, fields, body: content.into() }
    }

    /// The whole of it, or its head alone (RFC 9110, section 9.3.2).
    pub(super) fn encode(&self, head_only: bool) -> Vec<u8> {
        let Self { status, content_type, fields, body } = self;
        let body_sent: &str = if head_only { "" } else { body };
        format!(
            "HTTP/1.1 {status}\r\n\
             content-type: {content_type}\r\n\
             content-length: {}\r\n\
             cache-control: no-store\r\n\
             x-content-type-options: nosniff\r\n\
             connection: close\r\n\
             {fields}\r\n{body_sent}",
            body.len()
        )
        .into_bytes()
    }
}
