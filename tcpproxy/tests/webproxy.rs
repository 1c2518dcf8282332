//! The web proxy among the examples, as a browser and an origin meet it.

#![allow(clippy::unwrap_used)] // a test that cannot go on says so by failing

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use testkit::payload::{Payload, Verifier};
use testkit::proxy::Proxy;
use testkit::seed::Seed;

/// Longer than any machine takes.
const PATIENCE: Duration = Duration::from_secs(60);

fn proxy() -> Proxy {
    Proxy::example("webproxy").arg("0").start().unwrap()
}

/// A proxy that waits for a second only.
fn impatient() -> Proxy {
    Proxy::example("webproxy").args(["0", "1"]).start().unwrap()
}

/// One end of a connection that speaks HTTP.
struct Peer(BufReader<TcpStream>);

/// The head of a message: the first line, and the fields in lower case.
#[derive(Debug)]
struct Head(String, Vec<(String, String)>);

impl Peer {
    fn new(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self(BufReader::new(stream))
    }

    fn connect(proxy: &Proxy) -> Self {
        Self::new(TcpStream::connect(proxy.address()).unwrap())
    }

    fn say(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.0.get_mut().write_all(bytes.as_ref()).unwrap();
        self
    }

    /// Asks for `path` at `origin`, with more fields.
    fn ask(&mut self, method: &str, origin: SocketAddr, path: &str, fields: &str) -> &mut Self {
        self.say(format!("{method} http://{origin}{path} HTTP/1.1\r\nHost: {origin}\r\n{fields}\r\n"))
    }

    /// The next head; `None` if the connection has ended before it.
    fn head(&mut self) -> Option<Head> {
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

    fn bytes(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.0.read_exact(&mut bytes).unwrap();
        bytes
    }

    fn chunks(&mut self) -> Vec<u8> {
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
    fn answer(&mut self) -> (u16, Head, String) {
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
    fn rest(&mut self) -> std::io::Result<Vec<u8>> {
        let mut rest = Vec::new();
        self.0.read_to_end(&mut rest).map(|_| rest)
    }

    /// The connection must end properly now.
    #[track_caller]
    fn expect_end(&mut self) {
        assert_eq!(self.rest().unwrap(), b"");
    }

    /// The connection must end with a reset, after whatever else.
    #[track_caller]
    fn expect_reset(&mut self) {
        assert_eq!(self.rest().unwrap_err().kind(), ErrorKind::ConnectionReset);
    }

    fn reset(self) {
        rustix::net::sockopt::set_socket_linger(self.0.get_ref(), Some(Duration::ZERO)).unwrap();
    }
}

impl Head {
    fn status(&self) -> u16 {
        self.0.split(' ').nth(1).unwrap().parse().unwrap()
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.1.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    fn path(&self) -> &str {
        self.0.split(' ').nth(1).unwrap()
    }
}

/// An origin that lets `serve` deal with each connection, on a thread of its own.
fn origin(serve: impl Fn(Peer) + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let serve = Arc::new(serve);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let serve = serve.clone();
            thread::spawn(move || serve(Peer::new(stream)));
        }
    });
    address
}

/// An origin that answers each request with what `answer` makes of its head, and tells of the heads it got.
fn answering(answer: impl Fn(&Head) -> String + Send + Sync + 'static) -> (SocketAddr, Receiver<Head>) {
    let (heard, heads): (Sender<Head>, Receiver<Head>) = channel();
    let heard = Mutex::new(heard);
    let address = origin(move |mut peer| {
        while let Some(head) = peer.head() {
            let answer = answer(&head);
            let _ = heard.lock().unwrap().send(head);
            peer.say(answer);
        }
    });
    (address, heads)
}

/// An answer with a body that says its length.
fn ok(fields: &str, body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: {}\r\n\r\n{body}", body.len())
}

/// An origin whose every answer is this one, after which it leaves.
fn parting(answer: &'static str) -> SocketAddr {
    origin(move |mut peer| {
        peer.head();
        peer.say(answer);
    })
}

/// What the proxy makes of one such answer.
fn relayed(proxy: &Proxy, answer: &'static str) -> (u16, Head, String) {
    Peer::connect(proxy).ask("GET", parting(answer), "/", "").answer()
}

#[test]
fn connections_are_kept_on_both_sides_whatever_the_method() {
    let (connected, connections) = channel();
    let connected = Mutex::new(connected);
    let origin = origin(move |mut peer| {
        connected.lock().unwrap().send(()).unwrap();
        while let Some(head) = peer.head() {
            let body = match (head.get("content-length"), head.get("transfer-encoding")) {
                (Some(length), _) => peer.bytes(length.parse().unwrap()),
                (_, Some("chunked")) => peer.chunks(),
                _ => Vec::new(),
            };
            let body = if head.0.starts_with("HEAD") { Vec::new() } else { body };
            peer.say(format!("HTTP/1.1 200 {}\r\nContent-Length: {}\r\n\r\n", head.0, body.len())).say(body);
        }
    });
    let proxy = proxy();
    let mut client = Peer::connect(&proxy);
    for _ in 0..3 {
        assert_eq!(client.ask("GET", origin, "/a?b=c", "").answer().2, "");
        assert_eq!(client.ask("DELETE", origin, "/", "").answer().2, "");
        assert_eq!(client.ask("OPTIONS", origin, "/", "").answer().2, "");
        client.ask("HEAD", origin, "/", "");
        let head = client.head().unwrap();
        assert_eq!((head.status(), head.get("content-length")), (200, Some("0")));
    }
    assert_eq!(connections.try_iter().count(), 1, "all that can be repeated goes over one connection");
    let chunked = "Transfer-Encoding: chunked\r\n";
    let chunks = "3;quiet=\"yes\"\r\nabc\r\n2\r\nde\r\n0\r\nTrailer: yes\r\n\r\n";
    assert_eq!(client.ask("POST", origin, "/", "Content-Length: 5\r\n").say("hello").answer().2, "hello");
    assert_eq!(client.ask("POST", origin, "/", "Content-Length: 0\r\n").answer().2, "");
    assert_eq!(client.ask("PUT", origin, "/", chunked).say(chunks).answer().2, "abcde");
    assert_eq!(client.ask("QUERY", origin, "/", "Connection: close\r\n").answer().0, 200);
    client.expect_end();
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let (origin, _) = answering(|head| ok("", &head.path().repeat(3000)));
    let proxy = proxy();
    let mut client = Peer::connect(&proxy);
    for number in 0..100 {
        client.ask("GET", origin, &format!("/{number}"), "");
    }
    client.0.get_ref().shutdown(Shutdown::Write).unwrap();
    for number in 0..100 {
        assert_eq!(client.answer().2, format!("/{number}").repeat(3000));
    }
    client.expect_end();
}

#[test]
fn a_body_of_any_size_goes_through_in_little_memory() {
    const SIZE: usize = 20_000_000;
    let payload = Payload::new(Seed::new(5));
    let verify = move |mut peer: Peer, chunked: bool| {
        let mut verifier = Verifier::new(payload);
        let mut size = if chunked { 0 } else { SIZE };
        loop {
            if chunked {
                let mut line = String::new();
                peer.0.read_line(&mut line).unwrap();
                size = usize::from_str_radix(line.trim_end(), 16).unwrap();
            }
            while size > 0 {
                let bytes = peer.bytes(size.min(65536));
                verifier.feed(&bytes).unwrap();
                size -= bytes.len();
            }
            if verifier.received() == SIZE as u64 {
                return (verifier.finish(SIZE as u64).unwrap(), peer);
            }
            peer.bytes(2);
        }
    };
    let send = move |peer: &mut Peer, chunked: bool| {
        for offset in (0..SIZE).step_by(100_000) {
            if chunked {
                peer.say(format!("{:X}\r\n", 100_000));
            }
            peer.say(payload.bytes(offset as u64, 100_000));
            if chunked {
                peer.say("\r\n");
            }
        }
        if chunked {
            peer.say("0\r\n\r\n");
        }
    };
    let proxy = proxy();
    for chunked in [false, true] {
        let framing = if chunked {
            "Transfer-Encoding: chunked\r\n".into()
        } else {
            format!("Content-Length: {SIZE}\r\n")
        };
        let copy = framing.clone();
        let origin = origin(move |mut peer| {
            peer.head();
            let (_, mut peer) = verify(peer, chunked);
            if chunked {
                assert_eq!(peer.bytes(7), b"\r\n0\r\n\r\n");
            }
            peer.say(format!("HTTP/1.1 200 OK\r\n{copy}\r\n"));
            send(&mut peer, chunked);
        });
        let mut client = Peer::connect(&proxy);
        client.ask("POST", origin, "/", &framing);
        send(&mut client, chunked);
        assert_eq!(client.head().unwrap().status(), 200);
        verify(client, chunked);
    }
    let resident = proxy.resident().unwrap();
    assert!(resident < 32 << 20, "{resident} bytes");
}

#[test]
fn a_client_that_does_not_read_makes_the_origin_wait() {
    let (told, sent) = channel();
    let told = Mutex::new(told);
    let origin = origin(move |mut peer| {
        peer.head();
        peer.say("HTTP/1.1 200 OK\r\n\r\n");
        peer.0.get_ref().set_write_timeout(Some(Duration::from_millis(500))).unwrap();
        let mut bytes = 0_u64;
        while let Ok(n) = peer.0.get_mut().write(&[0; 65536]) {
            bytes += n as u64;
        }
        told.lock().unwrap().send(bytes).unwrap();
    });
    let proxy = proxy();
    let mut client = Peer::connect(&proxy);
    client.ask("GET", origin, "/", "");
    let sent = sent.recv_timeout(PATIENCE).unwrap();
    assert!(sent < 64 << 20, "the kernel holds some, the proxy no more than its rings: {sent}");
    assert!(proxy.resident().unwrap() < 32 << 20);
}

#[test]
fn a_tunnel_carries_bytes_and_ends_both_ways() {
    let origin = origin(|mut peer| {
        let hello = peer.bytes(5);
        peer.say(hello);
        let rest = peer.rest().unwrap();
        peer.say(rest.repeat(1000));
    });
    let proxy = proxy();
    let mut client = Peer::connect(&proxy);
    client.say(format!("CONNECT {origin} HTTP/1.1\r\nHost: {origin}\r\n\r\nhel")).say("lo");
    let head = client.head().unwrap();
    assert_eq!((head.status(), head.get("content-length"), head.get("transfer-encoding")), (200, None, None));
    assert_eq!(client.bytes(5), b"hello");
    client.say("0123456789").0.get_ref().shutdown(Shutdown::Write).unwrap();
    assert_eq!(client.rest().unwrap(), b"0123456789".repeat(1000));
}

/// The write takes the error away, and the next read finds a clean end, which must not be believed.
#[test]
fn a_reset_that_a_write_into_a_tunnel_meets_first_is_no_end() {
    let ((go, wait), (done, is_reset)) = (channel(), channel());
    let (wait, done) = (Mutex::new(wait), Mutex::new(done));
    let broken = origin(move |mut peer| {
        peer.say("part");
        wait.lock().unwrap().recv_timeout(PATIENCE).unwrap();
        peer.reset();
        done.lock().unwrap().send(()).unwrap();
    });
    let proxy = proxy();
    let mut client = Peer::connect(&proxy);
    client.say(format!("CONNECT {broken} HTTP/1.1\r\nHost: {broken}\r\n\r\n"));
    assert_eq!(client.head().unwrap().status(), 200);
    assert_eq!(client.bytes(4), b"part");
    proxy.freeze().unwrap(); // so that it meets both at once
    client.say("x");
    go.send(()).unwrap();
    is_reset.recv_timeout(PATIENCE).unwrap();
    proxy.thaw().unwrap();
    client.expect_reset();
}

#[test]
fn a_tunnel_passes_a_reset_on() {
    let broken = origin(|mut peer| {
        peer.say("part");
        peer.bytes(1);
        peer.reset();
    });
    let proxy = proxy();
    let mut client = Peer::connect(&proxy);
    client.say(format!("CONNECT {broken} HTTP/1.1\r\nHost: {broken}\r\n\r\n"));
    assert_eq!(client.head().unwrap().status(), 200);
    assert_eq!(client.bytes(4), b"part");
    client.say("x").expect_reset();

    let (told, ends) = channel();
    let told = Mutex::new(told);
    let listening =
        origin(move |mut peer| told.lock().unwrap().send(peer.rest().map_err(|error| error.kind())).unwrap());
    let mut client = Peer::connect(&proxy);
    client.say(format!("CONNECT {listening} HTTP/1.1\r\nHost: {listening}\r\n\r\n"));
    assert_eq!(client.head().unwrap().status(), 200);
    client.reset();
    assert_eq!(ends.recv_timeout(PATIENCE).unwrap(), Err(ErrorKind::ConnectionReset));
}

#[test]
fn an_origin_that_cannot_be_reached_is_a_bad_gateway() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let proxy = proxy();
    let mut client = Peer::connect(&proxy);
    let (status, head, text) = client.ask("GET", closed, "/", "").answer();
    assert_eq!((status, head.get("connection")), (502, Some("close")), "{text}");
    client.expect_end();
    let mut client = Peer::connect(&proxy);
    assert_eq!(client.say(format!("CONNECT {closed} HTTP/1.1\r\nHost: a\r\n\r\n")).answer().0, 502);
    let name = "x".repeat(300);
    let mut client = Peer::connect(&proxy);
    assert_eq!(client.say(format!("GET http://{name}/ HTTP/1.1\r\nHost: {name}\r\n\r\n")).answer().0, 502);
}

#[test]
fn fields_for_one_hop_go_no_further() {
    let (origin, heads) = answering(|_| {
        ok(
            "Connection: X-Mine\r\nX-Mine: 1\r\nKeep-Alive: timeout=5\r\nUpgrade: h2c\r\nProxy-Authenticate: Basic\r\n\
            Set-Cookie: a=1\r\nSet-Cookie: b=2\r\nX-Kept: yes\r\n",
            "",
        )
    });
    let proxy = proxy();
    let fields = "Proxy-Connection: keep-alive\r\nConnection: X-Secret, Keep-Alive, Host, Content-Length\r\n\
                  X-Secret: 1\r\nTE: trailers\r\nProxy-Authorization: Basic eA==\r\nUpgrade: h2c\r\nAccept: a\r\n\
                  Accept: b\r\nCookie: a=1\r\nCookie: b=2\r\n";
    let mut client = Peer::connect(&proxy);
    client.say(format!("GET http://{origin}/path?query HTTP/1.1\r\nHost: somewhere.else\r\n{fields}\r\n"));
    let (_, answer, _) = client.answer();
    let request = heads.recv_timeout(PATIENCE).unwrap();
    assert_eq!(request.0, "GET /path?query HTTP/1.1");
    for (name, value) in [
        ("host", origin.to_string().as_str()),
        ("accept", "a, b"),
        ("cookie", "a=1; b=2"),
        ("via", "1.1 webproxy"),
    ] {
        assert_eq!(request.get(name), Some(value), "{request:?}");
    }
    for name in
        ["connection", "proxy-connection", "x-secret", "te", "proxy-authorization", "upgrade", "keep-alive"]
    {
        assert_eq!(request.get(name), None, "{request:?}");
    }
    for name in ["connection", "x-mine", "keep-alive", "upgrade", "proxy-authenticate"] {
        assert_eq!(answer.get(name), None, "{answer:?}");
    }
    assert_eq!((answer.get("x-kept"), answer.get("via")), (Some("yes"), Some("1.1 webproxy")));
    assert_eq!(answer.1.iter().filter(|(name, _)| name == "set-cookie").count(), 2);
}

#[test]
fn a_request_that_is_not_clear_is_refused_and_nothing_of_it_is_passed_on() {
    let (origin, heads) = answering(|_| ok("", ""));
    let proxy = proxy();
    let host = format!("Host: {origin}\r\n");
    for (target, fields) in [
        ("/", host.as_str()),
        ("https://127.0.0.1/", &host),
        ("http:///", &host),
        ("http://user@{}/", &host),
        ("http://{}/", ""),
        ("http://{}/", "Host: a\r\nHost: b\r\n"),
        ("http://{}/", "Host : a\r\n"),
        ("http://{}/", "Host: a\r\n folded: b\r\n"),
        ("http://{}/", "Host: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n"),
        ("http://{}/", "Host: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n"),
        ("http://{}/", "Host: a\r\nContent-Length: 1, 2\r\n"),
        ("http://{}/", "Host: a\r\nContent-Length: +1\r\n"),
        ("http://{}/", "Host: a\r\nContent-Length: 99999999999999999999\r\n"),
        ("http://{}/", "Host: a\r\nTransfer-Encoding: gzip\r\n"),
        ("http://{}/", "Host: a\r\nTransfer-Encoding: chunked, chunked\r\n"),
        ("http://{}/", "Host: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n"),
    ] {
        let mut client = Peer::connect(&proxy);
        client.say(format!("GET {} HTTP/1.1\r\n{fields}\r\n", target.replace("{}", &origin.to_string())));
        assert_eq!(client.answer().0, 400, "{target} {fields}");
        client.expect_end();
    }
    assert!(heads.try_recv().is_err());
    for garbage in
        ["\0\r\n\r\n", "GET\r\n\r\n", "\u{16}\u{3}\u{1}\r\n\r\n", "GET http://a/ HTTP/3.0\r\nHost: a\r\n\r\n"]
    {
        assert_eq!(Peer::connect(&proxy).say(garbage).answer().0, 400, "{garbage:?}");
    }
}

#[test]
fn a_malformed_chunk_is_refused_or_the_answer_cut() {
    let proxy = proxy();
    let waiting = origin(|mut peer| {
        peer.head();
        let _ = peer.rest();
    });
    for chunk in
        ["\r\n", "x\r\n", "-1\r\n", "0x1\r\na\r\n", "1\r\nab\r\n", "1;a\nb\r\na\r\n", "11111111111111111\r\n"]
    {
        let mut client = Peer::connect(&proxy);
        client.ask("POST", waiting, "/", "Transfer-Encoding: chunked\r\n").say("1\r\na\r\n").say(chunk);
        assert_eq!(client.answer().0, 400, "{chunk:?}");

        let bad = origin(move |mut peer| {
            peer.head();
            peer.say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n").say(chunk);
            let _ = peer.rest();
        });
        Peer::connect(&proxy).ask("GET", bad, "/", "").expect_reset();
    }
}

#[test]
fn an_answer_that_is_not_clear_is_a_bad_gateway() {
    let proxy = proxy();
    for answer in [
        "",
        "SSH-2.0-OpenSSH\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        "HTTP/1.1 200 OK\r\nContent-Length: one\r\n\r\na",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\na",
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length : 1\r\n\r\na",
        "HTTP/1.1 101 Switching Protocols\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Le",
    ] {
        assert_eq!(relayed(&proxy, answer).0, 502, "{answer:?}");
    }
}

#[test]
fn a_head_beyond_measure_is_refused_and_the_client_can_read_so() {
    let proxy = proxy();
    let mut client = Peer::connect(&proxy);
    client.say(format!("GET http://a/ HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(1 << 20)));
    assert_eq!(client.answer().0, 431);
    client.expect_end();
    let mut client = Peer::connect(&proxy);
    client.say(format!("GET http://a/ HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: x\r\n".repeat(1000)));
    assert_eq!(client.answer().0, 431);

    let verbose = origin(|mut peer| {
        peer.head();
        peer.say("HTTP/1.1 200 OK\r\nX: ");
        while peer.0.get_mut().write(&[b'x'; 65536]).is_ok() {}
    });
    assert_eq!(Peer::connect(&proxy).ask("GET", verbose, "/", "").answer().0, 502);
    assert!(proxy.resident().unwrap() < 32 << 20);
}

#[test]
fn a_request_that_drips_in_is_not_awaited_for_ever() {
    let proxy = impatient();
    let mut client = Peer::connect(&proxy);
    client.say("GET http://a/ HTTP/1.1\r\nHost: a\r\n");
    let mut writer = client.0.get_ref().try_clone().unwrap();
    thread::spawn(move || {
        while writer.write_all(b"X: x\r\n").is_ok() {
            thread::sleep(Duration::from_millis(50)); // what it is about: to be slow
        }
    });
    assert_eq!(client.answer().0, 408);

    let waiting = origin(|mut peer| drop(peer.rest()));
    let mut client = Peer::connect(&proxy);
    assert_eq!(client.ask("POST", waiting, "/", "Content-Length: 5\r\n").say("hell").answer().0, 408);
    Peer::connect(&proxy).expect_end(); // who asks nothing is told nothing
}

#[test]
fn an_origin_that_stalls_is_a_gateway_timeout_or_cut() {
    let proxy = impatient();
    let silent = origin(|mut peer| drop(peer.rest()));
    assert_eq!(Peer::connect(&proxy).ask("GET", silent, "/", "").answer().0, 504);
    for head in ["Content-Length: 10\r\n", "Transfer-Encoding: chunked\r\n", ""] {
        let stalling = origin(move |mut peer| {
            peer.head();
            peer.say(format!("HTTP/1.1 200 OK\r\n{head}\r\n3\r\nabc\r\n"));
            drop(peer.rest());
        });
        let mut client = Peer::connect(&proxy);
        assert_eq!(client.ask("GET", stalling, "/", "").head().unwrap().status(), 200);
        client.expect_reset();
    }
}

#[test]
fn an_answer_that_is_cut_short_never_looks_complete() {
    let proxy = proxy();
    for fields in ["Content-Length: 10\r\n", "Transfer-Encoding: chunked\r\n", "Connection: close\r\n"] {
        for reset in [false, true] {
            let ends_by_closing = fields.starts_with("Connection");
            if ends_by_closing && !reset {
                continue;
            }
            let origin = origin(move |mut peer| {
                peer.head();
                peer.say(format!(
                    "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\n{fields}\r\n4\r\nabcd\r\n"
                ));
                peer.0.get_mut().write_all(b"").unwrap();
                if reset {
                    peer.reset();
                }
            });
            for version in ["1.0", "1.1"] {
                let mut client = Peer::connect(&proxy);
                client.say(format!("GET http://{origin}/ HTTP/{version}\r\nHost: {origin}\r\n\r\n"));
                if let Some(head) = client.head() {
                    assert_eq!((head.status(), head.get("x-cache")), (200, Some("MISS")), "none is kept");
                }
                client.expect_reset();
            }
        }
    }
}

#[test]
fn an_answer_that_ends_with_the_connection_is_delivered_to_its_end() {
    let proxy = proxy();
    let (status, head, body) = relayed(&proxy, "HTTP/1.0 200 OK\r\n\r\nto the end");
    assert_eq!((status, head.get("transfer-encoding"), body.as_str()), (200, Some("chunked"), "to the end"));
    for answer in [
        "HTTP/1.0 200 OK\r\n\r\nto the end",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\na\r\nto the end\r\n0\r\n\r\n",
    ] {
        let origin = parting(answer);
        let mut client = Peer::connect(&proxy);
        let (status, head, body) = client.say(format!("GET http://{origin}/ HTTP/1.0\r\n\r\n")).answer();
        assert_eq!((status, head.get("transfer-encoding"), body.as_str()), (200, None, "to the end"));
    }
}

#[test]
fn answers_without_a_body_have_none() {
    let (origin, _) = answering(|head| match head.path() {
        "/204" => "HTTP/1.1 204 No Content\r\n\r\n".into(),
        "/304" => "HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\nETag: \"a\"\r\n\r\n".into(),
        "/hints" => format!(
            "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n{}",
            ok("", "done")
        ),
        _ => "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n".into(),
    });
    let proxy = proxy();
    let mut client = Peer::connect(&proxy);
    let mut head = |method, path| {
        client.ask(method, origin, path, "");
        let head = client.head().unwrap();
        (head.status(), head.get("content-length").map(str::to_owned))
    };
    assert_eq!(head("HEAD", "/"), (200, Some("7".into())));
    assert_eq!(head("GET", "/204"), (204, None));
    assert_eq!(head("GET", "/304"), (304, Some("7".into())));
    assert_eq!(head("GET", "/hints").0, 103);
    assert_eq!(client.head().unwrap().status(), 102);
    assert_eq!(client.answer().2, "done");
    // HTTP/1.0 knows no interim answers.
    client.say(format!("GET http://{origin}/hints HTTP/1.0\r\n\r\n"));
    assert_eq!(client.answer().2, "done");
}

#[test]
fn a_client_that_waits_to_be_told_to_go_on_is_told() {
    let (origin, body) = {
        let (told, body) = channel();
        let told = Mutex::new(told);
        let origin = origin(move |mut peer| {
            let head = peer.head().unwrap();
            assert_eq!(head.get("expect"), None);
            told.lock().unwrap().send(peer.bytes(5)).unwrap();
            peer.say(ok("", "thanks"));
        });
        (origin, body)
    };
    let proxy = proxy();
    let mut client = Peer::connect(&proxy);
    client.ask("PUT", origin, "/", "Content-Length: 5\r\nExpect: 100-continue\r\n");
    assert_eq!(client.head().unwrap().status(), 100);
    assert_eq!(client.say("hello").answer().2, "thanks");
    assert_eq!(body.recv().unwrap(), b"hello");
}

#[test]
fn an_origin_may_answer_before_it_has_the_whole_request() {
    let hasty = parting("HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\n\r\nno!");
    let proxy = proxy();
    let mut client = Peer::connect(&proxy);
    client.ask("POST", hasty, "/", "Content-Length: 100000000\r\n").say([0; 1000]);
    let (status, head, body) = client.answer();
    assert_eq!((status, head.get("connection"), body.as_str()), (413, Some("close"), "no!"));
    client.expect_end();
}

#[test]
fn a_kept_connection_that_the_origin_closes_is_replaced() {
    // It says that it will keep the connection, and closes it when the next request arrives.
    let treacherous = origin(|mut peer| {
        peer.head();
        peer.say(ok("", "served"));
        peer.head();
    });
    let proxy = proxy();
    let mut client = Peer::connect(&proxy);
    for _ in 0..5 {
        assert_eq!(client.ask("GET", treacherous, "/", "").answer().2, "served");
    }
}

#[test]
fn answers_are_served_from_the_cache_as_their_heads_allow() {
    let count = Mutex::new(0);
    let (origin, heads) = answering(move |head| {
        let mut count = count.lock().unwrap();
        *count += 1;
        let fields = match head.path().split('?').next().unwrap() {
            "/max-age" => "Cache-Control: max-age=60\r\nAge: 7\r\n",
            "/capital" => "Cache-Control: No-Store\r\n",
            "/expires" => "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\nExpires: Sun, 06 Nov 1994 09:49:37 GMT\r\n",
            "/expired" => "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\nExpires: Sun, 06 Nov 1994 07:49:37 GMT\r\n",
            "/private" => "Cache-Control: private, max-age=60\r\n",
            "/cookie" => "Cache-Control: max-age=60\r\nSet-Cookie: who=you\r\n",
            "/old" => "Cache-Control: max-age=60\r\nAge: 18446744073709551615\r\n",
            "/any" => "Cache-Control: max-age=60\r\nVary: Accept, *\r\n",
            _ => "",
        };
        ok(fields, &count.to_string())
    });
    let proxy = proxy();
    let mut client = Peer::connect(&proxy);
    let mut fetch = |method: &str, path: &str, fields: &str| {
        let (status, head, body) = client.ask(method, origin, path, fields).answer();
        let age = head.get("age").map(|age| age.parse::<u64>().unwrap());
        (status, head.get("x-cache").unwrap().to_owned(), age, body)
    };
    let (_, cache, _, first) = fetch("GET", "/max-age", "");
    assert_eq!(cache, "MISS");
    let (status, cache, age, body) = fetch("GET", "/max-age", "");
    assert_eq!((status, cache.as_str(), &body), (200, "HIT", &first));
    assert!(age.is_some_and(|age| (7..60).contains(&age)), "{age:?}");
    assert_eq!(fetch("GET", "/max-age?other", "").1, "MISS");
    assert_eq!(fetch("GET", "/max-age", "Cache-Control: no-cache\r\n").1, "MISS");
    assert_eq!(fetch("GET", "/max-age", "").1, "HIT");
    assert_eq!(fetch("GET", "/max-age", "Cache-Control: max-age=3\r\n").1, "MISS");
    assert_eq!(fetch("GET", "/max-age", "Range: bytes=0-1\r\n").1, "MISS");
    assert_eq!(fetch("POST", "/max-age", "").1, "MISS", "and what was known about it is forgotten");
    assert_eq!(fetch("GET", "/max-age", "").1, "MISS");
    assert_eq!(fetch("GET", "/expires", "").1, "MISS");
    assert_eq!(fetch("GET", "/expires", "").1, "HIT");
    for path in ["/expired", "/private", "/cookie", "/old", "/any", "/capital", "/nothing"] {
        assert_eq!(fetch("GET", path, "").1, "MISS", "{path}");
        assert_eq!(fetch("GET", path, "").1, "MISS", "{path}");
    }
    assert_eq!(fetch("GET", "/max-age?auth", "Authorization: Basic eA==\r\n").1, "MISS");
    assert_eq!(fetch("GET", "/max-age?auth", "").1, "MISS", "what needed a password is not for all");
    client.ask("HEAD", origin, "/max-age", "");
    let head = client.head().unwrap();
    assert_eq!((head.get("x-cache"), head.get("content-length").is_some()), (Some("HIT"), true));
    drop(heads);
}

#[test]
fn variants_are_kept_apart() {
    let (origin, _) = answering(|head| {
        ok(
            "Cache-Control: max-age=60\r\nVary: Accept-Language\r\n",
            head.get("accept-language").unwrap_or("none"),
        )
    });
    let proxy = proxy();
    let mut client = Peer::connect(&proxy);
    for cache in ["MISS", "HIT"] {
        for language in ["de", "fr", "de, fr"] {
            let (_, head, body) =
                client.ask("GET", origin, "/", &format!("Accept-Language: {language}\r\n")).answer();
            assert_eq!((head.get("x-cache"), body.as_str()), (Some(cache), language));
        }
        assert_eq!(client.ask("GET", origin, "/", "").answer().2, "none");
    }
}

#[test]
fn a_stale_answer_is_confirmed_by_its_tag() {
    let (origin, heads) = answering(|head| match head.get("if-none-match") {
        Some("\"one\"") => "HTTP/1.1 304 Not Modified\r\nETag: \"one\"\r\nX-New: yes\r\n\r\n".into(),
        _ => ok("Cache-Control: no-cache\r\nETag: \"one\"\r\n", "the body"),
    });
    let proxy = proxy();
    let mut client = Peer::connect(&proxy);
    for cache in ["MISS", "REVALIDATED", "REVALIDATED"] {
        let (status, head, body) = client.ask("GET", origin, "/", "").answer();
        assert_eq!((status, head.get("x-cache"), body.as_str()), (200, Some(cache), "the body"));
        assert_eq!(heads.recv().unwrap().get("if-none-match").is_some(), cache != "MISS");
    }
    // A client that has another one gets what there is.
    let (status, _, body) = client.ask("GET", origin, "/", "If-None-Match: \"two\"\r\n").answer();
    assert_eq!((status, body.as_str()), (200, "the body"));
}

#[test]
fn the_cache_is_bounded() {
    let (origin, _) = answering(|_| ok("Cache-Control: max-age=60\r\n", &"x".repeat(1 << 20)));
    let (large, _) = answering(|_| ok("Cache-Control: max-age=60\r\n", &"x".repeat(9 << 20)));
    let proxy = proxy();
    let mut client = Peer::connect(&proxy);
    for number in 0..80 {
        assert_eq!(client.ask("GET", origin, &format!("/{number}"), "").answer().2.len(), 1 << 20);
    }
    for (number, cache) in [(79, "HIT"), (0, "MISS")] {
        assert_eq!(
            client.ask("GET", origin, &format!("/{number}"), "").answer().1.get("x-cache"),
            Some(cache)
        );
    }
    for _ in 0..2 {
        assert_eq!(client.ask("GET", large, "/", "").answer().1.get("x-cache"), Some("MISS"));
    }
    let resident = proxy.resident().unwrap();
    assert!(resident < 100 << 20, "{resident} bytes");
}

#[test]
fn many_clients_come_and_go_and_nothing_is_left() {
    let (origin, _) = answering(|head| ok("", &head.path().repeat(1000)));
    let proxy = proxy();
    let before = proxy.descriptors().unwrap();
    for round in 0..5 {
        let mut clients: Vec<Peer> = (0..100).map(|_| Peer::connect(&proxy)).collect();
        for client in &mut clients {
            client.ask("GET", origin, "/", "");
        }
        for (number, mut client) in clients.into_iter().enumerate() {
            match (number + round) % 3 {
                0 => assert_eq!(client.answer().0, 200),
                1 => client.reset(),
                _ => {}
            }
        }
    }
    let begin = std::time::Instant::now();
    while proxy.descriptors().unwrap() > before + 1 {
        assert!(begin.elapsed() < PATIENCE, "{} descriptors, {before} before", proxy.descriptors().unwrap());
        thread::sleep(Duration::from_millis(10)); // nobody tells, so look again
    }
}

#[test]
fn who_waits_costs_no_processor_time() {
    let silent = origin(|mut peer| drop(peer.rest()));
    let (answers, _) = answering(|_| ok("", "x"));
    let endless = origin(|mut peer| {
        peer.head();
        peer.say("HTTP/1.1 200 OK\r\n\r\n");
        while peer.0.get_mut().write(&[0; 65536]).is_ok() {}
    });
    let proxy = proxy();
    let mut clients: Vec<Peer> = (0..7).map(|_| Peer::connect(&proxy)).collect();
    clients[1].say("GET http://");
    clients[2].ask("GET", silent, "/", "");
    clients[3].ask("GET", silent, "/", "").0.get_ref().shutdown(Shutdown::Write).unwrap();
    clients[4].ask("GET", endless, "/", "");
    clients[5].ask("GET", answers, "/", "").answer();
    clients[6].say(format!("CONNECT {silent} HTTP/1.1\r\nHost: a\r\n\r\n")).head();
    clients[6].0.get_ref().shutdown(Shutdown::Write).unwrap();
    let mut before = proxy.cpu_time().unwrap();
    let begin = std::time::Instant::now();
    loop {
        thread::sleep(Duration::from_millis(500)); // what it is about: that nothing happens
        let now = proxy.cpu_time().unwrap();
        if now - before <= Duration::from_millis(20) {
            break;
        }
        assert!(
            begin.elapsed() < Duration::from_secs(20),
            "{:?} within half a second of waiting",
            now - before
        );
        before = now;
    }
}
