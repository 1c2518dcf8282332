//! `socks5`, with bytes by hand.

use std::io::Write;
use std::net::{TcpListener, TcpStream};

use testkit::peer::Refuser;
use testkit::proxy::Proxy;

use crate::{accept, connect, listen, read, read_all};

pub(crate) fn start(_: &str) -> Proxy {
    Proxy::example("socks5").arg("0").start().unwrap()
}

/// Greeting and request in one segment.
pub(crate) fn open(proxy: &Proxy, server: &TcpListener) -> (TcpStream, TcpStream) {
    let mut client = connect(proxy);
    let port = server.local_addr().unwrap().port();
    client.write_all(&[&[5, 1, 0][..], &request(1, &[1, 127, 0, 0, 1], port)].concat()).unwrap();
    let server = accept(server);
    assert_eq!(read(&client, 6), [5, 0, 5, 0, 0, 1]);
    assert_eq!(read(&client, 4), [127, 0, 0, 1], "the address that the server sees");
    assert_eq!(read(&client, 2), server.peer_addr().unwrap().port().to_be_bytes());
    (client, server)
}

fn request(command: u8, address: &[u8], port: u16) -> Vec<u8> {
    [&[5, command, 0], address, &port.to_be_bytes()].concat()
}

fn named(host: &str) -> Vec<u8> {
    [&[3, u8::try_from(host.len()).unwrap()], host.as_bytes()].concat()
}

#[test]
fn every_refusal_has_its_code() {
    let proxy = start("");
    let refusing = Refuser::new().unwrap();
    let closed = refusing.address().port();
    let too_long = named(&format!("{}.example", "x".repeat(64))); // a label has at most 63 bytes (RFC 1035)
    for (request, code) in [
        (request(1, &[1, 127, 0, 0, 1], closed), 5),
        (request(1, &named("127.0.0.1"), closed), 5),
        (request(1, &too_long, 80), 4),
        (request(2, &[1, 127, 0, 0, 1], 80), 7), // BIND
        (request(3, &[1, 127, 0, 0, 1], 80), 7), // UDP ASSOCIATE
        (request(1, &[2, 0, 0, 0, 0], 80), 8),
    ] {
        let mut client = connect(&proxy);
        client.write_all(&[5, 2, 1, 0]).unwrap(); // GSSAPI, or none
        assert_eq!(read(&client, 2), [5, 0]);
        client.write_all(&request).unwrap();
        assert_eq!(read_all(&client), [5, code, 0, 1, 0, 0, 0, 0, 0, 0], "{request:?}");
    }
    let mut client = connect(&proxy);
    client.write_all(&[5, 1, 2]).unwrap(); // a password only
    assert_eq!(read_all(&client), [5, 0xff]);
}

#[test]
fn messages_may_come_byte_by_byte_and_bytes_behind_them_are_for_the_server() {
    let (server, port) = listen();
    let proxy = start("");
    let mut client = connect(&proxy);
    client.set_nodelay(true).unwrap();
    let request = request(1, &named("127.0.0.1"), port.parse().unwrap());
    for byte in [&[5, 1, 0], &request[..], b"hello"].concat() {
        client.write_all(&[byte]).unwrap();
    }
    let server = accept(&server);
    assert_eq!(read(&server, 5), b"hello");
    drop(server);
    let (status, _) = (read(&client, 4), ());
    assert_eq!(status, [5, 0, 5, 0]);
}

#[test]
fn a_client_that_speaks_another_protocol_is_reset_at_once() {
    let proxy = start("");
    for bytes in [&b"\x04\x01\0\x50\x7f\0\0\x01\0"[..], b"GET / HTTP/1.1\r\n\r\n"] {
        let mut client = connect(&proxy);
        client.write_all(bytes).unwrap();
        let end = std::io::Read::read(&mut client, &mut [0]);
        assert_eq!(end.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
    }
}
