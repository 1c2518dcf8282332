//! A program with a proxy inside: `cargo run --release --example embed -- 7000` serves a greeting through
//! it to any number of clients at once, tells how it is doing, and stops after three of them.

use std::io::Write;
use std::net::TcpListener;
use std::thread;
use std::time::Duration;

use tcpproxy::{Config, Proxy};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let server_port = std::env::args().nth(1).ok_or("usage: embed PORT")?.parse()?;

    // The server behind the proxy: any TCP server, anywhere.
    let server = TcpListener::bind("127.0.0.1:0")?;
    let port = server.local_addr()?.port();
    thread::spawn(move || {
        for mut client in server.incoming().flatten() {
            let _ = client.write_all(b"hello through the proxy\n");
        }
    });

    let mut proxy =
        Proxy::start(Config { server_port, max_clients: None, ..Config::new("127.0.0.1", port) })?;
    println!("listening on {}", proxy.local_addr());
    while proxy.is_running() {
        proxy.turn(Some(Duration::from_secs(1)))?;
        let now = proxy.statistics();
        println!("{} sessions now, {} ended, {} bytes up, {} down", now.active, now.ended, now.up, now.down);
        if now.ended >= 3 {
            proxy.stop(); // sessions that are left may finish
        }
    }
    Ok(())
}
