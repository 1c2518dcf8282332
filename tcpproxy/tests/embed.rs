//! The example that has a proxy inside.

#![allow(clippy::unwrap_used)] // a test that cannot go on says so by failing

use std::io::Read;
use std::net::TcpStream;
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
        let told = format!("0 sessions now, {number} ended, 0 bytes up, {bytes} down");
        program.wait_for_line(patience, |line| line == told).unwrap();
    }
    assert!(program.wait(patience).unwrap().success());
}
