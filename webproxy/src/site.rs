//! Which addresses belong to one host.

use std::net::{IpAddr, Ipv6Addr};

/// The address that counts: of IPv6 the first 64 bits, as a host has all addresses that begin with them (RFC 4291,
/// section 2.5.4).
pub(crate) fn site(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(address) if !address.is_loopback() => {
            Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into()
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_has_all_ipv6_addresses_with_the_same_first_half() {
        let site = |address: &str| site(address.parse().unwrap());
        assert_eq!(site("2001:db8::1"), site("2001:db8::2"));
        assert_ne!(site("2001:db8::1"), site("2001:db8:0:1::1"));
        assert_ne!(site("192.0.2.1"), site("192.0.2.2"));
    }
}
