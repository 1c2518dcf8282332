//! A program that is no proxy of ours, started on a port it was told.

use std::net::TcpStream;

use testkit::proxy::{Proxy, free_port};

#[test]
fn a_program_that_announces_nothing_is_ready_when_it_listens() {
    let port = free_port().unwrap();
    let program = Proxy::command(env!("CARGO_BIN_EXE_testkit")).args(["origin", "--port", &port.to_string()]);
    let origin = program.start_on(port).unwrap();
    TcpStream::connect(origin.address()).unwrap();
}
