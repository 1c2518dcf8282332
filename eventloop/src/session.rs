//! What a program says to the loop and hears from it.

use std::fmt;
use std::io;
use std::os::fd::AsFd;
use std::ptr;
use std::rc::Rc;
use std::time::Instant;

use crate::event_loop::{Core, SessionId, Waker};
use crate::source::{AnySource, Source, Want};

/// A state machine driven by readiness: one connection, a pair of them, a listener, anything that
/// waits for descriptors and deadlines.
///
/// The loop asks a session for its [`intents`](Session::intents) after each of its steps and arranges
/// to be told of exactly that; when something of it happens, it calls [`advance`](Session::advance).
/// Nothing is armed or disarmed by hand, so nothing can be forgotten: if a session does not intend a
/// particular I/O now, it does not declare it.
pub trait Session {
    /// Declares what the session waits for: a pure function of its state.
    ///
    /// - A source that is declared is watched for that. One that is named with
    ///   [`Intents::hangup`] only is watched for its failure. One that is not named is not
    ///   watched at all, and closed if the session has dropped it.
    /// - Wanting to read from a source that has ended, or a deadline that has passed and changes
    ///   nothing, would wake the loop again and again.
    fn intents(&self, want: &mut Intents<'_>);

    /// Does the non-blocking work that has become possible, and a bounded amount of it: other
    /// sessions are waiting. What is left over in a source is reported again in the next turn; who has
    /// other work left says [`Progress::Again`].
    ///
    /// The first call comes right after the session was spawned, with nothing ready; a call may also
    /// come because this one was [woken](crate::Waker::wake).
    fn advance(&mut self, ready: &Ready<'_>) -> Progress;

    /// Hears that the kernel refused to watch a source that was declared (epoll_ctl(2): out of memory
    /// or of watches). The session is dropped after this call; others are not touched.
    fn refused(&mut self, error: io::Error) {
        let _ = error;
    }
}

/// Whether a session goes on.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// It waits for what it intends: the loop asks for that, and steps it when some of it happens.
    Continue,
    /// It could go on right now, but has done what a step may do: the loop lets the others have their
    /// turn, looks for news from the kernel without sleeping, and then steps it again.
    Again,
    /// It is over: the loop drops it, which closes its sources.
    Done,
}

/// Collects what one session wants; see [`Session::intents`].
pub struct Intents<'a> {
    sources: &'a mut Vec<(AnySource, Want)>,
    deadline: Option<Instant>,
}

/// What a session hears in a step, and what it can ask of the loop in return.
pub struct Ready<'a> {
    now: Instant,
    core: &'a Rc<Core>,
    id: SessionId,
}

impl<'a> Intents<'a> {
    pub(crate) fn new(sources: &'a mut Vec<(AnySource, Want)>) -> Self {
        Self { sources, deadline: None }
    }

    /// Wake the session while `source` has something to read, has ended, or has failed.
    pub fn read<T: AsFd + 'static>(&mut self, source: &Source<T>) {
        self.want(source).read = true;
    }

    /// Wake the session while `source` takes bytes, or has failed.
    pub fn write<T: AsFd + 'static>(&mut self, source: &Source<T>) {
        self.want(source).write = true;
    }

    /// Wake the session once if `source` fails or is shut in both directions, even though nothing else
    /// is wanted of it. Where the system cannot tell (kqueue), the failure shows at the next read or
    /// write.
    pub fn hangup<T: AsFd + 'static>(&mut self, source: &Source<T>) {
        let _ = self.want(source);
    }

    /// Wake the session once for each time that `source` *becomes* readable, without an obligation to
    /// read: enough to know that somebody waits at a listener that accepts nobody now.
    pub(crate) fn arrival<T: AsFd + 'static>(&mut self, source: &Source<T>) {
        self.want(source).arrival = true;
    }

    /// Wake the session at `instant` at the latest. Of several deadlines the earliest counts. A deadline
    /// that moves with every byte costs nothing until it fires.
    pub fn deadline(&mut self, instant: Instant) {
        self.deadline = Some(self.deadline.map_or(instant, |earlier| earlier.min(instant)));
    }

    pub(crate) fn into_deadline(self) -> Option<Instant> {
        self.deadline
    }

    fn want<T: AsFd + 'static>(&mut self, source: &Source<T>) -> &mut Want {
        let source = source.erased();
        let at = match self.sources.iter().position(|(known, _)| same(known, &source)) {
            Some(at) => at,
            None => {
                self.sources.push((source, Want::default()));
                self.sources.len() - 1
            }
        };
        &mut self.sources[at].1
    }
}

impl<'a> Ready<'a> {
    pub(crate) fn new(now: Instant, core: &'a Rc<Core>, id: SessionId) -> Self {
        Self { now, core, id }
    }

    /// Adds another session to the loop; its first step comes in this turn.
    pub fn spawn(&self, session: impl Session + 'static) -> Waker {
        self.core.spawn(Box::new(session))
    }

    /// The same for a session that has to be known to others: `make` gets what will wake it.
    pub fn spawn_with<S: Session + 'static>(&self, make: impl FnOnce(Waker) -> S) {
        self.core.spawn_with(|waker| Box::new(make(waker)));
    }

    /// What wakes this session, to be given to whoever may have a reason to.
    #[must_use]
    pub fn waker(&self) -> Waker {
        self.core.waker(self.id)
    }

    /// The time at which this turn of the loop began its work; read once for all sessions.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.now
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
    /// directions. `take_error` tells which. It is said when it happens, not as long as it lasts; a second
    /// change of state, such as the acknowledgement of a FIN, may say it again.
    #[must_use]
    pub fn is_hung_up<T: AsFd + 'static>(&self, source: &Source<T>) -> bool {
        source.readiness().hung_up
    }
}

impl fmt::Debug for Ready<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ready").field("now", &self.now).field("session", &self.id).finish()
    }
}

impl fmt::Debug for Intents<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let wants: Vec<Want> = self.sources.iter().map(|&(_, want)| want).collect();
        f.debug_struct("Intents").field("sources", &wants).field("deadline", &self.deadline).finish()
    }
}

/// Whether two handles are of one source. Addresses alone are compared: the same type can have several
/// vtables.
pub(crate) fn same(a: &AnySource, b: &AnySource) -> bool {
    ptr::addr_eq(Rc::as_ptr(a), Rc::as_ptr(b))
}
