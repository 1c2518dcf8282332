//! A relay of two blocking threads a session: as plain as can be and correct, or with one bug planted in it.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket2::{Domain, SockRef, Socket, Type};
use testkit::procfs;

/// What a careless author gets wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bug {
    /// The last byte before the end is not sent, unless there are very few.
    DropsLastByte,
    /// The second and the third block change places.
    SwapsBlocks,
    /// The third block is sent twice.
    RepeatsBlock,
    /// The end of one direction ends the other.
    IgnoresHalfClose,
    /// The reset of one side is a clean end for the other.
    ResetBecomesFin,
    /// A reset whose error has been taken, as a write does, is an end of file for the next read, and is believed.
    BelievesEndOfFile,
    /// What has been read but not sent when a reset comes is not sent.
    DropsTailAtReset,
    /// If the server cannot be reached, the client gets a clean end.
    RefusalBecomesFin,
}

/// Starts a relay to `target`, and returns where it listens. It runs as long as the test program.
pub(crate) fn start(target: SocketAddr, bug: Option<Bug>) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let address = listener.local_addr()?;
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            // An error ends its session alone.
            thread::spawn(move || session(&client, target, bug));
        }
    });
    Ok(address)
}

/// One socket of a session.
struct Half<'a> {
    stream: &'a TcpStream,
    /// Set before a FIN is sent.
    finished: AtomicBool,
}

fn session(client: &TcpStream, target: SocketAddr, bug: Option<Bug>) -> io::Result<()> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    let reset_already = match socket.connect(&target.into()) {
        Ok(()) => false,
        Err(error) if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => true,
        Err(error) => {
            if bug != Some(Bug::RefusalBecomesFin) {
                reset_at_close(client)?;
            }
            return Err(error);
        }
    };
    let server = TcpStream::from(socket);
    let both = [client, &server].map(|stream| Half { stream, finished: AtomicBool::new(false) });
    for half in &both {
        SockRef::from(half.stream).set_out_of_band_inline(true)?;
    }
    let reset = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| copy(&both[0], &both[1], bug, false, &reset));
        copy(&both[1], &both[0], bug, reset_already, &reset);
    });
    if reset.load(Ordering::SeqCst) {
        reset_at_close(client)?;
        reset_at_close(&server)?;
    }
    Ok(())
}

/// The first bytes of a session in a crowd are its name, without which nobody knows it.
const NAME: usize = 8;

/// Copies until an end, and hands the end on.
fn copy(from: &Half<'_>, to: &Half<'_>, bug: Option<Bug>, reset_already: bool, reset: &AtomicBool) {
    let mut reset_seen = reset_already;
    let mut held = Vec::new();
    let mut buffer = [0; 512];
    let mut carried = 0;
    for number in 1.. {
        if bug == Some(Bug::BelievesEndOfFile) && readiness(from.stream, FOREVER).contains(PollFlags::ERR) {
            // As a write would in a relay that writes before it reads.
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
        if bug == Some(Bug::DropsTailAtReset) && readiness(from.stream, A_MOMENT).contains(PollFlags::ERR) {
            reset_seen = true;
            break;
        }
        carried += count;
        let block = buffer[..count].to_vec();
        let sent = match bug {
            Some(Bug::DropsLastByte) => {
                held.extend(block);
                held.drain(..held.len() - 1).collect()
            }
            Some(Bug::SwapsBlocks) if number == 2 => {
                held = block;
                Vec::new()
            }
            Some(Bug::SwapsBlocks) => [block, std::mem::take(&mut held)].concat(),
            Some(Bug::RepeatsBlock) if number == 3 => block.repeat(2),
            _ => block,
        };
        if (&*to.stream).write_all(&sent).is_err() {
            // The other direction reads what is left there, and finds the reset.
            return;
        }
    }
    reset_seen |= bug != Some(Bug::BelievesEndOfFile) && was_reset(from);
    if reset_seen && bug != Some(Bug::ResetBecomesFin) {
        reset.store(true, Ordering::SeqCst);
        wait_until_acknowledged(to.stream);
        // Wakes the thread that reads from there; nothing is sent.
        let _ = to.stream.shutdown(Shutdown::Read);
        return;
    }
    if bug != Some(Bug::DropsLastByte) || carried <= NAME {
        let _ = (&*to.stream).write_all(&held);
    }
    if reset.load(Ordering::SeqCst) {
        return;
    }
    to.finished.store(true, Ordering::SeqCst);
    let _ = to.stream.shutdown(Shutdown::Write);
    if bug == Some(Bug::IgnoresHalfClose) {
        let _ = from.stream.shutdown(Shutdown::Both);
        let _ = to.stream.shutdown(Shutdown::Both);
    }
}

/// Whether an end of file is a reset whose error a write has taken: then the socket is shut down both ways, although
/// only one FIN, if any, was sent.
fn was_reset(half: &Half<'_>) -> bool {
    readiness(half.stream, AT_ONCE).contains(PollFlags::HUP) && !half.finished.load(Ordering::SeqCst)
}

const AT_ONCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };
const A_MOMENT: Timespec = Timespec { tv_sec: 0, tv_nsec: 300_000_000 };
const FOREVER: Timespec = Timespec { tv_sec: 3600, tv_nsec: 0 };

/// Whether there is something to read, an error or a hang-up, once there is or the time is over.
fn readiness(stream: &TcpStream, patience: Timespec) -> PollFlags {
    let mut fds = [PollFd::from_borrowed_fd(stream.as_fd(), PollFlags::IN)];
    // With a valid descriptor, it fails only if a signal comes first.
    let _ = poll(&mut fds, Some(&patience));
    fds[0].revents()
}

/// A reset throws away what the kernel has not sent.
fn wait_until_acknowledged(stream: &TcpStream) {
    let (Ok(local), Ok(remote)) = (stream.local_addr(), stream.peer_addr()) else {
        return;
    };
    while procfs::unacknowledged(local, remote).is_ok_and(|bytes| bytes.is_some_and(|bytes| bytes > 0)) {
        thread::yield_now();
    }
}

fn reset_at_close(stream: &TcpStream) -> io::Result<()> {
    SockRef::from(stream).set_linger(Some(Duration::ZERO))
}
