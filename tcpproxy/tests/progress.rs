//! A line that changes, on a terminal and only there.

#![allow(clippy::unwrap_used)] // a test that cannot go on says so by failing

mod common;

use std::io::Read;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::process::Stdio;
use std::time::Instant;

use common::{PATIENCE, Running, conversing, echo, terminal, visit};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, Signal, kill_process};

/// What takes back what stands in the last row.
const ERASE: &str = "\r\x1b[K";

fn watched(port: &str, stderr: Stdio) -> (Running, SocketAddr) {
    Running::with_stderr(stderr, port, &["--progress"])
}

/// Reads what is shown until `enough` of it has come.
#[track_caller]
fn read_until(master: &OwnedFd, shown: &mut String, enough: impl Fn(&str) -> bool) {
    let begin = Instant::now();
    let mut buffer = [0; 4096];
    while !enough(shown) {
        assert!(begin.elapsed() < PATIENCE, "not within {PATIENCE:?}; shown: {shown:?}");
        let mut fds = [PollFd::new(master, PollFlags::IN)];
        poll(&mut fds, Some(&PATIENCE.try_into().unwrap())).unwrap();
        let n = rustix::io::read(master, &mut buffer).unwrap();
        shown.push_str(std::str::from_utf8(&buffer[..n]).unwrap());
    }
}

#[test]
fn a_terminal_shows_sessions_and_bytes_and_the_log_above_them() {
    let port = echo();
    let (master, path) = terminal();
    let slave =
        rustix::fs::open(path, OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty()).unwrap();
    let (mut running, address) = watched(&port, slave.into());
    let mut shown = String::new();
    read_until(&master, &mut shown, |shown| shown.contains("0 now, 0 ended | up 0 B (0 B/s)"));
    assert!(shown.starts_with(ERASE) && !shown.contains('\n'), "one row: {shown:?}");
    let client = conversing(address);
    read_until(&master, &mut shown, |shown| shown.contains("1 now, 0 ended | up 5 B"));
    drop(client);
    read_until(&master, &mut shown, |shown| shown.contains("0 now, 1 ended | up 5 B"));
    let (before, _) = shown.split_once("INFO session ended").unwrap();
    let (_, row) = before.rsplit_once(ERASE).unwrap();
    assert!(!row.contains("now, "), "the log has a row of its own: {shown:?}");

    running.stop();
    read_until(&master, &mut shown, |shown| shown.contains("stopping"));
    let last = shown.rsplit_once('\n').unwrap().1;
    assert!(!last.contains("now, ") || last.ends_with(ERASE), "nothing is left behind: {last:?}");
}

#[test]
fn without_a_terminal_there_is_only_the_log() {
    let port = echo();
    let (mut running, address) = watched(&port, Stdio::piped());
    for _ in 0..3 {
        visit(address).unwrap();
    }
    std::thread::sleep(std::time::Duration::from_secs(1)); // in which there would be a line or two
    kill_process(Pid::from_child(&running.0), Signal::TERM).unwrap();
    let mut said = String::new();
    running.0.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(running.0.wait().unwrap().code(), Some(0));
    assert!(!said.contains('\r') && !said.contains("now, "), "{said}");
    assert_eq!(said.matches("session ended").count(), 3, "{said}");
}
