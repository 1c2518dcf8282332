//! Which responses are kept, for which clients, for how long, and how much of them.

use std::sync::Mutex;

use crate::peers::{answering, ok, proxy_and_client};

#[test]
fn answers_are_served_from_the_cache_as_their_heads_allow() {
    let count = Mutex::new(0);
    let (origin, heads) = answering(move |head| {
        let mut count = count.lock().unwrap();
        *count += 1;
        let fields = match head.path().split('?').next().unwrap() {
            "/max-age" => "Cache-Control: max-age=60\r\nAge: 7\r\n",
            "/capital" => "Cache-Control: No-Store\r\n",
            "/expires" => "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\nExpires: Sun, 06 Nov 1994 09:49:37 GMT\r\n",
            "/expired" => "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\nExpires: Sun, 06 Nov 1994 07:49:37 GMT\r\n",
            "/private" => "Cache-Control: private, max-age=60\r\n",
            "/cookie" => "Cache-Control: max-age=60\r\nSet-Cookie: who=you\r\n",
            "/old" => "Cache-Control: max-age=60\r\nAge: 18446744073709551615\r\n",
            "/any" => "Cache-Control: max-age=60\r\nVary: Accept, *\r\n",
            _ => "",
        };
        ok(fields, &count.to_string())
    });
    let (_proxy, mut client) = proxy_and_client();
    let mut fetch = |method: &str, path: &str, fields: &str| {
        let (status, head, body) = client.ask(method, origin, path, fields).answer();
        let age = head.get("age").map(|age| age.parse::<u64>().unwrap());
        (status, head.get("x-cache").unwrap().to_owned(), age, body)
    };
    let (_, cache, _, first) = fetch("GET", "/max-age", "");
    assert_eq!(cache, "MISS");
    let (status, cache, age, body) = fetch("GET", "/max-age", "");
    assert_eq!((status, cache.as_str(), &body), (200, "HIT", &first));
    assert!(age.is_some_and(|age| (7..60).contains(&age)), "{age:?}");
    assert_eq!(fetch("GET", "/max-age?other", "").1, "MISS");
    assert_eq!(fetch("GET", "/max-age", "Cache-Control: no-cache\r\n").1, "MISS");
    assert_eq!(fetch("GET", "/max-age", "").1, "HIT");
    assert_eq!(fetch("GET", "/max-age", "Cache-Control: max-age=3\r\n").1, "MISS");
    assert_eq!(fetch("GET", "/max-age", "Range: bytes=0-1\r\n").1, "MISS");
    assert_eq!(fetch("POST", "/max-age", "").1, "MISS", "and what was known about it is forgotten");
    assert_eq!(fetch("GET", "/max-age", "").1, "MISS");
    assert_eq!(fetch("GET", "/expires", "").1, "MISS");
    assert_eq!(fetch("GET", "/expires", "").1, "HIT");
    for path in ["/expired", "/private", "/cookie", "/old", "/any", "/capital", "/nothing"] {
        assert_eq!(fetch("GET", path, "").1, "MISS", "{path}");
        assert_eq!(fetch("GET", path, "").1, "MISS", "{path}");
    }
    assert_eq!(fetch("GET", "/max-age?auth", "Authorization: Basic eA==\r\n").1, "MISS");
    assert_eq!(fetch("GET", "/max-age?auth", "").1, "MISS", "what needed a password is not for all");
    client.ask("HEAD", origin, "/max-age", "");
    let head = client.head().unwrap();
    assert_eq!((head.get("x-cache"), head.get("content-length").is_some()), (Some("HIT"), true));
    drop(heads);
}

#[test]
fn variants_are_kept_apart() {
    let (origin, _) = answering(|head| {
        ok(
            "Cache-Control: max-age=60\r\nVary: Accept-Language\r\n",
            head.get("accept-language").unwrap_or("none"),
        )
    });
    let (_proxy, mut client) = proxy_and_client();
    for cache in ["MISS", "HIT"] {
        for language in ["de", "fr", "de, fr"] {
            let (_, head, body) =
                client.ask("GET", origin, "/", &format!("Accept-Language: {language}\r\n")).answer();
            assert_eq!((head.get("x-cache"), body.as_str()), (Some(cache), language));
        }
        assert_eq!(client.ask("GET", origin, "/", "").answer().2, "none");
    }
}

#[test]
fn a_stale_answer_is_confirmed_by_its_tag() {
    let (origin, heads) = answering(|head| match head.get("if-none-match") {
        Some("\"one\"") => "HTTP/1.1 304 Not Modified\r\nETag: \"one\"\r\nX-New: yes\r\n\r\n".into(),
        _ => ok("Cache-Control: no-cache\r\nETag: \"one\"\r\n", "the body"),
    });
    let (_proxy, mut client) = proxy_and_client();
    for cache in ["MISS", "REVALIDATED", "REVALIDATED"] {
        let (status, head, body) = client.ask("GET", origin, "/", "").answer();
        assert_eq!((status, head.get("x-cache"), body.as_str()), (200, Some(cache), "the body"));
        assert_eq!(heads.recv().unwrap().get("if-none-match").is_some(), cache != "MISS");
    }
    // A client that has another one gets what there is.
    let (status, _, body) = client.ask("GET", origin, "/", "If-None-Match: \"two\"\r\n").answer();
    assert_eq!((status, body.as_str()), (200, "the body"));
}

/// RFC 9111, section 4.3.4: it must not be used for the one in the cache.
#[test]
fn a_confirmation_of_another_response_is_followed_by_a_request_without_a_condition() {
    let (origin, heads) = answering(|head| match head.get("if-none-match") {
        Some(_) => "HTTP/1.1 304 Not Modified\r\nETag: \"two\"\r\n\r\n".into(),
        None => ok("Cache-Control: no-cache\r\nETag: \"one\"\r\n", "the body"),
    });
    let (_proxy, mut client) = proxy_and_client();
    for _ in 0..2 {
        let (status, head, body) = client.ask("GET", origin, "/", "").answer();
        assert_eq!((status, head.get("x-cache"), body.as_str()), (200, Some("MISS"), "the body"));
    }
    let conditional = heads.try_iter().map(|head| head.get("if-none-match").is_some());
    assert_eq!(conditional.collect::<Vec<_>>(), [false, true, false]);
}

#[test]
fn the_cache_is_bounded() {
    let (origin, _) = answering(|_| ok("Cache-Control: max-age=60\r\n", &"x".repeat(1 << 20)));
    let (large, _) = answering(|_| ok("Cache-Control: max-age=60\r\n", &"x".repeat(9 << 20)));
    let (proxy, mut client) = proxy_and_client();
    for number in 0..80 {
        assert_eq!(client.ask("GET", origin, &format!("/{number}"), "").answer().2.len(), 1 << 20);
    }
    for (number, cache) in [(79, "HIT"), (0, "MISS")] {
        assert_eq!(
            client.ask("GET", origin, &format!("/{number}"), "").answer().1.get("x-cache"),
            Some(cache)
        );
    }
    for _ in 0..2 {
        assert_eq!(client.ask("GET", large, "/", "").answer().1.get("x-cache"), Some("MISS"));
    }
    let resident = proxy.resident().unwrap();
    assert!(resident < 100 << 20, "{resident} bytes");
}
