//! What the caller decides about sockets.

use std::io;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};

/// What is set on each TCP connection that a [`Listener`](crate::Listener) accepts or a
/// [`Connector`](crate::Connector) makes.
///
/// `SO_OOBINLINE` is always on: a byte of urgent data stays where it is in the stream (RFC 6093, section 2),
/// so that a reader gets all bytes in order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SocketOptions {
    /// Whether small writes are sent at once (`TCP_NODELAY`, tcp(7)) and not held back until the peer has
    /// acknowledged what was sent before.
    pub no_delay: bool,
    /// Silence after which the kernel probes whether the peer is still there; it gives up after as
    /// long again. `None`: never. Rounded to seconds, at least 1 (`TCP_KEEPIDLE`, tcp(7)).
    ///
    /// Accepted connections inherit it on Linux; for each connect it costs four system calls. See
    /// [`Stream::set_keepalive`](crate::Stream::set_keepalive) for setting it later.
    pub keepalive: Option<Duration>,
    /// What closing a connection without [`Stream::close`](crate::Stream::close) does (`SO_LINGER`,
    /// socket(7)). Zero: the peer gets RST, also if this process is killed. `None`: it gets FIN, as if
    /// what it has received were complete.
    pub linger: Option<Duration>,
}

/// How a [`Listener`](crate::Listener) listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListenOptions {
    /// What its connections get.
    pub socket: SocketOptions,
    /// Whether other sockets of the same user may listen on the same port (`SO_REUSEPORT`, socket(7)): Linux
    /// then gives each new client to one of them. All of them must ask for it.
    pub reuse_port: bool,
    /// How long to pause when the system has no descriptor or no memory for a client. 100 ms by default.
    pub retry_after: Duration,
}

/// How a [`Connector`](crate::Connector) connects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectOptions {
    /// What the connection gets.
    pub socket: SocketOptions,
    /// How long all attempts together may take, the lookup of the name included. 10 s by default.
    pub timeout: Duration,
    /// How long an attempt may be silent before the next one starts beside it (RFC 8305, section 5). 250 ms
    /// by default.
    pub attempt_delay: Duration,
    /// How long to pause when the system has no descriptor or no memory for an attempt. 100 ms by default.
    pub retry_after: Duration,
}

/// Unanswered probes after which the peer counts as gone.
const PROBES: u32 = 6;

const RETRY_AFTER: Duration = Duration::from_millis(100);

impl SocketOptions {
    pub(crate) fn apply(&self, socket: &SockRef<'_>) -> io::Result<()> {
        socket.set_out_of_band_inline(true)?;
        if self.no_delay {
            socket.set_tcp_nodelay(true)?;
        }
        if let Some(idle) = self.keepalive {
            set_keepalive(socket, idle)?;
        }
        if self.linger.is_some() {
            socket.set_linger(self.linger)?;
        }
        Ok(())
    }
}

pub(crate) fn set_keepalive(socket: &SockRef<'_>, idle: Duration) -> io::Result<()> {
    let second = Duration::from_secs(1);
    let keepalive = TcpKeepalive::new()
        .with_time(idle.max(second))
        .with_interval((idle / PROBES).max(second))
        .with_retries(PROBES);
    socket.set_tcp_keepalive(&keepalive)
}

impl Default for ListenOptions {
    fn default() -> Self {
        SocketOptions::default().into()
    }
}

impl From<SocketOptions> for ListenOptions {
    fn from(socket: SocketOptions) -> Self {
        Self { socket, reuse_port: false, retry_after: RETRY_AFTER }
    }
}

impl Default for ConnectOptions {
    fn default() -> Self {
        Self {
            socket: SocketOptions::default(),
            timeout: Duration::from_secs(10),
            attempt_delay: Duration::from_millis(250),
            retry_after: RETRY_AFTER,
        }
    }
}
