//! Which clients may connect.

use std::net::IpAddr;

use ipnet::IpNet;

/// Whether a client from this address is admitted: it is in one of the networks, or there is none.
///
/// The address that a connection comes from counts, also if a PROXY header in it names another client: such a header can
/// say anything, and this list is what makes it credible.
pub(crate) fn admits(networks: &[IpNet], ip: IpAddr) -> bool {
    networks.is_empty() || networks.iter().any(|network| network.contains(&ip))
}

/// Understands a network, such as `10.0.0.0/8` or `2001:db8::/32`, or a single address.
///
/// # Errors
///
/// What is wrong with it.
pub(crate) fn network(text: &str) -> Result<IpNet, String> {
    let network = match text.parse() {
        Ok(ip) => IpNet::new_assert(ip, if ip.is_ipv4() { 32 } else { 128 }),
        Err(_) => text.parse::<IpNet>().map_err(|_| {
            "it must be a network such as 192.0.2.0/24 or 2001:db8::/32, or an address".to_owned()
        })?,
    };
    let proper = network.trunc();
    if let (IpAddr::V6(ip), true) = (proper.addr(), proper.prefix_len() >= 96)
        && let Some(ip) = ip.to_ipv4_mapped()
    {
        return Err(format!("IPv4 clients have IPv4 addresses: {ip}/{}", proper.prefix_len() - 96));
    }
    if network != proper {
        return Err(format!("it has bits beyond its prefix; the network is {proper}"));
    }
    Ok(network)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admits(networks: &[&str], ip: &str) -> bool {
        let networks: Vec<IpNet> = networks.iter().map(|text| network(text).unwrap()).collect();
        super::admits(&networks, ip.parse().unwrap())
    }

    #[test]
    fn a_client_in_one_of_the_networks_is_admitted() {
        let networks = ["192.0.2.0/24", "2001:db8::/32", "198.51.100.7", "::1"];
        for (ip, admitted) in [
            ("192.0.2.0", true),
            ("192.0.2.255", true),
            ("192.0.3.0", false),
            ("198.51.100.7", true),
            ("198.51.100.8", false),
            ("2001:db8:ffff::1", true),
            ("2001:db9::1", false),
            ("::1", true),
            ("::2", false),
        ] {
            assert_eq!(admits(&networks, ip), admitted, "{ip}");
        }
    }

    #[test]
    fn an_empty_list_admits_every_client() {
        assert!(admits(&[], "192.0.2.1"));
    }

    #[test]
    fn every_address_is_in_a_network_without_a_prefix() {
        assert!(admits(&["0.0.0.0/0"], "203.0.113.1"));
        assert!(!admits(&["0.0.0.0/0"], "2001:db8::1"), "of the same family");
    }

    #[test]
    fn nonsense_is_distinguished_from_networks() {
        for (text, reason) in [
            ("", "must be a network"),
            ("example.org", "must be a network"),
            ("10.0.0.0/33", "must be a network"),
            ("10.0.0/8", "must be a network"),
            ("10.0.0.0/255.0.0.0", "must be a network"),
            ("10.1.2.3/8", "the network is 10.0.0.0/8"),
            ("2001:db8::1/32", "the network is 2001:db8::/32"),
            ("::ffff:10.0.0.0/104", "IPv4 clients have IPv4 addresses: 10.0.0.0/8"),
            ("::ffff:10.0.0.1", "IPv4 clients have IPv4 addresses: 10.0.0.1/32"),
        ] {
            let error = network(text).unwrap_err();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }
}
