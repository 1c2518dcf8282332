//! Sessions that wake each other, and that ask for another step.

use std::cell::{Cell, RefCell};
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::Duration;

use crate::common::{Probe, event_loop, probe};
use eventloop::testing::{assert_quiet, session, settle, until};
use eventloop::{Handle, Progress, Ready, Session};

#[test]
fn sessions_start_and_wake_each_other_within_a_turn() {
    /// What the child holds.
    struct Held(Handle, Rc<Cell<u32>>);
    impl Drop for Held {
        fn drop(&mut self) {
            self.0.wake_all(); // an end may tell others
            self.1.set(self.1.get() + 100);
        }
    }
    let mut event_loop = event_loop();
    let count = Rc::new(Cell::new(0));
    let (steps, mut stepped_before) = (count.clone(), false);
    let parent = event_loop.spawn(stepped(move |ready| {
        steps.set(steps.get() + 1);
        if !std::mem::replace(&mut stepped_before, true) {
            return Progress::Continue;
        }
        let last = steps.clone();
        ready.spawn(stepped(move |_| {
            last.set(last.get() + 1000);
            Progress::Done
        }));
        Progress::Done
    }));
    let held = Held(event_loop.handle(), count.clone());
    event_loop.spawn(stepped(move |_| {
        let _held = &held;
        parent.wake();
        Progress::Done
    }));
    event_loop.turn(Some(Duration::ZERO)).unwrap();
    assert_eq!(count.get(), 102, "the parent was stepped, the child ended and woke it in the same turn");
    assert_eq!(event_loop.sessions(), 1, "the one that it left behind");
    event_loop.run().unwrap(); // returns when that has ended, too
    assert_eq!(count.get(), 1102);
}

#[test]
fn a_session_that_keeps_waking_itself_does_not_keep_the_turn() {
    let mut event_loop = event_loop();
    let count = Rc::new(Cell::new(0));
    let steps = count.clone();
    event_loop.spawn(stepped(move |ready| {
        steps.set(steps.get() + 1);
        ready.waker().wake();
        Progress::Continue
    }));
    assert_eq!(event_loop.turn(None).unwrap(), 2);
    assert_eq!(event_loop.turn(None).unwrap(), 2, "and the next turn does not sleep");
    assert_eq!(count.get(), 4);
}

#[test]
fn a_handle_wakes_one_session_and_tells_that_it_is_over() {
    let mut event_loop = event_loop();
    let (script, steps) = (Rc::<RefCell<Vec<Progress>>>::default(), Rc::<Cell<usize>>::default());
    let others = Rc::<Cell<usize>>::default();
    let session = event_loop.spawn(scripted(&script, &steps)).session();
    event_loop.spawn(scripted(&script, &others));
    settle(&mut event_loop);
    let handle = event_loop.handle();
    assert!(!handle.is_over(session));
    script.borrow_mut().push(Progress::Done);
    handle.wake(session);
    assert_eq!((event_loop.turn(None).unwrap(), steps.get(), others.get()), (1, 2, 1));
    assert!(handle.is_over(session));
    handle.wake(session);
    assert_quiet(&mut event_loop);
    drop(event_loop);
    assert!(handle.is_over(session));
}

/// A session that declares nothing.
fn stepped(mut step: impl FnMut(&Ready<'_>) -> Progress) -> impl Session {
    session((), |(), _| {}, move |(), ready| Ok(step(ready)))
}

/// Says what the test tells it to say, once for each step, and counts the steps.
fn scripted(script: &Rc<RefCell<Vec<Progress>>>, steps: &Rc<Cell<usize>>) -> impl Session + use<> {
    let (script, steps) = (script.clone(), steps.clone());
    stepped(move |_| {
        steps.set(steps.get() + 1);
        script.borrow_mut().pop().unwrap_or(Progress::Continue)
    })
}

#[test]
fn a_session_that_asks_again_is_stepped_in_the_next_turn_and_not_twice_in_this_one() {
    let (progress, steps) = (Rc::new(RefCell::new(vec![Progress::Again; 3])), Rc::new(Cell::new(0)));
    let mut event_loop = event_loop();
    let waker = event_loop.spawn(scripted(&progress, &steps));
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
    let (progress, steps) = (Rc::new(RefCell::new(vec![Progress::Again])), Rc::new(Cell::new(0)));
    let mut event_loop = event_loop();
    let waker = event_loop.spawn(scripted(&progress, &steps));
    event_loop.spawn(stepped(move |_| {
        waker.wake();
        Progress::Done
    }));
    assert_eq!(event_loop.turn(None).unwrap(), 3);
    assert_eq!(steps.get(), 2, "it asked again, was woken in the same turn, and had nothing more to do");
    assert_quiet(&mut event_loop);
}

#[test]
fn a_session_that_always_asks_again_keeps_no_other_from_the_kernel() {
    let (mut event_loop, probe, _, mut far) = probe(Probe { read: true, take: 1, ..Probe::default() });
    event_loop.spawn(stepped(|_| Progress::Again));
    event_loop.turn(None).unwrap();
    far.write_all(b"abc").unwrap();
    until(&mut event_loop, || probe.borrow().got == b"a");
    assert_eq!(event_loop.turn(None).unwrap(), 2, "one step for each of the two");
    assert_eq!(event_loop.turn(None).unwrap(), 2);
    assert_eq!(probe.borrow().got, b"abc");
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
fn a_session_that_asks_again_is_stepped_although_another_one_panics_in_its_turn() {
    let (progress, steps) = (Rc::new(RefCell::new(vec![Progress::Again])), Rc::new(Cell::new(0)));
    let mut event_loop = event_loop();
    event_loop.spawn(scripted(&progress, &steps));
    event_loop.spawn(stepped(|_| panic!("a bug in its step")));
    let turned = catch_unwind(AssertUnwindSafe(|| event_loop.turn(None)));
    assert!(turned.is_err() && steps.get() == 1);
    event_loop.turn(Some(Duration::ZERO)).unwrap();
    assert_eq!(steps.get(), 2);
}
