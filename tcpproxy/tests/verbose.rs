//! With `-v` the log shows each session on its way, line by line as docs/log.md says, and without it only the end.

#![allow(clippy::unwrap_used)] // a test that cannot go on says so by failing

mod common;

use std::io::{Read, Write};
use std::net::SocketAddr;

use common::{PATIENCE, connect, connect_before_reset, echo, json_proxy};
use serde_json::Value;
use testkit::peer::Refuser;
use testkit::proxy::Proxy;

/// The lines that name one of these clients, once a session is over.
fn lines_of(proxy: &Proxy, clients: &[SocketAddr]) -> Vec<Value> {
    proxy.wait_for_line(PATIENCE, |line| line.contains("session ended")).unwrap();
    let lines = proxy.log();
    let lines = lines.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.filter(|line| clients.iter().any(|client| line["client"] == client.to_string())).collect()
}

fn messages(lines: &[Value]) -> Vec<&str> {
    lines.iter().map(|line| line["message"].as_str().unwrap()).collect()
}

#[test]
fn with_v_a_session_is_logged_when_it_begins_and_at_each_connect_attempt() {
    let refuser = Refuser::new().unwrap();
    let proxy = json_proxy("127.0.0.1", refuser.address().port(), &["-v"]);
    let mut client = connect_before_reset(&proxy);
    client.read(&mut [0]).unwrap_err();
    let lines = lines_of(&proxy, &[client.local_addr().unwrap()]);
    assert_eq!(messages(&lines), ["session began", "connecting", "connect failed", "session ended"]);
    for line in &lines[..3] {
        assert_eq!(line["level"], "DEBUG", "{line}");
    }
    for line in &lines[1..3] {
        assert_eq!(line["address"], refuser.address().to_string(), "{line}");
    }
    assert!(lines[2]["error"].as_str().unwrap().contains("refused"), "{}", lines[2]);
}

#[test]
fn with_v_a_header_is_logged_when_it_was_read_and_a_server_when_it_is_reached() {
    let port = echo();
    let proxy = json_proxy("127.0.0.1", &port, &["-v", "--accept-proxy-protocol"]);
    let mut client = connect(proxy.address());
    let header = b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 80\r\n";
    client.write_all(header).unwrap();
    common::converse(&client);
    let peer = client.local_addr().unwrap();
    drop(client);
    let server: SocketAddr = ([127, 0, 0, 1], port.parse().unwrap()).into();
    let lines = lines_of(&proxy, &[peer, SocketAddr::from(([192, 0, 2, 7], 4711))]);
    let expected = ["session began", "PROXY header read", "connecting", "connected", "session ended"];
    assert_eq!(messages(&lines), expected);
    assert_eq!(lines[0]["client"], peer.to_string());
    assert_eq!(lines[1]["peer"], peer.to_string());
    assert_eq!(lines[1]["bytes"], header.len());
    assert_eq!(lines[2]["address"], server.to_string());
    assert_eq!(lines[3]["server"], server.to_string());
    assert!(lines[3]["connect_ms"].is_number(), "{}", lines[3]);
}

#[test]
fn without_v_a_session_has_one_line() {
    let proxy = json_proxy("127.0.0.1", echo(), &[]);
    let client = connect(proxy.address());
    common::converse(&client);
    let address = client.local_addr().unwrap();
    drop(client);
    assert_eq!(messages(&lines_of(&proxy, &[address])), ["session ended"]);
}
