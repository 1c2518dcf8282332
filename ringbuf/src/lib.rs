//! A byte ring of fixed capacity for non-blocking sockets, and a bounded [`Pool`] of memory for many rings.
//!
//! A proxy reads from one socket and writes to another, and the two are never equally fast. The bytes in
//! between must not be lost or overwritten, and their number must not grow without limit. [`RingBuffer`]
//! holds them: it reads as much as fits, reports when it is full, and makes at most one system call for each
//! fill or drain.
//!
//! # Vocabulary
//!
//! | word | meaning |
//! |---|---|
//! | capacity | number of bytes that the ring can hold: exact, at least 1, constant |
//! | len | number of bytes buffered, oldest first |
//! | free | number of bytes that still fit: capacity - len |
//! | storage | the memory of the ring, capacity bytes long |
//! | head | index in the storage of the oldest buffered byte |
//! | tail | index in the storage where the next byte goes: (head + len) modulo capacity |
//! | fill | read once from a source into the ring |
//! | drain | write once from the ring to a sink |
//! | push, pop | copy bytes into the ring, or out of it, without I/O |
//! | pool | lends storage to rings while bytes are buffered in them |
//!
//! # Invariants
//!
//! - `len <= capacity` and `head < capacity`.
//! - An empty ring has `head == 0`, so the usual fill is one plain `read` into the whole storage.
//! - Bytes leave in the order in which they came; none is lost, repeated or changed.
//! - The storage never moves, grows or shrinks while bytes are buffered.
//! - A ring of a pool has storage if, and only if, bytes are buffered in it.
//!
//! # The two cases
//!
//! ```text
//! straight: one slice buffered, two free                 wrapped: two slices buffered, one free
//!
//!  0        head            tail          capacity       0        tail            head         capacity
//!  +---------+===============+-------------+              +========+---------------+=============+
//!  | free 2  |   buffered    |   free 1    |              | buf. 2 |     free      | buffered 1  |
//!  +---------+===============+-------------+              +========+---------------+=============+
//! ```
//!
//! A straight ring is drained with `write` and, if its head is not 0, filled with `readv`. A wrapped one is
//! drained with `writev` and filled with `read`.
//!
//! # Example
//!
//! Six bytes pass through a ring of four. The comments show the storage, `.` for a free byte:
//!
//! ```
//! use ringbuf::{Drain, Fill, RingBuffer};
//!
//! # fn main() -> std::io::Result<()> {
//! let mut ring = RingBuffer::new(4);
//! let mut source: &[u8] = b"abcdef";
//! let mut sink = Vec::new();
//!
//! assert_eq!(ring.fill_from(&mut source)?, Fill::Read(4)); // abcd
//! assert_eq!(ring.fill_from(&mut source)?, Fill::Full); //    abcd: the source was not read
//!
//! let mut first = [0; 2];
//! assert_eq!(ring.pop_slice(&mut first), 2); //               ..cd: straight
//! assert_eq!(ring.fill_from(&mut source)?, Fill::Read(2)); // efcd: wrapped
//! assert_eq!(ring.as_slices(), (&b"cd"[..], &b"ef"[..]));
//!
//! assert_eq!(ring.drain_to(&mut sink)?, Drain::Wrote(4)); //  ....: one writev
//! assert_eq!(ring.drain_to(&mut sink)?, Drain::Empty);
//! assert_eq!(ring.fill_from(&mut source)?, Fill::Eof);
//! assert_eq!((&first, &sink[..]), (b"ab", &b"cdef"[..]));
//! # Ok(()) }
//! ```
//!
//! # Limits
//!
//! The crate knows no sockets: a source is anything that is [`Read`](std::io::Read), a sink anything that is
//! [`Write`](std::io::Write). A ring belongs to one thread. There is no `BufRead`: on a non-blocking source
//! "no byte yet" is not the end, and `read_until` would consume half a line to report it. Parsers use
//! [`RingBuffer::find`], [`RingBuffer::make_contiguous`] and [`RingBuffer::consume`].
//!
//! The crate depends on memmap2 alone: mapped memory can be refused, and goes back to the system.
//!
//! Next: [`eventloop`](../eventloop/index.html), which reports when a ring can be filled and drained;
//! [`relay`](../relay/index.html), which is made of both; [HTTP on rings](../http1/index.html).

mod content;
mod pool;
mod ring;
mod store;

pub use pool::Pool;
pub use ring::{Drain, Fill, RingBuffer};
