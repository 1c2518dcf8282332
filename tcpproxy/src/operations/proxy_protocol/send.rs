//! Telling the server who the client is.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::time::Instant;

use eventloop::{Intents, Ready, Stream};
use proxy_header::{ProxiedAddress, ProxyHeader};
use ringbuf::{Drain, RingBuffer};

use crate::ProxyProtocol;

/// A header on its way to a server that was just reached. Until it is whole nothing else may be written.
///
/// It is a part of a session: the session passes on [`intents`](Self::intents) and calls
/// [`advance`](Self::advance).
#[derive(Debug)]
pub(crate) struct HeaderSender {
    /// What has yet to go out.
    rest: RingBuffer,
    /// When the server has to have taken it.
    until: Instant,
    begun: bool,
}

/// How far a header has come.
#[must_use]
#[derive(Debug)]
pub(crate) enum Sent {
    /// Some of it has yet to go out.
    Partly,
    /// All of it has.
    Whole,
    /// The connection has failed.
    Failed(io::Error),
    /// The server did not take it in time.
    Late,
}

impl HeaderSender {
    /// The header for a client at `source` that has connected to `destination`, to be taken before `until`.
    pub(crate) fn new(
        version: ProxyProtocol,
        source: SocketAddr,
        destination: SocketAddr,
        until: Instant,
    ) -> Self {
        let bytes = encode(version, source, destination);
        let mut rest = RingBuffer::new(bytes.len());
        let fits = rest.push_slice(&bytes);
        debug_assert_eq!(fits, bytes.len());
        Self { rest, until, begun: false }
    }

    pub(crate) fn intents(&self, server: &Stream, want: &mut Intents<'_>) {
        want.write(server);
        want.deadline(self.until);
    }

    /// Gets on with it. A new connection takes bytes; after that the loop tells.
    pub(crate) fn advance(&mut self, server: &Stream, ready: &Ready<'_>) -> Sent {
        let writable = ready.is_writable(server) || !std::mem::replace(&mut self.begun, true);
        match writable.then(|| self.write(&mut &*server)) {
            Some(Sent::Partly) | None if self.until <= ready.now() => Sent::Late,
            Some(sent) => sent,
            None => Sent::Partly,
        }
    }

    fn write(&mut self, server: &mut impl Write) -> Sent {
        match self.rest.drain_to(server) {
            Ok(Drain::Wrote(_)) if self.rest.is_empty() => Sent::Whole,
            Ok(Drain::Wrote(_) | Drain::Blocked | Drain::Empty) => Sent::Partly,
            Err(error) => Sent::Failed(error),
        }
    }
}

/// Addresses of two families cannot be announced; the connection then counts as the proxy's own.
fn encode(version: ProxyProtocol, source: SocketAddr, destination: SocketAddr) -> Vec<u8> {
    let header = if source.is_ipv4() == destination.is_ipv4() {
        ProxyHeader::with_address(ProxiedAddress::stream(source, destination))
    } else {
        ProxyHeader::with_local()
    };
    let mut bytes = Vec::new();
    match version {
        ProxyProtocol::V1 => header.encode_v1(&mut bytes),
        ProxyProtocol::V2 => header.encode_v2(&mut bytes),
    }
    .expect("two addresses of one family, and nothing else, fit into a header");
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use testkit::scripted::{ScriptedWriter, WriteStep, scripts};

    const V1: &[u8] = b"PROXY TCP4 192.0.2.1 198.51.100.7 40000 443\r\n";

    fn header(version: ProxyProtocol, source: &str, destination: &str) -> Vec<u8> {
        encode(version, source.parse().unwrap(), destination.parse().unwrap())
    }

    fn sender() -> HeaderSender {
        let (source, destination) = ("192.0.2.1:40000".parse().unwrap(), "198.51.100.7:443".parse().unwrap());
        HeaderSender::new(ProxyProtocol::V1, source, destination, Instant::now())
    }

    /// The examples of the specification's grammar, by hand.
    #[test]
    fn headers_are_as_specified() {
        assert_eq!(header(ProxyProtocol::V1, "192.0.2.1:40000", "198.51.100.7:443"), V1);
        assert_eq!(
            header(ProxyProtocol::V1, "[2001:db8::1]:1", "[2001:db8::2]:65535"),
            b"PROXY TCP6 2001:db8::1 2001:db8::2 1 65535\r\n"
        );
        assert_eq!(
            header(ProxyProtocol::V2, "192.0.2.1:40000", "198.51.100.7:443"),
            b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x01\xc6\x33\x64\x07\x9c\x40\x01\xbb"
        );
        let v6 = header(ProxyProtocol::V2, "[2001:db8::1]:1", "[2001:db8::2]:2");
        assert_eq!((&v6[12..16], v6.len()), (&b"\x21\x21\0\x24"[..], 16 + 36));
    }

    #[test]
    fn a_pair_that_cannot_be_announced_is_not() {
        assert_eq!(header(ProxyProtocol::V1, "192.0.2.1:1", "[::1]:2"), b"PROXY UNKNOWN\r\n");
        let local = header(ProxyProtocol::V2, "192.0.2.1:1", "[::1]:2");
        assert_eq!(&local[12..], b"\x20\0\0\0");
    }

    #[test]
    fn a_header_goes_out_whole_and_once_whatever_the_socket_takes() {
        let alphabet =
            [WriteStep::Accept(1), WriteStep::Accept(20), WriteStep::Blocked, WriteStep::Interrupted];
        for script in scripts(&alphabet, 5) {
            let (mut sender, mut socket) = (sender(), ScriptedWriter::new(script.iter().copied()));
            while matches!(sender.write(&mut socket), Sent::Partly) {
                assert!(V1.starts_with(socket.written()) && socket.written() != V1, "{script:?}");
                socket.wake();
            }
            assert_eq!(socket.written(), V1, "{script:?}");
        }
        let mut socket = ScriptedWriter::new([]).afterwards(WriteStep::Accept(1));
        let mut sender = sender();
        let calls = (1..).find(|_| matches!(sender.write(&mut socket), Sent::Whole));
        assert_eq!((calls, socket.written()), (Some(V1.len()), V1));
    }

    #[test]
    fn a_socket_that_fails_is_told_of() {
        let mut socket =
            ScriptedWriter::new([WriteStep::Accept(5), WriteStep::Fail(io::ErrorKind::ConnectionReset)]);
        let mut sender = sender();
        assert!(matches!(sender.write(&mut socket), Sent::Partly));
        assert!(matches!(sender.write(&mut socket), Sent::Failed(_)));
    }
}
