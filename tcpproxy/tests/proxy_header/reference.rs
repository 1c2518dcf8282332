//! The PROXY protocol, read once more: as slowly and literally as the specification is written, from all bytes at
//! once, with nothing of the crate's own parser. What both agree on is hardly both times wrong.

use std::net::{IpAddr, SocketAddr};

use tcpproxy::operations::proxy_protocol::{HeaderParser, Parsed};

/// What a connection begins with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// A header of this length, and what it says of a TCP connection.
    Header(usize, Option<Said>),
    /// No header.
    Wrong,
    /// The bytes end too early to tell.
    Short,
}

/// Source and destination: the bytes of the address, and the port.
pub(crate) type Said = [(Vec<u8>, u16); 2];

/// Checks that the crate's parser comes to the same verdict, however the bytes are split.
pub(crate) fn check(bytes: &[u8]) {
    let expected = read(bytes);
    let shown = || bytes[..bytes.len().min(300)].escape_ascii().to_string();
    let whole = parse([bytes]);
    match &expected {
        // What is short here may be known there to be wrong already: nothing that follows mends it.
        Verdict::Short if whole == Verdict::Wrong => {
            for more in [&b"\r\n"[..], b" 1 2\r\n", b"\0\0\0\0\r\n", &[b' '; 107], &[0; 300]] {
                let longer = [bytes, more].concat();
                assert!(!matches!(read(&longer), Verdict::Header(..)), "given up too early: {}", shown());
            }
        }
        expected => assert_eq!(&whole, expected, "{}", shown()),
    }
    assert_eq!(parse(bytes.chunks(1)), whole, "byte by byte: {}", shown());
    for at in [1, 6, 12, 14, 16, 20, 40, bytes.len() / 2, bytes.len().saturating_sub(1)] {
        let Some((before, after)) = bytes.split_at_checked(at) else { continue };
        assert_eq!(parse([before, after]), whole, "split at {at}: {}", shown());
    }
}

/// What the crate's parser says of these pieces.
fn parse<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Verdict {
    let mut parser = HeaderParser::new();
    let mut before = 0;
    let said = |address: SocketAddr| match address.ip() {
        IpAddr::V4(ip) => (ip.octets().to_vec(), address.port()),
        IpAddr::V6(ip) => (ip.octets().to_vec(), address.port()),
    };
    for piece in pieces {
        match parser.advance(piece) {
            Ok(Parsed::Partial) => before += piece.len(),
            Ok(Parsed::Complete { taken, announced }) => {
                let said = announced.map(|announced| [said(announced.source), said(announced.destination)]);
                return Verdict::Header(before + taken, said);
            }
            Err(error) => {
                assert_eq!(parser.advance(b"PROXY UNKNOWN\r\n"), Err(error), "an error is final");
                return Verdict::Wrong;
            }
        }
    }
    Verdict::Short
}

/// Section 2: which version.
pub(crate) fn read(bytes: &[u8]) -> Verdict {
    let binary = [0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a];
    let line = [0x50, 0x52, 0x4f, 0x58, 0x59, 0x20];
    if bytes.starts_with(&binary) {
        version_2(bytes)
    } else if bytes.starts_with(&line) {
        version_1(bytes)
    } else if binary.starts_with(bytes) || line.starts_with(bytes) {
        Verdict::Short
    } else {
        Verdict::Wrong
    }
}

/// Section 2.1.
fn version_1(bytes: &[u8]) -> Verdict {
    let first = &bytes[..bytes.len().min(107)];
    let Some(end) = (1..first.len()).find(|&at| first[at - 1] == b'\r' && first[at] == b'\n') else {
        return if first.len() == 107 { Verdict::Wrong } else { Verdict::Short };
    };
    let words: Vec<&[u8]> = first[..=end - 2].split(|&byte| byte == b' ').collect();
    if words[1] == b"UNKNOWN" {
        return Verdict::Header(end + 1, None);
    }
    let address: fn(&[u8]) -> Option<Vec<u8>> = match words[1] {
        b"TCP4" => four,
        b"TCP6" => six,
        _ => return Verdict::Wrong,
    };
    if words.len() != 6 {
        return Verdict::Wrong;
    }
    match (address(words[2]), address(words[3]), number(words[4], 65535), number(words[5], 65535)) {
        (Some(from), Some(to), Some(from_port), Some(to_port)) => {
            Verdict::Header(end + 1, Some([(from, from_port), (to, to_port)]))
        }
        _ => Verdict::Wrong,
    }
}

/// A decimal integer without heading zeros.
fn number(digits: &[u8], most: u32) -> Option<u16> {
    let proper = matches!(digits.len(), 1..=5) && (digits[0] != b'0' || digits.len() == 1);
    let mut value = 0;
    for digit in digits {
        value = value * 10 + (*digit as char).to_digit(10)?;
        if value > most {
            return None;
        }
    }
    proper.then_some(value as u16)
}

/// Four integers with dots between them.
fn four(text: &[u8]) -> Option<Vec<u8>> {
    let numbers: Vec<&[u8]> = text.split(|&byte| byte == b'.').collect();
    if numbers.len() != 4 {
        return None;
    }
    numbers.into_iter().map(|digits| number(digits, 255).map(|value| value as u8)).collect()
}

/// Sets of up to four hexadecimal digits with colons between them; one `::` stands for sets of zeros. HAProxy sends what
/// inet_ntop(3) writes, so the last two sets may be an IPv4 address (RFC 4291, section 2.2).
fn six(text: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(text).ok()?;
    let (before, after) = match text.split_once("::") {
        Some((_, after)) if after.contains("::") || after.starts_with(':') => return None,
        Some((before, after)) => (sets(before, false)?, Some(sets(after, true)?)),
        None => (sets(text, true)?, None),
    };
    let Some(after) = after else { return (before.len() == 16).then_some(before) };
    let there = before.len() + after.len();
    (there <= 14).then(|| [before, vec![0; 16 - there], after].concat())
}

fn sets(text: &str, last: bool) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let sets: Vec<&str> = if text.is_empty() { Vec::new() } else { text.split(':').collect() };
    for (at, set) in sets.iter().enumerate() {
        if last && at + 1 == sets.len() && set.contains('.') {
            bytes.extend(four(set.as_bytes())?);
            continue;
        }
        if !(1..=4).contains(&set.len()) {
            return None;
        }
        let mut value = 0;
        for digit in set.chars() {
            value = value * 16 + digit.to_digit(16)?;
        }
        bytes.extend([(value / 256) as u8, (value % 256) as u8]);
    }
    Some(bytes)
}

/// Section 2.2.
fn version_2(bytes: &[u8]) -> Verdict {
    let Some(&version_and_command) = bytes.get(12) else { return Verdict::Short };
    if version_and_command != 0x20 && version_and_command != 0x21 {
        return Verdict::Wrong;
    }
    if bytes.len() < 16 {
        return Verdict::Short;
    }
    let length = usize::from(bytes[14]) * 256 + usize::from(bytes[15]);
    let is_local = version_and_command == 0x20;
    let addresses = match bytes[13] {
        _ if is_local => 0,
        0x00 | 0x01 | 0x02 | 0x10 | 0x20 | 0x30 => 0,
        0x11 | 0x12 => 12,
        0x21 | 0x22 => 36,
        0x31 | 0x32 => 216,
        _ => return Verdict::Wrong,
    };
    if length < addresses {
        return Verdict::Wrong;
    }
    if bytes.len() < 16 + length {
        return Verdict::Short;
    }
    let block = &bytes[16..];
    let port = |at: usize| u16::from(block[at]) * 256 + u16::from(block[at + 1]);
    let said = match bytes[13] {
        _ if is_local => None,
        0x11 => Some([(block[0..4].to_vec(), port(8)), (block[4..8].to_vec(), port(10))]),
        0x21 => Some([(block[0..16].to_vec(), port(32)), (block[16..32].to_vec(), port(34))]),
        _ => None,
    };
    Verdict::Header(16 + length, said)
}
