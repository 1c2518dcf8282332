//! What carries bytes between TCP connections, faithful to the last FIN and RST.
//!
//! # Vocabulary
//!
//! | word | meaning |
//! |---|---|
//! | source, sink | where bytes come from, and where they go: [`Source`], [`Sink`] |
//! | direction | the way from one source to one sink: a [`Relay`] |
//! | tunnel | two connections joined by a relay for each direction: [`Tunnel`] |
//! | finish | to end one direction with FIN and go on receiving: a half-close |
//! | splice | to move bytes from socket to socket through a pipe, without copying them (splice(2)): [`Pipes`] |
//! | lingering close | a close that lets the kernel send what it has first |
//!
//! Next: [`tcpproxy`](../tcpproxy/index.html), a forwarder made of these parts.

mod buffer;
mod buffered_stream;
mod connection;
mod lingering_close;
mod pipe;
mod preface;
mod proxy_session;
mod rate_limit;
mod relay;
mod side_io;
mod tunnel;

pub use buffered_stream::BufferedStream;
pub use connection::{Connection, Interest, Readiness};
pub use pipe::{LentPipe, Pipe, Pipes};
pub use proxy_session::{
    Dial, Dialed, EndCause, Limits, ProxySession, SessionEnd, SessionEvent, SessionPhase, TimeLimit,
};
pub use relay::{DirectionEnd, Relay, Sink, Source, Transfer};
pub use tunnel::{Moved, Peer, Tunnel, TunnelEnd};

/// The first session in the guide for authors, compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../../docs/milestones.md")]
pub struct Milestones;
