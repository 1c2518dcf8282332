//! What operators ask for over HTTP: metrics that agree with what the peers saw, and health, at no client's cost.

#![allow(clippy::unwrap_used)] // a test that cannot go on says so by failing

mod stage;
mod status_request;

use std::collections::HashMap;
use std::io::Read;
use std::net::TcpStream;
use std::time::Duration;

use proptest::prelude::*;
use serde_json::Value;
use stage::{End, Stage, counting, fin, reset};
use tcpproxy::{Config, Splice};
use testkit::peer::{BlackHole, Refuser};
use testkit::replay;

fn observed(change: impl FnOnce(Config) -> Config) -> Stage {
    Stage::with(|config| change(Config { metrics: Some("127.0.0.1:0".parse().unwrap()), ..config }))
}

fn asker(stage: &Stage) -> TcpStream {
    let asker = TcpStream::connect(stage.proxy.metrics_addr().unwrap()).unwrap();
    asker.set_nonblocking(true).unwrap();
    asker
}

/// A connection on which this request was sent.
fn asking(stage: &mut Stage, request: &str) -> TcpStream {
    let asker = asker(stage);
    stage.send(&asker, request.as_bytes());
    asker
}

/// The status line and the body of the answer to this request.
#[track_caller]
fn ask(stage: &mut Stage, request: &str) -> (String, String) {
    let asker = asking(stage, request);
    response(stage, &asker)
}

/// The whole answer to a request, head and body.
#[track_caller]
fn whole_answer(stage: &mut Stage, request: &str) -> String {
    let asker = asking(stage, request);
    String::from_utf8(stage.drain(&asker).0).unwrap()
}

/// The status line and the body of the response.
#[track_caller]
fn response(stage: &mut Stage, asker: &TcpStream) -> (String, String) {
    let (answer, end) = stage.drain(asker);
    assert_eq!(end, End::Fin);
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").expect("a whole head");
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
    assert!(body.is_empty() || length.parse() == Ok(body.len()), "{answer}");
    (head.lines().next().unwrap().to_owned(), body.to_owned())
}

/// Every sample, by its name with labels.
#[track_caller]
fn scrape(stage: &mut Stage) -> HashMap<String, f64> {
    let (status, body) = ask(stage, "GET /metrics HTTP/1.1\r\nHost: proxy\r\n\r\n");
    assert_eq!(status, "HTTP/1.1 200 OK");
    assert!(body.ends_with("\n# EOF\n"));
    let samples = body.lines().filter(|line| !line.starts_with('#'));
    samples
        .map(|line| line.rsplit_once(' ').unwrap())
        .map(|(name, value)| (name.to_owned(), value.parse().unwrap()))
        .collect()
}

const HEALTH: &str = "GET /healthz HTTP/1.0\r\n\r\n";

fn health(stage: &mut Stage) -> String {
    ask(stage, HEALTH).0
}

#[test]
fn metrics_say_what_the_peers_saw() {
    let mut stage = observed(|config| Config { max_clients: Some(2), splice: Splice::Never, ..config });
    let (client, server) = stage.session();
    stage.send(&client, &counting(0, 12_345));
    fin(&client);
    assert_eq!(stage.drain(&server).0.len(), 12_345);
    stage.send(&server, &counting(0, 678));
    fin(&server);
    assert_eq!(stage.drain(&client).0.len(), 678);
    stage.until_over();
    let (_client, server) = stage.session();
    stage.send(&server, b"half");
    reset(server);
    stage.until_over();

    let (client, _server) = stage.session();
    let _other = stage.session();
    let _waits = stage.client();
    stage.fill(&client); // the rings are in use, and the server does not read
    let metrics = scrape(&mut stage);
    for (name, value) in [
        (r#"tcpproxy_sessions_total{by="client",phase="data",reason="fin"}"#, 1.0),
        (r#"tcpproxy_sessions_total{by="server",phase="data",reason="reset"}"#, 1.0),
        (r#"tcpproxy_delivered_bytes_total{direction="down"}"#, 678.0 + 4.0),
        ("tcpproxy_connect_seconds_count", 2.0),
        ("tcpproxy_session_duration_seconds_count", 2.0),
        ("tcpproxy_active_sessions", 2.0),
        ("tcpproxy_max_clients", 2.0),
        ("tcpproxy_waiting", 1.0),
        ("tcpproxy_draining", 0.0),
        ("tcpproxy_accept_errors_total", 0.0),
        ("tcpproxy_denied_total", 0.0),
    ] {
        assert_eq!(metrics.get(name), Some(&value), "{name}");
    }
    assert!(metrics[r#"tcpproxy_delivered_bytes_total{direction="up"}"#] > 12_345.0, "those under way, too");
    assert_eq!(metrics["tcpproxy_buffers_lent"], 1.0, "one direction is stalled");
}

#[test]
fn sessions_that_reached_no_server_are_counted_by_their_reason() {
    let refusing = Refuser::new().unwrap();
    let mut stage = observed(|config| Config {
        remote_port: refusing.address().port(),
        allow: vec!["127.0.0.1/32".parse().unwrap()],
        ..config
    });
    for _ in 0..3 {
        let client = stage.client();
        stage.drain(&client);
    }
    let outsider = stage.client_over_ipv6();
    stage.drain(&outsider);
    let metrics = scrape(&mut stage);
    assert_eq!(metrics[r#"tcpproxy_sessions_total{by="server",phase="connect",reason="refused"}"#], 3.0);
    assert_eq!(metrics["tcpproxy_connect_seconds_count"], 0.0, "no server was reached");
    assert_eq!(metrics["tcpproxy_denied_total"], 1.0);
}

#[test]
fn requests_take_no_permit_of_a_client_and_clients_block_no_request() {
    let mut stage = observed(|config| config);
    let askers: Vec<TcpStream> = (0..20).map(|_| asker(&stage)).collect();
    stage.settle();
    let (client, server) = stage.session();
    drop(askers);
    assert_eq!(scrape(&mut stage)["tcpproxy_active_sessions"], 1.0);
    stage.carry(&client, &server, b"undisturbed");
}

#[test]
fn metrics_and_health_are_to_be_had_during_a_drain_and_do_not_prolong_it() {
    let mut stage = observed(|config| config);
    assert_eq!(health(&mut stage), "HTTP/1.1 200 OK");
    let (client, server) = stage.session();
    let address = stage.proxy.metrics_addr().unwrap();
    stage.proxy.stop();
    stage.settle();
    assert_eq!(health(&mut stage), "HTTP/1.1 503 Service Unavailable");
    let metrics = scrape(&mut stage);
    assert_eq!((metrics["tcpproxy_draining"], metrics["tcpproxy_active_sessions"]), (1.0, 1.0));
    let silent = asker(&stage);
    stage.settle();
    fin(&client);
    fin(&server);
    stage.until_over();
    stage.proxy.run().unwrap(); // returns: a connection without a request does not delay it
    silent.set_nonblocking(false).unwrap();
    let end = (&silent).read(&mut [0]).map_err(|error| error.kind());
    assert_eq!(end, Err(std::io::ErrorKind::ConnectionReset));
    TcpStream::connect(address).unwrap_err();
}

/// `operations::status_server` has the test of its time.
#[test]
fn a_request_that_does_not_come_delays_no_other() {
    let mut stage = observed(|config| config);
    let _slow: Vec<TcpStream> = (0..8).map(|_| asking(&mut stage, "GET /met")).collect();
    stage.assert_quiet();
    assert_eq!(health(&mut stage), "HTTP/1.1 200 OK");
}

/// Five seconds for each connection would be minutes for all of them.
#[test]
fn idle_and_slow_connections_however_many_make_room_for_a_request() {
    const MANY: u64 = 1000;
    let limit = eventloop::raise_descriptor_limit(u64::MAX);
    assert!(limit >= 2 * MANY, "this test needs more descriptors than {limit}: see `ulimit -Hn`");
    let mut stage = observed(|config| config);
    let requests = ["GET /met", ""].into_iter().cycle();
    let others: Vec<_> = requests.take(MANY as usize).map(|part| asking(&mut stage, part)).collect();
    assert_eq!(health(&mut stage), "HTTP/1.1 200 OK");
    assert_eq!(stage.drain(&others[0]), (vec![], End::Reset), "the longest idle one made room");
    let last = others.last().unwrap();
    stage.send(last, HEALTH.as_bytes());
    assert_eq!(response(&mut stage, last).1, "serving\n");
}

#[test]
fn a_connection_that_has_its_answer_and_is_not_closed_makes_room_first() {
    let mut stage = observed(|config| config);
    let slow = asking(&mut stage, "GET /healthz HT");
    stage.settle();
    let answered: Vec<TcpStream> = (0..50)
        .map(|_| {
            let asker = asking(&mut stage, HEALTH);
            assert_eq!(response(&mut stage, &asker).1, "serving\n");
            asker
        })
        .collect();
    stage.send(&slow, b"TP/1.0\r\n\r\n");
    assert_eq!(response(&mut stage, &slow).1, "serving\n");
    drop(answered);
}

#[test]
fn the_older_format_is_sent_to_a_client_that_asks_for_it() {
    let mut stage = observed(|config| config);
    let (client, _server) = stage.session();
    reset(client);
    stage.until_over();
    let request = "GET /metrics HTTP/1.1\r\nHost: proxy\r\nAccept: text/plain;version=0.0.4\r\n\r\n";
    let answer = whole_answer(&mut stage, request);
    assert!(answer.contains("\r\ncontent-type: text/plain; version=0.0.4; charset=utf-8\r\n"), "{answer}");
    assert!(answer.contains("\n# TYPE tcpproxy_sessions_total counter\n"), "{answer}");
    assert!(answer.contains("\n# TYPE tcpproxy_build_info gauge\n"), "{answer}");
    assert!(!answer.contains("# EOF") && !answer.contains("# UNIT"), "{answer}");
}

/// The JSON that `/sessions` answers with this query.
#[track_caller]
fn sessions(stage: &mut Stage, query: &str) -> Value {
    let (status, body) = ask(stage, &format!("GET /sessions?{query} HTTP/1.1\r\nHost: proxy\r\n\r\n"));
    assert_eq!(status, "HTTP/1.1 200 OK");
    serde_json::from_str(&body).unwrap()
}

#[test]
fn sessions_are_listed_as_they_are_now() {
    let mut stage = observed(|config| Config { max_clients: Some(3), splice: Splice::Never, ..config });
    let empty = sessions(&mut stage, "");
    assert_eq!((&empty["total"], &empty["sessions"]), (&0.into(), &Value::Array(vec![])));
    let (client, server) = stage.session();
    stage.carry(&client, &server, &counting(0, 12_345));
    fin(&server);
    assert_eq!(stage.drain(&client).1, End::Fin);
    let (stalled, stalled_server) = stage.session();
    stage.fill(&stalled);
    let listed = sessions(&mut stage, "sort=bytes&order=asc");
    let origin = stage.origin.local_addr().unwrap().to_string();
    let [first, second] = &listed["sessions"].as_array().unwrap()[..] else { panic!("{listed}") };
    assert_eq!(first["client"], client.local_addr().unwrap().to_string());
    assert_eq!((&first["server"], &first["phase"]), (&origin.into(), &"drain".into()));
    assert_eq!((&first["up"], &first["down"], &first["up_waiting"]), (&12_345.into(), &0.into(), &0.into()));
    assert_eq!((&second["phase"], &second["down_waiting"]), (&"data".into(), &0.into()));
    assert!(second["up_waiting"].as_u64() > Some(0), "{listed}");
    for row in [first, second] {
        assert!(row["idle_ms"].as_u64() <= row["age_ms"].as_u64(), "{row}");
    }
    let totals = ["total", "active", "ended", "max_clients"].map(|name| listed[name].as_u64().unwrap());
    assert_eq!(totals, [2, 2, 0, 3]);
    let page = sessions(&mut stage, "sort=bytes&limit=1&page=2");
    assert_eq!((&page["pages"], &page["sessions"][0]["client"]), (&2.into(), &first["client"]));
    fin(&client);
    reset(stalled);
    assert_eq!(stage.drain(&stalled_server).1, End::Reset);
    stage.until_over();
    assert_eq!(sessions(&mut stage, "")["ended"], 2);
    let wrong = ask(&mut stage, "GET /sessions?sort=name HTTP/1.0\r\n\r\n");
    assert_eq!(wrong.0, "HTTP/1.1 400 Bad Request");
    assert!(wrong.1.starts_with("sort is one of age, idle"), "{}", wrong.1);
}

#[test]
fn a_session_that_has_not_reached_its_server_is_listed_with_the_client_that_the_balancer_names() {
    let hole = BlackHole::new().unwrap();
    let remote_port = hole.address().port();
    let mut stage = observed(|config| Config { remote_port, accept_proxy_protocol: true, ..config });
    let client = stage.client();
    stage.settle();
    let listed = sessions(&mut stage, "");
    let peer = client.local_addr().unwrap().to_string();
    let row = &listed["sessions"][0];
    assert_eq!((&row["phase"], &row["client"]), (&"header".into(), &peer.clone().into()));
    stage.send(&client, b"PROXY TCP6 2001:db8::1 2001:db8::2 80 443\r\n");
    stage.settle();
    let listed = sessions(&mut stage, "");
    let row = &listed["sessions"][0];
    assert_eq!((&row["phase"], &row["client"]), (&"connect".into(), &"[2001:db8::1]:80".into()));
    assert_eq!((&row["peer"], &row["server"]), (&peer.into(), &Value::Null));
}

#[test]
fn the_page_for_people_loads_and_asks_for_what_the_proxy_has_and_nothing_else() {
    let mut stage = observed(|config| config);
    let mut files = Vec::new();
    for path in ["/", "/page.css", "/page.js"] {
        let answer = whole_answer(&mut stage, &format!("GET {path} HTTP/1.1\r\nHost: proxy\r\n\r\n"));
        assert!(answer.contains("\r\ncontent-security-policy: default-src 'none'; "), "{path}");
        assert!(answer.contains("\r\nx-content-type-options: nosniff\r\n"), "{path}");
        files.push(answer.split_once("\r\n\r\n").unwrap().1.to_owned());
    }
    let [page, style, script] = &files[..] else { panic!("three files") };
    assert!(page.contains("href=\"page.css\"") && page.contains("src=\"page.js\""));
    for (file, forbidden) in [
        (page, &["http", " style=", "<style", " onclick", "<script>"][..]),
        (style, &["http", "url(", "@import"]),
        (script, &["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "https:"]),
    ] {
        for word in forbidden {
            assert!(!file.contains(word), "{word}");
        }
    }
}

#[test]
fn a_request_may_come_byte_by_byte_and_the_answer_be_taken_slowly() {
    let mut stage = observed(|config| config);
    let asker = asker(&stage);
    rustix::net::sockopt::set_socket_recv_buffer_size(&asker, 2048).unwrap();
    for byte in b"GET /metrics?from=here HTTP/1.1\r\nHost: proxy\r\n\r\n" {
        stage.send(&asker, &[*byte]);
        stage.proxy.turn(Some(Duration::ZERO)).unwrap();
    }
    stage.settle();
    let (status, body) = response(&mut stage, &asker);
    assert_eq!(status, "HTTP/1.1 200 OK");
    assert!(body.ends_with("# EOF\n"));
}

#[test]
fn a_wrong_request_gets_an_error_status() {
    let mut stage = observed(|config| config);
    let long = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(5000));
    for (request, status) in [
        ("GET /other HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 404 Not Found"),
        ("POST /metrics HTTP/1.0\r\nContent-Length: 3\r\n\r\nabc", "HTTP/1.1 405 Method Not Allowed"),
        ("\x16\x03\x01\r\n\r\n", "HTTP/1.1 400 Bad Request"),
        (&long, "HTTP/1.1 400 Bad Request"),
        ("GET /healthz HTTP/1.1\r\n\r\n", "HTTP/1.1 400 Bad Request"),
        ("GET /healthz HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", "HTTP/1.1 400 Bad Request"),
        ("GET /healthz HTTP/1.1\nHost: a\n\n", "HTTP/1.1 200 OK"),
        ("GET http://a/healthz HTTP/1.1\r\nHost: a\r\n\r\nGET /x HTTP/1.1\r\n\r\n", "HTTP/1.1 200 OK"),
    ] {
        assert_eq!(ask(&mut stage, request).0, status, "{request:?}");
    }
    let (status, body) = ask(&mut stage, "HEAD /metrics HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!((status.as_str(), body.as_str()), ("HTTP/1.1 200 OK", ""));
    let finishes = asking(&mut stage, HEALTH);
    fin(&finishes);
    assert_eq!(response(&mut stage, &finishes).1, "serving\n");
}

proptest! {
    #[test]
    fn no_bytes_bring_the_parser_of_requests_down_and_more_of_them_change_no_verdict(
        pieces in prop::collection::vec(
            prop_oneof![
                4 => prop::sample::select(vec![
                    "GET ", "HEAD ", "POST ", "/", "/metrics", " HTTP/1.1", " HTTP/1.0", "\r\n", "\n", "\r", "Host: a", "Host: ",
                    "Accept: text/plain", ";q=0.5", ",", " ", "?a=b&", ":", "\r\n\r\n",
                ]).prop_map(|text| text.as_bytes().to_vec()),
                1 => prop::collection::vec(any::<u8>(), 0..5),
            ],
            0..20,
        ),
    ) {
        status_request::check(&pieces.concat());
    }
}

#[test]
fn each_input_of_the_fuzzers_corpus_is_judged_once_and_for_all() {
    for (name, bytes) in replay::corpus(concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz/corpus/status_request"))
    {
        println!("{name}");
        status_request::check(&bytes);
    }
}

#[test]
fn without_a_request_nothing_happens() {
    let mut stage = observed(|config| config);
    stage.assert_quiet();
    let _asker = asker(&stage);
    stage.assert_quiet();
}
