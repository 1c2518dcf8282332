//! The two sides of the proxy: clients and origins that say what a test tells them.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use testkit::proxy::Proxy;

/// Longer than any machine takes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn proxy() -> Proxy {
    proxy_with(&[])
}

/// A proxy, and a client that is connected to it.
pub(crate) fn proxy_and_client() -> (Proxy, HttpPeer) {
    let proxy = proxy();
    let client = HttpPeer::connect(&proxy);
    (proxy, client)
}

/// A proxy with these options.
pub(crate) fn proxy_with(options: &[&str]) -> Proxy {
    Proxy::command(env!("CARGO_BIN_EXE_webproxy")).arg("0").args(options).start().unwrap()
}

/// A proxy that waits for two seconds only: longer than a busy machine keeps an origin from its response.
pub(crate) fn impatient() -> Proxy {
    proxy_with(&["--timeout", "2s"])
}

/// Waits for what no event announces.
#[track_caller]
pub(crate) fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !condition() {
        assert!(begin.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// One end of a connection that speaks HTTP.
pub(crate) struct HttpPeer(pub(crate) BufReader<TcpStream>);

/// The head of a message: the first line, and the fields in lower case.
#[derive(Debug)]
pub(crate) struct Head(pub(crate) String, pub(crate) Vec<(String, String)>);

impl HttpPeer {
    pub(crate) fn new(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self(BufReader::new(stream))
    }

    pub(crate) fn connect(proxy: &Proxy) -> Self {
        Self::new(TcpStream::connect(proxy.address()).unwrap())
    }

    /// A client that has a tunnel to this address.
    #[track_caller]
    pub(crate) fn tunnel(proxy: &Proxy, to: SocketAddr) -> Self {
        let mut client = Self::connect(proxy);
        client.say(format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n\r\n"));
        assert_eq!(client.head().unwrap().status(), 200);
        client
    }

    pub(crate) fn say(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.0.get_mut().write_all(bytes.as_ref()).unwrap();
        self
    }

    /// Asks for `path` at `origin`, with more fields.
    pub(crate) fn ask(&mut self, method: &str, origin: SocketAddr, path: &str, fields: &str) -> &mut Self {
        self.say(format!("{method} http://{origin}{path} HTTP/1.1\r\nHost: {origin}\r\n{fields}\r\n"))
    }

    /// The next head; `None` if the connection has ended before it.
    pub(crate) fn head(&mut self) -> Option<Head> {
        let mut line = String::new();
        if self.0.read_line(&mut line).unwrap() == 0 {
            return None;
        }
        let first = line.trim_end().to_owned();
        let mut fields = Vec::new();
        loop {
            line.clear();
            assert!(self.0.read_line(&mut line).unwrap() > 0, "the end within a head");
            let Some((name, value)) = line.trim_end().split_once(':') else { break };
            fields.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        Some(Head(first, fields))
    }

    pub(crate) fn bytes(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.0.read_exact(&mut bytes).unwrap();
        bytes
    }

    pub(crate) fn chunks(&mut self) -> Vec<u8> {
        let mut data = Vec::new();
        loop {
            let mut line = String::new();
            self.0.read_line(&mut line).unwrap();
            let size = usize::from_str_radix(line.trim_end(), 16).unwrap();
            data.extend(self.bytes(size));
            assert_eq!(self.bytes(2), b"\r\n");
            if size == 0 {
                return data;
            }
        }
    }

    /// A whole answer: status, fields and body.
    #[track_caller]
    pub(crate) fn answer(&mut self) -> (u16, Head, String) {
        let head = self.head().expect("an answer");
        let body = match (head.get("content-length"), head.get("transfer-encoding")) {
            (Some(length), None) => self.bytes(length.parse().unwrap()),
            (None, Some("chunked")) => self.chunks(),
            (None, None) => self.rest().unwrap(),
            both => panic!("{both:?}"),
        };
        (head.status(), head, String::from_utf8(body).unwrap())
    }

    /// All that still comes, until the end or the error.
    pub(crate) fn rest(&mut self) -> std::io::Result<Vec<u8>> {
        let mut rest = Vec::new();
        self.0.read_to_end(&mut rest).map(|_| rest)
    }

    /// The connection must end properly now.
    #[track_caller]
    pub(crate) fn expect_end(&mut self) {
        assert_eq!(self.rest().unwrap(), b"");
    }

    /// The connection must end with a reset, after whatever else.
    #[track_caller]
    pub(crate) fn expect_reset(&mut self) {
        assert_eq!(self.rest().unwrap_err().kind(), ErrorKind::ConnectionReset);
    }

    pub(crate) fn reset(self) {
        rustix::net::sockopt::set_socket_linger(self.0.get_ref(), Some(Duration::ZERO)).unwrap();
    }
}

impl Head {
    pub(crate) fn status(&self) -> u16 {
        self.0.split(' ').nth(1).unwrap().parse().unwrap()
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.1.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn path(&self) -> &str {
        self.0.split(' ').nth(1).unwrap()
    }
}

/// An origin that lets `serve` deal with each connection, on a thread of its own.
pub(crate) fn origin(serve: impl Fn(HttpPeer) + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let serve = Arc::new(serve);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let serve = serve.clone();
            thread::spawn(move || serve(HttpPeer::new(stream)));
        }
    });
    address
}

/// An origin that answers each request with what `answer` makes of its head, and sends the heads it received to the channel.
pub(crate) fn answering(
    answer: impl Fn(&Head) -> String + Send + Sync + 'static,
) -> (SocketAddr, Receiver<Head>) {
    let (sender, heads): (Sender<Head>, Receiver<Head>) = channel();
    let sender = Mutex::new(sender);
    let address = origin(move |mut peer| {
        while let Some(head) = peer.head() {
            let answer = answer(&head);
            let _ = sender.lock().unwrap().send(head);
            peer.say(answer);
        }
    });
    (address, heads)
}

/// An answer with a body that says its length.
pub(crate) fn ok(fields: &str, body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: {}\r\n\r\n{body}", body.len())
}

/// An origin whose every answer is this one, after which it leaves.
pub(crate) fn parting(answer: &'static str) -> SocketAddr {
    origin(move |mut peer| {
        peer.head();
        peer.say(answer);
    })
}

/// What the proxy makes of one such answer.
pub(crate) fn relayed(proxy: &Proxy, answer: &'static str) -> (u16, Head, String) {
    HttpPeer::connect(proxy).ask("GET", parting(answer), "/", "").answer()
}
