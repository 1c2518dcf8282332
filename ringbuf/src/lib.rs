//! A byte ring of fixed capacity for non-blocking sockets, and a bounded [`Pool`] of them.
//!
//! A proxy reads from one socket and writes to another, and the two are never equally fast. What
//! waits in between must not grow (a fast sender would eat the memory), must not overwrite and must
//! not drop. [`RingBuffer`] is that place: it takes what fits, says when it is full, and is filled
//! and drained by at most one system call at a time.
//!
//! This is the first page of a book. It goes on with [when to fill and drain](../eventloop/index.html),
//! [a proxy made of both](../tcpproxy/index.html), [HTTP on rings](../http1/index.html), and
//! [how all of it is proved](../testkit/index.html).
//!
//! # Vocabulary
//!
//! | word | meaning |
//! |---|---|
//! | capacity | bytes the ring can hold; exact, any number from 1, never changes |
//! | len | bytes waiting, oldest first |
//! | free | bytes that still fit: capacity - len |
//! | head | where the oldest byte lies in the storage |
//! | fill, drain | read from a socket into the ring; write from the ring to a socket |
//! | pool, slot | a bounded store of rings; the right to one of them, used only while bytes wait |
//!
//! # Invariants
//!
//! - `len <= capacity` and `head < capacity`.
//! - An empty ring has `head == 0`, so that the usual fill is one plain `read` into the whole storage.
//! - Bytes leave in the order in which they came; none is lost, repeated or changed.
//! - The storage is allocated once and never moves, grows or shrinks.
//!
//! # Two pictures
//!
//! ```text
//! straight: one slice waits, the free part is in two      wrapped: two slices wait, the free part is one
//!
//!  0        head            tail          capacity         0      tail            head         capacity
//!  +---------+===============+-------------+               +=======+---------------+=============+
//!  |  free 2 |    waiting    |   free 1    |               | wait 2|      free     |   wait 1    |
//!  +---------+===============+-------------+               +=======+---------------+=============+
//! ```
//!
//! A straight ring is drained with `write` and, if its head is not 0, filled with `readv`; a wrapped
//! one is drained with `writev` and filled with `read`.
//!
//! # Example
//!
//! ```
//! use ringbuf::{Drain, Fill, RingBuffer};
//!
//! # fn main() -> std::io::Result<()> {
//! let mut ring = RingBuffer::new(4);
//! let mut source: &[u8] = b"abcdef";
//! let mut sink = Vec::new();
//!
//! assert_eq!(ring.fill_from(&mut source)?, Fill::Read(4));
//! assert_eq!(ring.fill_from(&mut source)?, Fill::Full); // not to be mistaken for the end
//! assert_eq!(ring.drain_to(&mut sink)?, Drain::Wrote(4));
//! assert_eq!(ring.fill_from(&mut source)?, Fill::Read(2));
//! assert_eq!(ring.fill_from(&mut source)?, Fill::Eof);
//! assert_eq!(ring.drain_to(&mut sink)?, Drain::Wrote(2));
//! assert_eq!(ring.drain_to(&mut sink)?, Drain::Empty);
//! assert_eq!(sink, b"abcdef");
//! # Ok(()) }
//! ```
//!
//! The crate knows no sockets: anything that is [`Read`](std::io::Read) or [`Write`](std::io::Write) will do.
//! It depends on bytemuck alone, for memory that is zero and may be lacking. There is no `BufRead`: on a
//! non-blocking source "nothing there" is not the end, and `read_until` would consume half a line to say so.
//! Parse with
//! [`RingBuffer::find`], [`RingBuffer::make_contiguous`] and [`RingBuffer::consume`] instead.
//!
//! Next: [`eventloop`](../eventloop/index.html), which says when there is something to fill and drain.

mod pool;
mod ring;

pub use pool::{Pool, Slot};
pub use ring::{Drain, Fill, RingBuffer};
