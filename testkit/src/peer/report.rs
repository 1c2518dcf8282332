use std::fmt;
use std::io::ErrorKind;
use std::net::SocketAddr;

use crate::payload::{Mismatch, Verifier};
use crate::peer::Step;

/// What a peer has seen of its connection, from connect or accept to its own close.
#[derive(Clone, Debug)]
#[must_use = "a report says whether the connection did what it should"]
pub struct Report {
    /// The address of the peer.
    pub local: SocketAddr,
    /// The address it was connected with.
    pub remote: SocketAddr,
    /// Bytes taken by the kernel of the peer: they may still have been lost.
    pub sent: u64,
    /// How the sending half stood at the end.
    pub sending: Sending,
    /// Bytes received, right or wrong.
    pub received: u64,
    /// How the receiving half ended.
    pub ending: Ending,
    /// The first wrong byte among those received, if any.
    pub mismatch: Option<Mismatch>,
    /// The step that waited longer than the peer's patience, if any. The steps after it were not run.
    pub late: Option<Step>,
    /// The [`Step::Expect`] that was not met, if any. The steps after it were not run.
    pub unmet: Option<Unmet>,
    pub(super) verifier: Option<Verifier>,
}

/// Bytes that were expected, and those that came.
#[derive(Clone, PartialEq, Eq)]
pub struct Unmet {
    /// What was expected.
    pub expected: Vec<u8>,
    /// What came in its place, to the first wrong byte at least, or to the end of the stream.
    pub came: Vec<u8>,
}

/// As text, since that is what is expected mostly.
impl fmt::Debug for Unmet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "expected \"{}\", \"{}\" came", self.expected.escape_ascii(), self.came.escape_ascii())
    }
}

impl Report {
    /// Whether the received bytes are exactly the first `expected` ones of the payload.
    ///
    /// # Errors
    ///
    /// The first mismatch.
    ///
    /// # Panics
    ///
    /// When the script does not say what it [expects](crate::peer::Script::expects): a check that cannot fail is none.
    pub fn verify(&self, expected: u64) -> Result<(), Mismatch> {
        let verifier = self.verifier.as_ref().expect("the script says what it expects: Script::expects");
        verifier.finish(expected)
    }
}

/// How the sending half of a connection stood when its peer was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Sending {
    /// More could have been sent.
    Open,
    /// The peer has sent its FIN.
    Finished,
    /// A write failed: with `ConnectionReset` when it was the first call to find a reset, with `BrokenPipe` when the reset
    /// came after a FIN or had been reported before. Or the FIN did, with `NotConnected`.
    Broken(ErrorKind),
}

/// How the receiving half of a connection ended.
///
/// Linux hands out the bytes in its queue before it reports a reset, and reports it once, to the first call that
/// asks: if that was a write, a later read finds an end of file. So both halves are put together: an end of file
/// counts as [`Reset`](Self::Reset) if a write got `ECONNRESET`. A reset that arrives after a FIN is distinguished, since
/// reads then find the end of file and writes get `EPIPE` and never `ECONNRESET` (see `tcp_reset` and `tcp_fin` in the
/// kernel).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Ending {
    /// The peer was done, or gave up, before it saw an end.
    Open,
    /// A FIN after the last byte.
    Eof,
    /// A FIN after the last byte, then a reset, seen before the peer closed. The received bytes are whole; those the
    /// peer sent may be lost.
    EofThenReset,
    /// A reset without a FIN: the stream may be incomplete.
    Reset,
    /// A read failed in another way.
    Failed(ErrorKind),
}

impl Ending {
    /// The ending of the whole connection: from what the reads saw, the first error that connecting or a write has
    /// taken, and the error that was not taken yet.
    pub(super) fn combine(reads: Self, taken: Option<ErrorKind>, untaken: Option<ErrorKind>) -> Self {
        match (reads, taken, untaken) {
            (Self::Open | Self::Eof, Some(ErrorKind::ConnectionReset), _) => Self::Reset,
            (Self::Open | Self::Eof, Some(ErrorKind::BrokenPipe), _) => Self::EofThenReset,
            // The read would have reported the reset, had it come before the FIN.
            (Self::Eof, _, Some(ErrorKind::ConnectionReset | ErrorKind::BrokenPipe)) => Self::EofThenReset,
            (Self::Open, _, Some(ErrorKind::ConnectionReset)) => Self::Reset,
            (Self::Open, _, Some(ErrorKind::BrokenPipe)) => Self::EofThenReset,
            (Self::Open, _, Some(other)) => Self::Failed(other),
            (seen, _, _) => seen,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RESET: Option<ErrorKind> = Some(ErrorKind::ConnectionReset);
    const BROKEN: Option<ErrorKind> = Some(ErrorKind::BrokenPipe);

    #[test]
    fn a_reset_taken_by_a_write_is_a_reset() {
        assert_eq!(Ending::combine(Ending::Eof, RESET, None), Ending::Reset);
        assert_eq!(Ending::combine(Ending::Open, RESET, None), Ending::Reset);
    }

    #[test]
    fn a_reset_after_a_fin_is_distinguished() {
        assert_eq!(Ending::combine(Ending::Eof, BROKEN, None), Ending::EofThenReset);
        assert_eq!(Ending::combine(Ending::Eof, None, RESET), Ending::EofThenReset);
        assert_eq!(
            Ending::combine(Ending::Reset, BROKEN, None),
            Ending::Reset,
            "the read had taken the error"
        );
    }

    #[test]
    fn an_error_that_was_not_taken_counts() {
        assert_eq!(Ending::combine(Ending::Open, None, RESET), Ending::Reset);
        assert_eq!(Ending::combine(Ending::Open, None, BROKEN), Ending::EofThenReset);
        assert_eq!(Ending::combine(Ending::Open, None, None), Ending::Open);
        assert_eq!(Ending::combine(Ending::Eof, None, None), Ending::Eof);
    }
}
