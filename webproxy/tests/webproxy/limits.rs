//! No client shuts others out, and no client makes the proxy grow.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use socket2::{Domain, Socket, Type};

use crate::peers::{HttpPeer, answering, ok, origin, proxy, proxy_and_client, proxy_with, until};

/// RFC 9110, section 7.6.3.
#[test]
fn a_request_that_has_passed_this_proxy_is_a_loop() {
    let (origin, heads) = answering(|_| ok("", "x"));
    let (here, there) = (proxy(), proxy());
    let mut client = HttpPeer::connect(&here);
    let (_, response, _) = client.ask("GET", origin, "/", "").answer();
    let via = heads.recv().unwrap().get("via").unwrap().to_owned();
    assert_eq!(response.get("via"), Some(via.as_str()));
    let fields = format!("Via: 1.0 fred\r\nVia: {via} (a comment), 1.1 other\r\n");
    assert_eq!(client.ask("GET", origin, "/", &fields).answer().0, 508);
    let status = HttpPeer::connect(&there).ask("GET", origin, "/", &fields).answer().0;
    assert_eq!(status, 200, "another proxy's name");
}

#[test]
fn the_proxy_does_not_connect_to_itself() {
    let proxy = proxy();
    let address = proxy.address();
    for host in [address.to_string(), format!("localhost:{}", address.port())] {
        let connect = format!("CONNECT {host} HTTP/1.1\r\nHost: {host}\r\n\r\n");
        assert_eq!(HttpPeer::connect(&proxy).say(connect).answer().0, 508, "{host}");
        let get = format!("GET http://{host}/ HTTP/1.1\r\nHost: {host}\r\n\r\n");
        assert_eq!(HttpPeer::connect(&proxy).say(get).answer().0, 508, "{host}");
    }
    // Whatever address of this machine it listens on.
    let proxy = proxy_with(&["--bind", "0.0.0.0"]);
    let host = format!("127.0.0.2:{}", proxy.address().port());
    let connect = format!("CONNECT {host} HTTP/1.1\r\nHost: {host}\r\n\r\n");
    assert_eq!(HttpPeer::connect(&proxy).say(connect).answer().0, 508);
}

#[test]
fn the_clients_of_one_address_cannot_take_all_permits() {
    let waiting = origin(|mut peer| drop(peer.rest()));
    let (answers, _) = answering(|_| ok("", "x"));
    let proxy = proxy_with(&["--max-clients", "8", "--max-per-address", "4"]);
    let mut tunnels: Vec<HttpPeer> = (0..4).map(|_| HttpPeer::tunnel(&proxy, waiting)).collect();
    for _ in 0..20 {
        assert_eq!(HttpPeer::connect(&proxy).head().unwrap().status(), 429);
    }
    let mut other = HttpPeer::new(connect_from("127.0.0.2:0", proxy.address()));
    assert_eq!(other.ask("GET", answers, "/", "").answer().0, 200);
    tunnels.pop();
    until("the place of a client that has gone is free again", || {
        let mut client = HttpPeer::connect(&proxy);
        let request = format!("GET http://{answers}/ HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        let _ = client.0.get_mut().write_all(request.as_bytes()); // a client too many may be reset
        let mut response = Vec::new();
        let _ = client.0.read_to_end(&mut response);
        response.starts_with(b"HTTP/1.1 200 ")
    });
}

fn connect_from(from: &str, to: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&from.parse::<SocketAddr>().unwrap().into()).unwrap();
    socket.connect(&to.into()).unwrap();
    socket.into()
}

/// A response that is still coming and may be kept, of almost a mebibyte.
fn endless_recording() -> SocketAddr {
    origin(|mut peer| {
        while peer.head().is_some() {
            peer.say("HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 1048576\r\n\r\n");
            peer.say(vec![b'x'; 1_048_575]);
        }
    })
}

#[test]
fn responses_that_are_being_recorded_count_towards_the_size_of_the_cache() {
    let origin = endless_recording();
    let proxy = proxy_with(&["--cache-size", "4MiB"]);
    let before = proxy.resident().unwrap();
    let mut clients: Vec<HttpPeer> = (0..48).map(|_| HttpPeer::connect(&proxy)).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        client.ask("GET", origin, &format!("/{number}"), "").head();
        client.bytes(1_048_575);
    }
    let grown = proxy.resident().unwrap().saturating_sub(before);
    assert!(grown < 16 << 20, "{grown} bytes more");
}

#[test]
fn bodies_that_slow_clients_are_being_sent_count_towards_the_size_of_the_cache() {
    let (origin, _) = answering(|_| ok("Cache-Control: max-age=60\r\n", &"x".repeat(1 << 20)));
    let proxy = proxy_with(&["--cache-size", "4MiB"]);
    let before = proxy.resident().unwrap();
    let mut fast = HttpPeer::connect(&proxy);
    let mut slow = Vec::new();
    for number in 0..48 {
        let path = format!("/{number}");
        fast.ask("GET", origin, &path, "").answer();
        // Reads the head, and then nothing.
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        socket.connect(&proxy.address().into()).unwrap();
        let mut client = HttpPeer::new(socket.into());
        client.ask("GET", origin, &path, "").head();
        slow.push(client);
    }
    let grown = proxy.resident().unwrap().saturating_sub(before);
    assert!(grown < 16 << 20, "{grown} bytes more");
}

#[test]
fn a_uri_has_few_variants() {
    let (origin, _) = answering(|_| ok("Cache-Control: max-age=60\r\nVary: X\r\n", "x"));
    let (_proxy, mut client) = proxy_and_client();
    let mut cache = |value: usize| {
        let (_, head, _) = client.ask("GET", origin, "/", &format!("X: {value}\r\n")).answer();
        head.get("x-cache").unwrap().to_owned()
    };
    for value in 0..100 {
        assert_eq!(cache(value), "MISS");
    }
    for value in 92..100 {
        assert_eq!(cache(value), "HIT", "the latest are kept");
    }
    assert_eq!(cache(0), "MISS", "the oldest is not");
}
