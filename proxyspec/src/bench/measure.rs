//! What is measured, and on which load.

use super::load::Workload;

/// One thing to measure of every contender.
#[derive(Clone, Copy, Debug)]
pub(super) struct Measure {
    /// What it is called, on the command line and in the results.
    pub(super) name: &'static str,
    /// The load.
    pub(super) workload: Workload,
    /// Whether clients, contender and origin share one CPU, which takes out the noise of waking up another one.
    pub(super) pinned: bool,
    /// Which contenders it is of interest for.
    pub(super) field: Field,
    /// Whether it is made in the first round only, because its figures are exact, or nearly so.
    pub(super) once: bool,
}

/// Which contenders take part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Field {
    /// Every one, also the tuned variants of a program.
    Tuned,
    /// One for each program: how large its buffers are makes no difference here.
    Plain,
}

use Field::{Plain, Tuned};

/// All measures, in the order they are made in.
///
/// `most` is how many connections can be open: the limit also for a measure whose name says more.
pub(super) fn all(most: usize) -> Vec<Measure> {
    let requests = |connections: usize, busy, turns, answer| {
        let connections = connections.min(most);
        Workload::Requests { connections, busy: connections.min(busy), turns, answer }
    };
    let small = |connections| requests(connections, connections, false, SMALL);
    let large = |connections| requests(connections, connections, false, LARGE);
    let few_busy = |connections, turns| requests(connections, 10, turns, SMALL);
    let http = |close| Workload::Http { connections: most.min(32), close };
    let idle = |connections: usize| Workload::Idle { connections: connections.min(most) };
    vec![
        Measure::new("bulk-up", Tuned, bulk(1, true, false)),
        Measure::new("bulk-down", Tuned, bulk(1, false, true)),
        Measure::new("bulk-both", Tuned, bulk(1, true, true)),
        Measure::new("bulk-64", Tuned, bulk(most.min(64), false, true)),
        Measure::new("bulk-slow", Tuned, slow_readers(most.min(8))),
        Measure { pinned: true, ..Measure::new("pingpong", Tuned, small(1)) },
        Measure::new("wrk-requests", Tuned, http(false)),
        Measure::new("wrk-connections", Tuned, http(true)),
        Measure::new("small-1", Plain, small(1)),
        Measure::new("small-64", Tuned, small(64)),
        Measure::new("small-1000", Plain, small(1000)),
        Measure::new("large-1", Plain, large(1)),
        Measure::new("large-64", Tuned, large(64)),
        Measure::new("large-1000", Plain, large(1000)),
        Measure::new("growth-10", Plain, few_busy(10, false)),
        Measure::new("growth-100", Plain, few_busy(100, false)),
        Measure::new("growth-1000", Plain, few_busy(1000, false)),
        Measure::new("growth-10000", Plain, few_busy(10_000, false)),
        Measure::new("turns-10000", Plain, few_busy(10_000, true)),
        Measure::once("idle-1000", Tuned, idle(1000)),
        Measure::once("idle-10000", Tuned, idle(10_000)),
        Measure::once("stalled-100", Tuned, Workload::Stalled { connections: most.min(100) }),
        Measure::once("calls-request", Plain, Workload::CallsPerRequest),
        Measure::once("calls-connection", Plain, Workload::CallsPerConnection),
        // Last, because the TIME_WAITs it leaves behind make the kernel's tables long.
        Measure::new("connections-1", Tuned, Workload::Connections { concurrent: 1 }),
        Measure::new("connections-16", Plain, Workload::Connections { concurrent: 16 }),
    ]
}

/// The sizes of answers in bytes.
const SMALL: usize = 64;
const LARGE: usize = 16 << 10;

const fn bulk(streams: usize, up: bool, down: bool) -> Workload {
    Workload::Bulk { streams, up, down, slow: false }
}

const fn slow_readers(streams: usize) -> Workload {
    Workload::Bulk { streams, up: false, down: true, slow: true }
}

impl Measure {
    const fn new(name: &'static str, field: Field, workload: Workload) -> Self {
        Self { name, workload, pinned: false, field, once: false }
    }

    const fn once(name: &'static str, field: Field, workload: Workload) -> Self {
        Self { once: true, ..Self::new(name, field, workload) }
    }

    /// How many connections a contender has to serve at once.
    pub(super) const fn connections(&self) -> usize {
        match self.workload {
            Workload::Bulk { streams, .. } => streams,
            Workload::Requests { connections, .. }
            | Workload::Http { connections, .. }
            | Workload::Idle { connections }
            | Workload::Stalled { connections } => connections,
            // Those beyond the first may wait for it.
            Workload::Connections { .. } | Workload::CallsPerRequest | Workload::CallsPerConnection => 1,
        }
    }

    /// Whether there is something to measure without a proxy.
    pub(super) const fn has_a_limit(&self) -> bool {
        matches!(
            self.workload,
            Workload::Bulk { .. }
                | Workload::Requests { .. }
                | Workload::Http { .. }
                | Workload::Connections { .. }
        )
    }

    /// The programs that it cannot do without, and the Debian packages that have them.
    pub(super) const fn programs(&self) -> &'static [(&'static str, &'static str)] {
        match self.workload {
            Workload::Http { .. } => &[("wrk", "wrk"), ("nginx", "nginx")],
            _ => &[],
        }
    }

    /// Whether `pattern` names it: by its name, or by the first part of it.
    pub(super) fn is_named(&self, pattern: &str) -> bool {
        self.name == pattern || self.name.strip_prefix(pattern).is_some_and(|rest| rest.starts_with('-'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_measure_is_named_by_itself_or_with_its_family() {
        let bulk = Measure::new("bulk-64", Tuned, bulk(64, false, true));
        assert!(bulk.is_named("bulk-64") && bulk.is_named("bulk"));
        assert!(!bulk.is_named("bul") && !bulk.is_named("bulk-6") && !bulk.is_named("bulk-"));
    }

    #[test]
    fn names_are_different_and_no_measure_needs_more_connections_than_there_can_be() {
        let all = all(9000);
        let mut names: Vec<_> = all.iter().map(|measure| measure.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all.len());
        assert_eq!(all.iter().map(Measure::connections).max(), Some(9000));
    }
}
