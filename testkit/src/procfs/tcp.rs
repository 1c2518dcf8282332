use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::diag;

/// One TCP socket of this network namespace: a row of `/proc/net/tcp` or `/proc/net/tcp6`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpSocket {
    /// Its own address. IPv4 on an IPv6 socket shows as IPv4.
    pub local: SocketAddr,
    /// The address it is connected with; unspecified while it listens.
    pub remote: SocketAddr,
    /// How far its connection is.
    pub state: TcpState,
    /// Sent bytes that the other kernel has not acknowledged; a FIN counts as one byte.
    pub unacknowledged: u32,
    /// Received bytes that were not read; of a listening socket, connections that were not accepted.
    pub unread: u32,
    /// Its kernel waits for an acknowledgement, and will send again if none comes (RFC 6298).
    pub retransmits: bool,
    /// Its number in the file system of sockets: 0 when no process has it any more, as in `TIME_WAIT`.
    pub inode: u64,
}

/// The timer that a socket has running, as the kernel numbers it: that of retransmission.
pub(super) const RETRANSMISSION: u8 = 1;

/// The state of a connection (RFC 9293, section 3.3.2), numbered as in the kernel's `tcp_states.h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names are those of the RFC")]
pub enum TcpState {
    Established = 1,
    SynSent,
    SynReceived,
    FinWait1,
    FinWait2,
    TimeWait,
    Closed,
    CloseWait,
    LastAck,
    Listen,
    Closing,
}

impl TcpState {
    const ALL: [Self; 11] = [
        Self::Established,
        Self::SynSent,
        Self::SynReceived,
        Self::FinWait1,
        Self::FinWait2,
        Self::TimeWait,
        Self::Closed,
        Self::CloseWait,
        Self::LastAck,
        Self::Listen,
        Self::Closing,
    ];

    /// The kernel shows a half-open connection request under a number of its own.
    const NEW_SYN_RECEIVED: u8 = 12;

    pub(super) fn from_number(number: u8) -> Option<Self> {
        match number {
            Self::NEW_SYN_RECEIVED => Some(Self::SynReceived),
            _ => Self::ALL.get(usize::from(number).checked_sub(1)?).copied(),
        }
    }
}

/// The socket with these addresses that is connected.
///
/// `None` when there is no such connection any more.
///
/// # Errors
///
/// When the tables cannot be read.
pub fn connection(local: SocketAddr, remote: SocketAddr) -> io::Result<Option<TcpSocket>> {
    let (local, remote) = (canonical(local), canonical(remote));
    match diag::find(local, Some(remote)) {
        // What listens there is found when the connection is gone.
        Ok(found) => Ok(found.filter(|socket| socket.state != TcpState::Listen)),
        // Where the kernel does not answer that, as in some containers, there are still its tables.
        Err(_) => {
            Ok(tcp_sockets()?.into_iter().find(|socket| socket.local == local && socket.remote == remote))
        }
    }
}

/// The socket that a client reaches when it connects to this address.
///
/// Unlike a connection attempt this leaves no trace.
///
/// # Errors
///
/// When the tables cannot be read.
pub fn listener(address: SocketAddr) -> io::Result<Option<TcpSocket>> {
    let found = match diag::find(address, None) {
        Ok(found) => found,
        Err(_) => tcp_sockets()?.into_iter().find(|socket| {
            socket.local.port() == address.port()
                && (socket.local.ip() == address.ip() || socket.local.ip().is_unspecified())
        }),
    };
    Ok(found.filter(|socket| socket.state == TcpState::Listen))
}

/// Every TCP socket of this network namespace.
///
/// # Errors
///
/// When the tables cannot be read.
pub fn tcp_sockets() -> io::Result<Vec<TcpSocket>> {
    let mut table = fs::read_to_string("/proc/net/tcp")?;
    // A kernel without IPv6 has no such file.
    table += &fs::read_to_string("/proc/net/tcp6").unwrap_or_default();
    Ok(table.lines().filter_map(parse_row).collect())
}

/// A row of the table; `None` for the header.
fn parse_row(line: &str) -> Option<TcpSocket> {
    let mut fields = line.split_ascii_whitespace().skip(1);
    let local = parse_address(fields.next()?)?;
    let remote = parse_address(fields.next()?)?;
    let state = TcpState::from_number(u8::from_str_radix(fields.next()?, 16).ok()?)?;
    let (unacknowledged, unread) = fields.next()?.split_once(':')?;
    let (timer, _) = fields.next()?.split_once(':')?;
    Some(TcpSocket {
        local,
        remote,
        state,
        unacknowledged: u32::from_str_radix(unacknowledged, 16).ok()?,
        unread: u32::from_str_radix(unread, 16).ok()?,
        retransmits: u8::from_str_radix(timer, 16).ok()? == RETRANSMISSION,
        inode: fields.nth(3)?.parse().ok()?,
    })
}

/// An address as the kernel prints it: words of 32 bits in the byte order of the machine, then the port as a number.
fn parse_address(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let mut bytes = [0; 16];
    for (word, out) in address.as_bytes().chunks(8).zip(bytes.chunks_exact_mut(4)) {
        let word = u32::from_str_radix(str::from_utf8(word).ok()?, 16).ok()?;
        out.copy_from_slice(&word.to_ne_bytes());
    }
    let ip = match address.len() {
        8 => IpAddr::V4(Ipv4Addr::from(*bytes.first_chunk::<4>()?)),
        32 => IpAddr::V6(Ipv6Addr::from(bytes)),
        _ => return None,
    };
    Some(canonical(SocketAddr::new(ip, u16::from_str_radix(port, 16).ok()?)))
}

/// A mapped IPv4 address becomes that address, and neither scope nor flow tells addresses apart.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::{TcpListener, TcpStream};

    use super::*;
    use crate::peer::Refuser;

    #[test]
    fn a_listener_is_seen_and_a_bound_socket_is_not() {
        for (bound, reached) in [
            ("127.0.0.1", "127.0.0.1"),
            ("::1", "::1"),
            ("::", "127.0.0.1"),
            ("::", "::1"),
            ("0.0.0.0", "127.0.0.1"),
        ] {
            let socket = TcpListener::bind((bound, 0)).unwrap();
            let port = socket.local_addr().unwrap().port();
            let address = SocketAddr::new(reached.parse().unwrap(), port);
            let found = listener(address).unwrap().unwrap();
            let tables = tcp_sockets().unwrap();
            let row = tables.iter().find(|row| row.inode == found.inode).unwrap();
            assert_eq!((row.state, row.local.port()), (TcpState::Listen, port));
            let _client = TcpStream::connect(address).unwrap();
            assert_eq!(listener(address).unwrap().unwrap().unread, 1, "one waits to be accepted");
        }
        let bound = Refuser::new().unwrap();
        assert_eq!(listener(bound.address()).unwrap(), None);
        let v4_only = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        assert_eq!(listener(SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], v4_only.port()))).unwrap(), None);
    }

    #[test]
    fn states_have_the_numbers_of_the_kernel() {
        for state in TcpState::ALL {
            assert_eq!(TcpState::from_number(state as u8), Some(state));
        }
        assert_eq!(TcpState::from_number(0), None);
        assert_eq!(TcpState::from_number(13), None);
    }

    #[test]
    fn bytes_the_other_side_has_no_room_for_stay_unacknowledged() {
        for (listen, connect) in [("127.0.0.1", "127.0.0.1"), ("::1", "::1"), ("::", "127.0.0.1")] {
            let listener = TcpListener::bind((listen, 0)).unwrap();
            let mut client = TcpStream::connect((connect, listener.local_addr().unwrap().port())).unwrap();
            let (local, remote) = (client.local_addr().unwrap(), client.peer_addr().unwrap());
            let unacknowledged = |local, remote| {
                let socket = connection(local, remote).unwrap();
                socket.map(|socket| socket.unacknowledged)
            };
            assert_eq!(unacknowledged(local, remote), Some(0));
            assert_eq!(unacknowledged(remote, local), Some(0), "the other end of it");

            client.set_nonblocking(true).unwrap();
            while client.write(&[0; 65536]).is_ok() {}
            assert!(unacknowledged(local, remote).unwrap() > 0);
            assert!(connection(remote, local).unwrap().unwrap().unread > 0);
            assert!(!connection(remote, local).unwrap().unwrap().retransmits, "it has sent nothing");
            // The two kernels may still exchange segments between one look and the other.
            let agree = (0..1000).any(|_| {
                let tables = tcp_sockets().unwrap();
                let row = tables.iter().find(|row| row.local == local && row.remote == remote).unwrap();
                assert_eq!(row.state, TcpState::Established);
                unacknowledged(local, remote) == Some(row.unacknowledged)
            });
            assert!(agree, "both sources tell the same");
            assert_eq!(unacknowledged(local, local), None);
        }
    }
}
