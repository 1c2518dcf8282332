//! Without a descriptor to be had the listener pauses: clients wait, and the loop does not spin.
//!
//! The limit is that of the whole process, so this test has a program of its own.

#![allow(clippy::unwrap_used)] // a test that cannot go on says so by failing

mod common;

use std::cell::RefCell;
use std::net::TcpStream;
use std::rc::Rc;
use std::time::{Duration, Instant};

use common::until;
use eventloop::{
    Accept, EventLoop, Intents, Listener, Place, Progress, Ready, Session, SocketOptions, Stream,
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

#[derive(Default)]
struct Seen {
    served: Vec<(Stream, Place)>,
    exhausted: usize,
}

struct Server(Listener, Rc<RefCell<Seen>>);

impl Session for Server {
    fn intents(&self, want: &mut Intents<'_>) {
        self.0.intents(want);
    }

    fn advance(&mut self, ready: &Ready<'_>) -> Progress {
        let seen = &mut *self.1.borrow_mut();
        match self.0.accept(ready) {
            Accept::Client { stream, place, .. } => seen.served.push((stream, place)),
            Accept::Exhausted(error) => {
                assert!(eventloop::is_exhaustion(&error), "{error}");
                seen.exhausted += 1;
            }
            Accept::Blocked | Accept::Full => {}
        }
        Progress::Continue
    }
}

#[test]
fn a_listener_without_descriptors_pauses_and_goes_on_when_there_are_some() {
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap(), SocketOptions::default()).unwrap();
    let address = listener.local_addr().unwrap();
    let seen = Rc::new(RefCell::new(Seen::default()));
    let mut event_loop = EventLoop::new().unwrap();
    event_loop.spawn(Server(listener, seen.clone()));
    event_loop.turn(Some(Duration::ZERO)).unwrap();
    let _clients: Vec<TcpStream> = (0..3).map(|_| TcpStream::connect(address).unwrap()).collect();

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
