//! The loop: asks sessions for their intents, sleeps until some of that is possible, and steps them.

use std::error::Error;
use std::fmt;
use std::io::{self, Write as _};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;
use std::thread;
use std::time::{Duration, Instant};

use crate::deadlines::{Deadlines, after};
use crate::poller::{PollerKind, Sleep, new_poller};
use crate::registry::Registry;
use crate::session::{CheckedOut, Core, Declaration, SessionId, StepCause};
use crate::session::{Handle, Intents, Progress, Ready, Result, Session, Waker};
use crate::spin;

/// A single-threaded loop that drives any number of [`Session`]s.
///
/// Each turn sleeps until something happens that a session has declared, and gives every session
/// concerned one step.
///
/// ```
/// use std::time::{Duration, Instant};
/// use eventloop::{EventLoop, Intents, Progress, Ready, Result, Session};
///
/// /// Fails at its deadline.
/// struct Impatient(Instant);
///
/// impl Session for Impatient {
///     fn intents(&self, intents: &mut Intents<'_>) {
///         intents.deadline(self.0);
///     }
///
///     fn advance(&mut self, ready: &Ready<'_>) -> Result<Progress> {
///         if self.0 <= ready.now() { Err("it takes too long".into()) } else { Ok(Progress::Continue) }
///     }
/// }
///
/// # fn main() -> std::io::Result<()> {
/// let mut event_loop = EventLoop::new()?;
/// event_loop.on_error(|session, error| println!("{session} has failed: {error}"));
/// event_loop.spawn(Impatient(Instant::now() + Duration::from_millis(10)));
/// event_loop.run()?; // until the last session is over
/// # Ok(()) }
/// ```
pub struct EventLoop {
    registry: Registry,
    core: Rc<Core>,
    deadlines: Deadlines,
    /// What the session that is stepped declares; empty between steps.
    declared: Declaration,
    /// Sessions that have returned [`Progress::Again`], for the next turn.
    again: Vec<SessionId>,
    turns: u64,
    report: Box<ReportError>,
}

/// How many sessions, registrations and deadlines one turn may add without taking memory for tables: more than a batch
/// of clients needs. What one turn has used up, the next one makes room for, or no client is accepted in it.
const SPARE: usize = 256;

/// Receives the name of a session and the error that has ended it.
type ReportError = dyn FnMut(&'static str, &dyn Error);

impl EventLoop {
    /// A loop without sessions, in the best poller that the system has.
    ///
    /// # Errors
    ///
    /// If the kernel refuses the descriptors that polling needs.
    pub fn new() -> io::Result<Self> {
        Self::with_poller(PollerKind::Auto)
    }

    /// A loop without sessions, in a poller of your choice.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    pub fn with_poller(kind: PollerKind) -> io::Result<Self> {
        let (poller, remote) = new_poller(kind)?;
        Ok(Self {
            registry: Registry::new(poller),
            core: Rc::new(Core::new(remote)),
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
        Handle::new(&self.core)
    }

    /// Adds a session; its first step comes in the next turn.
    pub fn spawn(&mut self, session: impl Session + 'static) -> Waker {
        self.core.spawn(Box::new(session))
    }

    /// Makes room for this number of sessions with two sources each, so that no table has to grow, which leaves holes in
    /// the heap. The memory is not touched until they come.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::OutOfMemory`]. Tables then grow as sessions come.
    pub fn reserve(&mut self, sessions: usize) -> io::Result<()> {
        let sessions = sessions.saturating_add(2 * SPARE); // each turn sees to it that there is some to spare
        self.core.try_reserve(sessions)?;
        self.registry.try_reserve(sessions.saturating_mul(2))?;
        self.deadlines.try_reserve(sessions)
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
        while self.sessions() > 0 {
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
    /// If a session panics and does not [keep the panic to itself](Session::panicked). It is removed and its sources are
    /// closed; when the panic is caught, the loop can turn on.
    pub fn turn(&mut self, timeout: Option<Duration>) -> io::Result<usize> {
        for id in self.again.drain(..) {
            self.core.enqueue_again(id);
        }
        let sleep = if self.core.queued() > 0 || timeout.is_some_and(|timeout| timeout.is_zero()) {
            Sleep::No
        } else {
            let mut until = self.deadlines.next(&self.core);
            if let Some(timeout) = timeout {
                let end = after(Instant::now(), timeout);
                until = Some(until.map_or(end, |deadline| deadline.min(end)));
            }
            until.map_or(Sleep::Forever, Sleep::Until)
        };
        let core = &self.core;
        self.registry.wait(sleep, |id, cause| core.enqueue(id, cause))?;
        self.turns += 1;
        if self.core.room_is_taken.get() {
            let reserved = self.try_reserve();
            self.core.lacks_memory.set(reserved.is_err());
            self.core.room_is_taken.set(reserved.is_err());
        }
        let core = &self.core;
        let now = Instant::now();
        if sleep.is_over(now) {
            self.deadlines.expire(core, now, |id| core.enqueue(id, StepCause::Deadline));
        }
        let mut steps = 0;
        for _ in 0..2 {
            for _ in 0..self.core.queued() {
                if let Some((session, cause)) = self.core.check_out() {
                    self.step(session, cause, now);
                    steps += 1;
                }
            }
        }
        Ok(steps)
    }

    /// How often the loop has polled the kernel. An idle program does not turn.
    #[must_use]
    pub fn turns(&self) -> u64 {
        self.turns
    }

    /// How often it was changed what the kernel watches (epoll_ctl(2)).
    #[must_use]
    pub fn registrations(&self) -> u64 {
        self.registry.changes()
    }

    /// How many sessions there are.
    #[must_use]
    pub fn sessions(&self) -> usize {
        self.core.len()
    }

    /// Makes room for what a turn may add, because a table that cannot grow later would end the process.
    fn try_reserve(&mut self) -> io::Result<()> {
        self.core.try_reserve(SPARE)?;
        self.registry.try_reserve(SPARE)?;
        self.again.try_reserve(SPARE)?;
        self.deadlines.try_reserve(SPARE)
    }

    /// One step of one session, and what follows from it.
    fn step(&mut self, mut checked_out: CheckedOut, cause: StepCause, now: Instant) {
        let CheckedOut { id, session, registered, timer } = &mut checked_out;
        let id = *id;
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            let progress = session.advance(&Ready::new(now, self.turns, &self.core, id))?;
            let changes = self.registry.changes();
            if progress != Progress::Done {
                session.intents(&mut Intents::new(&mut self.declared));
                let declared = &mut self.declared;
                let used = match self.registry.reconcile(&self.core, id, registered, declared) {
                    Ok(used) => used,
                    Err(error) => {
                        session.refused(error)?;
                        return Ok(Progress::Done);
                    }
                };
                if cfg!(debug_assertions) {
                    let later = self.declared.deadline.is_none_or(|at| now < at);
                    let moved = used || changes != self.registry.changes();
                    let progress = moved || (cause == StepCause::Deadline && later);
                    let sources = || self.registry.describe(*registered);
                    spin::check(&self.core, id, cause, progress, session.name(), sources);
                }
            }
            Ok(progress)
        }));
        let outcome: thread::Result<Result<Progress>> = outcome;
        let (deadline, again) = self.declared.take();
        match outcome {
            Ok(Ok(Progress::Done)) => self.remove(checked_out),
            Ok(Ok(progress)) => {
                let again = again || progress == Progress::Again;
                self.deadlines.declare(&self.core, id, timer, deadline);
                self.core.check_in(checked_out, again);
                if again {
                    self.again.push(id);
                    self.core.room_is_taken.set(true);
                }
            }
            Ok(Err(error)) => self.fail(checked_out, &*error),
            Err(panic) => match catch_unwind(AssertUnwindSafe(|| session.panicked(panic))) {
                Ok(Ok(())) => self.remove(checked_out),
                Ok(Err(error)) => self.fail(checked_out, &*error),
                Err(panic) => {
                    self.remove(checked_out);
                    resume_unwind(panic);
                }
            },
        }
    }

    /// Removes a session, and reports the error that has ended it.
    fn fail(&mut self, failed: CheckedOut, error: &dyn Error) {
        let name = failed.session.name();
        self.remove(failed);
        (self.report)(name, error);
    }

    fn remove(&mut self, CheckedOut { id, session, registered, .. }: CheckedOut) {
        self.core.remove(id);
        // With nothing borrowed: its end may wake other sessions. It may also panic.
        let dropped = catch_unwind(AssertUnwindSafe(|| drop(session)));
        self.registry.leave(registered);
        if let Err(panic) = dropped {
            resume_unwind(panic);
        }
    }
}

/// Writes an error to the standard error, where the program has not asked for it.
fn print_error(session: &'static str, error: &dyn Error) {
    let _ = writeln!(io::stderr(), "{session}: {error}"); // a closed standard error is no reason to fail
}

impl fmt::Debug for EventLoop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventLoop").field("sessions", &self.sessions()).field("turns", &self.turns).finish()
    }
}
