//! Large bodies, many clients, and clients that do nothing: in little memory and no processor time.

use std::io::{BufRead, Write};
use std::net::Shutdown;
use std::sync::Mutex;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use testkit::payload::{Payload, Verifier};
use testkit::seed::Seed;

use crate::peers::{HttpPeer, PATIENCE, answering, ok, origin, proxy, proxy_and_client, proxy_with, until};

#[test]
fn a_body_of_any_size_goes_through_in_little_memory() {
    const SIZE: usize = 20_000_000;
    let payload = Payload::new(Seed::new(5));
    let verify = move |mut peer: HttpPeer, chunked: bool| {
        let mut verifier = Verifier::new(payload);
        let mut size = if chunked { 0 } else { SIZE };
        loop {
            if chunked {
                let mut line = String::new();
                peer.0.read_line(&mut line).unwrap();
                size = usize::from_str_radix(line.trim_end(), 16).unwrap();
            }
            while size > 0 {
                let bytes = peer.bytes(size.min(65536));
                verifier.feed(&bytes).unwrap();
                size -= bytes.len();
            }
            if verifier.received() == SIZE as u64 {
                return (verifier.finish(SIZE as u64).unwrap(), peer);
            }
            peer.bytes(2);
        }
    };
    let send = move |peer: &mut HttpPeer, chunked: bool| {
        for offset in (0..SIZE).step_by(100_000) {
            if chunked {
                peer.say(format!("{:X}\r\n", 100_000));
            }
            peer.say(payload.bytes(offset as u64, 100_000));
            if chunked {
                peer.say("\r\n");
            }
        }
        if chunked {
            peer.say("0\r\n\r\n");
        }
    };
    let proxy = proxy();
    for chunked in [false, true] {
        let framing = if chunked {
            "Transfer-Encoding: chunked\r\n".into()
        } else {
            format!("Content-Length: {SIZE}\r\n")
        };
        let copy = framing.clone();
        let origin = origin(move |mut peer| {
            peer.head();
            let (_, mut peer) = verify(peer, chunked);
            if chunked {
                assert_eq!(peer.bytes(7), b"\r\n0\r\n\r\n");
            }
            peer.say(format!("HTTP/1.1 200 OK\r\n{copy}\r\n"));
            send(&mut peer, chunked);
        });
        let mut client = HttpPeer::connect(&proxy);
        client.ask("POST", origin, "/", &framing);
        send(&mut client, chunked);
        assert_eq!(client.head().unwrap().status(), 200);
        verify(client, chunked);
    }
    let resident = proxy.resident().unwrap();
    assert!(resident < 32 << 20, "{resident} bytes");
}

#[test]
fn a_client_that_does_not_read_makes_the_origin_wait() {
    let (sender, sent) = channel();
    let sender = Mutex::new(sender);
    let origin = origin(move |mut peer| {
        peer.head();
        peer.say("HTTP/1.1 200 OK\r\n\r\n");
        peer.0.get_ref().set_write_timeout(Some(Duration::from_millis(200))).unwrap();
        let mut bytes = 0_u64;
        while let Ok(n) = peer.0.get_mut().write(&[0; 65536]) {
            bytes += n as u64;
        }
        sender.lock().unwrap().send(bytes).unwrap();
    });
    let (proxy, mut client) = proxy_and_client();
    client.ask("GET", origin, "/", "");
    let sent = sent.recv_timeout(PATIENCE).unwrap();
    assert!(sent < 64 << 20, "the kernel holds some, the proxy no more than its rings: {sent}");
    assert!(proxy.resident().unwrap() < 32 << 20);
}

#[test]
fn many_clients_come_and_go_and_nothing_is_left() {
    let (origin, _) = answering(|head| ok("Connection: close\r\n", &head.path().repeat(1000)));
    // Those of the last round may still count when the next ones come.
    let proxy = proxy_with(&["--max-per-address", "256"]);
    let before = proxy.descriptors().unwrap();
    for round in 0..5 {
        let mut clients: Vec<HttpPeer> = (0..100).map(|_| HttpPeer::connect(&proxy)).collect();
        for client in &mut clients {
            client.ask("GET", origin, "/", "");
        }
        for (number, mut client) in clients.into_iter().enumerate() {
            match (number + round) % 3 {
                0 => assert_eq!(client.answer().0, 200),
                1 => client.reset(),
                _ => {}
            }
        }
    }
    until("no more descriptors than before", || proxy.descriptors().unwrap() <= before + 1);
}

#[test]
fn connections_that_wait_cost_no_processor_time() {
    let silent = origin(|mut peer| drop(peer.rest()));
    let (answers, _) = answering(|_| ok("", "x"));
    let endless = origin(|mut peer| {
        peer.head();
        peer.say("HTTP/1.1 200 OK\r\n\r\n");
        while peer.0.get_mut().write(&[0; 65536]).is_ok() {}
    });
    let proxy = proxy();
    let mut clients: Vec<HttpPeer> = (0..7).map(|_| HttpPeer::connect(&proxy)).collect();
    clients[1].say("GET http://");
    clients[2].ask("GET", silent, "/", "");
    clients[3].ask("GET", silent, "/", "").0.get_ref().shutdown(Shutdown::Write).unwrap();
    clients[4].ask("GET", endless, "/", "");
    clients[5].ask("GET", answers, "/", "").answer();
    clients[6].say(format!("CONNECT {silent} HTTP/1.1\r\nHost: a\r\n\r\n")).head();
    clients[6].0.get_ref().shutdown(Shutdown::Write).unwrap();
    until("half a second passes in which nothing happens", || {
        let before = proxy.cpu_time().unwrap();
        thread::sleep(Duration::from_millis(500)); // what is measured is this time
        proxy.cpu_time().unwrap() - before <= Duration::from_millis(20)
    });
}
