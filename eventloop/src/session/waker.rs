//! What reaches a loop and its sessions from elsewhere: handles and wakers.

use std::rc::{Rc, Weak};

use calloop::channel::Sender;

use super::core::Core;
use super::{Session, SessionId};

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
#[derive(Clone, Debug)]
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
#[derive(Clone, Debug)]
pub struct Waker {
    handle: Handle,
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
#[derive(Clone, Debug)]
pub struct RemoteWaker {
    sender: Option<Sender<SessionId>>,
    id: SessionId,
}

impl Handle {
    pub(crate) fn new(core: &Rc<Core>) -> Self {
        Self { core: Rc::downgrade(core) }
    }

    /// Adds a session, whose first step comes in this turn or the next. A loop that is gone drops it. A session in its
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
        self.core.upgrade().is_none_or(|core| !core.contains(session))
    }
}

impl Waker {
    pub(super) fn new(core: &Rc<Core>, id: SessionId) -> Self {
        Self { handle: Handle::new(core), id }
    }

    /// Gives the session a step: in this turn if the loop is in one and has not stepped the session twice, else in the next.
    pub fn wake(&self) {
        self.handle.wake(self.id);
    }

    /// The session that it wakes.
    #[must_use]
    pub fn session(&self) -> SessionId {
        self.id
    }

    /// A waker of the same session that can be sent to other threads.
    #[must_use]
    pub fn remote(&self) -> RemoteWaker {
        let sender = self.handle.core.upgrade().and_then(|core| core.remote.clone());
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
