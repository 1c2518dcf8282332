//! Without a descriptor to be had a listener and a connector pause, and the loop does not spin.
//!
//! The limit is that of the whole process, so this has a program of its own, with one test.

#![allow(clippy::unwrap_used)] // a test that cannot go on says so by failing

mod common;

use std::cell::RefCell;
use std::net::{SocketAddr, TcpStream};
use std::rc::Rc;
use std::time::{Duration, Instant};

use common::{listener, serve};
use eventloop::testing::{session, until};
use eventloop::{Connect, ConnectEvent, ConnectOptions, Connector, EventLoop, ListenOptions, Progress};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use testkit::peer::BlackHole;

const POLLER: eventloop::PollerKind = eventloop::PollerKind::Auto;

#[test]
fn without_descriptors_listener_and_connector_pause_and_go_on_when_there_are_some() {
    a_listener_pauses_and_goes_on();
    a_listener_that_is_to_retry_at_once_does_not_spin();
    an_attempt_that_begins_makes_an_end_of_those_that_could_not();
}

fn a_listener_pauses_and_goes_on() {
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

fn a_listener_that_is_to_retry_at_once_does_not_spin() {
    let options = ListenOptions { retry_after: Duration::ZERO, ..ListenOptions::default() };
    let (listener, address) = listener(options);
    let served = Rc::new(RefCell::new(Vec::new()));
    let mut event_loop = EventLoop::with_poller(POLLER).unwrap();
    let streams = served.clone();
    event_loop.spawn(listener.into_session(move |stream, _| streams.borrow_mut().push(stream)));
    event_loop.turn(Some(Duration::ZERO)).unwrap();
    let _client = TcpStream::connect(address).unwrap();
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: Some(3), ..limit }).unwrap();
    let (turns, begin) = (event_loop.turns(), Instant::now());
    while begin.elapsed() < Duration::from_millis(100) {
        event_loop.turn(Some(Duration::from_millis(100))).unwrap();
    }
    let (turns, passed) = (event_loop.turns() - turns, begin.elapsed().as_millis());
    assert!(u128::from(turns) <= passed + 2, "{turns} turns in {passed} ms");
    setrlimit(Resource::Nofile, limit).unwrap();
    until(&mut event_loop, || served.borrow().len() == 1);
}

/// Three addresses, of which the second alone finds a descriptor. The third finds none; the first one is asked then, without
/// the pause that follows when none of them could begin.
fn an_attempt_that_begins_makes_an_end_of_those_that_could_not() {
    let hole = BlackHole::new().unwrap();
    let silent = hole.address();
    let addresses = [1, 2, 3].map(|last| SocketAddr::from(([127, 0, 0, last], silent.port())));
    let [first, second, third] = [addresses[1], silent, addresses[2]];

    let options =
        ConnectOptions { retry_after: Duration::MAX, timeout: Duration::MAX, ..ConnectOptions::default() };
    let mut connector = Connector::new(&[first, second, third][..], options, Instant::now());
    let (limit, started) = (getrlimit(Resource::Nofile), Rc::new(RefCell::new(Vec::new())));
    let allow = move |descriptors| {
        setrlimit(Resource::Nofile, Rlimit { current: descriptors, ..limit }).unwrap();
    };
    let log = started.clone();
    connector.on_attempt(move |event| {
        if let ConnectEvent::Started(address) = event {
            log.borrow_mut().push(address);
            allow(if address == second { limit.current } else { Some(3) });
        }
    });
    let mut event_loop = EventLoop::with_poller(POLLER).unwrap();
    event_loop.spawn(session(connector, Connector::intents, |connector, ready| {
        Ok(if let Connect::Pending = connector.advance(ready) { Progress::Continue } else { Progress::Done })
    }));
    until(&mut event_loop, || started.borrow().contains(&third));
    allow(limit.current);
    assert_eq!(started.borrow()[..4], [first, second, third, first]);
}
