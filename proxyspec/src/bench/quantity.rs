//! What is measured: its name, its unit, and which way is better.

use serde::{Deserialize, Serialize};

/// Something that is measured, as a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Quantity {
    /// Bytes that arrived, in MiB/s, all directions together.
    Throughput,
    /// Processor time of the contender for each GiB that arrived, in seconds.
    CpuPerGib,
    /// Answers that arrived, a second.
    Requests,
    /// Processor time of the contender for each request, in microseconds.
    CpuPerRequest,
    /// The time from a request to the end of its answer that half of them kept, in microseconds.
    LatencyMedian,
    /// The same, kept by 99 of 100.
    Latency99,
    /// The same, kept by 999 of 1,000.
    Latency999,
    /// Connections that were made, used and ended, a second.
    Connections,
    /// Processor time of the contender for each connection, in microseconds.
    CpuPerConnection,
    /// Resident memory of the contender for each connection beyond what it had without any, in bytes.
    MemoryPerConnection,
    /// Resident memory of the contender, in MiB.
    Memory,
    /// Processor time of the contender while nothing happens, in milliseconds a second.
    IdleCpu,
    /// System calls of the contender for each request, once its connection is open.
    CallsPerRequest,
    /// System calls of the contender for each connection with one request.
    CallsPerConnection,
    /// How often the contender was woken for each request: voluntary context switches.
    WakeupsPerRequest,
    /// How often the contender was woken for each connection.
    WakeupsPerConnection,
    /// How many processors' worth of time the contender took, of those the machine has.
    ContenderLoad,
    /// How many processors' worth of time the clients and the origin took.
    PeerLoad,
    /// How many processors' worth of time everything else on the machine took.
    OthersLoad,
}

/// Which numbers are better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Better {
    /// Greater ones.
    More,
    /// Smaller ones.
    Less,
}

impl Quantity {
    /// Whether 0 is no figure but a missing one: work takes processor time, and that of a child that
    /// has ended is lost if its parent has not waited for it.
    pub const fn is_never_zero(self) -> bool {
        matches!(self, Self::CpuPerGib | Self::CpuPerRequest | Self::CpuPerConnection)
    }

    /// Which numbers are better; `None` when a number only explains another.
    pub const fn better(self) -> Option<Better> {
        match self {
            Self::Throughput | Self::Requests | Self::Connections => Some(Better::More),
            Self::ContenderLoad | Self::PeerLoad | Self::OthersLoad => None,
            _ => Some(Better::Less),
        }
    }
}

impl Better {
    /// Whether one number is better than another.
    pub fn prefers(self, one: f64, other: f64) -> bool {
        match self {
            Self::More => one > other,
            Self::Less => one < other,
        }
    }
}
