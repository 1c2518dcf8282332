//! What the caller decides about sockets.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use socket2::{SockRef, Socket, TcpKeepalive};

use crate::deadlines::after;

/// What is set on each TCP connection that a [`Listener`](crate::Listener) accepts or a
/// [`Connector`](crate::Connector) makes.
///
/// Two options are always on. With `SO_OOBINLINE` a byte of urgent data stays where it is in the stream (RFC 6093,
/// section 2), so that a reader gets all bytes in order. With `SO_LINGER` of zero (socket(7)) a connection is born to be
/// reset: see [`Stream`](crate::Stream).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SocketOptions {
    /// Whether small writes are sent at once (`TCP_NODELAY`, tcp(7)) and not held back until the peer has
    /// acknowledged what was sent before.
    pub no_delay: bool,
    /// Silence after which the kernel probes whether the peer is still there; it gives up after as
    /// long again. `None`: never. Rounded to seconds, at least 1 and at most 32767, the most that Linux takes
    /// (`TCP_KEEPIDLE`, tcp(7)).
    ///
    /// Accepted connections inherit it on Linux; for each connect it costs four system calls. See
    /// [`Stream::set_keepalive`](crate::Stream::set_keepalive) for setting it later.
    pub keepalive: Option<Duration>,
    /// The bytes that the kernel may hold for each direction, its bookkeeping included (`SO_SNDBUF`, `SO_RCVBUF`,
    /// socket(7)). `None`: the kernel tunes it, up to the last value of `tcp_rmem` and `tcp_wmem` (tcp(7)).
    ///
    /// The kernel allows no less than some thousand bytes, and no more than `net.core.rmem_max` and
    /// `net.core.wmem_max` twice.
    pub buffer_size: Option<usize>,
}

/// How a [`Listener`](crate::Listener) listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListenOptions {
    /// What its connections get.
    pub socket: SocketOptions,
    /// Whether other sockets of the same user may listen on the same port (`SO_REUSEPORT`, socket(7)): Linux
    /// then gives each new client to one of them. All of them must ask for it.
    pub reuse_port: bool,
    /// How long to pause when the system has no descriptor or no memory for a client: at least 1 ms, by default 100 ms.
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
    /// How long to pause when the system has no descriptor or no memory for an attempt: at least 1 ms, by default 100 ms.
    pub retry_after: Duration,
    /// The local address of attempts to IPv4 addresses; the kernel chooses one by default. The kernel always
    /// chooses the port, when it knows the address of the peer as well (`IP_BIND_ADDRESS_NO_PORT`, ip(7)), so
    /// that each local address has all ports for each peer.
    pub source_v4: Option<Ipv4Addr>,
    /// The same for IPv6.
    pub source_v6: Option<Ipv6Addr>,
}

/// What a keepalive time can be.
const KEEPALIVE: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(32_767)];

/// Unanswered probes after which the kernel gives the peer up.
const PROBES: u32 = 6;

const RETRY_AFTER: Duration = Duration::from_millis(100);
const SHORTEST_RETRY_AFTER: Duration = Duration::from_millis(1);

/// When to try again what the system had no descriptor or memory for.
pub(crate) fn retry_at(now: Instant, retry_after: Duration) -> Instant {
    after(now, retry_after.max(SHORTEST_RETRY_AFTER))
}

impl SocketOptions {
    pub(crate) fn apply(&self, socket: &SockRef<'_>) -> io::Result<()> {
        socket.set_linger(Some(Duration::ZERO))?;
        socket.set_out_of_band_inline(true)?;
        if self.no_delay {
            socket.set_tcp_nodelay(true)?;
        }
        if let Some(idle) = self.keepalive {
            set_keepalive(socket, idle)?;
        }
        if let Some(size) = self.buffer_size {
            // The kernel doubles the number, for its bookkeeping (socket(7)).
            socket.set_send_buffer_size(size / 2)?;
            socket.set_recv_buffer_size(size / 2)?;
        }
        Ok(())
    }
}

pub(crate) fn set_keepalive(socket: &SockRef<'_>, idle: Duration) -> io::Result<()> {
    let [least, most] = KEEPALIVE;
    let idle = idle.clamp(least, most);
    let keepalive =
        TcpKeepalive::new().with_time(idle).with_interval((idle / PROBES).max(least)).with_retries(PROBES);
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
            source_v4: None,
            source_v6: None,
        }
    }
}

impl ConnectOptions {
    /// Binds a socket to the local address for a peer, if there is one.
    pub(crate) fn bind_source(&self, socket: &Socket, peer: SocketAddr) -> io::Result<()> {
        let source = match peer {
            SocketAddr::V4(_) => self.source_v4.map(IpAddr::from),
            SocketAddr::V6(_) => self.source_v6.map(IpAddr::from),
        };
        let Some(source) = source else { return Ok(()) };
        // Without it the port is chosen now, from those that no connection from this address has.
        #[cfg(target_os = "linux")]
        nix::sys::socket::setsockopt(socket, nix::sys::socket::sockopt::IpBindAddressNoPort, &true)?;
        socket.bind(&SocketAddr::new(source, 0).into())
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use socket2::{Domain, Type};

    #[test]
    fn a_source_address_takes_no_port_before_the_peer_is_known() {
        let options = ConnectOptions {
            source_v4: Some(Ipv4Addr::LOCALHOST),
            source_v6: Some(Ipv6Addr::LOCALHOST),
            ..ConnectOptions::default()
        };
        for peer in ["127.0.0.1:80", "[::1]:80"] {
            let peer: SocketAddr = peer.parse().unwrap();
            let socket = Socket::new(Domain::for_address(peer), Type::STREAM, None).unwrap();
            options.bind_source(&socket, peer).unwrap();
            let local = socket.local_addr().unwrap().as_socket().unwrap();
            assert_eq!(local, SocketAddr::new(peer.ip(), 0));
        }
    }
}
