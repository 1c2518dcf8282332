//! What one connection costs does not depend on how many others are open and idle.

use std::io::{Read, Write};
use std::net::TcpStream;

use crate::common::{event_loop, listener};
use eventloop::testing::{PATIENCE, session, settle};
use eventloop::{EventLoop, Progress, Ready, Result, SocketOptions, Stream, raise_descriptor_limit};

/// A step that sends back what has come, a few bytes at a time.
fn echo(stream: &mut Stream, ready: &Ready<'_>) -> Result<Progress> {
    let mut bytes = [0; 64];
    if ready.is_readable(stream) {
        match stream.receive(&mut bytes)? {
            Some(0) => return Ok(Progress::Done),
            received => stream.send(&bytes[..received.unwrap_or(0)])?,
        };
    }
    Ok(Progress::Continue)
}

/// What the loop has done.
#[derive(Debug, PartialEq, Eq)]
struct Work {
    turns: u64,
    registrations: u64,
    steps: usize,
}

/// Turns until there are this many sessions, and returns the number of steps. No turn is without an event.
fn until_sessions(event_loop: &mut EventLoop, sessions: usize) -> usize {
    let mut steps = 0;
    while event_loop.sessions() != sessions {
        let turned = event_loop.turn(Some(PATIENCE)).unwrap();
        assert!(turned > 0, "nothing happens");
        steps += turned;
    }
    steps
}

/// What a client that connects, sends, receives and leaves costs beside this number of idle ones.
fn work_beside(idle: usize) -> Work {
    let (listener, address) = listener(SocketOptions::default());
    let mut event_loop = event_loop();
    event_loop.spawn(listener.into_session(|client, ready| {
        ready.spawn(session(client, |client, intents| intents.read(client), echo));
    }));
    let _idle: Vec<TcpStream> = (0..idle).map(|_| TcpStream::connect(address).unwrap()).collect();
    until_sessions(&mut event_loop, idle + 1);
    settle(&mut event_loop);

    let (turns, registrations) = (event_loop.turns(), event_loop.registrations());
    let mut client = TcpStream::connect(address).unwrap();
    let mut steps = until_sessions(&mut event_loop, idle + 2);
    client.write_all(b"hello").unwrap();
    steps += event_loop.turn(Some(PATIENCE)).unwrap();
    let mut echo = [0; 5];
    client.read_exact(&mut echo).unwrap();
    assert_eq!(&echo, b"hello");
    drop(client);
    steps += until_sessions(&mut event_loop, idle + 1);
    Work {
        turns: event_loop.turns() - turns,
        registrations: event_loop.registrations() - registrations,
        steps,
    }
}

#[test]
fn a_connection_costs_as_much_beside_thousands_of_idle_ones_as_beside_ten() {
    let possible = raise_descriptor_limit(u64::MAX) / 4;
    let many = possible.min(2000) as usize; // each has two descriptors here, and other tests need some
    assert!(many >= 100, "there are too few descriptors: raise the hard limit (ulimit -Hn)");
    let beside_ten = work_beside(10);
    assert!(beside_ten.turns <= 3 && beside_ten.steps <= 4, "{beside_ten:?}");
    assert_eq!(work_beside(many), beside_ten);
}
