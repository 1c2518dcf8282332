//! What bad input gets: the table in docs/errors.md, row by row.

#![allow(clippy::unwrap_used)] // a test that cannot go on says so by failing
#![allow(clippy::print_stderr)] // a row that cannot be tried is not left out silently

use std::fs;
use std::net::{Ipv6Addr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use testkit::proxy::Proxy;

const PROGRAM: &str = env!("CARGO_BIN_EXE_tcpproxy");
/// A user without privileges on any system.
const UNPRIVILEGED: u32 = 65534;

struct Row {
    command: String,
    line: String,
    status: String,
}

fn rows() -> Vec<Row> {
    let errors = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/errors.md")).unwrap();
    let table = errors.lines().skip_while(|line| !line.starts_with("|---")).skip(1);
    let cell = |text: &str| text.trim().trim_matches('`').trim().to_owned();
    let row = |line: &str| {
        let cells: Vec<String> = line.trim_matches('|').split('|').map(cell).collect();
        let [command, line, status] = cells.try_into().unwrap();
        Row { command, line, status }
    };
    table.take_while(|line| line.starts_with('|')).map(row).collect()
}

/// A copy of the program where every user can run it, removed at the end.
struct Copy(PathBuf);

impl Copy {
    /// Another process makes it: as long as this one had it open for writing, it could not be executed.
    fn new() -> Self {
        let directory = std::env::temp_dir().join(format!("tcpproxy-bad-input-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let made = Command::new("install").args(["-m", "755", PROGRAM]).arg(&directory).status().unwrap();
        assert!(made.success());
        Self(directory)
    }

    fn run(&self, command: &str) -> Output {
        let script = format!("PATH='{}':$PATH; {command}", self.0.display());
        let mut shell = Command::new("sh");
        shell.args(["-c", &script]).stdin(Stdio::null());
        if rustix::process::geteuid().is_root() {
            shell.uid(UNPRIVILEGED).gid(UNPRIVILEGED);
        }
        shell.output().unwrap()
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A message without what the resolver says, which depends on whether it reaches a server.
fn without_resolver(said: &str) -> String {
    match (said.split_once(": failed to lookup"), said.rsplit_once("; ")) {
        (Some((attempt, _)), Some((_, advice))) => format!("{attempt}; {advice}"),
        _ => said.to_owned(),
    }
}

/// Whether any user may listen on port 1 here, as in some containers.
fn low_ports_are_for_all() -> bool {
    let first = fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start");
    first.is_ok_and(|first| first.trim().parse::<u16>().is_ok_and(|first| first <= 1))
}

#[test]
fn each_mistake_gets_one_line_and_its_status_and_starts_nothing() {
    let taken = TcpListener::bind((Ipv6Addr::UNSPECIFIED, 0)).unwrap();
    let taken = taken.local_addr().unwrap().port().to_string();
    let free = testkit::proxy::free_port().unwrap().to_string();
    let fill_in = |text: &str| text.replace("TAKEN", &taken).replace("FREE", &free);
    let copy = Copy::new();
    let (mut refused, mut wrong) = (0, Vec::new());
    for Row { command, line, status } in rows() {
        let Ok(status) = status.parse::<i32>() else { continue };
        if line.contains("Permission denied") && low_ports_are_for_all() {
            eprintln!("not tried, because every user may listen on low ports here: {command}");
            continue;
        }
        let output = copy.run(&fill_in(&command));
        let said = String::from_utf8(output.stderr).unwrap();
        let usage = if status == 2 { "Usage: tcpproxy remote_host remote_port server_port\n" } else { "" };
        let expected = format!("{}\n{usage}", fill_in(&line));
        let as_expected = without_resolver(&said) == without_resolver(&expected);
        if !as_expected || output.status.code() != Some(status) || !output.stdout.is_empty() {
            wrong.push(format!("{command}\n  expected {expected}  got {said}  {}\n", output.status));
        }
        refused += 1;
    }
    assert!(wrong.is_empty(), "{}", wrong.concat());
    assert!(refused > 30, "only {refused} rows were found");
}

#[test]
fn a_limit_too_low_for_the_clients_wanted_gets_a_warning_with_the_number_that_fits() {
    let row = rows().into_iter().find(|row| row.status.starts_with("it serves")).unwrap();
    let script = row.command.replace("tcpproxy", "exec \"$0\"");
    let proxy = Proxy::command("sh").args(["-c", &script, PROGRAM]).start().unwrap();
    let warning = proxy.wait_for_line(Duration::from_secs(30), |line| line.contains("WARN")).unwrap();
    assert!(warning.ends_with(&row.line), "{warning}");
    assert!(row.line.contains(&format!("possible={} ", row.status.rsplit(' ').next().unwrap())));
}
