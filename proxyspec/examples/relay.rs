//! The plainest of TCP proxies, two blocking threads a client, to compare others with:
//! `relay remote_host remote_port server_port`.

use std::io;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread;

fn main() -> io::Result<()> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [host, port, listen] = &arguments[..] else {
        return Err(io::Error::other("usage: relay remote_host remote_port server_port"));
    };
    let listener = TcpListener::bind(format!("127.0.0.1:{listen}"))?;
    let server = format!("{host}:{port}");
    for client in listener.incoming().flatten() {
        let server = server.clone();
        // An error ends its session alone.
        thread::spawn(move || session(client, &server));
    }
    Ok(())
}

fn session(client: TcpStream, server: &str) -> io::Result<()> {
    let server = TcpStream::connect(server)?;
    for stream in [&client, &server] {
        stream.set_nodelay(true)?;
    }
    let (from, to) = (client.try_clone()?, server.try_clone()?);
    thread::spawn(move || copy(&from, &to));
    copy(&server, &client)
}

/// Copies until the end, and hands the end on.
fn copy(mut from: &TcpStream, mut to: &TcpStream) -> io::Result<()> {
    io::copy(&mut from, &mut to)?;
    to.shutdown(Shutdown::Write)
}
