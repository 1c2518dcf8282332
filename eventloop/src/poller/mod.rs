//! What the loop sleeps in.
//!
//! Two pollers have one interface: watch a source under a key, forget it, wait. Keys are those of the
//! [registry](crate::registry), which knows the sessions.

use std::fmt;
use std::io;
use std::str::FromStr;
use std::time::Duration;

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

pub(crate) enum Poller {
    Calloop(CalloopPoller),
    #[cfg(all(target_os = "linux", not(portable)))]
    Epoll(EpollPoller),
}

/// Whether the poller has the key already.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Watch {
    New,
    Changed,
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

/// A longer sleep is cut short: epoll_wait(2) takes milliseconds in an `int`.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// What one wait has brought.
#[derive(Default)]
pub(crate) struct Inbox {
    pub(crate) events: Vec<Event>,
    /// Sessions that other threads have woken.
    pub(crate) woken: Vec<SessionId>,
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

impl Poller {
    /// A poller without sources, and what wakes it from other threads.
    pub(crate) fn new(kind: PollerKind) -> io::Result<(Self, Sender<SessionId>)> {
        let (calloop, sender) = CalloopPoller::new()?;
        let poller = match kind {
            #[cfg(all(target_os = "linux", not(portable)))]
            PollerKind::Auto => Self::Epoll(EpollPoller::new(calloop)?),
            _ => Self::Calloop(calloop),
        };
        Ok((poller, sender))
    }

    /// Reports this of the source from now on, under this key.
    pub(crate) fn watch(
        &mut self,
        key: Key,
        source: &AnySource,
        interest: Interest,
        watch: Watch,
    ) -> io::Result<()> {
        match self {
            Self::Calloop(poller) => poller.watch(key, source, interest, watch),
            #[cfg(all(target_os = "linux", not(portable)))]
            Self::Epoll(poller) => poller.watch(key, source, interest, watch),
        }
    }

    /// Reports nothing any more of a source that stays open.
    pub(crate) fn forget(&mut self, key: Key, source: &AnySource) {
        match self {
            Self::Calloop(poller) => poller.forget(key),
            #[cfg(all(target_os = "linux", not(portable)))]
            Self::Epoll(poller) => poller.forget(source),
        }
        let _ = source;
    }

    /// Sleeps until something happens, at most for `timeout`, and puts it into `inbox`.
    pub(crate) fn wait(&mut self, timeout: Option<Duration>, inbox: &mut Inbox) -> io::Result<()> {
        let timeout = timeout.map(|timeout| timeout.min(LONGEST));
        match self {
            Self::Calloop(poller) => poller.wait(timeout, inbox),
            #[cfg(all(target_os = "linux", not(portable)))]
            Self::Epoll(poller) => poller.wait(timeout, inbox),
        }
    }

    /// Forgets all sources, also those that it still reports although they are closed. Returns whether
    /// the caller has to watch those that are left anew.
    pub(crate) fn start_over(&mut self) -> io::Result<bool> {
        match self {
            Self::Calloop(_) => Ok(false), // it never reports a source that is closed
            #[cfg(all(target_os = "linux", not(portable)))]
            Self::Epoll(poller) => poller.start_over().map(|()| true),
        }
    }
}
