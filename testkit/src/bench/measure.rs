//! What is measured, and on which load.

use super::load::Workload;

/// One thing to measure of every contender.
#[derive(Clone, Debug)]
pub(super) struct Measure {
    /// What it is called on the command line.
    pub(super) name: &'static str,
    /// What it is called in the report.
    pub(super) title: &'static str,
    /// The load.
    pub(super) workload: Workload,
    /// Whether clients, contender and origin share one CPU, which takes out the noise of waking up another one.
    pub(super) pinned: bool,
    /// Which contenders it is of interest for.
    pub(super) field: Field,
    /// How often it is made: figures that are exact, or nearly so, need no repetition.
    pub(super) repeats: Repeats,
}

/// Which contenders take part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Field {
    /// Every one, also the tuned variants of a program.
    Tuned,
    /// One for each program: how large its buffers are makes no difference here.
    Plain,
}

/// How often a measure is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Repeats {
    /// In each round.
    EachRound,
    /// In the first round.
    Once,
}

impl Measure {
    /// How many connections are open at once.
    pub(super) const fn connections(&self) -> usize {
        match self.workload {
            Workload::Bulk { streams, .. } => streams,
            Workload::Requests { connections, .. }
            | Workload::Idle { connections }
            | Workload::Stalled { connections } => connections,
            // Those beyond the first may wait for it.
            Workload::Connections { .. } | Workload::CallsPerRequest | Workload::CallsPerConnection => 1,
        }
    }

    /// Whether `pattern` names it: by its name, or by the first part of it.
    pub(super) fn is_named(&self, pattern: &str) -> bool {
        self.name == pattern || self.name.strip_prefix(pattern).is_some_and(|rest| rest.starts_with('-'))
    }
}

/// All measures, in the order they are made in.
///
/// `limit` is how many connections can be open where 10,000 are asked for, see
/// [`descriptors`](super::descriptors::most_connections).
pub(super) fn all(limit: usize) -> Vec<Measure> {
    let many = limit.min(10_000);
    let bulk = |streams, up, down| Workload::Bulk { streams, up, down };
    let requests = |connections, answer| Workload::Requests { connections, busy: connections, answer };
    let growth = |connections| Workload::Requests { connections, busy: 10, answer: 64 };
    let each = |name, title, workload, field| Measure {
        name,
        title,
        workload,
        pinned: false,
        field,
        repeats: Repeats::EachRound,
    };
    let once = |name, title, workload, field| Measure {
        repeats: Repeats::Once,
        ..each(name, title, workload, field)
    };
    use Field::{Plain, Tuned};
    vec![
        each("bulk-up", "Bulk, one stream, client to server", bulk(1, true, false), Tuned),
        each("bulk-down", "Bulk, one stream, server to client", bulk(1, false, true), Tuned),
        each("bulk-both", "Bulk, one stream, both ways at once", bulk(1, true, true), Tuned),
        each("bulk-64", "Bulk, 64 streams, server to client", bulk(64, false, true), Tuned),
        Measure {
            pinned: true,
            ..each(
                "pingpong",
                "64 B there and back on one connection, all on one CPU",
                requests(1, 64),
                Plain,
            )
        },
        each("small-1", "Answers of 64 B, 1 connection", requests(1, 64), Plain),
        each("small-64", "Answers of 64 B, 64 connections", requests(64, 64), Plain),
        each("small-1000", "Answers of 64 B, 1,000 connections", requests(1000, 64), Plain),
        each("large-1", "Answers of 16 KiB, 1 connection", requests(1, 16 << 10), Tuned),
        each("large-64", "Answers of 16 KiB, 64 connections", requests(64, 16 << 10), Tuned),
        each("large-1000", "Answers of 16 KiB, 1,000 connections", requests(1000, 16 << 10), Tuned),
        each("growth-10", "10 of 10 connections busy", growth(10), Plain),
        each("growth-100", "10 of 100 connections busy", growth(100), Plain),
        each("growth-1000", "10 of 1,000 connections busy", growth(1000), Plain),
        each("growth-10000", "10 of 10,000 connections busy", growth(many), Plain),
        once(
            "idle-1000",
            "1,000 idle connections, half of them after traffic",
            Workload::Idle { connections: 1000 },
            Tuned,
        ),
        once(
            "idle-10000",
            "10,000 idle connections, half of them after traffic",
            Workload::Idle { connections: many },
            Tuned,
        ),
        once(
            "stalled-100",
            "100 connections stalled both ways",
            Workload::Stalled { connections: 100 },
            Tuned,
        ),
        once("calls-request", "System calls for a round trip of 64 B", Workload::CallsPerRequest, Plain),
        once("calls-connection", "System calls for a short connection", Workload::CallsPerConnection, Plain),
        // Last, because the TIME_WAITs it leaves behind make the kernel's tables long.
        each(
            "connections",
            "Short connections: connect, 64 B there and back, close",
            Workload::Connections { concurrent: 16 },
            Plain,
        ),
    ]
}
