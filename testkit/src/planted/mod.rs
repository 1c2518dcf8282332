//! Small proxies with a bug planted in them, so that the suite can be seen to find it.
//!
//! Two blocking threads carry the bytes of a session: as plain as can be, and correct unless a [`Bug`] is asked for. The
//! program `testkit planted` is such a proxy as a process; [`Bug::must_fail`] says which cases it must fail,
//! [`Bug::may_fail`] which ones it may fail besides, and `testkit selftest` compares.
//!
//! # How to plant another bug
//!
//! Add it to [`Bug`], with what a careless author gets wrong as its description, put it into the proxy in the one place
//! where that author would have, and say in `meant.rs` which cases are meant for it.

mod connect;
mod copy;
mod meant;
mod server;
mod session;

pub use server::{Options, serve};

use clap::ValueEnum;

/// The topics of the suite that these proxies are made for: they carry bytes, and are no programs that an operator would
/// start, stop or measure.
pub const TOPICS: [&str; 2] = ["integrity", "ends"];

/// What a careless author gets wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, ValueEnum)]
pub enum Bug {
    /// Two halves of a block change places, 100,000 bytes into a stream
    SwapsBlocks,
    /// A block is sent twice, 100,000 bytes into a stream
    RepeatsBlock,
    /// The last byte before a FIN that has arrived already is not sent
    DropsLastByte,
    /// Nothing is read while a write waits for room, in whichever direction
    TakesTurns,
    /// Small blocks are kept for a while, in case that more comes
    DelaysSmallBlocks,
    /// A block that fills the buffer is sent only when there is more
    KeepsFullBuffer,
    /// The server's bytes are passed on only once the client has said something
    WaitsForClient,
    /// Urgent bytes are not received inline, and so not at all
    LosesUrgentByte,
    /// The FIN of one side ends both directions
    ClosesBoth,
    /// The FIN of the server is passed on only once the client has finished too
    KeepsServersFin,
    /// The reset of one side is a clean end for the other
    ResetBecomesFin,
    /// A reset whose error has been taken is an end of file for the next read, and is believed
    BelievesEndOfFile,
    /// What has been read but not sent when a reset comes is not sent
    DropsBlockAtReset,
    /// A reset is passed on before the kernel has sent what waits
    ResetsAtOnce,
    /// What the client sends before the server answers is thrown away
    ForgetsEarlyBytes,
    /// An error of the connection is taken for a failed attempt to connect
    BelievesSoError,
    /// Nothing is read while a write waits for room, and when the write fails nothing is read any more
    StopsAtFailedWrite,
    /// What nobody can be given any more is read and thrown away
    SendsToNobody,
    /// A half-closed session may be silent for ever
    NeverTimesOut,
    /// A session whose time is up ends with a FIN
    CutsWithFin,
    /// The time of a half-closed session is up whatever it is doing
    IgnoresTraffic,
    /// A descriptor stays open after each session
    LeaksDescriptor,
    /// If the server cannot be reached, the client gets a clean end
    RefusalBecomesFin,
}

impl Bug {
    /// Every bug.
    pub fn all() -> &'static [Self] {
        Self::value_variants()
    }

    /// Its name on the command line.
    pub fn name(self) -> String {
        self.to_possible_value().expect("no bug is hidden").get_name().to_owned()
    }

    /// What the careless author got wrong, in a line.
    pub fn description(self) -> String {
        let value = self.to_possible_value().expect("no bug is hidden");
        value.get_help().map(ToString::to_string).unwrap_or_default()
    }
}
