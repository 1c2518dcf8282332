//! The body of a message on its way from one ring to another, and where it ends (RFC 9112, sections 6 and 7).

use ringbuf::RingBuffer;

/// How the end of a body is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// There is no body.
    None,
    /// It has so many bytes.
    Length(u64),
    /// It comes in chunks, of which the last is empty.
    Chunked,
    /// It ends with the connection.
    Close,
}

/// A body that is passed on piece by piece: of any length, through rings of fixed size.
///
/// Chunks are taken apart and made anew, so that nobody behind can read them differently; what else may come
/// with them, extensions and trailers, is left out.
#[derive(Debug)]
pub struct Body {
    next: Next,
    /// Whether it goes out in chunks.
    chunked: bool,
    record: Option<Record>,
}

/// What has passed so far, up to a limit.
#[derive(Debug)]
struct Record {
    bytes: Vec<u8>,
    limit: usize,
}

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Next {
    Data(u64),
    UntilClose,
    ChunkSize,
    Chunk(u64),
    ChunkEnd,
    /// The fields after the last chunk, of at most so many bytes.
    Trailer(usize),
    /// Everything has come; the reader has yet to be told.
    End,
    Over,
    /// It was malformed, or found no memory, and cannot go on.
    Broken,
}

/// Why a body does not move on.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// It has come to its end, and so has been said.
    Over,
    /// It needs more input.
    Starved,
    /// It needs more room.
    Clogged,
    /// There is no memory for the ring it goes to; there is no way to go on.
    Exhausted,
    /// It is not what its framing says; there is no way to go on.
    Malformed,
}

const LAST_CHUNK: &[u8] = b"0\r\n\r\n";
/// What a chunk takes besides its data: a size of at most 8 digits, and two ends of lines.
const AROUND_A_CHUNK: usize = 12;
const LONGEST_LINE: usize = 4096;

impl Body {
    /// A body that comes in one framing and goes on in another. What comes with [`Framing::Length`] goes on as it is
    /// or in chunks.
    #[must_use]
    pub fn new(incoming: Framing, outgoing: Framing) -> Self {
        let next = match incoming {
            Framing::None => Next::Over,
            Framing::Length(length) => Next::Data(length),
            Framing::Chunked => Next::ChunkSize,
            Framing::Close => Next::UntilClose,
        };
        Self { next, chunked: outgoing == Framing::Chunked, record: None }
    }

    /// Keeps a record of the data that passes, unless it has more bytes than `limit`.
    #[must_use]
    pub fn recorded(mut self, limit: usize) -> Self {
        self.record = Some(Record { bytes: Vec::new(), limit });
        self
    }

    /// The record, if one was wanted and the data were not too many; of the whole body once that is over.
    #[must_use]
    pub fn into_record(self) -> Option<Vec<u8>> {
        self.record.map(|record| record.bytes)
    }

    /// Whether all of it has been passed on.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.next == Next::Over
    }

    /// Moves what can be moved. `ended` says that nothing comes after what is in `from`.
    pub fn advance(&mut self, from: &mut RingBuffer, ended: bool, to: &mut RingBuffer) -> Stop {
        loop {
            match self.step(from, ended, to) {
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

    fn step(&mut self, from: &mut RingBuffer, ended: bool, to: &mut RingBuffer) -> Result<Next, Stop> {
        Ok(match self.next {
            Next::Over => return Err(Stop::Over),
            Next::Broken => return Err(Stop::Malformed),
            Next::End if !self.chunked => Next::Over,
            Next::End if to.free() < LAST_CHUNK.len() => return Err(Stop::Clogged),
            Next::End => {
                push(to, LAST_CHUNK)?;
                Next::Over
            }
            Next::Data(0) => Next::End,
            Next::Chunk(0) => Next::ChunkEnd,
            Next::UntilClose if ended && from.is_empty() => Next::End,
            _ if from.is_empty() => return Err(Stop::Starved),
            Next::Data(left) => Next::Data(left - self.pass(left, from, to)?),
            Next::Chunk(left) => Next::Chunk(left - self.pass(left, from, to)?),
            Next::UntilClose => {
                self.pass(u64::MAX, from, to)?;
                Next::UntilClose
            }
            Next::ChunkSize => match take_line(from, chunk_size)?.ok_or(Stop::Malformed)? {
                0 => Next::Trailer(LONGEST_LINE),
                size => Next::Chunk(size),
            },
            Next::ChunkEnd if take_line(from, <[u8]>::len)? == 2 => Next::ChunkSize,
            Next::ChunkEnd => return Err(Stop::Malformed),
            Next::Trailer(left) => match take_line(from, <[u8]>::len)? {
                2 => Next::End,
                length => Next::Trailer(left.checked_sub(length).ok_or(Stop::Malformed)?),
            },
        })
    }

    /// Passes on at most `limit` bytes: as many as lie there and have room.
    fn pass(&mut self, limit: u64, from: &mut RingBuffer, to: &mut RingBuffer) -> Result<u64, Stop> {
        let room = to.free().saturating_sub(if self.chunked { AROUND_A_CHUNK } else { 0 });
        if room == 0 {
            return Err(Stop::Clogged);
        }
        let length = from.len().min(room).min(usize::try_from(limit).unwrap_or(usize::MAX));
        let _ = self.record.take_if(|record| record.bytes.len() + length > record.limit);
        if let Some(record) = &mut self.record {
            let (first, second) = from.as_slices();
            let one = first.len().min(length);
            record.bytes.extend_from_slice(&first[..one]);
            record.bytes.extend_from_slice(&second[..length - one]);
        }
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

/// Copies bytes for which there is room.
fn push(to: &mut RingBuffer, bytes: &[u8]) -> Result<(), Stop> {
    let fits = to.push_all(bytes).map_err(|_| Stop::Exhausted)?;
    debug_assert!(fits);
    Ok(())
}

/// Takes a line out, and lets `parse` see it with its end. One that has no end within a ring, or within
/// the longest length, is none.
fn take_line<T>(from: &mut RingBuffer, parse: impl FnOnce(&[u8]) -> T) -> Result<T, Stop> {
    let Some(end) = from.find(b"\r\n", 0).filter(|&end| end < LONGEST_LINE) else {
        let hopeless = from.is_full() || from.len() > LONGEST_LINE;
        return Err(if hopeless { Stop::Malformed } else { Stop::Starved });
    };
    let parsed = parse(&from.make_contiguous()[..end + 2]);
    from.consume(end + 2);
    Ok(parsed)
}

/// The size of a chunk. httparse itself takes no digit for 0, and lets an extension hide the end of a line.
fn chunk_size(line: &[u8]) -> Option<u64> {
    match httparse::parse_chunk_size(line) {
        Ok(httparse::Status::Complete((length, size))) if line[0].is_ascii_hexdigit() => {
            (length == line.len() && !line[..length - 2].contains(&b'\n')).then_some(size)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use ringbuf::Pool;

    /// Passes `bytes` through rings of this capacity, in pieces of this size, and takes out pieces of that size. Returns
    /// what has come out, why it has stopped, and what is left.
    fn through(mut body: Body, bytes: &[u8], capacity: usize, piece: usize) -> (Vec<u8>, Stop, usize, Body) {
        let pool = Pool::new(capacity, 2);
        let (mut from, mut to) = (pool.reserve().unwrap(), pool.reserve().unwrap());
        let (mut out, mut sent) = (Vec::new(), 0);
        loop {
            let end = bytes.len().min(sent + piece);
            sent += from.push_slice(&bytes[sent..end]).unwrap();
            let stop = body.advance(&mut from, sent == bytes.len(), &mut to);
            let mut taken = vec![0; piece];
            let n = to.pop_slice(&mut taken);
            out.extend(&taken[..n]);
            let stuck = stop == Stop::Starved && sent == bytes.len();
            if n == 0 && (stuck || matches!(stop, Stop::Over | Stop::Malformed)) {
                return (out, stop, from.len() + bytes.len() - sent, body);
            }
        }
    }

    /// Takes chunks apart the simple way.
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
        fn every_body_passes_in_every_framing(
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
                    let body = Body::new(framing, out).recorded(data.len());
                    let (passed, stop, left, body) = through(body, &bytes, capacity, piece);
                    prop_assert_eq!(stop, Stop::Over);
                    prop_assert_eq!(left, if framing == Framing::Close { 0 } else { behind });
                    let passed = if out == Framing::Chunked { data_of(&passed) } else { passed };
                    prop_assert_eq!(&passed, &data);
                    prop_assert_eq!(body.into_record().unwrap(), &data[..]);
                }
            }
        }

        #[test]
        fn no_bytes_bring_it_down(bytes in prop::collection::vec(any::<u8>(), 0..200), piece in 1_usize..50) {
            let _ = through(Body::new(Framing::Chunked, Framing::Chunked), &bytes, 64, piece);
        }
    }

    #[test]
    fn what_is_not_a_chunk_is_malformed() {
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
    fn a_body_that_is_cut_short_is_never_over() {
        for (framing, bytes) in
            [(Framing::Length(5), "abcd"), (Framing::Chunked, "4\r\nabcd\r\n"), (Framing::Chunked, "0\r\n")]
        {
            for end in 0..=bytes.len() {
                let (_, stop, _, body) =
                    through(Body::new(framing, Framing::Chunked), &bytes.as_bytes()[..end], 64, 64);
                assert_eq!((stop, body.is_over()), (Stop::Starved, false));
            }
        }
    }

    #[test]
    fn a_record_has_a_limit() {
        for (limit, record) in [(3, None), (4, Some(b"abcd".to_vec()))] {
            let body = Body::new(Framing::Length(4), Framing::Close).recorded(limit);
            assert_eq!(through(body, b"abcd", 16, 1).3.into_record(), record);
        }
    }
}
