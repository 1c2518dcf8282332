//! The local addresses of connections to the server (`--source`).

use std::cell::Cell;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};

use eventloop::ConnectOptions;

/// The local addresses of connections to the server, taken in turn. Each has its own range of local ports.
#[derive(Debug)]
pub(super) struct Sources {
    v4: Vec<Ipv4Addr>,
    v6: Vec<Ipv6Addr>,
    turn: Cell<usize>,
}

impl Sources {
    /// None: the kernel chooses.
    pub(super) fn new(addresses: &[IpAddr]) -> Self {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for address in addresses {
            match address {
                IpAddr::V4(address) => v4.push(*address),
                IpAddr::V6(address) => v6.push(*address),
            }
        }
        Self { v4, v6, turn: Cell::new(0) }
    }

    /// Whether a server at `address` can be reached: from an address of its own family alone.
    pub(super) fn reach(&self, address: &SocketAddr) -> bool {
        let unlimited = self.v4.is_empty() && self.v6.is_empty();
        unlimited || !if address.is_ipv4() { self.v4.is_empty() } else { self.v6.is_empty() }
    }

    /// The options of the next connection.
    pub(super) fn apply(&self, options: ConnectOptions) -> ConnectOptions {
        let turn = self.turn.replace(self.turn.get().wrapping_add(1));
        ConnectOptions { source_v4: in_turn(&self.v4, turn), source_v6: in_turn(&self.v6, turn), ..options }
    }
}

fn in_turn<T: Copy>(addresses: &[T], turn: usize) -> Option<T> {
    (!addresses.is_empty()).then(|| addresses[turn % addresses.len()])
}

/// Checks that connections can be made from `address`.
///
/// # Errors
///
/// What bind(2) reports, such as `AddrNotAvailable` for an address of another machine.
pub(crate) fn check_source(address: IpAddr) -> io::Result<()> {
    TcpListener::bind((address, 0)).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources(addresses: &[&str]) -> Sources {
        Sources::new(&addresses.iter().map(|address| address.parse().unwrap()).collect::<Vec<_>>())
    }

    #[test]
    fn sources_take_turns_in_each_family() {
        let sources = sources(&["192.0.2.1", "2001:db8::1", "192.0.2.2"]);
        let chosen: Vec<String> = (0..4)
            .map(|_| sources.apply(ConnectOptions::default()))
            .map(|options| format!("{} {}", options.source_v4.unwrap(), options.source_v6.unwrap()))
            .collect();
        let [one, two] = ["192.0.2.1 2001:db8::1", "192.0.2.2 2001:db8::1"];
        assert_eq!(chosen, [one, two, one, two]);
    }

    #[test]
    fn a_server_of_a_family_without_a_source_is_not_reached_from_one_that_the_kernel_chooses() {
        let (four, six) = ("192.0.2.1:80".parse().unwrap(), "[2001:db8::1]:80".parse().unwrap());
        for (sources, reached) in [
            (sources(&[]), [true, true]),
            (sources(&["192.0.2.1"]), [true, false]),
            (sources(&["::1"]), [false, true]),
            (sources(&["::1", "192.0.2.1"]), [true, true]),
        ] {
            assert_eq!([sources.reach(&four), sources.reach(&six)], reached, "{sources:?}");
        }
        assert_eq!(sources(&[]).apply(ConnectOptions::default()), ConnectOptions::default());
    }
}
