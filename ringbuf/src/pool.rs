//! Rings lent while bytes wait, and only then.

use std::cell::RefCell;
use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::rc::Rc;

use crate::{Drain, Fill, RingBuffer};

/// A bounded store of rings of one capacity, for many connections of which few hold bytes at once.
///
/// A connection reserves a [`Slot`] when it begins: the right to one ring. It has a ring only from the
/// first byte that waits to the last, so an idle connection costs no buffer; and since the ring that was
/// given back last is lent first, a busy loop works on memory that is warm in cache.
///
/// Invariants: `lent <= reserved <= max_rings`, so memory never exceeds `max_rings * ring_capacity`
/// bytes plus a few spare rings; a slot gets its ring whenever it asks and the system has memory for it,
/// because the bound is checked when the slot is reserved.
///
/// A `Pool` is a handle: its clones are the same pool. It belongs to one thread.
///
/// ```
/// use ringbuf::Pool;
///
/// let pool = Pool::new(64 * 1024, 2);
/// let mut slot = pool.reserve().expect("the pool is new");
/// assert_eq!(pool.lent(), 0);
/// assert!(slot.push_all(b"bytes"));
/// assert_eq!((slot.len(), pool.lent()), (5, 1)); // the slot has a ring, because bytes wait
/// slot.consume(5);
/// assert_eq!((slot.len(), pool.lent()), (0, 0)); // it has given it back
/// ```
#[derive(Clone)]
pub struct Pool {
    shared: Rc<Shared>,
}

/// The right to one ring of a [`Pool`]. Dropping it gives the right, and the ring, back.
///
/// It is used like the ring it stands for, and the methods that say no more do what those of [`RingBuffer`]
/// with the same names do. The ring is lent when the first byte comes and goes back with the last one. That
/// the system has no memory for it is an error of [`fill_from`](Self::fill_from), which a peer can bring
/// about, and a panic of the methods that put bytes in by hand.
pub struct Slot {
    pool: Pool,
    /// Invariant: bytes wait in it.
    ring: Option<RingBuffer>,
}

/// Rings that lie ready at the most. More than a few are only needed after many connections stalled
/// at once, and then the memory is better returned.
const SPARE_RINGS: usize = 16;

struct Shared {
    ring_capacity: usize,
    max_rings: usize,
    state: RefCell<State>,
}

#[derive(Default)]
struct State {
    spare: Vec<RingBuffer>,
    reserved: usize,
    lent: usize,
}

impl Pool {
    /// A pool of at most `max_rings` rings of `ring_capacity` bytes each. Nothing is allocated yet.
    ///
    /// # Panics
    ///
    /// If `ring_capacity` is 0.
    #[must_use]
    pub fn new(ring_capacity: usize, max_rings: usize) -> Self {
        assert!(ring_capacity > 0, "a ring buffer needs a capacity of at least 1 byte");
        Self { shared: Rc::new(Shared { ring_capacity, max_rings, state: RefCell::default() }) }
    }

    /// Reserves the right to one ring, or `None` if all `max_rings` are reserved.
    #[must_use]
    pub fn reserve(&self) -> Option<Slot> {
        let mut state = self.shared.state.borrow_mut();
        if state.reserved == self.shared.max_rings {
            return None;
        }
        state.reserved += 1;
        Some(Slot { pool: self.clone(), ring: None })
    }

    /// The number of rings that are in the hands of slots now.
    #[must_use]
    pub fn lent(&self) -> usize {
        self.shared.state.borrow().lent
    }

    fn lend(&self) -> Option<RingBuffer> {
        let mut state = self.shared.state.borrow_mut();
        let spare = state.spare.pop();
        let ring = spare.or_else(|| RingBuffer::try_new(self.shared.ring_capacity))?;
        state.lent += 1;
        Some(ring)
    }

    fn take_back(&self, mut ring: RingBuffer) {
        ring.clear();
        let mut state = self.shared.state.borrow_mut();
        state.lent -= 1;
        if state.spare.len() < SPARE_RINGS {
            state.spare.push(ring);
        }
    }
}

impl Slot {
    /// The pool that lends its ring.
    #[must_use]
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// See [`RingBuffer::fill_from`].
    ///
    /// # Errors
    ///
    /// What `source` reports, other than `Interrupted` and `WouldBlock`; [`ErrorKind::OutOfMemory`] if there is
    /// no memory for a ring, and then the source was not asked.
    pub fn fill_from(&mut self, source: &mut impl Read) -> io::Result<Fill> {
        if self.ring.is_none() {
            self.ring = Some(self.pool.lend().ok_or(ErrorKind::OutOfMemory)?);
        }
        self.with_ring(|ring| ring.fill_from(source))
    }

    /// See [`RingBuffer::drain_to`].
    ///
    /// # Errors
    ///
    /// What `sink` reports, other than `Interrupted` and `WouldBlock`, and `WriteZero` if it took nothing
    /// without saying why.
    pub fn drain_to(&mut self, sink: &mut impl Write) -> io::Result<Drain> {
        if self.is_empty() {
            return Ok(Drain::Empty);
        }
        self.with_ring(|ring| ring.drain_to(sink))
    }

    /// See [`RingBuffer::as_slices`].
    #[must_use]
    pub fn as_slices(&self) -> (&[u8], &[u8]) {
        self.ring.as_ref().map_or((&[], &[]), RingBuffer::as_slices)
    }

    /// See [`RingBuffer::make_contiguous`].
    pub fn make_contiguous(&mut self) -> &[u8] {
        self.ring.as_mut().map_or(&[], RingBuffer::make_contiguous)
    }

    /// See [`RingBuffer::find`].
    #[must_use]
    pub fn find(&self, needle: &[u8], from: usize) -> Option<usize> {
        self.ring.as_ref()?.find(needle, from)
    }

    /// See [`RingBuffer::consume`].
    ///
    /// # Panics
    ///
    /// If fewer than `n` bytes are waiting.
    pub fn consume(&mut self, n: usize) {
        self.with_ring(|ring| ring.consume(n));
    }

    /// See [`RingBuffer::push_slice`].
    #[must_use = "what did not fit is still the caller's"]
    pub fn push_slice(&mut self, bytes: &[u8]) -> usize {
        self.with_ring(|ring| ring.push_slice(bytes))
    }

    /// See [`RingBuffer::push_all`].
    #[must_use = "a message that does not fit is not in"]
    pub fn push_all(&mut self, bytes: &[u8]) -> bool {
        self.with_ring(|ring| ring.push_all(bytes))
    }

    /// See [`RingBuffer::move_to`].
    pub fn move_to(&mut self, other: &mut Slot, most: usize) -> usize {
        self.with_ring(|ring| other.with_ring(|other| ring.move_to(other, most)))
    }

    /// See [`RingBuffer::pop_slice`].
    #[must_use = "only so much of the slice is filled"]
    pub fn pop_slice(&mut self, bytes: &mut [u8]) -> usize {
        self.with_ring(|ring| ring.pop_slice(bytes))
    }

    /// Lends the ring for this work, and longer if bytes wait in it then.
    fn with_ring<T>(&mut self, work: impl FnOnce(&mut RingBuffer) -> T) -> T {
        let ring = self.ring.get_or_insert_with(|| self.pool.lend().expect("memory for a ring"));
        let outcome = work(ring);
        if ring.is_empty() {
            self.clear();
        }
        outcome
    }

    /// Forgets all waiting bytes.
    pub fn clear(&mut self) {
        if let Some(ring) = self.ring.take() {
            self.pool.take_back(ring);
        }
    }

    /// The number of bytes waiting.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ring.as_ref().map_or(0, RingBuffer::len)
    }

    /// The number of bytes that still fit.
    #[must_use]
    pub fn free(&self) -> usize {
        self.pool.shared.ring_capacity - self.len()
    }

    /// Whether no byte waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether no byte fits any more.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.free() == 0
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.clear();
        self.pool.shared.state.borrow_mut().reserved -= 1;
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.shared.state.borrow();
        f.debug_struct("Pool")
            .field("ring_capacity", &self.shared.ring_capacity)
            .field("max_rings", &self.shared.max_rings)
            .field("reserved", &state.reserved)
            .field("lent", &state.lent)
            .field("spare", &state.spare.len())
            .finish()
    }
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slot").field("ring", &self.ring).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn a_ring_is_lent_only_while_bytes_wait() {
        let pool = Pool::new(8, 1);
        let mut slot = pool.reserve().unwrap();
        assert_eq!((pool.lent(), slot.len(), slot.free()), (0, 0, 8));
        assert_eq!(slot.push_slice(b"abc"), 3);
        assert_eq!((pool.lent(), slot.len(), slot.free()), (1, 3, 5));
        slot.consume(3);
        assert_eq!((pool.lent(), slot.len(), slot.free()), (0, 0, 8));
    }

    #[test]
    fn a_slot_without_bytes_has_no_ring_whatever_it_is_asked() {
        let pool = Pool::new(8, 2);
        let (mut slot, mut other) = (pool.reserve().unwrap(), pool.reserve().unwrap());
        assert_eq!(slot.drain_to(&mut io::sink()).unwrap(), Drain::Empty);
        assert_eq!(slot.fill_from(&mut io::empty()).unwrap(), Fill::Eof);
        assert_eq!((slot.push_slice(b""), slot.pop_slice(&mut [0]), slot.move_to(&mut other, 9)), (0, 0, 0));
        assert!(!slot.push_all(b"too many bytes"));
        assert_eq!((slot.find(b"a", 0), slot.as_slices()), (None, (&b""[..], &b""[..])));
        assert_eq!(slot.make_contiguous(), b"");
        slot.consume(0);
        assert_eq!(pool.lent(), 0);
        assert!(slot.push_all(b"abc"));
        assert_eq!((slot.move_to(&mut other, 9), pool.lent()), (3, 1), "it goes where its bytes go");
        assert_eq!(other.make_contiguous(), b"abc");
    }

    #[test]
    fn the_last_ring_used_is_lent_first_and_clean() {
        let pool = Pool::new(8, 2);
        let (mut a, mut b) = (pool.reserve().unwrap(), pool.reserve().unwrap());
        let _ = a.push_slice(b"aaa");
        let _ = b.push_slice(b"bbb");
        let address = |slot: &mut Slot| slot.as_slices().0.as_ptr();
        let (first, last) = (address(&mut a), address(&mut b));
        assert_ne!(first, last);
        a.clear();
        drop(b);
        assert!(a.push_all(b"a"));
        assert_eq!(a.as_slices(), (&b"a"[..], &b""[..]), "nobody sees another's bytes");
        assert_eq!(address(&mut a), last);
    }

    #[test]
    fn that_there_is_no_memory_for_a_ring_is_an_error_and_no_source_is_asked() {
        let pool = Pool::new(isize::MAX as usize, 1);
        let mut slot = pool.reserve().unwrap();
        let mut source = &b"bytes"[..];
        assert_eq!(slot.fill_from(&mut source).unwrap_err().kind(), ErrorKind::OutOfMemory);
        assert_eq!((source.len(), slot.len(), pool.lent()), (5, 0, 0));
    }

    #[test]
    fn a_dropped_slot_gives_back_its_ring_and_its_right() {
        let pool = Pool::new(8, 1);
        let mut slot = pool.reserve().unwrap();
        let _ = slot.push_slice(b"abc");
        drop(slot);
        assert_eq!(pool.lent(), 0);
        assert!(pool.reserve().is_some());
    }

    #[test]
    fn memory_of_a_crowd_is_returned_when_it_has_gone() {
        let pool = Pool::new(8, 100);
        let mut slots: Vec<Slot> = (0..100).map(|_| pool.reserve().unwrap()).collect();
        for slot in &mut slots {
            let _ = slot.push_slice(b"x");
        }
        assert_eq!(pool.lent(), 100);
        slots.clear();
        assert_eq!(pool.lent(), 0);
        assert_eq!(pool.shared.state.borrow().spare.len(), SPARE_RINGS);
    }
}
