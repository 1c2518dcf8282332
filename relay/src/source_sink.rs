//! What a relay reads from and what it writes to.

use std::io::{self, ErrorKind, IoSlice, Read, Write};

use eventloop::Stream;
use ringbuf::{Drain, Fill};

use crate::pipe::Pipe;

/// Where a relay takes bytes from: a reader that may also know how to fill a pipe.
pub trait ByteSource: Read {
    /// Moves bytes into a pipe, as [`Pipe::fill_from`] does.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unsupported`] if only reading will do; anything else is a failure of the source.
    fn splice_into(&mut self, pipe: &mut Pipe) -> io::Result<Fill> {
        let _ = pipe;
        Err(ErrorKind::Unsupported.into())
    }

    /// Whether no byte can be read now (`FIONREAD`, ioctl(2)). A source that cannot tell returns `false`.
    fn is_drained(&self) -> bool {
        false
    }
}

/// Where a relay delivers: a writer that can send the end of the stream, and may also know how to drain a
/// pipe.
pub trait ByteSink: Write {
    /// Takes bytes out of a pipe, as [`Pipe::drain_to`] does. A relay whose source does not splice does not
    /// call it.
    ///
    /// # Errors
    ///
    /// What is a failure of the sink.
    fn splice_from(&mut self, pipe: &mut Pipe, end_follows: bool) -> io::Result<Drain> {
        let _ = (pipe, end_follows);
        Err(ErrorKind::Unsupported.into())
    }

    /// Writes bytes after which [`finish`](Self::finish) follows, so that they can travel together
    /// (`MSG_MORE`, send(2)).
    ///
    /// # Errors
    ///
    /// As [`Write::write_vectored`].
    fn write_last(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.write_vectored(slices)
    }

    /// Passes on the end of the stream: for TCP, FIN.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::WouldBlock`] to be asked again when the sink has become writable; anything else
    /// counts as a failure of the sink.
    fn finish(&mut self) -> io::Result<()>;
}

impl ByteSource for &Stream {
    fn splice_into(&mut self, pipe: &mut Pipe) -> io::Result<Fill> {
        pipe.fill_from(&***self)
    }

    fn is_drained(&self) -> bool {
        rustix::io::ioctl_fionread(&***self) == Ok(0)
    }
}

impl ByteSink for &Stream {
    fn splice_from(&mut self, pipe: &mut Pipe, end_follows: bool) -> io::Result<Drain> {
        pipe.drain_to(&***self, end_follows)
    }

    #[cfg(target_os = "linux")]
    fn write_last(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        use rustix::net::{SendAncillaryBuffer, SendFlags, sendmsg};
        let flags = SendFlags::MORE | SendFlags::NOSIGNAL;
        Ok(sendmsg(&***self, slices, &mut SendAncillaryBuffer::default(), flags)?)
    }

    fn finish(&mut self) -> io::Result<()> {
        Stream::finish(self)
    }
}
