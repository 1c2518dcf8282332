//! A caching web proxy for HTTP/1.1, on one thread, in bounded memory.
//!
//! ```text
//!     cargo run --release --example webproxy -- PORT [PATIENCE]
//!     curl -x localhost:PORT http://www.example.org/
//! ```
//!
//! It listens on the loopback address alone, for it asks nobody who they are. `PATIENCE` is how many seconds it
//! waits for anything: a request, an answer, a connection.
//!
//! ```text
//!           requests   ┌──────────── client ─────────────┐
//!   client ───────────▶│ ring ─▶ head, body ─▶ ring ────────▶ origin
//!          ◀───────────│ ring ◀─ head, body ◀─ ring ◀────────
//!           answers    │   ▲          │ recording        │
//!                      └───┼──────────▼─────────────────┘
//!                          └─────── cache
//! ```

mod cache;
mod client;
mod exchange;

use std::cell::RefCell;
use std::error::Error;
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::rc::Rc;
use std::time::Duration;

use eventloop::{EventLoop, Listener, Resolver, SocketOptions};
use ringbuf::Pool;
use tcpproxy::cli::{LogFormat, Verbosity};

use cache::Cache;
use client::Client;

/// How many bytes wait in one direction of one connection.
const RING: usize = 32 * 1024;
/// The longest head: a ring has room for that and what the proxy adds.
const LONGEST_HEAD: usize = RING / 2;
/// A client has four rings: two towards it and two towards an origin.
const MOST_CLIENTS: usize = 256;

/// What all sessions share.
struct Shared {
    patience: Duration,
    pool: Pool,
    resolver: Resolver,
    cache: RefCell<Cache>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let port = arguments.next().ok_or("Usage: webproxy PORT [PATIENCE]")?.parse()?;
    let patience = arguments.next().map_or(Ok(30), |seconds| seconds.parse())?;
    let listener = Listener::bind((Ipv4Addr::LOCALHOST, port).into(), SocketOptions::default())?;
    let address = listener.local_addr()?;
    let shared = Rc::new(Shared {
        patience: Duration::from_secs(patience),
        pool: Pool::new(RING, 4 * MOST_CLIENTS),
        resolver: Resolver::new(),
        cache: RefCell::default(),
    });
    tcpproxy::log::start(LogFormat::Text, Verbosity::Normal);
    let mut event_loop = EventLoop::new()?;
    event_loop.spawn(listener.with_places(MOST_CLIENTS).into_session(move |stream, place, ready| {
        if let Some(client) = Client::new(shared.clone(), stream, place, ready.now()) {
            ready.spawn(client);
        }
    }));
    // Whoever does not read this line does not need it.
    let _ = writeln!(std::io::stdout(), "listening on {address}");
    Ok(event_loop.run()?)
}
