//! The program under test, a server behind it, and clients of it.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used)] // each test file uses a part of this

use std::fmt::Display;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use testkit::proxy::Proxy;

pub const PROGRAM: &str = env!("CARGO_BIN_EXE_tcpproxy");
/// Longer than any machine takes.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A proxy in front of a server at this port of the loopback address.
pub fn proxy(port: &str, options: &[&str]) -> Proxy {
    Proxy::command(PROGRAM).args(["127.0.0.1", port, "0"]).args(options).start().unwrap()
}

/// A proxy in front of this server, whose log is JSON.
pub fn json_proxy(host: &str, port: impl Display, options: &[&str]) -> Proxy {
    let proxy = Proxy::command(PROGRAM).args([host, &port.to_string(), "0", "--log-format", "json"]);
    proxy.args(options).start().unwrap()
}

/// The program as a child that does not outlive the test.
pub struct Running(pub Child);

impl Running {
    /// Starts the program with this standard error; its address, which is in the first line of its output.
    pub fn with_stderr(stderr: Stdio, port: &str, options: &[&str]) -> (Self, SocketAddr) {
        let mut child = Command::new(PROGRAM)
            .args(["127.0.0.1", port, "0", "--bind", "127.0.0.1"])
            .args(options)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(stderr)
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        (Self(child), line.split([' ', ',']).nth(2).unwrap().parse().unwrap())
    }

    /// Stops the program with SIGTERM, and checks that its status is 0.
    #[track_caller]
    pub fn stop(&mut self) {
        kill_process(Pid::from_child(&self.0), Signal::TERM).unwrap();
        assert_eq!(self.0.wait().unwrap().code(), Some(0));
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail only if it has ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A terminal: the end that shows what is written, and the path of the other one.
pub fn terminal() -> (OwnedFd, String) {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let path = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
    (master, path)
}

/// A server that hands its connections to the test, and its port.
pub fn origin() -> (TcpListener, String) {
    let origin = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = origin.local_addr().unwrap().port().to_string();
    (origin, port)
}

/// A server that sends back what it gets, until the test program ends; its port.
pub fn echo() -> String {
    let (origin, port) = origin();
    std::thread::spawn(move || {
        for stream in origin.incoming().flatten() {
            std::thread::spawn(move || {
                let _ = io::copy(&mut &stream, &mut &stream);
                let _ = stream.shutdown(Shutdown::Write);
            });
        }
    });
    port
}

/// A proxy in front of a server that sends back what it gets.
pub fn echoing(options: &[&str]) -> Proxy {
    proxy(&echo(), options)
}

/// Stops a proxy with SIGTERM, and checks that its status is 0.
#[track_caller]
pub fn stop(proxy: &mut Proxy) {
    proxy.terminate().unwrap();
    assert_status_0(proxy);
}

/// Waits until a proxy ends, and checks that its status is 0.
#[track_caller]
pub fn assert_status_0(proxy: &mut Proxy) {
    assert_eq!(proxy.wait(PATIENCE).unwrap().code(), Some(0), "{:#?}", proxy.log());
}

/// Waits until a proxy has noticed that it is to stop.
#[track_caller]
pub fn until_stopping(proxy: &Proxy) {
    proxy.wait_for_line(PATIENCE, |line| line.contains("stopping")).unwrap();
}

/// A client, and the server's end of its session.
pub fn session(proxy: &Proxy, origin: &TcpListener) -> (TcpStream, TcpStream) {
    let client = connect(proxy.address());
    let (server, _) = origin.accept().unwrap();
    server.set_read_timeout(Some(PATIENCE)).unwrap();
    (client, server)
}

/// Where the metrics of a proxy are.
pub fn metrics_address(proxy: &Proxy) -> SocketAddr {
    let line = proxy.wait_for_line(PATIENCE, |line| line.starts_with("metrics on ")).unwrap();
    line.strip_prefix("metrics on http://").unwrap().strip_suffix("/metrics").unwrap().parse().unwrap()
}

/// A client that waits for its answers, but not for ever.
pub fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect_timeout(&address, PATIENCE).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// A client of a proxy that resets it at once: it is connected before the proxy sees it. Otherwise the reset may be what the
/// connect returns.
pub fn connect_before_reset(proxy: &Proxy) -> TcpStream {
    proxy.freeze().unwrap();
    let client = connect(proxy.address());
    proxy.thaw().unwrap();
    client
}

/// Ends a connection with RST.
pub fn reset(stream: TcpStream) {
    eventloop::testing::reset(stream).unwrap();
}

/// Expects RST as the next thing that comes.
#[track_caller]
pub fn assert_reset(mut stream: &TcpStream) {
    assert_eq!(stream.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
}

/// Sends something to the server, and receives it again.
#[track_caller]
pub fn converse(mut client: &TcpStream) {
    let mut echo = [0; 5];
    client.write_all(b"hello").unwrap();
    client.read_exact(&mut echo).unwrap();
    assert_eq!(&echo, b"hello");
}

/// A client whose session is under way: its first bytes have come back.
#[track_caller]
pub fn conversing(address: SocketAddr) -> TcpStream {
    let client = connect(address);
    converse(&client);
    client
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
        assert!(begin.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(5)); // there is no event for it, so look again
    }
}

/// Threads that visit one address again and again.
pub struct Workers {
    served: Arc<AtomicUsize>,
    enough: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Vec<io::Error>>>,
}

impl Workers {
    pub fn start(address: SocketAddr, size: usize) -> Self {
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
        until("clients are served", || self.served() >= goal);
    }

    /// Ends all threads, and checks that every visit was served.
    #[track_caller]
    pub fn stop(self) {
        self.enough.store(true, Ordering::Relaxed);
        let failures: Vec<io::Error> =
            self.threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
        let served = self.served.load(Ordering::Relaxed);
        assert!(failures.is_empty(), "{} of {served} visits failed: {failures:?}", failures.len());
    }
}
