//! A stage for the proxy: it, its clients and its server in one thread, stepped by the test.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used)] // each test file uses a part of this

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use tcpproxy::{Config, Proxy};

/// Longer than any machine takes; nothing waits for it when all is well.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// Long enough to notice what should not happen.
pub const WHILE: Duration = Duration::from_millis(100);

pub struct Stage {
    pub proxy: Proxy,
    pub origin: TcpListener,
}

/// How a stream ended for its receiver.
#[derive(Debug, PartialEq, Eq)]
pub enum End {
    Fin,
    Reset,
}

impl Stage {
    /// A proxy with one client at a time, in front of a server. It is woken only by what the test does.
    pub fn new() -> Self {
        Self::with(|config| config)
    }

    pub fn with(change: impl FnOnce(Config) -> Config) -> Self {
        let origin = TcpListener::bind("127.0.0.1:0").unwrap();
        origin.set_nonblocking(true).unwrap();
        let config = Config::new("127.0.0.1", origin.local_addr().unwrap().port());
        // Otherwise a session that is two seconds old has a step of its own in which it looks for a loop.
        let config = Config { keepalive: None, loop_check_age: Duration::MAX, ..config };
        Self { proxy: Proxy::start(change(config)).unwrap(), origin }
    }

    /// A client that has connected; whether the proxy serves it is another question.
    pub fn client(&self) -> TcpStream {
        self.connect(Ipv4Addr::LOCALHOST.into())
    }

    /// The same over IPv6.
    pub fn client_over_ipv6(&self) -> TcpStream {
        self.connect(Ipv6Addr::LOCALHOST.into())
    }

    fn connect(&self, ip: IpAddr) -> TcpStream {
        let client = TcpStream::connect((ip, self.proxy.local_addr().port())).unwrap();
        client.set_nonblocking(true).unwrap();
        client
    }

    /// A client that has to wait for its turn, and the server's end of its session once it is served.
    #[track_caller]
    pub fn next_client(&mut self) -> (TcpStream, TcpStream) {
        let client = self.client();
        self.send(&client, b"my turn");
        (client, self.until_served(b"my turn"))
    }

    /// A client and the server's end of its session.
    pub fn session(&mut self) -> (TcpStream, TcpStream) {
        let client = self.client();
        (client, self.accept())
    }

    /// The server's end of the next session.
    pub fn accept(&mut self) -> TcpStream {
        let origin = self.origin.try_clone().unwrap();
        self.until(|| {
            origin.accept().ok().map(|(stream, _)| stream.set_nonblocking(true).map(|()| stream).unwrap())
        })
    }

    /// Turns the proxy's loop until `look` finds something.
    #[track_caller]
    pub fn until<T>(&mut self, mut look: impl FnMut() -> Option<T>) -> T {
        let begin = Instant::now();
        loop {
            if let Some(found) = look() {
                return found;
            }
            assert!(begin.elapsed() < PATIENCE, "still waiting after {PATIENCE:?}");
            self.proxy.turn(Some(Duration::from_millis(1))).unwrap();
        }
    }

    /// Turns the proxy's loop until nothing happens any more.
    #[track_caller]
    pub fn settle(&mut self) {
        let begin = Instant::now();
        while self.proxy.turn(Some(Duration::from_millis(20))).unwrap() > 0 {
            assert!(begin.elapsed() < PATIENCE, "the loop does not come to rest");
        }
    }

    /// Checks that the loop sleeps now, and goes on sleeping.
    #[track_caller]
    pub fn assert_quiet(&mut self) {
        self.settle();
        assert_eq!(self.proxy.turn(Some(WHILE)).unwrap(), 0, "woken though there is nothing to do");
    }

    #[track_caller]
    pub fn send(&mut self, mut from: &TcpStream, mut bytes: &[u8]) {
        self.until(|| {
            match from.write(bytes) {
                Ok(n) => bytes = &bytes[n..],
                Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
            }
            bytes.is_empty().then_some(())
        });
    }

    /// Sends until nothing more is taken, and returns how much that was; the bytes count up modulo 251.
    #[track_caller]
    pub fn fill(&mut self, mut from: &TcpStream) -> usize {
        let mut sent = 0;
        loop {
            let before = sent;
            while let Ok(n) = from.write(&counting(sent, 65536)) {
                sent += n;
            }
            self.settle();
            if sent == before {
                return sent;
            }
        }
    }

    #[track_caller]
    pub fn receive(&mut self, mut to: &TcpStream, len: usize) -> Vec<u8> {
        let mut got = Vec::new();
        let mut bytes = vec![0; 65536];
        self.until(|| {
            let most = bytes.len().min(len - got.len());
            match to.read(&mut bytes[..most]) {
                Ok(0) if most > 0 => panic!("it ended after {} of {len} bytes", got.len()),
                Ok(n) => got.extend(&bytes[..n]),
                Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
            }
            (got.len() == len).then_some(())
        });
        got
    }

    /// Sends bytes at one end of a session, and receives them at the other one.
    #[track_caller]
    pub fn carry(&mut self, from: &TcpStream, to: &TcpStream, bytes: &[u8]) {
        self.send(from, bytes);
        assert_eq!(self.receive(to, bytes.len()), bytes);
    }

    /// The same, and the end after them: all that is received is these bytes.
    #[track_caller]
    pub fn carry_to_end(&mut self, from: &TcpStream, to: &TcpStream, bytes: &[u8]) {
        self.send(from, bytes);
        fin(from);
        assert_eq!(self.drain(to), (bytes.to_vec(), End::Fin));
    }

    /// Receives until the stream ends, and how it does.
    #[track_caller]
    pub fn drain(&mut self, mut to: &TcpStream) -> (Vec<u8>, End) {
        let mut got = Vec::new();
        let mut bytes = vec![0; 65536];
        let end = self.until(|| match to.read(&mut bytes) {
            Ok(0) => Some(End::Fin),
            Ok(n) => {
                got.extend(&bytes[..n]);
                None
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => None,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::ConnectionReset);
                Some(End::Reset)
            }
        });
        (got, end)
    }

    /// Waits until a connection fails although it has got its FIN: then no read tells.
    #[track_caller]
    pub fn reset_after_fin(&mut self, of: &TcpStream) {
        let kind = self.until(|| of.take_error().unwrap()).kind();
        assert!(matches!(kind, ErrorKind::BrokenPipe | ErrorKind::ConnectionReset), "{kind:?}");
    }

    /// The server's end of the session whose client has sent exactly this; sessions of clients that
    /// have gone before it are passed over.
    pub fn until_served(&mut self, bytes: &[u8]) -> TcpStream {
        loop {
            let server = self.accept();
            let mut got = vec![0; bytes.len()];
            let n = self.until(|| match (&server).read(&mut got) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => None,
                outcome => Some(outcome.unwrap_or(0)),
            });
            if &got[..n] == bytes {
                return server;
            }
            assert_eq!(n, 0, "another peer's bytes");
        }
    }

    /// Waits until no session is left.
    #[track_caller]
    pub fn until_over(&mut self) {
        self.until_active(0);
    }

    /// Waits until no more than this number of sessions is left.
    #[track_caller]
    pub fn until_active(&mut self, sessions: usize) {
        let begin = Instant::now();
        while self.proxy.statistics().active > sessions {
            assert!(begin.elapsed() < PATIENCE, "a session does not end");
            self.proxy.turn(Some(Duration::from_millis(20))).unwrap();
        }
    }
}

pub fn fin(stream: &TcpStream) {
    stream.shutdown(Shutdown::Write).unwrap();
}

/// Ends a connection with RST. What the kernel has not sent yet is lost, so send little before.
pub fn reset(stream: TcpStream) {
    eventloop::testing::reset(stream).unwrap();
}

/// The bytes from `offset` on of a stream that counts up modulo 251, a prime, so that no block of a
/// round size looks like another.
pub fn counting(offset: usize, len: usize) -> Vec<u8> {
    let period: Vec<u8> = (0..251).collect();
    let mut bytes = period.repeat(len / period.len() + 2);
    bytes.drain(..offset % period.len());
    bytes.truncate(len);
    bytes
}
