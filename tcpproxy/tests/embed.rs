//! The example that has a proxy inside.

#![allow(clippy::unwrap_used)] // a test that cannot go on says so by failing

use std::io::Read;
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use testkit::proxy::Proxy;

#[test]
fn embed_serves_three_clients_tells_about_them_and_stops() {
    let mut program = Proxy::example("embed").arg("0").start().unwrap();
    let patience = Duration::from_secs(30);
    for number in 1..=3 {
        let mut got = String::new();
        TcpStream::connect(program.address()).unwrap().read_to_string(&mut got).unwrap();
        assert_eq!(got, "hello through the proxy\n");
        let bytes = number * got.len();
        let report = format!("0 sessions now, {number} ended, 0 bytes up, {bytes} down");
        program.wait_for_line(patience, |line| line == report).unwrap();
    }
    assert!(program.wait(patience).unwrap().success());
}

/// What is over is closed, and the program ends with its last session. In debug builds a session that spins would end it
/// earlier.
#[test]
fn embed_outlives_clients_that_reset_stall_or_half_close() {
    let mut program = Proxy::example("embed").arg("0").start().unwrap();
    let patience = Duration::from_secs(30);
    let connect = || {
        let client = TcpStream::connect(program.address()).unwrap();
        client.set_read_timeout(Some(patience)).unwrap();
        client
    };
    let stalled = connect(); // it neither reads nor closes
    let with_bytes_pending = connect();
    with_bytes_pending.peek(&mut [0]).unwrap();
    eventloop::testing::reset(with_bytes_pending).unwrap();
    for _ in 0..2 {
        let mut half_closed = connect();
        half_closed.shutdown(Shutdown::Write).unwrap();
        let mut got = String::new();
        half_closed.read_to_string(&mut got).unwrap();
        assert_eq!(got, "hello through the proxy\n");
    }
    program.wait_for_line(patience, |line| line.starts_with("1 sessions now, 3 ended, 0 bytes up")).unwrap();
    drop(stalled);
    assert!(program.wait(patience).unwrap().success());
}
