//! A client that may not connect is reset at once, and costs the other clients nothing.

#![allow(clippy::unwrap_used)] // a test that cannot go on says so by failing

mod stage;

use std::net::TcpStream;
use std::time::Duration;

use stage::{End, Stage, fin, reset};
use tcpproxy::Config;

/// A proxy that serves clients over IPv6 alone.
fn choosy(change: impl FnOnce(Config) -> Config) -> Stage {
    Stage::with(|config| change(Config { allow: vec!["::1/128".parse().unwrap()], ..config }))
}

fn insider(stage: &Stage) -> TcpStream {
    stage.client_over_ipv6()
}

fn outsider(stage: &Stage) -> TcpStream {
    stage.client()
}

#[test]
fn an_outsider_is_reset_and_counted_and_no_server_is_connected_to() {
    let mut stage = choosy(|config| config);
    for count in 1..=3 {
        let client = outsider(&stage);
        stage.send(&client, b"let me in");
        assert_eq!(stage.drain(&client), (vec![], End::Reset));
        assert_eq!(stage.proxy.statistics().denied, count);
    }
    assert_eq!(stage.proxy.statistics().ended, 0, "it never was a session");
    assert!(stage.origin.accept().is_err(), "no connection was made");
    let client = insider(&stage);
    stage.send(&client, b"hello");
    let server = stage.accept();
    assert_eq!(stage.receive(&server, 5), b"hello");
}

#[test]
fn an_outsider_is_reset_at_once_also_while_all_permits_are_taken() {
    let mut stage = choosy(|config| config);
    let client = insider(&stage);
    let server = stage.accept();
    for _ in 0..3 {
        let outsider = outsider(&stage);
        assert_eq!(stage.drain(&outsider), (vec![], End::Reset));
    }
    stage.assert_quiet();
    stage.carry(&client, &server, b"undisturbed");
}

#[test]
fn insiders_wait_in_their_order_and_are_served_one_at_a_time() {
    let mut stage = choosy(|config| config);
    let mut clients = Vec::new();
    for i in 0..4 {
        let client = insider(&stage);
        stage.send(&client, &[i]);
        clients.push(client);
        if i == 1 {
            stage.settle(); // it waits inside by now, and the others in the kernel's queue
        }
    }
    let _behind_them = outsider(&stage);
    for (i, client) in clients.iter().enumerate() {
        let server = stage.accept();
        stage.assert_quiet();
        assert_eq!(stage.proxy.statistics().active, 1);
        assert!(stage.origin.accept().is_err(), "one at a time");
        assert_eq!(stage.receive(&server, 1), [i as u8]);
        fin(client);
        fin(&server);
        assert_eq!(stage.drain(&server), (vec![], End::Fin));
    }
    stage.until_over();
    stage.settle();
    assert_eq!(stage.proxy.statistics().denied, 1);
}

#[test]
fn a_session_yields_to_an_insider_and_not_to_an_outsider() {
    let idle = Duration::from_millis(50);
    let mut stage = choosy(|config| Config { yield_idle: Some(idle), ..config });
    let first = insider(&stage);
    let server = stage.accept();
    let outsider = outsider(&stage);
    assert_eq!(stage.drain(&outsider), (vec![], End::Reset));
    stage.assert_quiet();
    assert_eq!(stage.proxy.statistics().active, 1);
    let second = insider(&stage);
    stage.send(&second, b"my turn");
    let _new_server = stage.until_served(b"my turn");
    assert_eq!(stage.drain(&first), (vec![], End::Reset));
    drop(server);
}

#[test]
fn a_client_that_was_accepted_ahead_is_served_if_a_session_ends_before_the_stop_is_over() {
    let mut stage = choosy(|config| config);
    let first = insider(&stage);
    let server = stage.accept();
    let second = insider(&stage);
    stage.send(&second, b"my turn");
    stage.settle();
    stage.proxy.stop();
    stage.settle();
    reset(first);
    drop(server);
    let server = stage.until_served(b"my turn");
    fin(&server);
    fin(&second);
    stage.until_over();
    stage.proxy.run().unwrap(); // returns: nothing is left to do
}

#[test]
fn a_client_that_was_accepted_ahead_and_finds_no_permit_is_reset() {
    let drain_timeout = Duration::from_millis(200);
    let mut stage = choosy(|config| Config { drain_timeout, ..config });
    let _first = insider(&stage);
    let _server = stage.accept();
    let second = insider(&stage);
    stage.settle();
    stage.proxy.stop();
    stage.until_over();
    assert_eq!(stage.drain(&second), (vec![], End::Reset));
    stage.proxy.run().unwrap(); // returns: nothing is left to do
}

#[test]
fn a_header_cannot_make_an_insider_of_an_outsider() {
    let mut stage = choosy(|config| Config { accept_proxy_protocol: true, ..config });
    let client = outsider(&stage);
    stage.send(&client, b"PROXY TCP6 ::1 ::1 80 443\r\n");
    assert_eq!(stage.drain(&client), (vec![], End::Reset));
    let client = insider(&stage);
    stage.send(&client, b"PROXY TCP4 192.0.2.1 192.0.2.2 80 443\r\nhello");
    let server = stage.accept();
    assert_eq!(stage.receive(&server, 5), b"hello");
}
