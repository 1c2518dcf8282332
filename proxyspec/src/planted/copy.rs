//! One direction of a session.

use std::io::{Read, Write};
use std::mem;
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsFd;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::{SendFlags, send};

use super::session::{Half, PlantedSession};
use super::{Bug, ready};
use testkit::procfs;

/// Where in a stream the bugs that garble it do so.
const FAR: u64 = 100_000;

/// What counts as a small block, where that matters to a bug.
const SMALL: usize = 500;

/// The time that some bugs wait for the next bytes.
const A_MOMENT: Duration = Duration::from_millis(100);

/// Bytes that arrive within this time count as arrived at once.
const AT_ONCE: Duration = Duration::from_millis(1);

/// How often a condition without an event is looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// How long the kernel may take to send what waits before a reset.
const LINGER: Duration = Duration::from_secs(30);

/// Copies until an end, and hands the end on.
pub(super) fn copy(session: &PlantedSession<'_>, from: &Half<'_>, to: &Half<'_>, reset_already: bool) {
    let mut reset_seen = reset_already;
    let mut buffer = vec![0; session.options.buffer as usize];
    let mut carried = 0;
    let _served_first = ServedFirst(session);
    let mut held = Vec::new();
    let mut backlog = session.has(Bug::BuffersWithoutBound).then(|| Backlog::new(to.stream));
    let upwards = std::ptr::eq(from, &session.client);
    // A direction keeps its turn until its source has no more.
    let turns = match session.options.bug {
        Some(Bug::TakesTurns) => Some(&session.turn),
        Some(Bug::WritesInTurn) => Some(&session.proxy.turn),
        _ => None,
    };
    let mut turn = None;
    while !upwards && session.has(Bug::WaitsForClient) && !session.client_spoke.load(Ordering::SeqCst) {
        if session.client.ended.load(Ordering::SeqCst) {
            break;
        }
        thread::sleep(LOOK_AGAIN);
    }
    loop {
        let readiness = wait(session, from);
        if session.is_reset() && !reset_already {
            return;
        }
        if session.has(Bug::BelievesEndOfFile) && readiness.contains(PollFlags::ERR) {
            // As a write would in a proxy that writes before it reads.
            let _ = from.stream.take_error();
        }
        let mut count = match (&*from.stream).read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(_) => {
                reset_seen = true;
                break;
            }
        };
        if upwards {
            session.client_spoke.store(true, Ordering::SeqCst);
        }
        if session.has(Bug::DropsBlockAtReset)
            && count >= SMALL
            && ready(from.stream, PollFlags::IN, A_MOMENT).contains(PollFlags::ERR)
        {
            reset_seen = true;
            break;
        }
        if session.has(Bug::OverwritesSmallBlocks)
            && count < SMALL
            && ready(from.stream, PollFlags::IN, AT_ONCE).contains(PollFlags::IN)
            && let Ok(next @ 1..) = (&*from.stream).read(&mut buffer)
        {
            count = next;
        }
        let mut block = mem::take(&mut held);
        block.extend(&buffer[..count]);
        let far = carried < FAR && carried + count as u64 > FAR;
        carried += count as u64;
        match session.options.bug {
            Some(Bug::SwapsBlocks) if far => {
                let half = block.len() / 2;
                block.rotate_left(half);
            }
            Some(Bug::RepeatsBlock) if far => block = block.repeat(2),
            Some(Bug::DelaysSmallBlocks) if count < SMALL => thread::sleep(A_MOMENT),
            Some(Bug::KeepsFullBuffer) if block.len() == buffer.len() => {
                held = block;
                continue;
            }
            Some(Bug::DropsLastByte) if count >= SMALL && last(from.stream) => {
                block.truncate(block.len() - 1)
            }
            _ => {}
        }
        turn = turn.or_else(|| turns.map(lock));
        let written = match &mut backlog {
            Some(backlog) => backlog.add(block),
            None => take_turn(session, from, count, || write(session, from, to, &block)),
        };
        if !written {
            return;
        }
        turn.take_if(|_| ready(from.stream, PollFlags::IN, AT_ONCE).is_empty());
        if let Some(since) = session.quiet_since().as_mut()
            && !session.has(Bug::IgnoresTraffic)
        {
            *since = Instant::now();
        }
    }
    drop((backlog, turn));
    from.ended.store(true, Ordering::SeqCst);
    reset_seen |= !session.has(Bug::BelievesEndOfFile) && was_reset(from);
    if reset_seen && !session.has(Bug::ResetBecomesFin) {
        if !session.has(Bug::ResetsAtOnce) {
            wait_until_acknowledged(to.stream);
        }
        session.reset.store(true, Ordering::SeqCst);
        // Wakes the thread that reads from there; nothing is sent.
        let _ = to.stream.shutdown(Shutdown::Read);
        return;
    }
    if !held.is_empty() && !write(session, from, to, &held) {
        return;
    }
    finish(session, from, to, upwards);
}

fn lock(turn: &Mutex<()>) -> MutexGuard<'_, ()> {
    turn.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Passes a FIN on.
fn finish(session: &PlantedSession<'_>, from: &Half<'_>, to: &Half<'_>, upwards: bool) {
    while !upwards
        && session.has(Bug::KeepsServersFin)
        && !session.client.ended.load(Ordering::SeqCst)
        && !session.is_reset()
    {
        thread::sleep(LOOK_AGAIN);
    }
    if session.has(Bug::ResetsWhenBothFinish)
        && ready(to.stream, PollFlags::RDHUP, A_MOMENT).contains(PollFlags::RDHUP)
        && !from.finished.load(Ordering::SeqCst)
    {
        session.reset.store(true, Ordering::SeqCst);
    }
    if session.is_reset() {
        return;
    }
    session.quiet_since().get_or_insert_with(Instant::now);
    if !upwards && session.leaves_client_open() {
        return;
    }
    to.finished.store(true, Ordering::SeqCst);
    let _ = to.stream.shutdown(Shutdown::Write);
    if session.has(Bug::ClosesBoth) {
        let _ = from.stream.shutdown(Shutdown::Both);
        let _ = to.stream.shutdown(Shutdown::Both);
    }
}

/// Writes all of it, and returns whether the direction goes on.
fn write(session: &PlantedSession<'_>, from: &Half<'_>, to: &Half<'_>, block: &[u8]) -> bool {
    let turn = session.has(Bug::StopsAtFailedWrite).then(|| lock(&session.turn));
    if session.stopped.load(Ordering::SeqCst) {
        return false;
    }
    let written = match session.options.bug {
        Some(Bug::SpinsWhenStalled | Bug::SpinsAfterReset) => write_spinning(session, from, to, block),
        _ => (&*to.stream).write_all(block).is_ok(),
    };
    while !written && session.has(Bug::RetriesFailedWrites) {
        let _ = (&*to.stream).write(block);
    }
    if !written && session.has(Bug::StopsAtFailedWrite) {
        session.stopped.store(true, Ordering::SeqCst);
        session.reset.store(true, Ordering::SeqCst);
        let _ = from.stream.shutdown(Shutdown::Read);
        let _ = to.stream.shutdown(Shutdown::Read);
    }
    drop(turn);
    if !written && session.has(Bug::SendsWithoutReader) {
        let mut rest = [0; 16_384];
        while matches!((&*from.stream).read(&mut rest), Ok(1..)) {}
    }
    // The thread that reads from there reads what is left, and finds the reset.
    written
}

/// Writes all of it without waiting in the write.
fn write_spinning(session: &PlantedSession<'_>, from: &Half<'_>, to: &Half<'_>, mut block: &[u8]) -> bool {
    while !block.is_empty() {
        match send(to.stream, block, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
            Ok(count) => block = &block[count..],
            Err(Errno::AGAIN) if session.has(Bug::SpinsAfterReset) => {
                let room = PollFd::from_borrowed_fd(to.stream.as_fd(), PollFlags::OUT);
                // Nothing is asked for, but a reset is reported all the same.
                let reset = PollFd::from_borrowed_fd(from.stream.as_fd(), PollFlags::empty());
                // With valid descriptors, it fails only if a signal comes first.
                let _ = poll(&mut [room, reset], None);
            }
            Err(Errno::AGAIN) => {}
            Err(_) => return false,
        }
    }
    true
}

/// How long a session is silent that has nothing to do.
const IDLE: Duration = Duration::from_secs(2);

/// Calls `act`. In a proxy that serves the busy session first, other sessions have their turn only once this one is idle.
fn take_turn(
    session: &PlantedSession<'_>,
    from: &Half<'_>,
    count: usize,
    act: impl FnOnce() -> bool,
) -> bool {
    if !session.has(Bug::ServesBulkFirst) {
        return act();
    }
    let busy = session.proxy.busy.lock().unwrap_or_else(PoisonError::into_inner);
    let others = |busy: &mut Option<usize>| busy.is_some_and(|other| other != number(session));
    let busy = session.proxy.idle.wait_while(busy, others);
    let before = busy.unwrap_or_else(PoisonError::into_inner).replace(number(session));
    let outcome = act();
    let little = count < SMALL && before.is_none();
    if little || ready(from.stream, PollFlags::IN, IDLE).is_empty() {
        release(session);
    }
    outcome
}

/// Lets other sessions go on at the end of a direction.
struct ServedFirst<'a>(&'a PlantedSession<'a>);

impl Drop for ServedFirst<'_> {
    fn drop(&mut self) {
        release(self.0);
    }
}

fn release(session: &PlantedSession<'_>) {
    let mut busy = session.proxy.busy.lock().unwrap_or_else(PoisonError::into_inner);
    if *busy == Some(number(session)) {
        *busy = None;
        session.proxy.idle.notify_all();
    }
}

/// No other session has the same as long as this one lives.
fn number(session: &PlantedSession<'_>) -> usize {
    std::ptr::from_ref(session) as usize
}

/// How often a session that waits looks whether its time is up.
const CLOCK: Duration = Duration::from_millis(100);

/// Waits until there is something to read, or ends the session when its time is up.
fn wait(session: &PlantedSession<'_>, from: &Half<'_>) -> PollFlags {
    let limit = session.options.half_close.filter(|_| !session.has(Bug::NeverTimesOut));
    loop {
        let spins = session.has(Bug::SpinsWhenHalfClosed) && session.quiet_since().is_some();
        let readiness = ready(from.stream, PollFlags::IN, if spins { Duration::ZERO } else { CLOCK });
        if !readiness.is_empty() || session.is_reset() {
            return readiness;
        }
        let silent = |limit| session.quiet_since().is_some_and(|since| since.elapsed() > limit);
        let over = session.proxy.time_is_up.load(Ordering::SeqCst);
        if over || limit.is_some_and(|limit| silent(Duration::from_secs(limit))) {
            session.cut.store(true, Ordering::SeqCst);
            session.reset.store(true, Ordering::SeqCst);
            return PollFlags::empty();
        }
    }
}

/// Whether an end of file is a reset whose error a write has taken: then the socket is shut down both ways, although
/// only one FIN, if any, was sent.
fn was_reset(half: &Half<'_>) -> bool {
    let readiness = ready(half.stream, PollFlags::IN, Duration::ZERO);
    readiness.contains(PollFlags::HUP) && !half.finished.load(Ordering::SeqCst)
}

/// Whether only a FIN is left to be read.
fn last(stream: &TcpStream) -> bool {
    ready(stream, PollFlags::IN, A_MOMENT).contains(PollFlags::IN)
        && stream.peek(&mut [0]).is_ok_and(|count| count == 0)
}

/// A reset throws away what the kernel has not sent.
fn wait_until_acknowledged(stream: &TcpStream) {
    let (Ok(local), Ok(remote)) = (stream.local_addr(), stream.peer_addr()) else {
        return;
    };
    let until = Instant::now() + LINGER;
    let waits = || {
        let socket = procfs::connection(local, remote);
        socket.is_ok_and(|socket| socket.is_some_and(|socket| socket.unacknowledged > 0))
    };
    while waits() && Instant::now() < until {
        thread::sleep(LOOK_AGAIN);
    }
}

/// What is still to be written, without a bound. Dropping it waits until it is.
#[derive(Debug)]
struct Backlog {
    blocks: Sender<Vec<u8>>,
    writer: Option<JoinHandle<()>>,
}

impl Backlog {
    fn new(stream: &TcpStream) -> Self {
        let (blocks, to_write) = channel::<Vec<u8>>();
        // Without a descriptor nothing is written, and the session ends.
        let writer = stream.try_clone().ok().map(|mut stream| {
            thread::spawn(move || {
                // The first failure ends it, since the blocks to come have nowhere to go.
                let _ = to_write.into_iter().try_for_each(|block| stream.write_all(&block));
            })
        });
        Self { blocks, writer }
    }

    /// Adds a block; `false` when nothing can be written any more.
    fn add(&mut self, block: Vec<u8>) -> bool {
        self.blocks.send(block).is_ok()
    }
}

impl Drop for Backlog {
    fn drop(&mut self) {
        drop(mem::replace(&mut self.blocks, channel().0));
        // A panic in there was printed.
        let _ = self.writer.take().map(JoinHandle::join);
    }
}
