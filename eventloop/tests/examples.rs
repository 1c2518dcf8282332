//! The example programs do what their first lines say.

#![allow(clippy::unwrap_used)] // a test that cannot go on says so by failing

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use eventloop::testing::{PATIENCE, reset};
use testkit::peer::churn;
use testkit::proxy::Proxy;

fn connect(server: &Proxy) -> TcpStream {
    let stream = TcpStream::connect(server.address()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

#[test]
fn echo_sends_back_what_it_gets_to_a_thousand_clients_at_once() {
    let server = Proxy::example("echo").arg("0").start().unwrap();
    let mut clients: Vec<TcpStream> = (0..1000).map(|_| connect(&server)).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        client.write_all(format!("I am {number}").as_bytes()).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
    }
    for (number, client) in clients.iter_mut().enumerate() {
        let mut got = String::new();
        client.read_to_string(&mut got).unwrap();
        assert_eq!(got, format!("I am {number}"));
    }
    churn(server.address(), 20, 1_000_000).unwrap();
}

/// A guest who has a seat in the chat room: the server has a descriptor for it.
fn join(server: &Proxy) -> BufReader<TcpStream> {
    let (before, begin) = (server.descriptors().unwrap(), Instant::now());
    let guest = connect(server);
    while server.descriptors().unwrap() == before {
        assert!(begin.elapsed() < PATIENCE, "the guest is not let in");
        std::thread::sleep(Duration::from_millis(1)); // there is no event for it, so look again
    }
    BufReader::new(guest)
}

fn hear(guest: &mut BufReader<TcpStream>) -> String {
    let mut line = String::new();
    guest.read_line(&mut line).unwrap();
    line
}

#[test]
fn chat_passes_on_whole_lines_to_all_other_guests() {
    let server = Proxy::example("chat").arg("0").start().unwrap();
    let mut guests: Vec<_> = (0..4).map(|_| join(&server)).collect();
    guests[0].get_ref().write_all(b"first line\nsecond li").unwrap();
    guests[0].get_ref().write_all(b"ne\n").unwrap();
    for guest in &mut guests[1..] {
        assert_eq!(hear(guest), "first line\n");
        assert_eq!(hear(guest), "second line\n");
    }
    drop(guests.remove(1));
    guests[1].get_ref().write_all(b"who is left?\n").unwrap();
    assert_eq!(hear(&mut guests[0]), "who is left?\n", "and nothing of what it said itself");
    assert_eq!(hear(&mut guests[2]), "who is left?\n");
}

#[test]
fn chat_does_not_wait_for_a_guest_that_does_not_read() {
    let server = Proxy::example("chat").arg("0").start().unwrap();
    let (speaker, stalled, mut listener) = (join(&server), join(&server), join(&server));
    let before = server.resident().unwrap();
    let line = "x".repeat(999) + "\n";
    for _ in 0..20_000 {
        speaker.get_ref().write_all(line.as_bytes()).unwrap();
        assert_eq!(hear(&mut listener), line);
    }
    let grown = server.resident().unwrap().saturating_sub(before);
    assert!(grown < 2_000_000, "{grown} bytes more after 20 MB that one guest did not read");
    drop(stalled);
}

/// Clients that fail, and one that does not read: the server closes what is over, and sleeps.
#[test]
fn echo_outlives_clients_that_reset_stall_or_half_close_and_closes_what_is_over() {
    let server = Proxy::example("echo").arg("0").start().unwrap();
    let before = server.descriptors().unwrap();
    let stalled = connect(&server);
    stalled.set_nonblocking(true).unwrap();
    while (&stalled).write(&[7; 65_536]).is_ok() {} // until the server has no room for what does not go back
    let with_bytes_pending = connect(&server);
    with_bytes_pending.set_nonblocking(true).unwrap();
    while (&with_bytes_pending).write(&[7; 65_536]).is_ok() {}
    reset(with_bytes_pending).unwrap();
    let mut half_closed = connect(&server);
    half_closed.write_all(b"last words").unwrap();
    half_closed.shutdown(Shutdown::Write).unwrap();
    let mut got = String::new();
    half_closed.read_to_string(&mut got).unwrap();
    assert_eq!(got, "last words");
    until_open(&server, before + 1);
    reset(stalled).unwrap();
    until_open(&server, before);
}

/// Guests that fail, and one that does not read: the others hear each other, and what is over is closed.
#[test]
fn chat_outlives_guests_that_reset_stall_or_half_close_and_closes_what_is_over() {
    let server = Proxy::example("chat").arg("0").start().unwrap();
    let before = server.descriptors().unwrap();
    let (speaker, mut listener) = (join(&server), join(&server));
    let (stalled, with_bytes_pending) = (join(&server), join(&server));
    let line = "x".repeat(49_999) + "\n";
    for _ in 0..200 {
        speaker.get_ref().write_all(line.as_bytes()).unwrap();
        assert_eq!(hear(&mut listener), line);
    }
    reset(with_bytes_pending.into_inner()).unwrap();
    until_open(&server, before + 3);
    let mut half_closed = join(&server);
    half_closed.get_ref().write_all(b"last words\n").unwrap();
    half_closed.get_ref().shutdown(Shutdown::Write).unwrap();
    assert_eq!(hear(&mut listener), "last words\n");
    assert_eq!(hear(&mut half_closed), "", "its connection is closed");
    until_open(&server, before + 3);
    reset(stalled.into_inner()).unwrap();
    until_open(&server, before + 2);
}

/// Waits until the server has no more descriptors than this. There is no event for it, so it is looked at again.
fn until_open(server: &Proxy, descriptors: usize) {
    let begin = Instant::now();
    while server.descriptors().unwrap() > descriptors {
        assert!(begin.elapsed() < PATIENCE, "a connection that is over stays open");
        std::thread::sleep(Duration::from_millis(1));
    }
}
