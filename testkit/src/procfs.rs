//! What Linux tells about sockets and processes under `/proc`, see proc(5).

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

/// `LISTEN` in the `st` column, see `enum` in the kernel's `tcp_states.h`.
const LISTEN: u8 = 10;

/// Clock ticks a second in `/proc/PID/stat`: 100 on every architecture Rust's standard library runs on.
const TICKS_A_SECOND: u64 = 100;

/// Whether some socket of this network namespace listens on this port, on any address.
///
/// Unlike a connection attempt this is seen by nobody.
///
/// # Errors
///
/// When the tables cannot be read.
pub(crate) fn is_listening(port: u16) -> io::Result<bool> {
    Ok(tcp_sockets()?.any(|socket| socket.state == LISTEN && socket.local.port() == port))
}

/// How many sent bytes of this connection the other kernel has not acknowledged; a FIN counts as one byte.
///
/// `None` when there is no such connection any more.
///
/// # Errors
///
/// When the tables cannot be read.
pub fn unacknowledged(local: SocketAddr, remote: SocketAddr) -> io::Result<Option<u32>> {
    let mut sockets = tcp_sockets()?;
    Ok(sockets.find(|socket| socket.local == local && socket.remote == remote).map(|socket| socket.tx_queue))
}

/// The processor time a process has used, in user and in kernel mode, all its threads together; in steps of 10 ms.
///
/// # Errors
///
/// When there is no such process.
pub(crate) fn cpu_time(pid: u32) -> io::Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The second field is the name in parentheses, which may hold blanks: count fields from behind it.
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let mut fields = after_name.split_ascii_whitespace().skip(11).map(str::parse::<u64>);
    match (fields.next(), fields.next()) {
        (Some(Ok(user)), Some(Ok(system))) => {
            Ok(Duration::from_millis((user + system) * (1000 / TICKS_A_SECOND)))
        }
        _ => Err(unexpected(&format!("/proc/{pid}/stat"), &stat)),
    }
}

/// The resident memory of a process in bytes.
///
/// # Errors
///
/// When there is no such process.
pub(crate) fn resident(pid: u32) -> io::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let kibibytes = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .and_then(|value| value.trim().strip_suffix("kB"))
        .and_then(|value| value.trim().parse::<u64>().ok());
    kibibytes.map(|value| value * 1024).ok_or_else(|| unexpected(&format!("/proc/{pid}/status"), &status))
}

/// How many descriptors a process has open.
///
/// # Errors
///
/// When there is no such process.
pub(crate) fn descriptors(pid: u32) -> io::Result<usize> {
    Ok(fs::read_dir(format!("/proc/{pid}/fd"))?.count())
}

/// One row of `/proc/net/tcp` or `/proc/net/tcp6`.
struct TcpSocket {
    local: SocketAddr,
    remote: SocketAddr,
    state: u8,
    tx_queue: u32,
}

fn tcp_sockets() -> io::Result<impl Iterator<Item = TcpSocket>> {
    let mut table = fs::read_to_string("/proc/net/tcp")?;
    // A kernel without IPv6 has no such file.
    table += &fs::read_to_string("/proc/net/tcp6").unwrap_or_default();
    let rows: Vec<_> = table.lines().filter_map(parse_row).collect();
    Ok(rows.into_iter())
}

/// A row of the table; `None` for the header.
fn parse_row(line: &str) -> Option<TcpSocket> {
    let mut fields = line.split_ascii_whitespace().skip(1);
    Some(TcpSocket {
        local: parse_address(fields.next()?)?,
        remote: parse_address(fields.next()?)?,
        state: u8::from_str_radix(fields.next()?, 16).ok()?,
        tx_queue: u32::from_str_radix(fields.next()?.split_once(':')?.0, 16).ok()?,
    })
}

/// An address as the kernel prints it: words of 32 bits in the byte order of the machine, then the port as a number.
fn parse_address(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let mut bytes = [0; 16];
    for (word, out) in address.as_bytes().chunks(8).zip(bytes.chunks_exact_mut(4)) {
        let word = u32::from_str_radix(str::from_utf8(word).ok()?, 16).ok()?;
        out.copy_from_slice(&word.to_ne_bytes());
    }
    let ip = match address.len() {
        8 => IpAddr::V4(Ipv4Addr::from(*bytes.first_chunk::<4>()?)),
        32 => IpAddr::V6(Ipv6Addr::from(bytes)),
        _ => return None,
    };
    Some(SocketAddr::new(ip, u16::from_str_radix(port, 16).ok()?))
}

fn unexpected(file: &str, text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{file} does not look like it should: {text:?}"))
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::{TcpListener, TcpStream};

    use super::*;
    use crate::peer::Refusing;

    #[test]
    fn a_listener_is_seen_and_a_bound_socket_is_not() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let listener = TcpListener::bind(address).unwrap();
            let port = listener.local_addr().unwrap().port();
            assert!(is_listening(port).unwrap());
        }
        let bound = Refusing::new().unwrap();
        assert!(!is_listening(bound.address().port()).unwrap());
    }

    #[test]
    fn bytes_the_other_side_has_no_room_for_stay_unacknowledged() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let listener = TcpListener::bind(address).unwrap();
            let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (local, remote) = (client.local_addr().unwrap(), client.peer_addr().unwrap());
            assert_eq!(unacknowledged(local, remote).unwrap(), Some(0));

            client.set_nonblocking(true).unwrap();
            while client.write(&[0; 65536]).is_ok() {}
            assert!(unacknowledged(local, remote).unwrap().unwrap() > 0);
            assert_eq!(unacknowledged(local, local).unwrap(), None);
        }
    }

    #[test]
    fn this_process_has_memory_and_descriptors() {
        let pid = std::process::id();
        assert!(resident(pid).unwrap() > 100_000);
        assert!(descriptors(pid).unwrap() >= 3);
        assert!(cpu_time(pid).unwrap() < Duration::from_secs(3600));
        assert!(cpu_time(0).is_err());
    }
}
