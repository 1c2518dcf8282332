use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use socket2::{Domain, SockRef, Socket, Type};

use crate::peer::{Gate, Report, Script, script};
use crate::procfs;

/// The interval between two looks at a condition for which the kernel has no event.
const LOOK_AGAIN: Duration = Duration::from_millis(1);

/// The longest interval between two looks at a condition that may last.
const MOST_SELDOM: Duration = Duration::from_millis(20);

/// Options of a socket, set before it listens or connects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PeerOptions {
    /// `SO_RCVBUF` in bytes; Linux doubles it, and raises small values to its minimum of about 2 KiB. It decides the
    /// window the other side is offered, so it has to be set early. Below 2048 the kernel drops segments it has no
    /// memory for, and transfers stall for seconds while the sender's retransmission timer backs off.
    pub receive_buffer: Option<usize>,
    /// `SO_SNDBUF` in bytes; Linux doubles it, and raises small values to its minimum of about 4 KiB.
    pub send_buffer: Option<usize>,
    /// Whether small writes leave at once: `TCP_NODELAY`.
    pub no_delay: bool,
    /// Whether an urgent byte is received in its place among the others: `SO_OOBINLINE`.
    pub urgent_inline: bool,
}

impl PeerOptions {
    pub(super) fn socket(&self, address: SocketAddr) -> io::Result<Socket> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        if let Some(bytes) = self.receive_buffer {
            socket.set_recv_buffer_size(bytes)?;
        }
        if let Some(bytes) = self.send_buffer {
            socket.set_send_buffer_size(bytes)?;
        }
        socket.set_tcp_nodelay(self.no_delay)?;
        socket.set_out_of_band_inline(self.urgent_inline)?;
        Ok(socket)
    }
}

/// One connection of a peer.
///
/// Its socket is non-blocking underneath, so that every wait has a deadline and can be called off.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    local: SocketAddr,
    remote: SocketAddr,
    /// The error of the connection that connecting has taken from the socket, so that no read reports it any more.
    taken_early: Option<ErrorKind>,
    /// Open once it is called off.
    over: Gate,
}

impl Connection {
    /// Connects to `address`, waiting at most `patience`.
    ///
    /// A connection that was made and reset before it was noticed is a connection all the same: what was sent on it
    /// can still be read, although connect(2) and `SO_ERROR` call it a failure.
    ///
    /// # Errors
    ///
    /// Those of connect(2): `ConnectionRefused` without a listener, `TimedOut` without an answer.
    pub fn connect(address: SocketAddr, options: PeerOptions, patience: Duration) -> io::Result<Self> {
        let socket = options.socket(address)?;
        socket.set_nonblocking(true)?;
        socket.connect(&address.into()).or_else(|error| match Errno::from_io_error(&error) {
            Some(Errno::INPROGRESS) => Ok(()),
            _ => Err(error),
        })?;
        let mut connection = Self::new(socket.into(), address)?;
        if connection.wait_for(PollFlags::OUT, Instant::now() + patience).is_err() {
            let message = format!("{address} did not answer within {patience:?}");
            return Err(io::Error::new(ErrorKind::TimedOut, message));
        }
        match connection.stream.take_error()? {
            // An attempt ends in ECONNREFUSED; these two come after it has succeeded.
            Some(error) if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => {
                connection.taken_early = Some(error.kind());
            }
            Some(error) => return Err(error),
            None => {}
        }
        connection.local = connection.stream.local_addr()?;
        Ok(connection)
    }

    pub(super) fn new(stream: TcpStream, remote: SocketAddr) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        let local = stream.local_addr()?;
        Ok(Self { stream, local, remote, taken_early: None, over: Gate::new()? })
    }

    /// The address of this side.
    pub const fn local(&self) -> SocketAddr {
        self.local
    }

    /// The address of the other side.
    pub const fn remote(&self) -> SocketAddr {
        self.remote
    }

    /// The first `len` bytes that wait to be read, which they go on doing; fewer when the stream ends before, or when
    /// `patience` runs out.
    ///
    /// A server of several clients learns from them which one it has.
    ///
    /// # Errors
    ///
    /// Those of recv(2), as `ConnectionReset`.
    pub fn peek(&self, len: usize, patience: Duration) -> io::Result<Vec<u8>> {
        let until = Instant::now() + patience;
        let mut bytes = vec![0; len];
        loop {
            let arrived = self.wait_for(PollFlags::IN | PollFlags::RDHUP, until);
            let count = match self.stream.peek(&mut bytes) {
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
                Err(error) => return Err(error),
            };
            let ended = arrived.is_ok_and(|flags| flags.intersects(PollFlags::RDHUP | PollFlags::HUP));
            if count == len || ended || Instant::now() >= until {
                bytes.truncate(count);
                return Ok(bytes);
            }
            // The queue is not empty, so poll would report it at once.
            let _ = self.pause(LOOK_AGAIN);
        }
    }

    /// Sends all of `bytes`, waiting each time for room at most `patience`.
    ///
    /// # Errors
    ///
    /// Those of send(2); `TimedOut` when there was no room.
    pub fn send_all(&self, mut bytes: &[u8], patience: Duration) -> io::Result<()> {
        while !bytes.is_empty() {
            let count = self.send(bytes, patience)?;
            bytes = &bytes[count..];
        }
        Ok(())
    }

    /// The next `len` bytes, waiting for each at most `patience`.
    ///
    /// # Errors
    ///
    /// Those of recv(2); `UnexpectedEof` when the stream ends before, `TimedOut` when nothing came.
    pub fn receive_exactly(&self, len: usize, patience: Duration) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; len];
        let mut filled = 0;
        while filled < len {
            match self.receive(&mut bytes[filled..], patience)? {
                0 => return Err(ErrorKind::UnexpectedEof.into()),
                count => filled += count,
            }
        }
        Ok(bytes)
    }

    /// Runs a script to its end, then closes the connection.
    pub fn run(self, script: &Script) -> Report {
        script::run(script, &self)
    }

    /// Writes some of `bytes`, waiting for room at most `patience`.
    pub(super) fn send(&self, bytes: &[u8], patience: Duration) -> Result<usize, StepError> {
        self.attempt(PollFlags::OUT, patience, || (&self.stream).write(bytes))
    }

    /// Reads into `buffer`, waiting for bytes at most `patience`; 0 is the end of the stream.
    pub(super) fn receive(&self, buffer: &mut [u8], patience: Duration) -> Result<usize, StepError> {
        self.attempt(PollFlags::IN, patience, || (&self.stream).read(buffer))
    }

    /// Sends the last of `bytes` as urgent, those before it as usual.
    pub(super) fn send_urgent(&self, bytes: &[u8], patience: Duration) -> Result<usize, StepError> {
        self.attempt(PollFlags::OUT, patience, || SockRef::from(&self.stream).send_out_of_band(bytes))
    }

    /// Whether there is no room to send at this moment.
    pub(super) fn is_full(&self) -> bool {
        self.wait_for(PollFlags::OUT, Instant::now()) == Err(StepError::Late)
    }

    /// Whether bytes were lost, or not acknowledged yet, so that the kernel will send them again.
    pub(super) fn retransmits(&self) -> bool {
        procfs::connection(self.local, self.remote)
            .is_ok_and(|socket| socket.is_some_and(|socket| socket.retransmits))
    }

    /// Waits until something can be read, be it the end.
    pub(super) fn readable(&self, patience: Duration) -> Result<(), StepError> {
        self.wait_for(PollFlags::IN, Instant::now() + patience).map(drop)
    }

    /// Waits until the other kernel has acknowledged everything sent, or the connection is gone.
    pub(super) fn acknowledged(&self, patience: Duration) -> Result<(), StepError> {
        let until = Instant::now() + patience;
        // Each look costs the kernel a walk through all of its sockets.
        let mut look_again = LOOK_AGAIN;
        loop {
            let sender = procfs::connection(self.local, self.remote)
                .map_err(|error| StepError::Failed(error.kind()))?;
            if sender.is_none_or(|socket| socket.unacknowledged == 0) {
                return Ok(());
            }
            if Instant::now() >= until {
                return Err(StepError::Late);
            }
            self.pause(look_again)?;
            look_again = (2 * look_again).min(MOST_SELDOM);
        }
    }

    /// Does nothing for a while, unless the connection is called off.
    pub(super) fn pause(&self, pause: Duration) -> Result<(), StepError> {
        match wait(&mut [self.over.poll_fd()], Instant::now() + pause) {
            None => Ok(()),
            Some(_) => Err(StepError::Over),
        }
    }

    /// Waits until the gate is open.
    pub(super) fn pass(&self, gate: &Gate, patience: Duration) -> Result<(), StepError> {
        self.wait_unless_over(gate.poll_fd(), Instant::now() + patience).map(drop)
    }

    /// Sends a FIN after the last byte.
    pub(super) fn finish(&self) -> io::Result<()> {
        self.stream.shutdown(Shutdown::Write)
    }

    /// Makes the close that is to come a reset.
    pub(super) fn reset_at_close(&self) -> io::Result<()> {
        SockRef::from(&self.stream).set_linger(Some(Duration::ZERO))
    }

    /// Cancels every wait on this connection, now and later.
    pub(super) fn call_off(&self) {
        self.over.open();
    }

    /// The error of the connection that was reported while connecting, if any.
    pub(super) const fn taken_early(&self) -> Option<ErrorKind> {
        self.taken_early
    }

    /// The error of the socket that no call has reported yet: `SO_ERROR`.
    pub(super) fn untaken_error(&self) -> Option<ErrorKind> {
        self.stream.take_error().ok().flatten().map(|error| error.kind())
    }

    /// Calls until it does not block, waiting in between.
    fn attempt(
        &self,
        readiness: PollFlags,
        patience: Duration,
        mut call: impl FnMut() -> io::Result<usize>,
    ) -> Result<usize, StepError> {
        let until = Instant::now() + patience;
        loop {
            match call() {
                Ok(count) => return Ok(count),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) if error.kind() != ErrorKind::WouldBlock => {
                    return Err(StepError::Failed(error.kind()));
                }
                Err(_) => {}
            }
            self.wait_for(readiness, until)?;
        }
    }

    fn wait_for(&self, readiness: PollFlags, until: Instant) -> Result<PollFlags, StepError> {
        self.wait_unless_over(PollFd::from_borrowed_fd(self.stream.as_fd(), readiness), until)
    }

    fn wait_unless_over(&self, descriptor: PollFd<'_>, until: Instant) -> Result<PollFlags, StepError> {
        match wait(&mut [self.over.poll_fd(), descriptor], until) {
            Some((1, flags)) => Ok(flags),
            Some(_) => Err(StepError::Over),
            None => Err(StepError::Late),
        }
    }
}

/// Why a step of a script could not go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StepError {
    /// The patience of the peer ran out.
    Late,
    /// Other bytes came than were expected.
    Unmet,
    /// The other half has ended the connection.
    Over,
    /// The call failed.
    Failed(ErrorKind),
}

impl From<StepError> for io::Error {
    fn from(error: StepError) -> Self {
        match error {
            StepError::Failed(error) => error.into(),
            StepError::Late | StepError::Over | StepError::Unmet => ErrorKind::TimedOut.into(),
        }
    }
}

/// The first descriptor that is ready, and what for; `None` when it is `until` first.
pub(super) fn wait(descriptors: &mut [PollFd<'_>], until: Instant) -> Option<(usize, PollFlags)> {
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let timeout = Timespec::try_from(left).expect("a wait is shorter than billions of years");
        match poll(descriptors, Some(&timeout)) {
            Ok(0) => return None,
            Ok(_) => {
                let mut ready = descriptors.iter().map(PollFd::revents).enumerate();
                return ready.find(|(_, flags)| !flags.is_empty());
            }
            Err(Errno::INTR) => {}
            Err(error) => panic!("poll(2) of open descriptors: {error}"),
        }
    }
}
