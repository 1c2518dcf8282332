//! From bytes to the header of a connection.

use std::error::Error;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The client and the destination that a header names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Announced {
    /// The client's address.
    pub source: SocketAddr,
    /// The address that the client has connected to.
    pub destination: SocketAddr,
}

/// Reads one header of the PROXY protocol, version 1 or 2, in pieces of any size.
///
/// The result depends on the bytes alone, never on how they are split. A header that cannot become valid is
/// refused at the first byte that shows it, except that the fields of a line are read when it ends.
///
/// It takes a hundred bytes of memory, also for the longest header of version 2, which has 65,551 bytes: what
/// follows the addresses (TLVs) is skipped, not kept. Checksums in it are not verified.
///
/// ```
/// use tcpproxy::operations::proxy_protocol::{HeaderParser, Parsed};
///
/// let mut parser = HeaderParser::new();
/// assert_eq!(parser.advance(b"PROXY TCP4 192.0.2.1 198.51.100.7 400"), Ok(Parsed::Partial));
/// let Ok(Parsed::Complete { taken, announced }) = parser.advance(b"00 443\r\nGET /") else { panic!() };
/// assert_eq!(taken, b"00 443\r\n".len());
/// assert_eq!(announced.unwrap().source, "192.0.2.1:40000".parse().unwrap());
/// ```
#[derive(Debug)]
pub struct HeaderParser {
    /// The bytes that decide, in their order.
    head: [u8; LONGEST_LINE],
    /// How many of them have come.
    len: usize,
    result: HeadResult,
}

/// What follows the head of a header of version 2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Tail {
    skip: usize,
    announced: Option<Announced>,
}

/// How far a header has come.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// Every byte was taken, and more have to come.
    Partial,
    /// The header is complete.
    Complete {
        /// How many of the last bytes belong to it; what follows is the client's.
        taken: usize,
        /// `None` if the header names no TCP connection: the connection's own addresses count. A balancer's
        /// health check (`LOCAL`) says so, and a header of another protocol.
        announced: Option<Announced>,
    },
}

/// Why bytes are no header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderError {
    /// Neither `PROXY ` nor the signature of version 2.
    Signature,
    /// A line of version 1 that does not end within 107 bytes.
    LineTooLong,
    /// A line of version 1 with another protocol than `TCP4`, `TCP6` or `UNKNOWN`, or without the one space
    /// after it.
    Protocol,
    /// A line of version 1 without exactly two addresses and two ports, one space before each.
    Fields,
    /// A line of version 1 with an address that is not one of its family.
    Address,
    /// A line of version 1 with a port that is not a number from 0 to 65535 in its shortest form.
    Port,
    /// A binary header of another version than 2.
    Version(u8),
    /// A command of version 2 that is neither `LOCAL` nor `PROXY`.
    Command(u8),
    /// A family or protocol of version 2 that is not assigned.
    Family(u8),
    /// A length of version 2 that is too short for the addresses of its family.
    Length(u16),
}

/// The longest line of version 1, with CR and LF (section 2.1).
const LONGEST_LINE: usize = 107;

/// What each line of version 1 begins with.
const LINE: &[u8] = b"PROXY ";

/// What each header of version 2 begins with (section 2.2).
pub(super) const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// Signature, version and command, family and protocol, length.
const FIXED: usize = SIGNATURE.len() + 4;

/// The result of reading a head: an error, nothing yet, or what to skip and then to report.
type HeadResult = Result<Option<Tail>, HeaderError>;

impl HeaderParser {
    /// A parser that has yet to see the first byte.
    #[must_use]
    pub fn new() -> Self {
        Self { head: [0; LONGEST_LINE], len: 0, result: Ok(None) }
    }

    /// Reads the next bytes of a connection, up to the end of the header.
    ///
    /// # Errors
    ///
    /// Why these bytes, after those before, are no header. Neither the same bytes again nor others change that.
    pub fn advance(&mut self, bytes: &[u8]) -> Result<Parsed, HeaderError> {
        let mut taken = 0;
        while self.result == Ok(None)
            && let Some(&byte) = bytes.get(taken)
        {
            self.head[self.len] = byte;
            self.len += 1;
            taken += 1;
            self.result = judge(&self.head[..self.len]);
        }
        let Some(Tail { skip, announced }) = self.result.as_mut().map_err(|error| *error)? else {
            return Ok(Parsed::Partial);
        };
        let skipped = (*skip).min(bytes.len() - taken);
        *skip -= skipped;
        taken += skipped;
        Ok(if *skip == 0 { Parsed::Complete { taken, announced: *announced } } else { Parsed::Partial })
    }
}

impl Default for HeaderParser {
    fn default() -> Self {
        Self::new()
    }
}

/// Judges a head whose every shorter prefix was found to be incomplete.
fn judge(head: &[u8]) -> HeadResult {
    if agree(head, LINE) {
        line(head)
    } else if agree(head, SIGNATURE) {
        binary(head)
    } else {
        Err(HeaderError::Signature)
    }
}

/// Whether the shorter of two begins the longer.
fn agree(one: &[u8], other: &[u8]) -> bool {
    one.iter().zip(other).all(|(a, b)| a == b)
}

fn line(head: &[u8]) -> HeadResult {
    match head.strip_suffix(b"\r\n") {
        Some(line) => fields(&line[LINE.len()..]).map(|announced| Some(Tail { skip: 0, announced })),
        None if head.len() == LONGEST_LINE => Err(HeaderError::LineTooLong),
        None => {
            let rest = head.get(LINE.len()..).unwrap_or_default();
            let possible = [&b"TCP4 "[..], b"TCP6 ", b"UNKNOWN ", b"UNKNOWN\r\n"];
            let known = possible.into_iter().any(|protocol| agree(rest, protocol));
            if known { Ok(None) } else { Err(HeaderError::Protocol) }
        }
    }
}

/// What stands between `PROXY ` and the end of the line.
fn fields(rest: &[u8]) -> Result<Option<Announced>, HeaderError> {
    if rest == b"UNKNOWN" || rest.starts_with(b"UNKNOWN ") {
        return Ok(None); // the rest is to be ignored
    }
    // Bytes that are not ASCII become characters that no field may have.
    let text = String::from_utf8_lossy(rest);
    let mut fields = text.split(' ');
    let protocol = fields.next().unwrap_or_default();
    let [source, destination, source_port, destination_port]: [&str; 4] =
        fields.collect::<Vec<_>>().try_into().map_err(|_| HeaderError::Fields)?;
    let address = |text: &str| match protocol {
        "TCP4" => text.parse::<Ipv4Addr>().map(IpAddr::from).map_err(|_| HeaderError::Address),
        "TCP6" => text.parse::<Ipv6Addr>().map(IpAddr::from).map_err(|_| HeaderError::Address),
        _ => Err(HeaderError::Protocol),
    };
    Ok(Some(Announced {
        source: SocketAddr::new(address(source)?, port(source_port)?),
        destination: SocketAddr::new(address(destination)?, port(destination_port)?),
    }))
}

/// Neither signs nor heading zeros, which `str::parse` would allow.
fn port(text: &str) -> Result<u16, HeaderError> {
    match text.as_bytes() {
        b"0" => Ok(0),
        [b'1'..=b'9', ..] => text.parse().map_err(|_| HeaderError::Port),
        _ => Err(HeaderError::Port),
    }
}

fn binary(head: &[u8]) -> HeadResult {
    if let Some(&byte) = head.get(SIGNATURE.len()) {
        if byte >> 4 != 2 {
            return Err(HeaderError::Version(byte >> 4));
        }
        if byte & 0xf > 1 {
            return Err(HeaderError::Command(byte & 0xf));
        }
    }
    let Some((&[.., command, family, high, low], rest)) = head.split_first_chunk::<FIXED>() else {
        return Ok(None);
    };
    let length = u16::from_be_bytes([high, low]);
    let tail = |announced, taken| Ok(Some(Tail { skip: usize::from(length) - taken, announced }));
    if command & 0xf == 0 {
        return tail(None, 0); // LOCAL, whose family and addresses do not count
    }
    let needed = match (family >> 4, family & 0xf) {
        (4.., _) | (_, 3..) => return Err(HeaderError::Family(family)),
        (0, _) | (_, 0) => 0,
        (1, _) => 12,
        (2, _) => 36,
        _ => 216,
    };
    if usize::from(length) < needed {
        return Err(HeaderError::Length(length));
    }
    match (family, rest.len()) {
        (0x11 | 0x21, come) if come < needed => Ok(None),
        (0x11, _) => tail(addresses::<4>(rest), needed),
        (0x21, _) => tail(addresses::<16>(rest), needed),
        _ => tail(None, 0), // no TCP connection
    }
}

/// Two addresses of this many bytes, and two ports.
fn addresses<const BYTES: usize>(block: &[u8]) -> Option<Announced>
where
    IpAddr: From<[u8; BYTES]>,
{
    let (&source, rest) = block.split_first_chunk::<BYTES>()?;
    let (&destination, rest) = rest.split_first_chunk::<BYTES>()?;
    let &[a, b, c, d] = rest.first_chunk()?;
    Some(Announced {
        source: SocketAddr::new(source.into(), u16::from_be_bytes([a, b])),
        destination: SocketAddr::new(destination.into(), u16::from_be_bytes([c, d])),
    })
}

impl fmt::Display for HeaderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Signature => write!(f, "no PROXY header: the first bytes are those of neither version"),
            Self::LineTooLong => write!(f, "a PROXY line does not end within {LONGEST_LINE} bytes"),
            Self::Protocol => write!(f, "a PROXY line names neither TCP4, TCP6 nor UNKNOWN"),
            Self::Fields => write!(f, "a PROXY line has not two addresses and two ports, one space apart"),
            Self::Address => write!(f, "an address of a PROXY line is not of the family it names"),
            Self::Port => write!(f, "a port of a PROXY line is not a plain number from 0 to 65535"),
            Self::Version(version) => write!(f, "a binary PROXY header of version {version}, not 2"),
            Self::Command(command) => write!(f, "a PROXY header with the unknown command {command}"),
            Self::Family(family) => write!(f, "a PROXY header with the unknown family {family:#04x}"),
            Self::Length(length) => {
                write!(f, "a PROXY header of {length} bytes, too short for its addresses")
            }
        }
    }
}

impl Error for HeaderError {}
