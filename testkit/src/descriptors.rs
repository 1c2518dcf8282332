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

/// Lets another process open no descriptor numbered `limit` or above; those it has stay open. Returns the limits it had.
///
/// # Errors
///
/// Those of prlimit(2).
///
/// # Panics
///
/// When `pid` is 0, which is no process.
pub fn limit_descriptors(pid: u32, limit: u64) -> io::Result<Rlimit> {
    let maximum = getrlimit(Resource::Nofile).maximum;
    set_limits(pid, Rlimit { current: Some(limit), maximum })
}

/// Limits the address space of another process to this number of bytes; what it has it keeps.
///
/// # Errors
///
/// Those of prlimit(2).
///
/// # Panics
///
/// When `pid` is 0, which is no process.
pub fn limit_memory(pid: u32, limit: u64) -> io::Result<()> {
    let maximum = getrlimit(Resource::As).maximum;
    prlimit(Some(procfs::pid(pid)), Resource::As, Rlimit { current: Some(limit), maximum })?;
    Ok(())
}

/// Sets the limits on the descriptors of another process, and returns those it had.
///
/// # Errors
///
/// Those of prlimit(2).
///
/// # Panics
///
/// When `pid` is 0, which is no process.
pub fn set_limits(pid: u32, limits: Rlimit) -> io::Result<Rlimit> {
    Ok(prlimit(Some(procfs::pid(pid)), Resource::Nofile, limits)?)
}
