use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use clap::ValueEnum;

use crate::recipe::Recipe;
use testkit::payload::Payload;
use testkit::peer::{Connection, Listener, PeerOptions};
use testkit::proxy::Proxy;
use testkit::seed::Seed;

/// The proxy to be judged.
#[derive(Clone, Debug)]
pub enum Subject {
    /// To be started by the suite, for each case anew.
    Command(Recipe),
    /// Already running, somewhere.
    Running {
        /// Where its clients connect.
        proxy: SocketAddr,
        /// Where it expects its server.
        origin: SocketAddr,
    },
}

/// How many clients a proxy serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Service {
    /// One, and then it ends
    Once,
    /// One at a time, the others stay pending
    #[value(name = "one")]
    OneAtATime,
    /// Several at once
    #[value(name = "many")]
    ManyAtOnce,
}

impl Service {
    /// In words.
    pub const fn description(self) -> &'static str {
        match self {
            Self::Once => "one client, then it ends",
            Self::OneAtATime => "one client at a time",
            Self::ManyAtOnce => "several clients at once",
        }
    }
}

/// How long a proxy may take for a byte.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long a second client waits before it counts as not being served. A proxy that serves it later counts as
/// one that serves one client at a time.
const SECOND_CLIENT: Duration = Duration::from_secs(3);

/// How often a condition without an event is looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

impl Subject {
    /// Finds out how many clients the proxy serves, and whether it works at all.
    ///
    /// # Errors
    ///
    /// When it cannot be started, or does not carry a byte.
    pub fn probe(&self) -> Result<Service, String> {
        let error = |error: io::Error| error.to_string();
        let options = PeerOptions::default();
        let service = match self {
            Self::Command(recipe) => {
                let listener = Listener::bind(options).map_err(error)?;
                let proxy = recipe.start("127.0.0.1", listener.address().port()).map_err(error)?;
                probe(proxy.address(), &listener, Some(proxy))
            }
            Self::Running { proxy, origin } => {
                probe(*proxy, &Listener::bind_to(*origin, options).map_err(error)?, None)
            }
        };
        service.map_err(|error| format!("the proxy does not carry a byte: {error}"))
    }
}

/// One client, then another one beside it.
fn probe(address: SocketAddr, listener: &Listener, mut proxy: Option<Proxy>) -> io::Result<Service> {
    let options = PeerOptions::default();
    let byte = Payload::new(Seed::new(0)).bytes(0, 1);
    let first = Connection::connect(address, options, PATIENCE)?;
    first.send_all(&byte, PATIENCE)?;
    let served = listener.accept(PATIENCE)?;
    if served.peek(1, PATIENCE)? != byte {
        return Err(io::Error::other("the server got another byte, or none"));
    }
    let beside = Connection::connect(address, options, PATIENCE)
        .and_then(|second| second.send_all(&byte, PATIENCE).map(|()| second));
    if beside.is_ok() && listener.accept(SECOND_CLIENT).is_ok() {
        return Ok(Service::ManyAtOnce);
    }
    // A pending client is served next, so that none is left when the first case begins.
    drop((first, served));
    let until = Instant::now() + PATIENCE;
    loop {
        if beside.is_ok() && listener.accept(LOOK_AGAIN).is_ok() {
            return Ok(Service::OneAtATime);
        }
        if proxy.as_mut().is_some_and(|proxy| proxy.wait(LOOK_AGAIN).is_ok()) {
            return Ok(Service::Once);
        }
        if Instant::now() > until {
            return Err(io::Error::other("after its first client it neither ends nor serves another one"));
        }
    }
}
