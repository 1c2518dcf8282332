//! Signals, and standard streams that are closed, broken or stuck: what comes from outside and must do no harm.

#![allow(clippy::unwrap_used)] // a test that cannot go on says so by failing

mod common;

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::process::{Command, Stdio};
use std::time::Instant;

use common::{
    PATIENCE, PROGRAM, Running, Workers, assert_reset, assert_status_0, converse, conversing, echo, echoing,
    origin, proxy, session, stop, terminal, until, until_stopping, visit,
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, Signal, kill_process};
use testkit::proxy::Proxy;

fn send(proxy: &Proxy, signal: Signal) {
    kill_process(Pid::from_raw(proxy.pid().try_into().unwrap()).unwrap(), signal).unwrap();
}

#[test]
fn signals_that_do_not_ask_for_a_stop_change_nothing() {
    let mut proxy = echoing(&[]);
    let client = conversing(proxy.address());
    for signal in [Signal::HUP, Signal::PIPE, Signal::USR1, Signal::USR2] {
        send(&proxy, signal);
    }
    for said in ["SIGHUP: there is nothing to read again", "SIGUSR1 has no effect", "SIGUSR2 has no effect"] {
        proxy.wait_for_line(PATIENCE, |line| line.contains(said)).unwrap();
    }
    converse(&client);
    drop(client);
    visit(proxy.address()).unwrap();
    stop(&mut proxy);
}

#[test]
fn sigquit_is_a_stop_like_sigterm() {
    let mut proxy = echoing(&["--drain-timeout", "1h"]);
    let client = conversing(proxy.address());
    send(&proxy, Signal::QUIT);
    until_stopping(&proxy);
    converse(&client);
    send(&proxy, Signal::QUIT);
    assert_reset(&client);
    assert_status_0(&mut proxy);
}

#[test]
fn sighup_while_it_stops_is_no_second_signal() {
    let mut proxy = echoing(&["--drain-timeout", "1h"]);
    let client = conversing(proxy.address());
    proxy.terminate().unwrap();
    until_stopping(&proxy);
    send(&proxy, Signal::HUP);
    proxy.wait_for_line(PATIENCE, |line| line.contains("SIGHUP")).unwrap();
    converse(&client);
    drop(client);
    assert_status_0(&mut proxy);
}

#[test]
fn what_is_left_when_the_time_to_drain_is_over_is_reset_on_both_sides_and_logged() {
    let (origin, port) = origin();
    let mut proxy = proxy(&port, &["--drain-timeout", "200ms", "--max-clients", "2"]);
    // One in the middle of a transfer, one that is half closed.
    let [open, half_closed] = [(); 2].map(|()| session(&proxy, &origin));
    (&open.1).write_all(b"the beginning").unwrap();
    (&open.0).read_exact(&mut [0; 13]).unwrap();
    half_closed.0.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!((&half_closed.1).read(&mut [0]).unwrap(), 0);
    stop(&mut proxy);
    for (name, mut peer) in [("client", &open.0), ("server", &open.1), ("client", &half_closed.0)] {
        let error = peer.read(&mut [0]).expect_err("a cut is no clean end");
        assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{name}");
    }
    // A server that has had the client's FIN reads no error any more, but it is reset all the same.
    until("the reset of the half-closed server", || half_closed.1.take_error().unwrap().is_some());
    let stopped = |line: &&String| line.contains("by=proxy") && line.contains("reason=stopped");
    // The program has ended, but what it wrote last may not have been read yet.
    until("both sessions in the log", || proxy.log().iter().filter(stopped).count() == 2);
}

#[test]
fn standard_streams_that_are_closed_from_the_start_are_not_missed() {
    let port = echo();
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    // Nothing can be read from it, so it gets a socket whose address is known.
    let script = "exec 3<&0 0<&- 1>&- 2>&-; LISTEN_FDS=1 LISTEN_PID=$$ exec \"$0\" 127.0.0.1 \"$1\" -";
    let child = Command::new("sh")
        .args(["-c", script, PROGRAM, &port])
        .stdin(OwnedFd::from(socket))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let mut child = Running(child.unwrap());
    for _ in 0..10 {
        visit(address).unwrap();
    }
    child.stop();
}

#[test]
fn a_standard_output_that_is_broken_or_full_stops_nothing() {
    let port = echo();
    let (reader_gone, broken) = std::io::pipe().unwrap();
    drop(reader_gone);
    let full = File::options().write(true).open("/dev/full").unwrap();
    let (_reader, full_pipe) = std::io::pipe().unwrap();
    fill(&full_pipe);
    for stdout in [Stdio::from(broken), full.into(), full_pipe.into()] {
        let listen = testkit::proxy::free_port().unwrap();
        let child = Command::new(PROGRAM)
            .args(["127.0.0.1", &port, &listen.to_string(), "--bind", "127.0.0.1"])
            .stdout(stdout)
            .stderr(Stdio::null())
            .spawn();
        let mut child = Running(child.unwrap());
        until("it listens", || TcpStream::connect(("127.0.0.1", listen)).is_ok());
        visit(([127, 0, 0, 1], listen).into()).unwrap();
        child.stop();
    }
}

/// Fills a pipe, through a descriptor of its own that does not block.
fn fill(pipe: &impl AsFd) {
    let path = format!("/proc/self/fd/{}", pipe.as_fd().as_raw_fd());
    let flags = OFlags::WRONLY | OFlags::NONBLOCK;
    let writer = rustix::fs::open(path, flags, Mode::empty()).unwrap();
    while rustix::io::write(&writer, &[b'x'; 4096]).is_ok() {}
}

/// A program on a terminal of its own, which it leads, in front of a server that sends back what it gets. Returns the end
/// of the terminal that shows what is written, and the program with its address: it listens on a socket that is passed,
/// since its standard output is not read.
fn on_terminal() -> (OwnedFd, Running, SocketAddr) {
    let (master, path) = terminal();
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    // A session leader that opens a terminal makes it its own (tty(4)).
    let script = r#"exec 3<&0 0<"$2" 1>"$2" 2>"$2"; LISTEN_FDS=1 LISTEN_PID=$$ exec "$0" 127.0.0.1 "$1" -"#;
    let child = Command::new("setsid")
        .args(["sh", "-c", script, PROGRAM, &echo(), &path])
        .stdin(OwnedFd::from(socket))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    (master, Running(child.unwrap()), address)
}

/// Reads from the terminal until a whole line of what the program writes is like this, and returns the line. Meanwhile
/// clients visit the program: what they do is what it writes of, and the kernel lets a halted terminal go on some time later.
#[track_caller]
fn until_said(master: &OwnedFd, address: SocketAddr, is_it: impl Fn(&str) -> bool) -> String {
    let begin = Instant::now();
    let (mut said, mut buffer) = (String::new(), [0; 4096]);
    loop {
        if let Some(line) =
            said.split_inclusive('\n').find(|line| line.ends_with('\n') && is_it(line.trim_end()))
        {
            return line.to_owned();
        }
        assert!(begin.elapsed() < PATIENCE, "nothing more is said after:\n{said}");
        let mut fds = [PollFd::new(master, PollFlags::IN)];
        if poll(&mut fds, Some(&Timespec::default())).unwrap() == 0 {
            visit(address).unwrap();
            continue;
        }
        let n = rustix::io::read(master, &mut buffer).unwrap();
        said.push_str(std::str::from_utf8(&buffer[..n]).unwrap());
    }
}

#[test]
fn a_terminal_that_was_halted_with_ctrl_s_stops_nothing() {
    let (master, mut child, address) = on_terminal();
    visit(address).unwrap();
    rustix::io::write(&master, &[0x13]).unwrap(); // Ctrl-S
    for _ in 0..200 {
        visit(address).unwrap();
    }
    rustix::io::write(&master, &[0x11]).unwrap(); // Ctrl-Q
    until_said(&master, address, |line| line.contains("log lines were lost"));
    child.stop();
}

#[test]
fn a_terminal_that_takes_a_part_of_a_line_and_no_more_stops_nothing() {
    let (master, mut child, address) = on_terminal();
    for _ in 0..200 {
        visit(address).unwrap(); // the log is not read
    }
    // What comes first when the reader goes on begins a line of its own.
    let lost = until_said(&master, address, |line| {
        line.ends_with("log lines were lost: the standard error was full")
    });
    assert_ne!(lost.split(' ').next().unwrap().parse::<u32>().unwrap(), 0);
    child.stop();
}

#[test]
fn a_terminal_that_is_halted_at_any_moment_stops_nothing() {
    let (master, mut child, address) = on_terminal();
    visit(address).unwrap(); // it has begun, and said so
    let workers = Workers::start(address, 2);
    let mut buffer = [0; 65536];
    for _ in 0..200 {
        rustix::io::write(&master, &[0x13]).unwrap(); // Ctrl-S
        workers.until_more(2);
        rustix::io::write(&master, &[0x11]).unwrap(); // Ctrl-Q
        while poll(&mut [PollFd::new(&master, PollFlags::IN)], Some(&Timespec::default())).unwrap() > 0 {
            rustix::io::read(&master, &mut buffer).unwrap();
        }
    }
    rustix::io::write(&master, &[0x13]).unwrap();
    workers.until_more(2);
    workers.stop();
    child.stop();
}

#[test]
fn a_terminal_that_is_closed_stops_nothing() {
    let (master, mut child, address) = on_terminal();
    visit(address).unwrap();
    drop(master); // which sends SIGHUP
    for _ in 0..10 {
        visit(address).unwrap();
    }
    child.stop();
}
