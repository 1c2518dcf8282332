//! A corpus of attacks: no request reaches an origin but as this proxy has understood it.
//!
//! An attack is a message that two programs may read differently, with a request for `/smuggled` in the part that they
//! disagree about. What the origin receives must be canonical, so that every program reads it the same, and must never
//! ask for `/smuggled`.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use socket2::{Domain, Socket, Type};

use crate::canonical;
use crate::peers::{HttpPeer, ok, proxy};

/// An origin that answers each canonical request, and records all bytes of each connection.
struct Recorder {
    address: SocketAddr,
    /// The connection that ends it.
    last: Arc<Mutex<Option<SocketAddr>>>,
    thread: JoinHandle<Vec<Vec<u8>>>,
}

impl Recorder {
    fn new(fields: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let last = Arc::new(Mutex::new(None));
        let end = last.clone();
        let thread = thread::spawn(move || {
            let mut connections = Vec::new();
            loop {
                let (stream, peer) = listener.accept().unwrap();
                if *end.lock().unwrap() == Some(peer) {
                    return connections
                        .into_iter()
                        .map(|served: JoinHandle<_>| served.join().unwrap())
                        .collect();
                }
                connections.push(thread::spawn(move || serve(stream, fields)));
            }
        });
        Self { address, last, thread }
    }

    /// What came over each connection, once all have ended. A connection comes after all that were made before.
    fn finish(self) -> Vec<Vec<u8>> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&"127.0.0.1:0".parse::<SocketAddr>().unwrap().into()).unwrap();
        *self.last.lock().unwrap() = socket.local_addr().unwrap().as_socket();
        socket.connect(&self.address.into()).unwrap();
        self.thread.join().unwrap()
    }
}

fn serve(mut stream: TcpStream, fields: &str) -> Vec<u8> {
    let (mut bytes, mut answered) = (Vec::new(), 0);
    let mut piece = [0; 4096];
    while let Ok(n @ 1..) = stream.read(&mut piece) {
        bytes.extend(&piece[..n]);
        let Ok(requests) = canonical::requests(&bytes) else { break };
        for _ in answered..requests.len() {
            let _ = stream.write_all(ok(fields, "x").as_bytes());
        }
        answered = requests.len();
    }
    bytes
}

const SMUGGLED: &str = "GET http://{h}/smuggled HTTP/1.1\r\nHost: {h}\r\n\r\n";

/// Fields that frame a body in a way that programs read differently.
const BAD_FRAMING: &[&str] = &[
    // CL.TE and TE.CL
    "Content-Length: {l}\r\nTransfer-Encoding: chunked",
    "Transfer-Encoding: chunked\r\nContent-Length: {l}",
    "Content-Length: 0\r\nTransfer-Encoding: chunked",
    "Content-Length: {l}\r\nTransfer-Encoding: identity",
    "Content-Length: {l}\r\nX: y\r\ntransfer-encoding: Chunked",
    // TE.TE
    "Transfer-Encoding: xchunked",
    "Transfer-Encoding: chunk",
    "Transfer-Encoding: x",
    "Transfer-Encoding: identity",
    "Transfer-Encoding: ",
    "Transfer-Encoding: chunked, chunked",
    "Transfer-Encoding: chunked, identity",
    "Transfer-Encoding: identity, chunked",
    "Transfer-Encoding: gzip, chunked",
    "Transfer-Encoding: , chunked",
    "Transfer-Encoding: chunked,",
    "Transfer-Encoding: chunked; q=1",
    "Transfer-Encoding: \"chunked\"",
    "Transfer-Encoding: 'chunked'",
    "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
    "Transfer-Encoding: chunked\r\nTransfer-Encoding: x",
    "Transfer-Encoding: x\r\nTransfer-Encoding: chunked",
    "Transfer-Encoding:\u{b}chunked",
    "Transfer-Encoding: \u{b}chunked",
    "Transfer-Encoding: chunked\u{b}",
    "Transfer-Encoding: \0chunked",
    "Transfer-Encoding: chunked\0",
    "Transfer-Encoding: \u{a0}chunked",
    "Transfer-Encoding:\r\n chunked",
    "Transfer-Encoding:\n chunked",
    "Transfer-Encoding : chunked",
    "Transfer-Encoding\t: chunked",
    " Transfer-Encoding: chunked",
    "\tTransfer-Encoding: chunked",
    "\0Transfer-Encoding: chunked",
    "\u{b}Transfer-Encoding: chunked",
    "X: y\nTransfer-Encoding: chunked",
    "X: y\rTransfer-Encoding: chunked",
    "X: y\r\r\nTransfer-Encoding: chunked",
    "X: y\n\nTransfer-Encoding: chunked",
    "X: y\r\n\nTransfer-Encoding: chunked",
    "Transfer-Encoding\r\n: chunked",
    "Transfer-Encoding chunked",
    // doubled and padded lengths
    "Content-Length: {l}\r\nContent-Length: 0",
    "Content-Length: 0\r\nContent-Length: {l}",
    "Content-Length: 0, {l}",
    "Content-Length: {l}, 0",
    "Content-Length: {l},",
    "Content-Length: ,{l}",
    "Content-Length: ",
    "Content-Length: +{l}",
    "Content-Length: -{l}",
    "Content-Length: 0x{l}",
    "Content-Length: {l}.0",
    "Content-Length: {l}e0",
    "Content-Length: {l} 0",
    "Content-Length: {l};",
    "Content-Length: \"{l}\"",
    "Content-Length: {l}\0",
    "Content-Length: \u{b}{l}",
    "Content-Length: \u{a0}{l}",
    "Content-Length: ٤٢",
    "Content-Length: 18446744073709551616",
    "Content-Length: 1844674407370955161600",
    "Content-Length : {l}",
    "Content-Length\u{b}: {l}",
    " Content-Length: {l}",
    "Content-Length:\r\n {l}",
    "Content-Length:\n{l}",
    "X: y\nContent-Length: {l}",
    "X: y\rContent-Length: {l}",
];

/// Bodies that are no chunks, each of which hides the rest for one program or another.
const BAD_CHUNKS: &[&str] = &[
    "\r\n",
    "g\r\n",
    " 0\r\n\r\n",
    "-1\r\n",
    "+0\r\n\r\n",
    "0x0\r\n\r\n",
    "0 \r\n\r\n",
    "0 1\r\n\r\n",
    "0\n\r\n",
    "0\r\r\n\r\n",
    "0;a\nb\r\n\r\n",
    "0;a\rb\r\n\r\n",
    "0;a\0b\r\n\r\n",
    "1\r\nab\r\n0\r\n\r\n",
    "1\r\na0\r\n\r\n",
    "1\r\na\n0\r\n\r\n",
    "2\r\na\r\n0\r\n\r\n",
    "10000000000000000\r\n",
    "ffffffffffffffff0\r\n",
    "00000000000000000\r\n\r\n",
    "0\r\nGET /smuggled HTTP/1.1\r\n\r\n",
    "0\r\nX : y\r\n\r\n",
    "0\r\n X: y\r\n\r\n",
    "0\r\nX: y\nZ: z\r\n\r\n",
    "\u{feff}0\r\n\r\n",
];

/// Whole heads that are refused, whatever follows.
const BAD_HEADS: &[&str] = &[
    "GET http://{h}/a HTTP/1.1\nHost: {h}\n\n",
    "GET http://{h}/a HTTP/1.1\r\nHost: {h}\n\r\n",
    "GET http://{h}/a HTTP/1.1\r\nHost: {h}\r\n\n",
    "GET http://{h}/a HTTP/1.1\rHost: {h}\r\r\n\r\n",
    "GET http://{h}/a\0 HTTP/1.1\r\nHost: {h}\r\n\r\n",
    "GET http://{h}/a b HTTP/1.1\r\nHost: {h}\r\n\r\n",
    "GET http://{h}/a\tHTTP/1.1\r\nHost: {h}\r\n\r\n",
    "GET  http://{h}/a HTTP/1.1\r\nHost: {h}\r\n\r\n",
    "GET http://{h}/a  HTTP/1.1\r\nHost: {h}\r\n\r\n",
    " GET http://{h}/a HTTP/1.1\r\nHost: {h}\r\n\r\n",
    "GET http://{h}/a HTTP/1.1 \r\nHost: {h}\r\n\r\n",
    "GET http://{h}/a HTTP/1.2\r\nHost: {h}\r\n\r\n",
    "GET http://{h}/a HTTP/2.0\r\nHost: {h}\r\n\r\n",
    "GET http://{h}/a http/1.1\r\nHost: {h}\r\n\r\n",
    "GET http://{h}/a HTTP/1.1\r\nHost: {h}\r\nX\0: y\r\n\r\n",
    "GET http://{h}/a HTTP/1.1\r\nHost: {h}\r\nX: \0\r\n\r\n",
    "GET http://{h}/a HTTP/1.1\r\nHost: {h}\r\nX : y\r\n\r\n",
    "GET http://{h}/a HTTP/1.1\r\nHost: {h}\r\n: y\r\n\r\n",
    "GET http://{h}/a HTTP/1.1\r\nHost: {h}\r\nX y\r\n\r\n",
    "GET http://{h}/a HTTP/1.1\r\nHost: {h}\r\nX: y\r\n folded\r\n\r\n",
    "GET http://{h}/a HTTP/1.1\r\nHost: {h}\r\nX: y\r\n\tfolded\r\n\r\n",
    "GET http://{h}/a HTTP/1.1\r\n X: y\r\nHost: {h}\r\n\r\n",
    // an absolute URI against Host
    "GET http://{h}/a HTTP/1.1\r\n\r\n",
    "GET http://{h}/a HTTP/1.1\r\nHost: {h}\r\nHost: {h}\r\n\r\n",
    "GET http://{h}/a HTTP/1.1\r\nHost: {h}\r\nHost: other\r\n\r\n",
    "GET http://{h}/a HTTP/1.1\r\nHost: a b\r\n\r\n",
    "GET http://{h}/a HTTP/1.1\r\nHost: a/../b\r\n\r\n",
    "GET http://{h}/a HTTP/1.1\r\nHost: a@{h}\r\n\r\n",
    "GET http://{h}/a HTTP/1.1\r\nHost : {h}\r\n\r\n",
    "GET http://a@{h}/a HTTP/1.1\r\nHost: {h}\r\n\r\n",
    "GET http://{h}\\@other/a HTTP/1.1\r\nHost: {h}\r\n\r\n",
    "GET //{h}/a HTTP/1.1\r\nHost: {h}\r\n\r\n",
    "GET /a HTTP/1.1\r\nHost: {h}\r\n\r\n",
    "GET ftp://{h}/a HTTP/1.1\r\nHost: {h}\r\n\r\n",
    // bodies where there are none, and framing of an age that had none
    "CONNECT {h} HTTP/1.1\r\nHost: {h}\r\nContent-Length: 5\r\n\r\n",
    "CONNECT {h} HTTP/1.1\r\nHost: {h}\r\nTransfer-Encoding: chunked\r\n\r\n",
    "CONNECT http://{h}/a HTTP/1.1\r\nHost: {h}\r\n\r\n",
    "CONNECT {h}/a HTTP/1.1\r\nHost: {h}\r\n\r\n",
    "POST http://{h}/a HTTP/1.0\r\nHost: {h}\r\nTransfer-Encoding: chunked\r\n\r\n",
];

/// Messages that are strange and clear: the first response has status 200.
const CLEAR: &[&str] = &[
    "POST http://{h}/a HTTP/1.1\r\nHost: {h}\r\nContent-Length: {l}, {l}\r\n\r\n{s}",
    "POST http://{h}/a HTTP/1.1\r\nHost: {h}\r\nContent-Length: {l}\r\nContent-Length: {l}\r\n\r\n{s}",
    "POST http://{h}/a HTTP/1.1\r\nHost: {h}\r\nContent-Length:  \t{l}\t \r\n\r\n{s}",
    "POST http://{h}/a HTTP/1.1\r\nHost: {h}\r\nContent-Length: 000{l}\r\n\r\n{s}",
    "GET http://{h}/a HTTP/1.1\r\nHost: {h}\r\nContent-Length: {l}\r\n\r\n{s}",
    "HEAD http://{h}/a HTTP/1.1\r\nHost: {h}\r\nContent-Length: {l}\r\n\r\n{s}",
    "DELETE http://{h}/a HTTP/1.1\r\nHost: {h}\r\nContent-Length: {l}\r\n\r\n{s}",
    "POST http://{h}/a HTTP/1.1\r\nHost: {h}\r\nTransfer-Encoding: \t CHUNKED\r\n\r\n{x};a=\"b\"\r\n{s}\r\n000\r\nX: y\r\n\r\n",
    "POST http://{h}/a HTTP/1.1\r\nHost: {h}\r\nTransfer-Encoding: chunked\r\n\r\n0\t;a\r\nContent-Length: {l}\r\n\r\n",
    "POST http://{h}/a HTTP/1.1\r\nHost: {h}\r\nUpgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nContent-Length: {l}\r\n\r\n{s}",
    "POST http://{h}/a HTTP/1.1\r\nHost: {h}\r\nConnection: Content-Length, Host\r\nContent-Length: {l}\r\n\r\n{s}",
    "POST http://{h}/a HTTP/1.1\r\nHost: {h}\r\nConnection: Transfer-Encoding\r\nTransfer-Encoding: chunked\r\n\r\n{x}\r\n{s}\r\n0\r\n\r\n",
    "POST http://{h}/a HTTP/1.1\r\nHost: {h}\r\nExpect: 100-continue\r\nContent-Length: {l}\r\n\r\n{s}",
    "GET http://{h}/a HTTP/1.1\r\nHost: {h}\r\nExpect: 100-continue\r\nContent-Length: {l}\r\n\r\n{s}",
    "GET http://{h}/a HTTP/1.1\r\nHost: other.example:81\r\n\r\n",
    "\r\nGET http://{h}/a HTTP/1.1\r\nHost: {h}\r\n\r\n",
    "GET http://{h}/a HTTP/1.1\r\nHost: {h}\r\nX_Y: é\r\n\r\n",
];

fn attacks(host: &str) -> Vec<(String, u16)> {
    let length = SMUGGLED.replace("{h}", host).len();
    let mut attacks = Vec::new();
    for fields in BAD_FRAMING {
        for (method, version, body) in [
            ("POST", "1.1", "0\r\n\r\n{s}"),
            ("GET", "1.1", "{x}\r\n{s}\r\n0\r\n\r\n"),
            ("POST", "1.0", "{s}"),
        ] {
            attacks.push((
                format!("{method} http://{{h}}/a HTTP/{version}\r\nHost: {{h}}\r\n{fields}\r\n\r\n{body}"),
                400,
            ));
        }
    }
    for chunks in BAD_CHUNKS {
        let head = "POST http://{h}/a HTTP/1.1\r\nHost: {h}\r\nTransfer-Encoding: chunked\r\n\r\n";
        attacks.push((format!("{head}{chunks}{{s}}"), 400));
    }
    attacks.extend(BAD_HEADS.iter().map(|head| (format!("{head}{{s}}"), 400)));
    attacks.extend(CLEAR.iter().map(|&text| (text.to_owned(), 200)));
    for (attack, _) in &mut attacks {
        *attack = attack
            .replace("{s}", SMUGGLED)
            .replace("{h}", host)
            .replace("{l}", &length.to_string())
            .replace("{x}", &format!("{length:x}"));
    }
    attacks
}

#[test]
fn no_attack_smuggles_a_request() {
    let origin = Recorder::new("");
    let host = origin.address.to_string();
    let proxy = proxy();
    let attacks = attacks(&host);
    assert!(attacks.len() > 250, "{}", attacks.len());
    for (attack, status) in &attacks {
        let mut client = HttpPeer::connect(&proxy);
        client.say(attack).0.get_ref().shutdown(Shutdown::Write).unwrap();
        let mut response = Vec::new();
        let _ = client.0.read_to_end(&mut response); // a reset after the response is as good
        let first = String::from_utf8_lossy(&response);
        assert!(first.starts_with(&format!("HTTP/1.1 {status} ")), "{attack:?}: {first}");
    }
    drop(proxy); // which ends all connections to the origin
    let mut seen = 0;
    for bytes in origin.finish() {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let requests = canonical::requests(&bytes).unwrap_or_else(|error| panic!("{error}: {text:?}"));
        for request in &requests {
            assert_eq!((request.target.as_str(), &request.host), ("/a", &host), "{text:?}");
        }
        seen += requests.len();
    }
    assert!(seen >= CLEAR.len(), "{seen} requests reached the origin");
}

/// The body stays on the connection when the cache responds, and would be taken for the next request.
#[test]
fn a_get_with_a_body_is_neither_served_from_the_cache_nor_kept() {
    let recorder = Recorder::new("Cache-Control: max-age=60\r\nETag: \"a\"\r\n");
    let origin = recorder.address;
    let proxy = proxy();
    let smuggled = SMUGGLED.replace("{h}", &origin.to_string());
    let framings = [
        format!("Content-Length: {}\r\n\r\n{smuggled}", smuggled.len()),
        format!("Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{smuggled}\r\n0\r\n\r\n", smuggled.len()),
    ];
    let mut path = String::from("/");
    for fields in ["", "Cache-Control: no-cache\r\n"] {
        for framing in &framings {
            path.push('x');
            let mut client = HttpPeer::connect(&proxy);
            let ask = format!("GET http://{origin}{path} HTTP/1.1\r\nHost: {origin}\r\n{fields}{framing}");
            for kept in [false, true] {
                // With a response in the cache, and without one.
                if kept {
                    client.ask("GET", origin, &path, "").answer();
                }
                let (status, head, _) = client.say(&ask).answer();
                assert_eq!((status, head.get("x-cache")), (200, Some("MISS")), "{ask:?}");
                let (status, head, _) = client.say(&ask).answer();
                assert_eq!((status, head.get("x-cache")), (200, Some("MISS")), "it was not kept: {ask:?}");
            }
        }
    }
    drop(proxy);
    let requests: Vec<_> =
        recorder.finish().iter().flat_map(|bytes| canonical::requests(bytes).unwrap()).collect();
    assert_eq!(requests.len(), 4 * 5);
    assert!(requests.iter().all(|request| request.target.starts_with("/x")), "{requests:?}");
}
