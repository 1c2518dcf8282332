//! From the addresses of a connection to its header.

use std::net::{IpAddr, SocketAddr};

use super::parse::SIGNATURE;
use crate::ProxyProtocol;

/// The header for a client at `source` that has connected to `destination`.
///
/// Addresses of two families cannot be announced. The header then leaves the connection its own addresses
/// (`UNKNOWN` in version 1, `LOCAL` in version 2).
#[must_use]
pub fn encode(version: ProxyProtocol, source: SocketAddr, destination: SocketAddr) -> Vec<u8> {
    let ports = (source.port(), destination.port());
    match (version, source.ip(), destination.ip()) {
        (ProxyProtocol::V1, IpAddr::V4(from), IpAddr::V4(to)) => line("TCP4", from, to, ports),
        (ProxyProtocol::V1, IpAddr::V6(from), IpAddr::V6(to)) => line("TCP6", from, to, ports),
        (ProxyProtocol::V1, ..) => b"PROXY UNKNOWN\r\n".to_vec(),
        (ProxyProtocol::V2, IpAddr::V4(from), IpAddr::V4(to)) => {
            binary(0x11, from.octets(), to.octets(), ports)
        }
        (ProxyProtocol::V2, IpAddr::V6(from), IpAddr::V6(to)) => {
            binary(0x21, from.octets(), to.octets(), ports)
        }
        (ProxyProtocol::V2, ..) => [SIGNATURE.as_slice(), b"\x20\0\0\0"].concat(),
    }
}

fn line<Ip: std::fmt::Display>(protocol: &str, from: Ip, to: Ip, ports: (u16, u16)) -> Vec<u8> {
    format!("PROXY {protocol} {from} {to} {} {}\r\n", ports.0, ports.1).into_bytes()
}

fn binary<const BYTES: usize>(
    family: u8,
    from: [u8; BYTES],
    to: [u8; BYTES],
    (from_port, to_port): (u16, u16),
) -> Vec<u8> {
    let block = [&from[..], &to, &from_port.to_be_bytes(), &to_port.to_be_bytes()].concat();
    let length = u8::try_from(block.len()).expect("36 bytes at most");
    [SIGNATURE, &[0x21, family, 0, length][..], &block].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operations::proxy_protocol::{Announced, HeaderParser, Parsed};

    fn header(version: ProxyProtocol, source: &str, destination: &str) -> Vec<u8> {
        encode(version, source.parse().unwrap(), destination.parse().unwrap())
    }

    /// The examples of the specification's grammar, by hand.
    #[test]
    fn headers_are_as_specified() {
        assert_eq!(
            header(ProxyProtocol::V1, "192.0.2.1:40000", "198.51.100.7:443"),
            b"PROXY TCP4 192.0.2.1 198.51.100.7 40000 443\r\n"
        );
        assert_eq!(
            header(ProxyProtocol::V1, "[2001:db8::1]:1", "[2001:db8::2]:65535"),
            b"PROXY TCP6 2001:db8::1 2001:db8::2 1 65535\r\n"
        );
        assert_eq!(
            header(ProxyProtocol::V2, "192.0.2.1:40000", "198.51.100.7:443"),
            b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x01\xc6\x33\x64\x07\x9c\x40\x01\xbb"
        );
        let v6 = header(ProxyProtocol::V2, "[2001:db8::1]:1", "[2001:db8::2]:2");
        assert_eq!((&v6[12..16], v6.len()), (&b"\x21\x21\0\x24"[..], 16 + 36));
    }

    #[test]
    fn a_pair_that_cannot_be_announced_is_not() {
        assert_eq!(header(ProxyProtocol::V1, "192.0.2.1:1", "[::1]:2"), b"PROXY UNKNOWN\r\n");
        let local = header(ProxyProtocol::V2, "192.0.2.1:1", "[::1]:2");
        assert_eq!(&local[12..], b"\x20\0\0\0");
    }

    #[test]
    fn what_is_written_is_read_as_it_was() {
        for version in [ProxyProtocol::V1, ProxyProtocol::V2] {
            for (source, destination) in [
                ("0.0.0.0:0", "255.255.255.255:65535"),
                ("[::]:0", "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535"),
                ("[::ffff:192.0.2.1]:1", "[1::]:10"),
            ] {
                let header = header(version, source, destination);
                let parsed = HeaderParser::new().advance(&header);
                let [source, destination] = [source, destination].map(|text| text.parse().unwrap());
                let announced = Some(Announced { source, destination });
                assert_eq!(parsed, Ok(Parsed::Complete { taken: header.len(), announced }));
            }
        }
    }
}
