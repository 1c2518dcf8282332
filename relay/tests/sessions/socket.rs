//! A simulated TCP connection: the kernel of this machine, the network, and a peer that does what a plan says.
//!
//! ```text
//!           written            sent           acknowledged
//! session ───────────▶ kernel ───────▶ network ───────────▶ peer
//!         ◀─────────── kernel ◀──────────────────────────── peer
//!            read               arrived
//! ```

use std::cell::RefCell;
use std::io::{self, ErrorKind, IoSlice, IoSliceMut, Read, Write};
use std::rc::Rc;
use std::time::{Duration, Instant};

use eventloop::{Intents, Readiness, Ready};
use relay::{ByteSink, ByteSource, Connection, Intent, Side};

/// Both connections of a session, the time, and what the session's program has sent of its own.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) now: Instant,
    pub(crate) client: Socket,
    pub(crate) server: Socket,
    /// Successful calls on either socket: what a step that is not idle leaves behind.
    pub(crate) calls: u64,
    /// The kernel tells which bytes were acknowledged.
    pub(crate) tells_acknowledged: bool,
    /// The poller reports that a peer has finished together with its last bytes.
    pub(crate) tells_finished: bool,
    pub(crate) linger: Duration,
    /// There is a connection to the server.
    pub(crate) connected: bool,
    /// The client was refused: it may receive FIN although no server has sent one.
    pub(crate) refused: bool,
    /// The owner of the session has closed it.
    pub(crate) cut: bool,
    /// When a byte last moved, and how long none may.
    pub(crate) last_bytes: Instant,
    pub(crate) patience: Duration,
}

/// One of the two connections.
#[derive(Debug, Default)]
pub(crate) struct Socket {
    pub(crate) arrived: u64,
    pub(crate) read: u64,
    /// Bytes that the session's program has taken out: they are not delivered.
    pub(crate) consumed: u64,
    pub(crate) peer_finished: bool,
    pub(crate) peer_reset: Option<Instant>,
    /// A read stops here once: there is urgent data.
    pub(crate) urgent: Option<u64>,
    error: bool,
    pub(crate) written: u64,
    pub(crate) sent: u64,
    pub(crate) acknowledged: u64,
    /// What the program itself sends, before all else.
    pub(crate) preface: Vec<u8>,
    pub(crate) finished: bool,
    pub(crate) fin_acknowledged: bool,
    /// Bytes that the kernel keeps until they are acknowledged.
    room: u64,
    queue_is_watched: bool,
    pub(crate) closed: Option<Closed>,
    pub(crate) intent: Option<Intent>,
    hangup: bool,
    pub(crate) ready: Readiness,
}

/// How the session has closed a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Closed {
    Orderly,
    Reset,
}

/// The byte at this offset of what a peer sends.
pub(crate) fn byte(from: Side, offset: u64) -> u8 {
    let seed = if from == Side::Client { 17 } else { 91 };
    (offset.wrapping_mul(151) >> 3) as u8 ^ (offset as u8) ^ seed
}

impl Socket {
    pub(crate) fn new(room: u64) -> Self {
        Self { room, ..Self::default() }
    }

    /// The error of the reset was reported.
    pub(crate) fn error_is_taken(&mut self) {
        self.error = false;
    }

    pub(crate) fn is_open(&self) -> bool {
        self.closed.is_none()
    }

    /// The peer sends, if it still does.
    pub(crate) fn send(&mut self, bytes: u64) {
        if !self.peer_finished && self.peer_reset.is_none() {
            self.arrived += bytes;
        }
    }

    pub(crate) fn send_urgent(&mut self) {
        if !self.peer_finished && self.peer_reset.is_none() {
            self.arrived += 1;
            self.urgent = Some(self.arrived - 1);
        }
    }

    pub(crate) fn finish(&mut self) {
        if self.peer_reset.is_none() && !self.peer_finished {
            self.peer_finished = true;
            self.hangup |= self.finished;
        }
    }

    pub(crate) fn reset(&mut self, now: Instant) {
        if self.peer_reset.is_none() {
            self.peer_reset = Some(now);
            (self.error, self.hangup) = (true, true);
        }
    }

    /// The kernel sends as many of the written bytes.
    pub(crate) fn transmit(&mut self, bytes: u64) {
        if self.closed != Some(Closed::Reset) && self.peer_reset.is_none() {
            self.sent = self.written.min(self.sent + bytes);
        }
    }

    /// The peer acknowledges as many of the sent bytes, and then a FIN.
    pub(crate) fn acknowledge(&mut self, bytes: u64) {
        if self.closed != Some(Closed::Reset) && self.peer_reset.is_none() {
            self.acknowledged = self.sent.min(self.acknowledged + bytes);
            self.fin_acknowledged |= self.finished && self.acknowledged == self.written;
        }
    }

    fn unacknowledged(&self) -> u64 {
        self.written - self.acknowledged + u64::from(self.finished && !self.fin_acknowledged)
    }

    fn has_room(&self) -> bool {
        self.written - self.acknowledged < self.room
    }

    /// What a poller reports now.
    pub(crate) fn poll(&mut self, tells_finished: bool) -> bool {
        self.ready = Readiness::default();
        let (Some(intent), true) = (self.intent, self.is_open()) else { return false };
        let gone = self.peer_reset.is_some();
        let unread = self.arrived > self.read;
        let writable = if self.queue_is_watched { self.sent == self.written } else { self.has_room() };
        self.ready.readable = intent.read && (unread || self.peer_finished || gone);
        self.ready.writable = intent.write && (writable || self.finished || gone);
        self.ready.hung_up = std::mem::take(&mut self.hangup);
        self.ready.finished =
            tells_finished && intent.read && self.peer_finished && !self.error && self.urgent.is_none();
        self.ready != Readiness::default()
    }
}

impl World {
    pub(crate) fn socket(&mut self, peer: Side) -> &mut Socket {
        match peer {
            Side::Client => &mut self.client,
            Side::Server => &mut self.server,
        }
    }

    /// This connection, and the one whose bytes it receives.
    pub(crate) fn pair(&mut self, peer: Side) -> (&mut Socket, &mut Socket) {
        match peer {
            Side::Client => (&mut self.client, &mut self.server),
            Side::Server => (&mut self.server, &mut self.client),
        }
    }

    fn note_bytes(&mut self) {
        self.calls += 1;
        self.last_bytes = self.now;
    }

    /// A FIN goes out only because a FIN came in, after the last byte before it.
    fn judge_fin(&mut self, to: Side) {
        let refused = self.refused;
        let (sink, source) = self.pair(to);
        let complete = sink.preface.len() as u64 + source.arrived - source.consumed;
        if refused && to == Side::Client {
            assert_eq!(sink.written, sink.preface.len() as u64, "the reply goes out before FIN");
            return;
        }
        assert!(source.peer_finished, "FIN to the {to:?} though none came in");
        assert_eq!(sink.written, complete, "FIN to the {to:?} before the last byte");
        assert!(!sink.finished, "two FINs to the {to:?}");
    }

    /// A peer is reset only after it has what the other one sent before it failed, or when its time is up.
    fn judge_reset(&mut self, to: Side) {
        let (now, linger, tells, cut) = (self.now, self.linger, self.tells_acknowledged, self.cut);
        let connected = self.connected;
        let (last_bytes, patience) = (self.last_bytes, self.patience);
        let (sink, source) = self.pair(to);
        if cut || !connected || sink.peer_reset.is_some() {
            return;
        }
        let Some(failed) = source.peer_reset else { return };
        let in_time = now < failed + linger && now < failed.max(last_bytes) + patience;
        let complete = sink.preface.len() as u64 + source.arrived - source.consumed;
        let delivered = if tells { sink.acknowledged } else { sink.sent };
        if in_time && (tells || !sink.finished) {
            assert_eq!(delivered, complete, "RST to the {to:?} overtakes bytes");
            assert!(!tells || !sink.finished || sink.fin_acknowledged, "RST to the {to:?} overtakes FIN");
        }
    }
}

/// A connection as the session has it.
#[derive(Debug)]
pub(crate) struct Simulated {
    world: Rc<RefCell<World>>,
    peer: Side,
}

impl Simulated {
    pub(crate) fn new(world: &Rc<RefCell<World>>, peer: Side) -> Self {
        Self { world: world.clone(), peer }
    }

    fn with<T>(&self, work: impl FnOnce(&mut Socket) -> T) -> T {
        work(self.world.borrow_mut().socket(self.peer))
    }
}

impl Drop for Simulated {
    fn drop(&mut self) {
        let mut world = self.world.borrow_mut();
        if world.socket(self.peer).is_open() {
            if !std::thread::panicking() {
                world.judge_reset(self.peer);
            }
            world.socket(self.peer).closed = Some(Closed::Reset);
        }
    }
}

impl Connection for Simulated {
    fn declare(&self, intent: Intent, _: &mut Intents<'_>) {
        self.with(|socket| socket.intent = Some(intent));
    }

    fn readiness(&self, _: &Ready<'_>) -> Readiness {
        self.with(|socket| socket.ready)
    }

    fn source(&self) -> impl ByteSource {
        Io(self)
    }

    fn sink(&self) -> impl ByteSink {
        Io(self)
    }

    fn take_error(&self) -> io::Result<Option<io::Error>> {
        let error = self.with(|socket| std::mem::take(&mut socket.error));
        Ok(error.then(|| ErrorKind::ConnectionReset.into()))
    }

    fn watch_send_queue(&self) -> io::Result<()> {
        self.with(|socket| socket.queue_is_watched = true);
        Ok(())
    }

    fn unacknowledged(&self) -> io::Result<Option<u32>> {
        if !self.world.borrow().tells_acknowledged {
            return Err(ErrorKind::Unsupported.into());
        }
        Ok(Some(self.with(|socket| socket.unacknowledged() as u32)))
    }

    fn close(self) {
        let mut world = self.world.borrow_mut();
        if !world.socket(self.peer).finished {
            world.judge_fin(self.peer);
        }
        let tells = world.tells_acknowledged;
        let socket = world.socket(self.peer);
        let unread = socket.read < socket.arrived && socket.peer_reset.is_none();
        assert!(!unread || !tells, "a close with unread bytes resets the connection");
        (socket.finished, socket.closed) = (true, Some(Closed::Orderly));
    }
}

/// The two ends of a simulated connection.
struct Io<'a>(&'a Simulated);

impl Read for Io<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.read_vectored(&mut [IoSliceMut::new(buffer)])
    }

    fn read_vectored(&mut self, buffers: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        let mut world = self.0.world.borrow_mut();
        let peer = self.0.peer;
        let socket = world.socket(peer);
        let room: usize = buffers.iter().map(|buffer| buffer.len()).sum();
        let mut n = (socket.arrived - socket.read).min(room as u64);
        // Bytes before an urgent one are read on their own, and so are those from it on.
        if let Some(mark) = socket.urgent {
            if socket.read < mark {
                n = n.min(mark - socket.read);
            } else {
                socket.urgent = None;
            }
        }
        if n > 0 {
            let places = buffers.iter_mut().flat_map(|buffer| buffer.iter_mut());
            for (place, offset) in places.zip(socket.read..socket.read + n) {
                *place = byte(peer, offset);
            }
            socket.read += n;
            world.note_bytes();
            return Ok(n as usize);
        }
        if socket.peer_finished {
            world.calls += 1;
            return Ok(0); // also if a reset came after the FIN
        }
        if std::mem::take(&mut socket.error) {
            world.calls += 1;
            return Err(ErrorKind::ConnectionReset.into());
        }
        if socket.peer_reset.is_some() { Ok(0) } else { Err(ErrorKind::WouldBlock.into()) }
    }
}

impl ByteSource for Io<'_> {
    fn is_drained(&self) -> bool {
        self.0.with(|socket| socket.read == socket.arrived)
    }
}

impl Write for Io<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(bytes)])
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut world = self.0.world.borrow_mut();
        let to = self.0.peer;
        let from = if to == Side::Client { Side::Server } else { Side::Client };
        let (sink, source) = world.pair(to);
        assert!(!sink.finished, "a write after FIN");
        if sink.peer_reset.is_some() {
            let error = std::mem::take(&mut sink.error);
            return Err(if error { ErrorKind::ConnectionReset } else { ErrorKind::BrokenPipe }.into());
        }
        let room = sink.room - (sink.written - sink.acknowledged);
        let mut n = 0;
        for &written in slices.iter().flat_map(|slice| slice.iter()).take(room as usize) {
            let at = sink.written + n;
            let expected = sink.preface.get(at as usize).copied().unwrap_or_else(|| {
                let offset = source.consumed + at - sink.preface.len() as u64;
                assert!(offset < source.read, "a byte that the {from:?} has not sent");
                byte(from, offset)
            });
            assert_eq!(written, expected, "byte {at} to the {to:?}: in order, each once");
            n += 1;
        }
        if n == 0 {
            return Err(ErrorKind::WouldBlock.into());
        }
        sink.written += n;
        world.note_bytes();
        Ok(n as usize)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl ByteSink for Io<'_> {
    fn finish(&mut self) -> io::Result<()> {
        let mut world = self.0.world.borrow_mut();
        if world.socket(self.0.peer).peer_reset.is_some() {
            return Err(ErrorKind::NotConnected.into());
        }
        world.judge_fin(self.0.peer);
        world.calls += 1;
        let socket = world.socket(self.0.peer);
        socket.finished = true;
        socket.hangup |= socket.peer_finished;
        Ok(())
    }
}
