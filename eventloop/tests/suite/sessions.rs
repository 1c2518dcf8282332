//! What the loop promises to sessions: what was declared is what is watched, and nothing else.

use std::cell::RefCell;
use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::rc::Rc;
use std::time::Duration;

use crate::common::{Probe, ProbeSession, event_loop, probe};
use eventloop::testing::{PAUSE, assert_quiet, pair, reset, session, settle, until};
use eventloop::{Progress, Stream};

#[test]
fn nothing_is_registered_again_that_has_not_changed() {
    let (mut event_loop, probe, _, mut far) = probe(Probe { read: true, take: 1, ..Probe::default() });
    let before = event_loop.registrations();
    far.write_all(b"twenty bytes of text").unwrap();
    until(&mut event_loop, || probe.borrow().got.len() == 20);
    assert_eq!(event_loop.registrations(), before);
}

#[test]
fn what_a_bounded_step_leaves_is_reported_again() {
    let (mut event_loop, probe, _, mut far) = probe(Probe { read: true, take: 1, ..Probe::default() });
    far.write_all(b"abc").unwrap();
    until(&mut event_loop, || probe.borrow().got == b"abc");
    assert_eq!(probe.borrow().readable, 3);
}

#[test]
fn a_source_never_blocks_whatever_it_was_made_of() {
    let (near, _far) = pair().unwrap();
    let stream = Stream::new(near).unwrap();
    assert_eq!((&stream).read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
}

#[test]
fn a_source_can_be_exchanged_for_another() {
    let (mut event_loop, probe, id, mut old_far) = probe(Probe { read: true, take: 10, ..Probe::default() });
    let (near, mut far) = pair().unwrap();
    probe.borrow_mut().stream = Some(Stream::new(near).unwrap());
    id.wake();
    event_loop.turn(Some(Duration::ZERO)).unwrap();
    let end = old_far.read(&mut [0]).unwrap_err();
    assert_eq!(
        end.kind(),
        ErrorKind::ConnectionReset,
        "the source that was dropped is closed after the step"
    );
    far.write_all(b"new").unwrap();
    until(&mut event_loop, || probe.borrow().got == b"new");
}

#[test]
fn two_ready_sources_make_one_step() {
    let ((a, mut far_a), (b, mut far_b)) = (pair().unwrap(), pair().unwrap());
    let log = Rc::new(RefCell::new(Vec::new()));
    let noted = log.clone();
    let mut event_loop = event_loop();
    event_loop.spawn(session(
        [Stream::new(a).unwrap(), Stream::new(b).unwrap()],
        |two, intents| two.iter().for_each(|stream| intents.read(stream)),
        move |[a, b], ready| {
            noted.borrow_mut().push((ready.is_readable(a), ready.is_readable(b)));
            Ok(Progress::Continue)
        },
    ));
    event_loop.turn(Some(Duration::ZERO)).unwrap();
    far_a.write_all(b"a").unwrap();
    far_b.write_all(b"b").unwrap();
    event_loop.turn(Some(PAUSE)).unwrap();
    assert_eq!(*log.borrow(), [(false, false), (true, true)]);
}

#[test]
fn readiness_does_not_outlive_its_turn() {
    let (mut event_loop, probe, id, mut far) = probe(Probe { read: true, ..Probe::default() });
    far.write_all(b"x").unwrap();
    until(&mut event_loop, || probe.borrow().readable == 1);
    probe.borrow_mut().read = false;
    id.wake();
    event_loop.turn(Some(Duration::ZERO)).unwrap();
    let seen = probe.borrow().readable;
    id.wake();
    event_loop.turn(Some(Duration::ZERO)).unwrap();
    assert_eq!(probe.borrow().readable, seen);
}

#[test]
fn bytes_before_a_reset_can_be_read_after_it() {
    let (mut event_loop, probe, id, mut far) = probe(Probe::default());
    far.write_all(b"last words").unwrap();
    reset(far).unwrap();
    until(&mut event_loop, || probe.borrow().hung_up == 1);
    (probe.borrow_mut().read, probe.borrow_mut().take) = (true, 100);
    id.wake();
    until(&mut event_loop, || probe.borrow().got == b"last words");
}

#[test]
fn writable_under_watch_means_that_the_kernel_has_sent_everything() {
    let (mut event_loop, probe, id, mut far) = probe(Probe::default());
    let mut sent = 0;
    {
        let probe = probe.borrow();
        let mut stream = probe.stream.as_ref().unwrap();
        while let Ok(n) = stream.write(&[7; 65536]) {
            sent += n;
        }
        stream.watch_send_queue().unwrap();
    }
    probe.borrow_mut().write = true;
    id.wake();
    event_loop.turn(Some(Duration::ZERO)).unwrap();
    let mut received = 0;
    let mut bytes = vec![0; 4 << 20];
    until(&mut event_loop, || {
        if probe.borrow().writable == 0 {
            received += far.read(&mut bytes).unwrap();
        }
        probe.borrow().writable > 0
    });
    // Nothing is left to send, so a reset now takes nothing away.
    probe.borrow_mut().stream = None;
    id.wake();
    event_loop.turn(Some(Duration::ZERO)).unwrap();
    let end = loop {
        match far.read(&mut bytes) {
            Ok(n) => received += n,
            Err(error) => break error,
        }
        assert!(received <= sent);
    };
    assert_eq!((received, end.kind()), (sent, ErrorKind::ConnectionReset));
}

#[test]
fn a_loop_that_is_dropped_closes_its_sessions_and_what_outlives_it_does_nothing() {
    let (near, mut far) = pair().unwrap();
    let mut event_loop = event_loop();
    let handle = event_loop.handle();
    let waker = event_loop.spawn(session(
        (event_loop.handle(), Stream::new(near).unwrap()),
        |(_, stream), intents| intents.read(stream),
        |_, _| Ok(Progress::Continue),
    ));
    event_loop.turn(Some(Duration::ZERO)).unwrap();
    drop(event_loop);
    assert_eq!(far.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    handle.wake_all();
    waker.wake();
}

#[test]
fn a_descriptor_that_was_duplicated_does_not_keep_the_loop_awake_once_its_source_is_dropped() {
    let (mut event_loop, probe, waker, mut far) = probe(Probe { read: true, ..Probe::default() });
    let (near, mut far_beside) = pair().unwrap();
    let stream = Some(Stream::new(near).unwrap());
    let beside = Rc::new(RefCell::new(Probe { stream, read: true, take: 10, ..Probe::default() }));
    event_loop.spawn(ProbeSession(beside.clone()));
    event_loop.turn(Some(Duration::ZERO)).unwrap();
    let duplicate = probe.borrow().stream.as_ref().unwrap().try_clone().unwrap();
    probe.borrow_mut().stream = None; // closed here, and still open as the duplicate
    waker.wake();
    event_loop.turn(Some(Duration::ZERO)).unwrap();
    far.write_all(b"for the duplicate").unwrap();
    settle(&mut event_loop);
    assert_quiet(&mut event_loop);
    drop(duplicate);
    // Sources that stayed are still watched.
    far_beside.write_all(b"beside").unwrap();
    until(&mut event_loop, || beside.borrow().got == b"beside");
}

#[test]
fn a_stream_that_a_session_hands_on_is_watched_for_the_next_one_alone() {
    let (mut event_loop, first, waker, mut far) = probe(Probe { read: true, take: 10, ..Probe::default() });
    let second = Rc::new(RefCell::new(Probe { read: true, take: 10, ..Probe::default() }));
    let second_waker = event_loop.spawn(ProbeSession(second.clone()));
    event_loop.turn(Some(Duration::ZERO)).unwrap();
    for round in 0..2 {
        let (from, to) = if round == 0 { (&first, &second) } else { (&second, &first) };
        let stream = from.borrow_mut().stream.take();
        waker.wake();
        second_waker.wake();
        event_loop.turn(Some(Duration::ZERO)).unwrap();
        far.write_all(b"pooled").unwrap();
        assert_quiet(&mut event_loop); // no session has it now
        to.borrow_mut().stream = stream;
        waker.wake();
        second_waker.wake();
        until(&mut event_loop, || to.borrow().got == b"pooled");
        assert!(from.borrow().got.len() == 6 * round);
    }
    // Also if the session that had it is over.
    let stream = first.borrow_mut().stream.take();
    first.borrow_mut().done = true;
    waker.wake();
    second.borrow_mut().stream = stream;
    second_waker.wake();
    event_loop.turn(Some(Duration::ZERO)).unwrap();
    far.write_all(b"again").unwrap();
    until(&mut event_loop, || second.borrow().got == b"pooledagain");
    assert_eq!(event_loop.sessions(), 1);
}

#[test]
fn the_end_of_the_peer_is_known_with_its_last_bytes_where_the_poller_can_tell() {
    let can_tell =
        cfg!(all(target_os = "linux", not(portable))) && crate::POLLER == eventloop::PollerKind::Auto;
    let (mut event_loop, probe, _, mut far) = probe(Probe { read: true, take: 100, ..Probe::default() });
    far.write_all(b"not the last").unwrap();
    until(&mut event_loop, || !probe.borrow().got.is_empty());
    assert!(!probe.borrow().finished);
    far.write_all(b", but these").unwrap();
    far.shutdown(Shutdown::Write).unwrap();
    until(&mut event_loop, || probe.borrow().got.len() > 12);
    assert_eq!((probe.borrow().got.len(), probe.borrow().finished), (23, can_tell));
}

#[test]
fn the_end_of_the_peer_is_not_known_behind_urgent_data_or_a_reset() {
    type End = fn(std::net::TcpStream);
    let urgent: End = |mut far| {
        rustix::net::send(&far, b"!", rustix::net::SendFlags::OOB).unwrap();
        far.write_all(b"more").unwrap();
        far.shutdown(Shutdown::Write).unwrap();
    };
    let with_reset: End = |far| {
        far.shutdown(Shutdown::Write).unwrap();
        reset(far).unwrap();
    };
    for end in [urgent, with_reset] {
        let (mut event_loop, probe, waker, mut far) = probe(Probe::default());
        let stream = probe.borrow().stream.as_ref().unwrap().try_clone().unwrap();
        rustix::net::sockopt::set_socket_oobinline(&stream, true).unwrap();
        drop(stream);
        far.write_all(b"before").unwrap();
        end(far);
        (probe.borrow_mut().read, probe.borrow_mut().take) = (true, 6);
        waker.wake();
        until(&mut event_loop, || probe.borrow().got == b"before");
        assert!(!probe.borrow().finished);
    }
}
