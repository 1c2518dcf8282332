//! Bytes of the program's own that go out before those that are carried.

use std::io::{self, ErrorKind};

use crate::source_sink::ByteSink;

/// A reply, or a header such as that of the PROXY protocol, and how much of it was sent. Never empty.
#[derive(Debug)]
pub(crate) struct Preface {
    bytes: Vec<u8>,
    sent: usize,
}

impl Preface {
    /// `None` if there are no bytes to send.
    pub(crate) fn new(bytes: &[u8]) -> Option<Self> {
        (!bytes.is_empty()).then(|| Self { bytes: bytes.to_vec(), sent: 0 })
    }

    pub(crate) fn append(&mut self, bytes: &[u8]) {
        self.bytes.extend(bytes);
    }

    pub(crate) fn is_sent(&self) -> bool {
        self.sent == self.bytes.len()
    }

    /// Writes once; a sink that takes nothing now is not an error.
    pub(crate) fn drain_to(&mut self, sink: &mut impl ByteSink) -> io::Result<()> {
        loop {
            match sink.write(&self.bytes[self.sent..]) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(n) => {
                    self.sent += n;
                    return Ok(());
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }
}
