//! `limit`: not faster than the rate. (`relay::rate_limit` has the test with a simulated clock that it is within 5 %.)

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use testkit::proxy::Proxy;

use crate::{accept, connect, listen, read_all};

pub(crate) fn start_with(server_port: &str, rate: &str) -> Proxy {
    Proxy::example("limit").args(["0", "127.0.0.1", server_port, rate]).start().unwrap()
}

pub(crate) fn start(server_port: &str) -> Proxy {
    start_with(server_port, "1000000000")
}

pub(crate) fn open(proxy: &Proxy, server: &TcpListener) -> (TcpStream, TcpStream) {
    (connect(proxy), accept(server))
}

#[test]
fn a_download_takes_as_long_as_the_rate_demands() {
    let (server, port) = listen();
    let proxy = start_with(&port, "1000000");
    let begin = Instant::now();
    let (client, mut server) = open(&proxy, &server);
    let body: Vec<u8> = (0..300_000_u32).map(|i| i as u8).collect();
    server.write_all(&body).unwrap();
    drop(server);
    assert_eq!(read_all(&client), body);
    // The bucket was full when the server's first byte came if the way to it took long: that is what comes in 40 ms.
    assert!(begin.elapsed() >= Duration::from_millis(260), "{:?} for 0.3 seconds' bytes", begin.elapsed());
}
