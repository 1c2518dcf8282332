//! What to do when the system has no descriptor or no memory left: wait a little, and try again.

use std::io::{self, ErrorKind};
use std::time::Duration;

use rustix::io::Errno;

/// How long to wait before trying again.
pub(crate) const RETRY: Duration = Duration::from_millis(100);

/// Whether an error says that the system lacks something just now: descriptors (`EMFILE`, `ENFILE`) or
/// memory (`ENOBUFS`, `ENOMEM`, or this process's own [`ErrorKind::OutOfMemory`]).
#[must_use]
pub fn is_exhaustion(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw_os_error);
    error.kind() == ErrorKind::OutOfMemory
        || matches!(errno, Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS))
}
