//! The way to the server: from which address, and through what the kernel may hold.

#![allow(clippy::unwrap_used)] // a test that cannot go on says so by failing

mod stage;

use std::net::{IpAddr, TcpStream};
use std::time::{Duration, Instant};

use stage::{End, PATIENCE, Stage, fin, reset};
use tcpproxy::{Config, Proxy};
use testkit::peer::Refuser;

fn sources(addresses: &[&str]) -> Vec<IpAddr> {
    addresses.iter().map(|address| address.parse().unwrap()).collect()
}

#[cfg(target_os = "linux")] // where all of 127.0.0.0/8 belongs to the machine
#[test]
fn servers_are_reached_from_the_sources_in_turn() {
    let mut stage =
        Stage::with(|config| Config { source: sources(&["127.0.0.3", "::1", "127.0.0.4"]), ..config });
    for source in ["127.0.0.3", "127.0.0.4", "127.0.0.3"] {
        let (client, server) = stage.session();
        assert_eq!(server.peer_addr().unwrap().ip().to_string(), source);
        stage.carry_to_end(&client, &server, b"question");
        fin(&server);
        assert_eq!(stage.drain(&client), (vec![], End::Fin));
        stage.until_over();
    }
}

/// Turns the loop for this long, whatever happens.
fn turn_for(stage: &mut Stage, time: Duration) {
    let begin = Instant::now();
    while begin.elapsed() < time {
        stage.proxy.turn(Some(Duration::from_millis(5))).unwrap();
    }
}

#[test]
fn with_retry_no_session_is_lost_while_the_server_is_away() {
    let away = Refuser::new().unwrap();
    let mut stage = Stage::with(|config| Config {
        remote_port: away.address().port(),
        retry: true,
        max_clients: Some(50),
        ..config
    });
    let clients: Vec<TcpStream> = (0..20_u8)
        .map(|number| {
            let client = stage.client();
            stage.send(&client, &[number; 1000]);
            fin(&client);
            turn_for(&mut stage, Duration::from_millis(35)); // 0.7 s for all of them
            client
        })
        .collect();
    let leaves = stage.client();
    stage.settle();
    assert_eq!(stage.proxy.statistics().active, 21, "none has failed");
    reset(leaves); // its pause does not keep it
    stage.until_active(20);
    stage.origin = away.open().unwrap();
    stage.origin.set_nonblocking(true).unwrap();
    for _ in 0..20 {
        let server = stage.accept();
        let (received, end) = stage.drain(&server);
        assert_eq!((received.len(), end), (1000, End::Fin));
        stage.send(&server, &received[..1]);
        fin(&server);
    }
    for (number, client) in clients.iter().enumerate() {
        assert_eq!(stage.drain(client), (vec![number as u8], End::Fin));
    }
    stage.until_over();
}

#[test]
fn without_retry_a_refusal_is_an_answer_and_with_it_one_when_the_time_is_over() {
    for (retry, connect_timeout) in [(false, PATIENCE), (true, Duration::from_millis(400))] {
        let away = Refuser::new().unwrap();
        let remote_port = away.address().port();
        let mut stage = Stage::with(|config| Config { remote_port, retry, connect_timeout, ..config });
        let client = stage.client();
        assert_eq!(stage.drain(&client), (vec![], End::Reset));
        stage.until_over();
    }
}

/// Its wake-up shows that it looks; `interop/names.sh` has a loop.
#[test]
fn a_session_looks_for_a_loop_also_without_keepalive_probes() {
    for keepalive in [None, Some(PATIENCE)] {
        let mut loop_check_age = Duration::from_millis(100);
        loop {
            let begin = Instant::now();
            let mut stage = Stage::with(|config| Config { keepalive, loop_check_age, ..config });
            let _session = stage.session();
            stage.settle();
            if begin.elapsed() < loop_check_age {
                assert_eq!(stage.proxy.turn(Some(PATIENCE / 2)).unwrap(), 1, "keepalive {keepalive:?}");
                break;
            }
            loop_check_age *= 2; // it may have looked before the loop came to rest
        }
    }
}

#[test]
fn a_name_that_cannot_be_resolved_is_an_error_at_start_unless_it_is_to_be_waited_for() {
    let config = |wait_for_name| Config { wait_for_name, ..Config::new("no-such-host.invalid", 80) };
    let error = Proxy::start(config(false)).unwrap_err().to_string();
    assert!(error.starts_with("cannot resolve no-such-host.invalid"), "{error}");
    let connect_timeout = Duration::from_millis(700);
    let mut stage =
        Stage::with(|ours| Config { remote_port: ours.remote_port, connect_timeout, ..config(true) });
    let begin = Instant::now();
    let client = stage.client();
    stage.send(&client, b"kept");
    assert_eq!(stage.drain(&client), (vec![], End::Reset));
    // After pauses of 50, 100 and 200 ms the next one would be too long.
    assert!(begin.elapsed() >= connect_timeout / 2, "the client waits");
    stage.until_over();
}

#[cfg(target_os = "linux")]
#[test]
fn a_stalled_session_holds_in_the_kernel_what_it_may_and_no_more() {
    use rustix::net::sockopt::set_socket_recv_buffer_size;
    let stalled = |socket_buffer| {
        let mut stage = Stage::with(|config| Config { socket_buffer, buffer_size: 4096, ..config });
        set_socket_recv_buffer_size(&stage.origin, 4096).unwrap(); // so that what counts is the proxy's
        let client = stage.client();
        let server = stage.accept();
        let sent = stage.fill(&client);
        drop(server);
        sent
    };
    let (bounded, tuned) = (stalled(Some(64 * 1024)), stalled(None));
    assert!(bounded < 4 << 20, "{bounded} bytes"); // the client's own kernel holds some, too
    assert!(tuned > bounded, "{tuned} bytes without the option, {bounded} with it");
}
