//! A listener of several sockets, and several listeners of one port.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener, TcpStream};

use crate::common::serve_on;
use eventloop::testing::{PATIENCE, PAUSE, assert_quiet, until};
use eventloop::{ListenOptions, Listener, SocketOptions};
use rustix::event::{PollFd, PollFlags, poll};
use socket2::{Domain, Socket, Type};

fn any_port() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

fn shared(address: SocketAddr) -> Listener {
    let options = ListenOptions { reuse_port: true, ..ListenOptions::default() };
    Listener::bind(address, options).unwrap()
}

#[test]
fn sockets_that_listen_already_are_taken_over_and_their_clients_come_in_turn() {
    let sockets: Vec<TcpListener> = (0..3).map(|_| TcpListener::bind(any_port()).unwrap()).collect();
    let addresses: Vec<SocketAddr> = sockets.iter().map(|socket| socket.local_addr().unwrap()).collect();
    let listener = Listener::adopt(sockets, SocketOptions::default()).unwrap();
    assert_eq!(listener.local_addrs().unwrap(), addresses);
    let mut clients = Vec::new();
    for address in &addresses {
        clients.extend((0..2).map(|_| TcpStream::connect(address).unwrap()));
    }
    let (mut event_loop, seen) = serve_on(listener.with_max_clients(1));
    let mut reached = Vec::new();
    for _ in &clients {
        until(&mut event_loop, || !seen.borrow().served.is_empty());
        let stream = seen.borrow_mut().served.pop().unwrap();
        reached.push(stream.local_addr().unwrap());
        drop(stream);
    }
    assert_eq!(reached, [&addresses[..], &addresses].concat(), "each socket has its turn");
}

#[test]
fn a_socket_that_does_not_listen_is_no_listener() {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let error = Listener::adopt(vec![socket.into()], SocketOptions::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    let error = Listener::adopt(vec![], SocketOptions::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
}

#[test]
fn a_port_is_shared_by_listeners_that_ask_for_it() {
    let first = shared(any_port());
    let address = first.local_addr().unwrap();
    let second = shared(address);
    assert_eq!(second.local_addr().unwrap(), address);
    let error = Listener::bind(address, SocketOptions::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AddrInUse);
}

#[test]
#[cfg(target_os = "linux")]
fn a_listener_that_is_about_to_close_serves_pending_clients_and_leaves_new_ones_to_the_others() {
    let leaving = shared(any_port());
    let address = leaving.local_addr().unwrap();
    assert!(!leaving.has_pending_clients());
    let _early = TcpStream::connect(address).unwrap();
    leaving.drop_new_connections().unwrap();
    assert!(leaving.has_pending_clients());

    let late = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    late.set_nonblocking(true).unwrap();
    late.connect(&address.into()).unwrap_err(); // under way
    let is_connected = |patience| {
        let mut fds = [PollFd::new(&late, PollFlags::OUT)];
        poll(&mut fds, Some(&patience)).unwrap() == 1
    };
    assert!(!is_connected(PAUSE.try_into().unwrap()), "its SYN is not answered");

    let (mut event_loop, seen) = serve_on(leaving);
    until(&mut event_loop, || seen.borrow().served.len() == 1);
    assert_quiet(&mut event_loop);
    let other = shared(address);
    drop(event_loop);
    assert!(is_connected(PATIENCE.try_into().unwrap()), "its next SYN reaches the other listener");
    assert!(late.take_error().unwrap().is_none() && other.has_pending_clients());
}
