//! `limit`: not faster than the rate. (`relay::rate_limit` has the test with a simulated clock that it is within 5 %.)

use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use testkit::proxy::Proxy;

use crate::{accept, connect, listen, run, serve_once};

fn start_with(server_port: &str, rate: &str) -> Proxy {
    Proxy::example("limit").args(["0", "127.0.0.1", server_port, rate]).start().unwrap()
}

pub(crate) fn start(server_port: &str) -> Proxy {
    start_with(server_port, "1000000000")
}

pub(crate) fn open(proxy: &Proxy, server: &TcpListener) -> (TcpStream, TcpStream) {
    (connect(proxy), accept(server))
}

#[test]
fn a_download_by_curl_takes_as_long_as_the_rate_demands() {
    let (server, port) = listen();
    let proxy = start_with(&port, "1000000");
    let body: Vec<u8> = (0..500_000_u32).map(|i| i as u8).collect();
    let server = serve_once(server, body.clone());
    let begin = Instant::now();
    let url = format!("http://{}/", proxy.address());
    assert_eq!(run("curl", &["--silent", "--show-error", &url]), (Some(0), body));
    assert!(begin.elapsed() > Duration::from_millis(475), "{:?} for half a second's bytes", begin.elapsed());
    server.join().unwrap();
}
