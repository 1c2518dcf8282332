//! A line that changes, on a terminal and only there.

#![allow(clippy::unwrap_used)] // a test that cannot go on says so by failing

mod common;

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use common::{PATIENCE, PROGRAM, connect, converse, echo, visit};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

/// What takes back what stands in the last row.
const ERASE: &str = "\r\x1b[K";

/// A program with `--progress`, ended with the test; and where it listens.
struct Running(Child, std::net::SocketAddr);

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail only if it has ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn watched(port: &str, stderr: Stdio) -> Running {
    let mut child = Command::new(PROGRAM)
        .args(["127.0.0.1", port, "0", "--bind", "127.0.0.1", "--progress"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(stderr)
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let address = line.split([' ', ',']).nth(2).unwrap().parse().unwrap();
    Running(child, address)
}

/// The end of a terminal that shows what is written, and the other one.
fn terminal() -> (OwnedFd, File) {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let path = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
    let slave = rustix::fs::open(
        path,
        rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NOCTTY | rustix::fs::OFlags::CLOEXEC,
        rustix::fs::Mode::empty(),
    );
    (master, slave.unwrap().into())
}

/// Reads what is shown until `enough` of it has come.
#[track_caller]
fn read_until(master: &OwnedFd, shown: &mut String, enough: impl Fn(&str) -> bool) {
    let begin = Instant::now();
    let mut buffer = [0; 4096];
    while !enough(shown) {
        assert!(begin.elapsed() < PATIENCE, "in vain: {shown:?}");
        let mut fds = [PollFd::new(master, PollFlags::IN)];
        poll(&mut fds, Some(&PATIENCE.try_into().unwrap())).unwrap();
        let n = rustix::io::read(master, &mut buffer).unwrap();
        shown.push_str(std::str::from_utf8(&buffer[..n]).unwrap());
    }
}

#[test]
fn a_terminal_shows_sessions_and_bytes_and_the_log_above_them() {
    let port = echo();
    let (master, slave) = terminal();
    let mut running = watched(&port, slave.into());
    let mut shown = String::new();
    read_until(&master, &mut shown, |shown| shown.contains("0 now, 0 ended | up 0 B (0 B/s)"));
    assert!(shown.starts_with(ERASE) && !shown.contains('\n'), "one row: {shown:?}");
    let client = connect(running.1);
    converse(&client);
    read_until(&master, &mut shown, |shown| shown.contains("1 now, 0 ended | up 5 B"));
    drop(client);
    read_until(&master, &mut shown, |shown| shown.contains("0 now, 1 ended | up 5 B"));
    let (before, _) = shown.split_once("INFO session ended").unwrap();
    let (_, row) = before.rsplit_once(ERASE).unwrap();
    assert!(!row.contains("now, "), "the log has a row of its own: {shown:?}");

    kill_process(Pid::from_child(&running.0), Signal::TERM).unwrap();
    assert_eq!(running.0.wait().unwrap().code(), Some(0));
    read_until(&master, &mut shown, |shown| shown.contains("stopping"));
    let last = shown.rsplit_once('\n').unwrap().1;
    assert!(!last.contains("now, ") || last.ends_with(ERASE), "nothing is left behind: {last:?}");
}

#[test]
fn without_a_terminal_there_is_only_the_log() {
    let port = echo();
    let mut running = watched(&port, Stdio::piped());
    for _ in 0..3 {
        visit(running.1).unwrap();
    }
    std::thread::sleep(std::time::Duration::from_secs(1)); // in which there would be a line or two
    kill_process(Pid::from_child(&running.0), Signal::TERM).unwrap();
    let mut said = String::new();
    running.0.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(running.0.wait().unwrap().code(), Some(0));
    assert!(!said.contains('\r') && !said.contains("now, "), "{said}");
    assert_eq!(said.matches("session ended").count(), 3, "{said}");
}
