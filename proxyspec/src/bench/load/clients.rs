//! Opening many connections, no faster than the contender takes them.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::connect;
use super::workers::LoadWorkers;

/// How many connections may have been made that the origin has not seen yet: the backlog of some proxies is 5, and a
/// connection that does not find room there is tried again after a second.
const AHEAD: usize = 4;

/// How long the contender may take for some of them.
const PATIENCE: Duration = Duration::from_secs(20);

/// Opens connections, and waits until all of them have reached the origin, which counts them in `accepted`.
pub(super) fn open(
    workers: &LoadWorkers,
    target: SocketAddr,
    count: usize,
    accepted: &Arc<AtomicUsize>,
) -> io::Result<Vec<TcpStream>> {
    let mut clients = Vec::with_capacity(count);
    while clients.len() < count {
        clients.push(connect(target)?);
        let least = if clients.len() == count { count } else { clients.len().saturating_sub(AHEAD) };
        workers.work_until(PATIENCE, || accepted.load(Ordering::Relaxed) >= least)?;
    }
    Ok(clients)
}
