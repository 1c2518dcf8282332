//! A client that was admitted, and its address.

use std::net::SocketAddr;

use eventloop::Stream;

use crate::operations::proxy_protocol::Announced;

/// A client that was admitted.
pub(crate) struct Client {
    pub(crate) stream: Stream,
    /// The other end of its connection.
    pub(crate) peer: SocketAddr,
    /// The client that the peer has passed on, if it has said so.
    announced: Option<Box<Announced>>,
}

impl Client {
    pub(crate) fn new(stream: Stream, peer: SocketAddr) -> Self {
        Self { stream, peer, announced: None }
    }

    /// The peer says which client it passes on.
    pub(crate) fn announce(&mut self, announced: Announced) {
        self.announced = Some(Box::new(announced));
    }

    /// The client's address: the announced one, or else the peer's.
    pub(crate) fn source(&self) -> SocketAddr {
        self.announced.as_ref().map_or(self.peer, |announced| announced.source)
    }

    /// The address that the client connected to. Of a connection that has failed already it is not known; the client's
    /// own address then stands for it, because it has the same family.
    pub(crate) fn destination(&self) -> SocketAddr {
        self.announced.as_ref().map_or_else(
            || {
                let local = self.stream.local_addr().unwrap_or(self.peer);
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
