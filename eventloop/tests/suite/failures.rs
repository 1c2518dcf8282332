//! A failure ends one session: a source that cannot be watched, an error, a panic.

use std::cell::RefCell;
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::Duration;

use crate::common::{Probe, event_loop, probe, reports};
use eventloop::testing::{assert_quiet, pair, reset, session, settle, until, until_over};
use eventloop::{Intents, Progress, Ready, Result, Session, Source, Stream};

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
    event_loop.spawn(Unwatchable(Source::wrap(file).unwrap(), refusal.clone()));
    event_loop.turn(Some(Duration::ZERO)).unwrap();
    assert_eq!(refusal.borrow().as_ref().unwrap().kind(), ErrorKind::PermissionDenied);
    assert_eq!(event_loop.sessions(), 1);
    far.write_all(b"still here").unwrap();
    until(&mut event_loop, || probe.borrow().got == b"still here");
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
    let reports = reports(&mut event_loop);
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

/// Panics in its intents, or else in its step once the stream is readable.
struct Panicking {
    stream: Stream,
    in_intents: bool,
    /// Where it notes the panic, if it keeps it to itself.
    notes: Option<Rc<RefCell<Vec<String>>>>,
}

impl Session for Panicking {
    fn intents(&self, intents: &mut Intents<'_>) {
        assert!(!self.in_intents, "a bug in its intents");
        intents.read(&self.stream);
    }

    fn advance(&mut self, ready: &Ready<'_>) -> Result<Progress> {
        assert!(self.in_intents || !ready.is_readable(&self.stream), "a bug in its step");
        Ok(Progress::Continue)
    }

    fn panicked(&mut self, panic: Box<dyn std::any::Any + Send>) -> Result<()> {
        let Some(notes) = &self.notes else { std::panic::resume_unwind(panic) };
        notes.borrow_mut().push(panic.downcast_ref::<&str>().unwrap().to_string());
        if self.in_intents { Err("a report".into()) } else { Ok(()) }
    }
}

#[test]
fn a_session_that_panics_is_removed_and_closed_and_the_others_go_on() {
    let (mut event_loop, probe, _, mut far) = probe(Probe { read: true, take: 10, ..Probe::default() });
    for in_intents in [false, true] {
        let (near, mut its_far) = pair().unwrap();
        event_loop.spawn(Panicking { stream: Stream::new(near).unwrap(), in_intents, notes: None });
        its_far.write_all(b"x").unwrap();
        let turned = catch_unwind(AssertUnwindSafe(|| settle(&mut event_loop)));
        assert!(turned.is_err(), "the caller of the loop decides what a panic means");
        assert_eq!(event_loop.sessions(), 1);
        assert!(!matches!(its_far.read(&mut [0]), Ok(1..)), "its connection is closed");
        assert_quiet(&mut event_loop);
    }
    far.write_all(b"still here").unwrap();
    until(&mut event_loop, || probe.borrow().got == b"still here");
}

#[test]
fn a_session_that_panics_when_it_is_dropped_is_closed_all_the_same() {
    struct Bomb(Rc<Stream>);
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("a bug in its end");
        }
    }
    let (near, mut far) = pair().unwrap();
    let mut event_loop = event_loop();
    event_loop.spawn(session(
        Bomb(Rc::new(Stream::new(near).unwrap())),
        |bomb, intents| intents.read(&bomb.0),
        |bomb, ready| Ok(if ready.is_readable(&bomb.0) { Progress::Done } else { Progress::Continue }),
    ));
    event_loop.turn(Some(Duration::ZERO)).unwrap();
    far.write_all(b"x").unwrap();
    catch_unwind(AssertUnwindSafe(|| until_over(&mut event_loop, 0))).unwrap_err();
    assert_eq!(event_loop.sessions(), 0);
    assert_eq!(far.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    assert_quiet(&mut event_loop);
}

#[test]
fn a_session_is_removed_although_the_program_panics_about_its_error() {
    let (near, mut far) = pair().unwrap();
    let mut event_loop = event_loop();
    event_loop.on_error(|session, error| panic!("{session}: {error}"));
    event_loop.spawn(session(
        Stream::new(near).unwrap(),
        |stream, intents| intents.read(stream),
        |stream, ready| {
            if ready.is_readable(stream) { Err("an error".into()) } else { Ok(Progress::Continue) }
        },
    ));
    event_loop.turn(Some(Duration::ZERO)).unwrap();
    far.write_all(b"x").unwrap();
    catch_unwind(AssertUnwindSafe(|| until_over(&mut event_loop, 0))).unwrap_err();
    assert_eq!(event_loop.sessions(), 0);
    assert_eq!(far.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
}

#[test]
fn a_panic_that_its_session_keeps_to_itself_ends_that_session_alone() {
    let (mut event_loop, probe, _, mut far) = probe(Probe { read: true, take: 10, ..Probe::default() });
    let said = Rc::<RefCell<Vec<String>>>::default();
    event_loop.on_error({
        let said = said.clone();
        move |_, error| said.borrow_mut().push(error.to_string())
    });
    for in_intents in [false, true] {
        let (near, mut its_far) = pair().unwrap();
        event_loop.spawn(Panicking {
            stream: Stream::new(near).unwrap(),
            in_intents,
            notes: Some(said.clone()),
        });
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
