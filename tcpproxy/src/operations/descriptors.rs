//! How many clients, and how many pipes for splicing, the limit on open descriptors allows.

use eventloop::raise_descriptor_limit;
use tracing::warn;

/// Descriptors that are not sessions': the standard streams, the poller, listeners, signals, lookups, connections
/// to the status server.
const RESERVED: u64 = 48;

/// A session holds its client and the server; while it connects, briefly more.
const PER_SESSION: u64 = 2;

/// A pipe has two ends.
const PER_PIPE: u64 = 2;

/// The most pipes there are. A direction has one only while bytes wait in it or pass, so a few serve
/// many sessions. Any user may have this number of pipes of 1 MiB (pipe(7), `pipe-user-pages-soft`).
const MOST_PIPES: u64 = 64;

/// What the limit on descriptors allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Allowance {
    /// Clients that can be served at once.
    pub(crate) max_clients: usize,
    /// Pipes for splicing: what is left over, since without one bytes are only copied.
    pub(crate) pipes: usize,
}

/// What there can be at once if `wanted` clients are (`None`: as many as possible). The soft limit on
/// descriptors (getrlimit(2), `RLIMIT_NOFILE`) is raised as far as needed and allowed.
pub(crate) fn allowance(wanted: Option<usize>) -> Allowance {
    let most = wanted.map_or(u64::MAX, |wanted| wanted as u64);
    let needed = most.saturating_mul(PER_SESSION).saturating_add(RESERVED + MOST_PIPES * PER_PIPE);
    let limit = raise_descriptor_limit(needed);
    let left = limit.saturating_sub(RESERVED);
    // As many clients as possible would leave nothing for pipes.
    let set_aside = if wanted.is_none() { (MOST_PIPES * PER_PIPE).min(left / 8) } else { 0 };
    let max_clients = clients(wanted, left - set_aside, limit);
    let pipes = left.saturating_sub((max_clients as u64).saturating_mul(PER_SESSION)) / PER_PIPE;
    Allowance { max_clients, pipes: pipes.min(MOST_PIPES) as usize }
}

/// The number of clients that this number of descriptors allows, with a warning if that is not enough.
fn clients(wanted: Option<usize>, descriptors: u64, limit: u64) -> usize {
    let possible = usize::try_from((descriptors / PER_SESSION).max(1)).unwrap_or(usize::MAX);
    match wanted {
        Some(wanted) if wanted > possible => {
            let advice = "the limit on descriptors allows fewer clients; raise it with `ulimit -n`";
            warn!(wanted, possible, descriptors = limit, "{advice}");
            possible
        }
        Some(wanted) => wanted,
        None => possible,
    }
}
