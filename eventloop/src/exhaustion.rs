//! Errors that say that the system has no descriptor or no memory left.

use std::io::{self, ErrorKind};

use rustix::io::Errno;

/// Whether an error says that the system has run out of something for now: descriptors (`EMFILE`, `ENFILE`)
/// or memory (`ENOBUFS`, `ENOMEM`, or this process's own [`ErrorKind::OutOfMemory`]). Trying again later
/// may succeed.
#[must_use]
pub fn is_exhaustion(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw_os_error);
    error.kind() == ErrorKind::OutOfMemory
        || matches!(errno, Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS))
}
