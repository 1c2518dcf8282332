//! Help for tests of sessions and their parts: in a loop, and without one.
//!
//! On sockets, a test holds one end of a [`pair`], a session in a loop the other; the loop is turned
//! [until](fn@until) something has happened, and must then be [quiet](assert_quiet).
//! [`assert_withstands_misbehaving_clients`] has peers that reset, stall and half-close.
//!
//! Without a loop, a [`Stage`] collects what a session or part declares, [`set_readiness`] says what is ready, and the test
//! makes the step itself and says what time it is.
//!
//! ```
//! use std::io;
//! use std::time::{Duration, Instant};
//!
//! use eventloop::testing::{Stage, set_readiness};
//! use eventloop::{Intents, Progress, Readiness, Ready, Result, Session, Source};
//!
//! /// Reads until the end, for at most a minute.
//! struct Reader { source: Source<io::PipeReader>, until: Instant }
//!
//! impl Session for Reader {
//!     fn intents(&self, intents: &mut Intents<'_>) {
//!         intents.read(&self.source);
//!         intents.deadline(self.until);
//!     }
//!
//!     fn advance(&mut self, ready: &Ready<'_>) -> Result<Progress> {
//!         let over = ready.is_readable(&self.source) && self.source.receive(&mut [0; 9])? == Some(0);
//!         Ok(if over || self.until <= ready.now() { Progress::Done } else { Progress::Continue })
//!     }
//! }
//!
//! # fn main() -> Result<()> {
//! let (stage, begin) = (Stage::new(), Instant::now());
//! let minute = Duration::from_secs(60);
//! let (exit, _entry) = io::pipe()?;
//! let mut reader = Reader { source: Source::wrap(exit)?, until: begin + minute };
//! let declared = stage.declared(|intents| reader.intents(intents));
//! assert!(declared.reads(&reader.source) && declared.deadline() == Some(begin + minute));
//! set_readiness(&reader.source, Readiness { readable: true, ..Readiness::default() });
//! assert_eq!(reader.advance(&stage.ready(begin))?, Progress::Continue);
//! set_readiness(&reader.source, Readiness::default());
//! assert_eq!(reader.advance(&stage.ready(begin + minute))?, Progress::Done);
//! # Ok(()) }
//! ```

mod misbehaving;

use std::io;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::ptr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use socket2::SockRef;

use crate::session::{AnySource, Core, Declaration, Interest};
use crate::{EventLoop, Intents, Progress, Readiness, Ready, Result, Session, SessionId, Source};

pub use misbehaving::assert_withstands_misbehaving_clients;

/// Longer than any machine takes: what has not happened by then does not happen.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Long enough to notice a wake-up that should not come. A test waits for it only where it must not come.
pub const PAUSE: Duration = Duration::from_millis(50);

/// A TCP connection over loopback: the two ends. Reads of either end fail after [`PATIENCE`], so that a test
/// cannot hang.
///
/// # Errors
///
/// What the system reports, for instance that there are no descriptors.
pub fn pair() -> io::Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let far = TcpStream::connect(listener.local_addr()?)?;
    let (near, _) = listener.accept()?;
    for end in [&near, &far] {
        end.set_read_timeout(Some(PATIENCE))?;
    }
    Ok((near, far))
}

/// The next connection to a listener, which a session in the loop makes. It stays in non-blocking mode.
///
/// # Errors
///
/// What the system reports.
///
/// # Panics
///
/// As [`until`](fn@until).
#[track_caller]
pub fn accept(event_loop: &mut EventLoop, listener: &TcpListener) -> io::Result<TcpStream> {
    listener.set_nonblocking(true)?;
    let mut accepted = Err(io::ErrorKind::WouldBlock.into());
    until(event_loop, || {
        accepted = listener.accept();
        !matches!(&accepted, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    });
    let (connection, _) = accepted?;
    connection.set_nonblocking(true)?;
    Ok(connection)
}

/// Ends a connection with RST.
///
/// # Errors
///
/// What setsockopt(2) reports.
pub fn reset(stream: TcpStream) -> io::Result<()> {
    SockRef::from(&stream).set_linger(Some(Duration::ZERO))
}

/// Turns the loop until `condition` holds.
///
/// # Panics
///
/// If it does not hold within [`PATIENCE`], or the loop fails.
#[track_caller]
pub fn until(event_loop: &mut EventLoop, mut condition: impl FnMut() -> bool) {
    turn_until(event_loop, |_| condition(), "what the test waits for has not happened");
}

/// Turns the loop until no more than `left` sessions are left.
///
/// # Panics
///
/// As [`until`](fn@until).
#[track_caller]
pub fn until_over(event_loop: &mut EventLoop, left: usize) {
    turn_until(event_loop, |event_loop| event_loop.sessions() <= left, "a session has not ended");
}

#[track_caller]
fn turn_until(event_loop: &mut EventLoop, mut is_over: impl FnMut(&EventLoop) -> bool, failure: &str) {
    let begin = Instant::now();
    while !is_over(event_loop) {
        assert!(begin.elapsed() < PATIENCE, "{failure} within {PATIENCE:?}");
        event_loop.turn(Some(PAUSE)).expect("the loop turns");
    }
}

/// Turns the loop until it sleeps: no session has had a step for [`PAUSE`].
///
/// # Panics
///
/// If it does not come to rest within [`PATIENCE`], or fails.
#[track_caller]
pub fn settle(event_loop: &mut EventLoop) {
    let begin = Instant::now();
    while event_loop.turn(Some(PAUSE)).expect("the loop turns") > 0 {
        assert!(begin.elapsed() < PATIENCE, "the loop does not come to rest within {PATIENCE:?}");
    }
}

/// Checks that the loop sleeps for [`PAUSE`], with no session to step.
///
/// # Panics
///
/// If a session has had a step, or the loop was woken without one, or fails.
#[track_caller]
pub fn assert_quiet(event_loop: &mut EventLoop) {
    let (begin, turns) = (Instant::now(), event_loop.turns());
    let steps = event_loop.turn(Some(PAUSE)).expect("the loop turns");
    assert_eq!(steps, 0, "a session was stepped though nothing has happened");
    assert!(begin.elapsed() >= PAUSE, "the loop was woken though nothing has happened");
    assert_eq!(event_loop.turns(), turns + 1);
}

/// Says what a step is to find ready of a source, until the next call.
pub fn set_readiness<T: AsFd + 'static>(source: &Source<T>, readiness: Readiness) {
    source.set_readiness(readiness);
}

/// A session of these parts, for a test that needs one of its own: what it declares, and its step.
pub fn session<T>(
    parts: T,
    intents: impl Fn(&T, &mut Intents<'_>),
    step: impl FnMut(&mut T, &Ready<'_>) -> Result<Progress>,
) -> impl Session {
    Improvised { parts, intents, step }
}

/// A session that waits for nothing, and goes on until the loop is dropped.
pub fn idle() -> impl Session {
    session((), |(), _| {}, |(), _| Ok(Progress::Continue))
}

struct Improvised<T, I, S> {
    parts: T,
    intents: I,
    step: S,
}

impl<T, I, S> Session for Improvised<T, I, S>
where
    I: Fn(&T, &mut Intents<'_>),
    S: FnMut(&mut T, &Ready<'_>) -> Result<Progress>,
{
    fn intents(&self, intents: &mut Intents<'_>) {
        (self.intents)(&self.parts, intents);
    }

    fn advance(&mut self, ready: &Ready<'_>) -> Result<Progress> {
        (self.step)(&mut self.parts, ready)
    }
}

/// Stands for an event loop in tests that make each step themselves.
pub struct Stage {
    core: Rc<Core>,
    id: SessionId,
}

/// What a session or a part has declared.
#[derive(Debug)]
pub struct Declared {
    sources: Vec<(AnySource, Interest)>,
    deadline: Option<Instant>,
    again: bool,
}

impl Stage {
    /// A stage for one session or part.
    #[must_use]
    pub fn new() -> Self {
        let core = Rc::<Core>::default();
        let id = core.vacant_session();
        Self { core, id }
    }

    /// What `declare` declares, for instance `|intents| session.intents(intents)`.
    pub fn declared(&self, declare: impl FnOnce(&mut Intents<'_>)) -> Declared {
        let mut declaration = Declaration::default();
        declare(&mut Intents::new(&mut declaration));
        let Declaration { new, deadline, again, .. } = declaration;
        let interest = |source: AnySource| source.declared.take().map(|interest| (source, interest));
        Declared { sources: new.into_iter().filter_map(interest).collect(), deadline, again }
    }

    /// What to give to a step at this time. Sessions that the step spawns are never stepped.
    #[must_use]
    pub fn ready(&self, now: Instant) -> Ready<'_> {
        Ready::new(now, 0, &self.core, self.id)
    }
}

impl Default for Stage {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for Stage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stage").finish_non_exhaustive()
    }
}

impl Declared {
    /// Whether it is to be read.
    #[must_use]
    pub fn reads<T: AsFd + 'static>(&self, source: &Source<T>) -> bool {
        self.find(source).is_some_and(|interest| interest.read)
    }

    /// Whether it is to be written.
    #[must_use]
    pub fn writes<T: AsFd + 'static>(&self, source: &Source<T>) -> bool {
        self.find(source).is_some_and(|interest| interest.write)
    }

    /// When a step is due at the latest.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Whether a step is due at once.
    #[must_use]
    pub fn again(&self) -> bool {
        self.again
    }

    /// Addresses alone are compared: the same type can have several vtables.
    fn find<T: AsFd + 'static>(&self, source: &Source<T>) -> Option<Interest> {
        let is_it = |known: &AnySource| ptr::addr_eq(Rc::as_ptr(known), Rc::as_ptr(source.inner()));
        self.sources.iter().find(|(known, _)| is_it(known)).map(|&(_, interest)| interest)
    }
}
