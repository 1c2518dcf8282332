//! The resolver against a system that answers when the test lets it.

use super::*;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Condvar;
use std::time::Instant;

use crate::testing::{PATIENCE, session, until};
use crate::{EventLoop, Progress};

/// A system's resolver that knows every name, as this address, but answers only when the test lets it.
#[derive(Clone, Default)]
struct System(Arc<(Mutex<Names>, Condvar)>);

#[derive(Default)]
struct Names {
    asked: Vec<String>,
    answered: VecDeque<String>,
    all: bool,
}

impl System {
    fn find(&self, host: &str, port: u16) -> Addresses {
        let (names, changed) = &*self.0;
        let mut names = names.lock().unwrap();
        names.asked.push(host.to_owned());
        changed.notify_all();
        let wait = |names: &mut Names| !names.all && !names.answered.iter().any(|name| name == host);
        let (names, late) = changed.wait_timeout_while(names, PATIENCE, wait).unwrap();
        drop(names);
        assert!(!late.timed_out(), "{host} is answered in time");
        assert_ne!(host, "bug", "a bug of the system's resolver");
        if host == "unknown" {
            Err(ErrorKind::NotFound.into())
        } else {
            Ok(vec![([127, 0, 0, 9], port).into()])
        }
    }

    fn resolver(&self) -> Resolver {
        let system = self.clone();
        let find = Box::new(move |host: &str, port: u16| system.find(host, port));
        Resolver { queue: Arc::new(LookupQueue { find, queries: Mutex::default() }) }
    }

    fn answer(&self, host: &str) {
        self.0.0.lock().unwrap().answered.push_back(host.to_owned());
        self.0.1.notify_all();
    }

    fn answer_all(&self) {
        self.0.0.lock().unwrap().all = true;
        self.0.1.notify_all();
    }

    /// The names that were looked up, once there are `count`.
    fn asked(&self, count: usize) -> Vec<String> {
        let (names, changed) = &*self.0;
        let fewer = |names: &mut Names| names.asked.len() < count;
        let names = changed.wait_timeout_while(names.lock().unwrap(), PATIENCE, fewer).unwrap().0;
        names.asked.clone()
    }
}

/// Sessions that look names up, and the answers that they receive.
#[derive(Default)]
struct Answers(Rc<RefCell<Vec<(&'static str, Addresses)>>>);

impl Answers {
    fn ask(&self, event_loop: &mut EventLoop, resolver: &Resolver, name: &'static str) {
        self.await_lookup(event_loop, name, resolver.lookup(name, 80));
    }

    fn await_lookup(&self, event_loop: &mut EventLoop, name: &'static str, lookup: Lookup) {
        let answers = self.0.clone();
        event_loop.spawn(session(lookup, Lookup::intents, move |lookup, ready| {
            let Some(answer) = lookup.advance(ready) else { return Ok(Progress::Continue) };
            answers.borrow_mut().push((name, answer));
            Ok(Progress::Done)
        }));
    }

    /// The lookups that were answered, in order, once there are `count`.
    fn await_some(&self, event_loop: &mut EventLoop, count: usize) -> Vec<&'static str> {
        until(event_loop, || self.0.borrow().len() >= count);
        self.0.borrow().iter().map(|(name, _)| *name).collect()
    }
}

fn setup() -> (System, Resolver, EventLoop, Answers) {
    let system = System::default();
    let resolver = system.resolver();
    (system, resolver, EventLoop::new().unwrap(), Answers::default())
}

fn threads(resolver: &Resolver) -> usize {
    resolver.queue.queries().threads
}

#[test]
fn a_literal_address_needs_no_thread() {
    let (system, resolver, mut event_loop, answers) = setup();
    for name in ["127.0.0.1", "::1", "[::1]"] {
        answers.ask(&mut event_loop, &resolver, name);
    }
    assert_eq!(answers.await_some(&mut event_loop, 3).len(), 3);
    assert_eq!(threads(&resolver), 0);
    assert_eq!(system.asked(0), [""; 0]);
}

#[test]
fn names_asked_for_one_after_the_other_need_one_thread_which_ends() {
    let (system, resolver, mut event_loop, answers) = setup();
    system.answer_all();
    for count in 1..=100 {
        answers.ask(&mut event_loop, &resolver, "one");
        assert!(threads(&resolver) <= 1);
        answers.await_some(&mut event_loop, count);
    }
    let begin = Instant::now();
    while threads(&resolver) > 0 {
        assert!(begin.elapsed() < PATIENCE, "the thread does not end");
        thread::yield_now();
    }
    assert_eq!(answers.0.borrow()[0].1.as_ref().unwrap(), &[SocketAddr::from(([127, 0, 0, 9], 80))]);
}

#[test]
fn a_name_that_takes_long_delays_no_other() {
    let (system, resolver, mut event_loop, answers) = setup();
    answers.ask(&mut event_loop, &resolver, "slow");
    answers.ask(&mut event_loop, &resolver, "slower");
    system.answer("quick");
    for count in 1..=20 {
        answers.ask(&mut event_loop, &resolver, "quick");
        answers.await_some(&mut event_loop, count);
    }
    assert!(threads(&resolver) <= 3);
    system.answer("slower");
    assert_eq!(answers.await_some(&mut event_loop, 21)[20], "slower");
    system.answer("slow");
    assert_eq!(answers.await_some(&mut event_loop, 22)[21], "slow");
}

#[test]
fn a_name_is_looked_up_once_for_all_that_wait_for_it() {
    let (system, resolver, mut event_loop, answers) = setup();
    for _ in 0..100 {
        answers.ask(&mut event_loop, &resolver, "unknown");
    }
    assert_eq!((system.asked(1).len(), threads(&resolver)), (1, 1));
    system.answer("unknown");
    answers.await_some(&mut event_loop, 100);
    assert_eq!(system.asked(1), ["unknown"]);
    for (_, answer) in &*answers.0.borrow() {
        assert_eq!(answer.as_ref().unwrap_err().kind(), ErrorKind::NotFound);
    }
}

#[test]
fn more_names_than_threads_wait_and_those_withdrawn_are_not_asked_for() {
    const NAMES: [&str; 20] =
        ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o", "p", "q", "r", "s", "t"];
    let (system, resolver, mut event_loop, answers) = setup();
    for name in &NAMES[..MAX_THREADS] {
        answers.ask(&mut event_loop, &resolver, name);
    }
    system.asked(MAX_THREADS);
    for _ in 0..1000 {
        drop(resolver.lookup("withdrawn", 80));
    }
    assert!(resolver.queue.queries().open.len() <= MAX_THREADS + 1, "what was withdrawn is forgotten");
    for name in &NAMES[MAX_THREADS..] {
        answers.ask(&mut event_loop, &resolver, name);
    }
    assert_eq!((system.asked(MAX_THREADS).len(), threads(&resolver)), (MAX_THREADS, MAX_THREADS));
    system.answer("c");
    assert_eq!(answers.await_some(&mut event_loop, 1), ["c"]);
    assert_eq!(system.asked(MAX_THREADS + 1)[MAX_THREADS], NAMES[MAX_THREADS], "the oldest query is next");
    system.answer_all();
    answers.await_some(&mut event_loop, NAMES.len());
    assert!(!system.asked(NAMES.len()).contains(&"withdrawn".to_owned()));
}

#[test]
fn a_client_whose_names_take_long_keeps_no_other_client_waiting() {
    let (system, resolver, mut event_loop, answers) = setup();
    let mut ask = |client, name| {
        let lookup = resolver.lookup_for(IpAddr::from([192, 0, 2, client]), name, 80);
        answers.await_lookup(&mut event_loop, name, lookup);
    };
    for name in ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o", "p", "q"] {
        ask(1, name);
    }
    ask(2, "other");
    ask(2, "q"); // which the first one has yet to wait for
    let mut asked = system.asked(MAX_THREADS_OF_CLIENT + 2);
    asked.sort();
    assert_eq!(asked, ["a", "b", "c", "d", "other", "q"]);
    for name in ["other", "q"] {
        system.answer(name);
    }
    answers.await_some(&mut event_loop, 3);
    system.answer("b");
    answers.await_some(&mut event_loop, 4);
    assert_eq!(system.asked(7)[6], "e", "the next one in place of the one that was answered");
    system.answer_all();
    answers.await_some(&mut event_loop, 19);
}

#[test]
fn a_lookup_that_panics_is_answered_with_an_error_and_the_next_one_of_that_name_is_made_anew() {
    let (system, resolver, mut event_loop, answers) = setup();
    for count in 1..=2 {
        answers.ask(&mut event_loop, &resolver, "bug");
        system.asked(count);
        system.answer("bug");
        answers.await_some(&mut event_loop, count);
        let error = answers.0.borrow_mut()[count - 1].1.as_ref().unwrap_err().to_string();
        assert_eq!(error, "the lookup has panicked");
    }
}

#[test]
fn a_resolver_that_is_dropped_still_answers() {
    let (system, resolver, mut event_loop, answers) = setup();
    answers.ask(&mut event_loop, &resolver, "name");
    drop(resolver);
    system.answer("name");
    answers.await_some(&mut event_loop, 1);
}

#[test]
#[cfg(target_os = "linux")]
fn a_link_local_address_has_a_zone_by_name_or_number() {
    for host in ["fe80::1%lo", "[fe80::1%lo]", "fe80::1%1"] {
        assert_eq!(literal(host, 80).unwrap().to_string(), "[fe80::1%1]:80", "{host}");
        assert_eq!(resolve(host, 80).unwrap(), [literal(host, 80).unwrap()]);
    }
    for host in ["fe80::1%nosuchzone", "name%lo", "%lo", "fe80::1%"] {
        assert_eq!(literal(host, 80), None, "{host}");
    }
}
