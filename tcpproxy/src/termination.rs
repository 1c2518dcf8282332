//! How sessions end, in words that a log can be searched for.

use std::fmt;
use std::io::{self, ErrorKind};

/// Why a session ended: who brought it about, when, and how. The idea is HAProxy's termination state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ending {
    /// Who brought it about.
    pub by: By,
    /// How far the session had come.
    pub phase: Phase,
    /// What happened.
    pub how: How,
}

/// Who ended a session.
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

/// How far a session had come when it was decided how it ends.
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

/// What ended a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// Both sides ended their direction with FIN; `by` is the side that did so first.
    Fin,
    /// The side reset the connection.
    Reset,
    /// The connection to the side broke for another reason, such as unanswered keepalive probes.
    Error,
    /// No PROXY header came, in time or before the client finished.
    NoHeader,
    /// What came is no PROXY header, or too long a one.
    BadHeader,
    /// The server refused the connection.
    Refused,
    /// The server could not be reached.
    Unreachable,
    /// Nobody answered in time.
    Unanswered,
    /// No byte had moved for `--idle-timeout`.
    Idle,
    /// No byte had moved for `--half-close-timeout` after one side had ended its direction.
    HalfClosed,
    /// The session was idle while others waited, and `--yield-idle` gave its place away.
    Yielded,
    /// The program was stopped and the session was not over in time.
    Stopped,
    /// The system could not provide what the session needs.
    Exhausted,
}

impl How {
    /// What an error on a connection that was made says.
    #[must_use]
    pub fn of_connection(error: &io::Error) -> Self {
        match error.kind() {
            // A reset that follows a FIN shows as EPIPE, and one that a FIN of ours meets as ENOTCONN.
            ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::NotConnected => Self::Reset,
            _ if eventloop::is_exhaustion(error) => Self::Exhausted,
            _ => Self::Error,
        }
    }

    /// What an error on an attempt to connect says.
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
            /// All there are.
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
words!(How {
    Fin => "fin",
    Reset => "reset",
    Error => "error",
    NoHeader => "no-header",
    BadHeader => "bad-header",
    Refused => "refused",
    Unreachable => "unreachable",
    Unanswered => "unanswered",
    Idle => "idle",
    HalfClosed => "half-closed",
    Yielded => "yielded",
    Stopped => "stopped",
    Exhausted => "exhausted",
});
