//! One side of a tunnel: its connection, if there is one, and what the relays read from and write to.

use std::io::{self, ErrorKind, IoSlice, IoSliceMut, Read, Write};
use std::mem;
use std::time::{Duration, Instant};

use eventloop::{Intents, Ready};
use ringbuf::{Drain, Fill};

use crate::connection::{Connection, Intent};
use crate::lingering_close::LingeringClose;
use crate::pipe::Pipe;
use crate::source_sink::{ByteSink, ByteSource};

/// One side of a tunnel and how far it is.
#[derive(Debug)]
pub(crate) enum SidePhase<C> {
    /// There is no connection yet.
    Absent,
    /// There will be no connection: what the other peer sends is discarded.
    Null,
    Open(C),
    /// It has failed. Bytes from before that may still be readable.
    Failed(C),
    /// Boxed, because it takes more than the others.
    Closing(Box<LingeringClose<C>>),
    Closed,
}

/// Where a relay takes bytes from. Without a connection a read blocks.
pub(crate) struct SideSource<S>(Option<S>);

/// Where a relay delivers.
pub(crate) enum SideSink<S> {
    Stream(S),
    /// A stream that is closed right after this step: its FIN needs no shutdown(2) before.
    Closing(S),
    /// It takes everything.
    Discard,
    /// It is not connected yet: a write blocks.
    Absent,
}

impl<C: Connection> SidePhase<C> {
    /// The connection, until it is closed.
    pub(crate) fn connection(&self) -> Option<&C> {
        match self {
            Self::Closing(closing) => Some(closing.stream()),
            _ => self.stream(),
        }
    }

    /// The connection, while it carries bytes.
    pub(crate) fn stream(&self) -> Option<&C> {
        match self {
            Self::Open(stream) | Self::Failed(stream) => Some(stream),
            _ => None,
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        matches!(self, Self::Closed)
    }

    pub(crate) fn intents(&self, intent: Intent, intents: &mut Intents<'_>) {
        match self {
            Self::Open(stream) => stream.declare(intent, intents),
            // Its failure need not be reported any more.
            Self::Failed(stream) if intent != Intent::default() => stream.declare(intent, intents),
            Self::Closing(closing) => closing.intents(intents),
            Self::Absent | Self::Null | Self::Failed(_) | Self::Closed => {}
        }
    }

    pub(crate) fn source(&self) -> SideSource<impl ByteSource> {
        SideSource(self.stream().map(C::source))
    }

    /// If the connection is closed after this step, that sends the end.
    pub(crate) fn sink(&self, is_closed_after: bool) -> SideSink<impl ByteSink> {
        match self {
            Self::Open(stream) | Self::Failed(stream) if is_closed_after => SideSink::Closing(stream.sink()),
            Self::Open(stream) | Self::Failed(stream) => SideSink::Stream(stream.sink()),
            Self::Null => SideSink::Discard,
            Self::Absent | Self::Closing(_) | Self::Closed => SideSink::Absent,
        }
    }

    pub(crate) fn fail(&mut self) {
        *self = match mem::replace(self, Self::Closed) {
            Self::Open(stream) => Self::Failed(stream),
            other => other,
        };
    }

    /// Closes the connection in an orderly way.
    pub(crate) fn close(&mut self) {
        if let Self::Open(stream) | Self::Failed(stream) = mem::replace(self, Self::Closed) {
            stream.close();
        }
    }

    pub(crate) fn begin_linger(&mut self, finished: bool, linger: Duration, now: Instant) {
        *self = match mem::replace(self, Self::Closed) {
            Self::Open(stream) => LingeringClose::begin(stream, finished, linger, now).into(),
            _ => Self::Closed, // a connection that has failed is reset by being dropped
        };
    }

    pub(crate) fn linger(&mut self, ready: &Ready<'_>) {
        *self = match mem::replace(self, Self::Closed) {
            Self::Closing(closing) => closing.advance(ready).into(),
            other => other,
        };
    }
}

impl<C> From<Option<LingeringClose<C>>> for SidePhase<C> {
    fn from(closing: Option<LingeringClose<C>>) -> Self {
        closing.map_or(Self::Closed, |closing| Self::Closing(Box::new(closing)))
    }
}

impl<S: ByteSource> Read for SideSource<S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.as_mut().ok_or(ErrorKind::WouldBlock)?.read(buffer)
    }

    fn read_vectored(&mut self, buffers: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        self.0.as_mut().ok_or(ErrorKind::WouldBlock)?.read_vectored(buffers)
    }
}

impl<S: ByteSource> ByteSource for SideSource<S> {
    fn splice_into(&mut self, pipe: &mut Pipe) -> io::Result<Fill> {
        self.0.as_mut().map_or(Ok(Fill::Blocked), |source| source.splice_into(pipe))
    }

    fn is_drained(&self) -> bool {
        self.0.as_ref().is_none_or(S::is_drained)
    }
}

impl<S: ByteSink> Write for SideSink<S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Stream(sink) | Self::Closing(sink) => sink.write(bytes),
            Self::Discard => Ok(bytes.len()),
            Self::Absent => Err(ErrorKind::WouldBlock.into()),
        }
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Self::Stream(sink) | Self::Closing(sink) => sink.write_vectored(slices),
            Self::Discard => Ok(slices.iter().map(|slice| slice.len()).sum()),
            Self::Absent => Err(ErrorKind::WouldBlock.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<S: ByteSink> ByteSink for SideSink<S> {
    fn splice_from(&mut self, pipe: &mut Pipe, end_follows: bool) -> io::Result<Drain> {
        match self {
            Self::Stream(sink) | Self::Closing(sink) => sink.splice_from(pipe, end_follows),
            Self::Discard => pipe.discard(),
            Self::Absent => Ok(Drain::Blocked),
        }
    }

    fn write_last(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Self::Stream(sink) | Self::Closing(sink) => sink.write_last(slices),
            Self::Discard | Self::Absent => self.write_vectored(slices),
        }
    }

    fn finish(&mut self) -> io::Result<()> {
        match self {
            Self::Stream(sink) => sink.finish(),
            Self::Closing(_) | Self::Discard => Ok(()),
            Self::Absent => Err(ErrorKind::WouldBlock.into()),
        }
    }
}
