use std::io;
use std::net::{Ipv6Addr, SocketAddr, TcpListener};
use std::ops::Range;

use rand::RngExt;

/// Below the ports the kernel gives to clients by default (`ip_local_port_range`), so that no connection takes one
/// between the look and the use.
const PORTS: Range<u16> = 20_000..32_000;

/// A port nobody listens on at this moment, for a proxy that cannot choose one by itself.
///
/// Another process may take it before it is used; a proxy that can choose its own port, as with `server_port 0`, is
/// better off.
///
/// # Errors
///
/// Those of bind(2), when every attempt failed.
pub fn free_port() -> io::Result<u16> {
    let attempts = 100;
    let mut outcome = Err(io::ErrorKind::AddrInUse.into());
    for _ in 0..attempts {
        let port = rand::rng().random_range(PORTS);
        outcome = try_port(port).map(|()| port);
        if outcome.is_ok() {
            break;
        }
    }
    outcome
}

fn try_port(port: u16) -> io::Result<()> {
    // Bound to every address of both families, where there is IPv6.
    match TcpListener::bind(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => Err(error),
        Err(_) => TcpListener::bind(("0.0.0.0", port)).map(|_| ()),
    }
}
