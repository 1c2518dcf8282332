//! The body of a message on its way from one ring to another (RFC 9112, sections 6 and 7).

use ringbuf::RingBuffer;

use crate::chunk::{chunk_size, is_field};
use crate::framing::Framing;

/// A body that is forwarded piece by piece, through rings of fixed size. Its length has no limit.
///
/// Chunks are decoded and encoded anew, so that the next program decodes the same data. Chunk extensions and
/// trailer fields are checked and discarded (RFC 9112, sections 7.1.1 and 7.1.2). A ring that a body goes to in chunks has a
/// capacity of at least 13 bytes: one byte of data, and what is around it.
///
/// ```
/// use http1::{Body, Framing, Stop};
/// use ringbuf::RingBuffer;
///
/// let (mut from, mut to) = (RingBuffer::new(64), RingBuffer::new(8));
/// let mut body = Body::new(Framing::Chunked, Framing::Close); // to a client of HTTP/1.0
/// assert!(from.push_all(b"6\r\nhello \r\n5\r\nwo")?);
/// assert_eq!(body.advance(&mut from, false, &mut to), Stop::NeedsInput);
/// assert_eq!(to.make_contiguous(), b"hello wo");
/// assert!(from.push_all(b"rld\r\n0\r\n\r\n")?);
/// assert_eq!(body.advance(&mut from, false, &mut to), Stop::NeedsRoom);
/// to.clear();
/// assert_eq!(body.advance(&mut from, false, &mut to), Stop::Complete);
/// assert_eq!(to.make_contiguous(), b"rld");
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Body {
    next: Next,
    /// Whether the body is written in chunks.
    chunked: bool,
    /// The number of bytes of chunk extensions that may still follow.
    extensions: usize,
}

/// The part of the body that is decoded next.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Next {
    Data(u64),
    UntilClose,
    ChunkSize,
    Chunk(u64),
    ChunkEnd,
    /// The fields after the last chunk, of at most this many bytes.
    Trailer(usize),
    /// The whole body has been read; the end has yet to be written.
    End,
    Complete,
    /// The body was malformed, or the ring it goes to found no memory.
    Broken,
}

/// Why a body does not move on.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The whole body has been written, with its end.
    Complete,
    /// More input is needed.
    NeedsInput,
    /// More room for output is needed.
    NeedsRoom,
    /// The bytes contradict the framing; the body can never be completed.
    Malformed,
    /// There is no memory for the ring it goes to; the body can never be completed.
    Exhausted,
}

const LAST_CHUNK: &[u8] = b"0\r\n\r\n";
/// Bytes of a chunk besides its data: a size of at most 8 digits, and two ends of lines.
const CHUNK_OVERHEAD: usize = 12;
/// In bytes: the longest line of the chunked coding, and the longest trailer section.
const MAX_LINE: usize = 4096;
/// In bytes: the longest chunk extensions of a body, all together (RFC 9112, section 7.1.1).
const MAX_EXTENSIONS: usize = 16 * 1024;

impl Body {
    /// A body that is read in one framing and written in another. A body of [`Framing::Length`] or [`Framing::None`] is
    /// written as it is, or in chunks.
    #[must_use]
    pub fn new(incoming: Framing, outgoing: Framing) -> Self {
        let next = match incoming {
            Framing::None if outgoing == Framing::Chunked => Next::End,
            Framing::None => Next::Complete,
            Framing::Length(length) => Next::Data(length),
            Framing::Chunked => Next::ChunkSize,
            Framing::Close => Next::UntilClose,
        };
        Self { next, chunked: outgoing == Framing::Chunked, extensions: MAX_EXTENSIONS }
    }

    /// Whether the whole body has been written.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.next == Next::Complete
    }

    /// Moves as many bytes as possible from one ring to the other. `ended` says that no byte follows those in `from`.
    pub fn advance(&mut self, from: &mut RingBuffer, ended: bool, to: &mut RingBuffer) -> Stop {
        self.advance_observed(from, ended, to, &mut |_| {})
    }

    /// The same, and calls `observe` with the data that move, without the framing.
    pub fn advance_observed(
        &mut self,
        from: &mut RingBuffer,
        ended: bool,
        to: &mut RingBuffer,
        observe: &mut dyn FnMut(&[u8]),
    ) -> Stop {
        loop {
            match self.step(from, ended, to, observe) {
                Ok(next) => self.next = next,
                Err(stop) => {
                    if matches!(stop, Stop::Malformed | Stop::Exhausted) {
                        self.next = Next::Broken;
                    }
                    return stop;
                }
            }
        }
    }

    fn step(
        &mut self,
        from: &mut RingBuffer,
        ended: bool,
        to: &mut RingBuffer,
        observe: &mut dyn FnMut(&[u8]),
    ) -> Result<Next, Stop> {
        Ok(match self.next {
            Next::Complete => return Err(Stop::Complete),
            Next::Broken => return Err(Stop::Malformed),
            Next::End if !self.chunked => Next::Complete,
            Next::End if to.free() < LAST_CHUNK.len() => return Err(Stop::NeedsRoom),
            Next::End => {
                push(to, LAST_CHUNK)?;
                Next::Complete
            }
            Next::Data(0) => Next::End,
            Next::Chunk(0) => Next::ChunkEnd,
            Next::UntilClose if ended && from.is_empty() => Next::End,
            _ if from.is_empty() => return Err(Stop::NeedsInput),
            Next::Data(left) => Next::Data(left - self.forward(left, from, to, observe)?),
            Next::Chunk(left) => Next::Chunk(left - self.forward(left, from, to, observe)?),
            Next::UntilClose => {
                self.forward(u64::MAX, from, to, observe)?;
                Next::UntilClose
            }
            Next::ChunkSize => {
                let (size, extensions) = take_line(from, chunk_size)?.ok_or(Stop::Malformed)?;
                self.extensions = self.extensions.checked_sub(extensions).ok_or(Stop::Malformed)?;
                if size == 0 { Next::Trailer(MAX_LINE) } else { Next::Chunk(size) }
            }
            Next::ChunkEnd if take_line(from, <[u8]>::len)? == 2 => Next::ChunkSize,
            Next::ChunkEnd => return Err(Stop::Malformed),
            Next::Trailer(left) => match take_line(from, |line| (line.len(), is_field(line)))? {
                (2, _) => Next::End,
                (length, true) => Next::Trailer(left.checked_sub(length).ok_or(Stop::Malformed)?),
                (_, false) => return Err(Stop::Malformed),
            },
        })
    }

    /// Moves at most `limit` bytes of data, as one chunk if the body is written in chunks. Returns their number.
    fn forward(
        &self,
        limit: u64,
        from: &mut RingBuffer,
        to: &mut RingBuffer,
        observe: &mut dyn FnMut(&[u8]),
    ) -> Result<u64, Stop> {
        let room = to.free().saturating_sub(if self.chunked { CHUNK_OVERHEAD } else { 0 });
        if room == 0 {
            return Err(Stop::NeedsRoom);
        }
        let length = from.len().min(room).min(usize::try_from(limit).unwrap_or(usize::MAX));
        let (first, second) = from.as_slices();
        let wrap = first.len().min(length);
        observe(&first[..wrap]);
        observe(&second[..length - wrap]);
        if self.chunked {
            push(to, format!("{length:x}\r\n").as_bytes())?; // there is room for all this
        }
        let moved = from.move_to(to, length).map_err(|_| Stop::Exhausted)?;
        debug_assert_eq!(moved, length);
        if self.chunked {
            push(to, b"\r\n")?;
        }
        Ok(length as u64)
    }
}

/// Copies bytes into a ring that has room for them.
fn push(to: &mut RingBuffer, bytes: &[u8]) -> Result<(), Stop> {
    let fits = to.push_all(bytes).map_err(|_| Stop::Exhausted)?;
    debug_assert!(fits);
    Ok(())
}

/// Takes a line out of the ring and parses it, with its CRLF. A line that does not end within the ring, or within
/// [`MAX_LINE`] bytes, is malformed.
fn take_line<T>(from: &mut RingBuffer, parse: impl FnOnce(&[u8]) -> T) -> Result<T, Stop> {
    let Some(end) = from.find(b"\r\n", 0).filter(|&end| end < MAX_LINE) else {
        let hopeless = from.is_full() || from.len() > MAX_LINE;
        return Err(if hopeless { Stop::Malformed } else { Stop::NeedsInput });
    };
    let parsed = parse(&from.make_contiguous()[..end + 2]);
    from.consume(end + 2);
    Ok(parsed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use ringbuf::Pool;

    /// Passes `bytes` through rings of this capacity, in pieces of this size. Returns the bytes that were written, why the
    /// body has stopped, the number of bytes that are left, and the data that were observed.
    fn through(
        mut body: Body,
        bytes: &[u8],
        capacity: usize,
        piece: usize,
    ) -> (Vec<u8>, Stop, usize, Vec<u8>) {
        let pool = Pool::new(capacity, 2);
        let (mut from, mut to) = (pool.reserve().unwrap(), pool.reserve().unwrap());
        let (mut out, mut sent, mut data) = (Vec::new(), 0, Vec::new());
        loop {
            let end = bytes.len().min(sent + piece);
            sent += from.push_slice(&bytes[sent..end]).unwrap();
            let ended = sent == bytes.len();
            let stop = body.advance_observed(&mut from, ended, &mut to, &mut |bytes| data.extend(bytes));
            let mut taken = vec![0; piece];
            let n = to.pop_slice(&mut taken);
            out.extend(&taken[..n]);
            let stuck = stop == Stop::NeedsInput && sent == bytes.len();
            if n == 0 && (stuck || matches!(stop, Stop::Complete | Stop::Malformed)) {
                assert_eq!(body.is_complete(), stop == Stop::Complete);
                return (out, stop, from.len() + bytes.len() - sent, data);
            }
        }
    }

    /// Decodes chunks without checks.
    fn data_of(mut chunks: &[u8]) -> Vec<u8> {
        let mut data = Vec::new();
        loop {
            let end = chunks.windows(2).position(|two| two == b"\r\n").unwrap();
            let size = usize::from_str_radix(std::str::from_utf8(&chunks[..end]).unwrap(), 16).unwrap();
            data.extend(&chunks[end + 2..end + 2 + size]);
            chunks = &chunks[end + 2 + size..];
            assert_eq!(&chunks[..2], b"\r\n");
            chunks = &chunks[2..];
            if size == 0 {
                assert_eq!(chunks, b"");
                return data;
            }
        }
    }

    proptest! {
        #[test]
        fn each_body_is_forwarded_from_any_framing_to_any_framing(
            pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..50), 0..10),
            capacity in 16_usize..100,
            piece in 1_usize..50,
            behind in 0_usize..20,
        ) {
            let data = pieces.concat();
            let mut chunks = Vec::new();
            for piece in &pieces {
                chunks.extend(format!("{:X};e=1\r\n", piece.len()).bytes());
                chunks.extend(piece);
                chunks.extend(b"\r\n");
            }
            chunks.extend(b"000\r\nA: b\r\n\r\n");
            for (framing, mut bytes) in [
                (Framing::Length(data.len() as u64), data.clone()),
                (Framing::Chunked, chunks),
                (Framing::Close, data.clone()),
            ] {
                if framing != Framing::Close {
                    bytes.extend(vec![b'!'; behind]);
                }
                for out in [Framing::Close, Framing::Chunked] {
                    let (passed, stop, left, observed) =
                        through(Body::new(framing, out), &bytes, capacity, piece);
                    prop_assert_eq!(stop, Stop::Complete);
                    prop_assert_eq!(left, if framing == Framing::Close { 0 } else { behind });
                    let passed = if out == Framing::Chunked { data_of(&passed) } else { passed };
                    prop_assert_eq!(&passed, &data);
                    prop_assert_eq!(&observed, &data);
                }
            }
        }
    }

    #[test]
    fn no_body_is_written_in_chunks_as_an_empty_one() {
        for (outgoing, written) in [(Framing::None, &b""[..]), (Framing::Chunked, LAST_CHUNK)] {
            let (out, stop, left, _) = through(Body::new(Framing::None, outgoing), b"next", 64, 64);
            assert_eq!((&out[..], stop, left), (written, Stop::Complete, 4));
        }
    }

    #[test]
    fn a_malformed_chunk_is_refused() {
        for chunks in [
            "\r\n",
            ";a\r\n",
            "g\r\n",
            " 1\r\na\r\n",
            "-1\r\n",
            "+1\r\na\r\n",
            "0x1\r\na\r\n",
            "1\r\nab\r\n",
            "1;a\nb\r\na\r\n",
            "1 2\r\na\r\n",
            "11111111111111111\r\n",
            "1\na\r\n",
            "1 \r\na\r\n",
            "1;a\rb\r\na\r\n",
            "1;\0\r\na\r\n",
            "1;\t\x7f\r\na\r\n",
            "00000000000000001\r\na\r\n",
        ] {
            let body = Body::new(Framing::Chunked, Framing::Close);
            assert_eq!(through(body, chunks.as_bytes(), 64, 64).1, Stop::Malformed, "{chunks:?}");
        }
        for (line, what) in [
            ("1;".to_owned() + &"a".repeat(5000), "a size"),
            ("0\r\n".to_owned() + &"A: b\r\n".repeat(1000), "a trailer"),
        ] {
            let body = Body::new(Framing::Chunked, Framing::Close);
            assert_eq!(
                through(body, line.as_bytes(), 8192, 8192).1,
                Stop::Malformed,
                "{what} without an end"
            );
        }
    }

    #[test]
    fn a_trailer_with_a_malformed_field_is_refused() {
        for line in
            ["GET / HTTP/1.1", "A : b", ": b", "A b", " A: b", "A: b\nc", "A: b\rc", "A: \0", "A\x7f: b"]
        {
            let chunks = format!("1\r\na\r\n0\r\n{line}\r\n\r\n");
            let body = Body::new(Framing::Chunked, Framing::Chunked);
            assert_eq!(through(body, chunks.as_bytes(), 64, 64).1, Stop::Malformed, "{line:?}");
        }
    }

    /// RFC 9112, section 7.1.1 asks for a limit on their total length.
    #[test]
    fn chunk_extensions_have_a_limit_on_their_total_length() {
        let chunk = format!("1;{}\r\na\r\n", "e".repeat(1000));
        for (chunks, stop) in [(10, Stop::Complete), (100, Stop::Malformed)] {
            let chunks = chunk.repeat(chunks) + "0\r\n\r\n";
            let body = Body::new(Framing::Chunked, Framing::Chunked);
            assert_eq!(through(body, chunks.as_bytes(), 4096, 4096).1, stop);
        }
    }

    #[test]
    fn a_truncated_body_is_never_complete() {
        for (framing, bytes) in
            [(Framing::Length(5), "abcd"), (Framing::Chunked, "4\r\nabcd\r\n"), (Framing::Chunked, "0\r\n")]
        {
            for end in 0..=bytes.len() {
                let body = Body::new(framing, Framing::Chunked);
                assert_eq!(through(body, &bytes.as_bytes()[..end], 64, 64).1, Stop::NeedsInput);
            }
        }
    }
}
