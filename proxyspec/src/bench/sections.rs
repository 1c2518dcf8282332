//! How the results are arranged: what stands in one table, and in one plot.

use super::quantity::Quantity;

/// Figures that belong together.
pub(super) struct Section {
    /// What stands above them.
    pub(super) title: &'static str,
    /// What they are, in a sentence or two.
    pub(super) about: &'static str,
    /// The columns of the table.
    pub(super) columns: Vec<Column>,
    /// The name of the plot's file, without its ending; none for a table that says enough.
    pub(super) plot: Option<&'static str>,
    /// Whether least and greatest are shown beside a median.
    pub(super) spread: bool,
}

/// One figure of each contender.
#[derive(Clone, Copy)]
pub(super) struct Column {
    /// The measure it is from.
    pub(super) measure: &'static str,
    /// What of it.
    pub(super) quantity: Quantity,
    /// What stands above it.
    pub(super) head: &'static str,
}

use Quantity as Q;

/// A measure, or a quantity, and what stands above its column.
type Headed<T> = (T, &'static str);

impl Section {
    fn new(title: &'static str, about: &'static str) -> Self {
        Self { title, about, columns: Vec::new(), plot: None, spread: true }
    }

    /// Adds these quantities of one measure.
    fn of(mut self, measure: &'static str, quantities: &[Headed<Quantity>]) -> Self {
        self.columns.extend(quantities.iter().map(|&(quantity, head)| Column { measure, quantity, head }));
        self
    }

    /// Adds one quantity of these measures.
    fn each(mut self, quantity: Quantity, measures: &[Headed<&'static str>]) -> Self {
        self.columns.extend(measures.iter().map(|&(measure, head)| Column { measure, quantity, head }));
        self
    }

    /// Adds the latencies of a measure; `head` stands above the first one.
    fn latencies(self, measure: &'static str, head: &'static str) -> Self {
        self.of(measure, &[(Q::LatencyMedian, head), (Q::Latency99, "p99"), (Q::Latency999, "p99.9")])
    }

    fn plot(mut self, name: &'static str) -> Self {
        self.plot = Some(name);
        self
    }

    /// Shows medians alone.
    fn without_spread(mut self) -> Self {
        self.spread = false;
        self
    }
}

const BULK: &[Headed<&str>] = &[
    ("bulk-up", "up"),
    ("bulk-down", "down"),
    ("bulk-both", "both ways"),
    ("bulk-64", "64 streams"),
    ("bulk-slow", "8 slow readers"),
];

const SMALL: &[Headed<&str>] =
    &[("small-1", "1 connection"), ("small-64", "64 connections"), ("small-1000", "1,000 connections")];

const LARGE: &[Headed<&str>] =
    &[("large-1", "1 connection"), ("large-64", "64 connections"), ("large-1000", "1,000 connections")];

/// Everything there is to show, in order.
pub(super) fn sections() -> Vec<Section> {
    vec![
        Section::new(
            "Bulk: MiB/s",
            "One stream from client to server, one from server to client, one both ways at once, and 64 streams from \
             the server; and 8 from the server, of each of which its client reads 256 KiB every 4 ms at most. Counted where the bytes arrive, both ways together.",
        )
        .each(Q::Throughput, BULK)
        .plot("bulk"),
        Section::new(
            "Bulk: processor seconds per GiB",
            "What the proxy used meanwhile: user and system time, its children included.",
        )
        .each(Q::CpuPerGib, BULK)
        .plot("bulk-cpu"),
        Section::new(
            "Ping-pong on one CPU",
            "64 B there and back on one connection; client, proxy and origin share one CPU, so that nothing is spent on \
             waking up another one.",
        )
        .of("pingpong", &[(Q::Requests, "round trips/s"), (Q::CpuPerRequest, "CPU µs")])
        .of("pingpong", &[(Q::LatencyMedian, "p50 µs"), (Q::Latency99, "p99 µs"), (Q::Latency999, "p99.9 µs")]),
        Section::new(
            "HTTP requests: wrk and nginx",
            "wrk asks on 32 connections that stay open; nginx answers with 64 B. Wake-ups are voluntary context switches.",
        )
        .of("wrk-requests", &[
            (Q::Requests, "requests/s"),
            (Q::CpuPerRequest, "CPU µs each"),
            (Q::WakeupsPerRequest, "wake-ups each"),
            (Q::LatencyMedian, "p50 µs"),
            (Q::Latency99, "p99 µs"),
        ])
        .plot("wrk-requests"),
        Section::new(
            "HTTP connections: wrk and nginx",
            "The same with a connection for each request, 32 at once: `Connection: close`.",
        )
        .of("wrk-connections", &[
            (Q::Connections, "connections/s"),
            (Q::CpuPerConnection, "CPU µs each"),
            (Q::WakeupsPerConnection, "wake-ups each"),
            (Q::LatencyMedian, "p50 µs"),
            (Q::Latency99, "p99 µs"),
        ])
        .plot("wrk-connections"),
        Section::new(
            "Answers of 64 B: requests a second",
            "Each of 1, 64 and 1,000 connections sends a request of 64 B as soon as the last one is answered.",
        )
        .each(Q::Requests, SMALL)
        .plot("small"),
        Section::new("Answers of 64 B: processor time per request, µs", "")
            .of("pingpong", &[(Q::CpuPerRequest, "1, on one CPU")])
            .each(Q::CpuPerRequest, SMALL)
            .plot("small-cpu"),
        Section::new("Answers of 64 B: latency, µs", "From a request to the end of its answer.")
            .latencies("small-1", "1: p50")
            .latencies("small-64", "64: p50")
            .latencies("small-1000", "1,000: p50")
            .without_spread(),
        Section::new("Answers of 16 KiB: requests a second", "The same with longer answers.")
            .each(Q::Requests, LARGE)
            .plot("large"),
        Section::new("Answers of 16 KiB: processor time per request, µs", "")
            .each(Q::CpuPerRequest, LARGE)
            .plot("large-cpu"),
        Section::new("Answers of 16 KiB: latency, µs", "")
            .latencies("large-1", "1: p50")
            .latencies("large-64", "64: p50")
            .latencies("large-1000", "1,000: p50")
            .without_spread(),
        Section::new(
            "Short connections",
            "Connect, 64 B there and back, close; one after the other, and 16 at a time. The origin closes first, so that its port keeps the \
             TIME_WAITs and no client port runs out.",
        )
        .of("connections-1", &[(Q::Connections, "1: connections/s"), (Q::CpuPerConnection, "CPU µs each")])
        .of("connections-16", &[(Q::Connections, "16: connections/s"), (Q::CpuPerConnection, "CPU µs each")])
        .plot("connections"),
        Section::new(
            "Memory: bytes of RSS per connection",
            "What the resident memory has grown by, divided by the connections: idle ones, half of which have carried \
             64 KiB each way before, and ones on which both sides have sent until neither could send more. What processes share \
             counts for each of them.",
        )
        .each(Q::MemoryPerConnection, &[
            ("idle-1000", "1,000 idle"),
            ("idle-10000", "10,000 idle"),
            ("stalled-100", "100 stalled"),
        ])
        .plot("memory"),
        Section::new(
            "Idle connections: all of the memory, and processor time",
            "Some of it is there before the first connection.",
        )
        .of("idle-1000", &[(Q::Memory, "1,000: RSS MiB"), (Q::IdleCpu, "CPU ms/s")])
        .of("idle-10000", &[(Q::Memory, "10,000: RSS MiB"), (Q::IdleCpu, "CPU ms/s")]),
        Section::new(
            "System calls",
            "Counted by strace in a run of its own, as the difference between 100 and 600 round trips or connections.",
        )
        .of("calls-request", &[(Q::CallsPerRequest, "a round trip")])
        .of("calls-connection", &[(Q::CallsPerConnection, "a short connection")])
        .plot("calls"),
        Section::new(
            "Wake-ups",
            "How often the proxy went to sleep and was woken, for each request or connection: voluntary context switches.",
        )
        .each(Q::WakeupsPerRequest, &[
            ("pingpong", "ping-pong"),
            ("small-64", "64 × 64 B"),
            ("large-64", "64 × 16 KiB"),
        ])
        .each(Q::WakeupsPerConnection, &[
            ("connections-1", "1 connection"),
            ("connections-16", "16 connections"),
        ])
        .without_spread(),
        Section::new(
            "Growth: processor time per request by open connections, µs",
            "10 requests of 64 B are under way, on the same 10 of the open connections all the time; the others are \
             idle. In the last column the 10,000 take turns, so each finds its memory, the kernel's included, out of \
             the caches.",
        )
        .each(Q::CpuPerRequest, &[
            ("growth-10", "10 open"),
            ("growth-100", "100"),
            ("growth-1000", "1,000"),
            ("growth-10000", "10,000"),
            ("turns-10000", "10,000 in turn"),
        ])
        .plot("growth"),
        Section::new(
            "How busy they were",
            "Processors' worth of time that the proxy (left) and its clients with their origin (right) took. A proxy that \
             does not fill its processor waits for its peers.",
        )
        .of("bulk-down", &[(Q::ContenderLoad, "bulk down: proxy"), (Q::PeerLoad, "peers")])
        .of("small-64", &[(Q::ContenderLoad, "64 × 64 B: proxy"), (Q::PeerLoad, "peers")])
        .of("connections-16", &[(Q::ContenderLoad, "connections: proxy"), (Q::PeerLoad, "peers")])
        .without_spread(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::measure;

    #[test]
    fn every_column_is_of_a_measure_and_every_measure_has_a_column() {
        let measures = measure::all(usize::MAX);
        let columns: Vec<_> = sections().into_iter().flat_map(|section| section.columns).collect();
        for column in &columns {
            assert!(measures.iter().any(|measure| measure.name == column.measure), "{}", column.measure);
        }
        for measure in measures {
            assert!(columns.iter().any(|column| column.measure == measure.name), "{}", measure.name);
        }
    }
}
