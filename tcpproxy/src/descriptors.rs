//! How many clients the limit on open descriptors allows.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::warn;

/// Descriptors that are not sessions': the standard streams, the poller, listener, signals, lookups.
const RESERVED: u64 = 32;

/// A session holds its client and the server; while it connects, briefly more.
const PER_SESSION: u64 = 2;

/// How many clients can be served at once if `wanted` are (`None`: as many as possible). The soft limit
/// on descriptors (getrlimit(2), `RLIMIT_NOFILE`) is raised as far as needed and allowed.
pub(crate) fn places(wanted: Option<usize>) -> usize {
    let needed = wanted.map(|wanted| (wanted as u64).saturating_mul(PER_SESSION).saturating_add(RESERVED));
    let limit = raise(getrlimit(Resource::Nofile), needed);
    let possible = limit.map_or(u64::MAX, |limit| (limit.saturating_sub(RESERVED) / PER_SESSION).max(1));
    let possible = usize::try_from(possible).unwrap_or(usize::MAX);
    match wanted {
        Some(wanted) if wanted > possible => {
            warn!(
                wanted,
                possible,
                descriptors = limit,
                "the limit on descriptors allows fewer clients; raise it with `ulimit -n`"
            );
            possible
        }
        Some(wanted) => wanted,
        None => possible,
    }
}

/// Raises the soft limit to `needed` (`None`: to the hard limit) and returns what it is then; `None` is
/// no limit.
fn raise(limit: Rlimit, needed: Option<u64>) -> Option<u64> {
    let soft = limit.current?;
    let target = match (needed, limit.maximum) {
        (Some(needed), Some(hard)) => needed.min(hard),
        (Some(needed), None) => needed,
        (None, Some(hard)) => hard,
        (None, None) => soft,
    };
    if target > soft && setrlimit(Resource::Nofile, Rlimit { current: Some(target), ..limit }).is_ok() {
        return Some(target);
    }
    Some(soft)
}
