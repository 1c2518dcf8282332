//! A caching web proxy for HTTP/1.1, on one thread, in bounded memory.
//!
//! ```text
//!     cargo run --release -p webproxy -- 8000
//!     curl -x localhost:8000 http://www.example.org/
//! ```
//!
//! # Vocabulary
//!
//! | word | meaning |
//! |---|---|
//! | client | the program that sends requests to the proxy: a session, [`Client`](client::Client) |
//! | origin | the host and port of a request's URI: [`Origin`](origin::Origin) |
//! | exchange | one request and its response: [`Exchange`](exchange::Exchange) |
//! | refusal | a response of the proxy's own: [`Refusal`](refusal::Refusal) |
//! | candidate, entry | a response that may be kept, and one that is: [`cache`] |
//!
//! # The picture
//!
//! ```text
//!           requests   ┌──────────── client ─────────────┐
//!   client ───────────▶│ ring ─▶ head, body ─▶ ring ────────▶ origin
//!          ◀───────────│ ring ◀─ head, body ◀─ ring ◀────────
//!           responses  │   ▲          │ recording        │
//!                      └───┼──────────▼─────────────────┘
//!                          └─────── cache
//! ```
//!
//! # What it promises
//!
//! - What reaches an origin was understood, and is encoded anew. What is not clear is refused.
//! - A response is shared only if its directives clearly allow it; one that is cut short never looks complete.
//! - No client, and no origin, makes the proxy grow or shuts others out: every ring, queue and table has a limit.

mod acceptor;
mod access;
mod cache;
mod cli;
mod client;
mod exchange;
mod lifecycle;
mod log;
mod origin;
mod origins;
mod refusal;
mod request;
mod shared;
mod site;

use std::error::Error;
use std::io::Write as _;
use std::process::ExitCode;
use std::rc::Rc;

use clap::Parser as _;
use eventloop::signals::{SIGINT, SIGTERM};
use eventloop::{EventLoop, Listener, Signals, SocketOptions, raise_descriptor_limit};

use acceptor::Acceptor;
use cli::Options;
use lifecycle::{Lifecycle, StopSignals};
use origins::MAX_IDLE;
use shared::Shared;

/// What each connection gets: a response is not held back because it is short.
const SOCKET: SocketOptions = SocketOptions { no_delay: true, keepalive: None, buffer_size: None };

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "webproxy: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<(), Box<dyn Error>> {
    let wanted = (options.bind, options.port).into();
    let listener =
        Listener::bind(wanted, SOCKET).map_err(|error| format!("cannot listen on {wanted}: {error}"))?;
    let address = listener.local_addr()?;
    check_descriptors(options.max_clients)?;
    let (log, writer) = log::start(!options.quiet)?;
    let mut event_loop = EventLoop::new()?;
    let lifecycle = Rc::new(Lifecycle::new(event_loop.handle(), options.drain_timeout));
    let shared = Rc::new(Shared::new(options, address, lifecycle.clone(), Rc::new(log)));
    let signals = Signals::new(&[SIGTERM, SIGINT])?;
    event_loop.spawn(StopSignals::new(signals, lifecycle.clone(), shared.log.clone()));
    let log = shared.log.clone();
    event_loop.on_error(move |session, error| log.error(session, error));
    shared.origins.spawn_expiry(|expiry| event_loop.spawn(expiry));
    event_loop.spawn(Acceptor::new(shared.clone(), listener.with_max_clients(options.max_clients)));
    let _ = writeln!(std::io::stdout(), "listening on {address}"); // a reader that is gone does not need it
    while !lifecycle.is_over() {
        event_loop.turn(lifecycle.time_left())?;
        shared.log.flush();
    }
    drop((event_loop, shared)); // which resets the clients that are left, and logs their requests
    writer.finish();
    Ok(lifecycle.outcome()?)
}

/// What the program itself has open: the listening socket, the poller, the standard streams, name lookups.
const OWN_DESCRIPTORS: usize = 64;

/// Raises the limit on descriptors to what that many clients may need, as far as the system allows.
fn check_descriptors(max_clients: usize) -> Result<(), String> {
    let needed = (2 * max_clients + MAX_IDLE + OWN_DESCRIPTORS) as u64;
    if raise_descriptor_limit(needed) < needed {
        return Err(format!(
            "--max-clients {max_clients} needs {needed} descriptors: raise the limit (ulimit -n)"
        ));
    }
    Ok(())
}
