//! Options that every connection gets, whichever side opened it.

use std::io;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};

/// What is set on each TCP connection that a [`Listener`](crate::Listener) accepts or a
/// [`Connector`](crate::Connector) makes.
///
/// Two options are always on: `TCP_NODELAY`, because a forwarder that waits for more bytes only adds
/// delay, and `SO_OOBINLINE`, because an urgent byte out of band (RFC 6093) could not be passed on and
/// would keep a level-triggered poller awake.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SocketOptions {
    /// Silence after which the kernel probes whether the peer is still there; it gives up after as
    /// long again. `None`: never. Rounded to seconds, at least 1 (`TCP_KEEPIDLE`, tcp(7)).
    pub keepalive: Option<Duration>,
}

/// How a [`Listener`](crate::Listener) listens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ListenOptions {
    /// What its connections get.
    pub connections: SocketOptions,
    /// Whether other sockets of the same user may listen on the same port (`SO_REUSEPORT`, socket(7)): Linux
    /// then gives each new client to one of them. All of them must ask for it.
    pub reuse_port: bool,
}

impl From<SocketOptions> for ListenOptions {
    fn from(connections: SocketOptions) -> Self {
        Self { connections, reuse_port: false }
    }
}

/// Unanswered probes after which the peer counts as gone.
const PROBES: u32 = 6;

impl SocketOptions {
    pub(crate) fn apply(&self, socket: &SockRef<'_>) -> io::Result<()> {
        socket.set_tcp_nodelay(true)?;
        socket.set_out_of_band_inline(true)?;
        if let Some(idle) = self.keepalive {
            let second = Duration::from_secs(1);
            let keepalive = TcpKeepalive::new()
                .with_time(idle.max(second))
                .with_interval((idle / PROBES).max(second))
                .with_retries(PROBES);
            socket.set_tcp_keepalive(&keepalive)?;
        }
        Ok(())
    }
}
