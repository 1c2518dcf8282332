//! Who the client is: told to the server before anything else.

#![allow(clippy::unwrap_used)] // a test that cannot go on says so by failing

mod stage;

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};

use stage::{End, Stage, counting, fin, reset};
use tcpproxy::{Config, ProxyProtocol};
use testkit::peer::BlackHole;

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

fn announcing(version: ProxyProtocol, buffer_size: usize) -> Stage {
    Stage::with(|config| Config { proxy_protocol: Some(version), buffer_size, ..config })
}

fn connect(stage: &Stage, ip: impl Into<IpAddr>) -> TcpStream {
    let client = TcpStream::connect((ip.into(), stage.proxy.local_addr().port())).unwrap();
    client.set_nonblocking(true).unwrap();
    client
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
    for version in [ProxyProtocol::V1, ProxyProtocol::V2] {
        for ip in [IpAddr::from(Ipv4Addr::LOCALHOST), Ipv6Addr::LOCALHOST.into()] {
            for buffer_size in [1, 7, 256 * 1024] {
                let mut stage = announcing(version, buffer_size);
                let client = connect(&stage, ip);
                stage.send(&client, &counting(0, 1000));
                fin(&client);
                let server = stage.accept();
                let expected = [header(version, &client), counting(0, 1000)].concat();
                assert_eq!(stage.drain(&server), (expected, End::Fin), "{version:?} {ip} {buffer_size}");
                stage.send(&server, b"answer");
                fin(&server);
                assert_eq!(stage.drain(&client), (b"answer".to_vec(), End::Fin));
                stage.until_over();
                let statistics = stage.proxy.statistics();
                assert_eq!((statistics.up, statistics.down), (1000, 6), "the header is not the client's");
            }
        }
    }
}

#[test]
fn a_server_that_speaks_first_hears_the_header_from_a_client_that_says_nothing() {
    let mut stage = announcing(ProxyProtocol::V1, 1000);
    let (client, server) = stage.session();
    let expected = header(ProxyProtocol::V1, &client);
    assert_eq!(stage.receive(&server, expected.len()), expected);
    stage.send(&server, b"220 ready");
    assert_eq!(stage.receive(&client, 9), b"220 ready");
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

#[test]
fn what_a_server_sent_before_a_reset_that_beats_the_header_is_delivered() {
    for sent in [&b"last words"[..], b""] {
        let hole = BlackHole::new().unwrap();
        let mut stage = Stage::with(|config| Config {
            remote_port: hole.address().port(),
            proxy_protocol: Some(ProxyProtocol::V2),
            ..config
        });
        let client = stage.client();
        stage.settle();
        // While the proxy is not looking, its next SYN is answered, and all is over before it looks.
        let origin = hole.open().unwrap();
        origin.set_nonblocking(false).unwrap();
        let (mut server, _) = origin.accept().unwrap();
        server.write_all(sent).unwrap();
        reset(server);
        assert_eq!(stage.drain(&client), (sent.to_vec(), End::Reset));
        stage.until_over();
    }
}
