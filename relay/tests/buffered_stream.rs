//! A buffered stream by itself: what it reads and writes, when it sleeps, and how it takes closing.

#![allow(clippy::unwrap_used)] // a test that cannot go on says so by failing

use std::cell::RefCell;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::rc::Rc;
use std::time::Instant;

use eventloop::testing::{PATIENCE, PAUSE, pair, reset, session, settle, until_over};
use eventloop::{EventLoop, Progress, Ready, Stream, Waker};
use relay::BufferedStream;
use ringbuf::Pool;

const RING: usize = 4096;

/// A stream with which its session does what the test tells it.
struct Stage {
    stream: Rc<RefCell<BufferedStream>>,
    pool: Pool,
}

fn step(stream: &mut BufferedStream, ready: &Ready<'_>) -> eventloop::Result<Progress> {
    let filled = stream.fill(ready);
    let over = stream.advance_close(ready).is_break();
    match stream.flush(ready) | filled {
        _ if over => Ok(Progress::Done),
        true => Ok(Progress::Again),
        false => Ok(Progress::Continue),
    }
}

/// A stream in a loop, and its peer.
fn stage() -> (EventLoop, Stage, Waker, TcpStream) {
    let (near, peer) = pair().unwrap();
    let pool = Pool::new(RING, 2);
    let (input, output) = (pool.reserve().unwrap(), pool.reserve().unwrap());
    let stream = BufferedStream::new(Stream::new(near).unwrap(), input, output);
    let stage = Stage { stream: Rc::new(RefCell::new(stream)), pool };
    let mut event_loop = EventLoop::new().unwrap();
    let waker = event_loop.spawn(session(
        stage.stream.clone(),
        |stream, intents| stream.borrow().intents(intents),
        |stream, ready| step(&mut stream.borrow_mut(), ready),
    ));
    (event_loop, stage, waker, peer)
}

#[test]
fn what_fits_is_read_and_the_rest_waits_without_a_spin() {
    let (mut event_loop, stage, waker, mut peer) = stage();
    settle(&mut event_loop);
    assert_eq!(stage.pool.lent(), 0, "an idle connection has no ring");
    peer.write_all(&[7; 3 * RING]).unwrap();
    for _ in 0..3 {
        settle(&mut event_loop);
        assert_eq!(stage.stream.borrow().input.len(), RING);
        stage.stream.borrow_mut().input.clear();
        waker.wake();
    }
    peer.shutdown(Shutdown::Write).unwrap();
    settle(&mut event_loop);
    assert!(stage.stream.borrow().has_ended() && !stage.stream.borrow().has_failed());
    assert_eq!(stage.pool.lent(), 0);
}

#[test]
fn a_failure_is_noticed_after_what_came_before_it_was_read() {
    let (mut event_loop, stage, waker, mut peer) = stage();
    peer.write_all(&[7; RING + 1]).unwrap();
    settle(&mut event_loop);
    reset(peer).unwrap();
    settle(&mut event_loop);
    assert!(!stage.stream.borrow().has_ended());
    stage.stream.borrow_mut().input.clear();
    waker.wake();
    settle(&mut event_loop);
    assert_eq!(stage.stream.borrow().input.len(), 1);
    assert!(stage.stream.borrow().has_ended() && stage.stream.borrow().has_failed());
}

#[test]
fn an_orderly_close_delivers_all_though_the_peer_still_sends() {
    let (mut event_loop, stage, waker, mut peer) = stage();
    peer.write_all(&[7; 3 * RING]).unwrap();
    settle(&mut event_loop);
    let _ = stage.stream.borrow_mut().output.push_slice(b"goodbye").unwrap();
    stage.stream.borrow_mut().finish(Instant::now() + PATIENCE);
    waker.wake();
    settle(&mut event_loop);
    let mut got = String::new();
    peer.read_to_string(&mut got).unwrap();
    assert_eq!((got.as_str(), event_loop.sessions()), ("goodbye", 1));
    peer.write_all(&[7; 3 * RING]).unwrap();
    peer.shutdown(Shutdown::Write).unwrap();
    settle(&mut event_loop);
    assert_eq!(event_loop.sessions(), 0, "the peer has finished too");
}

#[test]
fn a_peer_that_does_not_finish_is_reset_when_its_time_is_up() {
    let (mut event_loop, stage, waker, _peer) = stage();
    stage.stream.borrow_mut().finish(Instant::now() + PAUSE);
    waker.wake();
    let begin = Instant::now();
    until_over(&mut event_loop, 0);
    assert!(begin.elapsed() >= PAUSE);
}

#[test]
fn a_stream_that_is_finished_again_in_each_step_keeps_its_first_time_limit() {
    let (mut event_loop, stage, waker, _peer) = stage();
    stage.stream.borrow_mut().finish(Instant::now() + PAUSE);
    waker.wake();
    let begin = Instant::now();
    while event_loop.sessions() > 0 {
        assert!(begin.elapsed() < PATIENCE);
        event_loop.turn(Some(PAUSE)).unwrap();
        stage.stream.borrow_mut().finish(Instant::now() + 2 * PATIENCE);
    }
}

#[test]
fn a_session_that_advances_the_close_before_it_reads_ends_as_soon_as_the_peer_has_ended() {
    type EndPeer = fn(TcpStream);
    let (finishes, resets): (EndPeer, EndPeer) = (drop, |peer| reset(peer).unwrap());
    for end in [finishes, resets] {
        let (near, peer) = pair().unwrap();
        let pool = Pool::new(RING, 2);
        let (input, output) = (pool.reserve().unwrap(), pool.reserve().unwrap());
        let mut stream = BufferedStream::new(Stream::new(near).unwrap(), input, output);
        stream.finish(Instant::now() + 2 * PATIENCE);
        let mut event_loop = EventLoop::new().unwrap();
        event_loop.spawn(session(stream, BufferedStream::intents, |stream, ready| {
            let is_closed = stream.advance_close(ready).is_break();
            let _ = stream.flush(ready) | stream.fill(ready);
            Ok(if is_closed { Progress::Done } else { Progress::Continue })
        }));
        settle(&mut event_loop);
        end(peer);
        until_over(&mut event_loop, 0);
    }
}

#[test]
fn a_close_by_reset_delivers_all_before_it() {
    let (mut event_loop, stage, waker, mut peer) = stage();
    let _ = stage.stream.borrow_mut().output.push_slice(&[7; RING]).unwrap();
    stage.stream.borrow_mut().reset(Instant::now() + PATIENCE);
    waker.wake();
    settle(&mut event_loop);
    assert_eq!(event_loop.sessions(), 0);
    drop(stage); // and the connection with it
    peer.read_exact(&mut [0; RING]).unwrap();
    assert_eq!(peer.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
}
