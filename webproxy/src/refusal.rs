//! Responses of the proxy's own.

use std::io;

use http::StatusCode;
use http1::HeadError;

/// Why a client gets a response of the proxy's own.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    /// For the log, and for the client in `Proxy-Status`.
    pub(crate) reason: &'static str,
}

impl Refusal {
    /// There is no memory for a ring.
    pub(crate) const OUT_OF_MEMORY: Self = Self::new(StatusCode::SERVICE_UNAVAILABLE, "out of memory");

    pub(crate) const fn new(status: StatusCode, reason: &'static str) -> Self {
        Self { status, reason }
    }

    pub(crate) const fn bad_request(reason: &'static str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, reason)
    }

    pub(crate) const fn bad_gateway(reason: &'static str) -> Self {
        Self::new(StatusCode::BAD_GATEWAY, reason)
    }

    /// A whole response, after which the connection is closed.
    pub(crate) fn encode(self) -> String {
        let Self { status, reason } = self;
        let proxy_status = format!("Proxy-Status: webproxy; details=\"{reason}\""); // RFC 9209
        format!("HTTP/1.1 {status}\r\n{proxy_status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
    }
}

impl From<HeadError> for Refusal {
    fn from(error: HeadError) -> Self {
        match error {
            HeadError::TooLong => Self::new(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "head too long"),
            HeadError::Malformed => Self::bad_request("malformed head"),
        }
    }
}

/// An error of a ring.
impl From<io::Error> for Refusal {
    fn from(_: io::Error) -> Self {
        Self::OUT_OF_MEMORY
    }
}
