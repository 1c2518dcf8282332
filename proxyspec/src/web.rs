//! A small web server for proxies to stand in front of: a page with many pictures, and large files.
//!
//! It speaks HTTP/1.0, where the end of the connection is the end of the file and a lost FIN hangs the client, or
//! HTTP/1.1 with connections that stay open long after the last answer, as a browser's do. It trusts its clients
//! and holds a thread for each connection: it is a peer for tests and nothing to leave on the internet.

mod pictures;

pub use pictures::{Picture, gallery};

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use clap::ValueEnum;
use testkit::payload::Payload;
use testkit::seed::Seed;

/// How long a kept connection may be silent: longer than any browser waits for a page.
const IDLE: Duration = Duration::from_secs(600);

/// How long the server reads on after its last byte, see [`linger`].
const LINGER: Duration = Duration::from_secs(5);

/// The most bytes a request may have before its body.
const LONGEST_HEAD: u64 = 64 * 1024;

/// Which version the server speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Http {
    /// One request a connection; the answer has no length and ends with the connection
    #[value(name = "1.0")]
    V1_0,
    /// Connections are kept, every answer has a length
    #[value(name = "1.1")]
    V1_1,
}

/// The server, listening. It accepts no client before [`serve`](Self::serve).
///
/// It answers GET and HEAD for `/`, `/image/NAME.png` (see [`gallery`]) and `/large?bytes=N`, which is the first N
/// bytes of a [`Payload`].
///
/// ```
/// use std::{io::{Read, Write}, net::TcpStream, thread};
/// use proxyspec::web::{Http, Origin};
/// use testkit::seed::Seed;
///
/// let origin = Origin::bind("127.0.0.1:0", Http::V1_0, Seed::new(1))?;
/// let mut client = TcpStream::connect(origin.address())?;
/// thread::spawn(move || origin.serve());
/// client.write_all(b"GET /large?bytes=5 HTTP/1.0\r\n\r\n")?;
/// let mut answer = Vec::new();
/// client.read_to_end(&mut answer)?;
/// assert!(answer.starts_with(b"HTTP/1.0 200 OK\r\n"));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Origin {
    listener: TcpListener,
    address: SocketAddr,
    site: Arc<Site>,
}

impl Origin {
    /// Draws the pictures and listens on `address`, where port 0 is any free one.
    ///
    /// # Errors
    ///
    /// Why the address cannot be listened on.
    pub fn bind(address: impl ToSocketAddrs, http: Http, seed: Seed) -> io::Result<Self> {
        Self::showing(gallery(seed)?, TcpListener::bind(address)?, http, seed)
    }

    fn showing(pictures: Vec<Picture>, listener: TcpListener, http: Http, seed: Seed) -> io::Result<Self> {
        let page = page(&pictures);
        let large = Payload::new(seed.derive("large"));
        let site = Site { http, page, pictures, large, cache: "no-store".to_owned() };
        Ok(Self { address: listener.local_addr()?, listener, site: Arc::new(site) })
    }

    /// Lets caches keep its answers for this time. By default they may not: the point is that an answer comes through the
    /// proxy.
    #[must_use]
    pub fn cacheable_for(mut self, lifetime: Duration) -> Self {
        let site = Arc::get_mut(&mut self.site).expect("no client is served yet");
        site.cache = format!("max-age={}", lifetime.as_secs());
        self
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until the process ends.
    ///
    /// # Errors
    ///
    /// Why no further connection can be accepted.
    pub fn serve(self) -> io::Result<()> {
        loop {
            let (client, _) = match self.listener.accept() {
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => continue,
                accepted => accepted?,
            };
            let site = Arc::clone(&self.site);
            // What goes wrong on one connection is the client's to notice.
            thread::Builder::new().spawn(move || site.converse(client).ok())?;
        }
    }
}

/// What the server has to offer.
#[derive(Debug)]
struct Site {
    http: Http,
    page: String,
    pictures: Vec<Picture>,
    large: Payload,
    /// What it says about caching.
    cache: String,
}

impl Site {
    /// Answers the requests of one connection, one after the other, until one side wants no more.
    fn converse(&self, mut client: TcpStream) -> io::Result<()> {
        client.set_nodelay(true)?;
        client.set_read_timeout(Some(IDLE))?;
        let mut requests = BufReader::new(client.try_clone()?);
        loop {
            let mut request = match Request::read(&mut requests) {
                Ok(Some(request)) => request,
                Ok(None) => break,
                Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                    self.answer(&mut client, &Request::default(), &Response::text("400 Bad Request"))?;
                    break;
                }
                Err(error) => return Err(error),
            };
            request.keep &= self.http == Http::V1_1;
            self.answer(&mut client, &request, &self.find(&request))?;
            if !request.keep {
                break;
            }
        }
        linger(&client)
    }

    fn find(&self, request: &Request) -> Response<'_> {
        let (path, query) = request.target.split_once('?').unwrap_or((&request.target, ""));
        let picture = || {
            let name = path.strip_prefix("/image/")?.strip_suffix(".png")?;
            self.pictures.iter().find(|picture| picture.name == name)
        };
        if !matches!(request.method.as_str(), "GET" | "HEAD") {
            Response::text("405 Method Not Allowed")
        } else if path == "/" {
            Response::ok("text/html; charset=utf-8", Body::Bytes(self.page.as_bytes()))
        } else if let Some(picture) = picture() {
            Response::ok("image/png", Body::Bytes(&picture.png))
        } else if path == "/large" {
            match query.strip_prefix("bytes=").map(str::parse) {
                Some(Ok(bytes)) => Response::ok("application/octet-stream", Body::Large(bytes)),
                _ => Response::text("400 Bad Request"),
            }
        } else {
            Response::text("404 Not Found")
        }
    }

    fn answer(&self, client: &mut TcpStream, request: &Request, answer: &Response<'_>) -> io::Result<()> {
        let Response { status, kind, body } = answer;
        let version = if self.http == Http::V1_0 { "1.0" } else { "1.1" };
        let cache = &self.cache;
        let mut head =
            format!("HTTP/{version} {status}\r\nContent-Type: {kind}\r\nCache-Control: {cache}\r\n");
        if *status == "405 Method Not Allowed" {
            head += "Allow: GET, HEAD\r\n";
        }
        if self.http == Http::V1_1 {
            head += &format!("Content-Length: {}\r\n", body.len());
            head += if request.keep { "" } else { "Connection: close\r\n" };
        }
        client.write_all((head + "\r\n").as_bytes())?;
        if request.method == "HEAD" {
            return Ok(());
        }
        match *body {
            Body::Bytes(bytes) => client.write_all(bytes),
            Body::Large(bytes) => self.send_large(client, bytes),
        }
    }

    fn send_large(&self, client: &mut TcpStream, bytes: u64) -> io::Result<()> {
        let mut block = vec![0; 64 * 1024];
        let mut offset = 0;
        while offset < bytes {
            let len = block.len().min(usize::try_from(bytes - offset).unwrap_or(usize::MAX));
            self.large.fill(offset, &mut block[..len]);
            client.write_all(&block[..len])?;
            offset += len as u64;
        }
        Ok(())
    }
}

/// The HTML of the page that shows `pictures`, each fetched from `/image/NAME.png`.
///
/// When everything has loaded, the script counts the pictures that arrived whole and writes the count into the
/// title, into a green or red banner, and into `<p id="result" data-state="complete" data-loaded="N" data-of="N">`
/// for a test that reads the document. A browser shows half a PNG without complaint, so a picture counts only if its
/// width is right and its body had as many bytes as the file.
fn page(pictures: &[Picture]) -> String {
    let figure = |Picture { name, width, height, png }: &Picture| {
        let bytes = png.len();
        format!(
            "<figure><img src=\"/image/{name}.png\" alt=\"{name}\" data-width=\"{width}\" data-bytes=\"{bytes}\">\
             <figcaption>{name}, {width}&times;{height}, {bytes} bytes</figcaption></figure>\n"
        )
    };
    let figures: String = pictures.iter().map(figure).collect();
    TEMPLATE.replace("{of}", &pictures.len().to_string()).replace("{figures}", &figures)
}

/// A script in it says whether every picture came whole. The icon is given in the page itself: a browser would ask for it on a connection of its own, or not.
const TEMPLATE: &str = include_str!("web/page.html");

/// Ends a connection so that the client reads the whole answer.
///
/// To close with unread bytes would send a RST, which may overtake the answer. So: FIN, then read until the client
/// has closed too, for a bounded time. RFC 9112, section 9.6.
fn linger(mut client: &TcpStream) -> io::Result<()> {
    client.shutdown(Shutdown::Write)?;
    client.set_read_timeout(Some(LINGER))?;
    io::copy(&mut client, &mut io::sink())?;
    Ok(())
}

/// What a client asks for, as far as this server cares.
#[derive(Debug, Default, PartialEq, Eq)]
struct Request {
    method: String,
    target: String,
    /// Whether the client will use the connection again.
    keep: bool,
}

impl Request {
    /// Reads up to the empty line. `None` is the end of the connection between requests. A broken request is
    /// `InvalidData`.
    fn read(from: &mut impl BufRead) -> io::Result<Option<Self>> {
        let mut head = from.take(LONGEST_HEAD);
        let mut line = String::new();
        if head.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let words: Vec<&str> = line.split_whitespace().collect();
        let &[method, target, version @ ("HTTP/1.0" | "HTTP/1.1")] = words.as_slice() else {
            return Err(io::ErrorKind::InvalidData.into());
        };
        let mut request =
            Self { method: method.to_owned(), target: target.to_owned(), keep: version == "HTTP/1.1" };
        let mut host = version == "HTTP/1.0";
        loop {
            line.clear();
            if head.read_line(&mut line)? == 0 {
                return Err(io::ErrorKind::InvalidData.into());
            }
            let Some((name, value)) = line.split_once(':') else {
                let end = line.trim_end().is_empty() && host;
                return if end { Ok(Some(request)) } else { Err(io::ErrorKind::InvalidData.into()) };
            };
            match name.to_ascii_lowercase().as_str() {
                "host" => host = true,
                "connection" => request.keep &= !value.to_ascii_lowercase().contains("close"),
                // No request needs a body here; without reading it the next request cannot be found.
                "content-length" | "transfer-encoding" => request.keep = false,
                _ => {}
            }
        }
    }
}

/// An answer, before the headers.
struct Response<'a> {
    status: &'static str,
    kind: &'static str,
    body: Body<'a>,
}

impl<'a> Response<'a> {
    const fn ok(kind: &'static str, body: Body<'a>) -> Self {
        Self { status: "200 OK", kind, body }
    }

    /// An answer whose body is its status.
    const fn text(status: &'static str) -> Self {
        Self { status, kind: "text/plain", body: Body::Bytes(status.as_bytes()) }
    }
}

enum Body<'a> {
    Bytes(&'a [u8]),
    /// This number of bytes of the large file.
    Large(u64),
}

impl Body<'_> {
    fn len(&self) -> u64 {
        match *self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Large(bytes) => bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use super::pictures::tests::FIRST;
    use super::*;

    /// That of [`FIRST`].
    const SEED: Seed = Seed::new(1);

    /// A connection to the server of this version; reads fail rather than hang.
    fn connect(http: Http) -> TcpStream {
        /// One of each version for all tests, because drawing takes a second without optimisation.
        static ORIGINS: LazyLock<[SocketAddr; 2]> = LazyLock::new(|| {
            [Http::V1_0, Http::V1_1].map(|http| {
                let listener = TcpListener::bind("127.0.0.1:0").unwrap();
                let origin = Origin::showing(FIRST.clone(), listener, http, SEED).unwrap();
                let address = origin.address();
                thread::spawn(move || origin.serve());
                address
            })
        });
        let client = TcpStream::connect(ORIGINS[http as usize]).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        client
    }

    /// Sends `request` and reads to the end of the connection: head and body.
    fn exchange(http: Http, request: &str) -> (String, Vec<u8>) {
        let mut client = connect(http);
        client.write_all(request.as_bytes()).unwrap();
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).unwrap();
        split(&answer)
    }

    fn split(answer: &[u8]) -> (String, Vec<u8>) {
        let end = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
        (String::from_utf8(answer[..end].to_vec()).unwrap(), answer[end..].to_vec())
    }

    #[test]
    fn http_1_0_ends_with_the_connection() {
        let (head, body) = exchange(Http::V1_0, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        assert!(head.starts_with("HTTP/1.0 200 OK\r\n"), "{head}");
        assert!(!head.contains("Content-Length"), "{head}");
        assert_eq!(body, page(&FIRST).into_bytes());
    }

    #[test]
    fn http_1_1_keeps_the_connection() {
        let mut client = connect(Http::V1_1);
        for picture in FIRST.iter() {
            let request = format!("GET /image/{}.png HTTP/1.1\r\nHost: a\r\n\r\n", picture.name);
            client.write_all(request.as_bytes()).unwrap();
            let mut answer = Vec::new();
            while !answer.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                client.read_exact(&mut byte).unwrap();
                answer.push(byte[0]);
            }
            let head = String::from_utf8(answer).unwrap();
            assert!(head.contains(&format!("Content-Length: {}\r\n", picture.png.len())), "{head}");
            let mut body = vec![0; picture.png.len()];
            client.read_exact(&mut body).unwrap();
            assert!(body == picture.png, "{} differs", picture.name);
        }
    }

    #[test]
    fn the_client_may_ask_to_close() {
        for request in
            ["GET / HTTP/1.0\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\nConnection: Keep-Alive, Close\r\n\r\n"]
        {
            let (head, _) = exchange(Http::V1_1, request);
            assert!(head.contains("Connection: close\r\n"), "{head}");
        }
    }

    #[test]
    fn large_files_are_payload() {
        for bytes in [0, 1, 100_000] {
            let (_, body) = exchange(Http::V1_0, &format!("GET /large?bytes={bytes} HTTP/1.0\r\n\r\n"));
            assert!(body == Payload::new(SEED.derive("large")).bytes(0, bytes), "{bytes} bytes");
        }
    }

    #[test]
    fn head_has_no_body() {
        for (http, length) in [(Http::V1_0, false), (Http::V1_1, true)] {
            let (head, body) = exchange(http, "HEAD /large?bytes=100 HTTP/1.0\r\n\r\n");
            assert_eq!(head.contains("Content-Length: 100\r\n"), length, "{head}");
            assert_eq!(body, b"");
        }
    }

    #[test]
    fn other_requests_get_an_error_and_the_rest_is_read() {
        for (request, status) in [
            ("GET /nothing HTTP/1.0\r\n\r\n", "404 Not Found"),
            ("GET /image/nothing.png HTTP/1.0\r\n\r\n", "404 Not Found"),
            ("GET /large HTTP/1.0\r\n\r\n", "400 Bad Request"),
            ("GET /large?bytes=-1 HTTP/1.0\r\n\r\n", "400 Bad Request"),
            ("GET / HTTP/1.1\r\n\r\n", "400 Bad Request"),
            ("GET /\r\n\r\n", "400 Bad Request"),
            ("GET / HTTP/1.0\r\nno colon\r\n\r\n", "400 Bad Request"),
            ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc", "405 Method Not Allowed"),
        ] {
            for http in [Http::V1_0, Http::V1_1] {
                let (head, body) = exchange(
                    http,
                    &request.replace("HTTP/1.1\r\nHost", "HTTP/1.1\r\nConnection: close\r\nHost"),
                );
                assert!(head.split_once(' ').unwrap().1.starts_with(status), "{request}: {head}");
                assert_eq!(body, status.as_bytes());
            }
        }
    }

    #[test]
    fn every_picture_is_on_the_page() {
        let picture = |name, width| Picture { name, width, height: 2, png: vec![0; 7] };
        let html = page(&[picture("one", 3), picture("two", 4)]);
        assert!(html.contains(r#"<img src="/image/one.png" alt="one" data-width="3" data-bytes="7">"#));
        assert!(html.contains(r#"<img src="/image/two.png" alt="two" data-width="4" data-bytes="7">"#));
        assert!(html.contains(r#"data-state="loading" data-loaded="0" data-of="2""#));
        assert!(html.contains(r#"<link rel="icon""#), "a browser would ask for another file");
        assert!(!html.contains("{of}") && !html.contains("{figures}"));
    }
}
