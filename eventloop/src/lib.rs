//! Sessions on non-blocking sockets: they declare what to wait for, and the loop arranges it.
//!
//! Programs that serve many connections from one thread mostly fail in the same way: an interest stays armed
//! that should not (the program spins), or is not armed that should be (it hangs).
//! Here nothing is armed by hand. A [`Session`] *declares* what it intends to do, as a function of its
//! state, and the [`EventLoop`] makes what the kernel watches agree with that after each step.
//!
//! # Vocabulary
//!
//! | word | meaning |
//! |---|---|
//! | source | an I/O object that can be watched: [`Source`], of which [`Stream`] is the TCP connection |
//! | session | a state machine over any number of sources and deadlines, which may change over its life |
//! | intents | what a session waits for now: sources to read or write, failures, a deadline |
//! | step | one call of [`Session::advance`]: bounded, non-blocking work |
//! | turn | one sleep of the loop and the steps that follow from it |
//! | wake | to have a session stepped for another reason than its intents: [`Waker`] |
//! | permit | the right of one client to be served; its stream holds it: [`Listener::with_max_clients`]. [`AddressPermit`] is the same for the clients of one address |
//!
//! # The picture
//!
//! ```text
//!            ┌────────────────────────── turn ──────────────────────────┐
//!            │                                                          │
//!   intents ─┤  reconcile ──▶ kernel ──▶ sleep ──▶ what is ready ──▶    ├─ advance (a step)
//!      ▲     │  (epoll_ctl only for what has changed)                   │      │
//!      │     └──────────────────────────────────────────────────────────┘      │
//!      └──────────────────── the session's new state ◀─────────────────────────┘
//! ```
//!
//! # Parts of sessions
//!
//! [`Listener`], [`Connector`], [`Lookup`] and [`Signals`] are not sessions but parts that a session is
//! composed of: each has an `intents` for the session to pass on, and a method to call in its step.
//! Sessions that depend on each other keep each other's [`Waker`]s. A session that could go on, but has
//! done what a step may do, returns [`Progress::Again`].
//!
//! # Example
//!
//! A server that sends back what it receives, one read at a time:
//!
//! ```
//! use std::io::{Read, Write};
//! use std::net::TcpStream;
//!
//! use eventloop::{
//!     EventLoop, Intents, Listener, Progress, Ready, Result, Session, SocketOptions, Stream,
//! };
//!
//! struct Echo { client: Stream, bytes: Vec<u8> }
//!
//! impl Session for Echo {
//!     fn intents(&self, intents: &mut Intents<'_>) {
//!         if self.bytes.is_empty() { intents.read(&self.client) } else { intents.write(&self.client) }
//!     }
//!
//!     fn advance(&mut self, ready: &Ready<'_>) -> Result<Progress> {
//!         if ready.is_readable(&self.client) && self.bytes.is_empty() {
//!             let mut buffer = [0; 1024];
//!             match self.client.receive(&mut buffer)? {
//!                 Some(0) => {
//!                     self.client.finish_on_drop(); // without this it is reset, as after an error
//!                     return Ok(Progress::Done);
//!                 }
//!                 received => self.bytes.extend(&buffer[..received.unwrap_or(0)]),
//!             }
//!         }
//!         let sent = self.client.send(&self.bytes)?.unwrap_or(0);
//!         self.bytes.drain(..sent);
//!         Ok(Progress::Continue)
//!     }
//! }
//!
//! # fn main() -> std::io::Result<()> {
//! let listener = Listener::bind("127.0.0.1:0".parse().unwrap(), SocketOptions::default())?;
//! let address = listener.local_addr()?;
//! let mut event_loop = EventLoop::new()?;
//! let serve = |client, ready: &Ready<'_>| { ready.spawn(Echo { client, bytes: Vec::new() }); };
//! event_loop.spawn(listener.with_max_clients(1000).into_session(serve));
//!
//! let mut client = TcpStream::connect(address)?;
//! client.write_all(b"hello")?;
//! while event_loop.sessions() < 2 || event_loop.turn(Some(std::time::Duration::from_millis(50)))? > 0 {
//!     event_loop.turn(Some(std::time::Duration::ZERO))?;
//! }
//! let mut echo = [0; 5];
//! client.read_exact(&mut echo)?;
//! assert_eq!(&echo, b"hello");
//! # let client = |_: &mut EventLoop| Ok((TcpStream::connect(address)?, None));
//! # eventloop::testing::assert_withstands_misbehaving_clients(&mut event_loop, client);
//! # Ok(()) }
//! ```
//!
//! # Platforms
//!
//! Linux is what this is tested on. macOS and the BSDs are meant to work: what only Linux has stands
//! behind a `cfg` with a plain fallback. The one difference there: kqueue reports no failure of a source
//! that is neither to be read nor to be written, so a reset shows at the next read or write.
//!
//! On Linux the loop sleeps in an epoll(7) set of its own, elsewhere, or if [`PollerKind`] says so, in calloop,
//! of which no type shows: a session is the same in both.
//!
//! # What it costs
//!
//! A turn costs as much for ten thousand sessions that wait as for ten. Each costs about 450 bytes with two
//! sources and a deadline, what it holds itself included. If only sources are ready, a turn is one system call.
//!
//! Bytes that wait between two steps are best kept in a [ring](../ringbuf/index.html). Next:
//! [`relay`](../relay/index.html), which carries bytes between connections and is made of both.

mod address_limit;
mod connector;
mod deadlines;
mod event_loop;
mod exhaustion;
mod listen_socket;
mod listener;
mod options;
mod poller;
mod registry;
mod resolver;
mod session;
pub mod signals;
mod spin;
mod stream;
mod tcp_status;
pub mod testing;

pub use address_limit::{AddressLimit, AddressPermit};
pub use connector::{Connect, ConnectError, ConnectEvent, Connected, Connector};
pub use deadlines::after;
pub use event_loop::EventLoop;
pub use exhaustion::{check_memory, is_exhaustion, raise_descriptor_limit};
pub use listener::{Accept, Listener};
pub use options::{ConnectOptions, ListenOptions, SocketOptions};
pub use poller::PollerKind;
pub use resolver::{Addresses, Lookup, Resolver, literal, resolve};
pub use session::{Handle, Intents, Permit, Progress, Readiness, Ready, RemoteWaker, Result};
pub use session::{Session, SessionId, Source, Waker, panic_message};
pub use signals::Signals;
pub use stream::Stream;
pub use tcp_status::TcpStatus;
