//! How long sessions may last.

use std::time::Duration;

/// How long a session may stay in each phase. [`Duration::MAX`] is no limit.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How long the client has, from the beginning, until a destination is chosen.
    pub opening: Duration,
    /// How long a peer that takes nothing has to take the last bytes, after the other one has failed or the
    /// client was refused, and how long it has to acknowledge them.
    pub linger: Duration,
    /// How long no byte may move.
    pub idle: Option<Duration>,
    /// How long no byte may move after one peer has finished.
    pub half_close: Option<Duration>,
}

/// One of the [`Limits`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeLimit {
    /// [`Limits::opening`]
    Opening,
    /// [`Limits::linger`]
    Linger,
    /// [`Limits::idle`]
    Idle,
    /// [`Limits::half_close`]
    HalfClose,
}

impl Default for Limits {
    /// Ten seconds to choose a destination, a minute to linger, and no limit for a connection that is idle.
    fn default() -> Self {
        Self {
            opening: Duration::from_secs(10),
            linger: Duration::from_secs(60),
            idle: None,
            half_close: None,
        }
    }
}
