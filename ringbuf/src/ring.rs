//! The ring itself: storage, a head and a length.

use std::fmt;
use std::io::{self, ErrorKind, IoSlice, IoSliceMut, Read, Write};

use crate::content::Content;
use crate::store::Reservation;

/// A first-in, first-out queue of bytes with a fixed capacity.
///
/// A ring from [`new`](Self::new) owns its storage. One from [`Pool::reserve`](crate::Pool::reserve) borrows
/// storage with its first byte and gives it back with its last; otherwise the two behave the same.
///
/// Invariants: `len <= capacity`, `head < capacity`, an empty ring has `head == 0`, and a ring of a pool has
/// storage between calls exactly if `len > 0`.
///
/// The [crate page](crate) has the vocabulary, the pictures, and bytes on their way from a source to a sink. A parser
/// takes lines out like this:
///
/// ```
/// use ringbuf::RingBuffer;
///
/// let mut ring = RingBuffer::new(16);
/// assert!(ring.push_all(b"first\nsecond\nthi")?);
/// let mut lines = Vec::new();
/// while let Some(end) = ring.find(b"\n", 0) {
///     lines.push(String::from_utf8_lossy(&ring.make_contiguous()[..end]).into_owned());
///     ring.consume(end + 1);
/// }
/// assert_eq!(lines, ["first", "second"]);
/// assert_eq!(ring.make_contiguous(), b"thi"); // an incomplete line stays in the ring
/// assert!(!ring.push_all(b"more than there is room for")?);
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// The default is a ring of capacity 0 without storage: fills report [`Fill::Full`], drains [`Drain::Empty`]. A session that
/// goes on without a ring puts the default in its place, which gives back the storage and the reservation.
#[derive(Default)]
pub struct RingBuffer {
    /// `None` while the ring is empty, if its storage is lent: an idle ring costs a few bytes.
    content: Option<Box<Content>>,
    /// The pool that lends the storage; `None` if the ring owns its storage, or is the default.
    lender: Option<Reservation>,
}

/// What [`RingBuffer::fill_from`] did.
#[must_use = "Eof and Full call for opposite reactions"]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fill {
    /// This number of bytes was read, at least 1.
    Read(usize),
    /// The source has ended: no further byte follows.
    Eof,
    /// The ring is full, so the source was not read.
    Full,
    /// The source has no byte now ([`ErrorKind::WouldBlock`]).
    Blocked,
}

/// What [`RingBuffer::drain_to`] did.
#[must_use = "after Blocked, wait until the sink is writable"]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drain {
    /// This number of bytes was written: at least 1, at most [`len`](RingBuffer::len).
    Wrote(usize),
    /// The ring is empty, so nothing was written to the sink.
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
        Self { content: Some(Box::new(Content::owned(capacity))), lender: None }
    }

    /// An empty ring with storage of a pool.
    pub(crate) fn lent(lender: Reservation) -> Self {
        Self { content: None, lender: Some(lender) }
    }

    /// The number of bytes that the ring can hold.
    #[must_use]
    pub fn capacity(&self) -> usize {
        match &self.lender {
            Some(lender) => lender.ring_capacity(),
            None => self.content.as_ref().map_or(0, |content| content.storage().len()),
        }
    }

    /// The number of bytes buffered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.content.as_ref().map_or(0, |content| content.len)
    }

    /// The number of bytes that still fit.
    #[must_use]
    pub fn free(&self) -> usize {
        self.capacity() - self.len()
    }

    /// Whether no byte is buffered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
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
    /// pool of this ring finds no memory; then the source was not read. The ring is unchanged.
    ///
    /// # Panics
    ///
    /// If `source` returns a number of bytes larger than the room it was given.
    pub fn fill_from(&mut self, source: &mut impl Read) -> io::Result<Fill> {
        let room = self.free();
        if room == 0 {
            return Ok(Fill::Full);
        }
        let content = self.content_mut()?;
        let (first, second) = content.free_slices();
        let outcome = if second.is_empty() {
            uninterrupted(|| source.read(first))
        } else {
            uninterrupted(|| source.read_vectored(&mut [IoSliceMut::new(first), IoSliceMut::new(second)]))
        };
        if let Ok(n) = outcome {
            assert!(n <= room, "the source says it read {n} bytes into room for {room}");
            content.len += n;
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
    /// If `sink` returns a number of bytes larger than it was given.
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
        self.content.as_ref().map_or((&[], &[]), |content| content.slices())
    }

    /// The buffered bytes as one slice. A wrapped ring is rearranged first, at the cost of moving up to
    /// `capacity` bytes.
    pub fn make_contiguous(&mut self) -> &[u8] {
        self.content.as_mut().map_or(&[], |content| content.make_contiguous())
    }

    /// The index of the first `needle` at or after index `from`, counted from the oldest buffered byte, also
    /// across the wrap. An empty needle is found at `from`, if that is at most `len`.
    ///
    /// A parser that needs the end of a line passes the length that it has searched already, less
    /// `needle.len() - 1`. So a line that comes byte by byte costs linear time.
    #[must_use]
    pub fn find(&self, needle: &[u8], from: usize) -> Option<usize> {
        let last = self.len().checked_sub(needle.len())?;
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
        assert!(n <= self.len(), "cannot consume {n} of {} buffered bytes", self.len());
        if let Some(content) = &mut self.content {
            content.consume(n);
        }
        self.end_change();
    }

    /// Copies in as much of `bytes` as fits, from its start, and returns the number of bytes copied.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::OutOfMemory`] if the pool of this ring finds no memory. A ring that owns its storage
    /// never fails.
    #[must_use = "bytes that did not fit have to be pushed again"]
    pub fn push_slice(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.free().min(bytes.len());
        if n > 0 {
            let content = self.content_mut()?;
            let (first, second) = content.free_slices();
            let (one, two) = bytes[..n].split_at(first.len().min(n));
            first[..one.len()].copy_from_slice(one);
            second[..two.len()].copy_from_slice(two);
            content.len += n;
        }
        Ok(n)
    }

    /// Copies in all of `bytes` and returns `true`, or, if they do not fit, copies nothing and returns
    /// `false`.
    ///
    /// # Errors
    ///
    /// As [`push_slice`](Self::push_slice).
    #[must_use = "bytes that do not fit are not copied"]
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
        let n = self.len().min(other.free()).min(limit);
        let (first, second) = self.as_slices();
        let one = first.len().min(n);
        for bytes in [&first[..one], &second[..n - one]] {
            let pushed = other.push_slice(bytes)?; // the first slice borrows the storage, so the second cannot fail
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
        self.consume(self.len());
    }
}

/// The storage.
impl RingBuffer {
    /// The storage, which is borrowed if there is none. [`end_change`](Self::end_change) gives it back if the ring is still
    /// empty then.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::OutOfMemory`].
    fn content_mut(&mut self) -> io::Result<&mut Content> {
        match (&mut self.content, &self.lender) {
            (Some(content), _) => Ok(content),
            (none, Some(lender)) => Ok(none.insert(lender.borrow()?)),
            (None, None) => unreachable!("the default ring has no room"),
        }
    }

    /// Restores the invariants of an empty ring: `head == 0`, and no storage is borrowed.
    fn end_change(&mut self) {
        if let Some(content) = self.content.as_mut().filter(|content| content.len == 0) {
            content.head = 0;
            self.give_back();
        }
    }

    fn give_back(&mut self) {
        if let Some(lender) = &self.lender
            && let Some(content) = self.content.take()
        {
            lender.give_back(content);
        }
    }
}

impl Drop for RingBuffer {
    fn drop(&mut self) {
        self.give_back();
    }
}

/// Shows capacity, head and length, but not the bytes, which may be secret.
impl fmt::Debug for RingBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RingBuffer")
            .field("capacity", &self.capacity())
            .field("head", &self.content.as_ref().map_or(0, |content| content.head))
            .field("len", &self.len())
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
