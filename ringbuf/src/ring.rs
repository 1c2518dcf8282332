//! The ring itself: bytes in a box, a head and a length.

use std::fmt;
use std::io::{self, ErrorKind, IoSlice, IoSliceMut, Read, Write};

use bytemuck::allocation::try_zeroed_slice_box;

/// A first-in, first-out queue of bytes with a fixed capacity.
///
/// Invariants: `len <= capacity`, `head < capacity`, and an empty ring has `head == 0`.
///
/// The [crate page](crate) has the vocabulary, the pictures and an example.
pub struct RingBuffer {
    storage: Box<[u8]>,
    head: usize,
    len: usize,
}

/// What [`RingBuffer::fill_from`] did.
#[must_use = "Eof and Full call for opposite reactions"]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fill {
    /// So many bytes came in, at least 1.
    Read(usize),
    /// The source has ended: it will never give another byte.
    Eof,
    /// The ring has no room, so the source was not asked.
    Full,
    /// The source has nothing now ([`ErrorKind::WouldBlock`]).
    Blocked,
}

/// What [`RingBuffer::drain_to`] did.
#[must_use = "after Blocked, wait until the sink is writable"]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drain {
    /// So many bytes went out, at least 1; fewer than were waiting if the sink took no more.
    Wrote(usize),
    /// Nothing was waiting, so the sink was not asked.
    Empty,
    /// The sink takes nothing now ([`ErrorKind::WouldBlock`]).
    Blocked,
}

/// Construction and measures.
impl RingBuffer {
    /// An empty ring for exactly `capacity` bytes.
    ///
    /// # Panics
    ///
    /// If `capacity` is 0: such a ring would be full and empty at once.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self::on(vec![0; capacity].into_boxed_slice())
    }

    /// The same, or `None` if there is no memory for it.
    ///
    /// # Panics
    ///
    /// If `capacity` is 0.
    #[must_use]
    pub fn try_new(capacity: usize) -> Option<Self> {
        try_zeroed_slice_box(capacity).ok().map(Self::on)
    }

    /// An empty ring over all of `storage`.
    fn on(storage: Box<[u8]>) -> Self {
        assert!(!storage.is_empty(), "a ring buffer needs a capacity of at least 1 byte");
        Self { storage, head: 0, len: 0 }
    }

    /// The number of bytes the ring can hold.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.storage.len()
    }

    /// The number of bytes waiting.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// The number of bytes that still fit.
    #[must_use]
    pub fn free(&self) -> usize {
        self.capacity() - self.len
    }

    /// Whether no byte waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether no byte fits any more.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.free() == 0
    }
}

/// Input and output, by at most one system call each.
impl RingBuffer {
    /// Reads once from `source` into the free part: a plain `read` if that is one slice, else a
    /// `readv`. A call that a signal interrupted ([`ErrorKind::Interrupted`]) is made again.
    ///
    /// # Errors
    ///
    /// What `source` reports, other than `Interrupted` and `WouldBlock`; the ring is then unchanged.
    ///
    /// # Panics
    ///
    /// If `source` claims to have read more than it was offered room for.
    pub fn fill_from(&mut self, source: &mut impl Read) -> io::Result<Fill> {
        let room = self.free();
        if room == 0 {
            return Ok(Fill::Full);
        }
        let (first, second) = self.free_slices();
        let outcome = if second.is_empty() {
            uninterrupted(|| source.read(first))
        } else {
            uninterrupted(|| source.read_vectored(&mut [IoSliceMut::new(first), IoSliceMut::new(second)]))
        };
        match outcome {
            Ok(0) => Ok(Fill::Eof),
            Ok(n) => {
                assert!(n <= room, "the source says it read {n} bytes into room for {room}");
                self.len += n;
                Ok(Fill::Read(n))
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(Fill::Blocked),
            Err(error) => Err(error),
        }
    }

    /// Writes once to `sink` from the waiting bytes: a plain `write` if they are one slice, else a
    /// `writev`. A call that a signal interrupted ([`ErrorKind::Interrupted`]) is made again.
    ///
    /// # Errors
    ///
    /// What `sink` reports, other than `Interrupted` and `WouldBlock`, and [`ErrorKind::WriteZero`] if
    /// it took none of the bytes without saying why; the ring is then unchanged.
    ///
    /// # Panics
    ///
    /// If `sink` claims to have written more than was waiting.
    pub fn drain_to(&mut self, sink: &mut impl Write) -> io::Result<Drain> {
        if self.is_empty() {
            return Ok(Drain::Empty);
        }
        let (first, second) = self.as_slices();
        let outcome = if second.is_empty() {
            uninterrupted(|| sink.write(first))
        } else {
            uninterrupted(|| sink.write_vectored(&[IoSlice::new(first), IoSlice::new(second)]))
        };
        match outcome {
            Ok(0) => Err(ErrorKind::WriteZero.into()),
            Ok(n) => {
                self.consume(n);
                Ok(Drain::Wrote(n))
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(Drain::Blocked),
            Err(error) => Err(error),
        }
    }
}

/// Bytes in memory, for parsers and generated data.
impl RingBuffer {
    /// The waiting bytes, oldest first; the second slice is empty unless they wrap.
    #[must_use]
    pub fn as_slices(&self) -> (&[u8], &[u8]) {
        let end = self.head + self.len;
        if end <= self.capacity() {
            (&self.storage[self.head..end], &[])
        } else {
            (&self.storage[self.head..], &self.storage[..end - self.capacity()])
        }
    }

    /// The waiting bytes as one slice. A wrapped ring is rearranged first, at the cost of moving up to
    /// `capacity` bytes.
    pub fn make_contiguous(&mut self) -> &[u8] {
        if self.head + self.len > self.capacity() {
            self.storage.rotate_left(self.head);
            self.head = 0;
        }
        &self.storage[self.head..self.head + self.len]
    }

    /// Where `needle` first begins at or after the waiting byte number `from` (the oldest is number
    /// 0), also across the wrap. An empty needle is found at `from`, if that is at most `len`.
    ///
    /// A parser that waits for the end of a line passes how far it has looked already, less
    /// `needle.len() - 1`, so that a line which comes byte by byte costs linear time.
    #[must_use]
    pub fn find(&self, needle: &[u8], from: usize) -> Option<usize> {
        let last = self.len.checked_sub(needle.len())?;
        let (first, second) = self.as_slices();
        let byte = |at: usize| first.get(at).or_else(|| second.get(at - first.len()));
        (from..=last).find(|&at| needle.iter().enumerate().all(|(i, wanted)| byte(at + i) == Some(wanted)))
    }

    /// Forgets the oldest `n` bytes.
    ///
    /// # Panics
    ///
    /// If fewer than `n` bytes are waiting.
    pub fn consume(&mut self, n: usize) {
        assert!(n <= self.len, "cannot consume {n} of {} waiting bytes", self.len);
        self.len -= n;
        self.head = match self.head + n {
            _ if self.len == 0 => 0,
            head if head >= self.capacity() => head - self.capacity(),
            head => head,
        };
    }

    /// Copies in as much of `bytes` as fits, from its start, and returns how much that was.
    #[must_use = "what did not fit is still the caller's"]
    pub fn push_slice(&mut self, bytes: &[u8]) -> usize {
        let (first, second) = self.free_slices();
        let one = first.len().min(bytes.len());
        let two = second.len().min(bytes.len() - one);
        first[..one].copy_from_slice(&bytes[..one]);
        second[..two].copy_from_slice(&bytes[one..one + two]);
        self.len += one + two;
        one + two
    }

    /// Copies in all of `bytes`, or, if they do not fit, nothing. Returns whether they are in.
    #[must_use = "a message that does not fit is not in"]
    pub fn push_all(&mut self, bytes: &[u8]) -> bool {
        self.free() >= bytes.len() && self.push_slice(bytes) == bytes.len()
    }

    /// Moves the oldest bytes to another ring: as many as wait here, fit there, and are at most `most`.
    /// Returns how many.
    pub fn move_to(&mut self, other: &mut RingBuffer, most: usize) -> usize {
        let (first, second) = self.as_slices();
        let one = other.push_slice(&first[..first.len().min(most)]);
        let two =
            if one < first.len() { 0 } else { other.push_slice(&second[..second.len().min(most - one)]) };
        self.consume(one + two);
        one + two
    }

    /// Moves the oldest bytes out to `bytes`, as many as it has room for, and returns how many.
    #[must_use = "only so much of the slice is filled"]
    pub fn pop_slice(&mut self, bytes: &mut [u8]) -> usize {
        let (first, second) = self.as_slices();
        let one = first.len().min(bytes.len());
        let two = second.len().min(bytes.len() - one);
        bytes[..one].copy_from_slice(&first[..one]);
        bytes[one..one + two].copy_from_slice(&second[..two]);
        self.consume(one + two);
        one + two
    }

    /// Forgets all waiting bytes.
    pub fn clear(&mut self) {
        self.consume(self.len);
    }

    /// The free part, in the order in which it is to be filled.
    fn free_slices(&mut self) -> (&mut [u8], &mut [u8]) {
        let (head, tail, capacity) = (self.head, self.head + self.len, self.capacity());
        if tail < capacity {
            let (before, after) = self.storage.split_at_mut(tail);
            (after, &mut before[..head])
        } else {
            (&mut self.storage[tail - capacity..head], &mut [])
        }
    }
}

/// Shows the measures, not the bytes: they may be somebody's secret.
impl fmt::Debug for RingBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RingBuffer")
            .field("capacity", &self.capacity())
            .field("head", &self.head)
            .field("len", &self.len)
            .finish()
    }
}

/// Repeats `call` as long as signals interrupt it.
fn uninterrupted(mut call: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match call() {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            outcome => return outcome,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The ring of this capacity whose waiting bytes are `0, 1, … len-1` and begin at `head`.
    fn ring(capacity: usize, head: usize, len: usize) -> RingBuffer {
        let mut ring = RingBuffer::new(capacity);
        ring.head = head;
        for i in 0..len {
            ring.storage[(head + i) % capacity] = i as u8;
        }
        ring.len = len;
        verify_invariants(&ring);
        ring
    }

    fn verify_invariants(ring: &RingBuffer) {
        assert!(ring.len <= ring.capacity() && ring.head < ring.capacity(), "{ring:?}");
        assert!(ring.len > 0 || ring.head == 0, "an empty ring begins at 0: {ring:?}");
        let (first, second) = ring.as_slices();
        assert_eq!(first.len() + second.len(), ring.len);
        assert!(second.is_empty() || !first.is_empty());
        assert_eq!(ring.free() + ring.len(), ring.capacity());
        assert_eq!(ring.is_full(), ring.free() == 0);
        assert_eq!(ring.is_empty(), first.is_empty());
    }

    fn bytes(ring: &RingBuffer) -> Vec<u8> {
        let (first, second) = ring.as_slices();
        [first, second].concat()
    }

    /// Runs `check` on every ring of capacity 1..=5: every head with every length.
    fn every_small_ring(check: impl Fn(&dyn Fn() -> RingBuffer, Vec<u8>)) {
        for capacity in 1..=5 {
            for len in 0..=capacity {
                for head in 0..if len == 0 { 1 } else { capacity } {
                    check(&|| ring(capacity, head, len), (0..len as u8).collect());
                }
            }
        }
    }

    #[test]
    fn every_small_ring_pushes_what_fits() {
        every_small_ring(|make, model| {
            for n in 0..=6 {
                let mut ring = make();
                let more: Vec<u8> = (100..100 + n).collect();
                let fits = ring.free().min(more.len());
                assert_eq!(ring.push_slice(&more), fits);
                verify_invariants(&ring);
                assert_eq!(bytes(&ring), [&model[..], &more[..fits]].concat());
            }
        });
    }

    #[test]
    fn every_small_ring_pushes_all_or_nothing() {
        every_small_ring(|make, model| {
            for n in 0..=6 {
                let mut ring = make();
                let more: Vec<u8> = (100..100 + n).collect();
                let fits = ring.free() >= more.len();
                assert_eq!(ring.push_all(&more), fits);
                verify_invariants(&ring);
                assert_eq!(bytes(&ring), if fits { [&model[..], &more].concat() } else { model.clone() });
            }
        });
    }

    #[test]
    fn every_small_ring_moves_its_oldest_bytes_to_every_other() {
        every_small_ring(|make_one, one| {
            every_small_ring(|make_other, other| {
                for most in 0..=6 {
                    let (mut from, mut to) = (make_one(), make_other());
                    let n = one.len().min(to.free()).min(most);
                    assert_eq!(from.move_to(&mut to, most), n);
                    verify_invariants(&from);
                    verify_invariants(&to);
                    assert_eq!(bytes(&from), &one[n..]);
                    assert_eq!(bytes(&to), [&other[..], &one[..n]].concat());
                }
            });
        });
    }

    #[test]
    fn every_small_ring_pops_the_oldest() {
        every_small_ring(|make, model| {
            for n in 0..=6 {
                let mut ring = make();
                let mut out = [255; 6];
                let got = ring.pop_slice(&mut out[..n]);
                verify_invariants(&ring);
                assert_eq!(got, n.min(model.len()));
                assert_eq!(&out[..got], &model[..got]);
                assert_eq!(bytes(&ring), &model[got..]);
                assert!(out[got..].iter().all(|&b| b == 255), "nothing beyond is touched");
            }
        });
    }

    #[test]
    fn every_small_ring_consumes_clears_and_becomes_contiguous() {
        every_small_ring(|make, model| {
            for n in 0..=model.len() {
                let mut ring = make();
                ring.consume(n);
                verify_invariants(&ring);
                assert_eq!(bytes(&ring), &model[n..]);
                assert_eq!(ring.make_contiguous(), &model[n..]);
                verify_invariants(&ring);
                assert_eq!(bytes(&ring), &model[n..]);
            }
            let mut ring = make();
            ring.clear();
            verify_invariants(&ring);
            assert!(ring.is_empty());
        });
    }

    #[test]
    fn every_small_ring_finds_every_needle() {
        every_small_ring(|make, model| {
            let ring = make();
            for begin in 0..=model.len() {
                for end in begin..=model.len() {
                    for from in 0..=model.len() + 1 {
                        let needle = &model[begin..end];
                        let expected = (from..=model.len()).find(|&at| model[at..].starts_with(needle));
                        assert_eq!(ring.find(needle, from), expected, "{needle:?} from {from} in {model:?}");
                    }
                }
            }
            assert_eq!(ring.find(&[99], 0), None);
            assert_eq!(ring.find(&[0; 9], 0), None, "a needle longer than the ring");
        });
    }

    #[test]
    fn the_usual_fill_and_drain_are_plain_calls() {
        let mut ring = RingBuffer::new(8);
        for _ in 0..3 {
            assert_eq!(ring.fill_from(&mut &b"abcde"[..]).unwrap(), Fill::Read(5));
            assert_eq!(ring.head, 0, "an empty ring is filled from the start of its storage");
            assert_eq!(ring.drain_to(&mut Vec::new()).unwrap(), Drain::Wrote(5));
        }
    }

    #[test]
    #[should_panic(expected = "cannot consume 3 of 2 waiting bytes")]
    fn consuming_more_than_waits_is_refused() {
        ring(4, 3, 2).consume(3);
    }

    #[test]
    #[should_panic(expected = "at least 1 byte")]
    fn a_ring_for_nothing_is_refused() {
        let _ = RingBuffer::new(0);
    }

    #[test]
    #[should_panic(expected = "at least 1 byte")]
    fn trying_a_ring_for_nothing_is_refused_too() {
        let _ = RingBuffer::try_new(0);
    }

    #[test]
    #[should_panic(expected = "says it read 9 bytes into room for 4")]
    fn a_source_that_claims_too_much_is_refused() {
        struct Liar;
        impl Read for Liar {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Ok(9)
            }
        }
        let _ = RingBuffer::new(4).fill_from(&mut Liar);
    }

    #[test]
    fn debug_shows_measures_and_no_content() {
        let mut ring = RingBuffer::new(8);
        assert_eq!(ring.push_slice(b"secret"), 6);
        assert_eq!(format!("{ring:?}"), "RingBuffer { capacity: 8, head: 0, len: 6 }");
    }
}
