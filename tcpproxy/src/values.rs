//! The values of options: from words to what they mean.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytesize::ByteSize;
use eventloop::literal;

/// Where to listen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ServerPort {
    Number(u16),
    /// On sockets that are passed.
    Passed,
}

pub(crate) fn remote_port(text: &str) -> Result<u16, &'static str> {
    text.parse().ok().filter(|&port| port > 0).ok_or("it must be from 1 to 65535")
}

/// 0 is no limit.
pub(crate) fn max_clients(text: &str) -> Result<Option<usize>, &'static str> {
    let max: usize = text.parse().map_err(|_| "it must be a whole number, 0 or more")?;
    Ok((max > 0).then_some(max))
}

pub(crate) fn max_per_address(text: &str) -> Result<usize, &'static str> {
    text.parse().ok().filter(|&max| max > 0).ok_or("it must be a whole number, 1 or more")
}

pub(crate) fn server_port(text: &str) -> Result<ServerPort, String> {
    match text {
        "-" => Ok(ServerPort::Passed),
        _ => text.parse().map(ServerPort::Number).map_err(|_| "it must be from 0 to 65535, or -".to_owned()),
    }
}

pub(crate) fn bind_address(text: &str) -> Result<SocketAddr, String> {
    literal(text, 0).ok_or("it must be an address, such as 127.0.0.1, ::1 or fe80::1%eth0".to_owned())
}

pub(crate) fn metrics_address(text: &str) -> Result<SocketAddr, String> {
    let parts = text.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse().ok()?)));
    parts
        .filter(|(host, _)| !host.contains(':') || host.starts_with('['))
        .and_then(|(host, port)| literal(host, port))
        .ok_or("it must be an address and a port, such as 127.0.0.1:9090 or [::1]:9090".to_owned())
}

pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    duration_or_off(text)?.ok_or("it must be longer than 0".to_owned())
}

/// 0 is off.
pub(crate) fn duration_or_off(text: &str) -> Result<Option<Duration>, String> {
    duration_or_none(text).map(|duration| (!duration.is_zero()).then_some(duration))
}

/// A year is as good as for ever, and can be added to any point in time.
pub(crate) fn duration_or_none(text: &str) -> Result<Duration, String> {
    let longest = Duration::from_secs(366 * 24 * 3600);
    match humantime::parse_duration(text) {
        Ok(duration) if duration <= longest => Ok(duration),
        Ok(_) => Err("it must be at most a year".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// Linux rejects more than 32767 seconds, which are nine hours and six minutes (`TCP_KEEPIDLE`, tcp(7)).
pub(crate) fn keepalive(text: &str) -> Result<Option<Duration>, String> {
    match duration_or_off(text)? {
        Some(duration) if duration > Duration::from_secs(9 * 3600) => Err("it must be at most 9h".to_owned()),
        keepalive => Ok(keepalive),
    }
}

/// A number beyond a gigabyte is taken for a typing error.
pub(crate) fn buffer_size(text: &str) -> Result<usize, String> {
    match size(text)? {
        size @ 1..=0x4000_0000 => Ok(size),
        _ => Err("it must be from 1 byte to 1GiB".to_owned()),
    }
}

/// Linux gives a socket some thousand bytes at least.
pub(crate) fn socket_buffer(text: &str) -> Result<usize, String> {
    match size(text)? {
        size @ 0x2000..=0x4000_0000 => Ok(size),
        _ => Err("it must be from 8KiB to 1GiB".to_owned()),
    }
}

fn size(text: &str) -> Result<usize, String> {
    let ByteSize(size) =
        text.parse().map_err(|_| "it must be a number, with a unit such as KiB".to_owned())?;
    Ok(usize::try_from(size).unwrap_or(usize::MAX))
}

/// An address that a machine can have for itself.
pub(crate) fn source(text: &str) -> Result<IpAddr, String> {
    match text.parse::<IpAddr>().map(|address| address.to_canonical()) {
        Ok(address) if !address.is_unspecified() && !address.is_multicast() => Ok(address),
        _ => Err("it must be an IPv4 or IPv6 address of this machine".to_owned()),
    }
}
