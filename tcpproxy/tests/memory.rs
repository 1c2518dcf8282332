//! What a session costs while nothing happens in it.

#![allow(clippy::unwrap_used)] // a test that cannot go on says so by failing

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use testkit::proxy::Proxy;

/// What the resident memory grows by, tables and what the allocator adds included. Buffers and pipes are lent only
/// while bytes are in them, and the kernel's memory is not counted. Calloop has some hundred bytes for each source.
const MOST: u64 = if cfg!(all(target_os = "linux", not(portable))) { 700 } else { 1200 };

#[test]
fn an_idle_session_after_traffic_costs_at_most_700_bytes() {
    let possible = eventloop::raise_descriptor_limit(u64::MAX) / 3;
    let sessions = possible.min(2000) as usize; // each has two descriptors here
    assert!(sessions >= 300, "there are too few descriptors: raise the hard limit (ulimit -Hn)");
    let origin = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = origin.local_addr().unwrap().port().to_string();
    let arguments = ["127.0.0.1", &port, "0", "--max-clients", "2500"];
    let proxy = Proxy::command(env!("CARGO_BIN_EXE_tcpproxy")).args(arguments).start().unwrap();
    let session = || {
        let mut client = TcpStream::connect(proxy.address()).unwrap();
        let mut server = origin.accept().unwrap().0;
        let mut bytes = vec![0x5a; 20_000];
        client.write_all(&bytes).unwrap();
        server.read_exact(&mut bytes).unwrap();
        server.write_all(&bytes).unwrap();
        client.read_exact(&mut bytes).unwrap();
        (client, server)
    };
    let _first: Vec<_> = (0..50).map(|_| session()).collect(); // code and buffers are in memory then
    let before = proxy.resident().unwrap();
    let _sessions: Vec<_> = (0..sessions).map(|_| session()).collect();
    let cost = (proxy.resident().unwrap() - before) / sessions as u64;
    assert!((100..=MOST).contains(&cost), "{cost} bytes for each session");
}
