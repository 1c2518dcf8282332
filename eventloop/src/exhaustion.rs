//! Whether the system has a descriptor, memory or a local port left, and how it gives more descriptors.

use std::hint::black_box;
use std::io::{self, ErrorKind};

use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

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

/// Checks that this process can get a block of memory of this many bytes now. It is given back at once.
///
/// A small allocation that fails ends the process ([`std::alloc::handle_alloc_error`]). So a program looks before it
/// takes on work, for a block that is larger than what the work needs: the allocator, which the block goes back to, has
/// it then.
///
/// # Errors
///
/// [`ErrorKind::OutOfMemory`].
pub fn check_memory(bytes: usize) -> io::Result<()> {
    let mut block = Vec::<u8>::new();
    let reserved = block.try_reserve_exact(bytes);
    black_box(block); // otherwise the compiler removes an allocation that is not used
    reserved.map_err(io::Error::from)
}

/// Raises the soft limit on open descriptors (getrlimit(2), `RLIMIT_NOFILE`) to `needed`, or as far as the system allows
/// ([`u64::MAX`]: in any case as far). Returns the limit that holds afterwards; [`u64::MAX`] is none.
pub fn raise_descriptor_limit(needed: u64) -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let soft = limit.current.unwrap_or(u64::MAX);
    let target = limit.maximum.map_or(needed, |hard| needed.min(hard));
    let raises =
        target > soft && setrlimit(Resource::Nofile, Rlimit { current: Some(target), ..limit }).is_ok();
    if raises { target } else { soft }
}

/// Checks that this process can get `N` [pieces](PIECE) of memory now, in one block or each for itself. They are given
/// back at once.
pub(crate) fn check_pieces<const N: usize>() -> io::Result<()> {
    if check_memory(N * PIECE).is_ok() {
        return Ok(()); // the usual case: one allocation in place of `N`
    }
    let mut pieces = [const { Vec::<u8>::new() }; N];
    let reserved = pieces.iter_mut().try_for_each(|piece| piece.try_reserve_exact(PIECE));
    black_box(pieces);
    reserved.map_err(io::Error::from)
}

/// A piece has room for any one allocation of a new session, and is no larger than what the end of a session gives back
/// in one piece: where memory is limited, a larger one may never be had again, although all sessions have ended.
const PIECE: usize = 1536;

/// What has to be left before a client is accepted: more than a batch of new sessions takes in its first steps.
pub(crate) const ACCEPT_PIECES: usize = 32;

/// What has to be left before a connection is begun: less, so that a client that was accepted can be served.
pub(crate) const CONNECT_PIECES: usize = 6;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_that_cannot_be_had_is_an_error_and_not_the_end() {
        check_memory(1).unwrap();
        check_pieces::<ACCEPT_PIECES>().unwrap();
        assert_eq!(check_memory(isize::MAX as usize).unwrap_err().kind(), ErrorKind::OutOfMemory);
        assert!(is_exhaustion(&check_memory(usize::MAX).unwrap_err()));
    }
}
