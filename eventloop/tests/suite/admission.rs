//! The limit on clients: none beyond it is accepted, and none is forgotten.

use std::net::TcpStream;

use crate::common::{event_loop, listener, serve};
use eventloop::testing::{PAUSE, assert_quiet, session, until};
use eventloop::{Progress, SocketOptions};

#[test]
fn a_permit_that_becomes_free_goes_to_the_next_client() {
    let (mut event_loop, seen, client) = serve(2);
    let _clients: Vec<TcpStream> = (0..5).map(|_| client()).collect();
    until(&mut event_loop, || seen.borrow().served.len() == 2);
    for _ in 0..3 {
        until(&mut event_loop, || seen.borrow().full > 0);
        assert_quiet(&mut event_loop);
        assert_eq!(seen.borrow().served.len(), 2);
        seen.borrow_mut().full = 0;
        let left = seen.borrow_mut().served.remove(0);
        drop(left);
        until(&mut event_loop, || seen.borrow().served.len() == 2);
    }
    assert_quiet(&mut event_loop);
    assert_eq!(seen.borrow().full, 0, "no client is pending any more");
}

#[test]
fn no_client_is_pending_when_the_last_permit_is_taken() {
    let (mut event_loop, seen, client) = serve(1);
    let _client = client();
    until(&mut event_loop, || seen.borrow().served.len() == 1);
    assert_quiet(&mut event_loop);
    assert_eq!(seen.borrow().full, 0);
}

#[test]
fn each_client_that_comes_too_late_is_reported_once() {
    let (mut event_loop, seen, client) = serve(1);
    let _client = client();
    until(&mut event_loop, || seen.borrow().served.len() == 1);
    let mut late = Vec::new();
    for reported in 1..=3 {
        late.push(client());
        until(&mut event_loop, || seen.borrow().full == reported);
        assert_quiet(&mut event_loop);
    }
}

#[test]
fn thousands_of_clients_that_arrive_while_all_permits_are_taken_are_no_spin() {
    let (mut event_loop, seen, client) = serve(1);
    let _client = client();
    until(&mut event_loop, || seen.borrow().served.len() == 1);
    for arrived in 1..=1500 {
        drop(client());
        until(&mut event_loop, || seen.borrow().full >= arrived);
    }
}

#[test]
fn clients_that_came_before_the_last_permit_was_taken_are_reported_all_the_same() {
    let (mut event_loop, seen, client) = serve(1);
    let _clients = [client(), client()];
    until(&mut event_loop, || seen.borrow().full == 1);
    assert_eq!(seen.borrow().served.len(), 1);
    assert_quiet(&mut event_loop);
}

#[test]
fn many_clients_are_accepted_in_bounded_batches() {
    let (mut event_loop, seen, client) = serve(1000);
    let _clients: Vec<TcpStream> = (0..100).map(|_| client()).collect();
    event_loop.turn(None).unwrap();
    let first = seen.borrow().served.len();
    assert!((1..100).contains(&first), "{first} in one turn");
    until(&mut event_loop, || seen.borrow().served.len() == 100);
}

#[test]
fn accepted_connections_have_the_options_of_the_listener() {
    let (mut event_loop, seen, client) = serve(1);
    let _client = client();
    until(&mut event_loop, || seen.borrow().served.len() == 1);
    let seen = seen.borrow();
    let stream = &seen.served[0];
    assert!(stream.nodelay().unwrap());
    assert!(rustix::net::sockopt::socket_oobinline(&**stream).unwrap(), "an urgent byte stays in band");
}

#[test]
fn a_listener_can_be_a_session_of_its_own() {
    let (listener, address) = listener(SocketOptions::default());
    let mut event_loop = event_loop();
    event_loop.spawn(listener.with_max_clients(2).into_session(|stream, ready| {
        ready.spawn(session(
            stream,
            |stream, intents| intents.read(stream),
            |stream, ready| Ok(if ready.is_readable(stream) { Progress::Done } else { Progress::Continue }),
        ));
    }));
    let mut clients: Vec<TcpStream> = (0..3).map(|_| TcpStream::connect(address).unwrap()).collect();
    while event_loop.turn(Some(PAUSE)).unwrap() > 0 {}
    assert_eq!(event_loop.sessions(), 1 + 2, "there is no permit for the third");
    drop(clients.remove(0));
    while event_loop.turn(Some(PAUSE)).unwrap() > 0 {}
    assert_eq!(event_loop.sessions(), 1 + 2, "the third has the permit of the first");
}
