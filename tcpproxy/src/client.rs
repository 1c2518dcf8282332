//! A client that was admitted: where it comes from, and what its PROXY header has said.

use std::net::SocketAddr;
use std::time::Instant;

use eventloop::Stream;

use crate::operations::proxy_protocol::{Announced, HeaderParser};

/// Where a client that was admitted comes from.
pub(crate) struct Client {
    /// The other end of its connection.
    pub(crate) peer: SocketAddr,
    /// Its PROXY header, if it has to send one. Boxed, because few clients have.
    header: Option<Box<Header>>,
}

#[derive(Default)]
struct Header {
    /// What reads it, until it is complete.
    parser: Option<Box<HeaderParser>>,
    /// The client that the peer has passed on, if it has said so.
    announced: Option<Announced>,
    /// The bytes that the header had.
    len: u64,
    read_at: Option<Instant>,
}

impl Client {
    /// A client that has to send a PROXY header, or is not to send one.
    pub(crate) fn new(peer: SocketAddr, has_header: bool) -> Self {
        let header = || Box::new(Header { parser: Some(Box::default()), ..Header::default() });
        Self { peer, header: has_header.then(header) }
    }

    /// What reads the header that is still to come.
    pub(crate) fn header_parser(&mut self) -> Option<&mut HeaderParser> {
        self.header.as_mut()?.parser.as_deref_mut()
    }

    /// The header was read, had this number of bytes, and may have said which client the peer passes on.
    pub(crate) fn end_header(&mut self, announced: Option<Announced>, len: u64, at: Instant) {
        self.header = Some(Box::new(Header { parser: None, announced, len, read_at: Some(at) }));
    }

    fn announced(&self) -> Option<&Announced> {
        self.header.as_ref()?.announced.as_ref()
    }

    /// The bytes of the client that were its header.
    pub(crate) fn header_len(&self) -> u64 {
        self.header.as_ref().map_or(0, |header| header.len)
    }

    /// When the header was read, if there was one.
    pub(crate) fn header_read_at(&self) -> Option<Instant> {
        self.header.as_ref()?.read_at
    }

    /// The client's address: the announced one, or else the peer's.
    pub(crate) fn source(&self) -> SocketAddr {
        self.announced().map_or(self.peer, |announced| announced.source)
    }

    /// The address that the client connected to on this stream. Of a connection that has failed already it is not
    /// known; the client's own address then stands for it, because it has the same family.
    pub(crate) fn destination(&self, stream: Option<&Stream>) -> SocketAddr {
        self.announced().map_or_else(
            || {
                let local = stream.and_then(|stream| stream.local_addr().ok()).unwrap_or(self.peer);
                SocketAddr::new(local.ip().to_canonical(), local.port())
            },
            |announced| announced.destination,
        )
    }

    /// The peer, if it has passed on another client.
    pub(crate) fn passed_on_by(&self) -> Option<SocketAddr> {
        self.announced().map(|_| self.peer)
    }
}
