//! Where the bytes of one direction are pending: in a ring, or, while the transfer is bulk, in a pipe.

use std::io::{self, ErrorKind, IoSlice, Read, Write};

use ringbuf::{Drain, Fill, RingBuffer};

use crate::pipe::{LentPipe, Pipe, Pipes};
use crate::source_sink::{ByteSink, ByteSource};

/// The bytes of one direction.
///
/// Invariants:
/// - They are in the ring or in the pipe, never in both, so their order is never in doubt.
/// - Between steps the buffer holds a ring or a pipe only while bytes are pending.
#[derive(Debug)]
pub(crate) struct Buffer {
    ring: RingBuffer,
    /// Where pipes are available, if bytes may be spliced.
    pipes: Option<Pipes>,
    /// Boxed, because few directions have one.
    pipe: Option<Box<LentPipe>>,
}

/// Whether bytes are to be spliced where that is possible.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Bulk {
    /// Below `PROOF` the direction is not bulk, and this is the number of large reads in a row. From `PROOF` on it is bulk, and
    /// this is `PROOF` plus the number of small reads in a row.
    evidence: u8,
    /// Splice from the first byte on.
    always: bool,
}

/// A read of this many bytes counts as large: copying them costs more than splice(2) does.
const LARGE: usize = 32 * 1024;
/// A read of fewer counts as small. One in between changes nothing.
const SMALL: usize = 8 * 1024;
/// This many large reads with no small one between them make a direction bulk, and as many small ones end that. A small
/// one alone does not: a fast transfer has them, too, when the loop is quicker than the sender.
const PROOF: u8 = 4;

impl Buffer {
    pub(crate) fn new(ring: RingBuffer) -> Self {
        Self { ring, pipes: None, pipe: None }
    }

    /// Lets the bytes be spliced.
    pub(crate) fn splice(&mut self, pipes: Pipes) {
        self.pipes = Some(pipes);
    }

    /// Drops what is pending, and gives back what is lent, for good.
    pub(crate) fn close(&mut self) {
        self.ring = RingBuffer::default();
        (self.pipes, self.pipe) = (None, None);
    }

    /// The number of bytes that are pending.
    pub(crate) fn len(&self) -> usize {
        self.ring.len() + self.pipe.as_ref().map_or(0, |pipe| pipe.len())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether it can be filled. A pipe is filled only when it is empty.
    pub(crate) fn has_room(&self) -> bool {
        match &self.pipe {
            Some(pipe) => pipe.is_empty(),
            None => !self.ring.is_full(),
        }
    }

    /// Fills the buffer with one read of at most `most` bytes, or with one splice(2). A [`Fill::Read`] that has
    /// left the source with more has filled the buffer or taken `most`.
    ///
    /// # Errors
    ///
    /// What the source reports.
    pub(crate) fn fill_from(
        &mut self,
        source: &mut impl ByteSource,
        bulk: &mut Bulk,
        most: u64,
    ) -> io::Result<Fill> {
        if let Some(pipe) = self.pipe_for(*bulk, most) {
            match source.splice_into(pipe) {
                Ok(Fill::Read(n)) => {
                    bulk.note_read(n);
                    return Ok(Fill::Read(n));
                }
                Ok(Fill::Full) => return Ok(Fill::Full),
                // Only a read can tell what this means.
                Ok(Fill::Blocked | Fill::Eof) => self.pipe = None,
                Err(error) if is_refusal(&error) => (self.pipes, self.pipe) = (None, None),
                Err(error) => return Err(error),
            }
        }
        let fill = if most == u64::MAX {
            self.ring.fill_from(source)?
        } else {
            self.ring.fill_from(&mut source.take(most))?
        };
        if let Fill::Read(n) = fill {
            bulk.note_read(n);
        }
        Ok(fill)
    }

    /// Whether the last fill, which was short, has left nothing with a source that has ended. A short read
    /// says so; a short splice(2) does not, because a pipe may be full with fewer bytes than its capacity.
    pub(crate) fn short_read_was_last(&self, source: &impl ByteSource) -> bool {
        self.pipe.is_none() || source.is_drained()
    }

    /// Drains the buffer with one write, or with one splice(2).
    ///
    /// # Errors
    ///
    /// What the sink reports.
    pub(crate) fn drain_to(&mut self, sink: &mut impl ByteSink, end_follows: bool) -> io::Result<Drain> {
        match &mut self.pipe {
            Some(pipe) if !pipe.is_empty() => sink.splice_from(pipe, end_follows),
            _ if end_follows => self.ring.drain_to(&mut LastBytes(sink)),
            _ => self.ring.drain_to(sink),
        }
    }

    /// Whether the last fill took all there was room for, so that there may be more.
    pub(crate) fn is_full(&self) -> bool {
        self.pipe.as_ref().map_or(self.ring.is_full(), |pipe| pipe.len() == pipe.capacity())
    }

    /// Gives back a pipe that is empty. Called at the end of each step.
    pub(crate) fn end_step(&mut self) {
        self.pipe.take_if(|pipe| pipe.is_empty());
    }

    /// The pending bytes in one piece. Those in a pipe cannot be looked at.
    pub(crate) fn peek(&mut self) -> &[u8] {
        self.ring.make_contiguous()
    }

    pub(crate) fn consume(&mut self, n: usize) {
        self.ring.consume(n);
    }

    /// The pipe in use, or, if nothing is pending and splicing pays, one that is lent now.
    fn pipe_for(&mut self, bulk: Bulk, most: u64) -> Option<&mut Pipe> {
        if self.pipe.is_none() && self.ring.is_empty() && most == u64::MAX {
            let pipes = self.pipes.as_ref()?;
            if bulk.always || bulk.is_bulk() {
                self.pipe = pipes.lend().map(Box::new);
            }
        }
        self.pipe.as_mut().map(|pipe| &mut ***pipe)
    }
}

impl Bulk {
    /// That of a direction that is spliced while it is bulk, or (`always`) from the first byte on.
    pub(crate) fn new(always: bool) -> Self {
        Self { evidence: 0, always }
    }

    fn is_bulk(self) -> bool {
        self.evidence >= PROOF
    }

    fn note_read(&mut self, n: usize) {
        let looks_bulk = match n {
            LARGE.. => true,
            SMALL.. => return,
            _ => false,
        };
        self.evidence = match (self.is_bulk(), looks_bulk) {
            (false, false) => 0,
            (true, true) => PROOF,
            _ => (self.evidence + 1) % (2 * PROOF),
        };
    }
}

/// A sink that is finished after these bytes.
struct LastBytes<'a, S>(&'a mut S);

impl<S: ByteSink> Write for LastBytes<'_, S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write_last(&[IoSlice::new(bytes)])
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.write_last(slices)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Whether this error says that the system will not splice, and nothing of the connection.
fn is_refusal(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::Unsupported | ErrorKind::InvalidInput | ErrorKind::PermissionDenied)
}
