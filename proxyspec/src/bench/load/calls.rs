//! System calls, counted by strace(1) in a run of its own.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use rustix::process::{Signal, kill_process};
use testkit::procfs;

use super::origin::{self, Manner};
use super::workers::LoadWorkers;
use super::{LoadReport, REQUEST, Target, connect, connections};
use crate::bench::quantity::Quantity;

/// What happens before any counting.
const WARM_UP: usize = 20;

/// The difference between two counts leaves out what begins and ends a trace, but for the calls that threads are blocked
/// in just then, which are counted or not: a few among thousands.
const FEW: usize = 100;
const MANY: usize = 600;

/// How long what the last request has set off may take.
const SETTLE: Duration = Duration::from_millis(100);

/// Requests of 64 B on one connection.
pub(super) fn per_request(listener: TcpListener, target: &Target) -> io::Result<LoadReport> {
    let workers = LoadWorkers::new();
    let mut client = connect(target.address)?;
    let (server, _) = listener.accept()?;
    let manner = Manner { request: REQUEST, answer: REQUEST, close: false };
    workers.spawn(move || origin::serve_one(server, manner));
    per_unit(target, Quantity::CallsPerRequest, || {
        client.write_all(&[0x5a; REQUEST])?;
        client.read_exact(&mut [0; REQUEST])
    })
}

/// Short connections one after another.
pub(super) fn per_connection(listener: TcpListener, target: &Target) -> io::Result<LoadReport> {
    let workers = LoadWorkers::new();
    workers.spawn(move || origin::serve_all(&listener, connections::ONE_ANSWER, &Default::default()));
    per_unit(target, Quantity::CallsPerConnection, || connections::visit_once(target.address))
}

fn per_unit(
    target: &Target,
    quantity: Quantity,
    mut work: impl FnMut() -> io::Result<()>,
) -> io::Result<LoadReport> {
    if target.process.is_none() {
        return Ok(LoadReport::default());
    }
    let mut repeat = |times| (0..times).try_for_each(|_| work());
    repeat(WARM_UP)?;
    let few = count(target, || repeat(FEW))?;
    let many = count(target, || repeat(MANY))?;
    let each: BTreeMap<_, _> = many
        .iter()
        .map(|(name, &calls)| {
            let base = few.get(name).copied().unwrap_or_default();
            (name, (calls as f64 - base as f64) / (MANY - FEW) as f64)
        })
        .collect();
    let mut largest: Vec<_> = each.iter().filter(|(_, calls)| calls.abs() >= 0.005).collect();
    largest.sort_by(|(_, a), (_, b)| b.total_cmp(a));
    let note: Vec<_> = largest.iter().map(|(name, calls)| format!("{name} {calls:.2}")).collect();
    Ok(LoadReport { values: vec![(quantity, each.values().sum())], note: note.join(", ") })
}

/// The system calls the contender makes during `work`, by name.
fn count(target: &Target, work: impl FnOnce() -> io::Result<()>) -> io::Result<BTreeMap<String, u64>> {
    let strace = Strace::attach(target)?;
    work()?;
    thread::sleep(SETTLE);
    strace.detach()
}

struct Strace {
    child: Child,
}

impl Strace {
    /// Attaches to every process of the contender, and waits until it is.
    fn attach(target: &Target) -> io::Result<Self> {
        let mut processes = target.processes()?;
        // Some proxies leave the ended ones unattended for a while, and those make no more calls.
        processes.retain(|process| !process.ended);
        let mut command = Command::new("strace");
        command.args(["-f", "-c", "-U", "calls,name", "-o", "/dev/stdout"]);
        command.args(processes.iter().map(|process| format!("-p{}", process.pid)));
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| io::Error::new(error.kind(), format!("cannot start strace: {error}")))?;
        let mut messages = BufReader::new(child.stderr.take().expect("standard error was piped"));
        let mut lines = String::new();
        for _ in &processes {
            if messages.read_line(&mut lines)? == 0 {
                return Err(io::Error::other(lines.trim().to_owned()));
            }
        }
        if !lines.lines().all(|line| line.contains(" attached")) {
            return Err(io::Error::other(lines.trim().to_owned()));
        }
        // It writes a line for every process that begins or ends.
        thread::spawn(move || io::copy(&mut messages, &mut io::sink()));
        Ok(Self { child })
    }

    fn detach(mut self) -> io::Result<BTreeMap<String, u64>> {
        kill_process(procfs::pid(self.child.id()), Signal::INT)?;
        let mut table = String::new();
        self.child.stdout.take().expect("standard output was piped").read_to_string(&mut table)?;
        self.child.wait()?;
        parse(&table).ok_or_else(|| io::Error::other(format!("strace says something else: {table}")))
    }
}

/// The table of `strace -c -U calls,name`, without its head, its lines, and its total.
fn parse(table: &str) -> Option<BTreeMap<String, u64>> {
    let rows = table.lines().filter_map(|line| {
        let (calls, name) = line.trim().split_once(char::is_whitespace)?;
        Some((name.trim().to_owned(), calls.parse().ok()?))
    });
    let rows: BTreeMap<_, _> = rows.filter(|(name, _)| name != "total").collect();
    (!rows.is_empty()).then_some(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_strace_is_read() {
        let table = "    calls syscall\n--------- ----------------\n      421 write\n       12 close\n\
                     --------- ----------------\n      433 total\n";
        let expected = BTreeMap::from([("write".to_owned(), 421), ("close".to_owned(), 12)]);
        assert_eq!(parse(table), Some(expected));
        assert_eq!(parse("strace: attach: Operation not permitted"), None);
    }
}
