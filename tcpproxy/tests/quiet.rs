//! A proxy with nothing to do does nothing: no turn of the loop in any state in which bytes cannot move.

#![allow(clippy::unwrap_used)] // a test that cannot go on says so by failing

mod stage;

use stage::{Stage, fin, reset};
use tcpproxy::Config;

#[test]
fn without_clients() {
    Stage::new().assert_quiet();
}

#[test]
fn with_idle_clients() {
    let mut stage = Stage::with(|config| Config { max_clients: Some(10), ..config });
    let _sessions: Vec<_> = (0..10).map(|_| stage.session()).collect();
    stage.assert_quiet();
}

#[test]
fn half_closed_either_way() {
    let mut stage = Stage::with(|config| Config { max_clients: Some(2), ..config });
    let (client, _server) = stage.session();
    fin(&client);
    let (_client, server) = stage.session();
    fin(&server);
    stage.assert_quiet();
    assert_eq!(stage.proxy.statistics().active, 2);
}

#[test]
fn stalled_both_ways() {
    let mut stage = Stage::new();
    let (client, server) = stage.session();
    stage.fill(&client);
    stage.fill(&server);
    stage.assert_quiet();
}

#[test]
fn stalled_and_then_reset_by_the_sender() {
    let mut stage = Stage::new();
    let (client, server) = stage.session();
    stage.fill(&client);
    reset(client);
    stage.assert_quiet();
    assert_eq!(stage.proxy.statistics().active, 1, "the server may still want what is buffered");
    drop(server);
}

#[test]
fn stalled_and_then_finished_by_the_sender() {
    let mut stage = Stage::new();
    let (client, _server) = stage.session();
    stage.fill(&client);
    fin(&client);
    stage.assert_quiet();
}

#[test]
fn finished_by_both_with_bytes_that_are_not_read() {
    let mut stage = Stage::new();
    let (client, server) = stage.session();
    stage.fill(&client);
    stage.fill(&server);
    fin(&client);
    fin(&server);
    stage.assert_quiet();
    assert_eq!(stage.proxy.statistics().active, 1);
}

#[test]
fn with_clients_that_wait_their_turn() {
    let mut stage = Stage::new();
    let (_client, _server) = stage.session();
    let mut waiting = Vec::new();
    for _ in 0..5 {
        waiting.push(stage.client());
        stage.assert_quiet();
    }
}

#[test]
fn with_an_urgent_byte_that_cannot_be_delivered() {
    let mut stage = Stage::new();
    let (client, _server) = stage.session();
    stage.fill(&client);
    rustix::net::send(&client, b"!", rustix::net::SendFlags::OOB | rustix::net::SendFlags::DONTWAIT).ok();
    stage.assert_quiet();
}

#[test]
fn one_step_carries_bytes_from_the_read_to_the_write() {
    let mut stage = Stage::new();
    let (client, server) = stage.session();
    let round_trip = |stage: &mut Stage| {
        stage.carry(&client, &server, b"ping");
        stage.carry(&server, &client, b"pong");
    };
    round_trip(&mut stage);
    stage.settle();
    let steps: usize = (0..10)
        .map(|_| {
            stage.send(&client, b"ping");
            let steps = stage.proxy.turn(None).unwrap();
            assert_eq!(stage.receive(&server, 4), b"ping");
            steps
        })
        .sum();
    assert_eq!(steps, 10, "one step carries the bytes from the read to the write");
}
