//! Tunnels that CONNECT asks for.

use std::io::ErrorKind;
use std::net::Shutdown;
use std::sync::Mutex;
use std::sync::mpsc::channel;

use crate::peers::{HttpPeer, PATIENCE, origin, proxy, proxy_and_client};

#[test]
fn a_tunnel_carries_bytes_and_ends_both_ways() {
    let origin = origin(|mut peer| {
        let hello = peer.bytes(5);
        peer.say(hello);
        let rest = peer.rest().unwrap();
        peer.say(rest.repeat(1000));
    });
    let (_proxy, mut client) = proxy_and_client();
    client.say(format!("CONNECT {origin} HTTP/1.1\r\nHost: {origin}\r\n\r\nhel")).say("lo");
    let head = client.head().unwrap();
    assert_eq!((head.status(), head.get("content-length"), head.get("transfer-encoding")), (200, None, None));
    assert_eq!(client.bytes(5), b"hello");
    client.say("0123456789").0.get_ref().shutdown(Shutdown::Write).unwrap();
    assert_eq!(client.rest().unwrap(), b"0123456789".repeat(1000));
}

/// The write takes the error away, and the next read finds a clean end, which must not be believed.
#[test]
fn a_reset_that_a_write_into_a_tunnel_meets_first_is_no_end() {
    let ((go, wait), (done, is_reset)) = (channel(), channel());
    let (wait, done) = (Mutex::new(wait), Mutex::new(done));
    let broken = origin(move |mut peer| {
        peer.say("part");
        wait.lock().unwrap().recv_timeout(PATIENCE).unwrap();
        peer.reset();
        done.lock().unwrap().send(()).unwrap();
    });
    let proxy = proxy();
    let mut client = HttpPeer::tunnel(&proxy, broken);
    assert_eq!(client.bytes(4), b"part");
    proxy.freeze().unwrap(); // so that it meets both at once
    client.say("x");
    go.send(()).unwrap();
    is_reset.recv_timeout(PATIENCE).unwrap();
    proxy.thaw().unwrap();
    client.expect_reset();
}

#[test]
fn a_tunnel_passes_a_reset_on() {
    let broken = origin(|mut peer| {
        peer.say("part");
        peer.bytes(1);
        peer.reset();
    });
    let proxy = proxy();
    let mut client = HttpPeer::tunnel(&proxy, broken);
    assert_eq!(client.bytes(4), b"part");
    client.say("x").expect_reset();

    let (sender, ends) = channel();
    let sender = Mutex::new(sender);
    let listening = origin(move |mut peer| {
        sender.lock().unwrap().send(peer.rest().map_err(|error| error.kind())).unwrap()
    });
    let client = HttpPeer::tunnel(&proxy, listening);
    client.reset();
    assert_eq!(ends.recv_timeout(PATIENCE).unwrap(), Err(ErrorKind::ConnectionReset));
}
