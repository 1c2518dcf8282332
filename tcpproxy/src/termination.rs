//! How sessions end, in words that a log can be searched for.

use std::fmt;
use std::io::{self, ErrorKind};

/// How a session ended. The idea is HAProxy's termination state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Termination {
    /// What ended it.
    pub by: By,
    /// How far the session had come.
    pub phase: Phase,
    /// What happened.
    pub reason: Reason,
}

/// What ended a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// The client.
    Client,
    /// The server, or the network on the way to it.
    Server,
    /// This program, for a reason of its own.
    Proxy,
    /// A time limit of this program.
    Timeout,
}

/// How far a session had come when its end was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The client had yet to send the header that `--accept-proxy-protocol` asks for.
    Header,
    /// The server was not reached yet.
    Connect,
    /// Both directions were open.
    Data,
    /// One direction had ended, the other was open.
    Drain,
}

/// Why a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Both sides ended their direction with FIN; `by` is the side that did so first.
    Fin,
    /// The side reset the connection.
    Reset,
    /// The side has vanished: it answers no keepalive probe, or acknowledges nothing for the keepalive time.
    Dead,
    /// The connection to the side broke for another reason.
    Error,
    /// No PROXY header came, in time or before the client finished.
    NoHeader,
    /// What came is no PROXY header, or too long a one.
    BadHeader,
    /// The client's address has as many clients as `--max-per-address` allows.
    Limited,
    /// The server refused the connection.
    Refused,
    /// The server could not be reached.
    Unreachable,
    /// The server did not answer in time.
    Unanswered,
    /// The server's address is one on which the proxy itself listens, or leads back to it.
    Loop,
    /// No byte had moved for `--idle-timeout`.
    Idle,
    /// No byte had moved for `--half-close-timeout` after one side had ended its direction.
    HalfClosed,
    /// No byte had moved for `--yield-idle`, or nothing of the PROXY header had come, while another client waited.
    Yielded,
    /// The program was stopped and the session did not end in time.
    Stopped,
    /// The system could not provide what the session needs.
    Exhausted,
}

/// What ends a session at once, with RST to both sides.
#[derive(Debug)]
pub(crate) struct Cause {
    pub(crate) by: By,
    pub(crate) reason: Reason,
    /// What the log says beyond that.
    pub(crate) detail: Option<String>,
}

impl Cause {
    pub(crate) fn new(by: By, reason: Reason) -> Self {
        Self { by, reason, detail: None }
    }

    pub(crate) fn with_detail(by: By, reason: Reason, detail: impl fmt::Display) -> Self {
        Self { by, reason, detail: Some(detail.to_string()) }
    }

    /// An error on the connection to `by`, or a lack of memory for what it has sent.
    pub(crate) fn of_connection(by: By, error: &io::Error) -> Self {
        match Reason::of_connection(error) {
            Reason::Exhausted => Self::with_detail(By::Proxy, Reason::Exhausted, error),
            reason => Self::with_detail(by, reason, error),
        }
    }
}

impl Reason {
    /// The reason for an error on an established connection.
    #[must_use]
    pub fn of_connection(error: &io::Error) -> Self {
        match error.kind() {
            // A reset that follows a FIN shows as EPIPE, and one that a FIN of ours meets as ENOTCONN.
            ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::NotConnected => Self::Reset,
            ErrorKind::TimedOut => Self::Dead,
            _ if eventloop::is_exhaustion(error) => Self::Exhausted,
            _ => Self::Error,
        }
    }

    /// The reason for an error on an attempt to connect.
    #[must_use]
    pub fn of_attempt(error: &io::Error) -> Self {
        match error.kind() {
            ErrorKind::ConnectionRefused => Self::Refused,
            ErrorKind::TimedOut => Self::Unanswered,
            ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable => Self::Unreachable,
            _ if eventloop::is_exhaustion(error) => Self::Exhausted,
            _ => Self::Error,
        }
    }
}

macro_rules! words {
    ($type:ident { $($variant:ident => $word:literal),* $(,)? }) => {
        impl $type {
            /// Every variant, in the order of their definition.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The word for it in logs and metrics.
            #[must_use]
            pub fn word(self) -> &'static str {
                match self { $(Self::$variant => $word),* }
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.word())
            }
        }
    };
}

words!(By { Client => "client", Server => "server", Proxy => "proxy", Timeout => "timeout" });
words!(Phase { Header => "header", Connect => "connect", Data => "data", Drain => "drain" });
words!(Reason {
    Fin => "fin",
    Reset => "reset",
    Dead => "dead",
    Error => "error",
    NoHeader => "no-header",
    BadHeader => "bad-header",
    Limited => "limited",
    Refused => "refused",
    Unreachable => "unreachable",
    Unanswered => "unanswered",
    Loop => "loop",
    Idle => "idle",
    HalfClosed => "half-closed",
    Yielded => "yielded",
    Stopped => "stopped",
    Exhausted => "exhausted",
});

/// A detail of at most 2000 bytes, because a log line has a greatest length: a server of a hundred addresses can refuse
/// at each of them.
pub(crate) fn shortened(mut detail: String) -> String {
    const MAX_LEN: usize = 2000;
    if detail.len() > MAX_LEN {
        detail.truncate((0..=MAX_LEN).rfind(|&at| detail.is_char_boundary(at)).unwrap_or(0));
        detail.push('…');
    }
    detail
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_detail_that_is_too_long_for_a_line_is_cut_between_two_characters() {
        assert_eq!(shortened("é".repeat(1000)), "é".repeat(1000));
        assert_eq!(shortened("x".to_owned() + &"é".repeat(1000)), "x".to_owned() + &"é".repeat(999) + "…");
    }
}
