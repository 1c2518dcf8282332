//! Forwards each TLS client, without decrypting, to the server for the name that the client asks for (RFC 6066, section 3):
//! `cargo run --release --example sni -- 7000 www.example.org=192.0.2.1:443 example.com=example.com:443`.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;

use eventloop::{ConnectOptions, Connector, EventLoop, Intents, Listener, Progress, Ready, Result, Session};
use eventloop::{SocketOptions, resolve};
use relay::{Limits, ProxySession, SessionEvent, serve};

const CLIENTS: usize = 1000;
/// The longest ClientHello that is read, and the most bytes that wait in one direction.
const CAPACITY: usize = 16 * 1024;
/// A fatal alert, "unrecognized_name" (RFC 8446, section 6).
const UNRECOGNIZED_NAME: &[u8] = &[21, 3, 3, 0, 2, 2, 112];

struct Router {
    session: ProxySession,
    /// The addresses of the server for each name.
    routes: Rc<HashMap<String, Vec<SocketAddr>>>,
    options: ConnectOptions,
}

impl Session for Router {
    fn intents(&self, intents: &mut Intents<'_>) {
        self.session.intents(intents);
    }

    fn advance(&mut self, ready: &Ready<'_>) -> Result<Progress> {
        loop {
            match self.session.advance(ready) {
                SessionEvent::Waiting => return Ok(Progress::Continue),
                SessionEvent::Ended(_) => return Ok(Progress::Done),
                SessionEvent::FirstBytes => self.route(ready),
                // The server receives the first bytes, too. Without a server the client is reset.
                SessionEvent::Connected(_) | SessionEvent::ConnectFailed(_) => {}
            }
        }
    }
}

impl Router {
    fn route(&mut self, ready: &Ready<'_>) {
        let Some(hello) = client_hello(self.session.first_bytes()) else { return }; // incomplete
        match hello.and_then(|hello| server_name(&hello)).and_then(|name| self.routes.get(&name)) {
            Some(ips) => self.session.connect(Connector::new(&ips[..], self.options, ready.now())),
            None => self.session.refuse(UNRECOGNIZED_NAME, ready.now()),
        }
    }
}

/// The ClientHello at the beginning of these records (RFC 8446, sections 4.1.2 and 5.1): `Some(None)` if there is none,
/// `None` if more bytes have to tell.
fn client_hello(mut records: &[u8]) -> Option<Option<Vec<u8>>> {
    let mut handshake = Vec::new();
    loop {
        if let Some(hello) = handshake.get(1..).and_then(|mut message| take(&mut message, 3)) {
            return Some(Some(hello.to_vec()).filter(|_| handshake[0] == 1));
        }
        let (&[kind, major, _, high, low], rest) = records.split_first_chunk()?;
        if (kind, major) != (22, 3) {
            return Some(None);
        }
        let (fragment, rest) = rest.split_at(rest.len().min(usize::from(u16::from_be_bytes([high, low]))));
        handshake.extend_from_slice(fragment);
        records = rest;
    }
}

fn server_name(hello: &[u8]) -> Option<String> {
    let mut rest = hello.get(34..)?; // behind the version and the random bytes
    for width in [1, 2, 1] {
        take(&mut rest, width)?; // session id, cipher suites, compression methods
    }
    let mut extensions = take(&mut rest, 2)?;
    loop {
        let kind;
        (kind, extensions) = extensions.split_first_chunk()?;
        let mut data = take(&mut extensions, 2)?;
        if *kind == [0, 0] {
            let names = take(&mut data, 2)?;
            let name = take(&mut names.strip_prefix(&[0])?, 2)?; // the first one, a host's
            return String::from_utf8(name.to_ascii_lowercase()).ok();
        }
    }
}

/// Takes a vector out, behind its length, which is a number of `width` bytes.
fn take<'a>(bytes: &mut &'a [u8], width: usize) -> Option<&'a [u8]> {
    let (length, rest) = bytes.split_at_checked(width)?;
    let length = length.iter().fold(0, |length, &byte| length << 8 | usize::from(byte));
    let (vector, rest) = rest.split_at_checked(length)?;
    *bytes = rest;
    Some(vector)
}

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let port = arguments.next().ok_or("usage: sni PORT NAME=HOST:PORT ...")?.parse()?;
    let mut routes = HashMap::new();
    for route in arguments {
        let parts = route.split_once('=').and_then(|(name, server)| Some((name, server.rsplit_once(':')?)));
        let (name, (host, port)) = parts.ok_or_else(|| format!("{route} is not NAME=HOST:PORT"))?;
        routes.insert(name.to_ascii_lowercase(), resolve(host, port.parse()?)?);
    }
    let socket = SocketOptions { no_delay: true, ..SocketOptions::default() };
    let options = ConnectOptions { socket, ..ConnectOptions::default() };
    let listener = Listener::bind_all(port, socket)?;
    let mut event_loop = EventLoop::new()?;
    println!("listening on {}", listener.local_addr()?);
    let routes = Rc::new(routes);
    event_loop.spawn(serve(listener, CLIENTS, CAPACITY, Limits::default(), move |session, ready| {
        ready.spawn(Router { session, routes: routes.clone(), options });
    }));
    Ok(event_loop.run()?)
}
