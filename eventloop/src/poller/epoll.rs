//! The poller for Linux: an epoll(7) set of the sources, with calloop's descriptor as one member of it.
//!
//! Calloop dispatches everything that is no source of a session, such as messages of other threads. It costs
//! nothing while there are none. A turn in which only sources are ready is one system call.
//!
//! The set does not hold on to its sources. Closing a descriptor takes it out of the set, so that costs no
//! system call either (epoll(7), questions and answers, 6).

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::io::Errno;
use slotmap::{Key as _, KeyData};

use super::calloop::CalloopPoller;
use super::{Event, Inbox, Poller, Watch};
use crate::session::{AnySource, Interest, Key};

pub(crate) struct EpollPoller {
    set: OwnedFd,
    calloop: CalloopPoller,
    /// Empty between two waits.
    events: Vec<epoll::Event>,
}

/// Events that one wait takes; others come with the next.
const BATCH: usize = 256;

/// Stands for calloop's descriptor. No key has this number: its index is the one of the null key.
const CALLOOP: u64 = u64::MAX;

impl EpollPoller {
    pub(crate) fn new(calloop: CalloopPoller) -> io::Result<Self> {
        let set = new_set(&calloop)?;
        Ok(Self { set, calloop, events: Vec::with_capacity(BATCH) })
    }
}

impl Poller for EpollPoller {
    fn watch(&mut self, key: Key, source: &AnySource, interest: Interest, watch: Watch) -> io::Result<()> {
        let (data, flags) = (EventData::new_u64(key.data().as_ffi()), flags(interest));
        match watch {
            Watch::New => epoll::add(&self.set, source, data, flags)?,
            Watch::Changed => epoll::modify(&self.set, source, data, flags)?,
        }
        Ok(())
    }

    fn forget(&mut self, _: Key, source: &AnySource) {
        let _ = epoll::delete(&self.set, source); // a source that is closed has left the set already
    }

    fn wait(&mut self, timeout: Option<Duration>, inbox: &mut Inbox) -> io::Result<()> {
        let timeout = timeout.map(|timeout| timeout.try_into().expect("a day fits"));
        match epoll::wait(&self.set, spare_capacity(&mut self.events), timeout.as_ref()) {
            Ok(_) => {}
            Err(Errno::INTR) => return Ok(()), // a signal handler has run: nothing has happened yet
            Err(error) => return Err(error.into()),
        }
        for event in self.events.drain(..) {
            let (flags, data) = (event.flags, event.data.u64());
            if data == CALLOOP {
                self.calloop.wait(Some(Duration::ZERO), inbox)?;
                continue;
            }
            let failed = flags.intersects(EventFlags::ERR | EventFlags::HUP);
            let readable = EventFlags::IN | EventFlags::RDHUP | EventFlags::PRI;
            inbox.events.push(Event {
                key: KeyData::from_ffi(data).into(),
                readable: failed || flags.intersects(readable),
                writable: failed || flags.intersects(EventFlags::OUT),
                // Urgent data may lie behind bytes that a read returns, and an error behind the last of them.
                finished: flags.contains(EventFlags::RDHUP)
                    && !flags.intersects(EventFlags::ERR | EventFlags::PRI),
            });
        }
        Ok(())
    }

    fn start_over(&mut self) -> io::Result<bool> {
        self.set = new_set(&self.calloop)?;
        Ok(true)
    }
}

fn new_set(calloop: &CalloopPoller) -> io::Result<OwnedFd> {
    let set = epoll::create(CreateFlags::CLOEXEC)?;
    epoll::add(&set, calloop, EventData::new_u64(CALLOOP), EventFlags::IN)?;
    Ok(set)
}

/// How the kernel is asked for an [`Interest`]. It reports errors and hang-ups in any case.
fn flags(interest: Interest) -> EventFlags {
    let mut flags = EventFlags::empty();
    if interest.read || interest.read_edge {
        flags |= EventFlags::IN | EventFlags::RDHUP | EventFlags::PRI;
    }
    if interest.write {
        flags |= EventFlags::OUT;
    }
    if interest.is_edge() {
        flags |= EventFlags::ET;
    }
    flags
}
