use std::fmt;

/// One of the two peers of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PeerRole {
    Client,
    Server,
}

impl PeerRole {
    pub(super) const BOTH: [Self; 2] = [Self::Client, Self::Server];

    pub(super) const fn other(self) -> Self {
        match self {
            Self::Client => Self::Server,
            Self::Server => Self::Client,
        }
    }

    /// From what this peer and the other one have, what the client and the server have; and the same back.
    pub(super) fn pair<T>(self, this: T, other: T) -> (T, T) {
        match self {
            Self::Client => (this, other),
            Self::Server => (other, this),
        }
    }
}

impl fmt::Display for PeerRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.pair("client", "server").0)
    }
}
