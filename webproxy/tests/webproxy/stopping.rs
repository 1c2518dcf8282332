//! SIGTERM: what is under way is completed, and nothing new begins.

use std::net::TcpStream;
use std::sync::Mutex;
use std::sync::mpsc::{Sender, channel};

use testkit::proxy::Proxy;

use crate::peers::{HttpPeer, PATIENCE, answering, ok, origin, proxy_with};

/// Asks it to stop, and waits until it has begun to.
fn stop(proxy: &Proxy) {
    proxy.terminate().unwrap();
    proxy.wait_for_line(PATIENCE, |line| line.starts_with("stopping")).unwrap();
}

/// An origin whose answer comes in two parts, the second one when the test says so.
fn in_two_parts(first: &'static str, second: &'static str) -> (std::net::SocketAddr, Sender<()>) {
    let (go, wait) = channel();
    let wait = Mutex::new(wait);
    let address = origin(move |mut peer| {
        peer.head();
        peer.say(first);
        wait.lock().unwrap().recv_timeout(PATIENCE).unwrap();
        peer.say(second);
        drop(peer.rest());
    });
    (address, go)
}

/// A tunnel to an origin that says nothing.
fn tunnel(proxy: &Proxy) -> HttpPeer {
    HttpPeer::tunnel(proxy, origin(|mut peer| drop(peer.rest())))
}

#[test]
fn responses_under_way_are_completed_and_are_the_last_on_their_connections() {
    let mut proxy = proxy_with(&["--drain-timeout", "1h"]);
    let (begun, more) = in_two_parts("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12345", "67890");
    let (asked, answer) = in_two_parts("", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab");
    let (quick, _) = answering(|_| ok("", "x"));
    let [mut first, mut second, mut idle, mut new] = [(); 4].map(|()| HttpPeer::connect(&proxy));
    first.ask("GET", begun, "/", "").head();
    first.bytes(5);
    second.ask("GET", asked, "/", "");
    idle.ask("GET", quick, "/", "").answer();
    let (begin, rest) = (format!("GET http://{quick}/ HTTP/1.1\r\n"), format!("Host: {quick}\r\n\r\n"));
    new.say(begin);
    stop(&proxy);
    assert_eq!(new.say(rest).answer().1.get("connection"), Some("close"));
    for mut client in [idle, new] {
        client.expect_end();
    }
    more.send(()).unwrap();
    assert_eq!(first.bytes(5), b"67890");
    first.expect_end();
    drop(first); // the proxy closes its side at once then
    answer.send(()).unwrap();
    let (_, head, body) = second.answer();
    assert_eq!((head.get("connection"), body.as_str()), (Some("close"), "ab"));
    second.expect_end();
    drop(second);
    assert_eq!(proxy.wait(PATIENCE).unwrap().code(), Some(0));
    TcpStream::connect(proxy.address()).unwrap_err();
}

#[test]
fn what_is_left_when_the_time_to_drain_is_over_is_reset() {
    let mut proxy = proxy_with(&["--drain-timeout", "200ms"]);
    let mut client = tunnel(&proxy);
    stop(&proxy);
    client.expect_reset();
    assert_eq!(proxy.wait(PATIENCE).unwrap().code(), Some(0));
}

#[test]
fn a_second_signal_resets_what_is_left_at_once() {
    let mut proxy = proxy_with(&["--drain-timeout", "1h"]);
    let mut client = tunnel(&proxy);
    stop(&proxy);
    client.say("still here");
    proxy.terminate().unwrap();
    client.expect_reset();
    assert_eq!(proxy.wait(PATIENCE).unwrap().code(), Some(0));
}
