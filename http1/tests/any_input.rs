//! Heads and bodies made of any bytes.

#![allow(clippy::unwrap_used)] // a test that cannot go on fails

mod any_bytes;

use any_bytes::{check_body, check_head};
use proptest::collection::vec;
use proptest::prelude::*;
use testkit::replay;

/// Bytes made of these pieces, with others between them.
fn pieces(texts: &'static [&'static str]) -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        4 => prop::sample::select(texts).prop_map(|text| text.as_bytes().to_vec()),
        1 => vec(any::<u8>(), 0..3),
    ];
    vec(piece, 0..20).prop_map(|pieces| pieces.concat())
}

fn heads() -> impl Strategy<Value = Vec<u8>> {
    let start = prop::sample::select(vec![
        "GET http://a/ HTTP/1.1\r\n",
        "POST / HTTP/1.0\r\n",
        "HTTP/1.1 200 OK\r\n",
        "HTTP/1.1 204 No Content\r\n",
        "HTTP/1.1 200 ",
        "GET http://a/",
        "",
    ]);
    let fields = pieces(&[
        "\r\n",
        "\r\n\r\n",
        "\n",
        "\r",
        ": ",
        ",",
        " HTTP/1.1",
        "OK",
        "Connection",
        "close",
        "Content-Length: ",
        "5",
        "Connection: close\r\n",
        "Connection: content-length\r\n",
        "Connection: via\r\n",
        "Content-Length: 5\r\n",
        "Content-Length: 5, 5\r\n",
        "Content-Length: +5\r\n",
        "Transfer-Encoding: chunked\r\n",
        "Transfer-Encoding: gzip, chunked\r\n",
        "Host: a\r\n",
        "Via: 1.0 b\r\n",
        "Set-Cookie: a\r\n",
        "Cookie: b\r\n",
    ]);
    (start, fields, any::<bool>()).prop_map(|(start, fields, complete)| {
        [start.as_bytes(), &fields, if complete { b"\r\n\r\n" } else { b"" }].concat()
    })
}

fn bodies() -> impl Strategy<Value = Vec<u8>> {
    let body = pieces(&[
        "0\r\n\r\n",
        "1\r\na\r\n",
        "5;x=y\r\nabcde\r\n",
        "0",
        "A",
        "\r\n",
        "\n",
        " ;",
        "A: b\r\n",
        ":b\r\n",
        "0\r\n",
        "g",
    ]);
    (any::<[u8; 3]>(), body).prop_map(|(choice, body)| [&choice[..], &body].concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    #[test]
    fn a_head_is_read_the_same_in_any_pieces_and_forwarded_with_the_same_framing(bytes in heads()) {
        check_head(&bytes);
    }

    #[test]
    fn a_body_is_decoded_as_its_grammar_says_through_rings_of_any_size(bytes in bodies()) {
        check_body(&bytes);
    }
}

#[test]
fn each_input_of_the_fuzzers_corpus_is_checked() {
    let corpus =
        |name: &str| replay::corpus(&format!("{}/../fuzz/corpus/{name}", env!("CARGO_MANIFEST_DIR")));
    for (check, name) in [(check_head as fn(&[u8]), "http1_head"), (check_body, "http1_body")] {
        for (file, bytes) in corpus(name) {
            println!("{name}/{file}");
            check(&bytes);
        }
    }
}
