//! One direction of a session.

use std::io::{Read, Write};
use std::mem;
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsFd;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::Bug;
use super::session::{Half, Session};
use crate::procfs;

/// Where in a stream the bugs that garble it do so.
const FAR: u64 = 100_000;

/// What counts as a small block, where that matters to a bug.
const SMALL: usize = 500;

/// How long some bugs wait for what comes next.
const A_MOMENT: Duration = Duration::from_millis(100);

/// How often a condition is looked at that nobody announces.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// How long the kernel may take to send what waits before a reset.
const LINGER: Duration = Duration::from_secs(30);

/// Copies until an end, and hands the end on.
pub(super) fn copy(session: &Session<'_>, from: &Half<'_>, to: &Half<'_>, reset_already: bool) {
    let mut reset_seen = reset_already;
    let mut buffer = vec![0; session.options.buffer as usize];
    let mut carried = 0;
    let mut held = Vec::new();
    let upwards = std::ptr::eq(from, &session.client);
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
        let count = match (&*from.stream).read(&mut buffer) {
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
            Some(Bug::KeepsFullBuffer) if count == buffer.len() => {
                held = block;
                continue;
            }
            Some(Bug::DropsLastByte) if count >= SMALL && last(from.stream) => {
                block.truncate(block.len() - 1)
            }
            _ => {}
        }
        if !write(session, from, to, &block) {
            return;
        }
        if let Some(since) = session.quiet_since().as_mut()
            && !session.has(Bug::IgnoresTraffic)
        {
            *since = Instant::now();
        }
    }
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

/// Passes a FIN on.
fn finish(session: &Session<'_>, from: &Half<'_>, to: &Half<'_>, upwards: bool) {
    while !upwards
        && session.has(Bug::KeepsServersFin)
        && !session.client.ended.load(Ordering::SeqCst)
        && !session.is_reset()
    {
        thread::sleep(LOOK_AGAIN);
    }
    if session.is_reset() {
        return;
    }
    session.quiet_since().get_or_insert_with(Instant::now);
    to.finished.store(true, Ordering::SeqCst);
    let _ = to.stream.shutdown(Shutdown::Write);
    if session.has(Bug::ClosesBoth) {
        let _ = from.stream.shutdown(Shutdown::Both);
        let _ = to.stream.shutdown(Shutdown::Both);
    }
}

/// Writes all of it, and returns whether the direction goes on.
fn write(session: &Session<'_>, from: &Half<'_>, to: &Half<'_>, block: &[u8]) -> bool {
    let takes_turns = session.has(Bug::TakesTurns) || session.has(Bug::StopsAtFailedWrite);
    let turn = takes_turns.then(|| session.turn.lock().unwrap_or_else(PoisonError::into_inner));
    if session.stopped.load(Ordering::SeqCst) {
        return false;
    }
    let written = (&*to.stream).write_all(block).is_ok();
    if !written && session.has(Bug::StopsAtFailedWrite) {
        session.stopped.store(true, Ordering::SeqCst);
        session.reset.store(true, Ordering::SeqCst);
        let _ = from.stream.shutdown(Shutdown::Read);
        let _ = to.stream.shutdown(Shutdown::Read);
    }
    drop(turn);
    if !written && session.has(Bug::SendsToNobody) {
        let mut rest = [0; 16_384];
        while matches!((&*from.stream).read(&mut rest), Ok(1..)) {}
    }
    // The thread that reads from there reads what is left, and finds the reset.
    written
}

/// Waits until there is something to read, or ends the session when its time is up.
fn wait(session: &Session<'_>, from: &Half<'_>) -> PollFlags {
    let Some(limit) = session.options.half_close.filter(|_| !session.has(Bug::NeverTimesOut)) else {
        return ready(from.stream, PollFlags::IN, FOREVER);
    };
    let limit = Duration::from_secs(limit);
    loop {
        let readiness = ready(from.stream, PollFlags::IN, LOOK_AGAIN);
        if !readiness.is_empty() || session.is_reset() {
            return readiness;
        }
        let silent = session.quiet_since().is_some_and(|since| since.elapsed() > limit);
        if silent {
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

const FOREVER: Duration = Duration::from_secs(365 * 24 * 3600);

/// What the socket is ready for, once it is or the time is over.
fn ready(stream: &TcpStream, flags: PollFlags, patience: Duration) -> PollFlags {
    let mut fds = [PollFd::from_borrowed_fd(stream.as_fd(), flags)];
    // With a valid descriptor, it fails only if a signal comes first.
    let _ = poll(&mut fds, Some(&Timespec::try_from(patience).expect("a year is not too long")));
    fds[0].revents()
}

/// A reset throws away what the kernel has not sent.
fn wait_until_acknowledged(stream: &TcpStream) {
    let (Ok(local), Ok(remote)) = (stream.local_addr(), stream.peer_addr()) else {
        return;
    };
    let until = Instant::now() + LINGER;
    let waits =
        || procfs::unacknowledged(local, remote).is_ok_and(|bytes| bytes.is_some_and(|bytes| bytes > 0));
    while waits() && Instant::now() < until {
        thread::sleep(LOOK_AGAIN);
    }
}
