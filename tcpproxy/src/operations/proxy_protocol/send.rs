//! Telling the server who the client is.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::time::Instant;

use eventloop::{Intents, Ready, Stream};
use ringbuf::{Drain, RingBuffer};

use super::encode;
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
        let fits = rest.push_all(&bytes).expect("the ring has storage of its own");
        debug_assert!(fits);
        Self { rest, until, begun: false }
    }

    pub(crate) fn intents(&self, server: &Stream, intents: &mut Intents<'_>) {
        intents.write(server);
        intents.deadline(self.until);
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

#[cfg(test)]
mod tests {
    use super::*;
    use testkit::scripted::{ScriptedWriter, WriteStep, scripts};

    const V1: &[u8] = b"PROXY TCP4 192.0.2.1 198.51.100.7 40000 443\r\n";

    fn sender() -> HeaderSender {
        let (source, destination) = ("192.0.2.1:40000".parse().unwrap(), "198.51.100.7:443".parse().unwrap());
        HeaderSender::new(ProxyProtocol::V1, source, destination, Instant::now())
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
