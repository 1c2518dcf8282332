//! A SOCKS5 server (RFC 1928): CONNECT to IPv4, IPv6 and named hosts, without authentication:
//! `cargo run --release --example socks5 -- 7000`.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::Rc;

use eventloop::{ConnectError, ConnectOptions, Connector, EventLoop, Intents, Listener, Progress, Ready};
use eventloop::{Resolver, Result, Session, SocketOptions};
use relay::{Limits, ProxySession, SessionEvent, serve};

const CLIENTS: usize = 1000;
/// The most bytes that wait in one direction of a session.
const CAPACITY: usize = 64 * 1024;
/// The one command that is supported.
const CONNECT: u8 = 1;

/// Replies of section 6; from 1 on they are refusals.
#[derive(Clone, Copy)]
enum Reply {
    Succeeded = 0,
    GeneralFailure = 1,
    NetworkUnreachable = 3,
    HostUnreachable = 4,
    ConnectionRefused = 5,
    CommandNotSupported = 7,
    AddressTypeNotSupported = 8,
}

struct Client {
    session: ProxySession,
    resolver: Rc<Resolver>,
    options: ConnectOptions,
    /// The method was negotiated: the request comes next.
    negotiated: bool,
}

impl Session for Client {
    fn intents(&self, intents: &mut Intents<'_>) {
        self.session.intents(intents);
    }

    fn advance(&mut self, ready: &Ready<'_>) -> Result<Progress> {
        loop {
            match self.session.advance(ready) {
                SessionEvent::Waiting => return Ok(Progress::Continue),
                SessionEvent::Ended(_) => return Ok(Progress::Done),
                SessionEvent::FirstBytes => drop(self.read(ready)),
                SessionEvent::Connected(_) => {
                    let local = self.session.server().and_then(|server| server.local_addr().ok());
                    self.session.send_to_client(&reply(Reply::Succeeded, local));
                }
                SessionEvent::ConnectFailed(error) => drop(self.refuse(reason(&error), ready)),
            }
        }
    }
}

impl Client {
    /// Reads what has come of the two messages of a client; `None` if bytes are missing, or it is refused.
    fn read(&mut self, ready: &Ready<'_>) -> Option<()> {
        if !self.negotiated {
            let &[version, count, ref rest @ ..] = self.session.first_bytes() else { return None };
            if version != 5 {
                self.session.close(ready.now());
                return None;
            }
            if !rest.get(..count.into())?.contains(&0) {
                self.session.refuse(&[5, 0xff], ready.now());
                return None;
            }
            self.session.consume(2 + usize::from(count));
            self.session.send_to_client(&[5, 0]);
            self.negotiated = true;
        }
        let (&[_, command, _, kind], rest) = self.session.first_bytes().split_first_chunk()?;
        let width = match kind {
            1 => 4,
            3 => 1 + usize::from(*rest.first()?),
            4 => 16,
            _ => return self.refuse(Reply::AddressTypeNotSupported, ready),
        };
        let (address, &[high, low, ..]) = rest.split_at_checked(width)? else { return None };
        let host = match address.len() {
            _ if kind == 3 => String::from_utf8_lossy(&address[1..]).into_owned(),
            4 => Ipv4Addr::from(<[u8; 4]>::try_from(address).ok()?).to_string(),
            _ => Ipv6Addr::from(<[u8; 16]>::try_from(address).ok()?).to_string(),
        };
        if command != CONNECT {
            return self.refuse(Reply::CommandNotSupported, ready);
        }
        self.session.consume(4 + width + 2); // what follows is for the server
        let lookup = self.resolver.lookup(&host, u16::from_be_bytes([high, low]));
        self.session.connect(Connector::new(lookup, self.options, ready.now()));
        Some(())
    }

    fn refuse(&mut self, reason: Reply, ready: &Ready<'_>) -> Option<()> {
        self.session.refuse(&reply(reason, None), ready.now());
        None
    }
}

fn reply(code: Reply, bound: Option<SocketAddr>) -> Vec<u8> {
    let bound = bound.unwrap_or_else(|| SocketAddr::from(([0, 0, 0, 0], 0)));
    let (kind, octets) = match bound.ip().to_canonical() {
        IpAddr::V4(ip) => (1, ip.octets().to_vec()),
        IpAddr::V6(ip) => (4, ip.octets().to_vec()),
    };
    [&[5, code as u8, 0, kind], &octets[..], &bound.port().to_be_bytes()].concat()
}

/// The last failure counts: this host may not even have the family of the first address.
fn reason(error: &ConnectError) -> Reply {
    match error.attempts.last().map(|(_, error)| error.kind()) {
        Some(ErrorKind::ConnectionRefused) => Reply::ConnectionRefused,
        Some(ErrorKind::NetworkUnreachable) => Reply::NetworkUnreachable,
        Some(ErrorKind::HostUnreachable | ErrorKind::TimedOut) | None => Reply::HostUnreachable,
        Some(_) => Reply::GeneralFailure,
    }
}

fn main() -> Result<()> {
    let port = std::env::args().nth(1).ok_or("usage: socks5 PORT")?.parse()?;
    let socket = SocketOptions { no_delay: true, ..SocketOptions::default() };
    let options = ConnectOptions { socket, ..ConnectOptions::default() };
    let listener = Listener::bind_all(port, socket)?;
    let mut event_loop = EventLoop::new()?;
    println!("listening on {}", listener.local_addr()?);
    let resolver = Rc::new(Resolver::new());
    event_loop.spawn(serve(listener, CLIENTS, CAPACITY, Limits::default(), move |session, ready| {
        ready.spawn(Client { session, resolver: resolver.clone(), options, negotiated: false });
    }));
    Ok(event_loop.run()?)
}
