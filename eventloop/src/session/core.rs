//! The sessions of a loop, and which of them are to be stepped.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;

use calloop::channel::Sender;
use slotmap::SlotMap;

use super::entry::{Registered, SessionEntry, SessionId, StepCause, Timer};
use super::{Session, Waker};

/// What the loop, its handles and its wakers share.
///
/// No borrow of these cells lasts while a session's code runs, so sessions may use handles freely.
#[derive(Default)]
pub(crate) struct Core {
    sessions: RefCell<SlotMap<SessionId, SessionEntry>>,
    /// Sessions to step, each at most once: `SessionEntry::queued` says that it is in here.
    queue: RefCell<VecDeque<SessionId>>,
    /// The session that has its step now.
    stepped: Cell<Option<SessionId>>,
    /// To wake sessions from other threads; absent where there is no loop.
    pub(super) remote: Option<Sender<SessionId>>,
    /// A table has got another entry since there was room enough in all of them.
    pub(crate) room_is_taken: Cell<bool>,
    /// Memory for the tables has run out: no client is to be accepted.
    pub(crate) lacks_memory: Cell<bool>,
}

/// A session that is stepped.
pub(crate) struct CheckedOut {
    pub(crate) id: SessionId,
    pub(crate) session: Box<dyn Session>,
    pub(crate) registered: Registered,
    pub(crate) timer: Timer,
}

impl Core {
    pub(crate) fn new(remote: Sender<SessionId>) -> Self {
        Self { remote: Some(remote), room_is_taken: Cell::new(true), ..Self::default() }
    }

    /// How many sessions there are.
    pub(crate) fn len(&self) -> usize {
        self.sessions.borrow().len()
    }

    pub(super) fn contains(&self, id: SessionId) -> bool {
        self.sessions.borrow().contains_key(id)
    }

    pub(crate) fn spawn(self: &Rc<Self>, session: Box<dyn Session>) -> Waker {
        let id = self
            .sessions
            .borrow_mut()
            .insert(SessionEntry { session: Some(session), ..SessionEntry::default() });
        self.room_is_taken.set(true);
        self.enqueue(id, StepCause::Woken);
        Waker::new(self, id)
    }

    /// The name of a session that has no step now.
    pub(crate) fn name(&self, id: SessionId) -> &'static str {
        let sessions = self.sessions.borrow();
        let session = sessions.get(id).and_then(|entry| entry.session.as_ref());
        session.map_or("that has a step now", |session| session.name())
    }

    /// An id without a session yet.
    pub(crate) fn vacant_session(&self) -> SessionId {
        self.sessions.borrow_mut().insert(SessionEntry::default())
    }

    pub(crate) fn enqueue(&self, id: SessionId, cause: StepCause) {
        if let Some(entry) = self.sessions.borrow_mut().get_mut(id)
            && entry.queued.is_none()
        {
            entry.queued = Some(cause);
            self.queue.borrow_mut().push_back(id);
        }
    }

    /// Makes room for `more` sessions, all of which may be queued.
    pub(crate) fn try_reserve(&self, more: usize) -> io::Result<()> {
        let (mut sessions, mut queue) = (self.sessions.borrow_mut(), self.queue.borrow_mut());
        sessions.try_reserve(more)?;
        let queued = queue.len();
        Ok(queue.try_reserve((sessions.len() + more).saturating_sub(queued))?)
    }

    /// The timer of a session, unless it is over.
    pub(crate) fn timer(&self, id: SessionId) -> Option<Timer> {
        self.sessions.borrow().get(id).map(|entry| entry.timer)
    }

    pub(crate) fn set_timer(&self, id: SessionId, timer: Timer) {
        if let Some(entry) = self.sessions.borrow_mut().get_mut(id) {
            entry.timer = timer;
        }
    }

    /// Wakes each session, in place: a list of them would take memory.
    pub(super) fn wake_all(&self) {
        let stepped = self.stepped.get();
        for (id, entry) in &mut *self.sessions.borrow_mut() {
            if entry.queued.is_none() {
                entry.queued = Some(if stepped == Some(id) { StepCause::Again } else { StepCause::Woken });
                self.queue.borrow_mut().push_back(id);
            }
        }
    }

    /// A session or the program wakes a session.
    pub(super) fn wake(&self, id: SessionId) {
        let by_itself = self.stepped.get() == Some(id);
        self.enqueue(id, if by_itself { StepCause::Again } else { StepCause::Woken });
    }

    /// Counts a step without progress, or begins to count anew. Returns the number of such steps in a row.
    pub(crate) fn count_fruitless(&self, id: SessionId, progress: bool) -> u32 {
        let mut sessions = self.sessions.borrow_mut();
        let Some(entry) = sessions.get_mut(id) else { return 0 };
        entry.fruitless = if progress { 0 } else { entry.fruitless + 1 };
        entry.fruitless
    }

    /// Enqueues a session, unless a second step has returned something else.
    pub(crate) fn enqueue_again(&self, id: SessionId) {
        if self.sessions.borrow().get(id).is_some_and(|entry| entry.again) {
            self.enqueue(id, StepCause::Again);
        }
    }

    /// How many sessions are to be stepped.
    pub(crate) fn queued(&self) -> usize {
        self.queue.borrow().len()
    }

    /// Takes the next session out of the queue for a step, unless it is over.
    pub(crate) fn check_out(&self) -> Option<(CheckedOut, StepCause)> {
        let id = self.queue.borrow_mut().pop_front()?;
        let mut sessions = self.sessions.borrow_mut();
        let entry = sessions.get_mut(id)?;
        let (session, cause) = (entry.session.take()?, entry.queued.take()?);
        self.stepped.set(Some(id));
        let (registered, timer) = (entry.registered, entry.timer);
        Some((CheckedOut { id, session, registered, timer }, cause))
    }

    pub(crate) fn check_in(&self, CheckedOut { id, session, registered, timer }: CheckedOut, again: bool) {
        self.stepped.take();
        if let Some(entry) = self.sessions.borrow_mut().get_mut(id) {
            entry.session = Some(session);
            entry.again = again;
            (entry.registered, entry.timer) = (registered, timer);
        }
    }

    /// Removes a session that was checked out.
    pub(crate) fn remove(&self, id: SessionId) {
        self.stepped.take();
        self.sessions.borrow_mut().remove(id);
    }
}
