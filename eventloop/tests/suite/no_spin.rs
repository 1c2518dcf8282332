//! A loop with nothing to do sleeps: whatever state the connections are in, turns do not add up.

use std::cell::RefCell;
use std::io::Write;
use std::net::{Shutdown, TcpStream};
use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::common::{Probe, probe};
use eventloop::testing::{PATIENCE, PAUSE, assert_quiet, reset, until};
use eventloop::{EventLoop, Waker};

#[test]
fn idle() {
    let (mut event_loop, _, _, _far) = probe(Probe { read: true, ..Probe::default() });
    assert_quiet(&mut event_loop);
}

#[test]
fn nothing_intended_while_bytes_are_pending() {
    let (mut event_loop, probe, _, mut far) = probe(Probe::default());
    far.write_all(b"unread").unwrap();
    assert_quiet(&mut event_loop);
    assert_eq!(probe.borrow().readable, 0);
}

#[test]
fn half_closed_by_the_peer() {
    let (mut event_loop, probe, _, far) = probe(Probe { read: true, take: 10, ..Probe::default() });
    far.shutdown(Shutdown::Write).unwrap();
    until(&mut event_loop, || probe.borrow().ended);
    assert_quiet(&mut event_loop);
}

#[test]
fn half_closed_by_this_side() {
    let (mut event_loop, probe, _, _far) = probe(Probe { read: true, ..Probe::default() });
    probe.borrow().stream.as_ref().unwrap().finish().unwrap();
    assert_quiet(&mut event_loop);
}

#[test]
fn both_sides_closed_with_unread_bytes() {
    let (mut event_loop, probe, id, mut far) = probe(Probe::default());
    far.write_all(b"unread").unwrap();
    far.shutdown(Shutdown::Write).unwrap();
    probe.borrow().stream.as_ref().unwrap().finish().unwrap();
    until(&mut event_loop, || probe.borrow().hung_up > 0);
    assert_quiet(&mut event_loop);
    {
        let mut probe = probe.borrow_mut();
        assert!(probe.stream.as_ref().unwrap().take_error().unwrap().is_none(), "shut down is no failure");
        (probe.read, probe.take) = (true, 100);
    }
    id.wake();
    until(&mut event_loop, || probe.borrow().ended);
    assert_eq!(probe.borrow().got, b"unread");
    event_loop.turn(Some(PAUSE)).unwrap(); // what is declared has changed, so it is reported once more
    assert_quiet(&mut event_loop);
}

#[test]
fn reset_while_paused_is_reported_once() {
    let (mut event_loop, probe, _, mut far) = probe(Probe::default());
    far.write_all(b"before the reset").unwrap();
    reset(far).unwrap();
    until(&mut event_loop, || probe.borrow().hung_up == 1);
    let error = probe.borrow().stream.as_ref().unwrap().take_error().unwrap().unwrap();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    assert_quiet(&mut event_loop);
    assert_quiet(&mut event_loop);
    assert_eq!(probe.borrow().hung_up, 1);
}

#[test]
fn urgent_byte_travels_in_band_and_wakes_no_longer_than_other_bytes() {
    let (mut event_loop, probe, _, mut far) = probe(Probe { read: true, take: 100, ..Probe::default() });
    rustix::net::sockopt::set_socket_oobinline(&**probe.borrow().stream.as_ref().unwrap(), true).unwrap();
    far.write_all(b"ab").unwrap();
    rustix::net::send(&far, b"!", rustix::net::SendFlags::OOB).unwrap();
    far.write_all(b"cd").unwrap();
    until(&mut event_loop, || probe.borrow().got.len() == 5);
    assert_eq!(probe.borrow().got, b"ab!cd");
    assert_quiet(&mut event_loop);
}

#[test]
fn paused_reader_with_an_urgent_byte_waiting() {
    let (mut event_loop, _, _, far) = probe(Probe::default());
    rustix::net::send(&far, b"!", rustix::net::SendFlags::OOB).unwrap();
    assert_quiet(&mut event_loop);
}

#[test]
fn a_deadline_wakes_once() {
    let at = Instant::now() + Duration::from_millis(30);
    let (mut event_loop, probe, _, _far) = probe(Probe { deadline: Some(at), ..Probe::default() });
    until(&mut event_loop, || probe.borrow().deadline.is_none());
    assert!(Instant::now() >= at && Instant::now() < at + PATIENCE);
    assert_eq!(probe.borrow().steps, 2, "the first step, and the one at the deadline");
    assert_quiet(&mut event_loop);
}

/// A probe whose loop has slept towards its deadline, but was woken by a byte.
fn probe_with_a_deadline_in(time: Duration) -> (EventLoop, Rc<RefCell<Probe>>, Waker, TcpStream) {
    let deadline = Some(Instant::now() + time);
    let (mut event_loop, probe, id, mut far) =
        probe(Probe { read: true, take: 1, deadline, ..Probe::default() });
    far.write_all(b"!").unwrap();
    while probe.borrow().got.is_empty() {
        event_loop.turn(None).unwrap();
    }
    (event_loop, probe, id, far)
}

#[test]
fn a_deadline_that_is_withdrawn_wakes_no_session() {
    let (mut event_loop, probe, id, _far) = probe_with_a_deadline_in(PAUSE / 2);
    probe.borrow_mut().deadline = None;
    id.wake();
    event_loop.turn(Some(Duration::ZERO)).unwrap();
    assert_quiet(&mut event_loop);
}

#[test]
fn a_deadline_that_comes_earlier_wakes_at_its_time() {
    let (mut event_loop, probe, id, _far) = probe_with_a_deadline_in(PATIENCE);
    let at = Instant::now() + PAUSE / 2;
    probe.borrow_mut().deadline = Some(at);
    id.wake();
    while probe.borrow().deadline.is_some() {
        event_loop.turn(None).unwrap();
    }
    assert!(Instant::now() >= at && Instant::now() < at + PATIENCE / 2);
    assert_quiet(&mut event_loop);
}

#[test]
fn a_stalled_reader_behind_a_full_send_queue() {
    let (mut event_loop, probe, id, _far) = probe(Probe::default());
    {
        let probe = probe.borrow();
        let mut stream = probe.stream.as_ref().unwrap();
        while stream.write(&[0; 65536]).is_ok() {}
    }
    probe.borrow_mut().write = true;
    id.wake();
    event_loop.turn(Some(Duration::ZERO)).unwrap();
    assert_quiet(&mut event_loop);
    assert_eq!(probe.borrow().writable, 0);
}
