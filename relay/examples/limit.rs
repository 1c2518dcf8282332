//! Forwards each client to one server, at most RATE bytes a second in each direction of each session:
//! `cargo run --release --example limit -- 7000 example.org 80 100000`.

use eventloop::{ConnectOptions, Connector, EventLoop, Listener, Resolver, Result, SocketOptions};
use relay::{Limits, serve};

const CLIENTS: usize = 1000;
/// The most bytes that wait in one direction of a session.
const CAPACITY: usize = 64 * 1024;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [port, host, server_port, rate] = &arguments[..] else {
        return Err("usage: limit PORT HOST SERVER_PORT RATE".into());
    };
    let (host, server_port, rate): (_, u16, u64) = (host.clone(), server_port.parse()?, rate.parse()?);
    let socket = SocketOptions { no_delay: true, ..SocketOptions::default() };
    let options = ConnectOptions { socket, ..ConnectOptions::default() };
    let listener = Listener::bind_all(port.parse()?, socket)?;
    let mut event_loop = EventLoop::new()?;
    println!("listening on {}", listener.local_addr()?);
    let resolver = Resolver::new();
    event_loop.spawn(serve(listener, CLIENTS, CAPACITY, Limits::default(), move |mut session, ready| {
        session.limit_rate(Some(rate), Some(rate), ready.now());
        session.connect(Connector::new(resolver.lookup(&host, server_port), options, ready.now()));
        ready.spawn(session);
    }));
    Ok(event_loop.run()?)
}
