//! A session between real sockets whose client resets with bytes pending, stalls, or half-closes: it does not spin,
//! and leaves nothing open.

#![allow(clippy::unwrap_used)] // a test that cannot go on says so by failing

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::time::Instant;

use eventloop::testing::{PATIENCE, assert_quiet, pair, reset, settle};
use eventloop::{ConnectOptions, Connector, EventLoop, SocketOptions, Stream};
use relay::{Limits, ProxySession};
use ringbuf::Pool;

/// A session in a loop, its client and its server.
fn session() -> (EventLoop, Pool, TcpStream, TcpStream) {
    let (near, client) = pair().unwrap();
    let origin = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let pool = Pool::new(4096, 2);
    let now = Instant::now();
    let near = Stream::new(near).unwrap();
    near.reset_on_close().unwrap(); // as a connection that a listener accepts
    let socket = SocketOptions { linger: Some(std::time::Duration::ZERO), ..SocketOptions::default() };
    let options = ConnectOptions { socket, ..ConnectOptions::default() };
    let (up, down) = (pool.reserve().unwrap(), pool.reserve().unwrap());
    let mut session = ProxySession::new(near, up, down, Limits::default(), now);
    session.connect(Connector::new(&[origin.local_addr().unwrap()][..], options, now));
    let mut event_loop = EventLoop::new().unwrap();
    event_loop.spawn(session);
    settle(&mut event_loop);
    let server = origin.accept().unwrap().0;
    server.set_read_timeout(Some(PATIENCE)).unwrap();
    (event_loop, pool, client, server)
}

/// The server sends until all buffers on the way are full.
fn fill(event_loop: &mut EventLoop, server: &mut TcpStream) {
    server.set_nonblocking(true).unwrap();
    let mut takes_more = true;
    while std::mem::take(&mut takes_more) {
        while server.write(&[7; 1 << 16]).is_ok() {
            takes_more = true;
        }
        settle(event_loop);
    }
    server.set_nonblocking(false).unwrap();
}

#[test]
fn a_client_that_resets_with_bytes_pending_resets_the_server() {
    let (mut event_loop, pool, client, mut server) = session();
    fill(&mut event_loop, &mut server);
    assert_eq!(pool.lent(), 1);
    reset(client).unwrap();
    settle(&mut event_loop);
    assert_eq!((event_loop.sessions(), pool.lent()), (0, 0));
    assert_eq!(server.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
}

#[test]
fn a_client_that_stalls_wakes_no_session() {
    let (mut event_loop, pool, client, mut server) = session();
    fill(&mut event_loop, &mut server);
    assert_quiet(&mut event_loop);
    assert_eq!((event_loop.sessions(), pool.lent()), (1, 1), "one ring of bytes is pending");
    drop((client, server));
    settle(&mut event_loop);
    assert_eq!(event_loop.sessions(), 0);
}

#[test]
fn a_client_that_half_closes_receives_the_whole_answer() {
    let (mut event_loop, _, mut client, mut server) = session();
    client.write_all(b"request").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    settle(&mut event_loop);
    let mut request = String::new();
    server.read_to_string(&mut request).unwrap();
    assert_eq!(request, "request");
    assert_quiet(&mut event_loop);
    server.write_all(b"answer").unwrap();
    drop(server);
    settle(&mut event_loop);
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert_eq!((answer.as_str(), event_loop.sessions()), ("answer", 0));
}
