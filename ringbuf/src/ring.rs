//! The ring itself: storage, a head and a length.

use std::fmt;
use std::io::{self, ErrorKind, IoSlice, IoSliceMut, Read, Write};

use crate::pool::Loan;

/// A first-in, first-out queue of bytes with a fixed capacity.
///
/// A ring from [`new`](Self::new) owns its storage. One from [`Pool::reserve`](crate::Pool::reserve) borrows
/// storage with its first byte and gives it back with its last; otherwise the two behave the same.
///
/// Invariants: `len <= capacity`, `head < capacity`, an empty ring has `head == 0`, and a ring of a pool has
/// storage between calls exactly if `len > 0`.
///
/// The [crate page](crate) has the vocabulary, the pictures and an example.
pub struct RingBuffer {
    storage: Storage,
    head: usize,
    len: usize,
}

enum Storage {
    Owned(Box<[u8]>),
    Lent(Loan),
}

/// What [`RingBuffer::fill_from`] did.
#[must_use = "Eof and Full call for opposite reactions"]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fill {
    /// This number of bytes came in, at least 1.
    Read(usize),
    /// The source has ended: it will never give another byte.
    Eof,
    /// The ring is full, so the source was not asked.
    Full,
    /// The source has no byte now ([`ErrorKind::WouldBlock`]).
    Blocked,
}

/// What [`RingBuffer::drain_to`] did.
#[must_use = "after Blocked, wait until the sink is writable"]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drain {
    /// This number of bytes went out: at least 1, at most [`len`](RingBuffer::len).
    Wrote(usize),
    /// The ring is empty, so the sink was not asked.
    Empty,
    /// The sink takes no byte now ([`ErrorKind::WouldBlock`]).
    Blocked,
}

/// Construction and measures.
impl RingBuffer {
    /// An empty ring of exactly `capacity` bytes, with storage of its own.
    ///
    /// # Panics
    ///
    /// If `capacity` is 0: such a ring would be full and empty at once. A lack of memory ends the process,
    /// as with [`Vec`]; a ring of a [`Pool`](crate::Pool) reports it instead.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        assert!(capacity > 0, "a ring buffer needs a capacity of at least 1 byte");
        Self { storage: Storage::Owned(vec![0; capacity].into_boxed_slice()), head: 0, len: 0 }
    }

    /// An empty ring with storage of a pool.
    pub(crate) fn lent(loan: Loan) -> Self {
        Self { storage: Storage::Lent(loan), head: 0, len: 0 }
    }

    /// The number of bytes that the ring can hold.
    #[must_use]
    pub fn capacity(&self) -> usize {
        match &self.storage {
            Storage::Owned(storage) => storage.len(),
            Storage::Lent(loan) => loan.capacity(),
        }
    }

    /// The number of bytes buffered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// The number of bytes that still fit.
    #[must_use]
    pub fn free(&self) -> usize {
        self.capacity() - self.len
    }

    /// Whether no byte is buffered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether no further byte fits.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.free() == 0
    }
}

/// Input and output, by at most one system call each.
impl RingBuffer {
    /// Reads once from `source` into the free part: a plain `read` if that is one slice, else a
    /// `readv`. A call that a signal interrupted ([`ErrorKind::Interrupted`]) is repeated.
    ///
    /// # Errors
    ///
    /// What `source` reports, other than `Interrupted` and `WouldBlock`. [`ErrorKind::OutOfMemory`] if the
    /// pool of this ring finds no memory; then the source was not asked. The ring is unchanged.
    ///
    /// # Panics
    ///
    /// If `source` claims to have read more than it was offered room for.
    pub fn fill_from(&mut self, source: &mut impl Read) -> io::Result<Fill> {
        let room = self.free();
        if room == 0 {
            return Ok(Fill::Full);
        }
        self.borrow_storage()?;
        let (first, second) = self.free_slices();
        let outcome = if second.is_empty() {
            uninterrupted(|| source.read(first))
        } else {
            uninterrupted(|| source.read_vectored(&mut [IoSliceMut::new(first), IoSliceMut::new(second)]))
        };
        if let Ok(n) = outcome {
            assert!(n <= room, "the source says it read {n} bytes into room for {room}");
            self.len += n;
        }
        self.end_change();
        match outcome {
            Ok(0) => Ok(Fill::Eof),
            Ok(n) => Ok(Fill::Read(n)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(Fill::Blocked),
            Err(error) => Err(error),
        }
    }

    /// Writes once to `sink` from the buffered bytes: a plain `write` if they are one slice, else a
    /// `writev`. A call that a signal interrupted ([`ErrorKind::Interrupted`]) is repeated.
    ///
    /// # Errors
    ///
    /// What `sink` reports, other than `Interrupted` and `WouldBlock`, and [`ErrorKind::WriteZero`] if
    /// it took no byte and reported no error. The ring is unchanged.
    ///
    /// # Panics
    ///
    /// If `sink` claims to have written more than it was given.
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
    /// The buffered bytes, oldest first; the second slice is empty unless they wrap.
    #[must_use]
    pub fn as_slices(&self) -> (&[u8], &[u8]) {
        let (storage, end) = (self.storage(), self.head + self.len);
        if end <= storage.len() {
            (&storage[self.head..end], &[])
        } else {
            (&storage[self.head..], &storage[..end - storage.len()])
        }
    }

    /// The buffered bytes as one slice. A wrapped ring is rearranged first, at the cost of moving up to
    /// `capacity` bytes.
    pub fn make_contiguous(&mut self) -> &[u8] {
        if self.head + self.len > self.capacity() {
            let head = self.head;
            self.storage_mut().rotate_left(head);
            self.head = 0;
        }
        &self.storage()[self.head..self.head + self.len]
    }

    /// The index of the first `needle` at or after index `from`, counted from the oldest buffered byte, also
    /// across the wrap. An empty needle is found at `from`, if that is at most `len`.
    ///
    /// A parser that needs the end of a line passes the length that it has searched already, less
    /// `needle.len() - 1`. So a line that comes byte by byte costs linear time.
    #[must_use]
    pub fn find(&self, needle: &[u8], from: usize) -> Option<usize> {
        let last = self.len.checked_sub(needle.len())?;
        let (first, second) = self.as_slices();
        let byte = |at: usize| first.get(at).or_else(|| second.get(at - first.len()));
        (from..=last).find(|&at| needle.iter().enumerate().all(|(i, wanted)| byte(at + i) == Some(wanted)))
    }

    /// Drops the oldest `n` bytes.
    ///
    /// # Panics
    ///
    /// If fewer than `n` bytes are buffered.
    pub fn consume(&mut self, n: usize) {
        assert!(n <= self.len, "cannot consume {n} of {} buffered bytes", self.len);
        self.len -= n;
        self.head = match self.head + n {
            head if head >= self.capacity() => head - self.capacity(),
            head => head,
        };
        self.end_change();
    }

    /// Copies in as much of `bytes` as fits, from its start, and returns the number of bytes copied.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::OutOfMemory`] if the pool of this ring finds no memory. A ring that owns its storage
    /// never fails.
    #[must_use = "what did not fit is still the caller's"]
    pub fn push_slice(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.free().min(bytes.len());
        if n > 0 {
            self.borrow_storage()?;
            let (first, second) = self.free_slices();
            let (one, two) = bytes[..n].split_at(first.len().min(n));
            first[..one.len()].copy_from_slice(one);
            second[..two.len()].copy_from_slice(two);
            self.len += n;
        }
        Ok(n)
    }

    /// Copies in all of `bytes` and returns `true`, or, if they do not fit, copies nothing and returns
    /// `false`.
    ///
    /// # Errors
    ///
    /// As [`push_slice`](Self::push_slice).
    #[must_use = "a message that does not fit is not in"]
    pub fn push_all(&mut self, bytes: &[u8]) -> io::Result<bool> {
        Ok(self.free() >= bytes.len() && self.push_slice(bytes)? == bytes.len())
    }

    /// Moves the oldest bytes to `other`: as many as are buffered here and fit there, at most `limit`.
    /// Returns their number.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::OutOfMemory`] if the pool of `other` finds no memory; then nothing has moved.
    pub fn move_to(&mut self, other: &mut RingBuffer, limit: usize) -> io::Result<usize> {
        let n = self.len.min(other.free()).min(limit);
        let (first, second) = self.as_slices();
        let one = first.len().min(n);
        for bytes in [&first[..one], &second[..n - one]] {
            let pushed = other.push_slice(bytes)?; // the second finds storage that the first has borrowed
            debug_assert_eq!(pushed, bytes.len());
        }
        self.consume(n);
        Ok(n)
    }

    /// Moves the oldest bytes out to `bytes`, as many as it has room for, and returns their number.
    #[must_use = "only this many bytes of the slice are filled"]
    pub fn pop_slice(&mut self, bytes: &mut [u8]) -> usize {
        let (first, second) = self.as_slices();
        let one = first.len().min(bytes.len());
        let two = second.len().min(bytes.len() - one);
        bytes[..one].copy_from_slice(&first[..one]);
        bytes[one..one + two].copy_from_slice(&second[..two]);
        self.consume(one + two);
        one + two
    }

    /// Drops all buffered bytes.
    pub fn clear(&mut self) {
        self.consume(self.len);
    }
}

/// The storage.
impl RingBuffer {
    /// All of the storage; empty while none is lent.
    fn storage(&self) -> &[u8] {
        match &self.storage {
            Storage::Owned(storage) => storage,
            Storage::Lent(loan) => loan.storage(),
        }
    }

    fn storage_mut(&mut self) -> &mut [u8] {
        match &mut self.storage {
            Storage::Owned(storage) => storage,
            Storage::Lent(loan) => loan.storage_mut(),
        }
    }

    /// Makes sure that there is storage. [`end_change`](Self::end_change) gives it back if it was not needed.
    fn borrow_storage(&mut self) -> io::Result<()> {
        match &mut self.storage {
            Storage::Owned(_) => Ok(()),
            Storage::Lent(loan) => loan.borrow(),
        }
    }

    /// Restores what holds for an empty ring: it begins at 0 and borrows no storage.
    fn end_change(&mut self) {
        if self.len == 0 {
            self.head = 0;
            if let Storage::Lent(loan) = &mut self.storage {
                loan.give_back();
            }
        }
    }

    /// The free part, in the order in which it is to be filled. There is storage.
    fn free_slices(&mut self) -> (&mut [u8], &mut [u8]) {
        let (head, tail) = (self.head, self.head + self.len);
        let storage = self.storage_mut();
        if tail < storage.len() {
            let (before, after) = storage.split_at_mut(tail);
            (after, &mut before[..head])
        } else {
            let tail = tail - storage.len();
            (&mut storage[tail..head], &mut [])
        }
    }
}

/// Shows the measures, not the bytes: they may be secret.
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
mod tests;
