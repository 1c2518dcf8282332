//! Storage lent to rings while bytes are buffered in them.

use std::rc::Rc;

use crate::RingBuffer;
use crate::store::Store;

/// Storage for many rings of one capacity, of which few hold bytes at the same time.
///
/// A connection reserves a [`RingBuffer`] when it begins. The ring has storage from its first buffered byte
/// to its last, so an idle connection costs no buffer. The storage that was given back last is lent first,
/// so a busy loop works on memory that is in the cache.
///
/// Storage is memory mapped from the system (mmap(2)), in whole pages. At most 16 pieces are kept for the next
/// ring; the others are unmapped as soon as they are given back. (Memory from the heap would stay with the
/// process: malloc(3) returns only what lies above every piece still in use.)
///
/// Invariants: `lent <= reserved <= max_rings`, and `lent` plus the pieces kept is at most `max_rings`. So
/// the pool never takes more than `max_rings * ring_capacity` bytes, each ring rounded up to pages. A ring
/// that was reserved gets storage whenever it needs some, unless the system has no memory.
///
/// A `Pool` is a handle: its clones are the same pool. It belongs to one thread.
///
/// ```
/// use ringbuf::Pool;
///
/// let pool = Pool::new(64 * 1024, 2);
/// let mut ring = pool.reserve().expect("none of the two is reserved yet");
/// assert_eq!((ring.free(), pool.lent()), (64 * 1024, 0));
/// assert!(ring.push_all(b"bytes")?);
/// assert_eq!((ring.len(), pool.lent()), (5, 1)); // storage is lent while bytes are buffered
/// ring.consume(5);
/// assert_eq!((ring.len(), pool.lent()), (0, 0));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Pool {
    store: Rc<Store>,
}

impl Pool {
    /// A pool for at most `max_rings` rings of `ring_capacity` bytes each. It takes no memory yet.
    ///
    /// # Panics
    ///
    /// If `ring_capacity` is 0.
    #[must_use]
    pub fn new(ring_capacity: usize, max_rings: usize) -> Self {
        assert!(ring_capacity > 0, "a ring buffer needs a capacity of at least 1 byte");
        Self { store: Rc::new(Store { ring_capacity, max_rings, ..Store::default() }) }
    }

    /// An empty ring whose storage is lent by this pool, or `None` if all `max_rings` are reserved. Dropping
    /// the ring ends the reservation.
    #[must_use]
    pub fn reserve(&self) -> Option<RingBuffer> {
        self.store.reserve().map(RingBuffer::lent)
    }

    /// The number of rings that have storage now: those in which bytes are buffered.
    #[must_use]
    pub fn lent(&self) -> usize {
        self.store.lent.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::MAX_SPARE;
    use crate::{Drain, Fill};
    use std::io::{self, ErrorKind};

    #[test]
    fn no_more_than_max_rings_can_be_reserved() {
        let pool = Pool::new(8, 2);
        let first = pool.reserve().unwrap();
        let _second = pool.reserve().unwrap();
        assert!(pool.reserve().is_none());
        drop(first);
        assert!(pool.reserve().is_some());
    }

    #[test]
    fn an_empty_ring_has_no_storage_after_any_operation() {
        let pool = Pool::new(8, 2);
        let (mut ring, mut other) = (pool.reserve().unwrap(), pool.reserve().unwrap());
        assert_eq!(ring.drain_to(&mut io::sink()).unwrap(), Drain::Empty);
        assert_eq!(ring.fill_from(&mut io::empty()).unwrap(), Fill::Eof);
        assert_eq!((ring.push_slice(b"").unwrap(), ring.pop_slice(&mut [0])), (0, 0));
        assert_eq!(ring.move_to(&mut other, 9).unwrap(), 0);
        assert!(!ring.push_all(b"too many bytes").unwrap());
        assert_eq!((ring.find(b"a", 0), ring.as_slices()), (None, (&b""[..], &b""[..])));
        assert_eq!(ring.make_contiguous(), b"");
        ring.consume(0);
        assert_eq!(pool.lent(), 0);
        assert!(ring.push_all(b"abc").unwrap());
        assert_eq!((ring.move_to(&mut other, 9).unwrap(), pool.lent()), (3, 1));
        assert_eq!(other.make_contiguous(), b"abc");
    }

    #[test]
    fn the_storage_used_last_is_lent_first_without_its_old_bytes() {
        let pool = Pool::new(8, 2);
        let (mut a, mut b) = (pool.reserve().unwrap(), pool.reserve().unwrap());
        assert!(a.push_all(b"aaa").unwrap() && b.push_all(b"bbb").unwrap());
        let address = |ring: &RingBuffer| ring.as_slices().0.as_ptr();
        let (first, last) = (address(&a), address(&b));
        assert_ne!(first, last);
        a.clear();
        drop(b);
        assert!(a.push_all(b"a").unwrap());
        assert_eq!(a.as_slices(), (&b"a"[..], &b""[..]));
        assert_eq!(address(&a), last);
    }

    #[test]
    fn a_lack_of_memory_is_an_error_of_each_operation_that_needs_storage() {
        let pool = Pool::new(isize::MAX as usize, 1);
        let mut ring = pool.reserve().unwrap();
        let mut source = &b"bytes"[..];
        let mut other = RingBuffer::new(8);
        assert_eq!(other.push_slice(b"abc").unwrap(), 3);
        for error in [
            ring.fill_from(&mut source).unwrap_err(),
            ring.push_slice(b"abc").unwrap_err(),
            ring.push_all(b"abc").unwrap_err(),
            other.move_to(&mut ring, 8).unwrap_err(),
        ] {
            assert_eq!(error.kind(), ErrorKind::OutOfMemory);
        }
        assert_eq!(source, b"bytes", "the source was not read");
        assert_eq!(other.make_contiguous(), b"abc", "nothing was taken out");
        assert_eq!((ring.len(), pool.lent()), (0, 0));
    }

    #[test]
    fn a_dropped_ring_gives_back_its_storage_and_its_reservation() {
        let pool = Pool::new(8, 1);
        let mut ring = pool.reserve().unwrap();
        assert!(ring.push_all(b"abc").unwrap());
        drop(ring);
        assert_eq!(pool.lent(), 0);
        assert!(pool.reserve().is_some());
    }

    #[test]
    fn a_ring_that_the_default_replaces_gives_back_its_storage_and_its_reservation_and_the_default_has_no_capacity()
     {
        let pool = Pool::new(8, 1);
        let mut ring = pool.reserve().unwrap();
        assert!(ring.push_all(b"abc").unwrap());
        ring = RingBuffer::default();
        assert_eq!((pool.lent(), ring.len(), ring.capacity()), (0, 0, 0));
        assert!(pool.reserve().is_some());
        assert_eq!(ring.fill_from(&mut &b"abc"[..]).unwrap(), Fill::Full);
        assert!(!ring.push_all(b"abc").unwrap() && ring.make_contiguous().is_empty());
        ring.consume(0);
        assert_eq!(ring.drain_to(&mut io::sink()).unwrap(), Drain::Empty);
    }

    #[test]
    fn a_pool_keeps_at_most_16_pieces_of_storage_for_the_next_rings() {
        let pool = Pool::new(8, 100);
        let mut rings: Vec<RingBuffer> = (0..100).map(|_| pool.reserve().unwrap()).collect();
        for ring in &mut rings {
            assert!(ring.push_all(b"x").unwrap());
        }
        assert_eq!(pool.lent(), 100);
        rings.clear();
        assert_eq!(pool.lent(), 0);
        assert_eq!(pool.store.spare.borrow().len(), MAX_SPARE);
    }
}
