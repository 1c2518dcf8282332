//! One listening socket of a [`Listener`](crate::Listener).

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};

use rustix::io::Errno;
use socket2::SockRef;

use crate::{SocketOptions, Source};

/// One of a listener's sockets.
#[derive(Debug)]
pub(crate) struct ListenSocket {
    pub(crate) socket: Source<TcpListener>,
    /// Whether accepted connections have the options, and are non-blocking, without further calls.
    native: bool,
}

/// How many aborted clients one call may skip.
const MAX_SKIPPED: usize = 64;

impl ListenSocket {
    /// Takes a socket that listens, and puts it into non-blocking mode.
    pub(crate) fn new(socket: TcpListener, options: SocketOptions) -> io::Result<Self> {
        let reference = SockRef::from(&socket);
        #[cfg(target_os = "linux")] // where the system cannot tell, accepting will
        if !reference.is_listener()? {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the socket does not listen"));
        }
        // The size of the buffers matters before a client is accepted. Linux hands all options down to accepted
        // connections, which saves calls for each client.
        let applied = options.apply(&reference).is_ok();
        Ok(Self { socket: Source::wrap(socket)?, native: NATIVE && applied })
    }

    /// Accepts one client if one is pending, and fails only when the system has run out of descriptors or
    /// memory. Clients that have gone again, and network errors that accept(2) passes on for them, are
    /// skipped.
    pub(crate) fn accept(&self, options: SocketOptions) -> io::Result<Option<(TcpStream, SocketAddr)>> {
        for _ in 0..MAX_SKIPPED {
            let error = match self.accept_one(options) {
                Ok(client) => return Ok(Some(client)),
                Err(error) => error,
            };
            match error.raw_os_error().map(Errno::from_raw_os_error) {
                Some(Errno::AGAIN) => return Ok(None),
                Some(
                    Errno::INTR
                    | Errno::CONNABORTED
                    | Errno::PROTO
                    | Errno::NETDOWN
                    | Errno::NETUNREACH
                    | Errno::HOSTDOWN
                    | Errno::HOSTUNREACH
                    | Errno::NOPROTOOPT
                    | Errno::PERM
                    | Errno::TIMEDOUT,
                ) => {}
                _ => return Err(error),
            }
        }
        Ok(None) // those that are left are reported again in the next turn
    }

    fn accept_one(&self, options: SocketOptions) -> io::Result<(TcpStream, SocketAddr)> {
        if self.native {
            return accept_native(&self.socket);
        }
        let (stream, address) = self.socket.accept()?;
        stream.set_nonblocking(true)?;
        // A client that is gone already refuses options; reading from it will tell why.
        let _ = options.apply(&SockRef::from(&stream));
        Ok((stream, address))
    }

    /// See [`Listener::drop_new_connections`](crate::Listener::drop_new_connections).
    pub(crate) fn drop_new_connections(&self) -> io::Result<()> {
        #[cfg(target_os = "linux")]
        return drop_syns(&SockRef::from(&*self.socket));
        #[cfg(not(target_os = "linux"))]
        return Err(io::ErrorKind::Unsupported.into());
    }
}

/// Whether this system has accept4(2) and lets connections inherit options. Tests run the portable way on
/// such a system, too.
const NATIVE: bool = cfg!(all(target_os = "linux", not(portable)));

/// One system call, with accept4(2).
#[cfg(target_os = "linux")]
fn accept_native(listener: &TcpListener) -> io::Result<(TcpStream, SocketAddr)> {
    use rustix::net::{SocketFlags, acceptfrom_with};
    let (fd, address) = acceptfrom_with(listener, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC)?;
    let address = address.and_then(|any| SocketAddr::try_from(any).ok());
    match address {
        Some(address) => Ok((fd.into(), address)),
        None => Err(Errno::CONNABORTED.into()), // the client is gone, and its address with it
    }
}

#[cfg(not(target_os = "linux"))]
fn accept_native(listener: &TcpListener) -> io::Result<(TcpStream, SocketAddr)> {
    listener.accept()
}

/// Drops each SYN that reaches this listening socket, and lets all other segments pass: a client whose SYN
/// has been answered gets into the queue. A filter sees a segment from the TCP header on (socket(7),
/// `SO_ATTACH_FILTER`).
#[cfg(target_os = "linux")]
fn drop_syns(socket: &SockRef<'_>) -> io::Result<()> {
    use socket2::SockFilter;
    const LOAD_BYTE: u16 = 0x30; // BPF_LD | BPF_B | BPF_ABS
    const AND: u16 = 0x54; // BPF_ALU | BPF_AND | BPF_K
    const JUMP_IF_EQUAL: u16 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
    const RETURN: u16 = 0x06; // BPF_RET | BPF_K
    const FLAGS: u32 = 13; // the byte of the header that has them
    const SYN: u32 = 0x02;
    const ACK: u32 = 0x10;
    socket.attach_filter(&[
        SockFilter::new(LOAD_BYTE, 0, 0, FLAGS),
        SockFilter::new(AND, 0, 0, SYN | ACK),
        SockFilter::new(JUMP_IF_EQUAL, 0, 1, SYN),
        SockFilter::new(RETURN, 0, 0, 0),
        SockFilter::new(RETURN, 0, 0, u32::MAX),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{ErrorKind, Read};
    use std::time::Duration;

    #[test]
    fn accepted_connections_are_alike_with_and_without_what_only_linux_has() {
        let options = SocketOptions {
            no_delay: true,
            keepalive: Some(Duration::from_secs(42)),
            buffer_size: Some(65_536),
        };
        for native in [NATIVE, false] {
            let socket = TcpListener::bind("127.0.0.1:0").unwrap();
            let listening = if native {
                ListenSocket::new(socket, options).unwrap()
            } else {
                // As on a system where nothing is inherited.
                ListenSocket { socket: Source::wrap(socket).unwrap(), native }
            };
            let client = TcpStream::connect(listening.socket.local_addr().unwrap()).unwrap();
            let (stream, address) = listening.accept_one(options).unwrap();
            assert_eq!(address, client.local_addr().unwrap());
            assert_eq!((&stream).read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
            assert!(stream.nodelay().unwrap());
            let socket = SockRef::from(&stream);
            assert_eq!(socket.linger().unwrap(), Some(Duration::ZERO));
            assert_eq!(socket.send_buffer_size().unwrap(), 65_536);
            assert_eq!(socket.recv_buffer_size().unwrap(), 65_536);
            assert!(socket.keepalive().unwrap() && socket.out_of_band_inline().unwrap());
            assert_eq!(socket.tcp_keepalive_time().unwrap(), Duration::from_secs(42));
            assert_eq!(listening.accept_one(options).unwrap_err().kind(), ErrorKind::WouldBlock);
        }
    }
}
