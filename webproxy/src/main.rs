//! A caching web proxy for HTTP/1.1, on one thread, in bounded memory.
//!
//! ```text
//!     cargo run --release -p webproxy -- 8000
//!     curl -x localhost:8000 http://www.example.org/
//! ```
//!
//! It listens on the loopback address alone, because it has no access control.
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
mod cli;
mod client;
mod exchange;
mod log;

use std::cell::RefCell;
use std::error::Error;
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::rc::Rc;
use std::time::Duration;

use clap::Parser as _;
use eventloop::{EventLoop, Listener, Resolver, SocketOptions};
use ringbuf::Pool;

use cache::Cache;
use cli::Options;
use client::Client;

/// How many bytes wait in one direction of one connection.
const RING: usize = 32 * 1024;
/// The longest head: a ring has room for that and what the proxy adds.
const LONGEST_HEAD: usize = RING / 2;
/// A client has four rings: two towards it and two towards an origin.
const MOST_CLIENTS: usize = 256;

/// What each connection gets: an answer is not held back because it is short.
const SOCKET: SocketOptions =
    SocketOptions { no_delay: true, keepalive: None, linger: Some(Duration::ZERO), buffer_size: None };

/// What all sessions share.
struct Shared {
    patience: Duration,
    pool: Pool,
    resolver: Resolver,
    cache: RefCell<Cache>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let options = Options::parse();
    let listener = Listener::bind((Ipv4Addr::LOCALHOST, options.port).into(), SOCKET)?;
    let address = listener.local_addr()?;
    let shared = Rc::new(Shared {
        patience: options.patience,
        pool: Pool::new(RING, 4 * MOST_CLIENTS),
        resolver: Resolver::new(),
        cache: RefCell::default(),
    });
    log::start()?;
    let mut event_loop = EventLoop::new()?;
    event_loop.spawn(listener.with_max_clients(MOST_CLIENTS).into_session(move |stream, ready| {
        if let Some(client) = Client::new(shared.clone(), stream, ready.now()) {
            ready.spawn(client);
        }
    }));
    let _ = writeln!(std::io::stdout(), "listening on {address}");
    Ok(event_loop.run()?)
}
