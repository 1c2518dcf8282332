//! The log: a line for each request, which log tools can read, and no client can forge.

use crate::peers::{HttpPeer, PATIENCE, answering, ok, origin, proxy, proxy_and_client, proxy_with};

#[test]
fn each_request_is_one_line_in_the_combined_log_format() {
    let (origin, _) = answering(|_| ok("Cache-Control: max-age=60\r\n", "hello"));
    let (proxy, mut client) = proxy_and_client();
    let fields = "User-Agent: a \"browser\"\\\r\nReferer: http://a/\r\n";
    for cache in ["MISS", "HIT"] {
        client.ask("GET", origin, "/a?b", fields).answer();
        let line = proxy.wait_for_line(PATIENCE, |line| line.ends_with(cache)).unwrap();
        let (begin, end) = line.split_once(" [").unwrap();
        let (time, end) = end.split_once("] ").unwrap();
        assert_eq!(begin, "127.0.0.1 - -");
        // 26/Nov/2026:07:01:03 +0000
        assert!(time.len() == 26 && time.ends_with(" +0000") && time.as_bytes()[2] == b'/', "{time}");
        let expected =
            format!(r#""GET http://{origin}/a?b HTTP/1.1" 200 5 "http://a/" "a \"browser\"\\" {cache}"#);
        assert_eq!(end, expected);
    }
    HttpPeer::connect(&proxy).say("nonsense\r\n\r\n").answer();
    let line = proxy.wait_for_line(PATIENCE, |line| line.contains("\"-\" 400 0")).unwrap();
    assert!(line.ends_with(r#""-" 400 0 "-" "-" "malformed head""#), "{line}");
}

#[test]
fn a_tunnel_is_logged_when_it_ends_with_the_bytes_to_the_client() {
    let origin = origin(|mut peer| drop(peer.say("12345").rest()));
    let proxy = proxy();
    let mut client = HttpPeer::tunnel(&proxy, origin);
    client.bytes(5);
    drop(client);
    let line = proxy.wait_for_line(PATIENCE, |line| line.contains("CONNECT")).unwrap();
    assert!(line.contains(&format!(r#""CONNECT {origin} HTTP/1.1" 200 5 "-" "-" TUNNEL"#)), "{line}");
}

#[test]
fn no_control_character_of_a_client_reaches_the_log() {
    let (origin, _) = answering(|_| ok("", "x"));
    let (proxy, mut client) = proxy_and_client();
    // C1 controls and NEL, the override of the writing direction, and what ends a field.
    let bad = "\u{85}\u{9b}31m\u{202e}\u{2028}\u{feff}";
    let fields = format!("User-Agent: {bad}\tx\r\nReferer: \"{bad}\r\n");
    client.ask("GET", origin, &format!("/{bad}"), &fields).head();
    drop(client);
    HttpPeer::connect(&proxy).ask("GET", origin, "/x", &fields).answer();
    let line = proxy.wait_for_line(PATIENCE, |line| line.contains("/x HTTP/1.1")).unwrap();
    assert!(line.contains(r"\xc2\x85"), "{line}");
    for line in proxy.log() {
        assert!(line.chars().all(|char| (' '..='~').contains(&char)), "{line:?}");
    }
}

#[test]
fn a_quiet_proxy_logs_no_requests() {
    let (origin, _) = answering(|_| ok("", "x"));
    let mut proxy = proxy_with(&["--quiet"]);
    HttpPeer::connect(&proxy).ask("GET", origin, "/", "").answer();
    proxy.terminate().unwrap();
    assert!(proxy.wait(PATIENCE).unwrap().success());
    let log = proxy.log();
    assert!(log.iter().all(|line| line.starts_with("listening") || line.starts_with("stopping")), "{log:?}");
}
