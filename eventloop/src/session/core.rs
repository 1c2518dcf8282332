//! The sessions of a loop, and which of them are to be stepped.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::rc::{Rc, Weak};

use calloop::channel::Sender;
use slotmap::SlotMap;

use crate::Session;
use crate::entry::{Cause, Entry, Registered, SessionId, Timer};

/// A way to add sessions to a loop, and to reach all of them, from anywhere on its thread.
///
/// Handles are cheap to clone and do not keep the loop alive; one that has outlived it does nothing.
///
/// ```
/// use std::cell::Cell;
/// use std::rc::Rc;
/// use eventloop::{EventLoop, Intents, Progress, Ready, Result, Session};
///
/// /// Goes on until the program stops.
/// struct Worker(Rc<Cell<bool>>);
///
/// impl Session for Worker {
///     fn intents(&self, _: &mut Intents<'_>) {}
///
///     fn advance(&mut self, _: &Ready<'_>) -> Result<Progress> {
///         Ok(if self.0.get() { Progress::Done } else { Progress::Continue })
///     }
/// }
///
/// # fn main() -> std::io::Result<()> {
/// let (mut event_loop, stopping) = (EventLoop::new()?, Rc::new(Cell::new(false)));
/// for _ in 0..3 {
///     event_loop.spawn(Worker(stopping.clone()));
/// }
/// event_loop.turn(None)?;
/// let handle = event_loop.handle(); // which a session for signals would keep
/// stopping.set(true);
/// handle.wake_all();
/// event_loop.run()
/// # }
/// ```
#[derive(Clone)]
pub struct Handle {
    core: Weak<Core>,
}

/// Wakes one session: gives it a step because something it depends on has changed that is not a source
/// of its own, such as a message from another session.
///
/// Wakers are cheap to clone and do not keep anything alive; waking a session that is over does nothing.
///
/// ```
/// use std::cell::Cell;
/// use std::rc::Rc;
/// use eventloop::{EventLoop, Intents, Progress, Ready, Result, Session, Waker};
///
/// /// Waits for a letter.
/// struct Receiver(Rc<Cell<Option<&'static str>>>);
///
/// impl Session for Receiver {
///     fn intents(&self, _: &mut Intents<'_>) {}
///
///     fn advance(&mut self, _: &Ready<'_>) -> Result<Progress> {
///         Ok(if self.0.take().is_some() { Progress::Done } else { Progress::Continue })
///     }
/// }
///
/// /// Sends it in its first step.
/// struct Sender(Rc<Cell<Option<&'static str>>>, Waker);
///
/// impl Session for Sender {
///     fn intents(&self, _: &mut Intents<'_>) {}
///
///     fn advance(&mut self, _: &Ready<'_>) -> Result<Progress> {
///         self.0.set(Some("hello"));
///         self.1.wake();
///         Ok(Progress::Done)
///     }
/// }
///
/// # fn main() -> std::io::Result<()> {
/// let letter = Rc::default();
/// let mut event_loop = EventLoop::new()?;
/// let waker = event_loop.spawn(Receiver(Rc::clone(&letter)));
/// event_loop.spawn(Sender(letter, waker));
/// event_loop.run()
/// # }
/// ```
///
/// It stays on the thread of its loop. [`remote`](Self::remote) makes one for other threads.
///
/// ```compile_fail,E0277
/// # let waker: eventloop::Waker = todo!();
/// std::thread::spawn(move || waker.wake());
/// ```
#[derive(Clone)]
pub struct Waker {
    core: Weak<Core>,
    id: SessionId,
}

/// A [`Waker`] for other threads.
///
/// It is cheap to clone and does not keep anything alive; waking a session that is over does nothing.
///
/// ```
/// use std::sync::{Arc, Mutex};
///
/// use eventloop::{EventLoop, Intents, Progress, Ready, Result, Session};
///
/// /// Waits for a thread that computes a sum.
/// struct Summing(Arc<Mutex<Option<u64>>>);
///
/// impl Session for Summing {
///     fn intents(&self, _: &mut Intents<'_>) {}
///
///     fn advance(&mut self, _: &Ready<'_>) -> Result<Progress> {
///         Ok(if self.0.lock().unwrap().is_some() { Progress::Done } else { Progress::Continue })
///     }
/// }
///
/// # fn main() -> std::io::Result<()> {
/// let sum = Arc::default();
/// let mut event_loop = EventLoop::new()?;
/// let waker = event_loop.spawn(Summing(Arc::clone(&sum))).remote();
/// std::thread::spawn(move || {
///     *sum.lock().unwrap() = Some((1..=100).sum());
///     waker.wake();
/// });
/// event_loop.run()
/// # }
/// ```
#[derive(Clone)]
pub struct RemoteWaker {
    sender: Option<Sender<SessionId>>,
    id: SessionId,
}

/// What the loop, its handles and its wakers share.
///
/// No borrow of these cells lasts while a session's code runs, so sessions may use handles freely.
#[derive(Default)]
pub(crate) struct Core {
    sessions: RefCell<SlotMap<SessionId, Entry>>,
    /// Sessions to step, each at most once: `Entry::queued` says that it is in here.
    queue: RefCell<VecDeque<SessionId>>,
    /// The session that has its step now.
    stepped: Cell<Option<SessionId>>,
    /// To wake sessions from other threads; absent where there is no loop.
    remote: Option<Sender<SessionId>>,
    /// Memory for the tables has run out: no client is to be accepted.
    pub(crate) lacks_memory: Cell<bool>,
}

impl Handle {
    pub(crate) fn new(core: &Rc<Core>) -> Self {
        Self { core: Rc::downgrade(core) }
    }

    /// Adds a session, whose first step comes in this turn or the next; a loop that is gone drops it. A session in its
    /// step has [`Ready::spawn`](crate::Ready::spawn).
    pub fn spawn(&self, session: impl Session + 'static) {
        if let Some(core) = self.core.upgrade() {
            core.spawn(Box::new(session));
        }
    }

    /// Gives every session a step: for rare events that concern all, such as a stop of the program.
    pub fn wake_all(&self) {
        if let Some(core) = self.core.upgrade() {
            core.wake_all();
        }
    }

    /// Gives one session of this loop a step, as its [`Waker`] does: for a table of thousands of sessions, in which a
    /// waker would take twice the memory.
    pub fn wake(&self, session: SessionId) {
        if let Some(core) = self.core.upgrade() {
            core.wake(session);
        }
    }

    /// Whether a session of this loop is over, so that waking it does nothing.
    #[must_use]
    pub fn is_over(&self, session: SessionId) -> bool {
        self.core.upgrade().is_none_or(|core| !core.sessions.borrow().contains_key(session))
    }
}

impl Waker {
    /// Gives the session a step: in this turn if the loop is in one, else in the next.
    pub fn wake(&self) {
        if let Some(core) = self.core.upgrade() {
            core.wake(self.id);
        }
    }

    /// The session that it wakes.
    #[must_use]
    pub fn session(&self) -> SessionId {
        self.id
    }

    /// A waker of the same session that can be sent to other threads.
    #[must_use]
    pub fn remote(&self) -> RemoteWaker {
        let sender = self.core.upgrade().and_then(|core| core.remote.clone());
        RemoteWaker { sender, id: self.id }
    }
}

impl RemoteWaker {
    /// Gives the session a step, and wakes the loop for it.
    pub fn wake(&self) {
        if let Some(sender) = &self.sender {
            let _ = sender.send(self.id); // a loop that is gone steps no session
        }
    }
}

impl Core {
    pub(crate) fn new(remote: Sender<SessionId>) -> Self {
        Self { remote: Some(remote), ..Self::default() }
    }

    /// How many sessions there are.
    pub(crate) fn len(&self) -> usize {
        self.sessions.borrow().len()
    }

    pub(crate) fn spawn(self: &Rc<Self>, session: Box<dyn Session>) -> Waker {
        self.spawn_with(|_| session)
    }

    /// The id is given first, as an empty entry, because `make` may use handles.
    pub(crate) fn spawn_with(self: &Rc<Self>, make: impl FnOnce(Waker) -> Box<dyn Session>) -> Waker {
        let id = self.vacant_session();
        let session = make(self.waker(id));
        if let Some(entry) = self.sessions.borrow_mut().get_mut(id) {
            entry.session = Some(session);
        }
        self.enqueue(id, Cause::Woken);
        self.waker(id)
    }

    /// The name of a session that has no step now.
    pub(crate) fn name(&self, id: SessionId) -> &'static str {
        let sessions = self.sessions.borrow();
        let session = sessions.get(id).and_then(|entry| entry.session.as_ref());
        session.map_or("that has a step now", |session| session.name())
    }

    /// An id without a session yet.
    pub(crate) fn vacant_session(&self) -> SessionId {
        self.sessions.borrow_mut().insert(Entry::default())
    }

    pub(crate) fn waker(self: &Rc<Self>, id: SessionId) -> Waker {
        Waker { core: Rc::downgrade(self), id }
    }

    pub(crate) fn enqueue(&self, id: SessionId, cause: Cause) {
        if let Some(entry) = self.sessions.borrow_mut().get_mut(id)
            && entry.queued.is_none()
        {
            entry.queued = Some(cause);
            self.queue.borrow_mut().push_back(id);
        }
    }

    /// Makes room for `more` sessions, but not for waking all of them.
    pub(crate) fn try_reserve_sessions(&self, more: usize) -> io::Result<()> {
        Ok(self.sessions.borrow_mut().try_reserve(more)?)
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
    fn wake_all(&self) {
        let stepped = self.stepped.get();
        for (id, entry) in &mut *self.sessions.borrow_mut() {
            if entry.queued.is_none() {
                entry.queued = Some(if stepped == Some(id) { Cause::Again } else { Cause::Woken });
                self.queue.borrow_mut().push_back(id);
            }
        }
    }

    /// A session or the program wakes a session.
    fn wake(&self, id: SessionId) {
        let by_itself = self.stepped.get() == Some(id);
        self.enqueue(id, if by_itself { Cause::Again } else { Cause::Woken });
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
            self.enqueue(id, Cause::Again);
        }
    }

    /// How many sessions are to be stepped.
    pub(crate) fn queued(&self) -> usize {
        self.queue.borrow().len()
    }

    pub(crate) fn next_queued(&self) -> Option<SessionId> {
        self.queue.borrow_mut().pop_front()
    }

    /// Takes a session out for a step.
    pub(crate) fn check_out(&self, id: SessionId) -> Option<(Box<dyn Session>, Registered, Cause)> {
        let mut sessions = self.sessions.borrow_mut();
        let entry = sessions.get_mut(id)?;
        let cause = entry.queued.take().unwrap_or(Cause::Woken);
        self.stepped.set(Some(id));
        Some((entry.session.take()?, entry.registered, cause))
    }

    pub(crate) fn check_in(
        &self,
        id: SessionId,
        session: Box<dyn Session>,
        registered: Registered,
        again: bool,
    ) {
        self.stepped.take();
        if let Some(entry) = self.sessions.borrow_mut().get_mut(id) {
            entry.session = Some(session);
            entry.again = again;
            entry.registered = registered;
        }
    }

    /// Removes a session that was checked out.
    pub(crate) fn remove(&self, id: SessionId) {
        self.stepped.take();
        self.sessions.borrow_mut().remove(id);
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").finish_non_exhaustive()
    }
}

impl fmt::Debug for Waker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Waker").field(&self.id).finish()
    }
}

impl fmt::Debug for RemoteWaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RemoteWaker").field(&self.id).finish()
    }
}
