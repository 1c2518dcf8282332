//! What the kernel watches for the sessions: one source of the poller underneath for each of them.
//!
//! Calloop looks for a vacant place among all sources there are when it takes in another one, so a
//! source for each descriptor would make a new connection cost more the more there are. A session is
//! one source of several descriptors, therefore, and the place that one leaves is kept for the next.

use std::convert::Infallible;
use std::io;
use std::rc::Rc;

use calloop::generic::Generic;
use calloop::{Dispatcher, EventSource, LoopHandle, Mode, PostAction, RegistrationToken};
use calloop::{Poll, Token, TokenFactory};

use crate::event_loop::{Core, SessionId};
use crate::session::same;
use crate::source::{AnySource, Interest, Readiness};

/// Makes what the kernel watches agree with what sessions want.
pub(crate) struct Registry {
    poll: LoopHandle<'static, Rc<Core>>,
    /// Left by sessions that are over; nothing is watched for them.
    vacant: Vec<Watched>,
    /// System calls that changed what the kernel watches.
    changes: u64,
}

/// What the kernel watches for one session.
pub(crate) struct Watched {
    dispatcher: Dispatcher<'static, Registrations, Rc<Core>>,
    token: RegistrationToken,
}

/// The sources of one session, as one source of the poller.
struct Registrations {
    session: SessionId,
    /// A source stays where it is, for its position is how the poller tells it from the others.
    sources: Vec<Option<Registration>>,
}

struct Registration {
    generic: Generic<AnySource, Infallible>,
    declared: Interest,
    /// What is still to be done for the kernel to know `want`.
    pending: Option<Pending>,
}

enum Pending {
    Add,
    Modify,
}

impl Registry {
    pub(crate) fn new(poll: LoopHandle<'static, Rc<Core>>) -> Self {
        Self { poll, vacant: Vec::new(), changes: 0 }
    }

    pub(crate) fn changes(&self) -> u64 {
        self.changes
    }

    /// Makes what the kernel watches for a session equal to what the session wants, which is used up.
    pub(crate) fn reconcile(
        &mut self,
        session: SessionId,
        watch: &mut Option<Watched>,
        wanted: &mut Vec<(AnySource, Interest)>,
    ) -> io::Result<()> {
        let watch = match watch {
            None if wanted.is_empty() => return Ok(()),
            None => watch.insert(self.occupy(session)?),
            Some(watch) => watch,
        };
        let mut watched = watch.dispatcher.as_source_mut();
        self.changes += watched.release(|source| wanted.iter().any(|(other, _)| same(source, other)));
        let pending =
            wanted.drain(..).map(|(source, declared)| watched.declare(source, declared)).sum::<u64>();
        drop(watched);
        if pending > 0 {
            self.changes += pending;
            self.poll.update(&watch.token)?;
        }
        Ok(())
    }

    /// Watches nothing for this session any more.
    pub(crate) fn leave(&mut self, watch: Watched) {
        let mut watched = watch.dispatcher.as_source_mut();
        self.changes += watched.release(|_| false);
        watched.sources = Vec::new();
        drop(watched);
        self.vacant.push(watch);
    }

    fn occupy(&mut self, session: SessionId) -> io::Result<Watched> {
        if let Some(watch) = self.vacant.pop() {
            watch.dispatcher.as_source_mut().session = session;
            return Ok(watch);
        }
        let watched = Registrations { session, sources: Vec::new() };
        let dispatcher = Dispatcher::new(watched, |session, (), core: &mut Rc<Core>| core.enqueue(session));
        let token = self.poll.register_dispatcher(dispatcher.clone())?;
        Ok(Watched { dispatcher, token })
    }
}

impl Watched {
    /// Forgets what the present turn has brought.
    pub(crate) fn forget_readiness(&self) {
        for one in self.dispatcher.as_source_ref().sources.iter().flatten() {
            one.generic.get_ref().ready.take();
        }
    }
}

impl Registrations {
    /// Lets go of all sources but some. Returns how many they were.
    fn release(&mut self, keep: impl Fn(&AnySource) -> bool) -> u64 {
        let mut released = 0;
        for place in &mut self.sources {
            if let Some(one) = place.take_if(|one| !keep(one.generic.get_ref())) {
                one.generic.get_ref().ready.take();
                released += 1; // dropping it takes it from the kernel
            }
        }
        released
    }

    /// Takes note of what is wanted of a source. Returns how many system calls that takes. Sessions
    /// have few sources, so they are looked for one by one.
    fn declare(&mut self, source: AnySource, declared: Interest) -> u64 {
        let known = self.sources.iter_mut().flatten().find(|one| same(one.generic.get_ref(), &source));
        let (interest, mode) = registration(declared);
        if let Some(one) = known {
            if one.declared == declared {
                return 0;
            }
            (one.declared, one.pending) = (declared, Some(Pending::Modify));
            (one.generic.interest, one.generic.mode) = (interest, mode);
            return 1;
        }
        let generic = Generic::new_with_error(source, interest, mode);
        let one = Some(Registration { generic, declared, pending: Some(Pending::Add) });
        match self.sources.iter_mut().find(|place| place.is_none()) {
            Some(place) => *place = one,
            None => {
                self.sources.reserve_exact(1); // there are many sessions, and few sources to each
                self.sources.push(one);
            }
        }
        1
    }
}

impl EventSource for Registrations {
    type Event = SessionId;
    type Metadata = ();
    type Ret = ();
    type Error = Infallible;

    /// Notes which source is ready, and nothing else: all work happens after the poller has returned.
    fn process_events<F>(
        &mut self,
        readiness: calloop::Readiness,
        token: Token,
        mut callback: F,
    ) -> Result<PostAction, Infallible>
    where
        F: FnMut(SessionId, &mut ()),
    {
        for Registration { generic, declared, .. } in self.sources.iter_mut().flatten() {
            // It is only called back for its own token.
            generic.process_events(readiness, token, |event, source| {
                source.note(event, *declared);
                Ok(PostAction::Continue)
            })?;
        }
        callback(self.session, &mut ());
        Ok(PostAction::Continue)
    }

    fn register(&mut self, poll: &mut Poll, tokens: &mut TokenFactory) -> calloop::Result<()> {
        self.reregister(poll, tokens)
    }

    /// Does what is pending. The tokens are given in the same order each time.
    fn reregister(&mut self, poll: &mut Poll, tokens: &mut TokenFactory) -> calloop::Result<()> {
        for place in &mut self.sources {
            match place.as_mut().and_then(|one| Some((one.pending.take()?, &mut one.generic))) {
                Some((Pending::Add, generic)) => generic.register(poll, tokens)?,
                Some((Pending::Modify, generic)) => generic.reregister(poll, tokens)?,
                None => drop(tokens.token()),
            }
        }
        Ok(())
    }

    fn unregister(&mut self, _: &mut Poll) -> calloop::Result<()> {
        self.release(|_| false);
        Ok(())
    }
}

impl crate::source::Inner<dyn std::os::fd::AsFd> {
    /// Notes what the poller says. Of a source of which nothing is wanted it can only be a failure; of
    /// others it reports a failure as readable and writable at once, so that the next read or write
    /// meets it.
    fn note(&self, event: calloop::Readiness, declared: Interest) {
        let before = self.ready.get();
        let paused = declared == Interest::default();
        self.ready.set(Readiness {
            readable: before.readable || (event.readable && !paused),
            writable: before.writable || (event.writable && !paused),
            hung_up: before.hung_up || paused,
            finished: false, // calloop does not pass it on
        });
    }
}

/// How the poller is asked for what a session wants.
///
/// Level-triggered, so that a bounded step may leave something over. Nothing wanted is edge-triggered
/// without interest: level-triggered it would report a hang-up for ever, not at all it would never.
fn registration(declared: Interest) -> (calloop::Interest, Mode) {
    let interest =
        calloop::Interest { readable: declared.read || declared.read_edge, writable: declared.write };
    let level = declared.read || declared.write;
    (interest, if level { Mode::Level } else { Mode::Edge })
}
