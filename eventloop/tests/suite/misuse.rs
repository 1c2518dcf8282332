//! Mistakes of a session's author: each has an error, a panic that names it in debug builds, or the right effect.

use std::cell::{Cell, RefCell};
use std::io::{ErrorKind, Write};
use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::common::{event_loop, listener, reports};
use eventloop::testing::{
    PATIENCE, assert_quiet, assert_withstands_misbehaving_clients, pair, session, settle, until,
};
use eventloop::{
    Accept, Connect, ConnectOptions, Connector, Intents, Listener, Lookup, Progress, Ready, Resolver, Result,
    Session, SocketOptions, Stream,
};

/// Declares what it never does.
#[derive(Default)]
struct Careless {
    read: Option<Stream>,
    write: Option<Stream>,
    /// Writes although the peer is gone, and ignores the error.
    fails: bool,
    deadline: Option<Instant>,
    again: bool,
    wakes_itself: bool,
}

impl Session for Careless {
    fn intents(&self, intents: &mut Intents<'_>) {
        self.read.iter().for_each(|stream| intents.read(stream));
        self.write.iter().for_each(|stream| intents.write(stream));
        self.deadline.into_iter().for_each(|at| intents.deadline(at));
    }

    fn advance(&mut self, ready: &Ready<'_>) -> Result<Progress> {
        if let (true, Some(stream)) = (self.fails, &self.write) {
            let _ = stream.send(b"to a peer that is gone");
        }
        if self.wakes_itself {
            ready.waker().wake();
        }
        Ok(if self.again { Progress::Again } else { Progress::Continue })
    }
}

/// The panic with which a loop stops a session.
fn stopped(session: Careless) -> String {
    let mut event_loop = event_loop();
    event_loop.spawn(session);
    let begin = Instant::now();
    let panic = catch_unwind(AssertUnwindSafe(|| {
        while begin.elapsed() < PATIENCE {
            event_loop.turn(None).unwrap();
        }
    }));
    assert_eq!(event_loop.sessions(), 0, "the session is removed");
    *panic.expect_err("the loop notices").downcast::<String>().unwrap()
}

#[test]
#[cfg(debug_assertions)]
fn a_session_that_spins_is_named_with_its_type_source_and_intent() {
    let (near, mut far) = pair().unwrap();
    far.write_all(b"unread").unwrap();
    let panic = stopped(Careless { read: Some(Stream::new(near).unwrap()), ..Careless::default() });
    assert!(panic.contains("misuse::Careless spins") && panic.contains("read: true"), "{panic}");

    let (near, _far) = pair().unwrap();
    let panic = stopped(Careless { write: Some(Stream::new(near).unwrap()), ..Careless::default() });
    assert!(panic.contains("write: true"), "{panic}");

    let past = Some(Instant::now());
    let panic = stopped(Careless { deadline: past, ..Careless::default() });
    assert!(panic.contains("a deadline that has passed"), "{panic}");

    for (again, wakes_itself) in [(true, false), (false, true)] {
        let panic = stopped(Careless { again, wakes_itself, ..Careless::default() });
        assert!(panic.contains("returns Progress::Again or wakes itself"), "{panic}");
    }
}

#[test]
#[cfg(debug_assertions)]
fn a_session_that_ignores_a_failed_write_is_named() {
    let (near, far) = pair().unwrap();
    eventloop::testing::reset(far).unwrap();
    let write = Some(Stream::new(near).unwrap());
    let panic = stopped(Careless { write, fails: true, ..Careless::default() });
    assert!(panic.contains("neither reads nor writes"), "{panic}");
}

#[test]
fn a_limit_on_clients_holds_although_the_session_ignores_all_but_the_stream() {
    let (listener, address) = listener(SocketOptions::default());
    let accepted = Rc::new(Cell::new(0));
    let count = accepted.clone();
    let mut event_loop = event_loop();
    event_loop.spawn(session(listener.with_max_clients(2), Listener::intents, move |listener, ready| {
        while let Accept::Client { stream, .. } = listener.accept(ready) {
            count.set(count.get() + 1);
            ready.spawn(session(
                stream,
                |stream, intents| intents.hangup(stream),
                |_, _| Ok(Progress::Continue),
            ));
        }
        Ok(Progress::Continue)
    }));
    let _clients: Vec<TcpStream> = (0..5).map(|_| TcpStream::connect(address).unwrap()).collect();
    until(&mut event_loop, || accepted.get() == 2);
    eventloop::testing::settle(&mut event_loop);
    assert_quiet(&mut event_loop);
    assert_eq!(accepted.get(), 2);
}

#[test]
fn a_client_whose_stream_is_closed_keeps_its_permit_if_the_session_has_taken_it() {
    let (mut event_loop, seen, client) = crate::common::serve(1);
    let _clients = [client(), client()];
    until(&mut event_loop, || seen.borrow().served.len() == 1);
    let permit = seen.borrow().served[0].take_permit();
    assert!(permit.is_some() && seen.borrow().served[0].take_permit().is_none(), "there is one");
    drop(seen.borrow_mut().served.remove(0));
    eventloop::testing::settle(&mut event_loop);
    assert!(seen.borrow().served.is_empty());
    drop(permit);
    until(&mut event_loop, || seen.borrow().served.len() == 1);
}

/// A session that makes a part in its first step, and does not advance it in that step.
fn later<P>(
    make: impl Fn() -> P,
    intents: impl Fn(&P, &mut Intents<'_>),
    step: impl Fn(&mut P, &Ready<'_>),
) -> impl Session {
    session(
        None,
        move |part, intents_of| part.iter().for_each(|part| intents(part, intents_of)),
        move |part, ready| {
            match part {
                Some(part) => step(part, ready),
                None => *part = Some(make()),
            }
            Ok(Progress::Continue)
        },
    )
}

#[test]
fn a_connector_that_is_not_advanced_when_it_is_made_begins_all_the_same_and_ends_once() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addresses = [listener.local_addr().unwrap()];
    let options = ConnectOptions { timeout: 10 * PATIENCE, ..ConnectOptions::default() };
    let make = move || Connector::new(&addresses[..], options, Instant::now());
    let connected = Rc::new(Cell::new(false));
    let note = connected.clone();
    let mut event_loop = event_loop();
    event_loop.spawn(later(make, Connector::intents, move |connector, ready| {
        if let Connect::Connected(_) = connector.advance(ready) {
            note.set(true);
            // It says that it is over, and does not begin again.
            let Connect::Failed(error) = connector.advance(ready) else { panic!("it is over") };
            assert!(error.to_string().contains("already"), "{error}");
        }
    }));
    until(&mut event_loop, || connected.get());
    assert_quiet(&mut event_loop); // although its session still passes on its intents
}

#[test]
fn a_lookup_that_is_not_advanced_when_it_is_made_is_answered_all_the_same_and_once() {
    let answered = Rc::new(Cell::new(false));
    let note = answered.clone();
    let make = || Resolver::new().lookup("127.0.0.1", 80);
    let mut event_loop = event_loop();
    event_loop.spawn(later(make, Lookup::intents, move |lookup, ready| {
        if lookup.advance(ready).is_some_and(|answer| answer.is_ok()) {
            assert!(lookup.advance(ready).is_some_and(|answer| answer.is_err()), "it was given");
            note.set(true);
        }
    }));
    until(&mut event_loop, || answered.get());
    assert_quiet(&mut event_loop);
}

#[test]
fn a_source_of_another_session_ends_the_session_that_declares_it_with_an_error_that_names_both() {
    type Declare = fn(&mut Intents<'_>, &Stream);
    struct Second(Rc<Stream>, Declare);
    impl Session for Second {
        fn intents(&self, intents: &mut Intents<'_>) {
            self.1(intents, &self.0);
        }
        fn advance(&mut self, _: &Ready<'_>) -> Result<Progress> {
            Ok(Progress::Continue)
        }
        fn refused(&mut self, error: std::io::Error) -> Result<()> {
            assert_eq!(error.kind(), ErrorKind::AlreadyExists);
            Err(error.into())
        }
    }
    struct Reading(Rc<Stream>, Rc<RefCell<Vec<u8>>>);
    impl Session for Reading {
        fn intents(&self, intents: &mut Intents<'_>) {
            intents.read(&self.0);
        }
        fn advance(&mut self, ready: &Ready<'_>) -> Result<Progress> {
            if ready.is_readable(&self.0) {
                let mut bytes = [0; 10];
                let received = self.0.receive(&mut bytes)?.unwrap_or(0);
                self.1.borrow_mut().extend(&bytes[..received]);
            }
            Ok(Progress::Continue)
        }
    }
    let (near, mut far) = pair().unwrap();
    let (stream, got) = (Rc::new(Stream::new(near).unwrap()), Rc::default());
    let mut event_loop = event_loop();
    let reports = reports(&mut event_loop);
    event_loop.spawn(Reading(stream.clone(), Rc::clone(&got)));
    let descriptor = stream.as_raw_fd();
    let all: [Declare; 3] = [|i, s| i.read(s), |i, s| i.write(s), |i, s| i.hangup(s)];
    for declare in all {
        event_loop.spawn(Second(stream.clone(), declare));
        event_loop.turn(Some(Duration::ZERO)).unwrap();
        assert_eq!(event_loop.sessions(), 1);
        let report = reports.borrow_mut().pop().unwrap();
        let (second, first) = report.split_once(": ").unwrap();
        assert!(second.ends_with("::Second"), "{report}");
        let names = format!("descriptor {descriptor} is declared by the session ");
        assert!(first.starts_with(&names), "{report}");
        assert!(first.contains("::Reading, and a source belongs to one"), "{report}");
    }
    far.write_all(b"for the first").unwrap();
    until(&mut event_loop, || *got.borrow() == b"for the first");
    assert_quiet(&mut event_loop);
}

#[test]
fn a_source_of_another_loop_ends_the_session_that_declares_it() {
    let (near, mut far) = pair().unwrap();
    let stream = Rc::new(Stream::new(near).unwrap());
    let reading = |stream: &Rc<Stream>| {
        session(
            stream.clone(),
            |stream, i| i.read(stream),
            |stream, _| {
                let _ = stream.receive(&mut [0; 10])?;
                Ok(Progress::Continue)
            },
        )
    };
    let (mut first, mut second) = (event_loop(), event_loop());
    let reports = reports(&mut second);
    first.spawn(reading(&stream));
    first.turn(None).unwrap();
    second.spawn(reading(&stream));
    second.run().unwrap();
    assert!(reports.borrow()[0].contains("declared by a session of another loop"), "{:?}", reports.borrow());
    far.write_all(b"for the first").unwrap();
    assert_eq!(first.turn(None).unwrap(), 1);
    settle(&mut first);
}

#[test]
fn a_session_that_passes_a_reset_on_as_an_orderly_end_does_not_withstand_misbehaving_clients() {
    /// Receives from both, and tells the server of every end of the client that it is orderly.
    fn deceive([client, server]: &mut [Stream; 2], _: &Ready<'_>) -> Result<Progress> {
        let _ = server.receive(&mut [0; 65_536]);
        if !matches!(client.receive(&mut [0; 65_536]), Ok(None | Some(1..))) {
            server.finish_on_drop();
            return Ok(Progress::Done);
        }
        Ok(Progress::Continue)
    }
    let mut event_loop = event_loop();
    let panic = catch_unwind(AssertUnwindSafe(|| {
        assert_withstands_misbehaving_clients(&mut event_loop, |event_loop| {
            let ((near_client, client), (near_server, server)) = (pair()?, pair()?);
            event_loop.spawn(session(
                [Stream::new(near_client)?, Stream::new(near_server)?],
                |streams, intents| streams.iter().for_each(|stream| intents.read(stream)),
                deceive,
            ));
            Ok((client, Some(server)))
        });
    }));
    let text = panic.unwrap_err();
    assert!(text.downcast_ref::<&str>().unwrap().contains("sees an orderly end"));
}

#[test]
fn a_deadline_that_moves_on_is_no_spin() {
    let mut event_loop = event_loop();
    event_loop.spawn(session(
        (Instant::now(), 0),
        |&(deadline, _), intents| intents.deadline(deadline),
        |(deadline, count), ready| {
            if *deadline <= ready.now() {
                *deadline = ready.now() + Duration::from_micros(1);
                *count += 1;
            }
            Ok(if *count == 3000 { Progress::Done } else { Progress::Continue })
        },
    ));
    event_loop.run().unwrap();
}
