//! One connection with a ring in each direction, for programs that understand what they carry.
//!
//! ```text
//!            fill                               flush
//!   peer ───────────▶ input ──▶ the program ──▶ output ───────────▶ peer
//! ```

use std::io::ErrorKind;
use std::mem;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use eventloop::{Intents, Ready, Stream};
use ringbuf::{Drain, Fill, RingBuffer};

use crate::connection::{Connection, Intent};
use crate::lingering_close::LingeringClose;
use crate::source_sink::ByteSink;
use crate::tunnel::{Side, Tunnel};

/// A connection, what its peer has sent that was not used yet, and what the peer is to receive.
///
/// A [`Relay`](crate::Relay) carries bytes from one connection to another as they are. A program that parses
/// or answers them has a buffered stream to each peer, and moves bytes from one's input to another's output.
///
/// Its session passes on [`intents`](Self::intents), and in each step calls [`fill`](Self::fill), does its
/// work, and calls [`flush`](Self::flush). Where a step has changed something there may be more to do
/// without any event from the kernel: the session then asks for another one, with
/// [`Progress::Again`](eventloop::Progress::Again).
///
/// It ends by [`finish`](Self::finish) or [`reset`](Self::reset), followed by
/// [`advance_close`](Self::advance_close) in each step. One that is dropped before its end resets the
/// connection.
///
/// ```
/// use std::time::{Duration, Instant};
/// use eventloop::testing::{assert_withstands_misbehaving_clients, pair};
/// use eventloop::{EventLoop, Intents, Progress, Ready, Session, Stream};
/// use relay::BufferedStream;
/// use ringbuf::Pool;
///
/// /// Sends back what it receives.
/// struct Echo { peer: BufferedStream, until: Instant }
///
/// impl Session for Echo {
///     fn intents(&self, intents: &mut Intents<'_>) {
///         self.peer.intents(intents);
///         intents.deadline(self.until);
///     }
///
///     fn advance(&mut self, ready: &Ready<'_>) -> eventloop::Result<Progress> {
///         let filled = self.peer.fill(ready);
///         self.peer.input.move_to(&mut self.peer.output, usize::MAX)?;
///         if self.peer.has_ended() {
///             self.peer.finish(self.until);
///         }
///         let flushed = self.peer.flush(ready);
///         let over = self.peer.advance_close(ready).is_break() || self.peer.has_failed();
///         Ok(match filled || flushed {
///             _ if over || self.until <= ready.now() => Progress::Done,
///             true => Progress::Again,
///             false => Progress::Continue,
///         })
///     }
/// }
///
/// # fn main() -> std::io::Result<()> {
/// let pool = Pool::new(4096, 2);
/// let mut event_loop = EventLoop::new()?;
/// assert_withstands_misbehaving_clients(&mut event_loop, |event_loop| {
///     let (near, client) = pair()?;
///     let (input, output) = (pool.reserve().expect("two rings"), pool.reserve().expect("two rings"));
///     let until = Instant::now() + Duration::from_secs(30);
///     event_loop.spawn(Echo { peer: BufferedStream::new(Stream::new(near)?, input, output), until });
///     Ok((client, None))
/// });
/// assert_eq!(pool.lent(), 0);
/// # Ok(()) }
/// ```
///
/// Invariants:
/// - Nothing is read that was not found readable, and after the stream has refused bytes nothing is
///   written until it is found writable.
/// - Between steps the rings use memory only for bytes that are pending.
#[derive(Debug)]
pub struct BufferedStream<C = Stream> {
    /// What the peer has sent.
    pub input: RingBuffer,
    /// What the peer is to receive.
    pub output: RingBuffer,
    connection: StreamPhase<C>,
    /// What the peer sends has ended.
    ended: Option<InputEnd>,
    /// A write has failed: the peer receives nothing any more, but what it sent before can be read.
    output_failed: bool,
    /// The stream has refused bytes since it was found writable.
    blocked: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum InputEnd {
    Finished,
    Failed,
}

#[derive(Debug)]
enum StreamPhase<C> {
    Open(C),
    Closing { stream: C, step: CloseStep, until: Instant },
    Lingering(LingeringClose<C>),
    Closed,
}

/// How far a close is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CloseStep {
    /// Pending bytes go out, then FIN.
    Finish,
    /// FIN was sent; the peer has yet to finish.
    AwaitPeer,
    /// Pending bytes go out, then RST.
    Reset,
}

impl<C: Connection> BufferedStream<C> {
    /// A buffered stream to the peer of a new connection.
    #[must_use]
    pub fn new(stream: C, input: RingBuffer, output: RingBuffer) -> Self {
        Self {
            input,
            output,
            connection: StreamPhase::Open(stream),
            ended: None,
            output_failed: false,
            blocked: false,
        }
    }

    /// The connection, until it is closed.
    #[must_use]
    pub fn stream(&self) -> Option<&C> {
        match &self.connection {
            StreamPhase::Open(stream) | StreamPhase::Closing { stream, .. } => Some(stream),
            StreamPhase::Lingering(_) | StreamPhase::Closed => None,
        }
    }

    /// Moves the connection, as the client's, into a tunnel to a server, with the same two rings: what the input
    /// holds goes to the server, and what the output holds to the client. This stream then counts as closed.
    /// `None` if it is being closed; the server's connection is then reset.
    #[must_use]
    pub fn tunnel_to(&mut self, server: C, linger: Duration) -> Option<Tunnel<C>> {
        let client = match mem::replace(&mut self.connection, StreamPhase::Closed) {
            StreamPhase::Open(client) => client,
            other => {
                self.connection = other;
                return None;
            }
        };
        let (up, down) = (mem::take(&mut self.input), mem::take(&mut self.output));
        let mut tunnel = Tunnel::new(client, server, up, down, linger);
        if self.has_failed() {
            tunnel.fail(Side::Client, ErrorKind::ConnectionReset.into());
        } else if self.has_ended() {
            tunnel.note_client_finished();
        }
        Some(tunnel)
    }

    /// Closes the connection in an orderly way and at once if nothing is pending for the peer; else resets it.
    pub fn close(self) {
        if let StreamPhase::Open(stream) | StreamPhase::Closing { stream, .. } = self.connection
            && self.output.is_empty()
        {
            stream.close();
        }
    }

    /// Declares that what fits is to be read and what is pending is to be written.
    pub fn intents(&self, intents: &mut Intents<'_>) {
        if let StreamPhase::Lingering(closing) = &self.connection {
            return closing.intents(intents);
        }
        let Some(stream) = self.stream() else { return };
        let read = self.ended.is_none() && !self.input.is_full();
        let intent = Intent { read, write: !self.output.is_empty() };
        if !self.has_failed() || intent != Intent::default() {
            stream.declare(intent, intents);
        }
        if let StreamPhase::Closing { step, until, .. } = &self.connection {
            intents.deadline(*until);
            let next_comes = match step {
                CloseStep::Finish | CloseStep::Reset => self.output.is_empty(),
                CloseStep::AwaitPeer => self.ended.is_some(),
            };
            if next_comes || self.has_failed() {
                intents.again();
            }
        }
    }

    /// Reads once, if there is something and room for it. Returns whether that changed anything.
    #[must_use = "after a change the session asks for another step"]
    pub fn fill(&mut self, ready: &Ready<'_>) -> bool {
        let (StreamPhase::Open(stream) | StreamPhase::Closing { stream, .. }) = &self.connection else {
            return false;
        };
        let readiness = stream.readiness(ready);
        if !(readiness.readable || readiness.hung_up) || self.ended.is_some() || self.input.is_full() {
            return false;
        }
        match self.input.fill_from(&mut stream.source()) {
            Ok(Fill::Read(_)) => {}
            // The error that would tell the end from a reset has been used up by the write that met it.
            Ok(Fill::Eof) if self.output_failed => self.ended = Some(InputEnd::Failed),
            Ok(Fill::Eof) => self.ended = Some(InputEnd::Finished),
            Ok(Fill::Blocked | Fill::Full) => return false,
            Err(_) => self.ended = Some(InputEnd::Failed),
        }
        true
    }

    /// Writes once, if something is pending and the stream takes it. Returns whether that changed anything.
    /// After a failure pending bytes are lost.
    #[must_use = "after a change the session asks for another step"]
    pub fn flush(&mut self, ready: &Ready<'_>) -> bool {
        let (StreamPhase::Open(stream) | StreamPhase::Closing { stream, .. }) = &self.connection else {
            return false;
        };
        self.blocked &= !stream.readiness(ready).writable;
        let mut changed = false;
        if !self.blocked && !self.output.is_empty() {
            match self.output.drain_to(&mut stream.sink()) {
                Ok(Drain::Wrote(_)) => changed = true,
                Ok(Drain::Blocked | Drain::Empty) => {}
                Err(_) => {
                    self.output.clear();
                    changed = !mem::replace(&mut self.output_failed, true);
                }
            }
            self.blocked = !self.output.is_empty();
        }
        changed
    }

    /// Whether the peer has ended what it sends, properly or not; bytes from before may still be in the input.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.ended.is_some()
    }

    /// Whether the connection has failed, so that the peer receives nothing any more.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.output_failed || self.ended == Some(InputEnd::Failed)
    }

    /// Begins an orderly close: what is pending goes out, then FIN. What the peer still sends is discarded
    /// until it has finished too, or until `until`: a close with unread bytes would reset the connection,
    /// and could overtake what the peer has yet to receive (RFC 9112, section 9.6). A stream that is being
    /// closed already keeps its first time limit.
    pub fn finish(&mut self, until: Instant) {
        self.begin_close(CloseStep::Finish, until);
    }

    /// Begins a close by reset: what is pending goes out, then RST as soon as the peer has acknowledged it,
    /// at `until` at the latest. So the peer cannot take a part for the whole.
    pub fn reset(&mut self, until: Instant) {
        self.begin_close(CloseStep::Reset, until);
    }

    /// Advances the close, after [`flush`](Self::flush). The break says that the connection is closed. Before
    /// [`finish`](Self::finish) or [`reset`](Self::reset) there is nothing to advance.
    pub fn advance_close(&mut self, ready: &Ready<'_>) -> ControlFlow<()> {
        let (now, sent, failed) = (ready.now(), self.output.is_empty(), self.has_failed());
        let ended = self.ended.is_some();
        self.connection = match mem::replace(&mut self.connection, StreamPhase::Closed) {
            open @ StreamPhase::Open(_) => {
                self.connection = open;
                return ControlFlow::Continue(());
            }
            StreamPhase::Lingering(closing) => closing.advance(ready).into(),
            StreamPhase::Closing { until, .. } if failed || until <= now => StreamPhase::Closed,
            StreamPhase::Closing { stream, step: CloseStep::Reset, until, .. } if sent => {
                LingeringClose::begin(stream, false, until - now, now).into()
            }
            StreamPhase::Closing { stream, step, .. } if sent && ended && step != CloseStep::Reset => {
                stream.close();
                StreamPhase::Closed
            }
            StreamPhase::Closing { stream, step: CloseStep::Finish, until } if sent => {
                // A peer that is gone already shows as failed or late.
                let _ = stream.sink().finish();
                StreamPhase::Closing { stream, step: CloseStep::AwaitPeer, until }
            }
            unchanged => unchanged,
        };
        self.input.clear();
        match self.connection {
            StreamPhase::Closed => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        }
    }

    fn begin_close(&mut self, step: CloseStep, until: Instant) {
        self.connection = match mem::replace(&mut self.connection, StreamPhase::Closed) {
            StreamPhase::Open(stream) => StreamPhase::Closing { stream, step, until },
            StreamPhase::Closing { stream, until: earlier, .. } if step == CloseStep::Reset => {
                StreamPhase::Closing { stream, step, until: earlier.min(until) }
            }
            begun => begun,
        };
    }
}

impl<C> From<Option<LingeringClose<C>>> for StreamPhase<C> {
    fn from(closing: Option<LingeringClose<C>>) -> Self {
        closing.map_or(Self::Closed, Self::Lingering)
    }
}
