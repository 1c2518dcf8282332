//! The address of a client that was admitted.

use std::net::SocketAddr;

use eventloop::Stream;

use crate::operations::proxy_protocol::Announced;

/// Where a client that was admitted comes from.
pub(crate) struct Client {
    /// The other end of its connection.
    pub(crate) peer: SocketAddr,
    /// The client that the peer has passed on, if it has said so.
    announced: Option<Box<Announced>>,
}

impl Client {
    pub(crate) fn new(peer: SocketAddr) -> Self {
        Self { peer, announced: None }
    }

    /// The peer says which client it passes on.
    pub(crate) fn announce(&mut self, announced: Announced) {
        self.announced = Some(Box::new(announced));
    }

    /// The client's address: the announced one, or else the peer's.
    pub(crate) fn source(&self) -> SocketAddr {
        self.announced.as_ref().map_or(self.peer, |announced| announced.source)
    }

    /// The address that the client connected to on this stream. Of a connection that has failed already it is not
    /// known; the client's own address then stands for it, because it has the same family.
    pub(crate) fn destination(&self, stream: Option<&Stream>) -> SocketAddr {
        self.announced.as_ref().map_or_else(
            || {
                let local = stream.and_then(|stream| stream.local_addr().ok()).unwrap_or(self.peer);
                SocketAddr::new(local.ip().to_canonical(), local.port())
            },
            |announced| announced.destination,
        )
    }

    /// The peer, if it has passed on another client.
    pub(crate) fn passed_on_by(&self) -> Option<SocketAddr> {
        self.announced.as_ref().map(|_| self.peer)
    }
}
