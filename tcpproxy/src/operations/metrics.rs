//! The metrics of a proxy, for Prometheus.

use std::sync::atomic::Ordering;
use std::time::Duration;

use prometheus_client::encoding::text;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use crate::operations::metrics_format::MetricsFormat;
use crate::statistics::Statistics;
use crate::termination::Termination;

/// What ended sessions have left in the metrics. The rest is read when the status server is asked.
///
/// The end of a session changes a few numbers; the bytes that it carries cost nothing here.
#[derive(Debug)]
pub(crate) struct Metrics {
    sessions: Family<TerminationLabels, Counter>,
    connect: Histogram,
    duration: Histogram,
    /// Bytes as they were at the last request. A family keeps its order as long as it lives.
    delivered: Family<[(&'static str, &'static str); 1], Counter>,
}

/// The state of the proxy at the moment of a request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    pub(crate) statistics: Statistics,
    /// The most clients that are served at once.
    pub(crate) max_clients: usize,
    /// A client is known to wait because `max_clients` are served.
    pub(crate) waiting: bool,
    /// The proxy was asked to stop.
    pub(crate) draining: bool,
    /// Rings that hold bytes.
    pub(crate) buffers: usize,
}

/// A [`Termination`] as labels.
type TerminationLabels = [(&'static str, &'static str); 3];

/// Seconds, from the time of a connect over loopback to the default of `--connect-timeout`.
const CONNECT_BUCKETS: [f64; 14] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
/// Seconds, from a short request to a day.
const DURATION_BUCKETS: [f64; 11] = [0.01, 0.1, 0.5, 1.0, 5.0, 10.0, 60.0, 300.0, 1800.0, 3600.0, 86400.0];

impl Metrics {
    pub(crate) fn new() -> Self {
        let (connect, duration) = (Histogram::new(CONNECT_BUCKETS), Histogram::new(DURATION_BUCKETS));
        Self { sessions: Family::default(), connect, duration, delivered: Family::default() }
    }

    /// Counts a session that has ended.
    pub(crate) fn count_session(
        &self,
        termination: Termination,
        connect: Option<Duration>,
        duration: Duration,
    ) {
        let Termination { by, phase, reason } = termination;
        let labels = [("by", by.word()), ("phase", phase.word()), ("reason", reason.word())];
        self.sessions.get_or_create(&labels).inc();
        if let Some(connect) = connect {
            self.connect.observe(connect.as_secs_f64());
        }
        self.duration.observe(duration.as_secs_f64());
    }

    /// All metrics as text.
    pub(crate) fn text(&self, moment: Moment, format: MetricsFormat) -> String {
        let list = self.list(moment);
        let mut text = String::new();
        text::encode(&mut text, &list).expect("writing into memory cannot fail");
        match format {
            MetricsFormat::OpenMetrics => text,
            MetricsFormat::Text => without_openmetrics(&text),
        }
    }

    fn list(&self, Moment { statistics, max_clients, waiting, draining, buffers }: Moment) -> Registry {
        let mut list = Registry::with_prefix("tcpproxy");
        let version = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        list.register("build", "The version of the program", version);
        let help = "Sessions that have ended, by what ended them, in which phase and why";
        list.register("sessions", help, self.sessions.clone());
        let help = "Time to reach the server, the lookup of its name included";
        list.register_with_unit("connect", help, Unit::Seconds, self.connect.clone());
        let help = "Time from the beginning of a session to its end";
        list.register_with_unit("session_duration", help, Unit::Seconds, self.duration.clone());
        for (direction, bytes) in [("up", statistics.up), ("down", statistics.down)] {
            self.delivered.get_or_create(&[("direction", direction)]).inner().store(bytes, Ordering::Relaxed);
        }
        let help = "Bytes written to servers (up) and to clients (down)";
        list.register_with_unit("delivered", help, Unit::Bytes, self.delivered.clone());
        for (name, help, count) in [
            ("denied", "Clients that --allow does not admit", statistics.denied),
            ("limited", "Clients whose address had as many as --max-per-address allows", statistics.limited),
            (
                "accept_errors",
                "Failures to accept a client for lack of descriptors or memory",
                statistics.accept_errors,
            ),
        ] {
            list.register(name, help, ConstCounter::new(count));
        }
        for (name, help, value) in [
            ("active_sessions", "Sessions that are active", statistics.active as u64),
            ("max_clients", "Most clients that are served at once", max_clients as u64),
            ("waiting", "1 while max_clients are served and a client is known to wait", waiting.into()),
            (
                "draining",
                "1 once the program was asked to stop and serves only the sessions that are left",
                draining.into(),
            ),
            ("buffers_lent", "Buffers that hold bytes", buffers as u64),
        ] {
            list.register(name, help, ConstGauge::new(value));
        }
        list
    }
}

/// OpenMetrics in the older format of Prometheus, 0.0.4: a counter has the name of its sample, `_total`
/// included; there is neither a type `info` (it is a gauge, `_info` included), nor a unit, nor an end.
fn without_openmetrics(text: &str) -> String {
    let mut older = String::with_capacity(text.len());
    let mut help = None;
    for line in text.lines() {
        let mut words = line.splitn(4, ' ');
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some("#"), Some("HELP"), Some(_), Some(words)) => help = Some(words),
            (Some("#"), Some("TYPE"), Some(name), Some(kind)) => {
                let (suffix, kind) = match kind {
                    "counter" => ("_total", kind),
                    "info" => ("_info", "gauge"),
                    "unknown" => ("", "untyped"),
                    _ => ("", kind),
                };
                if let Some(help) = help.take() {
                    older.extend(["# HELP ", name, suffix, " ", help, "\n"]);
                }
                older.extend(["# TYPE ", name, suffix, " ", kind, "\n"]);
            }
            (Some("#"), ..) => {}
            _ => older.extend([line, "\n"]),
        }
    }
    older
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::termination::{By, Phase, Reason};

    fn moment(statistics: Statistics) -> Moment {
        Moment { statistics, max_clients: 64, waiting: true, draining: false, buffers: 3 }
    }

    #[test]
    fn the_text_has_what_was_counted() {
        let metrics = Metrics::new();
        let refused = Termination { by: By::Server, phase: Phase::Connect, reason: Reason::Refused };
        metrics.count_session(refused, None, Duration::from_millis(3));
        metrics.count_session(refused, None, Duration::from_millis(3));
        let fin = Termination { by: By::Client, phase: Phase::Data, reason: Reason::Fin };
        metrics.count_session(fin, Some(Duration::from_millis(2)), Duration::from_secs(20));
        let statistics = Statistics { active: 7, up: 11, down: 13, denied: 2, ..Default::default() };
        let text = metrics.text(moment(statistics), MetricsFormat::OpenMetrics);
        for line in [
            "# TYPE tcpproxy_sessions counter",
            r#"tcpproxy_sessions_total{by="server",phase="connect",reason="refused"} 2"#,
            r#"tcpproxy_sessions_total{by="client",phase="data",reason="fin"} 1"#,
            "# TYPE tcpproxy_connect_seconds histogram",
            r#"tcpproxy_connect_seconds_bucket{le="0.001"} 0"#,
            r#"tcpproxy_connect_seconds_bucket{le="0.0025"} 1"#,
            "tcpproxy_connect_seconds_count 1",
            r#"tcpproxy_session_duration_seconds_bucket{le="10.0"} 2"#,
            "tcpproxy_session_duration_seconds_count 3",
            r#"tcpproxy_delivered_bytes_total{direction="up"} 11"#,
            r#"tcpproxy_delivered_bytes_total{direction="down"} 13"#,
            "tcpproxy_denied_total 2",
            "tcpproxy_limited_total 0",
            "tcpproxy_accept_errors_total 0",
            "tcpproxy_active_sessions 7",
            "tcpproxy_max_clients 64",
            "tcpproxy_waiting 1",
            "tcpproxy_draining 0",
            "tcpproxy_buffers_lent 3",
            "# EOF",
        ] {
            assert!(text.lines().any(|there| there == line), "{line} is missing in:\n{text}");
        }
    }

    #[test]
    fn the_lines_have_the_same_order_each_time() {
        let metrics = Metrics::new();
        let text = || metrics.text(moment(Statistics::default()), MetricsFormat::OpenMetrics);
        let first = text();
        assert!((0..100).all(|_| text() == first));
    }

    /// Prometheus 2.x refuses a whole answer in format 0.0.4 for a type it does not know.
    #[test]
    fn the_older_format_has_its_types_alone_and_every_sample_of_the_newer() {
        let metrics = Metrics::new();
        let fin = Termination { by: By::Client, phase: Phase::Data, reason: Reason::Fin };
        metrics.count_session(fin, Some(Duration::from_millis(2)), Duration::from_secs(20));
        let text = |format| metrics.text(moment(Statistics::default()), format);
        let (newer, older) = (text(MetricsFormat::OpenMetrics), text(MetricsFormat::Text));
        let samples =
            |text: &str| text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect();
        let (newer, samples): (Vec<String>, Vec<String>) = (samples(&newer), samples(&older));
        assert!(!samples.is_empty());
        assert_eq!(samples, newer);
        let mut described = Vec::new();
        for line in older.lines().filter(|line| line.starts_with('#')) {
            let words: Vec<&str> = line.splitn(4, ' ').collect();
            match words[..] {
                ["#", "HELP", name, _] => described.push(name),
                ["#", "TYPE", name, "counter" | "gauge" | "histogram"] => {
                    assert_eq!(described.last(), Some(&name))
                }
                _ => panic!("{line}"),
            }
        }
        for sample in samples {
            let name = &sample[..sample.find(['{', ' ']).unwrap()];
            let family = ["_bucket", "_sum", "_count"]
                .iter()
                .find_map(|suffix| name.strip_suffix(suffix))
                .unwrap_or(name);
            assert!(described.contains(&family), "{name} has no type in:\n{older}");
        }
    }

    /// The labels have a bounded number of values, and so has the text.
    #[test]
    fn the_text_is_bounded() {
        let metrics = Metrics::new();
        for &by in By::ALL {
            for &phase in Phase::ALL {
                for &reason in Reason::ALL {
                    let duration = Duration::from_secs(1);
                    metrics.count_session(Termination { by, phase, reason }, Some(duration), duration);
                }
            }
        }
        let most = Statistics { up: u64::MAX, down: u64::MAX, ..Default::default() };
        assert!(metrics.text(moment(most), MetricsFormat::OpenMetrics).len() < 32 * 1024);
    }
}
