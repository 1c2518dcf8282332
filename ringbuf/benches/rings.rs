//! This crate's ring beside others that hold bytes, on the same patterns: `make ring-bench`.
//!
//! The others are made for two threads; `ringbuf` has a variant for one, `LocalRb`. A row shows the bytes that a
//! pattern moves each second.

use std::hint::black_box;
use std::io::{self, Read, Write};

use divan::Bencher;
use divan::counter::BytesCount;

fn main() {
    divan::main();
}

/// In bytes: the size of a buffer of the proxy.
const CAPACITY: usize = 1 << 20;

/// In bytes: from a small answer to the largest read.
const SIZES: [usize; 4] = [64, 1 << 10, 16 << 10, 128 << 10];

/// A ring of any of the crates.
trait Ring {
    fn new() -> Self;
    /// Puts all of the bytes in.
    fn push(&mut self, bytes: &[u8]);
    /// Takes as many bytes out as there is room for.
    fn pop(&mut self, bytes: &mut [u8]);
    /// Reads once into the ring.
    fn fill(&mut self, source: &mut Source<'_>);
    /// Writes once from the ring.
    fn drain(&mut self, sink: &mut Sink);
}

/// Bytes in, the same bytes out, and the ring is empty again: a proxy whose peers keep up.
#[divan::bench(types = [Ours, Local, Shared, Rtrb], args = SIZES)]
fn slices_through_an_empty_ring<R: Ring>(bencher: Bencher<'_, '_>, size: usize) {
    let (mut ring, bytes, mut out) = (R::new(), vec![1; size], vec![0; size]);
    bencher.counter(BytesCount::new(size)).bench_local(|| {
        ring.push(black_box(&bytes));
        ring.pop(black_box(&mut out));
    });
}

/// The same while other bytes are buffered, so that head and tail move round the ring: a proxy with a slow peer.
#[divan::bench(types = [Ours, Local, Shared, Rtrb], args = SIZES)]
fn slices_round_a_ring_half_full<R: Ring>(bencher: Bencher<'_, '_>, size: usize) {
    let (mut ring, bytes, mut out) = (R::new(), vec![1; size], vec![0; size]);
    // An odd number, so that bytes often lie on both sides of the end.
    ring.push(&vec![0; CAPACITY / 2 - 77]);
    bencher.counter(BytesCount::new(size)).bench_local(|| {
        ring.push(black_box(&bytes));
        ring.pop(black_box(&mut out));
    });
}

/// One read and one write of this number of bytes, as between two sockets.
#[divan::bench(types = [Ours, Local, Shared, Rtrb], args = SIZES)]
fn a_read_and_a_write<R: Ring>(bencher: Bencher<'_, '_>, size: usize) {
    let (mut ring, bytes, mut sink) = (R::new(), vec![1; size], Sink { bytes: vec![0; size] });
    bencher.counter(BytesCount::new(size)).bench_local(|| {
        ring.fill(&mut Source { bytes: black_box(&bytes) });
        ring.drain(black_box(&mut sink));
    });
}

/// Gives all of its bytes in one read, if there is room.
struct Source<'a> {
    bytes: &'a [u8],
}

impl Read for Source<'_> {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        self.bytes.read(room)
    }

    fn read_vectored(&mut self, room: &mut [io::IoSliceMut<'_>]) -> io::Result<usize> {
        self.bytes.read_vectored(room)
    }
}

/// Takes what fits in one write, and is empty again afterwards.
struct Sink {
    bytes: Vec<u8>,
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        (&mut self.bytes[..]).write(bytes)
    }

    fn write_vectored(&mut self, bytes: &[io::IoSlice<'_>]) -> io::Result<usize> {
        (&mut self.bytes[..]).write_vectored(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Ours(ringbuf::RingBuffer);

impl Ring for Ours {
    fn new() -> Self {
        Self(ringbuf::RingBuffer::new(CAPACITY))
    }

    fn push(&mut self, bytes: &[u8]) {
        assert!(self.0.push_all(bytes).expect("the ring has its own storage"));
    }

    fn pop(&mut self, bytes: &mut [u8]) {
        assert_eq!(self.0.pop_slice(bytes), bytes.len());
    }

    fn fill(&mut self, source: &mut Source<'_>) {
        let filled = self.0.fill_from(source).expect("memory does not fail");
        assert!(matches!(filled, ringbuf::Fill::Read(1..)));
    }

    fn drain(&mut self, sink: &mut Sink) {
        let drained = self.0.drain_to(sink).expect("memory does not fail");
        assert!(matches!(drained, ringbuf::Drain::Wrote(1..)));
    }
}

/// `ringbuf`'s ring for two threads.
struct Shared {
    producer: other_ringbuf::HeapProd<u8>,
    consumer: other_ringbuf::HeapCons<u8>,
}

impl Ring for Shared {
    fn new() -> Self {
        use other_ringbuf::traits::Split;
        let (producer, consumer) = other_ringbuf::HeapRb::new(CAPACITY).split();
        Self { producer, consumer }
    }

    fn push(&mut self, bytes: &[u8]) {
        use other_ringbuf::traits::Producer;
        assert_eq!(self.producer.push_slice(bytes), bytes.len());
    }

    fn pop(&mut self, bytes: &mut [u8]) {
        use other_ringbuf::traits::Consumer;
        assert_eq!(self.consumer.pop_slice(bytes), bytes.len());
    }

    fn fill(&mut self, source: &mut Source<'_>) {
        use other_ringbuf::traits::Producer;
        assert!(matches!(self.producer.read_from(source, None), Some(Ok(1..))));
    }

    fn drain(&mut self, sink: &mut Sink) {
        use other_ringbuf::traits::Consumer;
        assert!(matches!(self.consumer.write_into(sink, None), Some(Ok(1..))));
    }
}

type LocalRb = other_ringbuf::LocalRb<other_ringbuf::storage::Heap<u8>>;

/// `ringbuf`'s ring for one thread.
struct Local {
    producer: <LocalRb as other_ringbuf::traits::Split>::Prod,
    consumer: <LocalRb as other_ringbuf::traits::Split>::Cons,
}

impl Ring for Local {
    fn new() -> Self {
        use other_ringbuf::traits::Split;
        let (producer, consumer) = LocalRb::new(CAPACITY).split();
        Self { producer, consumer }
    }

    fn push(&mut self, bytes: &[u8]) {
        use other_ringbuf::traits::Producer;
        assert_eq!(self.producer.push_slice(bytes), bytes.len());
    }

    fn pop(&mut self, bytes: &mut [u8]) {
        use other_ringbuf::traits::Consumer;
        assert_eq!(self.consumer.pop_slice(bytes), bytes.len());
    }

    fn fill(&mut self, source: &mut Source<'_>) {
        use other_ringbuf::traits::Producer;
        assert!(matches!(self.producer.read_from(source, None), Some(Ok(1..))));
    }

    fn drain(&mut self, sink: &mut Sink) {
        use other_ringbuf::traits::Consumer;
        assert!(matches!(self.consumer.write_into(sink, None), Some(Ok(1..))));
    }
}

struct Rtrb {
    producer: rtrb::Producer<u8>,
    consumer: rtrb::Consumer<u8>,
}

impl Ring for Rtrb {
    fn new() -> Self {
        let (producer, consumer) = rtrb::RingBuffer::new(CAPACITY);
        Self { producer, consumer }
    }

    fn push(&mut self, bytes: &[u8]) {
        assert!(self.producer.push_entire_slice(bytes).is_ok());
    }

    fn pop(&mut self, bytes: &mut [u8]) {
        assert!(self.consumer.pop_entire_slice(bytes).is_ok());
    }

    /// A chunk is zeroed when it is requested, so it is as large as the bytes of the source. A proxy would not know their
    /// number.
    fn fill(&mut self, source: &mut Source<'_>) {
        let mut chunk = self.producer.write_chunk(source.bytes.len()).expect("there is room");
        let (first, second) = chunk.as_mut_slices();
        let mut read = source.read(first).expect("memory does not fail");
        if read == first.len() {
            read += source.read(second).expect("memory does not fail");
        }
        assert!(read > 0);
        chunk.commit(read);
    }

    fn drain(&mut self, sink: &mut Sink) {
        let buffered = self.consumer.slots();
        let chunk = self.consumer.read_chunk(buffered).expect("this number of bytes is buffered");
        let (first, second) = chunk.as_slices();
        let slices = [io::IoSlice::new(first), io::IoSlice::new(second)];
        let written = sink.write_vectored(&slices).expect("memory does not fail");
        assert!(written > 0);
        chunk.commit(written);
    }
}
