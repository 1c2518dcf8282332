//! What the loop promises to sessions: what was declared is what is watched, and nothing else.

use std::cell::{Cell, RefCell};
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::rc::Rc;
use std::time::Duration;

use crate::common::{Probe, Shared, event_loop, probe};
use eventloop::testing::{PAUSE, assert_quiet, pair, reset, settle, until};
use eventloop::{Handle, Intents, Progress, Ready, Result, Session, Source, Stream, Waker};

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
    assert_eq!(old_far.read(&mut [0]).unwrap(), 0, "the source that was dropped is closed after the step");
    far.write_all(b"new").unwrap();
    until(&mut event_loop, || probe.borrow().got == b"new");
}

#[test]
fn two_ready_sources_make_one_step() {
    struct Two(Stream, Stream, Rc<RefCell<Vec<(bool, bool)>>>);
    impl Session for Two {
        fn intents(&self, intents: &mut Intents<'_>) {
            intents.read(&self.0);
            intents.read(&self.1);
        }
        fn advance(&mut self, ready: &Ready<'_>) -> Result<Progress> {
            self.2.borrow_mut().push((ready.is_readable(&self.0), ready.is_readable(&self.1)));
            Ok(Progress::Continue)
        }
    }
    let ((a, mut far_a), (b, mut far_b)) = (pair().unwrap(), pair().unwrap());
    let log = Rc::new(RefCell::new(Vec::new()));
    let mut event_loop = event_loop();
    event_loop.spawn(Two(Stream::new(a).unwrap(), Stream::new(b).unwrap(), log.clone()));
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
    probe.borrow().stream.as_ref().unwrap().reset_on_close().unwrap();
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
fn sessions_start_and_wake_each_other_within_a_turn() {
    struct Parent(Rc<Cell<u32>>, bool);
    struct Child(Waker, Handle, Rc<Cell<u32>>);
    struct Last(Rc<Cell<u32>>);
    impl Session for Last {
        fn intents(&self, _: &mut Intents<'_>) {}
        fn advance(&mut self, _: &Ready<'_>) -> Result<Progress> {
            self.0.set(self.0.get() + 1000);
            Ok(Progress::Done)
        }
    }
    impl Session for Parent {
        fn intents(&self, _: &mut Intents<'_>) {}
        fn advance(&mut self, ready: &Ready<'_>) -> Result<Progress> {
            self.0.set(self.0.get() + 1);
            if std::mem::replace(&mut self.1, true) {
                ready.spawn(Last(self.0.clone()));
                return Ok(Progress::Done);
            }
            Ok(Progress::Continue)
        }
    }
    impl Session for Child {
        fn intents(&self, _: &mut Intents<'_>) {}
        fn advance(&mut self, _: &Ready<'_>) -> Result<Progress> {
            self.0.wake();
            Ok(Progress::Done)
        }
    }
    impl Drop for Child {
        fn drop(&mut self) {
            self.1.wake_all(); // an end may tell others
            self.2.set(self.2.get() + 100);
        }
    }
    let mut event_loop = event_loop();
    let count = Rc::new(Cell::new(0));
    let parent = event_loop.spawn(Parent(count.clone(), false));
    event_loop.spawn(Child(parent, event_loop.handle(), count.clone()));
    event_loop.turn(Some(Duration::ZERO)).unwrap();
    assert_eq!(count.get(), 102, "the parent was stepped, the child ended and woke it in the same turn");
    assert_eq!(event_loop.sessions(), 1, "the one that it left behind");
    event_loop.run().unwrap(); // returns when that has ended, too
    assert_eq!(count.get(), 1102);
}

#[test]
fn a_session_that_keeps_waking_itself_does_not_keep_the_turn() {
    struct Restless(Rc<Cell<u32>>);
    impl Session for Restless {
        fn intents(&self, _: &mut Intents<'_>) {}
        fn advance(&mut self, ready: &Ready<'_>) -> Result<Progress> {
            self.0.set(self.0.get() + 1);
            ready.waker().wake();
            Ok(Progress::Continue)
        }
    }
    let mut event_loop = event_loop();
    let count = Rc::new(Cell::new(0));
    event_loop.spawn(Restless(count.clone()));
    assert_eq!(event_loop.turn(None).unwrap(), 2);
    assert_eq!(event_loop.turn(None).unwrap(), 2, "and the next turn does not sleep");
    assert_eq!(count.get(), 4);
}

/// Says what the test tells it to say, once for each step.
struct Scripted(Rc<RefCell<Vec<Progress>>>, Rc<Cell<usize>>);

impl Session for Scripted {
    fn intents(&self, _: &mut Intents<'_>) {}
    fn advance(&mut self, _: &Ready<'_>) -> Result<Progress> {
        self.1.set(self.1.get() + 1);
        Ok(self.0.borrow_mut().pop().unwrap_or(Progress::Continue))
    }
}

#[test]
fn a_session_that_asks_again_is_stepped_in_the_next_turn_and_not_twice_in_this_one() {
    let (progress, steps) = (Rc::new(RefCell::new(vec![Progress::Again; 3])), Rc::new(Cell::new(0)));
    let mut event_loop = event_loop();
    let waker = event_loop.spawn(Scripted(progress.clone(), steps.clone()));
    for step in 1..=4 {
        assert_eq!(event_loop.turn(None).unwrap(), 1, "neither does the turn sleep");
        assert_eq!(steps.get(), step);
    }
    assert_quiet(&mut event_loop);
    progress.borrow_mut().push(Progress::Again);
    waker.wake();
    assert_eq!(event_loop.turn(None).unwrap(), 1);
    waker.wake(); // for two reasons at once there is one step
    assert_eq!(event_loop.turn(None).unwrap(), 1);
    assert_quiet(&mut event_loop);
    progress.borrow_mut().extend([Progress::Done, Progress::Again]);
    waker.wake();
    event_loop.run().unwrap(); // returns when it has said that it is done
}

#[test]
fn a_session_that_has_changed_its_mind_within_a_turn_is_not_stepped_again() {
    struct Waking(Waker);
    impl Session for Waking {
        fn intents(&self, _: &mut Intents<'_>) {}
        fn advance(&mut self, _: &Ready<'_>) -> Result<Progress> {
            self.0.wake();
            Ok(Progress::Done)
        }
    }
    let (progress, steps) = (Rc::new(RefCell::new(vec![Progress::Again])), Rc::new(Cell::new(0)));
    let mut event_loop = event_loop();
    let waker = event_loop.spawn(Scripted(progress, steps.clone()));
    event_loop.spawn(Waking(waker));
    assert_eq!(event_loop.turn(None).unwrap(), 3);
    assert_eq!(steps.get(), 2, "it asked again, was woken in the same turn, and had nothing more to do");
    assert_quiet(&mut event_loop);
}

#[test]
fn a_session_that_always_asks_again_keeps_no_other_from_the_kernel() {
    struct Restless;
    impl Session for Restless {
        fn intents(&self, _: &mut Intents<'_>) {}
        fn advance(&mut self, _: &Ready<'_>) -> Result<Progress> {
            Ok(Progress::Again)
        }
    }
    let (mut event_loop, probe, _, mut far) = probe(Probe { read: true, take: 1, ..Probe::default() });
    event_loop.spawn(Restless);
    event_loop.turn(None).unwrap();
    far.write_all(b"abc").unwrap();
    until(&mut event_loop, || probe.borrow().got == b"a");
    assert_eq!(event_loop.turn(None).unwrap(), 2, "one step for each of the two");
    assert_eq!(event_loop.turn(None).unwrap(), 2);
    assert_eq!(probe.borrow().got, b"abc");
}

#[test]
fn a_source_the_kernel_will_not_watch_ends_its_session_alone() {
    struct Unwatchable(Source<File>, Rc<RefCell<Option<std::io::Error>>>);
    impl Session for Unwatchable {
        fn intents(&self, intents: &mut Intents<'_>) {
            intents.read(&self.0);
        }
        fn advance(&mut self, _: &Ready<'_>) -> Result<Progress> {
            Ok(Progress::Continue)
        }
        fn refused(&mut self, error: std::io::Error) -> Result<()> {
            *self.1.borrow_mut() = Some(error);
            Ok(())
        }
    }
    let (mut event_loop, probe, _, mut far) = probe(Probe { read: true, take: 10, ..Probe::default() });
    let refusal = Rc::new(RefCell::new(None));
    let file = File::open(env!("CARGO_MANIFEST_PATH")).unwrap(); // epoll(7) takes no regular files
    event_loop.spawn(Unwatchable(Source::new(file).unwrap(), refusal.clone()));
    event_loop.turn(Some(Duration::ZERO)).unwrap();
    assert_eq!(refusal.borrow().as_ref().unwrap().kind(), ErrorKind::PermissionDenied);
    assert_eq!(event_loop.sessions(), 1);
    far.write_all(b"still here").unwrap();
    until(&mut event_loop, || probe.borrow().got == b"still here");
}

#[test]
fn a_source_that_another_session_has_is_refused_and_stays_with_that() {
    struct Second(Rc<RefCell<Probe>>, Rc<Cell<Option<ErrorKind>>>);
    impl Session for Second {
        fn intents(&self, intents: &mut Intents<'_>) {
            intents.write(self.0.borrow().stream.as_ref().unwrap());
        }
        fn advance(&mut self, _: &Ready<'_>) -> Result<Progress> {
            Ok(Progress::Continue)
        }
        fn refused(&mut self, error: std::io::Error) -> Result<()> {
            self.1.set(Some(error.kind()));
            Ok(())
        }
    }
    let (mut event_loop, probe, _, mut far) = probe(Probe { read: true, take: 10, ..Probe::default() });
    let refusal = Rc::new(Cell::new(None));
    event_loop.spawn(Second(probe.clone(), refusal.clone()));
    event_loop.turn(Some(Duration::ZERO)).unwrap();
    assert_eq!(refusal.get(), Some(ErrorKind::AlreadyExists));
    far.write_all(b"still mine").unwrap();
    until(&mut event_loop, || probe.borrow().got == b"still mine");
}

#[test]
fn a_loop_that_is_dropped_closes_its_sessions_and_what_outlives_it_does_nothing() {
    struct Holder(#[allow(dead_code)] Handle, Stream);
    impl Session for Holder {
        fn intents(&self, intents: &mut Intents<'_>) {
            intents.read(&self.1);
        }
        fn advance(&mut self, _: &Ready<'_>) -> Result<Progress> {
            Ok(Progress::Continue)
        }
    }
    let (near, mut far) = pair().unwrap();
    let mut event_loop = event_loop();
    let handle = event_loop.handle();
    let waker = event_loop.spawn(Holder(event_loop.handle(), Stream::new(near).unwrap()));
    event_loop.turn(Some(Duration::ZERO)).unwrap();
    drop(event_loop);
    assert_eq!(far.read(&mut [0]).unwrap(), 0);
    handle.wake_all();
    waker.wake();
}

#[test]
fn a_descriptor_that_was_duplicated_does_not_keep_the_loop_awake_once_its_source_is_dropped() {
    let (mut event_loop, probe, waker, mut far) = probe(Probe { read: true, ..Probe::default() });
    let (near, mut far_beside) = pair().unwrap();
    let stream = Some(Stream::new(near).unwrap());
    let beside = Rc::new(RefCell::new(Probe { stream, read: true, take: 10, ..Probe::default() }));
    event_loop.spawn(Shared(beside.clone()));
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
    let second_waker = event_loop.spawn(Shared(second.clone()));
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
fn another_thread_wakes_a_session_and_what_outlives_the_loop_does_nothing() {
    let (mut event_loop, probe, waker, _far) = probe(Probe::default());
    let remote = waker.remote();
    let steps = probe.borrow().steps;
    std::thread::scope(|scope| {
        scope.spawn(|| remote.wake());
        until(&mut event_loop, || probe.borrow().steps > steps);
    });
    assert_quiet(&mut event_loop);
    assert_eq!(probe.borrow().steps, steps + 1);
    probe.borrow_mut().done = true;
    waker.wake();
    event_loop.turn(Some(Duration::ZERO)).unwrap();
    remote.wake(); // the session is over
    settle(&mut event_loop);
    drop(event_loop);
    remote.wake();
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

#[test]
fn an_error_ends_its_session_alone_and_is_reported_with_its_name() {
    struct Failing(Stream);
    impl Session for Failing {
        fn intents(&self, intents: &mut Intents<'_>) {
            intents.read(&self.0);
        }
        fn advance(&mut self, ready: &Ready<'_>) -> Result<Progress> {
            if ready.is_readable(&self.0) {
                self.0.receive(&mut [0; 10])?;
            }
            Ok(Progress::Continue)
        }
    }
    let (mut event_loop, probe, _, mut far) = probe(Probe { read: true, take: 10, ..Probe::default() });
    let reports = Rc::new(RefCell::new(Vec::new()));
    event_loop.on_error({
        let reports = reports.clone();
        move |session, error| reports.borrow_mut().push(format!("{session}: {error}"))
    });
    let (near, its_far) = pair().unwrap();
    event_loop.spawn(Failing(Stream::new(near).unwrap()));
    event_loop.turn(Some(Duration::ZERO)).unwrap();
    reset(its_far).unwrap();
    until(&mut event_loop, || !reports.borrow().is_empty());
    let reports = reports.borrow();
    assert!(reports[0].contains("Failing: Connection reset by peer"), "{reports:?}");
    assert_eq!((reports.len(), event_loop.sessions()), (1, 1));
    far.write_all(b"still here").unwrap();
    until(&mut event_loop, || probe.borrow().got == b"still here");
}

#[test]
fn a_session_that_panics_is_removed_and_closed_and_the_others_go_on() {
    struct Panicking(Stream, bool);
    impl Session for Panicking {
        fn intents(&self, intents: &mut Intents<'_>) {
            assert!(!self.1, "a bug in its intents");
            intents.read(&self.0);
        }
        fn advance(&mut self, ready: &Ready<'_>) -> Result<Progress> {
            assert!(self.1 || !ready.is_readable(&self.0), "a bug in its step");
            Ok(Progress::Continue)
        }
    }
    let (mut event_loop, probe, _, mut far) = probe(Probe { read: true, take: 10, ..Probe::default() });
    for in_intents in [false, true] {
        let (near, mut its_far) = pair().unwrap();
        event_loop.spawn(Panicking(Stream::new(near).unwrap(), in_intents));
        its_far.write_all(b"x").unwrap();
        let turned = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| settle(&mut event_loop)));
        assert!(turned.is_err(), "the caller of the loop decides what a panic means");
        assert_eq!(event_loop.sessions(), 1);
        assert!(!matches!(its_far.read(&mut [0]), Ok(1..)), "its connection is closed");
        assert_quiet(&mut event_loop);
    }
    far.write_all(b"still here").unwrap();
    until(&mut event_loop, || probe.borrow().got == b"still here");
}

#[test]
fn a_panic_that_its_session_keeps_to_itself_ends_that_session_alone() {
    struct Panicking(Stream, bool, Rc<RefCell<Vec<String>>>);
    impl Session for Panicking {
        fn intents(&self, intents: &mut Intents<'_>) {
            assert!(!self.1, "a bug in its intents");
            intents.read(&self.0);
        }
        fn advance(&mut self, ready: &Ready<'_>) -> Result<Progress> {
            assert!(self.1 || !ready.is_readable(&self.0), "a bug in its step");
            Ok(Progress::Continue)
        }
        fn panicked(&mut self, panic: Box<dyn std::any::Any + Send>) -> Result<()> {
            let said = panic.downcast_ref::<&str>().unwrap().to_string();
            self.2.borrow_mut().push(said);
            if self.1 { Err("a report".into()) } else { Ok(()) }
        }
    }
    let (mut event_loop, probe, _, mut far) = probe(Probe { read: true, take: 10, ..Probe::default() });
    let said = Rc::<RefCell<Vec<String>>>::default();
    event_loop.on_error({
        let said = said.clone();
        move |_, error| said.borrow_mut().push(error.to_string())
    });
    for in_intents in [false, true] {
        let (near, mut its_far) = pair().unwrap();
        event_loop.spawn(Panicking(Stream::new(near).unwrap(), in_intents, said.clone()));
        its_far.write_all(b"x").unwrap();
        until(&mut event_loop, || !said.borrow().is_empty());
        let expected =
            if in_intents { &["a bug in its intents", "a report"][..] } else { &["a bug in its step"] };
        assert_eq!(said.take(), expected);
        assert_eq!(event_loop.sessions(), 1);
        assert!(!matches!(its_far.read(&mut [0]), Ok(1..)), "its connection is closed");
        assert_quiet(&mut event_loop);
    }
    far.write_all(b"still here").unwrap();
    until(&mut event_loop, || probe.borrow().got == b"still here");
}
