//! In-memory readers and writers that are short, blocked, interrupted or failing, by a script.
//!
//! A script is a list of steps, and every `read` or `write` takes the next one. Scripts come by hand, from
//! [`scripts`], which lists all of them up to a depth, from the strategies [`read_scripts`] and [`write_scripts`] for
//! property tests, or, a byte a step, from the bytes a fuzzer makes up.
//!
//! ```
//! use std::io::{ErrorKind, Read};
//! use testkit::{payload::Payload, scripted::{ReadStep, ScriptedReader}, seed::Seed};
//!
//! let payload = Payload::new(Seed::new(1));
//! let mut reader = ScriptedReader::new(payload, [ReadStep::Give(3), ReadStep::Blocked, ReadStep::Give(9)]);
//! let mut buffer = [0; 4];
//! assert_eq!(reader.read(&mut buffer)?, 3);
//! assert_eq!(reader.read(&mut buffer).unwrap_err().kind(), ErrorKind::WouldBlock);
//! assert_eq!(reader.read(&mut buffer)?, 4, "at most 9, but the buffer is small");
//! assert_eq!(buffer[..], payload.bytes(3, 4));
//! assert_eq!(reader.read(&mut buffer)?, 0, "after the script comes the end");
//! assert_eq!(reader.calls().after_blocked, 1, "a needless call");
//! # Ok::<(), std::io::Error>(())
//! ```

mod bytes;
mod cursor;
mod reader;
mod script;
mod writer;

pub use reader::{ReadStep, ScriptedReader};
pub use script::{read_scripts, scripts, write_scripts};
pub use writer::{ScriptedWriter, WriteStep};

/// What was asked of a scripted reader or writer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Calls {
    /// Calls with one buffer.
    pub plain: usize,
    /// Calls with a list of buffers.
    pub vectored: usize,
    /// Calls, of either kind, that brought no room or no bytes; no step is taken for them.
    pub empty: usize,
    /// Calls, of either kind, after `WouldBlock` and before the next `wake`: a spin.
    pub after_blocked: usize,
    /// Calls, of either kind, after the end of the stream or an error was reported.
    pub after_end: usize,
}

impl Calls {
    /// All calls, plain and vectored.
    pub const fn total(&self) -> usize {
        self.plain + self.vectored
    }
}
