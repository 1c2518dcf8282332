//! One cell: one measure of one contender, once.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::process::Command;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use testkit::proxy::Proxy;

use super::contender::Contender;
use super::load::{LoadReport, Orders, Target, Workload, listen};
use super::measure::Measure;
use super::netns::{self, Namespace, Namespaces};
use crate::recipe::Recipe;

/// The name of the command that is a load process, for the program's own use.
pub const LOAD_COMMAND: &str = "bench-load";

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
    let orders = Orders { workload: measure.workload, seconds, target };
    within(inside(|all| &all.clients), || load(&orders, listener)).map_err(|error| {
        let last = proxy.and_then(|proxy| proxy.log().pop());
        last.map_or(error.to_string(), |line| format!("{error}; its last line: {line}"))
    })
}

/// Runs a load process and returns its report.
///
/// # Errors
///
/// When it cannot be started, or fails; then with what it wrote.
fn load(orders: &Orders, origin: TcpListener) -> io::Result<LoadReport> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args([LOAD_COMMAND, &serde_json::to_string(orders)?]).stdin(OwnedFd::from(origin));
    let output = command
        .output()
        .map_err(|error| io::Error::new(error.kind(), format!("cannot start a load process: {error}")))?;
    if output.status.success() {
        return Ok(serde_json::from_slice(&output.stdout)?);
    }
    let words = String::from_utf8_lossy(&output.stderr);
    Err(io::Error::other(words.trim().trim_start_matches("proxyspec: ")))
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
