//! Every reason in docs/log.md is brought about once, and the program's log gives it, with the bytes that the
//! peers have counted.

#![allow(clippy::unwrap_used)] // a test that cannot go on says so by failing

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use common::{PATIENCE, assert_reset, connect, connect_before_reset, json_proxy, reset};
use serde_json::Value;
use tcpproxy::Config;
use testkit::peer::{BlackHole, Refuser};
use testkit::proxy::Proxy;

/// A reason, what brings it about and returns the session's line of the log, and what the session has carried up and down.
type Scenario = (&'static str, fn() -> String, [u64; 2]);

const SCENARIOS: &[Scenario] = &[
    ("client header no-header", || headless(&[], |client| client.shutdown(Shutdown::Write).unwrap()), [0, 0]),
    ("timeout header no-header", header_too_late, [0, 0]),
    ("client header bad-header", || headless(&[], |mut client| client.write_all(b"GET /").unwrap()), [0, 0]),
    ("client header reset", || headless(&[], reset), [0, 0]),
    ("proxy header stopped", header_stopped, [0, 0]),
    ("timeout header yielded", header_yielded, [0, 0]),
    ("server connect refused", refused, [0, 0]),
    ("server connect unreachable", || nowhere("255.255.255.255"), [0, 0]), // a broadcast address
    ("server connect unanswered", unanswered, [0, 0]),
    ("server connect error", || nowhere("fe80::1"), [0, 0]), // which link?
    ("proxy connect exhausted", exhausted, [0, 0]),
    ("client connect fin", finished_early, [8, 6]),
    ("client connect reset", || unreached(&[], |_, client| reset(client)), [0, 0]),
    ("proxy connect stopped", || unreached(&["--drain-timeout", "0s"], stopped_early), [0, 0]),
    ("client data fin", || session(&[], |_, client, server| finish(&client, &server)), [8, 6]),
    ("server data fin", || session(&[], |_, client, server| finish(&server, &client)), [8, 6]),
    ("client data reset", || session(&[], |proxy, client, _server| reset_first(proxy, client)), [8, 6]),
    ("server data reset", || session(&[], |proxy, _client, server| reset_first(proxy, server)), [8, 6]),
    ("timeout data idle", || session(&["--idle-timeout", BEYOND_STEPS], cut), [8, 6]),
    ("timeout data yielded", || session(&["--yield-idle", "100ms"], yields), [8, 6]),
    ("proxy data stopped", || session(&["--drain-timeout", "0s"], stopped), [8, 6]),
    (
        "client drain reset",
        || half_closed(&[], |proxy, _first, second| reset_first(proxy, second), true),
        [8, 6],
    ),
    (
        "server drain reset",
        || half_closed(&[], |proxy, _first, second| reset_first(proxy, second), false),
        [8, 6],
    ),
    ("timeout drain half-closed", || half_closed(&["--half-close-timeout", "100ms"], cut, false), [8, 6]),
    ("timeout drain idle", || half_closed(&["--idle-timeout", BEYOND_STEPS], cut, false), [8, 6]),
    ("timeout drain yielded", || half_closed(&["--yield-idle", "100ms"], yields, false), [8, 6]),
    ("proxy drain stopped", || half_closed(&["--drain-timeout", "0s"], stopped, false), [8, 6]),
];

/// Brought about by `interop/log.sh` and `interop/vanish.sh`, which take the network away, by `interop/names.sh`, and by
/// `address_limit.rs` and `out_of_memory.rs`.
const ELSEWHERE: &[&str] = &[
    "proxy connect loop",
    "proxy data loop",
    "proxy header limited",
    "proxy data exhausted",
    "proxy drain exhausted",
    "client header dead",
    "client connect dead",
    "client data dead",
    "server data dead",
    "client drain dead",
    "server drain dead",
];

/// A limit that runs while the test exchanges its bytes, which takes a busy machine a while.
const BEYOND_STEPS: &str = "2s";

#[test]
fn each_reason_is_given_when_it_is_due() {
    thread::scope(|scope| {
        for &(reason, bring_about, bytes) in SCENARIOS {
            scope.spawn(move || {
                let line: Value = serde_json::from_str(&bring_about()).unwrap();
                let word = |name: &str| line[name].as_str().unwrap().to_owned();
                assert_eq!(format!("{} {} {}", word("by"), word("phase"), word("reason")), reason, "{line}");
                let counted = ["up", "down"].map(|name| line[name].as_u64().unwrap());
                assert_eq!(counted, bytes, "{line}");
                let in_order =
                    ["fin", "idle", "half-closed", "yielded", "stopped"].contains(&&*word("reason"));
                assert_eq!(line.get("error").is_some(), !in_order, "{line}");
                let reached = bytes != [0, 0];
                assert_eq!(line.get("server").is_some(), reached, "{line}");
                assert_eq!(line.get("connect_ms").is_some(), reached, "{line}");
            });
        }
    });
}

#[test]
fn the_reasons_in_the_documentation_are_those_that_are_brought_about() {
    let documented = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/log.md")).unwrap();
    let (_, table) = documented.split_once("\n| by | phase | reason | what happened |\n").unwrap();
    let rows = table.lines().skip(1).take_while(|line| line.starts_with('|'));
    let reason = |row: &str| row.split('|').skip(1).take(3).map(str::trim).collect::<Vec<_>>().join(" ");
    let documented: BTreeSet<String> = rows.map(reason).collect();
    let here = SCENARIOS.iter().map(|&(reason, ..)| reason);
    let brought_about: BTreeSet<String> = here.chain(ELSEWHERE.iter().copied()).map(str::to_owned).collect();
    assert_eq!(documented, brought_about);
}

/// The line of the only session.
fn ended(proxy: &Proxy) -> String {
    proxy.wait_for_line(PATIENCE, |line| line.contains("session ended")).unwrap()
}

/// A session in which 8 bytes have gone up and 6 down.
fn session(options: &[&str], end: impl FnOnce(&Proxy, TcpStream, TcpStream)) -> String {
    let origin = TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = json_proxy("127.0.0.1", origin.local_addr().unwrap().port(), options);
    let mut client = connect(proxy.address());
    let (mut server, _) = origin.accept().unwrap();
    server.set_read_timeout(Some(PATIENCE)).unwrap();
    client.write_all(b"question").unwrap();
    server.read_exact(&mut [0; 8]).unwrap();
    server.write_all(b"answer").unwrap();
    client.read_exact(&mut [0; 6]).unwrap();
    end(&proxy, client, server);
    ended(&proxy)
}

/// The same, and the server has finished, so the session ends with the client's or with the server's end. The side that
/// is to end it is given as the last one.
fn half_closed(
    options: &[&str],
    end: impl FnOnce(&Proxy, TcpStream, TcpStream),
    client_ends: bool,
) -> String {
    session(options, |proxy, client, server| {
        let (first, second) = if client_ends { (server, client) } else { (client, server) };
        first.shutdown(Shutdown::Write).unwrap();
        assert_eq!((&second).read(&mut [0]).unwrap(), 0);
        end(proxy, first, second);
    })
}

/// A client that owes a PROXY header.
fn headless(options: &[&str], end: impl FnOnce(TcpStream)) -> String {
    let proxy = json_proxy("127.0.0.1", 80, &[&["--accept-proxy-protocol"], options].concat());
    end(connect(proxy.address()));
    ended(&proxy)
}

/// No option shortens the time for a header, so this proxy runs in the test.
fn header_too_late() -> String {
    let (log, writer) = std::io::pipe().unwrap();
    let subscriber =
        tracing_subscriber::fmt().json().flatten_event(true).with_writer(Mutex::new(writer)).finish();
    tracing::subscriber::with_default(subscriber, || {
        let mut proxy = tcpproxy::Proxy::start(Config {
            bind: Some((Ipv4Addr::LOCALHOST, 0).into()),
            accept_proxy_protocol: true,
            header_timeout: Duration::from_millis(100),
            ..Config::new("127.0.0.1", 80)
        })
        .unwrap();
        let client = connect(proxy.local_addr());
        while proxy.statistics().ended == 0 {
            proxy.turn(Some(PATIENCE)).unwrap();
        }
        assert_reset(&client);
    });
    BufReader::new(log).lines().map(Result::unwrap).find(|line| line.contains("session ended")).unwrap()
}

fn header_stopped() -> String {
    let options = ["--accept-proxy-protocol", "--drain-timeout", "0s", "--max-clients", "1"];
    let proxy = json_proxy("127.0.0.1", 80, &options);
    let mut client = connect(proxy.address());
    client.write_all(b"P").unwrap(); // a client that sends nothing would yield to the next one
    // That a client is pending says that the first one is served.
    let _waits = connect(proxy.address());
    proxy.wait_for_line(PATIENCE, |line| line.contains("a client is waiting")).unwrap();
    stopped_early(&proxy, client);
    ended(&proxy)
}

fn header_yielded() -> String {
    let proxy = json_proxy("127.0.0.1", 80, &["--accept-proxy-protocol", "--max-clients", "1"]);
    let silent = connect(proxy.address());
    let _waits = connect(proxy.address());
    assert_reset(&silent);
    ended(&proxy)
}

fn refused() -> String {
    let refusing = Refuser::new().unwrap();
    let proxy = json_proxy("127.0.0.1", refusing.address().port(), &[]);
    assert_reset(&connect_before_reset(&proxy));
    ended(&proxy)
}

fn nowhere(host: &str) -> String {
    let proxy = json_proxy(host, 80, &[]);
    assert_reset(&connect_before_reset(&proxy));
    ended(&proxy)
}

fn unanswered() -> String {
    let hole = BlackHole::new().unwrap();
    let options = ["--connect-timeout", "200ms"];
    let proxy = json_proxy("127.0.0.1", hole.address().port(), &options);
    assert_reset(&connect_before_reset(&proxy));
    ended(&proxy) // before the hole goes
}

/// A client whose server does not answer; the proxy has its bytes.
fn unreached(options: &[&str], end: impl FnOnce(&Proxy, TcpStream)) -> String {
    let hole = BlackHole::new().unwrap();
    let proxy = json_proxy("127.0.0.1", hole.address().port(), options);
    let client = connect(proxy.address());
    let _waits = connect(proxy.address());
    proxy.wait_for_line(PATIENCE, |line| line.contains("a client is waiting")).unwrap();
    end(&proxy, client);
    ended(&proxy) // before the hole goes
}

fn exhausted() -> String {
    let origin = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = origin.local_addr().unwrap().port();
    let proxy = json_proxy("127.0.0.1", port, &["--connect-timeout", "300ms"]);
    let open = fs::read_dir(format!("/proc/{}/fd", proxy.pid())).unwrap();
    let open: BTreeSet<u64> =
        open.map(|entry| entry.unwrap().file_name().to_str().unwrap().parse().unwrap()).collect();
    let next = (0..).find(|number| !open.contains(number)).unwrap();
    proxy.limit_descriptors(next + 1).unwrap(); // enough for the client, not for a connection to the server
    assert_reset(&connect(proxy.address()));
    ended(&proxy)
}

fn finished_early() -> String {
    let hole = BlackHole::new().unwrap();
    let proxy = json_proxy("127.0.0.1", hole.address().port(), &[]);
    let mut client = connect(proxy.address());
    client.write_all(b"question").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let _waits = connect(proxy.address());
    proxy.wait_for_line(PATIENCE, |line| line.contains("a client is waiting")).unwrap();
    let origin = hole.open().unwrap();
    let (mut server, _) = origin.accept().unwrap(); // the kernel sends its next SYN after a second
    server.read_to_end(&mut Vec::new()).unwrap();
    server.write_all(b"answer").unwrap();
    drop(server);
    client.read_to_end(&mut Vec::new()).unwrap();
    ended(&proxy)
}

fn finish(first: &TcpStream, second: &TcpStream) {
    for (from, mut to) in [(first, second), (second, first)] {
        from.shutdown(Shutdown::Write).unwrap();
        assert_eq!(to.read(&mut [0]).unwrap(), 0);
    }
}

/// Resets this side while the other is still open. Were that closed before the proxy has met the reset, its FIN could
/// come first, and the reset would end a session that is half-closed.
fn reset_first(proxy: &Proxy, stream: TcpStream) {
    reset(stream);
    ended(proxy);
}

/// The program is stopped.
fn stopped(proxy: &Proxy, client: TcpStream, _server: TcpStream) {
    stopped_early(proxy, client);
}

fn stopped_early(proxy: &Proxy, client: TcpStream) {
    proxy.terminate().unwrap();
    assert_reset(&client);
}

/// The proxy cuts the session.
fn cut(_: &Proxy, client: TcpStream, _server: TcpStream) {
    assert_reset(&client);
}

/// The proxy ends the session because a client is pending.
fn yields(proxy: &Proxy, client: TcpStream, server: TcpStream) {
    let _waits = connect(proxy.address());
    cut(proxy, client, server);
}
