//! Whether a connection to an address would come back to the proxy itself.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};

use rustix::net::sockopt::ipv6_v6only;

/// An address on which the proxy listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ListenAddress {
    pub(crate) address: SocketAddr,
    /// Whether an unspecified IPv6 address takes IPv6 clients alone (`IPV6_V6ONLY`, ipv6(7)).
    only_v6: bool,
}

impl ListenAddress {
    /// Of a socket that listens.
    pub(crate) fn of(socket: &TcpListener) -> io::Result<Self> {
        let address = socket.local_addr()?;
        Ok(Self { address, only_v6: address.is_ipv6() && ipv6_v6only(socket)? })
    }

    /// Of a socket that takes IPv4 clients, too, if the address is unspecified.
    pub(crate) fn dual_stack(address: SocketAddr) -> Self {
        Self { address, only_v6: false }
    }

    /// Whether a connection to `address` would be accepted here.
    pub(crate) fn is_reached_by(&self, address: SocketAddr) -> bool {
        if address.port() != self.address.port() {
            return false;
        }
        let (own, ip) = (self.address.ip().to_canonical(), reached(address.ip()));
        let takes_family = own.is_ipv4() == ip.is_ipv4() || own.is_ipv6() && !self.only_v6;
        own == ip || own.is_unspecified() && takes_family && is_local(ip)
    }
}

/// Where a connection to this address leads: to an unspecified address it goes over loopback.
fn reached(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    }
}

/// Whether this machine has the address. The kernel takes an address of the machine as the source of what is sent to
/// it; connecting a datagram socket sends nothing.
fn is_local(ip: IpAddr) -> bool {
    let source = || -> io::Result<IpAddr> {
        let any: IpAddr =
            if ip.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let socket = UdpSocket::bind((any, 0))?;
        socket.connect((ip, 9))?;
        Ok(socket.local_addr()?.ip())
    };
    ip.is_loopback() || source().is_ok_and(|source| source == ip)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_addresses_that_lead_back_to_a_listening_socket_are_found() {
        for (listening, only_v6, address, own) in [
            ("127.0.0.1:80", false, "127.0.0.1:80", true),
            ("127.0.0.1:80", false, "127.0.0.1:81", false),
            ("127.0.0.1:80", false, "127.0.0.2:80", false),
            ("127.0.0.1:80", false, "0.0.0.0:80", true),
            ("127.0.0.1:80", false, "[::ffff:127.0.0.1]:80", true),
            ("127.0.0.1:80", false, "[::1]:80", false),
            ("0.0.0.0:80", false, "127.0.0.2:80", true),
            ("0.0.0.0:80", false, "[::1]:80", false),
            ("0.0.0.0:80", false, "192.0.2.1:80", false),
            ("[::]:80", false, "127.0.0.1:80", true),
            ("[::]:80", false, "[::]:80", true),
            ("[::]:80", false, "[::1]:80", true),
            ("[::]:80", true, "127.0.0.1:80", false),
            ("[::]:80", true, "[::1]:80", true),
            ("[::1]:80", false, "[::]:80", true),
            ("[::1]:80", false, "127.0.0.1:80", false),
        ] {
            let socket = ListenAddress { address: listening.parse().unwrap(), only_v6 };
            assert_eq!(
                socket.is_reached_by(address.parse().unwrap()),
                own,
                "{listening} {only_v6} {address}"
            );
        }
    }

    #[test]
    fn an_address_of_this_machine_beyond_loopback_is_local() {
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        if socket.connect("192.0.2.1:9").is_ok() {
            let own = socket.local_addr().unwrap().ip();
            assert!(is_local(own), "{own}");
        }
        assert!(!is_local("192.0.2.1".parse().unwrap()));
    }
}
