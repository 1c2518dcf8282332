//! What all sessions share.

use std::cell::RefCell;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::net::{SocketAddr, TcpStream};
use std::rc::Rc;
use std::time::Duration;

use eventloop::Resolver;
use ringbuf::Pool;

use crate::cache::Cache;
use crate::cli::Options;
use crate::lifecycle::Lifecycle;
use crate::log::Log;
use crate::origins::{MAX_IDLE, Origins};

/// The bytes that wait in one direction of one connection.
const RING: usize = 32 * 1024;
/// The longest head: a ring has room for it and for what the proxy adds.
pub(crate) const MAX_HEAD: usize = RING / 2;

pub(crate) struct Shared {
    pub(crate) timeout: Duration,
    pub(crate) max_per_address: usize,
    /// The proxy's name in `Via`: like no other's, so that one that comes back is recognized.
    pub(crate) name: String,
    address: SocketAddr,
    pub(crate) rings: Pool,
    pub(crate) resolver: Resolver,
    pub(crate) cache: RefCell<Cache>,
    pub(crate) origins: Rc<Origins>,
    pub(crate) lifecycle: Rc<Lifecycle>,
    pub(crate) log: Rc<Log>,
}

impl Shared {
    /// What a proxy shares that listens on `address`.
    pub(crate) fn new(
        options: &Options,
        address: SocketAddr,
        lifecycle: Rc<Lifecycle>,
        log: Rc<Log>,
    ) -> Self {
        // A client has four rings: two towards it and two towards an origin.
        let rings = 4 * options.max_clients + 2 * MAX_IDLE;
        Self {
            timeout: options.timeout,
            max_per_address: options.max_per_address(),
            name: format!("webproxy-{:016x}", RandomState::new().build_hasher().finish()),
            address,
            rings: Pool::new(RING, rings),
            resolver: Resolver::new(),
            cache: RefCell::new(Cache::new(options.cache_size, options.max_object_size)),
            origins: Rc::default(),
            lifecycle,
            log,
        }
    }

    /// Whether this connection leads to the proxy itself. One that has just been closed leads nowhere.
    pub(crate) fn is_self(&self, connection: &TcpStream) -> bool {
        let (Ok(peer), Ok(local)) = (connection.peer_addr(), connection.local_addr()) else { return false };
        let (here, peer_ip) = (self.address.ip().to_canonical(), peer.ip().to_canonical());
        let any = here.is_unspecified() && (peer_ip == local.ip().to_canonical() || peer_ip.is_loopback());
        peer.port() == self.address.port() && (peer_ip == here || any)
    }
}
