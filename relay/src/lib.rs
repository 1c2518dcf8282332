//! What carries bytes between TCP connections, faithful to the last FIN and RST.
//!
//! # Vocabulary
//!
//! | word | meaning |
//! |---|---|
//! | source, sink | where bytes come from, and where they go: [`ByteSource`], [`ByteSink`] |
//! | direction | the way from one source to one sink: a [`Relay`] |
//! | tunnel | two connections joined by a relay for each direction: [`Tunnel`] |
//! | finish | to end one direction with FIN and go on receiving: a half-close |
//! | splice | to move bytes from socket to socket through a pipe, without copying them (splice(2)): [`Pipes`] |
//! | lingering close | a close that waits until the peer has acknowledged what was sent, and then resets |
//! | session | one client and its server, from the first byte to the end: a [`ProxySession`] |
//! | preface | bytes of the program's own that go out before those that are carried |
//!
//! # The picture
//!
//! ```text
//!            ┌──────────────────── ProxySession ────────────────────┐
//!            │ ┌───────────────────── Tunnel ─────────────────────┐ │
//!            │ │            Relay: ring, or pipe                  │ │
//!            │ │   ┌──────────────────────────────────────────┐   │ │
//!            │ │   │                                          ▼   │ │
//!   client ◀─┼─┼─▶ Connection                      Connection ◀─┼─┼─▶ server
//!            │ │   ▲                                          │   │ │
//!            │ │   └──────────────────────────────────────────┘   │ │
//!            │ │            Relay: ring, or pipe                  │ │
//!            │ └──────────────────────────────────────────────────┘ │
//!            │   first bytes, Dial, Limits, rates, how it ended     │
//!            └──────────────────────────────────────────────────────┘
//! ```
//!
//! A program that understands what it carries has a [`BufferedStream`] to each peer instead.
//!
//! # Promises
//!
//! - Every byte arrives, in order and once, and no more than one ring of a direction is pending.
//! - A FIN goes out after the last byte before it, and only because a FIN came in. A part that is dropped before its
//!   end resets its connections.
//! - A reset goes out after the bytes before it were acknowledged, within the time to linger.
//!
//! Whole sessions are tested in memory, between simulated peers: a part is generic over its [`Connection`].
//!
//! # Example
//!
//! A forwarder that serves one client ([`serve`] is for many):
//!
//! ```
//! use std::io::{Read, Write};
//! use std::net::{Shutdown, TcpListener, TcpStream};
//! use std::time::Instant;
//!
//! use eventloop::{ConnectOptions, Connector, EventLoop, Stream};
//! use relay::{Limits, ProxySession};
//! use ringbuf::Pool;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let (listener, origin) = (TcpListener::bind("127.0.0.1:0")?, TcpListener::bind("127.0.0.1:0")?);
//! let (address, server) = (listener.local_addr()?, [origin.local_addr()?]);
//! let pool = Pool::new(64 * 1024, 2);
//! let serve_one = |event_loop: &mut EventLoop| -> std::io::Result<()> {
//!     let (client, now) = (Stream::new(listener.accept()?.0)?, Instant::now());
//!     let (up, down) = (pool.reserve().expect("two rings"), pool.reserve().expect("two rings"));
//!     let mut session = ProxySession::new(client, up, down, Limits::default(), now);
//!     session.connect(Connector::new(&server[..], ConnectOptions::default(), now));
//!     event_loop.spawn(session);
//!     Ok(())
//! };
//!
//! let mut client = TcpStream::connect(address)?;
//! client.write_all(b"hello")?;
//! client.shutdown(Shutdown::Write)?;
//! let mut event_loop = EventLoop::new()?;
//! serve_one(&mut event_loop)?;
//! # let second_origin = origin.try_clone()?;
//! let reader = std::thread::spawn(move || -> std::io::Result<String> {
//!     let mut got = String::new();
//!     origin.accept()?.0.read_to_string(&mut got)?;
//!     Ok(got)
//! });
//! event_loop.run()?; // until the session is over
//! assert_eq!(reader.join().expect("the reader does not panic")?, "hello");
//! # eventloop::testing::assert_withstands_misbehaving_clients(&mut event_loop, |event_loop| {
//! #     let client = TcpStream::connect(address)?;
//! #     serve_one(event_loop)?;
//! #     Ok((client, Some(eventloop::testing::accept(event_loop, &second_origin)?)))
//! # });
//! # Ok(()) }
//! ```
//!
//! Next: [`tcpproxy`](../tcpproxy/index.html), a forwarder made of these parts.

mod buffer;
mod buffered_stream;
mod connection;
mod dial;
mod limits;
mod lingering_close;
mod pipe;
mod proxy_session;
mod rate_limit;
mod relay;
mod serve;
mod session_event;
mod side;
mod source_sink;
mod tunnel;

pub use buffered_stream::BufferedStream;
pub use connection::{Connection, Intent};
pub use dial::Dial;
pub use limits::{Limits, TimeLimit};
pub use pipe::{Pipe, Pipes};
pub use proxy_session::ProxySession;
pub use relay::{DirectionEnd, Relay, Transfer};
pub use serve::serve;
pub use session_event::{EndCause, SessionEnd, SessionEvent, SessionPhase};
pub use source_sink::{ByteSink, ByteSource};
pub use tunnel::{Moved, Side, Tunnel, TunnelEnd};

/// The first session in the guide for authors, compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../../docs/milestones.md")]
pub struct Milestones;
