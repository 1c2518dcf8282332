//! Readiness of many sockets, level-triggered.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::retry_on_intr;

/// Sockets by a number the caller gives them.
pub(super) struct Poller {
    epoll: OwnedFd,
}

impl Poller {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self { epoll: epoll::create(CreateFlags::CLOEXEC)? })
    }

    pub(super) fn add(&self, socket: impl AsFd, token: usize, interest: EventFlags) -> io::Result<()> {
        Ok(epoll::add(&self.epoll, socket, EventData::new_u64(token as u64), interest)?)
    }

    pub(super) fn modify(&self, socket: impl AsFd, token: usize, interest: EventFlags) -> io::Result<()> {
        Ok(epoll::modify(&self.epoll, socket, EventData::new_u64(token as u64), interest)?)
    }

    /// Waits until some of the sockets are ready, and puts them into `ready` in place of what was there: their numbers, and
    /// what for. An error or a hang-up counts as readiness for everything.
    pub(super) fn wait(&self, ready: &mut Vec<Event>) -> io::Result<()> {
        ready.clear();
        ready.reserve(1024);
        // A process that was stopped and goes on finds its wait interrupted (signal(7)).
        retry_on_intr(|| epoll::wait(&self.epoll, spare_capacity(ready), None))?;
        for event in ready {
            let flags = event.flags;
            if flags.intersects(EventFlags::ERR | EventFlags::HUP) {
                event.flags = flags | EventFlags::IN | EventFlags::OUT;
            }
        }
        Ok(())
    }
}

/// The number of a socket that is ready.
pub(super) fn token(event: &Event) -> usize {
    event.data.u64() as usize
}
