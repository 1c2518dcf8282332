//! Limits on the descriptors and the memory of processes: getrlimit(2), prlimit(2).

use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, prlimit, setrlimit};

use crate::procfs;

/// Lets this process, and those it starts, open as many descriptors as it is allowed to; returns how many.
///
/// # Errors
///
/// Those of setrlimit(2).
pub fn raise_limit() -> io::Result<u64> {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })?;
    Ok(limit.maximum.unwrap_or(u64::MAX))
}

/// Lowers the soft limit of another process: it opens no descriptor numbered `limit` or above, or takes no more bytes of
/// address space than that; what it has it keeps. Returns the limits it had.
///
/// # Errors
///
/// Those of prlimit(2).
///
/// # Panics
///
/// When `pid` is 0, which is no process.
pub(crate) fn lower_limit(pid: u32, resource: Resource, limit: u64) -> io::Result<Rlimit> {
    let maximum = getrlimit(resource).maximum;
    set_limits(pid, resource, Rlimit { current: Some(limit), maximum })
}

/// Sets the limits of another process, and returns those it had; otherwise as [`lower_limit`].
pub(crate) fn set_limits(pid: u32, resource: Resource, limits: Rlimit) -> io::Result<Rlimit> {
    Ok(prlimit(Some(procfs::pid(pid)), resource, limits)?)
}
