//! Where the bytes of one direction wait: in a ring, or, while many come, in a pipe.

use std::io::{self, ErrorKind};

use ringbuf::{Drain, Fill, RingBuffer};

use crate::pipe::{LentPipe, Pipes};
use crate::relay::{Sink, Source};

/// The bytes of one direction.
///
/// Invariants:
/// - They wait in the ring or in the pipe, never in both, so their order is never in doubt.
/// - Between steps there is a ring or a pipe in hand only while bytes wait.
#[derive(Debug)]
pub(crate) struct Buffer {
    ring: RingBuffer,
    /// Where pipes are to be had, if bytes may be spliced.
    pipes: Option<Pipes>,
    pipe: Option<LentPipe>,
    /// So many large reads since the last small one.
    streak: u8,
    /// Whether there was a large read in this step.
    large: bool,
    /// The number of the last step with a large read, as counted over all directions.
    turn: Option<u64>,
    /// An estimate of how many directions take turns at large reads, this one included.
    crowd: u64,
    /// Splice from the first byte on.
    always: bool,
}

/// A read of so many bytes counts as large: copying them costs more than splice(2) does.
const LARGE: usize = 32 * 1024;
/// A read of less counts as small. In between lies what changes nothing.
const SMALL: usize = 8 * 1024;
/// So many large reads with no small one between them make a direction bulk.
const PROOF: u8 = 4;
/// While fewer directions than this are bulk, copying costs no more than splice(2) does, as measured over loopback:
/// ARCHITECTURE.md has more on that.
const CROWD: u64 = 4;
/// The estimate goes no further, so that it is soon forgotten: a direction may have been idle while others were busy.
const MOST: u64 = 4 * CROWD;

impl Buffer {
    pub(crate) fn new(ring: RingBuffer) -> Self {
        Self { ring, pipes: None, pipe: None, streak: 0, large: false, turn: None, crowd: 0, always: false }
    }

    /// Lets the bytes be spliced: when many come in many directions, or (`always`) from the first byte on.
    pub(crate) fn splice(&mut self, pipes: Pipes, always: bool) {
        self.pipes = Some(pipes);
        self.always = always;
    }

    /// The number of bytes that wait.
    pub(crate) fn len(&self) -> usize {
        self.ring.len() + self.pipe.as_ref().map_or(0, |pipe| pipe.len())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether it can be filled. A pipe is, only when it is empty.
    pub(crate) fn has_room(&self) -> bool {
        match &self.pipe {
            Some(pipe) => pipe.is_empty(),
            None => !self.ring.is_full(),
        }
    }

    /// Fills the buffer with one read, or with one splice(2). A [`Fill::Read`] that has left the source with
    /// more has filled it [](Self::is_full).
    ///
    /// # Errors
    ///
    /// What the source reports.
    pub(crate) fn fill_from(&mut self, source: &mut impl Source) -> io::Result<Fill> {
        if let Some(pipe) = self.pipe_for_many() {
            match source.splice_into(pipe) {
                Ok(Fill::Read(n)) => {
                    self.note_read(n);
                    return Ok(Fill::Read(n));
                }
                Ok(Fill::Full) => return Ok(Fill::Full),
                // What this means only a read can tell.
                Ok(Fill::Blocked | Fill::Eof) => self.pipe = None,
                Err(error) if is_refusal(&error) => (self.pipes, self.pipe) = (None, None),
                Err(error) => return Err(error),
            }
        }
        let fill = self.ring.fill_from(source)?;
        if let Fill::Read(n) = fill {
            self.note_read(n);
        }
        Ok(fill)
    }

    /// Drains the buffer with one write, or with one splice(2).
    ///
    /// # Errors
    ///
    /// What the sink reports.
    pub(crate) fn drain_to(&mut self, sink: &mut impl Sink) -> io::Result<Drain> {
        match &mut self.pipe {
            Some(pipe) if !pipe.is_empty() => sink.splice_from(pipe),
            _ => self.ring.drain_to(sink),
        }
    }

    /// Whether the last fill took all there was room for, so that there may be more.
    pub(crate) fn is_full(&self) -> bool {
        self.pipe.as_ref().map_or(self.ring.is_full(), |pipe| pipe.len() == pipe.capacity())
    }

    /// Gives back a pipe that is empty, and takes note of who else is busy. Call it at the end of each step.
    pub(crate) fn end_step(&mut self) {
        self.pipe.take_if(|pipe| pipe.is_empty());
        if std::mem::take(&mut self.large) {
            self.estimate_crowd();
        }
    }

    /// Forgets all bytes that wait.
    pub(crate) fn discard(&mut self) {
        self.ring.clear();
        self.pipe = None;
    }

    /// The pipe in hand, or, if nothing waits and it pays, one that is lent now.
    fn pipe_for_many(&mut self) -> Option<&mut LentPipe> {
        if self.pipe.is_none() && self.ring.is_empty() {
            let pipes = self.pipes.as_ref()?;
            if self.always || (self.streak >= PROOF && self.crowd >= CROWD) {
                self.pipe = pipes.lend();
            }
        }
        self.pipe.as_mut()
    }

    /// Where directions are equally busy, as many turns lie between two of this one as there are directions. Some are
    /// quicker than others, so a smaller distance takes the estimate down by an eighth only.
    fn estimate_crowd(&mut self) {
        let Some(pipes) = &self.pipes else { return };
        let turn = pipes.next_turn();
        let distance = self.turn.replace(turn).map_or(0, |last| turn - last);
        self.crowd = distance.min(MOST).max(self.crowd - self.crowd.div_ceil(8));
    }

    fn note_read(&mut self, n: usize) {
        match n {
            LARGE.. => {
                self.streak = self.streak.saturating_add(1);
                self.large = true;
            }
            SMALL.. => {}
            _ => self.streak = 0,
        }
    }
}

/// Whether this error says that the system will not splice, and nothing of the connection.
fn is_refusal(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::Unsupported | ErrorKind::InvalidInput | ErrorKind::PermissionDenied)
}
