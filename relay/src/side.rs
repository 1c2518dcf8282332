//! What the relays of a tunnel read from and write to, also while an end has no connection.

use std::io::{self, ErrorKind, IoSlice, IoSliceMut, Read, Write};

use ringbuf::{Drain, Fill};

use crate::pipe::Pipe;
use crate::relay::{Sink, Source};

/// Where a relay takes bytes from.
pub(crate) enum SideSource<S> {
    Stream(S),
    /// It has ended.
    Empty,
    /// It is not connected yet: a read blocks.
    Absent,
}

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

impl<S: Source> Read for SideSource<S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Stream(source) => source.read(buffer),
            Self::Empty => Ok(0),
            Self::Absent => Err(ErrorKind::WouldBlock.into()),
        }
    }

    fn read_vectored(&mut self, buffers: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        match self {
            Self::Stream(source) => source.read_vectored(buffers),
            Self::Empty => Ok(0),
            Self::Absent => Err(ErrorKind::WouldBlock.into()),
        }
    }
}

impl<S: Source> Source for SideSource<S> {
    fn splice_into(&mut self, pipe: &mut Pipe) -> io::Result<Fill> {
        match self {
            Self::Stream(source) => source.splice_into(pipe),
            Self::Empty => Ok(Fill::Eof),
            Self::Absent => Ok(Fill::Blocked),
        }
    }

    fn is_drained(&self) -> bool {
        match self {
            Self::Stream(source) => source.is_drained(),
            Self::Empty | Self::Absent => true,
        }
    }
}

impl<S: Sink> Write for SideSink<S> {
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

impl<S: Sink> Sink for SideSink<S> {
    fn splice_from(&mut self, pipe: &mut Pipe, end_follows: bool) -> io::Result<Drain> {
        match self {
            Self::Stream(sink) | Self::Closing(sink) => sink.splice_from(pipe, end_follows),
            Self::Discard => Err(ErrorKind::Unsupported.into()),
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
