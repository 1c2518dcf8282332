//! Which source belongs to which session, and what the poller reports of it.

use std::io::{self, ErrorKind};
use std::os::fd::AsFd;
use std::os::fd::AsRawFd;
use std::rc::{Rc, Weak};

use slotmap::SlotMap;

use crate::poller::{Event, Poller, Report, Sleep, Watch};
use crate::session::{
    AnySource, Core, Declaration, Inner, Interest, Key, Readiness, Registered, SessionId, StepCause,
};

/// Makes what the poller reports agree with what sessions declare.
pub(crate) struct Registry {
    poller: Box<dyn Poller>,
    registrations: SlotMap<Key, Registration>,
    /// System calls that changed what the kernel watches.
    changes: u64,
}

/// A source that is watched for a session.
///
/// Invariants: it is in the list of its session; the source is marked as registered as long as it is.
struct Registration {
    /// Gone when the session has dropped its source, which closes it and takes it out of an epoll set.
    source: Weak<Inner<dyn AsFd>>,
    session: SessionId,
    /// The session's next one.
    next: Option<Key>,
}

impl Registry {
    pub(crate) fn new(poller: Box<dyn Poller>) -> Self {
        Self { poller, registrations: SlotMap::with_key(), changes: 0 }
    }

    /// Makes room for `more` registrations.
    pub(crate) fn try_reserve(&mut self, more: usize) -> io::Result<()> {
        Ok(self.registrations.try_reserve(more)?)
    }

    pub(crate) fn changes(&self) -> u64 {
        self.changes
    }

    /// Makes what is watched for a session equal to what it declares, which is used up. Forgets what the present turn has
    /// found ready, and returns whether the session has used one of its sources, or had no reason to.
    pub(crate) fn reconcile(
        &mut self,
        core: &Core,
        session: SessionId,
        registered: &mut Registered,
        declared: &mut Declaration,
    ) -> io::Result<bool> {
        let (mut kept, mut found, mut used) = (None, 0, false);
        let mut expected = declared.registered;
        let mut watched = Ok(());
        while let Some(source) = declared.new.pop() {
            core.room_is_taken.set(true);
            let interest = source.declared.get().unwrap_or_default();
            watched = watched.and_then(|()| self.watch(session, registered, &source, interest));
            if watched.is_ok() {
                expected += 1;
            } else {
                source.declared.take();
            }
        }
        let mut next = registered.0.take();
        while let Some(key) = next {
            let Some(registration) = self.registrations.get_mut(key) else { break };
            next = registration.next;
            let Some(source) = registration.source.upgrade() else {
                self.registrations.remove(key);
                continue;
            };
            // An edge is reported once, so that a session that does nothing about it does not spin.
            let edge = source.ready.take() != Readiness::default() && source.interest.get().is_edge();
            used |= source.used.take() || edge;
            let Some(interest) = source.declared.take() else {
                self.forget(key, &source);
                continue;
            };
            found += 1;
            registration.next = kept.replace(key);
            if source.interest.get() != interest {
                source.interest.set(interest);
                self.changes += 1;
                watched = watched.and(self.poller.watch(key, &source, interest, Watch::Changed));
            }
        }
        registered.0 = kept;
        watched?;
        // A declared source that is not among the registrations of this session is registered for another one.
        if found < expected { Err(self.taken(core)) } else { Ok(used) }
    }

    /// Watches nothing for this session any more.
    pub(crate) fn leave(&mut self, registered: Registered) {
        let mut next = registered.0;
        while let Some(key) = next {
            let Some(registration) = self.registrations.get(key) else { break };
            next = registration.next;
            match registration.source.upgrade() {
                Some(source) => self.forget(key, &source),
                None => drop(self.registrations.remove(key)),
            }
        }
    }

    /// The sources of a session and what it intends, for a message to a programmer.
    pub(crate) fn describe(&self, registered: Registered) -> String {
        let mut descriptors = Vec::new();
        let mut next = registered.0;
        while let Some(registration) = next.and_then(|key| self.registrations.get(key)) {
            if let Some(source) = registration.source.upgrade() {
                descriptors.push(format!("{} ({:?})", source.as_fd().as_raw_fd(), source.interest.get()));
            }
            next = registration.next;
        }
        descriptors.join(", ")
    }

    /// Sleeps until something happens, at most as long as `sleep` says, and calls `wake` with each session that it
    /// concerns.
    pub(crate) fn wait(
        &mut self,
        sleep: Sleep,
        mut wake: impl FnMut(SessionId, StepCause),
    ) -> io::Result<()> {
        let mut stale = false;
        let registrations = &self.registrations;
        self.poller.wait(sleep, &mut |report| match report {
            Report::Event(event) => {
                let registration = registrations.get(event.key);
                match registration.and_then(|known| Some((known.source.upgrade()?, known.session))) {
                    Some((source, session)) => {
                        source.note(event);
                        wake(session, StepCause::Ready);
                    }
                    None => stale = true,
                }
            }
            Report::Woken(session) => wake(session, StepCause::Woken),
        })?;
        if stale { self.start_over() } else { Ok(()) }
    }

    /// Begins to watch a source for a session.
    fn watch(
        &mut self,
        session: SessionId,
        registered: &mut Registered,
        source: &AnySource,
        interest: Interest,
    ) -> io::Result<()> {
        self.try_reserve(1)?;
        let registration = Registration { source: Rc::downgrade(source), session, next: registered.0 };
        let key = self.registrations.insert(registration);
        self.changes += 1;
        if let Err(error) = self.poller.watch(key, source, interest, Watch::New) {
            self.registrations.remove(key);
            return Err(error);
        }
        *registered = Registered(Some(key));
        source.registered.set(true);
        source.interest.set(interest);
        Ok(())
    }

    /// Lets go of a source that is open.
    fn forget(&mut self, key: Key, source: &AnySource) {
        self.registrations.remove(key);
        self.changes += 1;
        self.poller.forget(key, source);
        source.registered.set(false);
        source.declared.take();
        source.ready.take();
    }

    /// Why a source that is registered for another session, and is still declared, cannot be watched.
    fn taken(&self, core: &Core) -> io::Error {
        let of_another = self.registrations.values().find_map(|known| {
            let source = known.source.upgrade().filter(|source| source.declared.take().is_some())?;
            Some((source.as_fd().as_raw_fd(), core.name(known.session)))
        });
        let why = match of_another {
            Some((descriptor, owner)) => {
                format!("descriptor {descriptor} is declared by the session {owner}")
            }
            None => "a descriptor is declared by a session of another loop".to_owned(),
        };
        io::Error::new(ErrorKind::AlreadyExists, format!("{why}, and a source belongs to one"))
    }

    /// The kernel has reported a source that is closed here. What it refers to is open elsewhere: the
    /// descriptor was duplicated (dup(2), fork(2)), and can't be taken out of the set any more (epoll(7)).
    fn start_over(&mut self) -> io::Result<()> {
        if !self.poller.start_over()? {
            return Ok(());
        }
        for (key, registration) in &self.registrations {
            if let Some(source) = registration.source.upgrade() {
                self.changes += 1;
                self.poller.watch(key, &source, source.interest.get(), Watch::New)?;
            }
        }
        Ok(())
    }
}

impl Inner<dyn AsFd> {
    /// Notes what the poller reports. Of a source without any interest it can only be a failure; of others it
    /// reports a failure as readable and writable, so that the next read or write meets it.
    fn note(&self, event: Event) {
        let (interest, before) = (self.interest.get(), self.ready.get());
        self.ready.set(Readiness {
            readable: before.readable || (event.readable && (interest.read || interest.read_edge)),
            writable: before.writable || (event.writable && interest.write),
            hung_up: before.hung_up || interest == Interest::default(),
            finished: before.finished || (event.finished && interest.read),
        });
    }
}
