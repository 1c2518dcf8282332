//! Errors that say that the system has no descriptor, no memory or no local port left.

use std::io::{self, ErrorKind};

use rustix::io::Errno;

/// Whether an error says that the system has run out of something for now: descriptors (`EMFILE`, `ENFILE`),
/// memory (`ENOBUFS`, `ENOMEM`, or this process's own [`ErrorKind::OutOfMemory`]), or local ports towards an
/// address (`EADDRNOTAVAIL`, connect(2)). Trying again later may succeed.
///
/// Of bind(2) `EADDRNOTAVAIL` says something else: that the machine does not have the address.
#[must_use]
pub fn is_exhaustion(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw_os_error);
    error.kind() == ErrorKind::OutOfMemory
        || matches!(errno, Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::ADDRNOTAVAIL))
}
