//! What the kernel knows about the other end of a connection: sock_diag(7).

use std::io;
use std::time::Duration;

use crate::Stream;

/// What the kernel knows about the other end of a TCP connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TcpStatus {
    /// Bytes written that the peer has not acknowledged, sent or not; a FIN counts as one.
    pub unacknowledged: u32,
    /// Segments that are sent and not acknowledged (`tcpi_unacked`). A live peer with a closed window has none.
    pub in_flight: u32,
    /// Probes that the peer has not answered (`tcpi_probes`): of its closed window, or whether it is there.
    pub unanswered_probes: u8,
    /// How long ago the last acknowledgement came (`tcpi_last_ack_recv`), in milliseconds.
    pub since_last_ack: Duration,
    /// How long ago a segment with bytes was last sent (`tcpi_last_data_sent`), in milliseconds; a probe has none.
    pub since_last_sent: Duration,
    /// Segments that have come from the peer, with bytes or without (`tcpi_segs_in`).
    pub segments_received: u32,
}

impl TcpStatus {
    /// How long no byte has moved towards the peer; `None` if all were acknowledged. The kernel counts time in ticks, of
    /// 10 ms at most.
    ///
    /// A byte moves when it is sent or acknowledged. The answers to probes of a closed window acknowledge nothing.
    #[must_use]
    pub fn stalled_for(&self) -> Option<Duration> {
        let since_last_sent = if self.in_flight == 0 { self.since_last_sent } else { Duration::ZERO };
        (self.unacknowledged > 0).then(|| since_last_sent.max(self.since_last_ack))
    }
}

impl Stream {
    /// Asks the kernel about the other end of the connection, which costs some system calls. `None` if the
    /// connection does not exist any more, as after both sides have finished.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::Unsupported`] where there is no sock_diag(7); what the kernel reports where it does not
    /// answer, such as in a sandbox.
    pub fn tcp_status(&self) -> io::Result<Option<TcpStatus>> {
        #[cfg(target_os = "linux")]
        return diag::ask(self);
        #[cfg(not(target_os = "linux"))]
        return Err(io::ErrorKind::Unsupported.into());
    }
}

/// The request and its answer, as in the kernel's `linux/netlink.h` and `linux/inet_diag.h`.
#[cfg(target_os = "linux")]
mod diag {
    use std::io::{self, ErrorKind};
    use std::net::{IpAddr, SocketAddr};
    use std::time::Duration;

    use rustix::net::{
        AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send, socket_with,
    };

    use super::{Stream, TcpStatus};

    /// The length of `struct nlmsghdr`, and of `struct inet_diag_msg`.
    const HEADER: usize = 16;
    const MESSAGE: usize = 72;
    /// `SOCK_DIAG_BY_FAMILY`, `NLM_F_REQUEST`, `NLMSG_ERROR`, `IPPROTO_TCP`, `INET_DIAG_INFO`
    const BY_FAMILY: u16 = 20;
    const IS_REQUEST: u16 = 1;
    const ERROR: u16 = 2;
    const TCP: u8 = 6;
    const INFO: u16 = 2;

    pub(super) fn ask(stream: &Stream) -> io::Result<Option<TcpStatus>> {
        let addresses = match (stream.local_addr(), stream.peer_addr()) {
            (Ok(local), Ok(peer)) => (local, peer),
            (_, Err(error)) if error.kind() == ErrorKind::NotConnected => return Ok(None),
            (Err(error), _) | (_, Err(error)) => return Err(error),
        };
        let socket = socket_with(
            AddressFamily::NETLINK,
            SocketType::DGRAM,
            SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
            Some(netlink::SOCK_DIAG),
        )?;
        send(&socket, &request(addresses.0, addresses.1), SendFlags::empty())?;
        // The kernel answers within send(2).
        let mut answer = [0; 2048];
        let (_, len) = recv(&socket, &mut answer, RecvFlags::empty())?;
        parse(&answer[..len])
    }

    /// A `struct nlmsghdr` and a `struct inet_diag_req_v2` that ask for `INET_DIAG_INFO` of one socket.
    fn request(local: SocketAddr, peer: SocketAddr) -> Vec<u8> {
        const LENGTH: u32 = 72;
        let mut message = Vec::with_capacity(LENGTH as usize);
        message.extend(LENGTH.to_ne_bytes());
        message.extend(BY_FAMILY.to_ne_bytes());
        message.extend(IS_REQUEST.to_ne_bytes());
        message.extend([0; 8]); // neither a sequence number nor a sender's
        let family = if local.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        message.extend([family.as_raw() as u8, TCP, 1 << (INFO - 1), 0]);
        message.extend(u32::MAX.to_ne_bytes()); // in any state
        message.extend(local.port().to_be_bytes());
        message.extend(peer.port().to_be_bytes());
        message.extend(address(local.ip()));
        message.extend(address(peer.ip()));
        // A connection of link-local addresses is bound to its interface.
        let interface = match local {
            SocketAddr::V6(local) => local.scope_id(),
            SocketAddr::V4(_) => 0,
        };
        message.extend(interface.to_ne_bytes());
        message.extend([0xff; 8]); // with any cookie
        message
    }

    fn address(ip: IpAddr) -> [u8; 16] {
        let mut bytes = [0; 16];
        match ip {
            IpAddr::V4(ip) => bytes[..4].copy_from_slice(&ip.octets()),
            IpAddr::V6(ip) => bytes = ip.octets(),
        }
        bytes
    }

    /// An error, or a `struct inet_diag_msg` and attributes.
    fn parse(answer: &[u8]) -> io::Result<Option<TcpStatus>> {
        match half(answer, 4)? {
            ERROR => {
                let error = io::Error::from_raw_os_error(-word(answer, HEADER)?.cast_signed());
                if error.kind() == ErrorKind::NotFound { Ok(None) } else { Err(error) }
            }
            BY_FAMILY => {
                let unacknowledged = word(answer, HEADER + 60)?;
                let mut status = TcpStatus { unacknowledged, ..TcpStatus::default() };
                let mut at = HEADER + MESSAGE;
                while let (Ok(len @ 4..), Ok(kind)) = (half(answer, at), half(answer, at + 2)) {
                    if kind == INFO {
                        // `struct tcp_info`
                        let info = at + 4;
                        status.unanswered_probes = word(answer, info)?.to_ne_bytes()[3];
                        status.in_flight = word(answer, info + 24)?;
                        status.segments_received = word(answer, info + 140)?;
                        let ago =
                            |offset| word(answer, info + offset).map(|ms| Duration::from_millis(ms.into()));
                        (status.since_last_sent, status.since_last_ack) = (ago(44)?, ago(56)?);
                    }
                    at += usize::from(len).next_multiple_of(4);
                }
                Ok(Some(status))
            }
            kind => {
                Err(io::Error::new(ErrorKind::InvalidData, format!("sock_diag(7) answers with type {kind}")))
            }
        }
    }

    fn half(answer: &[u8], at: usize) -> io::Result<u16> {
        field(answer, at).map(u16::from_ne_bytes)
    }

    fn word(answer: &[u8], at: usize) -> io::Result<u32> {
        field(answer, at).map(u32::from_ne_bytes)
    }

    fn field<const N: usize>(answer: &[u8], at: usize) -> io::Result<[u8; N]> {
        let bytes = answer.get(at..).and_then(|rest| rest.first_chunk());
        bytes
            .copied()
            .ok_or_else(|| io::Error::new(ErrorKind::UnexpectedEof, "sock_diag(7) answers too little"))
    }
}
