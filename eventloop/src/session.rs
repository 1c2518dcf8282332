//! Sessions: what they intend, and what a step reports to them.
//!
//! The types of this folder refer to each other: a session declares sources, a source holds a permit, a permit wakes a
//! session. The rest of the crate is built on them.

mod core;
mod entry;
mod permit;
mod source;
mod waker;

use std::any::{Any, type_name};
use std::error::Error;
use std::fmt;
use std::io;
use std::mem;
use std::os::fd::AsFd;
use std::panic::resume_unwind;
use std::rc::Rc;
use std::time::Instant;

use crate::exhaustion::{ACCEPT_PIECES, check_pieces};

pub use self::entry::SessionId;
pub use self::permit::Permit;
pub use self::source::{Readiness, Source};
pub use self::waker::{Handle, RemoteWaker, Waker};

pub(crate) use self::core::{CheckedOut, Core};
pub(crate) use self::entry::{CompactInstant, Key, Registered, StepCause, Timer};
pub(crate) use self::permit::Permits;
pub(crate) use self::source::{AnySource, Inner, Interest};

/// The result of what a session does. Any error converts into it with `?`.
pub type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// A state machine driven by readiness: one connection, a pair of them, a listener, anything that
/// waits for descriptors and deadlines.
///
/// The loop asks a session for its [`intents`](Session::intents) after each of its steps and watches
/// exactly that; when something of it happens, it calls [`advance`](Session::advance).
/// Nothing is armed or disarmed by hand, so nothing can be forgotten: if a session does not intend a
/// particular I/O now, it does not declare it.
///
/// # How it ends
///
/// A session ends with the result of a step: [`Progress::Done`], or an error, which the loop reports (see
/// [`EventLoop::on_error`](crate::EventLoop::on_error)). Either way the loop drops it, which closes its
/// sources. So does a panic. What else a panic means, [`panicked`](Session::panicked) decides.
pub trait Session {
    /// Declares what the session waits for: a pure function of its state.
    ///
    /// - A source that is declared is watched for that. One that is named with
    ///   [`Intents::hangup`] only is watched for its failure. One that is not named is not
    ///   watched at all, and closed if the session has dropped it.
    /// - Intending to read from a source that has ended, or a deadline that has passed and changes
    ///   nothing, would wake the session again and again.
    fn intents(&self, intents: &mut Intents<'_>);

    /// Does the non-blocking work that has become possible, and a bounded amount of it: other
    /// sessions are waiting. What is left over in a source is reported again in the next turn; a session
    /// with other work left returns [`Progress::Again`].
    ///
    /// The first call comes right after the session was spawned, with nothing ready; a call may also
    /// come because this session was [woken](crate::Waker::wake).
    ///
    /// # Errors
    ///
    /// An error ends the session, and is reported by the loop.
    fn advance(&mut self, ready: &Ready<'_>) -> Result<Progress>;

    /// The loop cannot watch a source that was declared: the kernel refuses it (epoll_ctl(2): out of memory
    /// or of watches), or another session has declared it already, which is a bug: the error
    /// ([`AlreadyExists`](io::ErrorKind::AlreadyExists)) names that session and the descriptor. This session is dropped
    /// after the call; others are not touched.
    ///
    /// # Errors
    ///
    /// The loop reports an error, as one of [`advance`](Self::advance). By default it is `error` itself.
    fn refused(&mut self, error: io::Error) -> Result<()> {
        Err(error.into())
    }

    /// A step of this session, or its intents, has panicked, which is a bug. The session is dropped after this call.
    ///
    /// By default the panic goes on to the caller of [`EventLoop::turn`](crate::EventLoop::turn): if that catches it, the
    /// other sessions go on. A session whose end the program can do without reports it here instead. It must not rely on
    /// more of its state than it needs for that: the step has ended in the middle.
    ///
    /// # Errors
    ///
    /// The loop reports an error, as one of [`advance`](Self::advance).
    ///
    /// # Panics
    ///
    /// By default, with `panic`.
    fn panicked(&mut self, panic: Box<dyn Any + Send>) -> Result<()> {
        resume_unwind(panic)
    }

    /// What reports and panics call this session; by default the name of its type.
    fn name(&self) -> &'static str {
        type_name::<Self>()
    }
}

/// What a panic says, for the report of [`Session::panicked`]; a payload that is no text gives `without a message`.
#[must_use]
pub fn panic_message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or(panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("without a message")
}

/// Whether a session goes on.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// It waits for what it intends.
    Continue,
    /// It could go on right now, but has done what a step may do: the loop steps the others, polls the
    /// kernel without sleeping, and then steps this one again.
    Again,
    /// It is over: the loop drops it, which closes its sources.
    Done,
}

/// Collects what one session intends; see [`Session::intents`].
#[derive(Debug)]
pub struct Intents<'a> {
    declaration: &'a mut Declaration,
}

/// What one session has declared. What it intends with each source is in the source.
#[derive(Debug, Default)]
pub(crate) struct Declaration {
    /// How many of the sources are watched already.
    pub(crate) registered: usize,
    /// The sources that are not watched yet.
    pub(crate) new: Vec<AnySource>,
    pub(crate) deadline: Option<Instant>,
    pub(crate) again: bool,
}

/// What is ready in a step, and access to the loop.
pub struct Ready<'a> {
    now: Instant,
    /// The number of the loop's turn.
    turn: u64,
    core: &'a Rc<Core>,
    id: SessionId,
}

impl<'a> Intents<'a> {
    pub(crate) fn new(declaration: &'a mut Declaration) -> Self {
        Self { declaration }
    }

    /// Wake the session while `source` has something to read, has ended, or has failed.
    pub fn read<T: AsFd + 'static>(&mut self, source: &Source<T>) {
        self.interest(source, |interest| interest.read = true);
    }

    /// Wake the session while `source` takes bytes, or has failed.
    pub fn write<T: AsFd + 'static>(&mut self, source: &Source<T>) {
        self.interest(source, |interest| interest.write = true);
    }

    /// Wake the session once if `source` fails or is shut in both directions, even though nothing else
    /// is intended with it. Where the system cannot tell (kqueue), the failure shows at the next read or
    /// write.
    pub fn hangup<T: AsFd + 'static>(&mut self, source: &Source<T>) {
        self.interest(source, |_| {});
    }

    /// Wake the session once each time that `source` *becomes* readable, without an obligation to read: a
    /// listener without a free permit sees a pending client in this way.
    pub(crate) fn read_edge<T: AsFd + 'static>(&mut self, source: &Source<T>) {
        self.interest(source, |interest| interest.read_edge = true);
    }

    /// Wake the session at `instant` at the latest. Of several deadlines the earliest counts. A deadline
    /// that moves with every byte costs nothing until it fires.
    pub fn deadline(&mut self, instant: Instant) {
        let earliest = self.declaration.deadline.map_or(instant, |earlier| earlier.min(instant));
        self.declaration.deadline = Some(earliest);
    }

    /// Step the session in the next turn, which does not sleep, as [`Progress::Again`] does: for a part of a
    /// session that has yet to make its first step.
    pub fn again(&mut self) {
        self.declaration.again = true;
    }

    fn interest<T: AsFd + 'static>(&mut self, source: &Source<T>, add: impl FnOnce(&mut Interest)) {
        let inner = source.inner();
        let declared = inner.declared.get();
        if declared.is_none() {
            if inner.registered.get() {
                self.declaration.registered += 1;
            } else {
                self.declaration.new.push(inner.clone());
            }
        }
        let mut interest = declared.unwrap_or_default();
        add(&mut interest);
        inner.declared.set(Some(interest));
    }
}

impl Declaration {
    /// Empties it, and returns the deadline and whether there is to be another step.
    pub(crate) fn take(&mut self) -> (Option<Instant>, bool) {
        self.registered = 0;
        while let Some(source) = self.new.pop() {
            source.declared.take(); // the session has failed, or ended otherwise
        }
        (self.deadline.take(), mem::take(&mut self.again))
    }
}

impl<'a> Ready<'a> {
    pub(crate) fn new(now: Instant, turn: u64, core: &'a Rc<Core>, id: SessionId) -> Self {
        Self { now, turn, core, id }
    }

    /// Adds another session to the loop. Its first step comes in this turn, or in the next one, which then does not sleep.
    pub fn spawn(&self, session: impl Session + 'static) -> Waker {
        self.core.spawn(Box::new(session))
    }

    /// What wakes this session, to be kept by others that may have a reason to.
    #[must_use]
    pub fn waker(&self) -> Waker {
        Waker::new(self.core, self.id)
    }

    /// Whether there is memory for the session of one more client, and for its first steps.
    pub(crate) fn check_memory(&self) -> io::Result<()> {
        if self.core.lacks_memory.get() {
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        check_pieces::<ACCEPT_PIECES>()
    }

    /// The number of the loop's turn: that of the next turn is one more.
    pub(crate) fn turn(&self) -> u64 {
        self.turn
    }

    /// When the steps of this turn began: one reading of the clock for all sessions.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.now
    }

    /// All that was found of `source`.
    #[must_use]
    pub fn readiness<T: AsFd + 'static>(&self, source: &Source<T>) -> Readiness {
        source.readiness()
    }

    /// Whether `source` was found readable: a read gives bytes, the end or the error without waiting.
    #[must_use]
    pub fn is_readable<T: AsFd + 'static>(&self, source: &Source<T>) -> bool {
        source.readiness().readable
    }

    /// Whether `source` was found writable: a write takes bytes or gives the error without waiting.
    #[must_use]
    pub fn is_writable<T: AsFd + 'static>(&self, source: &Source<T>) -> bool {
        source.readiness().writable
    }

    /// Whether `source`, declared with [`Intents::hangup`] alone, has failed or is shut in both
    /// directions. `take_error` tells which. It is reported when it happens, not as long as it lasts; a second
    /// change of state, such as the acknowledgement of a FIN, may report it again.
    #[must_use]
    pub fn is_hung_up<T: AsFd + 'static>(&self, source: &Source<T>) -> bool {
        source.readiness().hung_up
    }

    /// Whether `source`, found readable, has nothing to come beyond what the kernel has received: the peer
    /// has sent FIN (`EPOLLRDHUP`, epoll_ctl(2)), and there is neither an error nor urgent data. A read that
    /// fills less than its buffer has then read the last byte. `false` says nothing, because not every poller can tell.
    #[must_use]
    pub fn has_finished<T: AsFd + 'static>(&self, source: &Source<T>) -> bool {
        source.readiness().finished
    }
}

impl fmt::Debug for Ready<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ready").field("now", &self.now).field("session", &self.id).finish()
    }
}
