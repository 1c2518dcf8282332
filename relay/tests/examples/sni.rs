//! `sni`, with bytes by hand.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};

use testkit::proxy::Proxy;

use crate::{accept, connect, listen, read, read_all};

pub(crate) fn start(server_port: &str) -> Proxy {
    Proxy::example("sni").args(["0", &format!("a.example=127.0.0.1:{server_port}")]).start().unwrap()
}

pub(crate) fn open(proxy: &Proxy, server: &TcpListener) -> (TcpStream, TcpStream) {
    let mut client = connect(proxy);
    let hello = hello("a.example");
    client.write_all(&hello).unwrap();
    let server = accept(server);
    assert_eq!(read(&server, hello.len()), hello);
    (client, server)
}

/// A ClientHello that names a host, in two records.
fn hello(host: &str) -> Vec<u8> {
    let vector = |bytes: &[u8]| [&u16::try_from(bytes.len()).unwrap().to_be_bytes(), bytes].concat();
    let names = vector(&[&[0][..], &vector(host.as_bytes())].concat());
    let extensions = vector(&[&[0, 5][..], &vector(&[1, 0, 0, 0, 0]), &[0, 0], &vector(&names)].concat());
    let body = [&[3, 3][..], &[9; 32], &[0], &vector(&[0x13, 1]), &[1, 0], &extensions].concat();
    let message = [&[1, 0][..], &vector(&body)].concat();
    let (first, second) = message.split_at(50);
    [&[22, 3, 1][..], &vector(first), &[22, 3, 1], &vector(second)].concat()
}

#[test]
fn a_hello_may_come_byte_by_byte_and_reaches_the_server_unchanged() {
    let (server, port) = listen();
    let proxy = start(&port);
    let mut client = connect(&proxy);
    client.set_nodelay(true).unwrap();
    let hello = hello("A.Example"); // names are compared without case (RFC 4343)
    for byte in &hello {
        client.write_all(&[*byte]).unwrap();
    }
    client.write_all(b"behind").unwrap();
    let server = accept(&server);
    assert_eq!(read(&server, hello.len() + 6), [&hello[..], b"behind"].concat());
}

#[test]
fn a_client_that_names_no_known_server_receives_an_alert() {
    let (_server, port) = listen();
    let proxy = start(&port);
    for bytes in [&hello("b.example")[..], b"GET / HTTP/1.1\r\n\r\n", &[22, 3, 1, 0, 4, 2, 0, 0, 0]] {
        let mut client = connect(&proxy);
        client.write_all(bytes).unwrap();
        assert_eq!(read_all(&client), [21, 3, 3, 0, 2, 2, 112]);
    }
}

#[test]
fn a_hello_that_does_not_end_ends_the_session() {
    let (_server, port) = listen();
    let proxy = start(&port);
    let mut client = connect(&proxy);
    let record = [&[22, 3, 1, 0xff, 0xff, 1, 0xff, 0xff, 0xff][..], &vec![0; 64 * 1024]].concat();
    // A write may meet the reset, and then a read finds the end.
    let end = client.write_all(&record).and_then(|()| client.read(&mut [0]));
    assert!(matches!(end.unwrap_err().kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe));
}
