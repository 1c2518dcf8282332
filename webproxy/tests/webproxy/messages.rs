//! Messages on their way: what is passed on, in which framing, over which connections.

use std::net::Shutdown;
use std::sync::Mutex;
use std::sync::mpsc::channel;

use crate::peers::{HttpPeer, PATIENCE, answering, ok, origin, parting, proxy, proxy_and_client, relayed};

#[test]
fn connections_are_kept_on_both_sides_whatever_the_method() {
    let (connected, connections) = channel();
    let connected = Mutex::new(connected);
    let origin = origin(move |mut peer| {
        connected.lock().unwrap().send(()).unwrap();
        while let Some(head) = peer.head() {
            let body = match (head.get("content-length"), head.get("transfer-encoding")) {
                (Some(length), _) => peer.bytes(length.parse().unwrap()),
                (_, Some("chunked")) => peer.chunks(),
                _ => Vec::new(),
            };
            let body = if head.0.starts_with("HEAD") { Vec::new() } else { body };
            peer.say(format!("HTTP/1.1 200 {}\r\nContent-Length: {}\r\n\r\n", head.0, body.len())).say(body);
        }
    });
    let (_proxy, mut client) = proxy_and_client();
    for _ in 0..3 {
        assert_eq!(client.ask("GET", origin, "/a?b=c", "").answer().2, "");
        assert_eq!(client.ask("DELETE", origin, "/", "").answer().2, "");
        assert_eq!(client.ask("OPTIONS", origin, "/", "").answer().2, "");
        client.ask("HEAD", origin, "/", "");
        let head = client.head().unwrap();
        assert_eq!((head.status(), head.get("content-length")), (200, Some("0")));
    }
    assert_eq!(connections.try_iter().count(), 1, "all that can be repeated goes over one connection");
    let chunked = "Transfer-Encoding: chunked\r\n";
    let chunks = "3;quiet=\"yes\"\r\nabc\r\n2\r\nde\r\n0\r\nTrailer: yes\r\n\r\n";
    assert_eq!(client.ask("POST", origin, "/", "Content-Length: 5\r\n").say("hello").answer().2, "hello");
    assert_eq!(client.ask("POST", origin, "/", "Content-Length: 0\r\n").answer().2, "");
    assert_eq!(client.ask("PUT", origin, "/", chunked).say(chunks).answer().2, "abcde");
    assert_eq!(client.ask("QUERY", origin, "/", "Connection: close\r\n").answer().0, 200);
    client.expect_end();
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let (origin, _) = answering(|head| ok("", &head.path().repeat(3000)));
    let (_proxy, mut client) = proxy_and_client();
    for number in 0..100 {
        client.ask("GET", origin, &format!("/{number}"), "");
    }
    client.0.get_ref().shutdown(Shutdown::Write).unwrap();
    for number in 0..100 {
        assert_eq!(client.answer().2, format!("/{number}").repeat(3000));
    }
    client.expect_end();
}

#[test]
fn fields_for_one_hop_go_no_further() {
    let (origin, heads) = answering(|_| {
        ok(
            "Connection: X-Mine\r\nX-Mine: 1\r\nKeep-Alive: timeout=5\r\nUpgrade: h2c\r\nProxy-Authenticate: Basic\r\n\
            Set-Cookie: a=1\r\nSet-Cookie: b=2\r\nX-Kept: yes\r\n",
            "",
        )
    });
    let proxy = proxy();
    let fields = "Proxy-Connection: keep-alive\r\nConnection: X-Secret, Keep-Alive, Host, Content-Length\r\n\
                  X-Secret: 1\r\nTE: trailers\r\nProxy-Authorization: Basic eA==\r\nUpgrade: h2c\r\nAccept: a\r\n\
                  Accept: b\r\nCookie: a=1\r\nCookie: b=2\r\n";
    let mut client = HttpPeer::connect(&proxy);
    client.say(format!("GET http://{origin}/path?query HTTP/1.1\r\nHost: somewhere.else\r\n{fields}\r\n"));
    let (_, answer, _) = client.answer();
    let request = heads.recv_timeout(PATIENCE).unwrap();
    assert_eq!(request.0, "GET /path?query HTTP/1.1");
    for (name, value) in [("host", origin.to_string().as_str()), ("accept", "a, b"), ("cookie", "a=1; b=2")] {
        assert_eq!(request.get(name), Some(value), "{request:?}");
    }
    for name in
        ["connection", "proxy-connection", "x-secret", "te", "proxy-authorization", "upgrade", "keep-alive"]
    {
        assert_eq!(request.get(name), None, "{request:?}");
    }
    for name in ["connection", "x-mine", "keep-alive", "upgrade", "proxy-authenticate"] {
        assert_eq!(answer.get(name), None, "{answer:?}");
    }
    for head in [&request, &answer] {
        assert!(head.get("via").is_some_and(|via| via.starts_with("1.1 webproxy-")), "{head:?}");
    }
    assert_eq!(answer.get("x-kept"), Some("yes"));
    assert_eq!(answer.1.iter().filter(|(name, _)| name == "set-cookie").count(), 2);
}

#[test]
fn answers_without_a_body_have_none() {
    let (origin, _) = answering(|head| match head.path() {
        "/204" => "HTTP/1.1 204 No Content\r\n\r\n".into(),
        "/304" => "HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\nETag: \"a\"\r\n\r\n".into(),
        "/hints" => format!(
            "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n{}",
            ok("", "done")
        ),
        _ => "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n".into(),
    });
    let (_proxy, mut client) = proxy_and_client();
    let mut head = |method, path| {
        client.ask(method, origin, path, "");
        let head = client.head().unwrap();
        (head.status(), head.get("content-length").map(str::to_owned))
    };
    assert_eq!(head("HEAD", "/"), (200, Some("7".into())));
    assert_eq!(head("GET", "/204"), (204, None));
    assert_eq!(head("GET", "/304"), (304, Some("7".into())));
    assert_eq!(head("GET", "/hints").0, 103);
    assert_eq!(client.head().unwrap().status(), 102);
    assert_eq!(client.answer().2, "done");
    // HTTP/1.0 knows no interim answers.
    client.say(format!("GET http://{origin}/hints HTTP/1.0\r\n\r\n"));
    assert_eq!(client.answer().2, "done");
}

/// RFC 9110, section 8.6, and RFC 9112, section 6.1.
#[test]
fn interim_responses_have_no_framing() {
    let proxy = proxy();
    let origin = parting(
        "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n\
         HTTP/1.1 204 No Content\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
    );
    let mut client = HttpPeer::connect(&proxy);
    client.ask("GET", origin, "/", "");
    for status in [103, 204] {
        let head = client.head().unwrap();
        assert_eq!(head.status(), status);
        assert_eq!((head.get("content-length"), head.get("transfer-encoding")), (None, None), "{status}");
    }
}

#[test]
fn an_answer_that_ends_with_the_connection_is_delivered_to_its_end() {
    let proxy = proxy();
    let (status, head, body) = relayed(&proxy, "HTTP/1.0 200 OK\r\n\r\nto the end");
    assert_eq!((status, head.get("transfer-encoding"), body.as_str()), (200, Some("chunked"), "to the end"));
    for answer in [
        "HTTP/1.0 200 OK\r\n\r\nto the end",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\na\r\nto the end\r\n0\r\n\r\n",
    ] {
        let origin = parting(answer);
        let mut client = HttpPeer::connect(&proxy);
        let (status, head, body) = client.say(format!("GET http://{origin}/ HTTP/1.0\r\n\r\n")).answer();
        assert_eq!((status, head.get("transfer-encoding"), body.as_str()), (200, None, "to the end"));
    }
}

/// RFC 9110, section 10.1.1: the origin says so, or rejects the body.
#[test]
fn a_client_that_expects_100_continue_gets_what_the_origin_says() {
    let origin = origin(|mut peer| {
        let head = peer.head().unwrap();
        assert_eq!(head.get("expect"), Some("100-continue"));
        match head.path() {
            "/go" => drop(peer.say("HTTP/1.1 100 Continue\r\n\r\n")),
            "/no" => {
                peer.say("HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n");
                return;
            }
            _ => {} // an old one does not know of it, and clients do not wait for ever
        }
        let body = String::from_utf8(peer.bytes(5)).unwrap();
        peer.say(ok("", &body));
    });
    let proxy = proxy();
    let ask = |path| {
        let mut client = HttpPeer::connect(&proxy);
        client.ask("PUT", origin, path, "Content-Length: 5\r\nExpect: 100-continue\r\n");
        client
    };
    let mut client = ask("/go");
    assert_eq!(client.head().unwrap().status(), 100);
    assert_eq!(client.say("hello").answer().2, "hello");
    assert_eq!(ask("/silent").say("hello").answer().2, "hello");
    let mut client = ask("/no");
    let (status, head, _) = client.answer();
    assert_eq!((status, head.get("connection")), (417, Some("close")));
    client.expect_end();
}

#[test]
fn options_and_trace_go_as_far_as_they_say() {
    let (origin, heads) = answering(|_| "HTTP/1.1 204 No Content\r\n\r\n".into());
    let (proxy, mut client) = proxy_and_client();
    client.say(format!("OPTIONS http://{origin} HTTP/1.1\r\nHost: {origin}\r\nMax-Forwards: 1\r\n\r\n"));
    assert_eq!(client.head().unwrap().status(), 204);
    let head = heads.recv_timeout(PATIENCE).unwrap();
    assert_eq!((head.0.as_str(), head.get("max-forwards")), ("OPTIONS * HTTP/1.1", Some("0")));
    client.ask("TRACE", origin, "/", "Max-Forwards: 0\r\n");
    assert_eq!(client.answer().0, 501);
    client.expect_end();
    assert_eq!(HttpPeer::connect(&proxy).say("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n").answer().0, 501);
    assert!(heads.try_recv().is_err());
}

#[test]
fn answers_without_a_date_get_one() {
    let (origin, _) = answering(|head| match head.path() {
        "/old" => ok("Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n", ""),
        _ => ok("Cache-Control: max-age=60\r\n", ""),
    });
    let (_proxy, mut client) = proxy_and_client();
    let mut date =
        |path| client.ask("GET", origin, path, "").answer().1.get("date").map(str::to_owned).unwrap();
    assert_eq!(date("/old"), "Sun, 06 Nov 1994 08:49:37 GMT");
    assert!(date("/").ends_with(" GMT"));
    assert!(date("/").ends_with(" GMT"), "also from the cache");
}

#[test]
fn an_origin_may_answer_before_it_has_the_whole_request() {
    let hasty = parting("HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\n\r\nno!");
    let (_proxy, mut client) = proxy_and_client();
    client.ask("POST", hasty, "/", "Content-Length: 100000000\r\n").say([0; 1000]);
    let (status, head, body) = client.answer();
    assert_eq!((status, head.get("connection"), body.as_str()), (413, Some("close"), "no!"));
    client.expect_end();
}

#[test]
fn a_body_reaches_the_origin_whole_although_the_response_comes_with_its_last_bytes() {
    let ((step, steps), (go, wait)) = (channel(), channel());
    let (step, wait) = (Mutex::new(step), Mutex::new(wait));
    let hasty = origin(move |mut peer| {
        let step = |body| step.lock().unwrap().send(body).unwrap();
        peer.head();
        step(vec![]);
        wait.lock().unwrap().recv_timeout(PATIENCE).unwrap();
        peer.say(ok("", "early"));
        step(vec![]);
        step(peer.bytes(5));
    });
    let (proxy, mut client) = proxy_and_client();
    let next = || steps.recv_timeout(PATIENCE).expect("the origin receives what it reads");
    client.ask("POST", hasty, "/", "Content-Length: 5\r\n");
    next();
    proxy.freeze().unwrap(); // so that it meets both at once
    go.send(()).unwrap();
    next();
    client.say("hello");
    proxy.thaw().unwrap();
    assert_eq!(client.answer().2, "early");
    assert_eq!(next(), b"hello");
}

#[test]
fn a_kept_connection_that_the_origin_closes_is_replaced() {
    // It says that it will keep the connection, and closes it when the next request arrives.
    let treacherous = origin(|mut peer| {
        peer.head();
        peer.say(ok("", "served"));
        peer.head();
    });
    let (_proxy, mut client) = proxy_and_client();
    for _ in 0..5 {
        assert_eq!(client.ask("GET", treacherous, "/", "").answer().2, "served");
    }
}
