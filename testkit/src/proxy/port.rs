use std::io;
use std::iter::Cycle;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::Range;
use std::sync::{LazyLock, Mutex};

use rand::RngExt;
use socket2::{Domain, Socket, Type};

/// Below the ports the kernel gives to clients by default (`ip_local_port_range`), so that no connection takes one
/// between the look and the use.
const PORTS: Range<u16> = 20_000..32_000;

/// How many ports are tried.
const ATTEMPTS: usize = 100;

/// A port without a listener at this moment, and without an earlier connection in `TIME_WAIT`, for a proxy that cannot
/// choose one by itself. A program gets each port once, until it has had them all: proxies that it starts at the same time
/// have different ones.
///
/// Another process may take it before it is used; a proxy that can choose its own port, as with `server_port 0`, is
/// better off.
///
/// # Errors
///
/// Those of bind(2), when every attempt failed.
pub fn free_port() -> io::Result<u16> {
    static CANDIDATES: LazyLock<Mutex<Cycle<Range<u16>>>> = LazyLock::new(|| {
        let mut candidates = PORTS.cycle();
        // Programs that run at the same time begin at different ports.
        candidates.nth(rand::rng().random_range(0..PORTS.len()));
        Mutex::new(candidates)
    });
    let mut outcome = Err(io::ErrorKind::AddrInUse.into());
    for _ in 0..ATTEMPTS {
        let port = CANDIDATES.lock().expect("an iterator over numbers does not panic").next();
        let port = port.expect("a cycle has no end");
        outcome = try_port(port).map(|()| port);
        if outcome.is_ok() {
            break;
        }
    }
    outcome
}

/// Binds to every address of both families, where there is IPv6.
///
/// The socket never listens: a process that is just being started has a copy of it until it executes its program, and a
/// copy that listens would keep the port from the caller.
fn try_port(port: u16) -> io::Result<()> {
    match bind((Ipv6Addr::UNSPECIFIED, port).into()) {
        Err(error) if error.kind() != io::ErrorKind::AddrInUse => bind((Ipv4Addr::UNSPECIFIED, port).into()),
        outcome => outcome,
    }
}

fn bind(address: SocketAddr) -> io::Result<()> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.bind(&address.into())?;
    // Otherwise the copy of a process that is being started keeps the port from the caller.
    socket.set_reuse_address(true)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::net::TcpListener;
    use std::process::Command;
    use std::thread;

    use super::*;
    use crate::peer::{Listener, PeerOptions, Refuser};

    #[test]
    fn no_port_is_given_twice() {
        let ports: HashSet<_> = (0..500).map(|_| free_port().unwrap()).collect();
        assert_eq!(ports.len(), 500);
    }

    #[test]
    fn a_port_that_is_held_is_given_to_no_proxy_and_may_be_listened_on() {
        let held = Refuser::at((Ipv4Addr::LOCALHOST, free_port().unwrap()).into()).unwrap();
        assert!(try_port(held.address().port()).is_err());
        let _listener = Listener::bind_to(held.address(), PeerOptions::default()).unwrap();
    }

    /// A new process has copies of all sockets until it executes its program.
    #[test]
    fn a_free_port_can_be_listened_on_although_other_processes_are_started_meanwhile() {
        let mut refused = 0;
        thread::scope(|scope| {
            let starts = scope.spawn(|| {
                for _ in 0..200 {
                    Command::new("true").status().unwrap();
                }
            });
            while !starts.is_finished() {
                refused += i32::from(TcpListener::bind(("0.0.0.0", free_port().unwrap())).is_err());
            }
        });
        assert_eq!(refused, 0);
    }
}
