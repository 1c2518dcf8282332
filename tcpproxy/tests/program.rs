//! The program as its users meet it: arguments, statuses, lines, signals.

#![allow(clippy::unwrap_used)] // a test that cannot go on says so by failing

mod common;

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::time::Duration;

use common::{
    PATIENCE, PROGRAM, Running, assert_reset, assert_status_0, connect, connect_before_reset, converse,
    conversing, echo, echoing, metrics_address, origin, proxy, reset, session, until, until_stopping,
};
use serde_json::Value;
use testkit::peer::{Refuser, churn};
use testkit::proxy::Proxy;
use testkit::replay::at_once;

#[test]
fn what_opens_the_proxy_to_any_host_is_warned_of_at_the_start() {
    let (_origin, port) = origin();
    let open = proxy(&port, &["--metrics", "0.0.0.0:0", "--accept-proxy-protocol"]);
    for warning in
        ["--metrics 0.0.0.0:0 is not a loopback address", "--accept-proxy-protocol without --allow"]
    {
        open.wait_for_line(PATIENCE, |line| line.contains("WARN") && line.contains(warning)).unwrap();
    }
    let closed = proxy(&port, &["--metrics", "127.0.0.1:0", "--accept-proxy-protocol", "--allow", "::1"]);
    closed.terminate().unwrap();
    until_stopping(&closed);
    assert!(!closed.log().iter().any(|line| line.contains("WARN")), "{:?}", closed.log());
}

/// A health check is a connect without a byte; a session that fails is no such thing.
#[test]
fn with_quiet_empty_sessions_without_a_byte_are_logged_at_debug_level_and_counted() {
    for (options, logged) in [(&["--quiet-empty"][..], 1), (&["--quiet-empty", "--verbose"], 3), (&[], 3)] {
        let proxy = echoing(&[&["--max-clients", "0", "--metrics", "127.0.0.1:0"], options].concat());
        let address = proxy.address();
        let metrics = metrics_address(&proxy);
        let finishes = connect(address);
        finishes.shutdown(Shutdown::Write).unwrap();
        assert_eq!((&finishes).read(&mut [0]).unwrap(), 0);
        reset(connect(address));
        let mut talks = connect(address);
        talks.write_all(b"x").unwrap();
        talks.shutdown(Shutdown::Write).unwrap();
        assert_eq!(talks.read_to_end(&mut Vec::new()).unwrap(), 1);
        until("three sessions are counted", || {
            let mut asks = connect(metrics);
            asks.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").unwrap();
            let mut answer = String::new();
            asks.read_to_string(&mut answer).unwrap();
            answer.contains("tcpproxy_session_duration_seconds_count 3")
        });
        proxy.terminate().unwrap();
        until_stopping(&proxy);
        let lines = proxy.log();
        let ended = lines.iter().filter(|line| line.contains("session ended")).count();
        assert_eq!(ended, logged, "{options:?}: {lines:#?}");
    }
}

#[test]
fn help_names_every_option_and_status() {
    let output = Command::new(PROGRAM).arg("--help").output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    let text = String::from_utf8(output.stdout).unwrap();
    for option in tcpproxy::cli::command().get_arguments().filter_map(|option| option.get_long()) {
        assert!(text.contains(&format!("--{option}")), "{option} is missing in:\n{text}");
    }
    assert!(text.contains("Exit status"), "{text}");
}

#[test]
fn the_first_line_says_where_it_listens_and_where_it_forwards_to() {
    let (_origin, port) = origin();
    for (host, remote) in [("127.0.0.1", "127.0.0.1"), ("localhost", "localhost"), ("::1", "[::1]")] {
        let child = Command::new(PROGRAM)
            .args([host, &port, "0", "--bind", "127.0.0.1"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut child = Running(child);
        let mut line = String::new();
        BufReader::new(child.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let (address, rest) = line.strip_prefix("listening on ").unwrap().split_once(", ").unwrap();
        assert_ne!(address.parse::<SocketAddr>().unwrap().port(), 0);
        assert_eq!(rest, format!("forwarding to {remote}:{port}\n"));
    }
}

/// What ended a session, and the bytes, are the subject of `reasons.rs`.
#[test]
fn the_line_of_a_session_has_its_addresses_and_times_and_the_error_of_a_connect_that_failed() {
    let (origin, port) = origin();
    let proxy = proxy(&port, &["--log-format", "json"]);
    let ended = |proxy: &Proxy| -> Value {
        let line = proxy.wait_for_line(PATIENCE, |line| line.contains("session ended"));
        serde_json::from_str(&line.unwrap()).unwrap()
    };
    let mut client = connect(proxy.address());
    drop(origin.accept().unwrap());
    client.read_to_end(&mut Vec::new()).unwrap();
    let address = client.local_addr().unwrap().to_string();
    drop(client);
    let line = ended(&proxy);
    assert_eq!(
        (&line["client"], &line["server"]),
        (&address.into(), &origin.local_addr().unwrap().to_string().into())
    );
    assert!(line["connect_ms"].as_f64().unwrap() >= 0.0);
    assert!(line["duration_ms"].as_f64().unwrap() >= line["connect_ms"].as_f64().unwrap());

    let refusing = Refuser::new().unwrap();
    let proxy = self::proxy(&refusing.address().port().to_string(), &["--log-format", "json"]);
    let _client = connect_before_reset(&proxy);
    let line = ended(&proxy);
    assert!(line["error"].as_str().unwrap().contains("refused"), "{line}");
    assert!(line.get("server").is_none(), "no server was reached");
}

#[test]
fn a_client_that_has_to_wait_is_mentioned_once() {
    let proxy = echoing(&[]);
    let _served = connect(proxy.address());
    let _waiting = [connect(proxy.address()), connect(proxy.address())];
    proxy
        .wait_for_line(PATIENCE, |line| line.contains("--max-clients is reached and a client is waiting"))
        .unwrap();
    let mentions = proxy.log().iter().filter(|line| line.contains("waiting")).count();
    assert_eq!(mentions, 1, "{:#?}", proxy.log());
}

#[test]
fn sigterm_and_sigint_end_an_idle_proxy_with_status_0() {
    for signal in [Proxy::terminate, Proxy::interrupt] {
        let mut proxy = proxy("80", &[]);
        signal(&proxy).unwrap();
        assert_status_0(&mut proxy);
    }
}

#[test]
fn a_transfer_under_way_survives_sigterm_and_a_second_signal_ends_it_with_a_reset() {
    let mut proxy = echoing(&["--drain-timeout", "1h"]);
    let client = conversing(proxy.address());
    proxy.terminate().unwrap();
    until_stopping(&proxy);
    converse(&client);
    assert!(TcpStream::connect(proxy.address()).is_err(), "no client is admitted any more");
    proxy.interrupt().unwrap();
    assert_status_0(&mut proxy);
    assert_reset(&client);
    proxy.wait_for_line(PATIENCE, |line| line.contains("reason=stopped")).unwrap();
}

#[test]
fn a_port_can_be_listened_on_again_at_once() {
    let port = echo();
    let first = proxy(&port, &[]);
    let address = first.address();
    let client = conversing(address);
    drop(first); // killed: its side closes first, so it keeps TIME_WAIT
    drop(client);
    let port_again = address.port().to_string();
    Proxy::command(PROGRAM).args(["127.0.0.1", &port, &port_again]).start().unwrap();
}

#[test]
fn a_standard_error_that_is_not_read_or_full_or_closed_stops_nothing() {
    let port = echo();
    let (unread, pipe) = std::io::pipe().unwrap();
    let (reader_gone, broken) = std::io::pipe().unwrap();
    drop(reader_gone);
    let full = File::options().write(true).open("/dev/full").unwrap();
    at_once([pipe.into(), broken.into(), full.into()], |stderr| {
        let (_child, address) = Running::with_stderr(stderr, &port, &[]);
        churn(address, 1000, 10).unwrap(); // over 150 KB of log, and a pipe holds 64
    });
    drop(unread);
}

#[test]
fn log_lines_that_were_lost_are_counted_when_the_reader_goes_on() {
    let port = echo();
    let (unread, pipe) = std::io::pipe().unwrap();
    let (_child, address) = Running::with_stderr(pipe.into(), &port, &[]);
    churn(address, 1000, 10).unwrap();
    let mut lines = BufReader::new(unread).lines().map(Result::unwrap);
    for _ in 0..100 {
        lines.next().unwrap();
    }
    churn(address, 1, 10).unwrap();
    let lost = lines.find(|line| line.ends_with("log lines were lost: the standard error was full")).unwrap();
    assert_ne!(lost.split(' ').next().unwrap().parse::<u32>().unwrap(), 0);
}

#[test]
fn ten_thousand_sessions_leave_neither_descriptors_nor_memory_behind() {
    let proxy = echoing(&["-q"]);
    churn(proxy.address(), 500, 1000).unwrap();
    let (descriptors, memory) = (proxy.descriptors().unwrap(), proxy.resident().unwrap());
    churn(proxy.address(), 9_500, 1000).unwrap();
    until("descriptors return", || proxy.descriptors().unwrap() <= descriptors);
    let grown = proxy.resident().unwrap().saturating_sub(memory);
    assert!(grown < 500_000, "{grown} bytes more after 9,500 more sessions");
}

#[test]
fn memory_stays_flat_while_a_fast_sender_meets_a_stalled_reader() {
    let (origin, port) = origin();
    let proxy = proxy(&port, &["--buffer-size", "64KiB"]);
    let (mut client, server) = session(&proxy, &origin);
    let before = proxy.resident().unwrap();
    client.set_nonblocking(true).unwrap();
    let (mut sent, mut refusals) = (0, 0);
    while refusals < 20 {
        match client.write(&[0; 1_000_000]) {
            Ok(n) => sent += n,
            Err(_) => {
                refusals += 1;
                std::thread::sleep(Duration::from_millis(10)); // give it time to take more, if it wants
            }
        }
    }
    let grown = proxy.resident().unwrap().saturating_sub(before);
    assert!(sent > 1_000_000, "the kernel alone takes more than {sent} bytes");
    assert!(grown < 1_000_000, "{grown} bytes more after {sent} were sent, with a ring of 65,536");
    drop(server);
}

#[test]
fn an_idle_half_closed_or_stalled_proxy_uses_no_processor_time() {
    let (origin, port) = origin();
    let proxy = proxy(&port, &["--max-clients", "3"]);
    let mut sessions: Vec<_> = (0..3).map(|_| session(&proxy, &origin)).collect();
    sessions[0].0.shutdown(Shutdown::Write).unwrap();
    sessions[1].0.set_nonblocking(true).unwrap();
    let stall = |stream: &mut TcpStream| while stream.write(&[0; 65536]).is_ok() {};
    stall(&mut sessions[1].0);
    let (mut client, server) = sessions.remove(1);
    until("the proxy takes no more", || client.write(&[0]).is_err());
    reset(client);
    let before = proxy.cpu_time().unwrap();
    std::thread::sleep(Duration::from_secs(1)); // what is measured is this second
    let used = proxy.cpu_time().unwrap() - before;
    assert!(used <= Duration::from_millis(20), "{used:?} in a second"); // the kernel counts in steps of 10 ms
    drop(server);
}

#[test]
fn running_out_of_descriptors_neither_spins_nor_ends_the_service() {
    let proxy = echoing(&["--max-clients", "100"]);
    let first = conversing(proxy.address());
    let served = proxy.descriptors().unwrap() as u64;
    proxy.limit_descriptors(served + 2).unwrap();
    let clients: Vec<TcpStream> = (0..5).map(|_| connect(proxy.address())).collect();
    proxy.wait_for_line(PATIENCE, |line| line.contains("cannot accept clients for now")).unwrap();
    let before = proxy.cpu_time().unwrap();
    std::thread::sleep(Duration::from_secs(1)); // what is measured is this second
    let used = proxy.cpu_time().unwrap() - before;
    assert!(used <= Duration::from_millis(50), "{used:?} in a second");
    converse(&first);
    proxy.limit_descriptors(1000).unwrap();
    clients.iter().for_each(converse);
}
