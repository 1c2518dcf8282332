//! Small proxies with a bug planted in them, so that the suite can be seen to find it.
//!
//! Two blocking threads carry the bytes of a session: a plain and correct proxy, unless a [`Bug`] is asked for. The
//! program `proxyspec planted` is such a proxy as a process; [`Bug::must_fail`] says which cases it must fail,
//! [`Bug::may_fail`] which ones it may fail besides, and `proxyspec selftest` compares.
//!
//! # How to plant another bug
//!
//! Add it to [`Bug`], with what a careless author gets wrong as its description, put it into the proxy where that
//! author would have, and say in `expectations.txt` which cases it must fail.

mod connect;
mod copy;
mod expectations;
mod log;
mod server;
mod session;
mod signals;

pub use server::{PlantedOptions, serve, start};

use std::os::fd::AsFd;
use std::time::Duration;

use clap::ValueEnum;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// What a careless author gets wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, ValueEnum)]
pub enum Bug {
    /// Two halves of a block are swapped, 100,000 bytes into a stream
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
    /// The server's bytes are passed on only once the client has sent something
    WaitsForClient,
    /// A small block is overwritten by the next one if that comes before it is sent
    OverwritesSmallBlocks,
    /// Urgent bytes are not received inline, and so not at all
    LosesUrgentByte,
    /// The FIN of one side ends both directions
    ClosesBoth,
    /// The FIN of the server is passed on only once the client has finished too
    KeepsServersFin,
    /// Sides that finish at the same time are reset
    ResetsWhenBothFinish,
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
    /// What can no longer be delivered is read and thrown away
    SendsWithoutReader,
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
    /// If the server cannot be reached, the client's connection stays open
    HangsWhenRefused,
    /// The kernel decides how long to wait for the server
    NeverGivesUp,
    /// Only the first address of the server is tried
    TriesOneAddress,
    /// Only IPv4 addresses of the server are tried
    TriesIpv4Only,
    /// The server is reached for one client after the other
    ConnectsInTurn,
    /// A client that goes away while its server is reached is not noticed, and its session is forgotten
    ForgetsClosedClients,
    /// No client is served any more once the server has refused
    StopsAfterRefusal,
    /// What the other side has no room for is kept, however much it is
    BuffersWithoutBound,
    /// Whether a client comes is asked again and again
    SpinsWhenIdle,
    /// Whether there is something to read is asked again and again once one side has finished
    SpinsWhenHalfClosed,
    /// Whether there is room is asked again and again
    SpinsWhenStalled,
    /// A reset is reported again and again while there is no room
    SpinsAfterReset,
    /// A write that has failed is tried again and again
    RetriesFailedWrites,
    /// A descriptor stays open when the server cannot be reached
    LeaksWhenRefused,
    /// A client that has come and finished without a word is not closed
    LeavesCloseWait,
    /// Without a descriptor for the next client, accept is tried again at once
    SpinsWithoutDescriptor,
    /// Without a descriptor for the next client the proxy ends
    DiesWithoutDescriptor,
    /// Without a descriptor for the next client no client is served any more
    StopsWithoutDescriptor,
    /// The limit on clients is none
    ServesTooMany,
    /// What a client sends while it is pending is thrown away
    ForgetsPendingClients,
    /// Only one session writes at a time
    WritesInTurn,
    /// A session goes on until it has nothing left to do, unless that is little
    ServesBulkFirst,
    /// SIGTERM is caught, and nothing done
    IgnoresSigterm,
    /// SIGTERM is not caught
    DiesOfSigterm,
    /// Sessions may go on for ever after SIGTERM
    NeverStopsDraining,
    /// A second SIGTERM is like the first
    IgnoresSecondSignal,
    /// Without a port to listen on the proxy runs on
    RunsWithoutPort,
    /// Without a port to listen on the proxy ends with status 0
    ReportsSuccess,
    /// A port that is not given is any port
    AssumesArguments,
    /// A port is what is left of a number in 16 bits
    TakesAnyNumber,
    /// What is logged goes to descriptor 2, whatever that is
    LogsToClient,
    /// Sessions wait until their line is logged
    WaitsForLogReader,
    /// The proxy ends when it cannot log
    DiesWithoutLogReader,
    /// Connections in TIME_WAIT keep the proxy from listening
    NeedsFreshPort,
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
}

/// What the descriptor is ready for, once it is or the time is over.
fn ready(descriptor: impl AsFd, flags: PollFlags, patience: Duration) -> PollFlags {
    let mut fds = [PollFd::from_borrowed_fd(descriptor.as_fd(), flags)];
    // With a valid descriptor, it fails only if a signal comes first.
    let _ = poll(&mut fds, Some(&Timespec::try_from(patience).expect("a moment is not too long")));
    fds[0].revents()
}
