//! One socket, asked for by its addresses: sock_diag(7).
//!
//! The tables under `/proc/net` are walked from end to end each time, which takes ten milliseconds on a machine with
//! much memory. This takes a few microseconds.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;

use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send, socket_with,
};

use super::tcp::RETRANSMISSION;
use super::{TcpSocket, TcpState, unexpected};

/// `struct nlmsghdr`, in bytes.
const HEADER: usize = 16;
/// `struct inet_diag_req_v2`, in bytes.
const REQUEST: usize = 56;
/// `SOCK_DIAG_BY_FAMILY`: the type of the request and of its answer.
const BY_FAMILY: u16 = 20;
/// `NLM_F_REQUEST`
const IS_REQUEST: u16 = 1;
/// `NLMSG_ERROR`
const ERROR: u16 = 2;
/// `IPPROTO_TCP`
const TCP: u8 = 6;

/// The socket with these addresses: a connection, or the one that listens at `local` if `remote` is `None`.
///
/// # Errors
///
/// When the kernel does not answer such questions.
pub(super) fn find(local: SocketAddr, remote: Option<SocketAddr>) -> io::Result<Option<TcpSocket>> {
    let socket: OwnedFd = socket_with(
        AddressFamily::NETLINK,
        SocketType::DGRAM,
        SocketFlags::CLOEXEC,
        Some(netlink::SOCK_DIAG),
    )?;
    send(&socket, &request(local, remote), SendFlags::empty())?;
    let mut answer = [0; 1024];
    let (_, len) = recv(&socket, &mut answer, RecvFlags::empty())?;
    parse(&answer[..len], local, remote)
}

fn request(local: SocketAddr, remote: Option<SocketAddr>) -> Vec<u8> {
    let mut message = Vec::with_capacity(HEADER + REQUEST);
    message.extend(((HEADER + REQUEST) as u32).to_ne_bytes());
    message.extend(BY_FAMILY.to_ne_bytes());
    message.extend(IS_REQUEST.to_ne_bytes());
    // Neither a number of the message nor one of the sender.
    message.extend([0; 8]);
    let family = if local.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    message.extend([family.as_raw() as u8, TCP, 0, 0]);
    // In any state.
    message.extend(u32::MAX.to_ne_bytes());
    message.extend(local.port().to_be_bytes());
    message.extend(remote.map_or(0, |remote| remote.port()).to_be_bytes());
    message.extend(address_bytes(local.ip()));
    message.extend(address_bytes(remote.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |remote| remote.ip())));
    // On any interface, with any cookie.
    message.extend([0; 4]);
    message.extend([0xff; 8]);
    message
}

fn address_bytes(ip: IpAddr) -> [u8; 16] {
    let mut bytes = [0; 16];
    match ip {
        IpAddr::V4(ip) => bytes[..4].copy_from_slice(&ip.octets()),
        IpAddr::V6(ip) => bytes = ip.octets(),
    }
    bytes
}

/// The answer is an error, or a `struct inet_diag_msg`.
fn parse(answer: &[u8], local: SocketAddr, remote: Option<SocketAddr>) -> io::Result<Option<TcpSocket>> {
    let short = || unexpected("the answer of sock_diag(7)", &format!("{answer:02x?}"));
    let word = |at: usize| {
        answer
            .get(at..at + 4)
            .and_then(|bytes| bytes.first_chunk())
            .copied()
            .map(u32::from_ne_bytes)
            .ok_or_else(short)
    };
    let kind = answer.get(4..6).and_then(|bytes| bytes.first_chunk()).copied().map(u16::from_ne_bytes);
    match kind {
        Some(ERROR) => {
            let error = io::Error::from_raw_os_error(-(word(HEADER)? as i32));
            if error.kind() == io::ErrorKind::NotFound { Ok(None) } else { Err(error) }
        }
        Some(BY_FAMILY) => {
            let state = answer.get(HEADER + 1).copied().and_then(TcpState::from_number).ok_or_else(short)?;
            Ok(Some(TcpSocket {
                local,
                remote: remote.unwrap_or(SocketAddr::from(([0, 0, 0, 0], 0))),
                state,
                unread: word(HEADER + 56)?,
                unacknowledged: word(HEADER + 60)?,
                retransmits: answer.get(HEADER + 2) == Some(&RETRANSMISSION),
                inode: word(HEADER + 68)?.into(),
            }))
        }
        _ => Err(short()),
    }
}
