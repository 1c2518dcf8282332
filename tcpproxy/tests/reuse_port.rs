//! Several processes on one port: each takes its share, and one that stops loses no client.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)] // a test that cannot go on says so by failing

mod common;

use std::net::TcpListener;

use common::{
    PROGRAM, Workers, assert_status_0, connect, converse, conversing, echo, stop, until, until_stopping,
    visit,
};
use testkit::proxy::Proxy;
use testkit::replay::at_once;

fn sharing(port: &str, listen: u16, options: &[&str]) -> Proxy {
    let command = Proxy::command(PROGRAM).args(["127.0.0.1", port, &listen.to_string()]);
    command.args(["--bind", "127.0.0.1", "--reuse-port"]).args(options).start().unwrap()
}

fn sessions(proxy: &Proxy) -> usize {
    proxy.log().iter().filter(|line| line.contains("session ended")).count()
}

#[test]
fn every_process_takes_load() {
    let port = echo();
    let first = sharing(&port, 0, &[]);
    let address = first.address();
    let proxies = [first, sharing(&port, address.port(), &[]), sharing(&port, address.port(), &[])];
    for _ in 0..300 {
        visit(address).unwrap();
    }
    until("the log of all sessions", || proxies.iter().map(sessions).sum::<usize>() == 300);
    for proxy in &proxies {
        // The kernel chooses by a hash of the addresses; fewer than 40 of 300 is less likely than 1 in 10^12.
        assert!(sessions(proxy) >= 40, "{:?}", proxies.each_ref().map(sessions));
    }
}

/// On one port the older of two processes is replaced each time, on another one the newer.
#[test]
fn draining_and_replacing_one_process_after_the_other_loses_no_client() {
    at_once([0, 1], |next| {
        let port = echo();
        let options = ["--max-clients", "0", "-q"];
        let first = sharing(&port, 0, &options);
        let address = first.address();
        let mut proxies = vec![first, sharing(&port, address.port(), &options)];
        let workers = Workers::start(address, 4);
        for _ in 0..2 {
            workers.until_more(200);
            let mut leaving = proxies.remove(next);
            stop(&mut leaving);
            proxies.push(sharing(&port, address.port(), &options));
        }
        workers.stop();
    });
}

#[test]
fn a_client_pending_for_the_only_permit_is_served_before_the_process_ends() {
    let port = echo();
    let mut leaving = sharing(&port, 0, &[]);
    let address = leaving.address();
    let served = conversing(address);
    let waiting = [connect(address), connect(address)];
    leaving.terminate().unwrap();
    until_stopping(&leaving);
    let _other = sharing(&port, address.port(), &[]);
    // Clients that the kernel offers to the stopping process get no answer until it has ended.
    let newcomers: Vec<_> = (0..8).map(|_| std::thread::spawn(move || visit(address))).collect();
    drop(served);
    for client in waiting {
        converse(&client);
    }
    assert_status_0(&mut leaving);
    for newcomer in newcomers {
        newcomer.join().unwrap().unwrap();
    }
}

#[test]
fn a_second_signal_ends_a_stop_that_serves_pending_clients() {
    let port = echo();
    let mut leaving = sharing(&port, 0, &["--drain-timeout", "1h"]);
    let served = conversing(leaving.address());
    let waiting = connect(leaving.address());
    leaving.terminate().unwrap();
    until_stopping(&leaving);
    drop(served);
    converse(&waiting);
    leaving.interrupt().unwrap();
    assert_status_0(&mut leaving);
}

#[test]
fn a_port_that_others_do_not_share_is_taken() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = taken.local_addr().unwrap().port().to_string();
    let error = Proxy::command(PROGRAM)
        .args(["127.0.0.1", "80", &listen, "--bind", "127.0.0.1", "--reuse-port"])
        .start()
        .unwrap_err();
    assert!(error.to_string().contains("cannot listen on 127.0.0.1:"), "{error}");
}
