//! Which clients are served, and which stay pending.

#![allow(clippy::unwrap_used)] // a test that cannot go on says so by failing

mod stage;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use stage::{End, Stage, fin};
use tcpproxy::{Config, Proxy};

#[test]
fn one_client_is_served_at_a_time_and_the_next_ones_bytes_wait_for_it() {
    let mut stage = Stage::new();
    let (first, server) = stage.session();
    let second = stage.client();
    stage.send(&second, b"I can wait");
    fin(&second);
    stage.settle();
    assert!(stage.origin.accept().is_err(), "the second client has no connection to the server yet");
    stage.carry(&first, &server, b"still here");
    fin(&first);
    fin(&server);
    let server = stage.accept();
    assert_eq!(stage.drain(&server), (b"I can wait".to_vec(), End::Fin));
}

#[test]
fn clients_are_served_in_the_order_in_which_they_came() {
    let mut stage = Stage::new();
    let clients: Vec<TcpStream> = (0..5).map(|_| stage.client()).collect();
    for (i, client) in clients.iter().enumerate() {
        stage.send(client, &[i as u8]);
        fin(client);
    }
    for i in 0..5 {
        let server = stage.accept();
        assert_eq!(stage.drain(&server), (vec![i], End::Fin));
        fin(&server);
        drop(server);
    }
}

#[test]
fn as_many_clients_are_served_at_once_as_there_are_permits() {
    let mut stage = Stage::with(|config| Config { max_clients: Some(3), ..config });
    let mut sessions: Vec<_> = (0..3).map(|_| stage.session()).collect();
    let fourth = stage.client();
    stage.send(&fourth, b"4");
    stage.settle();
    assert_eq!(stage.proxy.statistics().active, 3);
    assert!(stage.origin.accept().is_err());
    let (client, server) = sessions.remove(1);
    fin(&client);
    fin(&server);
    let server = stage.accept();
    assert_eq!(stage.receive(&server, 1), b"4");
    for (client, server) in &sessions {
        stage.carry(client, server, b"undisturbed");
    }
}

#[test]
fn without_a_limit_hundreds_are_served() {
    let mut stage = Stage::with(|config| Config { max_clients: None, buffer_size: 1000, ..config });
    let sessions: Vec<_> = (0..300).map(|_| stage.session()).collect();
    for (client, server) in &sessions {
        stage.carry(client, server, b"x");
    }
    assert_eq!(stage.proxy.statistics().active, 300);
}

#[test]
fn a_client_that_left_while_it_waited_delays_no_other() {
    let mut stage = Stage::new();
    let (first, server) = stage.session();
    for _ in 0..3 {
        stage::reset(stage.client());
    }
    let last = stage.client();
    stage.send(&last, b"last");
    fin(&first);
    fin(&server);
    let server = stage.until_served(b"last");
    drop(server);
}

/// A proxy with one client at a time, whose session yields after this time.
fn impatient(idle: Duration) -> Stage {
    let linger_timeout = Duration::from_secs(3600);
    Stage::with(|config| Config { yield_idle: Some(idle), linger_timeout, ..config })
}

#[test]
fn an_idle_session_yields_to_a_pending_client() {
    let mut stage = impatient(Duration::from_millis(50));
    let (first, server) = stage.session();
    stage.send(&server, b"all of this arrives first");
    stage.settle();
    stage.assert_quiet(); // no client is pending: the session may be idle as long as it likes
    let _next = stage.next_client();
    assert_eq!(stage.drain(&first), (b"all of this arrives first".to_vec(), End::Reset));
    assert_eq!(stage.drain(&server), (vec![], End::Reset), "a cut is no clean end");
}

#[test]
fn a_session_in_which_no_byte_moves_yields_whichever_side_has_stopped_reading() {
    for (client_stalls, server_stalls) in [(true, false), (false, true), (true, true)] {
        let mut stage = impatient(Duration::from_millis(50));
        let (first, server) = stage.session();
        if client_stalls {
            stage.fill(&server);
        }
        if server_stalls {
            stage.fill(&first);
        }
        let _ = stage.proxy.turn(Some(stage::WHILE)).unwrap();
        let ended = stage.proxy.statistics().ended;
        assert_eq!(ended, 0, "no client is pending: it may be stalled as long as it likes");
        let _next = stage.next_client();
        assert_eq!(stage.drain(&first).1, End::Reset);
        assert_eq!(stage.drain(&server).1, End::Reset);
    }
}

#[test]
fn a_session_whose_end_waits_for_a_client_that_has_stopped_reading_yields() {
    for fits_into_the_kernel in [true, false] {
        let mut stage = impatient(Duration::from_millis(50));
        let (first, server) = stage.session();
        if fits_into_the_kernel {
            rustix::net::sockopt::set_socket_recv_buffer_size(&first, 4096).unwrap();
            stage.send(&server, &stage::counting(0, 200_000));
        } else {
            stage.fill(&server);
        }
        stage.settle();
        stage::reset(server);
        stage.settle();
        assert_eq!(stage.proxy.statistics().active, 1, "the client has its time to take the rest");
        let _next = stage.next_client();
        assert_eq!(stage.drain(&first).1, End::Reset);
    }
}

#[test]
fn a_client_that_reads_slowly_keeps_its_session_until_it_stops() {
    // With little in the kernel, each read lets bytes move.
    let idle = Duration::from_millis(500);
    let mut stage = Stage::with(|config| Config {
        yield_idle: Some(idle),
        socket_buffer: Some(64 * 1024),
        linger_timeout: Duration::from_secs(3600),
        ..config
    });
    let (first, server) = stage.session();
    rustix::net::sockopt::set_socket_recv_buffer_size(&first, 64 * 1024).unwrap();
    stage.fill(&server);
    let second = stage.client();
    stage.send(&second, b"my turn");
    let (begin, mut bytes) = (Instant::now(), vec![0; 65536]);
    while begin.elapsed() < 2 * idle {
        let _ = (&first).read(&mut bytes);
        let _ = (&server).write(&bytes);
        let _ = stage.proxy.turn(Some(Duration::from_millis(20))).unwrap();
    }
    assert_eq!(stage.proxy.statistics().ended, 0, "it takes bytes");
    let new_server = stage.until_served(b"my turn");
    assert_eq!(stage.drain(&first).1, End::Reset);
    drop(new_server);
}

#[test]
fn no_session_yields_to_a_client_that_has_left_and_one_yields_to_the_next() {
    for resets in [true, false] {
        let mut stage = impatient(Duration::from_millis(100));
        let (first, server) = stage.session();
        stage.carry(&server, &first, b"x");
        let leaver = stage.client();
        if resets {
            stage::reset(leaver);
        } else {
            drop(leaver);
        }
        for _ in 0..10 {
            let _ = stage.proxy.turn(Some(Duration::from_millis(50))).unwrap();
        }
        assert_eq!(stage.proxy.statistics().ended, 0);
        stage.carry(&first, &server, b"still here");
        stage.next_client();
    }
}

#[test]
fn a_half_closed_session_yields_without_waiting_for_a_client_that_has_everything() {
    for client_closes in [true, false] {
        let mut stage = impatient(Duration::from_millis(50));
        let (first, server) = stage.session();
        stage.carry_to_end(&server, &first, b"answer");
        let second = stage.client();
        stage.send(&second, b"my turn");
        stage.proxy.turn(Some(Duration::from_millis(100))).unwrap(); // it has begun to yield
        let first = (!client_closes).then_some(first);
        stage.until_served(b"my turn");
        drop(first);
    }
}

/// A client that has finished without a byte keeps its turn, and the one behind it is accepted, too.
#[test]
fn the_session_of_a_client_that_had_finished_while_it_waited_yields_to_the_next_one() {
    let mut stage = impatient(Duration::from_millis(50));
    let (_first, _server) = stage.session();
    let finished = stage.client();
    fin(&finished);
    let next = stage.client();
    stage.send(&next, b"my turn");
    let server = stage.accept();
    assert_eq!(stage.drain(&server), (vec![], End::Fin), "the server does not finish");
    stage.until_served(b"my turn");
}

#[test]
fn only_as_many_yield_as_wait() {
    let mut stage = Stage::with(|config| Config {
        yield_idle: Some(Duration::from_millis(50)),
        max_clients: Some(3),
        ..config
    });
    let _sessions: Vec<_> = (0..3).map(|_| stage.session()).collect();
    stage.assert_quiet();
    let newcomer = stage.client();
    stage.send(&newcomer, b"new");
    let _server = stage.until_served(b"new");
    stage.assert_quiet();
    assert_eq!(stage.proxy.statistics().active, 3, "one has yielded, and one was admitted");
}

#[test]
fn every_address_is_listened_on_in_ipv6_and_ipv4() {
    let stage = Stage::new();
    let port = stage.proxy.local_addr().port();
    TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    TcpStream::connect((Ipv6Addr::LOCALHOST, port)).unwrap();
}

#[test]
fn one_address_is_listened_on_if_asked_for() {
    let stage = Stage::with(|config| Config { bind: Some((Ipv4Addr::LOCALHOST, 0).into()), ..config });
    let port = stage.proxy.local_addr().port();
    TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    TcpStream::connect((Ipv6Addr::LOCALHOST, port)).unwrap_err();
}

#[test]
fn the_server_is_reached_by_name_and_by_either_kind_of_address() {
    for (listen, hosts) in [("127.0.0.1:0", &["127.0.0.1", "localhost"][..]), ("[::1]:0", &["::1", "[::1]"])]
    {
        let origin = TcpListener::bind(listen).unwrap();
        origin.set_nonblocking(true).unwrap();
        for host in hosts {
            let config = Config::new(*host, origin.local_addr().unwrap().port());
            let mut stage =
                Stage { proxy: Proxy::start(config).unwrap(), origin: origin.try_clone().unwrap() };
            let (client, server) = stage.session();
            stage.carry(&client, &server, host.as_bytes());
        }
    }
}

/// A session goes on for the server when its client is gone. The pending client is served when it is over, not when the
/// client's connection is closed.
#[test]
fn a_pending_client_is_served_after_a_session_that_outlives_its_client() {
    let mut stage = Stage::with(|config| Config { max_clients: Some(1), ..config });
    let (first, server) = stage.session();
    let sent = stage.fill(&first);
    let second = stage.client();
    stage.send(&second, b"my turn");
    stage.settle();
    stage::reset(first);
    stage.settle(); // the server is still to get what the first client has sent
    assert_eq!(stage.proxy.statistics().active, 1);
    let (bytes, end) = stage.drain(&server);
    assert!(bytes.len() <= sent);
    assert_eq!(end, End::Reset);
    stage.until_served(b"my turn");
}
