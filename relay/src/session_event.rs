//! What happens to a session, and how it ends.

use std::io;
use std::net::SocketAddr;

use crate::limits::TimeLimit;
use crate::tunnel::{Side, TunnelEnd};

/// What has happened to a session.
#[must_use = "the end is returned only once"]
#[derive(Debug)]
pub enum SessionEvent<E> {
    /// There is nothing to do until something is ready.
    Waiting,
    /// Before a destination was chosen the client has sent more, or has finished. When nothing more can come,
    /// after FIN or with a full ring, the session ends unless it is [connected](crate::ProxySession::connect) or
    /// [refused](crate::ProxySession::refuse).
    FirstBytes,
    /// The server is connected, at this address, and nothing was sent to it yet.
    Connected(SocketAddr),
    /// The server cannot be connected. The session ends with RST unless it is
    /// [refused](crate::ProxySession::refuse).
    ConnectFailed(E),
    /// The session is over, and both connections are closed.
    Ended(SessionEnd),
}

/// How a session ended.
#[derive(Debug)]
pub struct SessionEnd {
    /// What ended it.
    pub cause: EndCause,
    /// How far it was then.
    pub phase: SessionPhase,
}

/// What ended a session.
#[derive(Debug)]
pub enum EndCause {
    /// Both peers have finished, the one on this side first, and every byte was delivered.
    Finished(Side),
    /// The connection of this side failed, or (`OutOfMemory`) there was no memory for its bytes.
    Failed(Side, io::Error),
    /// Nothing more can come from the client, and no destination was chosen.
    NoDestination,
    /// The server could not be connected.
    NoServer,
    /// The client was refused.
    Refused,
    /// Time ran out.
    TimedOut(TimeLimit),
    /// The owner has closed it.
    Closed,
}

/// How far a session is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionPhase {
    /// No destination is chosen.
    Opening,
    /// The server is being connected.
    Connecting,
    /// Bytes go both ways.
    Established,
    /// One peer has finished.
    HalfClosed,
}

impl From<TunnelEnd> for EndCause {
    fn from(end: TunnelEnd) -> Self {
        match end {
            TunnelEnd::Finished(side) => Self::Finished(side),
            TunnelEnd::Failed(side, error) => Self::Failed(side, error),
            TunnelEnd::Closed => Self::Closed,
        }
    }
}
