//! The address of the client: read from a balancer before anything else, and sent to the server before anything else.

#![allow(clippy::unwrap_used)] // a test that cannot go on says so by failing

mod stage;

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv6Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use stage::{End, PATIENCE, Stage, counting, fin, reset};
use tcpproxy::{Config, ProxyProtocol};
use testkit::peer::BlackHole;
use testkit::replay::at_once;

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

fn announcing(version: ProxyProtocol, buffer_size: usize) -> Stage {
    Stage::with(|config| Config { proxy_protocol: Some(version), buffer_size, ..config })
}

/// The header of a connection as the specification words it.
fn header(version: ProxyProtocol, client: &TcpStream) -> Vec<u8> {
    let (source, destination) = (client.local_addr().unwrap(), client.peer_addr().unwrap());
    let ports = [source.port(), destination.port()];
    match (version, source, destination) {
        (ProxyProtocol::V1, ..) => {
            let family = if source.is_ipv4() { "TCP4" } else { "TCP6" };
            let [from, to] = ports;
            format!("PROXY {family} {} {} {from} {to}\r\n", source.ip(), destination.ip()).into_bytes()
        }
        (ProxyProtocol::V2, SocketAddr::V4(source), SocketAddr::V4(destination)) => {
            let ips = [source.ip().octets(), destination.ip().octets()].concat();
            [SIGNATURE, b"\x21\x11\0\x0c", &ips, &ports.map(u16::to_be_bytes).concat()].concat()
        }
        (ProxyProtocol::V2, SocketAddr::V6(source), SocketAddr::V6(destination)) => {
            let ips = [source.ip().octets(), destination.ip().octets()].concat();
            [SIGNATURE, b"\x21\x21\0\x24", &ips, &ports.map(u16::to_be_bytes).concat()].concat()
        }
        _ => panic!("{source} and {destination} are of two families"),
    }
}

#[test]
fn the_header_comes_first_and_whole_whatever_the_version_the_family_and_the_buffer() {
    let versions = [ProxyProtocol::V1, ProxyProtocol::V2];
    let connects: [fn(&Stage) -> TcpStream; 2] = [Stage::client, Stage::client_over_ipv6];
    let cases = versions.into_iter().flat_map(|version| connects.map(|connect| (version, connect)));
    at_once(cases, |(version, connect)| {
        for buffer_size in [1, 7, 256 * 1024] {
            let mut stage = announcing(version, buffer_size);
            let client = connect(&stage);
            stage.send(&client, &counting(0, 1000));
            fin(&client);
            let server = stage.accept();
            let expected = [header(version, &client), counting(0, 1000)].concat();
            assert_eq!(stage.drain(&server), (expected, End::Fin), "{version:?} {buffer_size}");
            stage.carry_to_end(&server, &client, b"answer");
            stage.until_over();
            let statistics = stage.proxy.statistics();
            assert_eq!((statistics.up, statistics.down), (1000, 6), "the header is not the client's");
        }
    });
}

#[test]
fn a_server_that_speaks_first_gets_the_header_of_a_silent_client() {
    let mut stage = announcing(ProxyProtocol::V1, 1000);
    let (client, server) = stage.session();
    let expected = header(ProxyProtocol::V1, &client);
    assert_eq!(stage.receive(&server, expected.len()), expected);
    stage.carry(&server, &client, b"220 ready");
    stage.assert_quiet();
}

#[test]
fn what_waited_for_the_server_follows_the_header() {
    let hole = BlackHole::new().unwrap();
    let mut stage = Stage::with(|config| Config {
        remote_port: hole.address().port(),
        proxy_protocol: Some(ProxyProtocol::V2),
        buffer_size: 10,
        ..config
    });
    let client = stage.client();
    stage.send(&client, b"more than fits into the ring");
    fin(&client);
    stage.assert_quiet();
    stage.origin = hole.open().unwrap();
    let server = stage.accept();
    let expected = [header(ProxyProtocol::V2, &client), b"more than fits into the ring".to_vec()].concat();
    assert_eq!(stage.drain(&server), (expected, End::Fin));
}

/// A proxy between two that speak the protocol: what it has understood shows in what it tells the server.
fn between(buffer_size: usize) -> Stage {
    Stage::with(|config| Config {
        accept_proxy_protocol: true,
        proxy_protocol: Some(ProxyProtocol::V1),
        max_clients: Some(4),
        buffer_size,
        ..config
    })
}

/// Headers and what they say, in text.
fn headers() -> [(Vec<u8>, &'static str); 4] {
    let four = "PROXY TCP4 192.0.2.1 198.51.100.7 80 443\r\n";
    let six = "PROXY TCP6 2001:db8::1 2001:db8::2 80 443\r\n";
    let ips = b"\xc0\0\x02\x01\xc6\x33\x64\x07\0\x50\x01\xbb";
    let ips_six: Vec<u8> =
        ["2001:db8::1", "2001:db8::2"].map(|ip| ip.parse::<Ipv6Addr>().unwrap().octets()).concat();
    [
        (four.into(), four),
        (six.into(), six),
        ([SIGNATURE, b"\x21\x11\0\x0f", ips, b"\x04\0\0"].concat(), four),
        ([SIGNATURE, b"\x21\x21\0\x24", &ips_six, b"\0\x50\x01\xbb"].concat(), six),
    ]
}

#[test]
fn a_header_may_come_split_at_every_byte_and_nothing_after_it_is_taken() {
    let cases =
        [1, 256 * 1024].into_iter().flat_map(|buffer_size| headers().map(|header| (buffer_size, header)));
    at_once(cases, |(buffer_size, (header, said))| {
        let mut stage = between(buffer_size);
        for at in 0..=header.len() {
            let client = stage.client();
            stage.send(&client, &header[..at]);
            stage.settle();
            stage.send(&client, &[&header[at..], b"and the rest"].concat());
            fin(&client);
            let server = stage.accept();
            let expected = [said.as_bytes(), b"and the rest"].concat();
            assert_eq!(stage.drain(&server), (expected, End::Fin), "split at {at}");
            fin(&server);
            assert_eq!(stage.drain(&client), (vec![], End::Fin));
        }
        stage.until_over();
    });
}

#[test]
fn a_header_that_comes_byte_by_byte_wakes_the_proxy_once_for_each() {
    let mut stage = between(1000);
    for (header, said) in headers() {
        let client = stage.client();
        stage.settle();
        for (at, byte) in header.iter().enumerate() {
            stage.send(&client, &[*byte]);
            if at + 1 < header.len() {
                assert_eq!(stage.proxy.turn(Some(PATIENCE)).unwrap(), 1);
                assert_eq!(stage.proxy.turn(Some(Duration::ZERO)).unwrap(), 0, "byte {at}");
            }
        }
        let server = stage.accept();
        assert_eq!(stage.receive(&server, said.len()), said.as_bytes());
        stage.carry(&client, &server, b"x");
        reset(client);
        stage.until_over();
    }
}

#[test]
fn a_header_that_names_no_client_leaves_the_connection_its_own_addresses() {
    let local = [SIGNATURE, b"\x20\0\0\0"].concat();
    for unknown in [b"PROXY UNKNOWN\r\n".to_vec(), b"PROXY UNKNOWN a b c d\r\n".to_vec(), local] {
        let mut stage = between(1000);
        let client = stage.client();
        stage.send(&client, &[&unknown, &b"hello"[..]].concat());
        let server = stage.accept();
        let expected = [header(ProxyProtocol::V1, &client), b"hello".to_vec()].concat();
        assert_eq!(stage.receive(&server, expected.len()), expected);
    }
}

#[test]
fn a_header_of_the_greatest_length_is_accepted_and_what_follows_is_the_clients() {
    let four = "PROXY TCP4 192.0.2.1 198.51.100.7 80 443\r\n";
    let ips = b"\xc0\0\x02\x01\xc6\x33\x64\x07\0\x50\x01\xbb";
    let longest = [SIGNATURE, b"\x21\x11\xff\xff", ips, &[7; 65_535 - 12]].concat();
    let local = [SIGNATURE, b"\x20\x77\x20\0", &[7; 0x2000]].concat();
    at_once([1, 256 * 1024], |buffer_size| {
        let mut stage = between(buffer_size);
        for (sent, said) in [(&longest, Some(four)), (&local, None)] {
            let client = stage.client();
            stage.send(&client, &[&sent[..], b"and the rest"].concat());
            fin(&client);
            let server = stage.accept();
            let said = said.map_or_else(|| header(ProxyProtocol::V1, &client), |said| said.into());
            assert_eq!(stage.drain(&server), ([&said[..], b"and the rest"].concat(), End::Fin));
            fin(&server);
            assert_eq!(stage.drain(&client), (vec![], End::Fin));
        }
        stage.until_over();
    });
}

#[test]
fn what_is_no_header_is_reset_at_once_in_one_segment_and_in_two_and_no_server_is_connected_to() {
    let garbage = [
        &b"GET / HTTP/1.0\r\n\r\n"[..],
        b"\x16\x03\x01\x02\0",
        &[b'P'; 200],
        b"PROXYxTCP4 192.0.2.1 198.51.100.7 80 443\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.7 +1111 443\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.7 01111 443\r\n",
        &[b"PROXY UNKNOWN ".as_slice(), &[b'x'; 92], b"\r\n"].concat(), // 108 bytes
    ];
    at_once(garbage, |garbage| {
        let mut stage = between(1000);
        for at in [0, 1, garbage.len() - 1] {
            let client = stage.client();
            stage.send(&client, &garbage[..at]);
            stage.settle();
            // The first byte may have been enough, and the write reports the error then.
            if (&client).write(&garbage[at..]).is_ok() {
                assert_eq!(stage.drain(&client), (vec![], End::Reset), "{}", garbage.escape_ascii());
            }
        }
        stage.until_over();
        assert!(stage.origin.accept().is_err(), "no connection was made");
    });
}

#[test]
fn a_header_that_does_not_come_is_not_waited_for_beyond_its_time() {
    at_once([&b""[..], b"PROXY TCP4 192.0", b"\r\n\r\n\0\r\nQUIT\n\x21"], |part| {
        let begin = Instant::now();
        let time = Duration::from_millis(200);
        let mut stage =
            Stage::with(|config| Config { accept_proxy_protocol: true, header_timeout: time, ..config });
        let client = stage.client();
        stage.send(&client, part);
        assert_eq!(stage.drain(&client), (vec![], End::Reset));
        assert!(begin.elapsed() >= time, "it has its time");
        stage.until_over();
        assert!(stage.origin.accept().is_err(), "no connection was made");
    });
}

/// The header may take an hour here, so that nothing else makes room.
#[test]
fn clients_that_say_nothing_make_room_one_at_a_time_for_a_client_that_waits() {
    let mut stage = Stage::with(|config| Config {
        accept_proxy_protocol: true,
        header_timeout: Duration::from_secs(3600),
        max_clients: Some(3),
        ..config
    });
    let begun = stage.client();
    stage.send(&begun, b"PROXY TCP4 192.0.2.1");
    let silent = [stage.client(), stage.client()];
    stage.settle();
    assert_eq!(stage.proxy.statistics().active, 3);
    let client = stage.client();
    stage.send(&client, b"PROXY UNKNOWN\r\nhello");
    let server = stage.accept();
    assert_eq!(stage.receive(&server, 5), b"hello");
    assert_eq!(stage.proxy.statistics().active, 3);
    let left: Vec<bool> = silent
        .iter()
        .map(
            |client| matches!((&*client).read(&mut [0]), Err(error) if error.kind() == ErrorKind::WouldBlock),
        )
        .collect();
    assert_eq!(left.iter().filter(|left| **left).count(), 1, "one made room, and the other one stays");
    stage.send(&begun, b" 198.51.100.7 80 443\r\nslow");
    let server = stage.accept();
    assert_eq!(stage.receive(&server, 4), b"slow");
}

#[test]
fn a_client_that_leaves_before_its_header_is_complete_is_forgotten_at_once() {
    at_once([&b""[..], b"PROXY TCP4 192.0"], |part| {
        for client_finishes in [true, false] {
            let mut stage = Stage::with(|config| Config {
                accept_proxy_protocol: true,
                header_timeout: Duration::from_secs(3600),
                ..config
            });
            let client = stage.client();
            stage.send(&client, part);
            stage.assert_quiet();
            if client_finishes {
                fin(&client);
                assert_eq!(stage.drain(&client), (vec![], End::Reset));
            } else {
                reset(client);
            }
            stage.until_over();
            assert!(stage.origin.accept().is_err(), "no connection was made");
        }
    });
}
