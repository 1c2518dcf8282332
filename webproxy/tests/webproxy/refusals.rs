//! What is not clear is not passed on, and what cannot be completed does not look complete.

use std::io::Write;
use std::net::TcpListener;
use std::thread;
use std::time::Duration;

use crate::peers::{HttpPeer, answering, impatient, ok, origin, proxy, proxy_and_client, relayed};

#[test]
fn an_origin_that_cannot_be_reached_is_a_bad_gateway() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (proxy, mut client) = proxy_and_client();
    let (status, head, text) = client.ask("GET", closed, "/", "").answer();
    assert_eq!((status, head.get("connection")), (502, Some("close")), "{text}");
    client.expect_end();
    let mut client = HttpPeer::connect(&proxy);
    assert_eq!(client.say(format!("CONNECT {closed} HTTP/1.1\r\nHost: a\r\n\r\n")).answer().0, 502);
    let name = "x".repeat(300);
    let mut client = HttpPeer::connect(&proxy);
    assert_eq!(client.say(format!("GET http://{name}/ HTTP/1.1\r\nHost: {name}\r\n\r\n")).answer().0, 502);
}

#[test]
fn a_request_that_is_not_clear_is_refused_and_nothing_of_it_is_passed_on() {
    let (origin, heads) = answering(|_| ok("", ""));
    let proxy = proxy();
    let host = format!("Host: {origin}\r\n");
    for (target, fields) in [
        ("/", host.as_str()),
        ("https://127.0.0.1/", &host),
        ("http:///", &host),
        ("http://user@{}/", &host),
        ("http://{}/", ""),
        ("http://{}/", "Host: a\r\nHost: b\r\n"),
        ("http://{}/", "Host: a b\r\n"),
        ("http://{}/", "Host: a/b\r\n"),
        ("http://{}/", "Host : a\r\n"),
        ("http://{}/", "Host: a\r\n folded: b\r\n"),
        ("http://{}/", "Host: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n"),
        ("http://{}/", "Host: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n"),
        ("http://{}/", "Host: a\r\nContent-Length: 1, 2\r\n"),
        ("http://{}/", "Host: a\r\nContent-Length: +1\r\n"),
        ("http://{}/", "Host: a\r\nContent-Length: 99999999999999999999\r\n"),
        ("http://{}/", "Host: a\r\nTransfer-Encoding: gzip\r\n"),
        ("http://{}/", "Host: a\r\nTransfer-Encoding: chunked, chunked\r\n"),
        ("http://{}/", "Host: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n"),
    ] {
        let mut client = HttpPeer::connect(&proxy);
        client.say(format!("GET {} HTTP/1.1\r\n{fields}\r\n", target.replace("{}", &origin.to_string())));
        assert_eq!(client.answer().0, 400, "{target} {fields}");
        client.expect_end();
    }
    assert!(heads.try_recv().is_err());
    for garbage in
        ["\0\r\n\r\n", "GET\r\n\r\n", "\u{16}\u{3}\u{1}\r\n\r\n", "GET http://a/ HTTP/3.0\r\nHost: a\r\n\r\n"]
    {
        assert_eq!(HttpPeer::connect(&proxy).say(garbage).answer().0, 400, "{garbage:?}");
    }
}

/// A port that cannot be read never means port 80.
#[test]
fn an_authority_that_is_invalid_is_refused() {
    let proxy = proxy();
    for authority in [
        "a:99999",
        "a:65536",
        "a:0",
        "a:-1",
        "a:+80",
        "a:0x50",
        "a:8 0",
        "a:80a",
        "a:80:80",
        ":80",
        "",
        "a b",
        "a_b\u{e9}",
        "[::1",
        "::1",
        "[::1]80",
        "[::1]:",
        "[::1]x:80",
        "[g::1]:80",
        "[127.0.0.1]:80",
        "a%00b:80",
        "a%2eb",
        "u@a",
        "u:p@a:80",
        "a\\b",
        "a,b",
        "a;b",
        "a..b",
        ".",
        "127.0.0.1:99999",
    ] {
        let valid_for_get = authority == "[::1]:"; // an empty port is the default one (RFC 3986, section 3.2.3)
        let get = format!("GET http://{authority}/ HTTP/1.1\r\nHost: a\r\n\r\n");
        if !valid_for_get {
            assert_eq!(HttpPeer::connect(&proxy).say(get).answer().0, 400, "GET {authority}");
        }
        let connect = format!("CONNECT {authority} HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(HttpPeer::connect(&proxy).say(connect).answer().0, 400, "CONNECT {authority}");
    }
    let connect = "CONNECT a HTTP/1.1\r\nHost: a\r\n\r\n";
    assert_eq!(HttpPeer::connect(&proxy).say(connect).answer().0, 400, "no port");
}

#[test]
fn an_origin_that_takes_no_more_of_a_body_is_a_gateway_timeout() {
    let stuck = origin(|peer| drop(peer.0.get_ref().peek(&mut [0]).map(|_| thread::park())));
    let proxy = impatient();
    let mut client = HttpPeer::connect(&proxy);
    client.ask("POST", stuck, "/", "Content-Length: 1000000000\r\n");
    let mut sender = client.0.get_ref().try_clone().unwrap();
    let sends = thread::spawn(move || while sender.write(&[0; 65536]).is_ok() {});
    assert_eq!(client.answer().0, 504);
    drop(proxy);
    sends.join().unwrap();
}

#[test]
fn a_malformed_chunk_is_refused_or_the_answer_cut() {
    let proxy = proxy();
    let waiting = origin(|mut peer| {
        peer.head();
        let _ = peer.rest();
    });
    for chunk in
        ["\r\n", "x\r\n", "-1\r\n", "0x1\r\na\r\n", "1\r\nab\r\n", "1;a\nb\r\na\r\n", "11111111111111111\r\n"]
    {
        let mut client = HttpPeer::connect(&proxy);
        client.ask("POST", waiting, "/", "Transfer-Encoding: chunked\r\n").say("1\r\na\r\n").say(chunk);
        assert_eq!(client.answer().0, 400, "{chunk:?}");

        let bad = origin(move |mut peer| {
            peer.head();
            peer.say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n").say(chunk);
            let _ = peer.rest();
        });
        HttpPeer::connect(&proxy).ask("GET", bad, "/", "").expect_reset();
    }
}

#[test]
fn an_answer_that_is_not_clear_is_a_bad_gateway() {
    let proxy = proxy();
    for answer in [
        "",
        "SSH-2.0-OpenSSH\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        "HTTP/1.1 200 OK\r\nContent-Length: one\r\n\r\na",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\na",
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length : 1\r\n\r\na",
        "HTTP/1.1 101 Switching Protocols\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Le",
    ] {
        assert_eq!(relayed(&proxy, answer).0, 502, "{answer:?}");
    }
}

#[test]
fn a_head_beyond_measure_is_refused_and_the_client_can_read_so() {
    let (proxy, mut client) = proxy_and_client();
    client.say(format!("GET http://a/ HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(1 << 20)));
    assert_eq!(client.answer().0, 431);
    client.expect_end();
    let mut client = HttpPeer::connect(&proxy);
    client.say(format!("GET http://a/ HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: x\r\n".repeat(1000)));
    assert_eq!(client.answer().0, 431);

    let verbose = origin(|mut peer| {
        peer.head();
        peer.say("HTTP/1.1 200 OK\r\nX: ");
        while peer.0.get_mut().write(&[b'x'; 65536]).is_ok() {}
    });
    assert_eq!(HttpPeer::connect(&proxy).ask("GET", verbose, "/", "").answer().0, 502);
    assert!(proxy.resident().unwrap() < 32 << 20);
}

#[test]
fn a_request_that_drips_in_is_not_awaited_for_ever() {
    let proxy = impatient();
    let mut client = HttpPeer::connect(&proxy);
    client.say("GET http://a/ HTTP/1.1\r\nHost: a\r\n");
    let mut writer = client.0.get_ref().try_clone().unwrap();
    thread::spawn(move || {
        while writer.write_all(b"X: x\r\n").is_ok() {
            thread::sleep(Duration::from_millis(50)); // what it is about: to be slow
        }
    });
    let waiting = origin(|mut peer| drop(peer.rest()));
    let (mut uploading, mut silent) = (HttpPeer::connect(&proxy), HttpPeer::connect(&proxy));
    uploading.ask("POST", waiting, "/", "Content-Length: 5\r\n").say("hell");
    assert_eq!(client.answer().0, 408);
    assert_eq!(uploading.answer().0, 408);
    silent.expect_end(); // no request, no response
}

#[test]
fn an_origin_that_stalls_is_a_gateway_timeout_or_cut() {
    let proxy = impatient();
    let silent = origin(|mut peer| drop(peer.rest()));
    let mut unanswered = HttpPeer::connect(&proxy);
    unanswered.ask("GET", silent, "/", "");
    let mut cut: Vec<HttpPeer> = ["Content-Length: 10\r\n", "Transfer-Encoding: chunked\r\n", ""]
        .into_iter()
        .map(|fields| {
            let stalling = origin(move |mut peer| {
                peer.head();
                peer.say(format!("HTTP/1.1 200 OK\r\n{fields}\r\n3\r\nabc\r\n"));
                drop(peer.rest());
            });
            let mut client = HttpPeer::connect(&proxy);
            client.ask("GET", stalling, "/", "");
            client
        })
        .collect();
    for client in &mut cut {
        assert_eq!(client.head().unwrap().status(), 200);
        client.expect_reset();
    }
    assert_eq!(unanswered.answer().0, 504);
}

#[test]
fn an_answer_that_is_cut_short_never_looks_complete() {
    let proxy = proxy();
    for fields in ["Content-Length: 10\r\n", "Transfer-Encoding: chunked\r\n", "Connection: close\r\n"] {
        for reset in [false, true] {
            let ends_by_closing = fields.starts_with("Connection");
            if ends_by_closing && !reset {
                continue;
            }
            let origin = origin(move |mut peer| {
                peer.head();
                peer.say(format!(
                    "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\n{fields}\r\n4\r\nabcd\r\n"
                ));
                peer.0.get_mut().write_all(b"").unwrap();
                if reset {
                    peer.reset();
                }
            });
            for version in ["1.0", "1.1"] {
                let mut client = HttpPeer::connect(&proxy);
                client.say(format!("GET http://{origin}/ HTTP/{version}\r\nHost: {origin}\r\n\r\n"));
                if let Some(head) = client.head() {
                    assert_eq!((head.status(), head.get("x-cache")), (200, Some("MISS")), "none is kept");
                }
                client.expect_reset();
            }
        }
    }
}
