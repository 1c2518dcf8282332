//! What one client gets is given to others only where the origin allows that.

use crate::peers::{HttpPeer, PATIENCE, answering, ok, proxy_and_client};

/// `Cache-Control` of responses to an authenticated request, and whether they may be given to others (RFC 9111,
/// section 3.5).
const AUTHENTICATED: &[(&str, bool)] = &[
    ("Cache-Control: public, max-age=60\r\n", true),
    ("Cache-Control: s-maxage=60\r\n", true),
    ("Cache-Control: must-revalidate, max-age=60\r\n", true),
    ("Cache-Control: PUBLIC, max-age=60\r\n", true),
    ("Cache-Control: max-age=60\r\n", false),
    ("Cache-Control: max-age=60, max-age=30\r\n", false),
    ("Cache-Control: max-age=60\r\nCache-Control: max-age=30\r\n", false),
    ("Cache-Control: x=1, x=2, max-age=60\r\n", false),
    ("Cache-Control: public, max-age=60, max-age=30\r\n", false),
    ("Cache-Control: public, max-age=60, max-age=60\r\n", false),
    ("Cache-Control: public, public, max-age=60\r\n", false),
    ("Cache-Control: s-maxage=60, s-maxage=50\r\n", false),
    ("Cache-Control: s-maxage=x, max-age=60\r\n", false),
    ("Cache-Control: s-maxage, max-age=60\r\n", false),
    ("Cache-Control: x=\"public, y\", max-age=60\r\n", false),
    ("Cache-Control: x=\"public\r\nCache-Control: public\r\nCache-Control: max-age=60\r\n", false),
    ("Cache-Control: public=no, max-age=60\r\n", false),
    ("Cache-Control: public x, max-age=60\r\n", false),
    ("Cache-Control: public;max-age=60\r\n", false),
    ("Cache-Control: public, private, max-age=60\r\n", false),
    ("Cache-Control: public, no-store, max-age=60\r\n", false),
    ("Cache-Control: must-revalidate, max-age=60, \u{e9}\r\n", false),
    ("Expires: Fri, 01 Jan 2100 00:00:00 GMT\r\n", false),
];

#[test]
fn a_response_to_an_authenticated_request_is_shared_only_if_its_directives_clearly_allow_it() {
    let (origin, _) = answering(|head| {
        let number: usize = head.path()[1..].parse().unwrap();
        ok(AUTHENTICATED[number].0, &format!("for {}", head.get("authorization").unwrap_or("all")))
    });
    let (_proxy, mut client) = proxy_and_client();
    for (number, (fields, shared)) in AUTHENTICATED.iter().enumerate() {
        let path = format!("/{number}");
        client.ask("GET", origin, &path, "Authorization: alice\r\n").answer();
        let (_, head, body) = client.ask("GET", origin, &path, "").answer();
        let expected = if *shared { ("HIT", "for alice") } else { ("MISS", "for all") };
        assert_eq!((head.get("x-cache").unwrap(), body.as_str()), expected, "{fields:?}");
    }
}

#[test]
fn a_response_that_varies_by_what_cannot_be_read_is_not_kept() {
    let vary = [
        "Accept-Language\u{e9}",
        "\u{e9}",
        "a b",
        "Accept-Language; Cookie",
        "\"Accept-Language\"",
        "Accept-Language, \u{ff}",
        "*",
        "a, *",
    ];
    let (origin, _) = answering(move |head| {
        let number: usize = head.path()[1..].parse().unwrap();
        ok(&format!("Cache-Control: max-age=60\r\nVary: {}\r\n", vary[number]), "x")
    });
    let (_proxy, mut client) = proxy_and_client();
    for (number, vary) in vary.iter().enumerate() {
        for _ in 0..2 {
            let (_, head, _) = client.ask("GET", origin, &format!("/{number}"), "").answer();
            assert_eq!(head.get("x-cache"), Some("MISS"), "{vary:?}");
        }
    }
}

#[test]
fn a_confirmation_that_makes_a_response_private_takes_it_out_of_the_cache() {
    let (origin, heads) = answering(|head| match head.get("if-none-match") {
        Some(_) => "HTTP/1.1 304 Not Modified\r\nETag: \"one\"\r\nCache-Control: private\r\n\r\n".into(),
        None => ok("Cache-Control: no-cache\r\nETag: \"one\"\r\n", "x"),
    });
    let (_proxy, mut client) = proxy_and_client();
    for (cache, conditional) in [("MISS", false), ("REVALIDATED", true), ("MISS", false)] {
        let (_, head, body) = client.ask("GET", origin, "/", "").answer();
        assert_eq!((head.get("x-cache"), body.as_str()), (Some(cache), "x"));
        assert_eq!(heads.recv_timeout(PATIENCE).unwrap().get("if-none-match").is_some(), conditional);
    }
}

/// RFC 9111, section 5.2.1.7.
#[test]
fn a_request_for_what_is_cached_only_never_reaches_an_origin() {
    let (origin, heads) = answering(|head| match head.path() {
        "/stale" => ok("Cache-Control: no-cache\r\nETag: \"one\"\r\n", "x"),
        _ => ok("Cache-Control: max-age=60\r\n", "x"),
    });
    let (proxy, mut client) = proxy_and_client();
    let only = "Cache-Control: max-stale=5, Only-If-Cached\r\n";
    assert_eq!(HttpPeer::connect(&proxy).ask("GET", origin, "/", only).answer().0, 504);
    client.ask("GET", origin, "/", "").answer();
    client.ask("GET", origin, "/stale", "").answer();
    assert_eq!(client.ask("GET", origin, "/", only).answer().0, 200);
    assert_eq!(HttpPeer::connect(&proxy).ask("GET", origin, "/stale", only).answer().0, 504);
    client.ask("GET", origin, "/other", "").answer();
    assert_eq!(
        heads.iter().take(3).map(|head| head.path().to_owned()).collect::<Vec<_>>(),
        ["/", "/stale", "/other"]
    );
}
