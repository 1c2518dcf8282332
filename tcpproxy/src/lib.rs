//! A plain TCP forwarder, faithful to the last FIN and RST: the library behind the `tcpproxy` program.
//!
//! For each client that connects, a [`Proxy`] connects to one host and port and carries bytes both ways
//! until both sides have finished. It runs on one thread; memory is bounded by the number of clients
//! and the size of the buffers, whatever the peers send.
//!
//! # Vocabulary
//!
//! | word | meaning |
//! |---|---|
//! | client | a program that has connected to the proxy |
//! | server | the host and port that clients are forwarded to |
//! | session | one client, its connection to the server, and what is between them |
//! | relay | one direction of a session: a ring of bytes, and how the direction ends |
//! | finish | to end one direction with FIN and go on receiving: a half-close |
//!
//! # The picture
//!
//! ```text
//!                 ┌──────────────── session ────────────────┐
//!                 │              up: relay                  │
//!            read │  ┌───────────▶ ring ───────────┐  write │
//!   client ◀─────▶│──┤                             ├──▶◀────│─────▶ server
//!           write │  └─────────── ring ◀───────────┘  read  │
//!                 │             down: relay                 │
//!                 └─────────────────────────────────────────┘
//! ```
//!
//! # Promises
//!
//! 1. Every byte arrives, in order, in both directions at once, whatever the sizes and speeds.
//! 2. FIN goes out after the last byte before it, and only because a FIN came in; the other direction
//!    lives on.
//! 3. Everything else that ends a session is passed on as RST, after the bytes before it: a part is never
//!    taken for the whole.
//!
//! # Example
//!
//! ```
//! use std::io::{Read, Write};
//! use std::net::{Shutdown, TcpListener, TcpStream};
//! use tcpproxy::{Config, Proxy};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let origin = TcpListener::bind("127.0.0.1:0")?;
//! let mut proxy = Proxy::start(Config::new("127.0.0.1", origin.local_addr()?.port()))?;
//!
//! let mut client = TcpStream::connect(("127.0.0.1", proxy.local_addr().port()))?;
//! client.write_all(b"hello")?;
//! client.shutdown(Shutdown::Write)?;
//! let server = std::thread::spawn(move || -> std::io::Result<String> {
//!     let mut got = String::new();
//!     origin.accept()?.0.read_to_string(&mut got)?;
//!     Ok(got)
//! });
//! while !server.is_finished() {
//!     proxy.turn(Some(std::time::Duration::from_millis(10)))?;
//! }
//! assert_eq!(server.join().unwrap()?, "hello");
//! # Ok(()) }
//! ```
//!
//! # For other programs
//!
//! A [`Proxy`] inside a program is turned by that program, or runs on a thread. A program that needs less takes a
//! part: [`relay::ProxySession`] is one client from accept to end; [`relay::Tunnel`] carries the bytes between two
//! connections; [`relay::Relay`] is one direction, without sockets; [`relay::BufferedStream`] is a connection whose
//! bytes are understood on the way. They are made of [rings](../ringbuf/index.html) and stepped by a
//! [loop](../eventloop/index.html). Next: [`http1`](../http1/index.html), for programs that speak HTTP.

mod acceptor;
pub mod cli;
mod client;
mod config;
mod error;
mod lifecycle;
mod liveness;
pub mod log;
mod log_interval;
mod loops;
pub mod non_blocking_writer;
pub mod operations;
mod pending_clients;
mod proxy;
mod session;
mod statistics;
mod stop_signals;
pub mod termination;
mod ticks;
mod upstream;
mod values;

pub use config::{Config, ProxyProtocol, Splice};
pub use error::StartError;
pub use proxy::Proxy;
pub use statistics::Statistics;
pub use stop_signals::StopSignals;
