//! What the loop sleeps in.
//!
//! Two pollers have one interface: watch a source under a key, forget it, wait. Keys are those of the
//! [registry](crate::registry), which knows the sessions.

use std::fmt;
use std::io;
use std::str::FromStr;
use std::time::Instant;

use ::calloop::channel::Sender;

use crate::session::{AnySource, Interest, Key, SessionId};

mod calloop;
#[cfg(all(target_os = "linux", not(portable)))]
mod epoll;

use self::calloop::CalloopPoller;
#[cfg(all(target_os = "linux", not(portable)))]
use self::epoll::EpollPoller;

/// Which poller an [`EventLoop`](crate::EventLoop) sleeps in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PollerKind {
    /// The best for this system: on Linux an epoll(7) set of its own, where a turn costs one system call
    /// if only sockets are ready; elsewhere calloop.
    #[default]
    Auto,
    /// calloop, which runs on every Unix. A turn costs four system calls more, and
    /// [`Ready::has_finished`](crate::Ready::has_finished) is always `false`.
    Calloop,
}

/// What watches sources.
pub(crate) trait Poller {
    /// Reports this of the source from now on, under this key.
    fn watch(&mut self, key: Key, source: &AnySource, interest: Interest, watch: Watch) -> io::Result<()>;

    /// Reports nothing any more of a source that stays open.
    fn forget(&mut self, key: Key, source: &AnySource);

    /// Sleeps until something happens, at most as long as `sleep` says, and reports it.
    fn wait(&mut self, sleep: Sleep, report: &mut dyn FnMut(Report)) -> io::Result<()>;

    /// Forgets all sources, also those that it still reports although they are closed. Returns whether
    /// the caller has to watch those that are left anew.
    fn start_over(&mut self) -> io::Result<bool>;
}

/// A poller without sources, and what wakes it from other threads.
pub(crate) fn new_poller(kind: PollerKind) -> io::Result<(Box<dyn Poller>, Sender<SessionId>)> {
    let (calloop, sender) = CalloopPoller::new()?;
    Ok(match kind {
        #[cfg(all(target_os = "linux", not(portable)))]
        PollerKind::Auto => (Box::new(EpollPoller::new(calloop)?), sender),
        _ => (Box::new(calloop), sender),
    })
}

/// Whether the poller has the key already.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Watch {
    New,
    Changed,
}

/// What a wait brings.
pub(crate) enum Report {
    Event(Event),
    /// Another thread has woken this session.
    Woken(SessionId),
}

/// What a poller reports of one source.
#[derive(Clone, Copy)]
pub(crate) struct Event {
    pub(crate) key: Key,
    pub(crate) readable: bool,
    pub(crate) writable: bool,
    /// See [`Ready::has_finished`](crate::Ready::has_finished).
    pub(crate) finished: bool,
}

/// How long a poller may sleep.
#[derive(Clone, Copy)]
pub(crate) enum Sleep {
    No,
    Until(Instant),
    Forever,
}

impl Sleep {
    /// Whether it has lasted long enough, though nothing has happened.
    pub(crate) fn is_over(self, now: Instant) -> bool {
        match self {
            Self::No => true,
            Self::Until(at) => at <= now,
            Self::Forever => false,
        }
    }
}

impl FromStr for PollerKind {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "auto" => Ok(Self::Auto),
            "calloop" => Ok(Self::Calloop),
            _ => Err(format!("`{name}` is no poller: there are auto and calloop")),
        }
    }
}

impl fmt::Display for PollerKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Calloop => "calloop",
        })
    }
}
