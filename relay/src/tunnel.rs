//! Two connections joined by two relays, one for each direction.

use std::io::{self, ErrorKind, Write};
use std::time::{Duration, Instant};

use eventloop::{Intents, Ready, Stream};
use ringbuf::{Drain, RingBuffer};

use crate::lingering_close::LingeringClose;
use crate::pipe::{Pipe, Pipes};
use crate::relay::{DirectionEnd, Relay, Sink, Transfer};

/// Carries bytes both ways between a client and a server until both have finished or one has failed, and
/// in that case sees to it that the other hears of the failure, after the bytes before it.
///
/// It is a part of a session, which owns the connections: the session passes on
/// [`intents`](Self::intents), calls [`advance`](Self::advance) in its step, and when
/// [`is_over`](Self::is_over) drops the connections.
///
/// Invariants:
/// - A FIN goes out only because a FIN came in. Whatever else ends a connection ends the other with RST, so
///   that nobody takes a part for the whole.
/// - What one peer sent before it failed is delivered to the other before that hears of the failure.
#[derive(Debug)]
pub struct Tunnel {
    /// Client to server.
    up: Relay,
    /// Server to client.
    down: Relay,
    client_lost: bool,
    server_lost: bool,
    /// How long the kernel has to send the last bytes before a reset.
    linger: Duration,
    /// Nothing is read any more: the client's, and the server's.
    closing: Option<(LingeringClose, Option<LingeringClose>)>,
}

/// One of the two ends of a tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// Who connected to this program.
    Client,
    /// Whom this program has connected to.
    Server,
}

/// What one call of [`Tunnel::advance`] did.
#[must_use = "a failure is told only once"]
#[derive(Debug, Default)]
pub struct TunnelStep {
    /// Bytes that were received from either peer.
    pub received: usize,
    /// Bytes that the server was given.
    pub up: usize,
    /// Bytes that the client was given.
    pub down: usize,
    /// The first failure that the step has met.
    pub failure: Option<(Peer, io::Error)>,
}

impl Tunnel {
    /// A tunnel with the rights to two rings: from the client up to the server, and down again. What waits
    /// in them already goes out first. When one peer has failed, the kernel has `linger` to send the other
    /// its last bytes.
    #[must_use]
    pub fn new(up: RingBuffer, down: RingBuffer, linger: Duration) -> Self {
        let (up, down) = (Relay::new(up), Relay::new(down));
        Self { up, down, client_lost: false, server_lost: false, linger, closing: None }
    }

    /// Lets bytes be spliced: see [`Relay::splicing`].
    #[must_use]
    pub fn splicing(mut self, pipes: &Pipes, always: bool) -> Self {
        self.up = self.up.splicing(pipes.clone(), always);
        self.down = self.down.splicing(pipes.clone(), always);
        self
    }

    /// The direction from the client to the server.
    #[must_use]
    pub fn up(&self) -> &Relay {
        &self.up
    }

    /// The direction from the server to the client.
    #[must_use]
    pub fn down(&self) -> &Relay {
        &self.down
    }

    /// Whether this peer's connection has failed. What came from it before may still be under way.
    #[must_use]
    pub fn has_lost(&self, peer: Peer) -> bool {
        match peer {
            Peer::Client => self.client_lost,
            Peer::Server => self.server_lost,
        }
    }

    /// Whether the tunnel only takes leave of its peers, and moves nothing any more.
    #[must_use]
    pub fn is_closing(&self) -> bool {
        self.closing.is_some()
    }

    /// Whether everything is done: the connections can be dropped.
    #[must_use]
    pub fn is_over(&self) -> bool {
        match self.closing {
            Some((client, server)) => client.is_over() && server.is_none_or(LingeringClose::is_over),
            None => {
                self.up.end() == Some(DirectionEnd::Finished)
                    && self.down.end() == Some(DirectionEnd::Finished)
            }
        }
    }

    /// Declares what the tunnel waits for. Without a server it takes from the client what fits.
    pub fn intents(&self, client: &Stream, server: Option<&Stream>, intents: &mut Intents<'_>) {
        if let Some((to_client, to_server)) = self.closing {
            to_client.intents(client, intents);
            if let (Some(closing), Some(server)) = (to_server, server) {
                closing.intents(server, intents);
            }
            return;
        }
        let writable = server.is_some() && self.down.intends_write();
        watch(client, self.client_lost, self.up.intends_read(), writable, intents);
        if let Some(server) = server {
            watch(server, self.server_lost, self.down.intends_read(), self.up.intends_write(), intents);
        }
    }

    /// Moves what can be moved, a bounded amount. There may be no server yet; once there is one, it has to
    /// be the same in each call.
    pub fn advance(&mut self, client: &Stream, server: Option<&Stream>, ready: &Ready<'_>) -> TunnelStep {
        let mut step = TunnelStep::default();
        if let Some((to_client, to_server)) = &mut self.closing {
            to_client.advance(client, ready);
            if let (Some(closing), Some(server)) = (to_server, server) {
                closing.advance(server, ready);
            }
            return step;
        }
        self.note_readiness(client, server, ready, &mut step);
        self.relay(client, server, &mut step);
        if self.up.end().is_some() && self.down.end().is_some() && !self.is_over() {
            self.close(client, server, ready.now());
        }
        step
    }

    /// This peer's connection has failed: what it sent before goes on to the other, and nothing goes to it
    /// any more. What a tunnel meets by itself it need not be told.
    pub fn lose(&mut self, peer: Peer) {
        let (from, to) = match peer {
            Peer::Client => {
                self.client_lost = true;
                (&mut self.up, &mut self.down)
            }
            Peer::Server => {
                self.server_lost = true;
                (&mut self.down, &mut self.up)
            }
        };
        from.note_source_lost();
        to.abandon();
    }

    /// Takes leave of both peers: what the kernel has goes out, and then RST.
    pub fn close(&mut self, client: &Stream, server: Option<&Stream>, now: Instant) {
        let closing = |stream: &Stream, lost: bool, to: &Relay| {
            if lost {
                return LingeringClose::at_once(stream);
            }
            LingeringClose::begin(stream, to.end() == Some(DirectionEnd::Finished), self.linger, now)
        };
        let to_client = closing(client, self.client_lost, &self.down);
        let to_server = server.map(|server| closing(server, self.server_lost, &self.up));
        self.closing = Some((to_client, to_server));
    }

    /// Ends the tunnel at once: the coming close of both connections is a reset, also if the kernel has
    /// bytes to send.
    pub fn cut(&mut self, client: &Stream, server: Option<&Stream>) {
        if self.closing.is_none() {
            let to_server = server.map(LingeringClose::at_once);
            self.closing = Some((LingeringClose::at_once(client), to_server));
        } else if let Some((to_client, to_server)) = &mut self.closing {
            to_client.cut(client);
            if let (Some(closing), Some(server)) = (to_server, server) {
                closing.cut(server);
            }
        }
    }

    fn note_readiness(
        &mut self,
        client: &Stream,
        server: Option<&Stream>,
        ready: &Ready<'_>,
        step: &mut TunnelStep,
    ) {
        if ready.is_readable(client) {
            self.up.note_readable();
        }
        if ready.is_writable(client) {
            self.down.note_writable();
        }
        if !self.client_lost && ready.is_hung_up(client) {
            self.note_hangup(Peer::Client, client, step);
        }
        let Some(server) = server else { return };
        if ready.is_readable(server) {
            self.down.note_readable();
        }
        if ready.is_writable(server) {
            self.up.note_writable();
        }
        if !self.server_lost && ready.is_hung_up(server) {
            self.note_hangup(Peer::Server, server, step);
        }
    }

    /// A connection of which nothing was wanted has changed: it may have failed.
    fn note_hangup(&mut self, peer: Peer, stream: &Stream, step: &mut TunnelStep) {
        if let Some(error) = stream.take_error().unwrap_or_else(Some) {
            self.lose(peer);
            step.failure.get_or_insert((peer, error));
        }
    }

    /// Moves bytes both ways.
    ///
    /// What one direction meets is taken note of before the other moves: a write to a connection that was
    /// reset takes the error away, and a read would then find a clean end. A failure met on the way down
    /// concerns the way up, hence a second round.
    fn relay(&mut self, client: &Stream, server: Option<&Stream>, step: &mut TunnelStep) {
        for _ in 0..2 {
            let moved = match server {
                Some(server) => self.up.advance(&mut &*client, &mut &*server),
                None => self.up.advance(&mut &*client, &mut NotYet),
            };
            if server.is_none() {
                self.up.note_writable(); // as a new connection is
            }
            step.up += moved.delivered;
            self.take_note(Peer::Client, Peer::Server, moved, step);
            let Some(server) = server else { return };
            let moved = self.down.advance(&mut &*server, &mut &*client);
            step.down += moved.delivered;
            if !self.take_note(Peer::Server, Peer::Client, moved, step) {
                return;
            }
        }
    }

    /// Takes note of a step of the relay between these peers; `true` if one of them has failed.
    fn take_note(&mut self, source: Peer, sink: Peer, moved: Transfer, step: &mut TunnelStep) -> bool {
        step.received += moved.received;
        let mut failed = false;
        for (peer, error) in [(source, moved.source_error), (sink, moved.sink_error)] {
            let Some(error) = error else { continue };
            self.lose(peer);
            step.failure.get_or_insert((peer, error));
            failed = true;
        }
        failed
    }
}

impl TunnelStep {
    /// Whether any byte has moved.
    #[must_use]
    pub fn moved(&self) -> bool {
        self.received + self.up + self.down > 0
    }
}

fn watch(stream: &Stream, lost: bool, read: bool, write: bool, intents: &mut Intents<'_>) {
    if !lost {
        intents.hangup(stream);
    }
    if read {
        intents.read(stream);
    }
    if write {
        intents.write(stream);
    }
}

/// The sink of the client's bytes while there is no server: the ring fills, and then the client has to
/// wait.
struct NotYet;

impl Write for NotYet {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(ErrorKind::WouldBlock.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Sink for NotYet {
    fn splice_from(&mut self, _: &mut Pipe) -> io::Result<Drain> {
        Ok(Drain::Blocked)
    }

    fn finish(&mut self) -> io::Result<()> {
        Err(ErrorKind::WouldBlock.into())
    }
}
