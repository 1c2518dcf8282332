//! The body of a message on its way from one ring to another, and where it ends (RFC 9112, sections 6 and 7).

use ringbuf::Slot;

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
    pub fn advance(&mut self, from: &mut Slot, ended: bool, to: &mut Slot) -> Stop {
        loop {
            match self.step(from, ended, to) {
                Ok(next) => self.next = next,
                Err(stop) => return stop,
            }
        }
    }

    fn step(&mut self, from: &mut Slot, ended: bool, to: &mut Slot) -> Result<Next, Stop> {
        Ok(match self.next {
            Next::Over => return Err(Stop::Over),
            Next::End if !self.chunked => Next::Over,
            Next::End if to.free() < LAST_CHUNK.len() => return Err(Stop::Clogged),
            Next::End => {
                let _ = to.ring().push_slice(LAST_CHUNK);
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

    /// Passes on at most `limit` bytes: as many as lie there in one piece and have room.
    fn pass(&mut self, limit: u64, from: &mut Slot, to: &mut Slot) -> Result<u64, Stop> {
        let room = to.free().saturating_sub(if self.chunked { AROUND_A_CHUNK } else { 0 });
        if room == 0 {
            return Err(Stop::Clogged);
        }
        let (piece, _) = from.ring().as_slices();
        let length = piece.len().min(room).min(usize::try_from(limit).unwrap_or(usize::MAX));
        let piece = &piece[..length];
        let (before, after) =
            if self.chunked { (format!("{length:x}\r\n"), "\r\n") } else { (String::new(), "") };
        for part in [before.as_bytes(), piece, after.as_bytes()] {
            let _ = to.ring().push_slice(part); // there is room for it
        }
        let _ = self.record.take_if(|record| record.bytes.len() + length > record.limit);
        if let Some(record) = &mut self.record {
            record.bytes.extend_from_slice(piece);
        }
        from.ring().consume(length);
        Ok(length as u64)
    }
}

/// Takes a line out of the ring, and lets `parse` see it with its end.
fn take_line<T>(from: &mut Slot, parse: impl FnOnce(&[u8]) -> T) -> Result<T, Stop> {
    let ring = from.ring();
    let end = ring.find(b"\r\n", 0).ok_or(if ring.len() < LONGEST_LINE {
        Stop::Starved
    } else {
        Stop::Malformed
    })?;
    let parsed = parse(&ring.make_contiguous()[..end + 2]);
    ring.consume(end + 2);
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
