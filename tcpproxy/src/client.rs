//! A client that was admitted, and who it is.

use std::net::SocketAddr;

use eventloop::Stream;

use crate::operations::proxy_protocol::Announced;

/// A client that was admitted.
pub(crate) struct Client {
    pub(crate) stream: Stream,
    /// Where the connection comes from.
    pub(crate) peer: SocketAddr,
    /// Whom it was passed on for, if its peer has said so.
    announced: Option<Box<Announced>>,
}

impl Client {
    pub(crate) fn new(stream: Stream, peer: SocketAddr) -> Self {
        Self { stream, peer, announced: None }
    }

    /// Its peer says whom it was passed on for.
    pub(crate) fn announce(&mut self, announced: Announced) {
        self.announced = Some(Box::new(announced));
    }

    /// Where it is, as far as is known.
    pub(crate) fn source(&self) -> SocketAddr {
        self.announced.as_ref().map_or(self.peer, |announced| announced.source)
    }

    /// What it has connected to. Of one that is gone already it is not known, and its own address says at least
    /// of which family it was.
    pub(crate) fn destination(&self) -> SocketAddr {
        self.announced.as_ref().map_or_else(
            || {
                let local = self.stream.local_addr().unwrap_or(self.peer);
                SocketAddr::new(local.ip().to_canonical(), local.port())
            },
            |announced| announced.destination,
        )
    }

    /// Who has passed it on, if somebody has.
    pub(crate) fn passed_on_by(&self) -> Option<SocketAddr> {
        self.announced.as_ref().map(|_| self.peer)
    }
}
