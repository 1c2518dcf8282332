//! How the results are arranged: what stands in one table, and in one plot.

use super::quantity::Quantity;

/// Figures that belong together.
pub(super) struct Section {
    /// What stands above them.
    pub(super) title: &'static str,
    /// What they are, in a sentence or two.
    pub(super) about: &'static str,
    /// The columns of the table.
    pub(super) columns: &'static [Column],
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

impl Column {
    /// Whether the figures are the same, whatever stands above them.
    pub(super) fn shows_the_same(&self, other: &Column) -> bool {
        (self.measure, self.quantity) == (other.measure, other.quantity)
    }
}

const fn column(measure: &'static str, quantity: Quantity, head: &'static str) -> Column {
    Column { measure, quantity, head }
}

use Quantity as Q;

/// Everything there is to show, in order.
pub(super) const SECTIONS: &[Section] = &[
    Section {
        title: "Bulk: MiB/s",
        about: "One stream from client to server, one from server to client, one both ways at once, and 64 streams from \
                the server. Counted where the bytes arrive, both ways together.",
        columns: &[
            column("bulk-up", Q::Throughput, "up"),
            column("bulk-down", Q::Throughput, "down"),
            column("bulk-both", Q::Throughput, "both ways"),
            column("bulk-64", Q::Throughput, "64 streams"),
        ],
        plot: Some("bulk"),
        spread: true,
    },
    Section {
        title: "Bulk: processor seconds per GiB",
        about: "What the proxy used meanwhile: user and system time, its children included.",
        columns: &[
            column("bulk-up", Q::CpuPerGib, "up"),
            column("bulk-down", Q::CpuPerGib, "down"),
            column("bulk-both", Q::CpuPerGib, "both ways"),
            column("bulk-64", Q::CpuPerGib, "64 streams"),
        ],
        plot: Some("bulk-cpu"),
        spread: true,
    },
    Section {
        title: "Ping-pong on one CPU",
        about: "64 B there and back on one connection; client, proxy and origin share one CPU, so that nothing is spent on \
                waking up another one.",
        columns: &[
            column("pingpong", Q::Requests, "round trips/s"),
            column("pingpong", Q::CpuPerRequest, "CPU µs"),
            column("pingpong", Q::LatencyMedian, "p50 µs"),
            column("pingpong", Q::Latency99, "p99 µs"),
            column("pingpong", Q::Latency999, "p99.9 µs"),
        ],
        plot: None,
        spread: true,
    },
    Section {
        title: "HTTP requests: wrk and nginx",
        about: "wrk asks on 32 connections that stay open; nginx answers with 64 B. Wake-ups are voluntary context switches.",
        columns: &[
            column("wrk-requests", Q::Requests, "requests/s"),
            column("wrk-requests", Q::CpuPerRequest, "CPU µs each"),
            column("wrk-requests", Q::WakeupsPerRequest, "wake-ups each"),
            column("wrk-requests", Q::LatencyMedian, "p50 µs"),
            column("wrk-requests", Q::Latency99, "p99 µs"),
        ],
        plot: Some("wrk-requests"),
        spread: true,
    },
    Section {
        title: "HTTP connections: wrk and nginx",
        about: "The same with a connection for each request, 32 at once: `Connection: close`.",
        columns: &[
            column("wrk-connections", Q::Connections, "connections/s"),
            column("wrk-connections", Q::CpuPerConnection, "CPU µs each"),
            column("wrk-connections", Q::WakeupsPerConnection, "wake-ups each"),
            column("wrk-connections", Q::LatencyMedian, "p50 µs"),
            column("wrk-connections", Q::Latency99, "p99 µs"),
        ],
        plot: Some("wrk-connections"),
        spread: true,
    },
    Section {
        title: "Answers of 64 B: requests a second",
        about: "Each of 1, 64 and 1,000 connections sends a request of 64 B as soon as the last one is answered.",
        columns: &[
            column("small-1", Q::Requests, "1 connection"),
            column("small-64", Q::Requests, "64 connections"),
            column("small-1000", Q::Requests, "1,000 connections"),
        ],
        plot: Some("small"),
        spread: true,
    },
    Section {
        title: "Answers of 64 B: processor time per request, µs",
        about: "",
        columns: &[
            column("pingpong", Q::CpuPerRequest, "1, on one CPU"),
            column("small-1", Q::CpuPerRequest, "1 connection"),
            column("small-64", Q::CpuPerRequest, "64 connections"),
            column("small-1000", Q::CpuPerRequest, "1,000 connections"),
        ],
        plot: Some("small-cpu"),
        spread: true,
    },
    Section {
        title: "Answers of 64 B: latency, µs",
        about: "From a request to the end of its answer.",
        columns: &[
            column("small-1", Q::LatencyMedian, "1: p50"),
            column("small-1", Q::Latency99, "p99"),
            column("small-1", Q::Latency999, "p99.9"),
            column("small-64", Q::LatencyMedian, "64: p50"),
            column("small-64", Q::Latency99, "p99"),
            column("small-64", Q::Latency999, "p99.9"),
            column("small-1000", Q::LatencyMedian, "1,000: p50"),
            column("small-1000", Q::Latency99, "p99"),
            column("small-1000", Q::Latency999, "p99.9"),
        ],
        plot: None,
        spread: false,
    },
    Section {
        title: "Answers of 16 KiB: requests a second",
        about: "The same with longer answers.",
        columns: &[
            column("large-1", Q::Requests, "1 connection"),
            column("large-64", Q::Requests, "64 connections"),
            column("large-1000", Q::Requests, "1,000 connections"),
        ],
        plot: Some("large"),
        spread: true,
    },
    Section {
        title: "Answers of 16 KiB: processor time per request, µs",
        about: "",
        columns: &[
            column("large-1", Q::CpuPerRequest, "1 connection"),
            column("large-64", Q::CpuPerRequest, "64 connections"),
            column("large-1000", Q::CpuPerRequest, "1,000 connections"),
        ],
        plot: Some("large-cpu"),
        spread: true,
    },
    Section {
        title: "Answers of 16 KiB: latency, µs",
        about: "",
        columns: &[
            column("large-1", Q::LatencyMedian, "1: p50"),
            column("large-1", Q::Latency99, "p99"),
            column("large-1", Q::Latency999, "p99.9"),
            column("large-64", Q::LatencyMedian, "64: p50"),
            column("large-64", Q::Latency99, "p99"),
            column("large-64", Q::Latency999, "p99.9"),
            column("large-1000", Q::LatencyMedian, "1,000: p50"),
            column("large-1000", Q::Latency99, "p99"),
            column("large-1000", Q::Latency999, "p99.9"),
        ],
        plot: None,
        spread: false,
    },
    Section {
        title: "Short connections",
        about: "Connect, 64 B there and back, close; one after the other, and 16 at a time. The origin closes first, so that its port keeps the \
                TIME_WAITs and no client port runs out.",
        columns: &[
            column("connections-1", Q::Connections, "1: connections/s"),
            column("connections-1", Q::CpuPerConnection, "CPU µs each"),
            column("connections-16", Q::Connections, "16: connections/s"),
            column("connections-16", Q::CpuPerConnection, "CPU µs each"),
        ],
        plot: Some("connections"),
        spread: true,
    },
    Section {
        title: "Memory: bytes of RSS per connection",
        about: "What the resident memory has grown by, divided by the connections: idle ones, half of which have carried \
                64 KiB each way before, and ones on which both sides have sent until neither could send more. What processes share \
                counts for each of them.",
        columns: &[
            column("idle-1000", Q::MemoryPerConnection, "1,000 idle"),
            column("idle-10000", Q::MemoryPerConnection, "10,000 idle"),
            column("stalled-100", Q::MemoryPerConnection, "100 stalled"),
        ],
        plot: Some("memory"),
        spread: true,
    },
    Section {
        title: "Idle connections: all of the memory, and processor time",
        about: "Some of it is there before the first connection.",
        columns: &[
            column("idle-1000", Q::Memory, "1,000: RSS MiB"),
            column("idle-1000", Q::IdleCpu, "CPU ms/s"),
            column("idle-10000", Q::Memory, "10,000: RSS MiB"),
            column("idle-10000", Q::IdleCpu, "CPU ms/s"),
        ],
        plot: None,
        spread: true,
    },
    Section {
        title: "System calls",
        about: "Counted by strace in a run of its own, as the difference between 100 and 600 round trips or connections.",
        columns: &[
            column("calls-request", Q::CallsPerRequest, "a round trip"),
            column("calls-connection", Q::CallsPerConnection, "a short connection"),
        ],
        plot: Some("calls"),
        spread: true,
    },
    Section {
        title: "Wake-ups",
        about: "How often the proxy went to sleep and was woken, for each request or connection: voluntary context switches.",
        columns: &[
            column("pingpong", Q::WakeupsPerRequest, "ping-pong"),
            column("small-64", Q::WakeupsPerRequest, "64 × 64 B"),
            column("large-64", Q::WakeupsPerRequest, "64 × 16 KiB"),
            column("connections-1", Q::WakeupsPerConnection, "1 connection"),
            column("connections-16", Q::WakeupsPerConnection, "16 connections"),
        ],
        plot: None,
        spread: false,
    },
    Section {
        title: "Growth: processor time per request by open connections, µs",
        about: "10 requests of 64 B are under way, on the same 10 of the open connections all the time; the others are \
                idle. In the last column the 10,000 take turns, so each finds its memory, the kernel's included, out of \
                the caches.",
        columns: &[
            column("growth-10", Q::CpuPerRequest, "10 open"),
            column("growth-100", Q::CpuPerRequest, "100"),
            column("growth-1000", Q::CpuPerRequest, "1,000"),
            column("growth-10000", Q::CpuPerRequest, "10,000"),
            column("turns-10000", Q::CpuPerRequest, "10,000 in turn"),
        ],
        plot: Some("growth"),
        spread: true,
    },
    Section {
        title: "How busy they were",
        about: "Processors' worth of time that the proxy (left) and its clients with their origin (right) took. A proxy that \
                does not fill its processor waits for its peers.",
        columns: &[
            column("bulk-down", Q::ContenderLoad, "bulk down: proxy"),
            column("bulk-down", Q::PeerLoad, "peers"),
            column("small-64", Q::ContenderLoad, "64 × 64 B: proxy"),
            column("small-64", Q::PeerLoad, "peers"),
            column("connections-16", Q::ContenderLoad, "connections: proxy"),
            column("connections-16", Q::PeerLoad, "peers"),
        ],
        plot: None,
        spread: false,
    },
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::measure;

    #[test]
    fn every_column_is_of_a_measure_and_every_measure_has_a_column() {
        let measures = measure::all(usize::MAX);
        let columns = || SECTIONS.iter().flat_map(|section| section.columns);
        for column in columns() {
            assert!(measures.iter().any(|measure| measure.name == column.measure), "{}", column.measure);
        }
        for measure in measures {
            assert!(columns().any(|column| column.measure == measure.name), "{}", measure.name);
        }
    }
}
