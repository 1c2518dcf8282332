//! What ends when its time is up, and how.

#![allow(clippy::unwrap_used)] // a test that cannot go on says so by failing

mod stage;

use std::time::{Duration, Instant};

use stage::{End, Stage, WHILE, counting, fin, reset};
use tcpproxy::Config;

const SHORT: Duration = Duration::from_millis(200);

#[test]
fn an_idle_session_is_reset_when_its_time_is_up() {
    let limit = SHORT * 5; // it runs while a busy machine carries the bytes, too
    let mut stage = Stage::with(|config| Config { idle_timeout: Some(limit), ..config });
    let (client, server) = stage.session();
    stage.proxy.turn(Some(SHORT)).unwrap();
    let begin = Instant::now();
    stage.carry(&client, &server, b"bytes");
    stage.until_over();
    assert!(begin.elapsed() >= limit, "bytes count");
    assert_eq!(stage.drain(&client).1, End::Reset);
    assert_eq!(stage.drain(&server).1, End::Reset);
}

#[test]
fn bytes_in_either_direction_keep_a_session_from_being_idle() {
    let mut stage = Stage::with(|config| Config { idle_timeout: Some(SHORT * 5), ..config });
    let (client, server) = stage.session();
    let begin = Instant::now();
    while begin.elapsed() < SHORT * 8 {
        stage.carry(&server, &client, b"x");
        stage.proxy.turn(Some(WHILE)).unwrap();
    }
    assert_eq!(stage.proxy.statistics().active, 1);
}

#[test]
fn a_silent_half_closed_session_is_reset_when_its_time_is_up() {
    for client_finishes in [true, false] {
        let mut stage = Stage::with(|config| Config { half_close_timeout: Some(SHORT), ..config });
        let (client, server) = stage.session();
        stage.proxy.turn(Some(SHORT)).unwrap(); // open in both directions it has all the time there is
        assert_eq!(stage.proxy.statistics().active, 1);
        let (finished, live) = if client_finishes { (&client, &server) } else { (&server, &client) };
        fin(finished);
        assert_eq!(stage.drain(live), (vec![], End::Fin));
        assert_eq!(stage.drain(finished), (vec![], End::Reset), "a cut is no clean end");
        stage.until_over();
    }
}

#[test]
fn bytes_in_the_live_direction_give_a_half_closed_session_more_time() {
    let mut stage = Stage::with(|config| Config { half_close_timeout: Some(SHORT * 5), ..config });
    let (client, server) = stage.session();
    fin(&client);
    let begin = Instant::now();
    while begin.elapsed() < SHORT * 8 {
        stage.carry(&server, &client, b"x");
        stage.proxy.turn(Some(WHILE)).unwrap();
    }
    fin(&server);
    assert_eq!(stage.drain(&client), (vec![], End::Fin));
}

#[test]
fn a_stalled_side_does_not_keep_its_permit_for_ever_when_the_other_has_failed() {
    let mut stage = Stage::with(|config| Config { linger_timeout: SHORT, ..config });
    for ring_is_empty in [true, false] {
        let (client, server) = stage.session();
        if ring_is_empty {
            stage.send(&server, &counting(0, 300_000)); // it lies in the kernel's send queue
            stage.settle();
        } else {
            stage.fill(&server);
        }
        reset(server);
        stage.until_over();
        assert_eq!(stage.drain(&client).1, End::Reset);
    }
}

#[test]
fn a_slow_side_has_its_full_time_from_the_moment_the_other_fails() {
    let mut stage = Stage::with(|config| Config { linger_timeout: SHORT, ..config });
    let (client, server) = stage.session();
    stage.fill(&client);
    stage.proxy.turn(Some(SHORT * 2)).unwrap(); // nothing has moved for longer than that
    reset(client);
    stage.proxy.turn(None).unwrap();
    assert_eq!(stage.proxy.statistics().active, 1, "it is not cut at once");
    assert_eq!(stage.drain(&server).1, End::Reset);
}

#[test]
fn a_proxy_that_is_stopped_lets_its_sessions_finish_and_admits_no_client() {
    let mut stage = Stage::new();
    let (client, server) = stage.session();
    let waiting = stage.client();
    stage.settle();
    stage.proxy.stop();
    assert_eq!(stage.drain(&waiting), (vec![], End::Reset), "it will not be served");
    stage.assert_quiet();
    stage.carry(&client, &server, b"last request");
    stage.carry_to_end(&server, &client, b"last answer");
    fin(&client);
    stage.until_over();
    stage.proxy.run().unwrap(); // returns: nothing is left to do
}

#[test]
fn sessions_that_are_left_when_the_drain_time_is_up_are_reset() {
    let mut stage = Stage::with(|config| Config { drain_timeout: SHORT, ..config });
    let (client, server) = stage.session();
    stage.fill(&client);
    stage.proxy.stop();
    stage.until_over();
    assert_eq!(stage.drain(&client).1, End::Reset);
    assert_eq!(stage.drain(&server).1, End::Reset);
}

#[test]
fn a_second_request_to_stop_resets_what_is_left_at_once() {
    let mut stage = Stage::new();
    let (client, server) = stage.session();
    stage.proxy.stop();
    stage.assert_quiet();
    stage.proxy.stop();
    stage.until_over();
    assert_eq!(stage.drain(&client), (vec![], End::Reset));
    assert_eq!(stage.drain(&server), (vec![], End::Reset));
}

/// The command line does not allow them, but a program with a proxy inside may: `now + Duration::MAX` panics.
#[test]
fn times_of_duration_max_are_no_limits() {
    let max = Duration::MAX;
    let mut stage = Stage::with(|config| Config {
        connect_timeout: max,
        header_timeout: max,
        linger_timeout: max,
        drain_timeout: max,
        idle_timeout: Some(max),
        half_close_timeout: Some(max),
        yield_idle: Some(max),
        exit_on_idle: Some(max),
        keepalive: Some(max),
        retry: true,
        ..config
    });
    let (client, server) = stage.session();
    let next = stage.client();
    stage.carry(&client, &server, b"question");
    fin(&client);
    assert_eq!(stage.drain(&server), (vec![], End::Fin));
    stage.carry_to_end(&server, &client, b"answer");
    let server = stage.accept();
    stage.carry(&next, &server, b"last words");
    reset(next);
    assert_eq!(stage.drain(&server), (vec![], End::Reset));
    stage.until_over();
    let (client, server) = stage.session();
    stage.proxy.stop();
    stage.settle();
    fin(&client);
    fin(&server);
    assert_eq!((stage.drain(&client).1, stage.drain(&server).1), (End::Fin, End::Fin));
    stage.until_over();
}
