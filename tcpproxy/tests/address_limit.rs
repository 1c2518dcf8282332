//! One address has as many clients as it may, and more are reset at once.

#![allow(clippy::unwrap_used)] // a test that cannot go on says so by failing

mod stage;

use std::net::TcpStream;

use stage::{End, Stage, fin, reset};
use tcpproxy::Config;

fn limited(max_per_address: usize, change: impl FnOnce(Config) -> Config) -> Stage {
    Stage::with(|config| {
        change(Config { max_per_address: Some(max_per_address), max_clients: Some(8), ..config })
    })
}

fn connect(stage: &Stage, header: &str) -> TcpStream {
    let mut client = stage.client();
    std::io::Write::write_all(&mut client, header.as_bytes()).unwrap();
    client
}

#[test]
fn a_client_too_many_of_one_address_is_reset_and_counted_and_one_of_another_address_is_served() {
    let mut stage = limited(2, |config| config);
    let (first, first_server) = stage.session();
    let (_second, _second_server) = stage.session();
    for count in 1..=3 {
        let third = stage.client();
        assert_eq!(stage.drain(&third), (vec![], End::Reset));
        assert_eq!(stage.proxy.statistics().limited, count);
    }
    let other = stage.client_over_ipv6();
    let other_server = stage.accept();
    stage.carry(&other_server, &other, b"hello");
    // One that leaves makes room for the next one of its address.
    fin(&first);
    fin(&first_server);
    assert_eq!(stage.drain(&first), (vec![], End::Fin));
    stage.until_active(2);
    let _fourth = stage.session();
    assert_eq!(stage.proxy.statistics().active, 3);
}

#[test]
fn a_client_too_many_is_reset_at_once_also_while_no_further_client_can_be_served() {
    let mut stage = limited(1, |config| Config { max_clients: Some(1), ..config });
    let (client, server) = stage.session();
    for _ in 0..3 {
        let second = stage.client();
        assert_eq!(stage.drain(&second), (vec![], End::Reset));
    }
    stage.assert_quiet();
    stage.carry(&client, &server, b"undisturbed");
}

#[test]
fn behind_a_balancer_the_address_that_it_names_counts() {
    let mut stage = limited(1, |config| Config { accept_proxy_protocol: true, ..config });
    let header = |ip: &str, port: u16| format!("PROXY TCP4 {ip} 198.51.100.7 {port} 443\r\n");
    let first = connect(&stage, &header("192.0.2.1", 1));
    let _first_server = stage.accept();
    let second = connect(&stage, &header("192.0.2.1", 2));
    assert_eq!(stage.drain(&second), (vec![], End::Reset));
    assert_eq!(stage.proxy.statistics().limited, 1);
    let _other = connect(&stage, &header("192.0.2.2", 1));
    let _other_server = stage.accept();
    // A health check names no client: it does not count.
    for _ in 0..2 {
        let _check = connect(&stage, "PROXY UNKNOWN\r\n");
        drop(stage.accept());
    }
    reset(first);
    stage.until_active(1);
    let _again = connect(&stage, &header("192.0.2.1", 3));
    let _again_server = stage.accept();
    assert!(stage.origin.accept().is_err(), "the client too many reached no server");
}
