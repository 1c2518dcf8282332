//! The loop: asks sessions for their intents, has the kernel watch exactly that, and steps those with something ready.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::error::Error;
use std::fmt;
use std::io::{self, Write as _};
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::{Rc, Weak};
use std::thread;
use std::time::{Duration, Instant};

use calloop::channel::{self, Sender};
use slotmap::SlotMap;

use crate::deadlines::Deadlines;
use crate::registry::{Registry, Watched};
use crate::session::{Declaration, Intents, Progress, Ready, Result, Session};

slotmap::new_key_type! {
    /// A session of one loop. An id is never used twice.
    pub(crate) struct SessionId;
}

/// A single-threaded loop that drives any number of [`Session`]s.
///
/// Each turn sleeps until something happens that a session has declared, and gives every session
/// concerned one step. Callbacks of the poller underneath only note which source is ready; all work and
/// all registration happens after they have returned.
pub struct EventLoop {
    poll: calloop::EventLoop<'static, Rc<Core>>,
    registry: Registry,
    core: Rc<Core>,
    deadlines: Deadlines,
    /// Empty between steps.
    declared: Declaration,
    /// Sessions that have returned [`Progress::Again`] in this turn.
    again: Vec<SessionId>,
    turns: u64,
    report: Box<Report>,
}

/// Receives the name of a session and the error that has ended it.
type Report = dyn FnMut(&'static str, &dyn Error);

/// A way to reach all sessions of a loop from anywhere on its thread.
///
/// Handles are cheap to clone and do not keep the loop alive; one that has outlived it does nothing.
#[derive(Clone)]
pub struct Handle {
    core: Weak<Core>,
}

/// Wakes one session: gives it a step because something it depends on has changed that is not a source
/// of its own, such as a message from another session.
///
/// Wakers are cheap to clone and do not keep anything alive; waking a session that is over does nothing.
#[derive(Clone)]
pub struct Waker {
    core: Weak<Core>,
    id: SessionId,
}

/// A [`Waker`] for other threads.
///
/// It is cheap to clone and does not keep anything alive; waking a session that is over does nothing.
#[derive(Clone)]
pub struct RemoteWaker {
    sender: Option<Sender<SessionId>>,
    id: SessionId,
}

/// What the loop, its handles and the poller's callbacks share.
///
/// No borrow of these cells lasts while a session's code runs, so sessions may use handles freely.
#[derive(Default)]
pub(crate) struct Core {
    sessions: RefCell<SlotMap<SessionId, Entry>>,
    /// Sessions to step, each at most once: `Entry::queued` says that it is in here.
    queue: RefCell<VecDeque<SessionId>>,
    /// To wake sessions from other threads; absent where there is no loop.
    remote: Option<Sender<SessionId>>,
}

struct Entry {
    /// Absent while it is being stepped.
    session: Option<Box<dyn Session>>,
    queued: bool,
    /// Its last step has returned [`Progress::Again`].
    again: bool,
    watched: Option<Watched>,
}

impl EventLoop {
    /// A loop without sessions.
    ///
    /// # Errors
    ///
    /// If the kernel refuses the descriptors that polling needs.
    pub fn new() -> io::Result<Self> {
        let poll = calloop::EventLoop::try_new()?;
        let (sender, woken) = channel::channel();
        poll.handle()
            .insert_source(woken, |event, (), core: &mut Rc<Core>| {
                if let channel::Event::Msg(id) = event {
                    core.enqueue(id);
                }
            })
            .map_err(calloop::Error::from)?;
        let registry = Registry::new(poll.handle());
        Ok(Self {
            poll,
            registry,
            core: Rc::new(Core { remote: Some(sender), ..Core::default() }),
            deadlines: Deadlines::default(),
            declared: Declaration::default(),
            again: Vec::new(),
            turns: 0,
            report: Box::new(print_error),
        })
    }

    /// A handle to this loop.
    #[must_use]
    pub fn handle(&self) -> Handle {
        Handle { core: Rc::downgrade(&self.core) }
    }

    /// Adds a session; its first step comes in the next turn.
    pub fn spawn(&mut self, session: impl Session + 'static) -> Waker {
        self.core.spawn(Box::new(session))
    }

    /// From now on `report` receives each error that ends a session, with the session's
    /// [name](Session::name). Until then it is written to the standard error: an error is visible unless the
    /// program says otherwise. (The crate names no logging library, so that the program can choose.)
    pub fn on_error(&mut self, report: impl FnMut(&'static str, &dyn Error) + 'static) {
        self.report = Box::new(report);
    }

    /// Turns until no session is left.
    ///
    /// # Errors
    ///
    /// As [`turn`](Self::turn).
    pub fn run(&mut self) -> io::Result<()> {
        while !self.core.sessions.borrow().is_empty() {
            self.turn(None)?;
        }
        Ok(())
    }

    /// Sleeps until something happens or `timeout` has passed (`None`: as long as it takes), then steps
    /// every session concerned. Returns how many steps that were: 0 if nothing has happened.
    ///
    /// A session that is woken during the turn is stepped in it as well, but none more than twice. One that
    /// returns [`Progress::Again`] is stepped in the next turn, which does not sleep.
    ///
    /// # Errors
    ///
    /// If polling itself fails, which means that the program cannot go on. A failure of one source is
    /// reported to its session alone.
    ///
    /// # Panics
    ///
    /// If a session panics. It is removed and its sources are closed; when the panic is caught, the loop
    /// can turn on.
    pub fn turn(&mut self, timeout: Option<Duration>) -> io::Result<usize> {
        let timeout = if self.core.queue.borrow().is_empty() {
            let next = self.deadlines.next().map(|at| at.saturating_duration_since(Instant::now()));
            [timeout, next].into_iter().flatten().min()
        } else {
            Some(Duration::ZERO)
        };
        self.poll.dispatch(timeout, &mut self.core.clone())?;
        self.turns += 1;
        let now = Instant::now();
        self.deadlines.expire(now, |id| self.core.enqueue(id));
        let mut steps = 0;
        for _ in 0..2 {
            let batch = self.core.queue.borrow().len();
            for _ in 0..batch {
                let next = self.core.queue.borrow_mut().pop_front();
                if let Some(id) = next {
                    self.step(id, now);
                    steps += 1;
                }
            }
        }
        for id in self.again.drain(..) {
            self.core.enqueue_again(id);
        }
        Ok(steps)
    }

    /// How often the loop has polled the kernel. An idle program does not turn.
    #[must_use]
    pub fn turns(&self) -> u64 {
        self.turns
    }

    /// How many system calls have changed what the kernel watches (epoll_ctl(2)).
    #[must_use]
    pub fn registrations(&self) -> u64 {
        self.registry.changes()
    }

    /// How many sessions there are.
    #[must_use]
    pub fn sessions(&self) -> usize {
        self.core.sessions.borrow().len()
    }

    /// One step of one session, and what follows from it.
    fn step(&mut self, id: SessionId, now: Instant) {
        let Some((mut session, mut watched)) = self.core.check_out(id) else { return };
        let outcome: thread::Result<Result<_>> = catch_unwind(AssertUnwindSafe(|| {
            let progress = session.advance(&Ready::new(now, &self.core, id))?;
            if let Some(watched) = &watched {
                watched.forget_readiness();
            }
            if progress != Progress::Done {
                session.intents(&mut Intents::new(&mut self.declared));
            }
            Ok(progress)
        }));
        let (deadline, again) = (self.declared.deadline.take(), mem::take(&mut self.declared.again));
        match outcome {
            Ok(Ok(Progress::Done)) => self.remove(id, session, watched),
            Ok(Ok(progress)) => match self.registry.reconcile(id, &mut watched, &mut self.declared.sources) {
                Ok(()) => {
                    self.deadlines.declare(id, deadline);
                    let again = again || progress == Progress::Again;
                    self.core.check_in(id, session, watched, again);
                    if again {
                        self.again.push(id);
                    }
                }
                Err(error) => {
                    self.declared.clear();
                    if let Err(error) = session.refused(error) {
                        (self.report)(session.name(), &*error);
                    }
                    self.remove(id, session, watched);
                }
            },
            Ok(Err(error)) => {
                (self.report)(session.name(), &*error);
                self.remove(id, session, watched);
            }
            Err(panic) => {
                self.declared.clear();
                self.remove(id, session, watched);
                resume_unwind(panic);
            }
        }
    }

    fn remove(&mut self, id: SessionId, session: Box<dyn Session>, watched: Option<Watched>) {
        if let Some(watched) = watched {
            self.registry.leave(watched);
        }
        self.deadlines.forget(id);
        let entry = self.core.sessions.borrow_mut().remove(id);
        drop(entry);
        drop(session); // last, and with nothing borrowed: its end may wake other sessions
    }
}

/// Writes an error to the standard error, where the program has not asked for it.
fn print_error(session: &'static str, error: &dyn Error) {
    let _ = writeln!(io::stderr(), "{session}: {error}"); // a closed standard error is no reason to fail
}

impl Handle {
    /// Gives every session a step: for rare events that concern all, such as a stop of the program.
    pub fn wake_all(&self) {
        if let Some(core) = self.core.upgrade() {
            let all: Vec<SessionId> = core.sessions.borrow().keys().collect();
            for id in all {
                core.enqueue(id);
            }
        }
    }
}

impl Waker {
    /// Gives the session a step: in this turn if the loop is in one, else in the next.
    pub fn wake(&self) {
        if let Some(core) = self.core.upgrade() {
            core.enqueue(self.id);
        }
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
        self.enqueue(id);
        self.waker(id)
    }

    /// An id without a session yet.
    pub(crate) fn vacant_session(&self) -> SessionId {
        let entry = Entry { session: None, queued: false, again: false, watched: None };
        self.sessions.borrow_mut().insert(entry)
    }

    /// Whether the session was queued for a step, which it is not any more.
    pub(crate) fn take_queued(&self, id: SessionId) -> bool {
        self.queue.borrow_mut().retain(|&queued| queued != id);
        self.sessions.borrow_mut().get_mut(id).is_some_and(|entry| mem::take(&mut entry.queued))
    }

    pub(crate) fn waker(self: &Rc<Self>, id: SessionId) -> Waker {
        Waker { core: Rc::downgrade(self), id }
    }

    pub(crate) fn enqueue(&self, id: SessionId) {
        if let Some(entry) = self.sessions.borrow_mut().get_mut(id)
            && !mem::replace(&mut entry.queued, true)
        {
            self.queue.borrow_mut().push_back(id);
        }
    }

    /// Enqueues a session, unless a second step has returned something else.
    fn enqueue_again(&self, id: SessionId) {
        if self.sessions.borrow().get(id).is_some_and(|entry| entry.again) {
            self.enqueue(id);
        }
    }

    fn check_out(&self, id: SessionId) -> Option<(Box<dyn Session>, Option<Watched>)> {
        let mut sessions = self.sessions.borrow_mut();
        let entry = sessions.get_mut(id)?;
        entry.queued = false;
        Some((entry.session.take()?, entry.watched.take()))
    }

    fn check_in(&self, id: SessionId, session: Box<dyn Session>, watched: Option<Watched>, again: bool) {
        if let Some(entry) = self.sessions.borrow_mut().get_mut(id) {
            entry.session = Some(session);
            entry.again = again;
            entry.watched = watched;
        }
    }
}

impl fmt::Debug for EventLoop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventLoop").field("sessions", &self.sessions()).field("turns", &self.turns).finish()
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").finish_non_exhaustive()
    }
}

impl fmt::Debug for RemoteWaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RemoteWaker").field(&self.id).finish()
    }
}

impl fmt::Debug for Waker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Waker").field(&self.id).finish()
    }
}
