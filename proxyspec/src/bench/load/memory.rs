//! Memory of connections in which nothing happens.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::{Duration, Instant};

use super::origin::{self, Manner};
use super::workers::LoadWorkers;
use super::{LoadReport, Target, connect, ended_early};
use crate::bench::quantity::Quantity;

/// How much the connections that are used have carried, each way.
const TRAFFIC: usize = 64 << 10;

/// How many of them are used at once: a contender with a pool of buffers takes that number from it.
const BURST: usize = 16;

/// For how long a stalled connection has to take nothing to be full.
const FULL: Duration = Duration::from_millis(200);

/// Half of the connections carry something, then all are idle.
pub(super) fn idle(
    listener: TcpListener,
    target: &Target,
    connections: usize,
    seconds: Duration,
) -> io::Result<LoadReport> {
    let workers = LoadWorkers::new();
    let accepted: Arc<AtomicUsize> = Arc::default();
    let counter = accepted.clone();
    let manner = Manner { request: TRAFFIC, answer: TRAFFIC, close: false };
    workers.spawn(move || origin::serve_all(&listener, manner, &counter));
    let before = target.resident()?;
    let clients = workers.open_clients(target.address, connections, &accepted)?;
    let used: Vec<_> = clients.iter().step_by(2).collect();
    for burst in used.chunks(BURST) {
        for mut client in burst.iter().copied() {
            client.write_all(&vec![0x5a; TRAFFIC])?;
        }
        for mut client in burst.iter().copied() {
            client.read_exact(&mut vec![0; TRAFFIC])?;
        }
    }
    // What the last answer has set off ends meanwhile.
    workers.work(seconds / 4)?;
    let (begun, cpu_before) = (Instant::now(), target.cpu_time()?);
    workers.work(seconds)?;
    let (time, cpu) = (begun.elapsed(), target.cpu_time()?.saturating_sub(cpu_before));
    let mut report = memory(target, before, connections)?;
    report.values.push((Quantity::IdleCpu, cpu.as_secs_f64() / time.as_secs_f64() * 1e3));
    Ok(report)
}

/// Both sides send until neither can send more.
pub(super) fn stalled(listener: TcpListener, target: &Target, connections: usize) -> io::Result<LoadReport> {
    let before = target.resident()?;
    let mut sockets = Vec::new();
    for _ in 0..connections {
        sockets.push(connect(target.address)?);
        sockets.push(listener.accept()?.0);
    }
    for socket in &sockets {
        socket.set_nonblocking(true)?;
    }
    let workers = LoadWorkers::new();
    while fill(&sockets)? {
        workers.work(FULL)?;
    }
    memory(target, before, connections)
}

/// Whether any socket took anything.
fn fill(sockets: &[TcpStream]) -> io::Result<bool> {
    let block = vec![0x5a; 256 << 10];
    let mut taken = false;
    for mut socket in sockets {
        loop {
            match socket.write(&block) {
                Ok(0) => return Err(ended_early()),
                Ok(_) => taken = true,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
    }
    Ok(taken)
}

fn memory(target: &Target, before: u64, connections: usize) -> io::Result<LoadReport> {
    if target.process.is_none() {
        return Ok(LoadReport::default());
    }
    let now = target.resident()?;
    let values = vec![
        (Quantity::MemoryPerConnection, (now as f64 - before as f64) / connections as f64),
        (Quantity::Memory, now as f64 / f64::from(1 << 20)),
    ];
    Ok(LoadReport { values, note: String::new() })
}
