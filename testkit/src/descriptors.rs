//! A process without a free file descriptor, or without memory.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

use rustix::process::{Resource, Rlimit, getrlimit, prlimit, setrlimit};

use crate::procfs;

/// How many descriptors above those in use the soft limit is lowered to, so that few have to be opened.
const SPARE: u64 = 64;

/// Every descriptor this process could still open. All of its threads get `EMFILE` until it is dropped.
///
/// A test that uses it needs a program of its own: tests beside it would fail.
#[derive(Debug)]
pub struct Hoard {
    files: Vec<File>,
    limit: Rlimit,
}

impl Hoard {
    /// Lowers the soft limit of this process to a little above what is open, and opens files until there is no
    /// descriptor left.
    ///
    /// # Errors
    ///
    /// Those of setrlimit(2), and of open(2) other than `EMFILE`.
    pub fn take_all() -> io::Result<Self> {
        let limit = getrlimit(Resource::Nofile);
        let mut files = vec![File::open("/dev/null")?];
        let highest = files[0].as_raw_fd() as u64;
        let current = limit.current.map_or(highest + SPARE, |soft| soft.min(highest + SPARE));
        setrlimit(Resource::Nofile, Rlimit { current: Some(current), maximum: limit.maximum })?;
        loop {
            match File::open("/dev/null") {
                Ok(file) => files.push(file),
                Err(error) if error.raw_os_error() == Some(rustix::io::Errno::MFILE.raw_os_error()) => {
                    return Ok(Self { files, limit });
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Gives `count` descriptors back.
    pub fn release(&mut self, count: usize) {
        self.files.truncate(self.files.len().saturating_sub(count));
    }
}

impl Drop for Hoard {
    fn drop(&mut self) {
        // The old limit was allowed before.
        let _ = setrlimit(Resource::Nofile, self.limit);
    }
}

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
