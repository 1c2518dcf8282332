//! The poller for every system: calloop, each source one of its own.
//!
//! It holds on to its sources, so one that a session has dropped is closed when it is
//! [forgotten](CalloopPoller::forget), right after the session's step.

use std::convert::Infallible;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use calloop::channel::{self, Sender};
use calloop::generic::Generic;
use calloop::{Dispatcher, Mode, PostAction, RegistrationToken};
use slotmap::SecondaryMap;

use super::{Event, Poller, Report, Sleep, Watch};
use crate::session::{AnySource, Interest, Key, SessionId};

/// The longest sleep: epoll_wait(2) takes milliseconds in an `int`.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

type SourceDispatcher = Dispatcher<'static, Generic<AnySource, Infallible>, Inbox>;

pub(crate) struct CalloopPoller {
    calloop: calloop::EventLoop<'static, Inbox>,
    sources: SecondaryMap<Key, (RegistrationToken, SourceDispatcher)>,
    /// Empty between two waits.
    inbox: Inbox,
}

/// What calloop has dispatched.
type Inbox = Vec<Report>;

impl CalloopPoller {
    pub(crate) fn new() -> io::Result<(Self, Sender<SessionId>)> {
        let calloop = calloop::EventLoop::try_new()?;
        let (sender, woken) = channel::channel();
        let note = |event, _: &mut (), inbox: &mut Inbox| {
            if let channel::Event::Msg(session) = event {
                inbox.push(Report::Woken(session));
            }
        };
        calloop.handle().insert_source(woken, note).map_err(calloop::Error::from)?;
        Ok((Self { calloop, sources: SecondaryMap::new(), inbox: Inbox::new() }, sender))
    }
}

impl Poller for CalloopPoller {
    fn watch(&mut self, key: Key, source: &AnySource, interest: Interest, _: Watch) -> io::Result<()> {
        let (asked, mode) = terms(interest);
        if let Some((token, dispatcher)) = self.sources.get(key) {
            let mut generic = dispatcher.as_source_mut();
            (generic.interest, generic.mode) = (asked, mode);
            drop(generic);
            self.calloop.handle().update(token)?;
            return Ok(());
        }
        let generic = Generic::new_with_error(source.clone(), asked, mode);
        let note = move |ready: calloop::Readiness, _: &mut _, inbox: &mut Inbox| {
            let (readable, writable) = (ready.readable, ready.writable);
            inbox.push(Report::Event(Event { key, readable, writable, finished: false }));
            Ok(PostAction::Continue)
        };
        let dispatcher = Dispatcher::new(generic, note);
        let token = self.calloop.handle().register_dispatcher(dispatcher.clone())?;
        self.sources.insert(key, (token, dispatcher));
        Ok(())
    }

    fn forget(&mut self, key: Key, _: &AnySource) {
        if let Some((token, _)) = self.sources.remove(key) {
            self.calloop.handle().remove(token);
        }
    }

    fn wait(&mut self, sleep: Sleep, report: &mut dyn FnMut(Report)) -> io::Result<()> {
        let timeout = match sleep {
            Sleep::No => Some(Duration::ZERO),
            Sleep::Until(at) => Some(at.saturating_duration_since(Instant::now()).min(LONGEST)),
            Sleep::Forever => None,
        };
        self.calloop.dispatch(timeout, &mut self.inbox)?;
        self.inbox.drain(..).for_each(report);
        Ok(())
    }

    fn start_over(&mut self) -> io::Result<bool> {
        Ok(false) // it never reports a source that is closed
    }
}

/// Calloop's own descriptor: readable when one of its sources is ready.
impl AsFd for CalloopPoller {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.calloop.as_fd()
    }
}

/// How calloop is asked for an [`Interest`].
fn terms(interest: Interest) -> (calloop::Interest, Mode) {
    let readable = interest.read || interest.read_edge;
    let mode = if interest.is_edge() { Mode::Edge } else { Mode::Level };
    (calloop::Interest { readable, writable: interest.write }, mode)
}
