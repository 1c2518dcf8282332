//! A contender that runs, with the processes that measure it.

use std::io::{self, BufRead as _, BufReader, Read as _};
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::io::retry_on_intr;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use testkit::procfs::Process;
use testkit::proxy::{Proxy, tree};

use super::contender::Contender;
use super::load::{LoadReport, Orders, Target, Workload, listen};
use super::measure::Measure;
use super::netns::{self, Namespace, Namespaces};
use crate::recipe::Recipe;

/// The name of the command that is a load process, for the program's own use.
pub const LOAD_COMMAND: &str = "bench-load";

/// A contender that runs, with its clients and its origin.
pub(super) struct Player {
    /// The load process, which is ended before what it uses.
    load: LoadProcess,
    proxy: Option<Proxy>,
    _http: Option<Proxy>,
}

/// How often and how long a player measures.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Turns {
    pub(super) seconds: f64,
    /// At least 1.
    pub(super) number: u32,
    /// How many players take turns.
    pub(super) players: u32,
}

impl Player {
    /// Starts all of it. If it is to have several turns, it rests until the first one.
    ///
    /// # Errors
    ///
    /// When the contender or the load process does not start; in one line.
    pub(super) fn start(
        measure: &Measure,
        contender: &Contender,
        turns: Turns,
        namespaces: Option<&Namespaces>,
    ) -> Result<Self, String> {
        let text = |error: io::Error| error.to_string();
        let _pinned = measure.pinned.then(Pinned::to_one_cpu).transpose().map_err(text)?;
        let origin_ip = namespaces.map_or(netns::LOOPBACK, |_| netns::ORIGIN.into());
        let inside = |namespace: fn(&Namespaces) -> &Namespace| namespaces.map(namespace);
        let http = matches!(measure.workload, Workload::Http { .. });
        let http = http.then(|| within(inside(|all| &all.origin), || http_origin(origin_ip)));
        let http = http.transpose().map_err(text)?;
        let listener = within(inside(|all| &all.origin), || listen(origin_ip)).map_err(text)?;
        let origin = listener.local_addr().map_err(text)?;
        let origin = http.as_ref().map_or(origin, |http| SocketAddr::new(origin_ip, http.address().port()));
        let proxy = within(inside(|all| &all.proxy), || contender.start(origin)).map_err(text)?;
        let target = Target {
            address: proxy.as_ref().map_or(origin, |proxy| match namespaces {
                None => proxy.address(),
                Some(_) => SocketAddr::new(netns::PROXY.into(), proxy.address().port()),
            }),
            process: proxy.as_ref().map(|proxy| proxy.pid()),
            origin: http.as_ref().map(|http| http.pid()),
        };
        let Turns { seconds, number: turns, players } = turns;
        let parent = std::process::id();
        let orders = Orders { workload: measure.workload, seconds, turns, players, parent, target };
        let load = within(inside(|all| &all.clients), || LoadProcess::start(&orders, listener));
        Ok(Self { load: load.map_err(text)?, proxy, _http: http })
    }

    /// Measures once, and then leaves the machine to others.
    ///
    /// # Errors
    ///
    /// When a connection through the contender fails, or all takes too long; in one line.
    pub(super) fn measure(&mut self) -> Result<LoadReport, String> {
        let report = self.load.next_report().and_then(|report| {
            self.load.await_stop()?;
            self.settle();
            Ok(report)
        });
        report.map_err(|error| {
            let last = self.proxy.as_ref().and_then(|proxy| proxy.log().pop());
            last.map_or(error.to_string(), |line| format!("{error}; its last line: {line}"))
        })
    }

    /// Waits until the contender has nothing to do any more: what its clients have sent before they were stopped goes on as
    /// long as there is room for it.
    fn settle(&self) {
        let Some(proxy) = self.proxy.as_ref().filter(|_| self.load.stops) else { return };
        // One that has ended uses nothing; the next turn reports it.
        let processes = || tree::processes(proxy.pid()).unwrap_or_default();
        let used = || tree::sum(&processes(), Process::exact_cpu_time).unwrap_or_default();
        let (end, mut before) = (Instant::now() + SETTLED, used());
        while Instant::now() < end {
            thread::sleep(LOOK);
            let now = used();
            if now == before {
                break;
            }
            before = now;
        }
    }
}

/// How long a contender may go on when its clients are stopped, and how often it is looked at meanwhile.
const SETTLED: Duration = Duration::from_millis(500);
const LOOK: Duration = Duration::from_millis(3);

/// A load process: see [`load`](super::load).
struct LoadProcess {
    process: Child,
    reports: BufReader<ChildStdout>,
    /// It stops itself before each report.
    stops: bool,
}

impl LoadProcess {
    fn start(orders: &Orders, origin: TcpListener) -> io::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args([LOAD_COMMAND, &serde_json::to_string(orders)?]).stdin(OwnedFd::from(origin));
        let mut process =
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().map_err(|error| {
                io::Error::new(error.kind(), format!("cannot start a load process: {error}"))
            })?;
        let reports = process.stdout.take().map(BufReader::new).expect("it is piped");
        let load = Self { process, reports, stops: orders.turns > 1 };
        load.await_stop()?; // so that it does not connect or warm up while others have their turn
        Ok(load)
    }

    /// # Errors
    ///
    /// When it fails; then with what it wrote.
    fn next_report(&mut self) -> io::Result<LoadReport> {
        if self.stops {
            self.await_stop()?;
            let _ = kill_process(self.pid(), Signal::CONT); // one that has ended says why
        }
        let mut line = String::new();
        if self.reports.read_line(&mut line)? > 0 {
            return Ok(serde_json::from_str(&line)?);
        }
        let mut words = String::new();
        if let Some(mut errors) = self.process.stderr.take() {
            errors.read_to_string(&mut words)?;
        }
        let words = words.trim().trim_start_matches("proxyspec: ");
        Err(io::Error::other(if words.is_empty() { "the load process has ended before" } else { words }))
    }

    /// Waits until it has stopped itself, or ended.
    fn await_stop(&self) -> io::Result<()> {
        if self.stops {
            let until = WaitIdOptions::STOPPED | WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
            retry_on_intr(|| waitid(WaitId::Pid(self.pid()), until))?;
        }
        Ok(())
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.process)
    }
}

impl Drop for LoadProcess {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Calls `act` in this namespace, if there is one.
fn within<T>(namespace: Option<&Namespace>, act: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    match namespace {
        None => act(),
        Some(namespace) => namespace.inside(act)?,
    }
}

/// nginx as an HTTP server whose answers have a body of 64 B.
fn http_origin(ip: IpAddr) -> io::Result<Proxy> {
    let recipe = Recipe::parse(include_str!("http-origin.conf")).map_err(io::Error::other)?;
    recipe.start(&ip.to_string(), 1)
}

/// This thread, and every process it starts, on one CPU for as long as this lives.
struct Pinned {
    before: CpuSet,
}

impl Pinned {
    /// The last one: the first one serves most interrupts.
    fn to_one_cpu() -> io::Result<Self> {
        let before = sched_getaffinity(None)?;
        let last = (0..CpuSet::MAX_CPU).rev().find(|&cpu| before.is_set(cpu)).expect("a thread has a CPU");
        let mut one = CpuSet::new();
        one.set(last);
        sched_setaffinity(None, &one)?;
        Ok(Self { before })
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        // It was allowed before.
        let _ = sched_setaffinity(None, &self.before);
    }
}
