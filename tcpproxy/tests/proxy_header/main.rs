//! The headers of the PROXY protocol that are accepted are those of the specification, and no others.

#![allow(clippy::unwrap_used)] // a test that cannot go on says so by failing

mod reference;

use std::net::Ipv6Addr;

use proptest::prelude::*;
use proptest::sample::{Index, select};
use reference::{Verdict, check, read};
use tcpproxy::operations::proxy_protocol::{HeaderError, HeaderParser, Parsed};
use testkit::replay;

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// A header of version 2.
fn binary(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
    let length = u16::try_from(block.len()).unwrap().to_be_bytes();
    [SIGNATURE, &[command, family], &length, block].concat()
}

fn ips() -> Vec<u8> {
    b"\xc0\0\x02\x01\xc6\x33\x64\x07\0\x50\x01\xbb".to_vec()
}

/// Headers as balancers send them, of every kind.
fn valid() -> Vec<Vec<u8>> {
    let six = ["2001:db8::1", "2001:db8::2"].map(|ip| ip.parse::<Ipv6Addr>().unwrap().octets()).concat();
    let six = [&six, &b"\0\x50\x01\xbb"[..]].concat();
    let longest = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
    vec![
        b"PROXY TCP4 192.0.2.1 198.51.100.7 80 443\r\n".to_vec(),
        b"PROXY TCP4 0.0.0.0 255.255.255.255 0 65535\r\n".to_vec(),
        b"PROXY TCP6 2001:db8::1 2001:db8::2 80 443\r\n".to_vec(),
        b"PROXY TCP6 :: ::FFFF:192.0.2.1 1 10\r\n".to_vec(),
        format!("PROXY TCP6 {longest} {longest} 65535 65535\r\n").into_bytes(),
        b"PROXY UNKNOWN\r\n".to_vec(),
        format!("PROXY UNKNOWN {longest} {longest} 65535 65535\r\n").into_bytes(),
        [&b"PROXY UNKNOWN "[..], &[b'\r'; 91], b"\r\n"].concat(),
        binary(0x21, 0x11, &ips()),
        binary(0x21, 0x11, &[&ips()[..], b"\x03\0\x04abcd"].concat()),
        binary(0x21, 0x11, &[&ips()[..], &[0x20; 1200]].concat()), // a client certificate
        binary(0x21, 0x21, &six),
        binary(0x21, 0x12, &ips()),
        binary(0x21, 0x22, &six),
        binary(0x21, 0x31, &[b'u'; 216]),
        binary(0x21, 0x00, b"abc"),
        binary(0x21, 0x10, b""),
        binary(0x20, 0x00, b""),
        binary(0x20, 0x11, b"abc"),
        binary(0x20, 0xff, &[0; 300]),
    ]
}

#[test]
fn valid_headers_are_accepted_with_what_they_say_and_no_prefix_of_one_is_taken_for_a_header() {
    for header in valid() {
        for more in [&b""[..], b"\r\n", b"GET / HTTP/1.0\r\n\r\n", b"PROXY UNKNOWN\r\n"] {
            let bytes = [&header, more].concat();
            assert!(matches!(read(&bytes), Verdict::Header(length, _) if length == header.len()));
            check(&bytes);
        }
        for at in 0..header.len().min(120) {
            let parsed = HeaderParser::new().advance(&header[..at]);
            assert_eq!(parsed, Ok(Parsed::Partial), "{}", header[..at].escape_ascii());
        }
    }
}

#[test]
fn each_input_of_the_fuzzers_corpus_is_judged_as_specified() {
    for (name, bytes) in replay::corpus(concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz/corpus/proxy_header")) {
        println!("{name}");
        check(&bytes);
    }
}

#[test]
fn the_longest_header_is_accepted_and_takes_no_memory() {
    let longest = binary(0x21, 0x11, &[&ips()[..], &[7; 65_535 - 12]].concat());
    assert_eq!(longest.len(), 65_551);
    check(&[&longest[..], b"behind"].concat());
    check(&binary(0x20, 0x77, &[0; 65_535]));
    assert!(size_of::<HeaderParser>() <= 256);
}

#[test]
fn what_is_no_header_is_refused_for_its_reason() {
    let line = |line: &str| format!("PROXY {line}\r\n").into_bytes();
    for (bytes, reason) in [
        (b"GET / HTTP/1.1\r\n".to_vec(), HeaderError::Signature),
        (b"\x16\x03\x01".to_vec(), HeaderError::Signature),
        (b"proxy TCP4 192.0.2.1 198.51.100.7 80 443\r\n".to_vec(), HeaderError::Signature),
        (b"PROXYxTCP4 192.0.2.1 198.51.100.7 80 443\r\n".to_vec(), HeaderError::Signature),
        (b"PROXY\tTCP4 192.0.2.1 198.51.100.7 80 443\r\n".to_vec(), HeaderError::Signature),
        (line(" TCP4 192.0.2.1 198.51.100.7 80 443"), HeaderError::Protocol),
        (line("TCP5 192.0.2.1 198.51.100.7 80 443"), HeaderError::Protocol),
        (line("tcp4 192.0.2.1 198.51.100.7 80 443"), HeaderError::Protocol),
        (line("TCP4\t192.0.2.1 198.51.100.7 80 443"), HeaderError::Protocol),
        (line("UNKNOWNX"), HeaderError::Protocol),
        (b"PROXY UNKNOWN\n".to_vec(), HeaderError::Protocol),
        (line("TCP4 192.0.2.1 198.51.100.7 80"), HeaderError::Fields),
        (line("TCP4 192.0.2.1 198.51.100.7 80 443 5"), HeaderError::Fields),
        (line("TCP4 192.0.2.1 198.51.100.7 80 443 "), HeaderError::Fields),
        (line("TCP4  192.0.2.1 198.51.100.7 80 443"), HeaderError::Fields),
        (line("TCP4 192.0.2.1 198.51.100.7 80 443\n"), HeaderError::Port),
        (line("TCP4 192.0.2.1 198.51.100.7 80 443\r"), HeaderError::Port),
        (line("TCP4 192.0.2.256 198.51.100.7 80 443"), HeaderError::Address),
        (line("TCP4 192.0.02.1 198.51.100.7 80 443"), HeaderError::Address),
        (line("TCP4 192.0.2 198.51.100.7 80 443"), HeaderError::Address),
        (line("TCP4 2001:db8::1 2001:db8::2 80 443"), HeaderError::Address),
        (line("TCP6 192.0.2.1 198.51.100.7 80 443"), HeaderError::Address),
        (line("TCP6 fe80::1%1 fe80::2%1 80 443"), HeaderError::Address),
        (line("TCP6 1:2:3:4:5:6:7::8 ::1 80 443"), HeaderError::Address),
        (line("TCP6 00001::1 ::1 80 443"), HeaderError::Address),
        (line("TCP4 192.0.2.1 198.51.100.7 +1111 443"), HeaderError::Port),
        (line("TCP4 192.0.2.1 198.51.100.7 80 01111"), HeaderError::Port),
        (line("TCP4 192.0.2.1 198.51.100.7 00 443"), HeaderError::Port),
        (line("TCP4 192.0.2.1 198.51.100.7 80 65536"), HeaderError::Port),
        (line("TCP4 192.0.2.1 198.51.100.7 80 -1"), HeaderError::Port),
        (line("TCP4 192.0.2.1 198.51.100.7 80 0x1"), HeaderError::Port),
        (line(&format!("UNKNOWN {}", "x".repeat(92))), HeaderError::LineTooLong),
        (line(&format!("TCP4 192.0.2.1 {}", "1".repeat(92))), HeaderError::LineTooLong),
        (binary(0x31, 0x11, &ips()), HeaderError::Version(3)),
        (binary(0x11, 0x11, &ips()), HeaderError::Version(1)),
        (binary(0x22, 0x11, &ips()), HeaderError::Command(2)),
        (binary(0x21, 0x13, &ips()), HeaderError::Family(0x13)),
        (binary(0x21, 0x41, &ips()), HeaderError::Family(0x41)),
        (binary(0x21, 0x11, &ips()[1..]), HeaderError::Length(11)),
        (binary(0x21, 0x22, &[0; 35]), HeaderError::Length(35)),
        (binary(0x21, 0x31, &[0; 215]), HeaderError::Length(215)),
    ] {
        assert_eq!(HeaderParser::new().advance(&bytes), Err(reason), "{}", bytes.escape_ascii());
        check(&bytes);
    }
}

#[test]
fn every_command_and_every_family_with_every_length_at_a_limit_is_judged_as_specified() {
    for command in 0..=u8::MAX {
        check(&binary(command, 0x11, &ips()));
    }
    for family in 0..=u8::MAX {
        for length in [0, 11, 12, 35, 36, 215, 216] {
            for command in [0x20, 0x21] {
                check(&binary(command, family, &vec![1; length]));
            }
        }
    }
}

/// One change to a header.
#[derive(Clone, Debug)]
enum Mutation {
    Replace(Index, u8),
    Insert(Index, u8),
    Remove(Index),
    /// Moves a part to another place, or doubles it.
    Copy(Index, Index, usize),
    Truncate(Index),
    /// Puts another word in place of one of a line.
    Word(Index, &'static str),
}

/// Words that look like fields of a line, and mostly are of one.
const WORDS: &[&str] = &[
    "",
    "0",
    "00",
    "01111",
    "+1111",
    "-1",
    "1",
    "443",
    "65535",
    "65536",
    "99999",
    "0x1",
    "1 2",
    "TCP4",
    "TCP6",
    "TCP5",
    "tcp4",
    "UNKNOWN",
    "192.0.2.1",
    "192.0.2",
    "192.0.02.1",
    "192.0.2.256",
    "1.2.3.4.5",
    "1..2.3",
    "::",
    ":::",
    "::1",
    "1::",
    "1:2:3:4:5:6:7:8",
    "1:2:3:4:5:6:7::",
    "::2:3:4:5:6:7:8",
    "1::2::3",
    "1:2:3:4:5:6:7::8",
    "1:2:3:4:5:6:7",
    "1:2:3:4:5:6:7:8:9",
    "::192.0.2.1",
    "1:2:3:4:5:6:192.0.2.1",
    "1:2:3:4:5:6:7:192.0.2.1",
    "192.0.2.1::",
    "12345::",
    "::g",
    ":1",
    "1:",
    "fe80::1%1",
];

impl Mutation {
    fn carry_out(&self, header: &mut Vec<u8>) {
        if header.is_empty() {
            return;
        }
        let at = |index: &Index| index.index(header.len().min(130)); // what follows is skipped
        match self {
            Self::Replace(index, byte) => {
                let at = at(index);
                header[at] = *byte;
            }
            Self::Insert(index, byte) => header.insert(at(index), *byte),
            Self::Remove(index) => drop(header.remove(at(index))),
            Self::Copy(from, to, len) => {
                let (from, to) = (at(from), at(to));
                let part: Vec<u8> = header[from..].iter().copied().take(*len).collect();
                header.splice(to..to, part);
            }
            Self::Truncate(index) => header.truncate(at(index)),
            Self::Word(index, word) => {
                let mut words: Vec<&[u8]> = header.split(|&byte| byte == b' ').collect();
                let last = words.len() - 1;
                let at = index.index(words.len());
                let end: &[u8] = if at == last && header.ends_with(b"\r\n") { b"\r\n" } else { b"" };
                let word = [word.as_bytes(), end].concat();
                words[at] = &word;
                *header = words.join(&b' ');
            }
        }
    }
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let byte = || prop_oneof![select(&b" \r\n0159aAf:.+-%\0\x01\x02\x10\x11\x20\x21\x22"[..]), any::<u8>()];
    prop_oneof![
        4 => (any::<Index>(), select(WORDS)).prop_map(|(at, word)| Mutation::Word(at, word)),
        4 => (any::<Index>(), byte()).prop_map(|(at, byte)| Mutation::Replace(at, byte)),
        2 => (any::<Index>(), byte()).prop_map(|(at, byte)| Mutation::Insert(at, byte)),
        2 => any::<Index>().prop_map(Mutation::Remove),
        1 => (any::<Index>(), any::<Index>(), 1_usize..40).prop_map(|(from, to, len)| Mutation::Copy(from, to, len)),
        1 => any::<Index>().prop_map(Mutation::Truncate),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4096, ..ProptestConfig::default() })]

    #[test]
    fn mutated_headers_are_judged_as_a_strict_reference_judges_them(
        header in select(valid()),
        mutations in prop::collection::vec(mutation(), 0..4),
        more in select(vec![&b""[..], b"\r\n", b" 1 2\r\n", &[0; 300]]),
    ) {
        let mut bytes = header;
        for mutation in &mutations {
            mutation.carry_out(&mut bytes);
        }
        bytes.extend(more);
        check(&bytes);
    }
}
