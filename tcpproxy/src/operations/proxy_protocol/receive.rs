//! Hearing from a balancer who the client is.

use std::io::{self, ErrorKind, Read};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use eventloop::{Intents, Ready, Stream};
use proxy_header::{Error, ParseConfig, Protocol, ProxyHeader};

use crate::termination::{By, How};

/// A header that a client owes before anything else. It may come in pieces, and nothing after it is touched.
///
/// It is a part of a session: the session passes on [`intents`](Self::intents) and calls
/// [`advance`](Self::advance).
pub(crate) struct HeaderReceiver {
    bytes: [u8; LONGEST],
    /// How many of them have come.
    len: usize,
    timeout: Duration,
    until: Instant,
}

/// Whom a connection was passed on for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Announced {
    /// Where the client is.
    pub(crate) source: SocketAddr,
    /// What it has connected to.
    pub(crate) destination: SocketAddr,
}

/// How far a header has come.
#[must_use]
#[derive(Debug)]
pub(crate) enum Received {
    /// Some of it has yet to come.
    Partly,
    /// All of it has. A connection that was made for nobody, such as a balancer's health check, says nothing.
    Whole(Option<Announced>),
    /// It will not come: whose fault that is, how it ends, and in words.
    Never(By, How, String),
}

/// The longest header that is accepted. The addresses take 107 bytes as text and 52 in binary form; the rest
/// is for what a sender may add about TLS and the like, of which nothing is used here.
const LONGEST: usize = 1024;

impl HeaderReceiver {
    /// Waits for a header from now on, for so long.
    pub(crate) fn new(timeout: Duration, now: Instant) -> Self {
        Self { bytes: [0; LONGEST], len: 0, timeout, until: now + timeout }
    }

    pub(crate) fn intents(&self, client: &Stream, want: &mut Intents<'_>) {
        want.read(client);
        want.deadline(self.until);
    }

    /// Gets on with it.
    pub(crate) fn advance(&mut self, client: &Stream, ready: &Ready<'_>) -> Received {
        let received = if ready.is_readable(client) { self.read(client) } else { Received::Partly };
        match received {
            Received::Partly if self.until <= ready.now() => {
                let why = format!("no PROXY header within {:?}", self.timeout);
                Received::Never(By::Timeout, How::NoHeader, why)
            }
            received => received,
        }
    }

    /// Takes what belongs to the header from what has come, and leaves the rest.
    fn read(&mut self, client: &Stream) -> Received {
        let never = |how, why: &str| Received::Never(By::Client, how, why.to_owned());
        let failed = |error: &io::Error| never(How::of_connection(error), &error.to_string());
        let came = match client.peek(&mut self.bytes[self.len..]) {
            Ok(0) => return never(How::NoHeader, "the end came before the PROXY header was complete"),
            Ok(n) => self.len + n,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                return Received::Partly;
            }
            Err(error) => return failed(&error),
        };
        let (end, received) = match parse(&self.bytes[..came]) {
            Ok((announced, end)) => (end, Received::Whole(announced)),
            Err(Error::BufferTooShort) if came == LONGEST => {
                return never(How::BadHeader, &format!("the PROXY header is longer than {LONGEST} bytes"));
            }
            Err(Error::BufferTooShort) => (came, Received::Partly),
            Err(error) => return never(How::BadHeader, &error.to_string()),
        };
        // What was peeked at is there, so this ends the loop's reports of it.
        match (&mut &*client).read_exact(&mut self.bytes[self.len..end]) {
            Ok(()) => self.len = end,
            Err(error) => return failed(&error),
        }
        received
    }
}

/// What a header says, and where it ends.
fn parse(bytes: &[u8]) -> Result<(Option<Announced>, usize), Error> {
    let config = ParseConfig { include_tlvs: false, ..ParseConfig::default() };
    let (header, end) = ProxyHeader::parse(bytes, config)?;
    let streams = header.proxied_address().filter(|proxied| proxied.protocol == Protocol::Stream);
    let announced =
        streams.map(|proxied| Announced { source: proxied.source, destination: proxied.destination });
    Ok((announced, end))
}

#[cfg(test)]
mod tests {
    use super::*;

    const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

    fn told(source: &str, destination: &str) -> Option<Announced> {
        Some(Announced { source: source.parse().unwrap(), destination: destination.parse().unwrap() })
    }

    /// Headers, what they say, and how they begin if the rest does not matter.
    fn headers() -> Vec<(Vec<u8>, Option<Announced>)> {
        let four = told("192.0.2.1:80", "198.51.100.7:443");
        let six = told("[2001:db8::1]:80", "[2001:db8::2]:443");
        let ips = b"\xc0\0\x02\x01\xc6\x33\x64\x07\0\x50\x01\xbb";
        vec![
            (b"PROXY TCP4 192.0.2.1 198.51.100.7 80 443\r\n".to_vec(), four),
            (b"PROXY TCP6 2001:db8::1 2001:db8::2 80 443\r\n".to_vec(), six),
            (b"PROXY UNKNOWN\r\n".to_vec(), None),
            (b"PROXY UNKNOWN ffff::1 ffff::2 65535 65535\r\n".to_vec(), None),
            ([V2, b"\x21\x11\0\x0c", ips].concat(), four),
            ([V2, b"\x21\x11\0\x11", ips, b"\x03\0\x02ok"].concat(), four), // with something added
            ([V2, b"\x20\0\0\0"].concat(), None),                           // LOCAL
            ([V2, b"\x20\x11\0\x0c", ips].concat(), None), // LOCAL, with addresses that do not count
            ([V2, b"\x21\0\0\x03abc"].concat(), None),     // neither IPv4 nor IPv6
            ([V2, b"\x21\x12\0\x0c", ips].concat(), None), // datagrams
            ([V2, b"\x21\x31\0\xd8", &[b'u'; 216]].concat(), None), // Unix sockets
        ]
    }

    #[test]
    fn headers_say_what_the_specification_says_they_do_and_end_where_they_end() {
        for (header, announced) in headers() {
            for more in [&b""[..], b"\r\nGET / HTTP/1.0\r\n", b"PROXY UNKNOWN\r\n"] {
                let parsed = parse(&[&header, more].concat());
                assert_eq!(parsed, Ok((announced, header.len())), "{:?}", header.escape_ascii().to_string());
            }
        }
    }

    #[test]
    fn a_part_of_a_header_is_never_taken_for_a_whole_or_a_wrong_one() {
        for (header, _) in headers() {
            for at in 0..header.len() {
                let part = &header[..at];
                assert_eq!(parse(part), Err(Error::BufferTooShort), "{:?}", part.escape_ascii().to_string());
            }
        }
    }

    #[test]
    fn what_cannot_become_a_header_is_wrong() {
        for garbage in [
            &b"GET / HTTP/1.1\r\n"[..],
            b"\x16\x03\x01",
            b"PROXY TCP5 192.0.2.1 198.51.100.7 80 443\r\n",
            b"PROXY TCP4 2001:db8::1 198.51.100.7 80 443\r\n",
            b"PROXY TCP4 192.0.2.256 198.51.100.7 80 443\r\n",
            b"PROXY TCP4 192.0.2.1 198.51.100.7 80 65536\r\n",
            b"PROXY TCP4 192.0.2.1 198.51.100.7 80 443\rx",
            &[b'P'; 107],
            &[b"PROXY UNKNOWN ".as_slice(), &[b'x'; 93]].concat(),
            &[V2, b"\x31\x11\0\x0c"].concat(),           // version 3
            &[V2, b"\x22\x11\0\x0c"].concat(),           // an unknown command
            &[V2, b"\x21\x11\0\x04", &[0; 12]].concat(), // too short for its addresses
            &[V2, b"\x21\x51\0\x0c", &[0; 12]].concat(), // an unknown family
        ] {
            let parsed = parse(garbage);
            assert!(
                !matches!(parsed, Ok(_) | Err(Error::BufferTooShort)),
                "{:?}: {parsed:?}",
                garbage.escape_ascii().to_string()
            );
        }
    }
}
