//! One cell: one measure of one contender, once.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use serde::de::DeserializeOwned;
use testkit::proxy::Proxy;

use super::contender::Contender;
use super::load::{LoadReport, Orders, Target, Workload};
use super::measure::Measure;
use super::netns::{self, Namespace, Namespaces};
use crate::recipe::Recipe;

/// The name of the command that is a load process, for the program's own use.
pub const LOAD_COMMAND: &str = "bench-load";

/// How long a load process may take beyond the time it measures.
const PATIENCE: Duration = Duration::from_secs(60);

/// Measures once.
///
/// # Errors
///
/// When the contender does not start, a connection through it fails, or all takes too long; in one line.
pub(super) fn run(
    measure: &Measure,
    contender: &Contender,
    seconds: f64,
    namespaces: Option<&Namespaces>,
) -> Result<LoadReport, String> {
    let text = |error: io::Error| error.to_string();
    let _pinned = measure.pinned.then(Pinned::to_one_cpu).transpose().map_err(text)?;
    let origin_ip = namespaces.map_or(netns::LOOPBACK, |_| netns::ORIGIN.into());
    let inside = |namespace: fn(&Namespaces) -> &Namespace| namespaces.map(namespace);
    let http = matches!(measure.workload, Workload::Http { .. });
    let http = http.then(|| within(inside(|all| &all.origin), || http_origin(origin_ip)));
    let http = http.transpose().map_err(text)?;
    let namespace = namespaces.map(|all| all.origin.path());
    let orders = Orders { workload: measure.workload, seconds, origin: origin_ip, namespace };
    let mut load = within(inside(|all| &all.clients), || Load::start(&orders)).map_err(text)?;
    let origin: SocketAddr = load.receive(PATIENCE)?;
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
    load.send(&target)?;
    load.receive(PATIENCE + Duration::from_secs_f64(seconds * 2.0)).map_err(|error| {
        let last = proxy.and_then(|proxy| proxy.log().pop());
        last.map_or(error.clone(), |line| format!("{error}; its last line: {line}"))
    })
}

/// Does it in this namespace, if there is one.
fn within<T, E: From<io::Error>>(
    namespace: Option<&Namespace>,
    act: impl FnOnce() -> Result<T, E>,
) -> Result<T, E> {
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

/// A load process. Dropping it kills it.
struct Load {
    child: Child,
    input: ChildStdin,
    lines: Receiver<String>,
}

impl Load {
    fn start(orders: &Orders) -> io::Result<Self> {
        let text =
            |error: io::Error| io::Error::new(error.kind(), format!("cannot start a load process: {error}"));
        let orders = serde_json::to_string(orders)?;
        let mut child = Command::new(std::env::current_exe().map_err(text)?)
            .args([LOAD_COMMAND, &orders])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(text)?;
        let input = child.stdin.take().expect("standard input was piped");
        let output = child.stdout.take().expect("standard output was piped");
        let (sender, lines) = channel();
        thread::spawn(move || {
            // An error on a pipe ends the reading just as its end does, and so does a receiver that is gone.
            let _ =
                BufReader::new(output).lines().map_while(Result::ok).try_for_each(|line| sender.send(line));
        });
        Ok(Self { child, input, lines })
    }

    fn send(&mut self, target: &Target) -> Result<(), String> {
        let line = serde_json::to_string(target).map_err(|error| error.to_string())?;
        writeln!(self.input, "{line}").map_err(|_| self.last_words())
    }

    /// The value of the next line.
    fn receive<T: DeserializeOwned>(&mut self, patience: Duration) -> Result<T, String> {
        match self.lines.recv_timeout(patience) {
            Ok(line) => serde_json::from_str(&line).map_err(|error| format!("{line}: {error}")),
            Err(RecvTimeoutError::Timeout) => Err(format!("no end within {patience:?}")),
            Err(RecvTimeoutError::Disconnected) => Err(self.last_words()),
        }
    }

    /// Why it has ended.
    fn last_words(&mut self) -> String {
        let mut words = String::new();
        if let Some(mut errors) = self.child.stderr.take() {
            // What cannot be read is missing.
            let _ = errors.read_to_string(&mut words);
        }
        words.trim().trim_start_matches("proxyspec: ").to_owned()
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        // Both fail only if it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
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
