//! Clients that keep coming, and notice when one of them is not served.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used)] // each test file uses a part of this

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

pub const PROGRAM: &str = env!("CARGO_BIN_EXE_tcpproxy");
/// Longer than any machine takes.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A server that sends back what it gets, until the test program ends; its port.
pub fn echo() -> String {
    let origin = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = origin.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in origin.incoming().flatten() {
            std::thread::spawn(move || {
                let _ = io::copy(&mut &stream, &mut &stream);
                let _ = stream.shutdown(Shutdown::Write);
            });
        }
    });
    port.to_string()
}

/// A client that waits for its answers, but not for ever.
pub fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect_timeout(&address, PATIENCE).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Sends something to the server, and receives it again.
#[track_caller]
pub fn converse(mut client: &TcpStream) {
    let mut echo = [0; 5];
    client.write_all(b"hello").unwrap();
    client.read_exact(&mut echo).unwrap();
    assert_eq!(&echo, b"hello");
}

/// A whole session, from the first byte to both ends.
pub fn visit(address: SocketAddr) -> io::Result<()> {
    let mut client = TcpStream::connect_timeout(&address, PATIENCE)?;
    client.set_read_timeout(Some(PATIENCE))?;
    client.write_all(b"all of this comes back")?;
    client.shutdown(Shutdown::Write)?;
    let mut echo = String::new();
    client.read_to_string(&mut echo)?;
    if echo == "all of this comes back" { Ok(()) } else { Err(io::Error::other(format!("got {echo:?}"))) }
}

/// Waits for a condition that the kernel, another thread or another process brings about.
#[track_caller]
pub fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !condition() {
        assert!(begin.elapsed() < PATIENCE, "in vain: {what}");
        std::thread::sleep(Duration::from_millis(5)); // there is no event for it, so look again
    }
}

/// Threads that visit one address again and again.
pub struct Crowd {
    served: Arc<AtomicUsize>,
    enough: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Vec<io::Error>>>,
}

impl Crowd {
    pub fn gather(address: SocketAddr, size: usize) -> Self {
        let (served, enough) = (Arc::<AtomicUsize>::default(), Arc::<AtomicBool>::default());
        let visitor = |_| {
            let (served, enough) = (served.clone(), enough.clone());
            std::thread::spawn(move || {
                let mut failures = Vec::new();
                while !enough.load(Ordering::Relaxed) {
                    match visit(address) {
                        Ok(()) => _ = served.fetch_add(1, Ordering::Relaxed),
                        Err(error) => failures.push(error),
                    }
                }
                failures
            })
        };
        let threads = (0..size).map(visitor).collect();
        Self { served, enough, threads }
    }

    /// How many have been served so far.
    pub fn served(&self) -> usize {
        self.served.load(Ordering::Relaxed)
    }

    /// Waits until `more` further clients have been served.
    #[track_caller]
    pub fn until_more(&self, more: usize) {
        let goal = self.served() + more;
        until("visits", || self.served() >= goal);
    }

    /// Ends all clients, and looks whether one was turned away.
    #[track_caller]
    pub fn disperse(self) {
        self.enough.store(true, Ordering::Relaxed);
        let failures: Vec<io::Error> =
            self.threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
        let served = self.served.load(Ordering::Relaxed);
        assert!(failures.is_empty(), "{} of {served} visits failed: {failures:?}", failures.len());
    }
}
