//! The permit of a client belongs to the whole session.

#![allow(clippy::unwrap_used)] // a test that cannot go on fails

use std::cell::Cell;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::rc::Rc;

use eventloop::testing::{reset, settle, until};
use eventloop::{ConnectOptions, Connector, EventLoop, Listener, SocketOptions};
use relay::{Limits, serve};
use socket2::{Domain, Socket, Type};

#[test]
fn the_next_client_is_served_only_when_the_server_of_the_last_one_is_closed_too() {
    // Its small buffer keeps the bytes of the client in the send queue.
    let server = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    server.set_recv_buffer_size(4096).unwrap();
    server.bind(&std::net::SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
    server.listen(8).unwrap();
    let address = server.local_addr().unwrap().as_socket().unwrap();

    let served = Rc::new(Cell::new(0));
    let listener = Listener::bind((Ipv4Addr::LOCALHOST, 0).into(), SocketOptions::default()).unwrap();
    let listening = listener.local_addr().unwrap();
    let mut event_loop = EventLoop::new().unwrap();
    let count = served.clone();
    event_loop.spawn(serve(listener, 1, 64 * 1024, Limits::default(), move |mut session, ready| {
        count.set(count.get() + 1);
        session.connect(Connector::new(&[address][..], ConnectOptions::default(), ready.now()));
        ready.spawn(session);
    }));

    let mut client = TcpStream::connect(listening).unwrap();
    client.write_all(&[7; 100_000]).unwrap();
    settle(&mut event_loop);
    reset(client).unwrap();
    settle(&mut event_loop);
    let _next = TcpStream::connect(listening).unwrap();
    settle(&mut event_loop);
    assert_eq!(served.get(), 1, "the server of the first client still receives its bytes");

    let (mut first, _) = server.accept().unwrap();
    let mut received = 0;
    first.set_nonblocking(true).unwrap();
    until(&mut event_loop, || {
        loop {
            match first.read(&mut [0; 65_536]) {
                Ok(0) => panic!("an orderly end after {received} bytes"),
                Ok(n) => received += n,
                Err(error) => return error.kind() == ErrorKind::ConnectionReset,
            }
        }
    });
    assert_eq!(received, 100_000);
    until(&mut event_loop, || served.get() == 2);
}
