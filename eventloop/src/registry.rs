//! Which source belongs to which session, and what the poller reports of it.

use std::io::{self, ErrorKind};
use std::os::fd::AsFd;
use std::os::fd::AsRawFd;
use std::ptr;
use std::rc::{Rc, Weak};
use std::time::Duration;

use slotmap::SlotMap;

use crate::poller::{Event, Inbox, LONGEST, Poller, Watch};
use crate::session::{AnySource, Core, Inner, Interest, Key, Readiness, Registered, SessionId, StepCause};

/// Makes what the poller reports agree with what sessions declare.
pub(crate) struct Registry {
    poller: Box<dyn Poller>,
    registrations: SlotMap<Key, Registration>,
    inbox: Inbox,
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
        Self { poller, registrations: SlotMap::with_key(), inbox: Inbox::default(), changes: 0 }
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
        declared: &mut Vec<(AnySource, Interest)>,
    ) -> io::Result<bool> {
        let watched: io::Result<()> = declared.iter().try_for_each(|(source, interest)| {
            self.watch(core, session, registered, source, *interest)?;
            source.declared.set(true);
            Ok(())
        });
        let mut used = false;
        self.release(registered, |source| {
            // An edge is reported once, so that a session that does nothing about it does not spin.
            let edge = source.ready.take() != Readiness::default() && source.interest.get().is_edge();
            used |= source.used.take() || edge;
            source.declared.take()
        });
        // A declared source that is not among the registrations of this session is registered for another one.
        let mut foreign = None;
        for (source, _) in declared.drain(..) {
            if source.declared.take() {
                foreign = Some(source);
            }
        }
        watched?;
        foreign.map_or(Ok(used), |source| Err(self.taken(core, &source)))
    }

    /// Watches nothing for this session any more.
    pub(crate) fn leave(&mut self, mut registered: Registered) {
        self.release(&mut registered, |source| {
            source.declared.set(false);
            false
        });
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

    /// Sleeps until something happens, at most for `timeout`, and calls `wake` with each session that it
    /// concerns.
    pub(crate) fn wait(
        &mut self,
        timeout: Option<Duration>,
        mut wake: impl FnMut(SessionId, StepCause),
    ) -> io::Result<()> {
        self.poller.wait(timeout.map(|timeout| timeout.min(LONGEST)), &mut self.inbox)?;
        let mut stale = false;
        for event in self.inbox.events.drain(..) {
            let registration = self.registrations.get(event.key);
            match registration.and_then(|known| Some((known.source.upgrade()?, known.session))) {
                Some((source, session)) => {
                    source.note(event);
                    wake(session, StepCause::Ready);
                }
                None => stale = true,
            }
        }
        self.inbox.woken.drain(..).for_each(|session| wake(session, StepCause::Woken));
        if stale { self.start_over() } else { Ok(()) }
    }

    fn watch(
        &mut self,
        core: &Core,
        session: SessionId,
        registered: &mut Registered,
        source: &AnySource,
        interest: Interest,
    ) -> io::Result<()> {
        if source.registered.get() {
            if source.interest.get() != interest {
                let key = self.find(*registered, source).ok_or_else(|| self.taken(core, source))?;
                source.interest.set(interest);
                self.changes += 1;
                self.poller.watch(key, source, interest, Watch::Changed)?;
            }
            return Ok(());
        }
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

    /// Why a source that is registered for another session cannot be watched.
    fn taken(&self, core: &Core, source: &AnySource) -> io::Error {
        let owner = self.registrations.values().find(|known| known.is_of(source));
        let (descriptor, owner) = (source.as_fd().as_raw_fd(), owner.map(|known| core.name(known.session)));
        let owner = owner.unwrap_or("of another loop");
        let why = format!(
            "descriptor {descriptor} is declared by the session {owner}, and a source belongs to one"
        );
        io::Error::new(ErrorKind::AlreadyExists, why)
    }

    /// The registration of this source, if it is one of these. They are few: those of one session.
    fn find(&self, registered: Registered, source: &AnySource) -> Option<Key> {
        let mut next = registered.0;
        while let Some(key) = next {
            let registration = self.registrations.get(key)?;
            if registration.is_of(source) {
                return Some(key);
            }
            next = registration.next;
        }
        None
    }

    /// Lets go of a session's sources, but for those that are to be kept.
    fn release(&mut self, registered: &mut Registered, mut keep: impl FnMut(&AnySource) -> bool) {
        let mut kept = None;
        let mut next = registered.0.take();
        while let Some(key) = next {
            let Some(registration) = self.registrations.get_mut(key) else { break };
            next = registration.next;
            let source = registration.source.upgrade();
            if source.as_ref().is_some_and(&mut keep) {
                registration.next = kept.replace(key);
                continue;
            }
            self.registrations.remove(key);
            if let Some(source) = source {
                self.changes += 1;
                self.poller.forget(key, &source);
                source.registered.set(false);
                source.ready.take();
            }
        }
        registered.0 = kept;
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

impl Registration {
    fn is_of(&self, source: &AnySource) -> bool {
        ptr::addr_eq(self.source.as_ptr(), Rc::as_ptr(source))
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
