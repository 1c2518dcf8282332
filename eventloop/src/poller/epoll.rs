//! The poller for Linux: an epoll(7) set of the sources, with calloop's descriptor and an alarm clock as members.
//!
//! Calloop dispatches everything that is no source of a session, such as messages of other threads. It costs
//! nothing while there are none. A turn in which only sources are ready is one system call.
//!
//! The alarm clock (timerfd_create(2)) rings at the next deadline. It is set again only if that comes earlier, or after it
//! has rung. So a sleep needs no timeout, for which the program and the kernel would read the clock each time.
//!
//! The set does not hold on to its sources. Closing a descriptor takes it out of the set, so that costs no
//! system call either (epoll(7), questions and answers, 6).

use std::io;
use std::os::fd::OwnedFd;
use std::time::Instant;

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::io::Errno;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use slotmap::{Key as _, KeyData};

use super::calloop::CalloopPoller;
use super::{Event, Poller, Report, Sleep, Watch};
use crate::session::{AnySource, Interest, Key};

pub(crate) struct EpollPoller {
    set: OwnedFd,
    calloop: CalloopPoller,
    alarm: OwnedFd,
    /// When it rings, if it is set.
    alarm_at: Option<Instant>,
    /// Empty between two waits.
    events: Vec<epoll::Event>,
}

/// Events that one wait takes; others come with the next.
const BATCH: usize = 256;

/// Stands for calloop's descriptor. No key has this number: its index is the one of the null key.
const CALLOOP: u64 = u64::MAX;

/// Stands for the alarm clock. It has the same index.
const ALARM: u64 = CALLOOP - (1 << 32);

impl EpollPoller {
    pub(crate) fn new(calloop: CalloopPoller) -> io::Result<Self> {
        let alarm =
            timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        let set = new_set(&calloop, &alarm)?;
        Ok(Self { set, calloop, alarm, alarm_at: None, events: Vec::with_capacity(BATCH) })
    }

    /// Sees to it that the alarm rings at this instant or before; `false` if it has passed.
    fn set_alarm(&mut self, at: Instant) -> io::Result<bool> {
        if self.alarm_at.is_some_and(|alarm| alarm <= at) {
            return Ok(true);
        }
        let left = at.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(false);
        }
        let it_value = left.try_into().map_err(io::Error::other)?;
        let once = Itimerspec { it_interval: Timespec::default(), it_value };
        timerfd_settime(&self.alarm, TimerfdTimerFlags::empty(), &once)?;
        self.alarm_at = Some(at);
        Ok(true)
    }

    /// Sleeps once. Returns whether nothing has happened but that the alarm has rung.
    fn wait_once(&mut self, timeout: Option<&Timespec>, report: &mut dyn FnMut(Report)) -> io::Result<bool> {
        match epoll::wait(&self.set, spare_capacity(&mut self.events), timeout) {
            Ok(_) => {}
            Err(Errno::INTR) => return Ok(false), // a signal handler has run: nothing has happened yet
            Err(error) => return Err(error.into()),
        }
        let mut alarm_alone = self.events.len() == 1;
        for event in self.events.drain(..) {
            let (flags, data) = (event.flags, event.data.u64());
            match data {
                ALARM => {
                    self.alarm_at = None;
                    continue;
                }
                CALLOOP => self.calloop.wait(Sleep::No, report)?,
                _ => report(Report::Event(event_of(data, flags))),
            }
            alarm_alone = false;
        }
        Ok(alarm_alone)
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

    fn wait(&mut self, sleep: Sleep, report: &mut dyn FnMut(Report)) -> io::Result<()> {
        const NOT: Option<&Timespec> = Some(&Timespec { tv_sec: 0, tv_nsec: 0 });
        loop {
            let timeout = match sleep {
                Sleep::Until(at) if self.set_alarm(at)? => None,
                Sleep::No | Sleep::Until(_) => NOT,
                Sleep::Forever => None,
            };
            let alarm_alone = self.wait_once(timeout, report)?;
            // It may have been set for a deadline that is none any more.
            if !alarm_alone || sleep.is_over(Instant::now()) {
                return Ok(());
            }
        }
    }

    fn start_over(&mut self) -> io::Result<bool> {
        self.set = new_set(&self.calloop, &self.alarm)?;
        Ok(true)
    }
}

fn new_set(calloop: &CalloopPoller, alarm: &OwnedFd) -> io::Result<OwnedFd> {
    let set = epoll::create(CreateFlags::CLOEXEC)?;
    epoll::add(&set, calloop, EventData::new_u64(CALLOOP), EventFlags::IN)?;
    epoll::add(&set, alarm, EventData::new_u64(ALARM), EventFlags::IN | EventFlags::ET)?; // it is never read
    Ok(set)
}

/// What the kernel reports of a source.
fn event_of(data: u64, flags: EventFlags) -> Event {
    let failed = flags.intersects(EventFlags::ERR | EventFlags::HUP);
    let readable = EventFlags::IN | EventFlags::RDHUP | EventFlags::PRI;
    Event {
        key: KeyData::from_ffi(data).into(),
        readable: failed || flags.intersects(readable),
        writable: failed || flags.intersects(EventFlags::OUT),
        // Urgent data may lie behind bytes that a read returns, and an error behind the last of them.
        finished: flags.contains(EventFlags::RDHUP) && !flags.intersects(EventFlags::ERR | EventFlags::PRI),
    }
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
