//! Without a descriptor to be had the listener pauses: clients wait, and the loop does not spin.
//!
//! The limit is that of the whole process, so this test has a program of its own.

#![allow(clippy::unwrap_used)] // a test that cannot go on says so by failing

mod common;

use std::net::TcpStream;
use std::time::{Duration, Instant};

use common::serve;
use eventloop::testing::until;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

const POLLER: eventloop::PollerKind = eventloop::PollerKind::Auto;

#[test]
fn a_listener_without_descriptors_pauses_and_goes_on_when_there_are_some() {
    let (mut event_loop, seen, client) = serve(usize::MAX);
    let _clients: Vec<TcpStream> = (0..3).map(|_| client()).collect();

    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: Some(3), ..limit }).unwrap(); // all below are in use
    until(&mut event_loop, || seen.borrow().exhausted == 1);
    let (turns, begin) = (event_loop.turns(), Instant::now());
    while begin.elapsed() < Duration::from_millis(450) {
        event_loop.turn(Some(Duration::from_millis(450))).unwrap();
    }
    let turns = event_loop.turns() - turns;
    assert!(turns <= 6, "{turns} turns in 450 ms: one for each try, every 100 ms");
    assert!(seen.borrow().served.is_empty());

    setrlimit(Resource::Nofile, limit).unwrap();
    until(&mut event_loop, || seen.borrow().served.len() == 3);
}
