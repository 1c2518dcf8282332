//! When there is no memory for a buffer, the session whose bytes would wait in it ends, and no other. When there is none
//! for a further session, its client waits, and the program goes on.

#![allow(clippy::unwrap_used)] // a test that cannot go on says so by failing

mod common;

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};

use common::{
    PATIENCE, assert_reset, connect, converse, conversing, echo, metrics_address, origin, proxy, session,
    until, visit,
};
use testkit::peer::BlackHole;
use testkit::proxy::Proxy;

/// What the proxy may still take: too little for a buffer, enough for everything else.
const LEFT: u64 = 16 << 20;

const BUFFERS: [&str; 6] = ["--max-clients", "100", "--buffer-size", "64MiB", "--splice", "never"];

#[test]
fn sessions_that_find_no_buffer_are_reset_and_one_that_has_its_own_goes_on() {
    let (origin, port) = origin();
    let proxy = proxy(&port, &BUFFERS);
    let (mut stalled, mut slow_server) = session(&proxy, &origin);
    let others: Vec<_> = (0..20).map(|_| session(&proxy, &origin)).collect();
    for (mut client, server) in others.iter().skip(10).map(|(client, server)| (client, server)) {
        server.shutdown(Shutdown::Write).unwrap();
        assert_eq!(client.read(&mut [0]).unwrap(), 0);
    }

    // The server does not read, so that bytes wait in the proxy, which then gets no more memory.
    stalled.set_nonblocking(true).unwrap();
    let (block, mut sent) = (vec![b'x'; 1 << 20], 0);
    let before = proxy.resident().unwrap();
    until("bytes wait in the proxy", || {
        sent += stalled.write(&block).unwrap_or(0);
        proxy.resident().unwrap() > before + (4 << 20)
    });
    proxy.limit_memory(LEFT).unwrap();

    for (i, (mut client, mut server)) in others.iter().map(|(client, server)| (client, server)).enumerate() {
        let half_closed = i >= 10;
        let writer = if i % 2 == 0 || half_closed { &mut client } else { &mut server };
        writer.write_all(b"there is no buffer for this").unwrap();
        assert_reset(server);
        if !half_closed {
            assert_reset(client);
        }
        let reason =
            format!("by=proxy phase={} reason=exhausted", if half_closed { "drain" } else { "data" });
        until("the session is logged", || {
            proxy.log().iter().filter(|line| line.contains(&reason)).count() == i % 10 + 1
        });
    }

    stalled.set_nonblocking(false).unwrap();
    stalled.write_all(&block).unwrap();
    sent += block.len();
    stalled.shutdown(Shutdown::Write).unwrap();
    let mut received = Vec::new();
    slow_server.read_to_end(&mut received).unwrap();
    assert_eq!(received.len(), sent);
    assert!(received.iter().all(|&byte| byte == b'x'));

    // The buffer is free again.
    let (mut client, mut server) = session(&proxy, &origin);
    client.write_all(b"hello").unwrap();
    server.read_exact(&mut [0; 5]).unwrap();
}

#[test]
fn a_client_that_finds_no_buffer_before_the_server_is_reached_is_reset() {
    let hole = BlackHole::new().unwrap();
    let port = hole.address().port().to_string();
    let proxy = proxy(&port, &["--buffer-size", "64MiB", "--drain-timeout", "0s"]);
    proxy.limit_memory(LEFT).unwrap();
    for finishes in [true, false] {
        let mut client = connect(proxy.address());
        if finishes {
            client.shutdown(Shutdown::Write).unwrap(); // to see that takes a buffer, too
        } else {
            client.write_all(b"hello").unwrap();
        }
        assert_reset(&client);
    }
    let ended = |line: &&String| line.contains("by=proxy phase=connect reason=exhausted");
    until("both are logged", || proxy.log().iter().filter(ended).count() == 2);
}

/// Clients that come together, until memory runs out: each takes less than a kilobyte, in pieces of some hundred bytes.
const CLIENTS: usize = 100;
const MAX_CLIENTS: usize = 1000;

/// A proxy for any number of clients, that may take this number of bytes more once `first` is done with it.
fn limited(port: &str, left: u64, first: impl FnOnce(&Proxy)) -> Proxy {
    eventloop::raise_descriptor_limit(u64::MAX);
    let options = ["--max-clients", "1000", "--metrics", "127.0.0.1:0", "--drain-timeout", "0s"];
    let proxy = proxy(port, &options);
    first(&proxy);
    proxy.limit_memory(left).unwrap();
    proxy
}

/// Clients that say nothing, as many as connect until there is no memory for one.
fn exhaust(proxy: &Proxy) -> Vec<TcpStream> {
    let lacks_memory =
        |line: &String| line.contains("cannot accept clients for now") || line.contains("reason=exhausted");
    let mut clients = Vec::new();
    until("there is no memory for a client", || {
        clients.extend((0..CLIENTS.min(MAX_CLIENTS - clients.len())).map(|_| connect(proxy.address())));
        proxy.log().iter().any(lacks_memory)
    });
    clients
}

#[test]
fn clients_for_which_there_is_no_memory_wait_while_the_others_are_served_and_are_served_later() {
    let port = echo();
    for left in [0, 64 << 10, 150 << 10, 300 << 10] {
        let mut session = None;
        let mut proxy = limited(&port, left, |proxy| {
            session = Some(conversing(proxy.address()));
        });
        let clients = exhaust(&proxy);
        let client = session.unwrap();
        converse(&client);
        drop(clients);
        visit(proxy.address()).unwrap();
        converse(&client);
        drop(client);
        proxy.terminate().unwrap();
        assert_eq!(proxy.wait(PATIENCE).unwrap().code(), Some(0), "with {left} bytes left");
    }
}

/// A list of all sessions, of which the request is complete when there is no memory for it.
#[test]
fn a_request_for_which_there_is_no_memory_is_answered_so_and_does_not_end_the_program() {
    let port = echo();
    for left in [64 << 10, 150 << 10, 300 << 10] {
        let mut asker = None;
        let mut proxy = limited(&port, left, |proxy| {
            visit(proxy.address()).unwrap(); // which leaves a buffer behind
            let [mut stream, mut next] = [(); 2].map(|()| connect(metrics_address(proxy)));
            stream.write_all(b"GET /sessions HTTP/1.0\r\n").unwrap();
            asker = Some(stream);
            next.write_all(b"GET /healthz HTTP/1.0\r\n\r\n").unwrap();
            next.read_to_end(&mut Vec::new()).unwrap(); // so the first one was accepted, too
        });
        let clients = exhaust(&proxy);
        let mut asker = asker.unwrap();
        let mut answer = String::new();
        match asker.write_all(b"\r\n").and_then(|()| asker.read_to_string(&mut answer)) {
            Ok(_) => assert!(answer.starts_with("HTTP/1.1 503 Service Unavailable\r\n"), "{answer}"),
            // On a slow machine the time for a request may be over.
            Err(error) => {
                assert!([ErrorKind::ConnectionReset, ErrorKind::BrokenPipe].contains(&error.kind()))
            }
        }
        drop(clients);
        until("there is memory for a client again", || visit(proxy.address()).is_ok());
        proxy.terminate().unwrap();
        assert_eq!(proxy.wait(PATIENCE).unwrap().code(), Some(0), "with {left} bytes left");
    }
}

#[test]
fn clients_that_take_all_memory_while_the_server_does_not_answer_do_not_end_the_program() {
    let hole = BlackHole::new().unwrap();
    let port = hole.address().port().to_string();
    for left in [0, 100 << 10, 250 << 10] {
        let mut proxy = limited(&port, left, |_| {});
        let clients = exhaust(&proxy);
        proxy.terminate().unwrap();
        for client in &clients {
            assert_reset(client);
        }
        assert_eq!(proxy.wait(PATIENCE).unwrap().code(), Some(0), "with {left} bytes left");
    }
}
