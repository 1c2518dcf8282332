//! HTTP with programs that people use: wrk asks, nginx answers.

use std::io;
use std::process::Command;
use std::time::Duration;

use super::workers::Sample;
use super::{LoadReport, Target};
use crate::bench::quantity::Quantity;

/// Lets wrk ask for whole seconds, one at least: it takes no fractions.
pub(super) fn measure(
    target: &Target,
    connections: usize,
    close: bool,
    seconds: Duration,
) -> io::Result<LoadReport> {
    let mut wrk = Command::new("wrk");
    wrk.args(["--threads", "1", "--latency", "--connections", &connections.to_string()]);
    wrk.args(["--duration", &format!("{}s", seconds.as_secs_f64().ceil().max(1.0))]);
    if close {
        wrk.args(["--header", "Connection: close"]);
    }
    wrk.arg(format!("http://{}/", target.address));
    let before = Sample::take(target)?;
    let output =
        wrk.output().map_err(|error| io::Error::new(error.kind(), format!("cannot start wrk: {error}")))?;
    let span = before.until_now(target)?;
    let said = String::from_utf8_lossy(&output.stdout);
    let Some(said) = output.status.success().then(|| Said::parse(&said)).flatten() else {
        let said = [output.stdout, output.stderr].concat();
        return Err(io::Error::other(format!("wrk: {}", String::from_utf8_lossy(&said).trim())));
    };
    let (rate, cost) = if close {
        (Quantity::Connections, Quantity::CpuPerConnection)
    } else {
        (Quantity::Requests, Quantity::CpuPerRequest)
    };
    let mut report = span.with(said.requests).report((rate, 1.0), (cost, 1e6));
    // wrk knows better than this process when it began and ended.
    report.values.retain(|(quantity, _)| *quantity != rate);
    report.values.extend([
        (rate, said.rate),
        (Quantity::LatencyMedian, said.median),
        (Quantity::Latency99, said.p99),
    ]);
    Ok(report)
}

/// What wrk says.
#[derive(Debug, PartialEq)]
struct Said {
    requests: u64,
    /// A second.
    rate: f64,
    /// In microseconds.
    median: f64,
    p99: f64,
}

impl Said {
    /// `None` if a request has failed, or something is missing.
    fn parse(text: &str) -> Option<Self> {
        let behind =
            |label: &str| text.lines().find_map(|line| line.trim().strip_prefix(label)).map(str::trim);
        if behind("Socket errors:").is_some() || behind("Non-2xx or 3xx responses:").is_some() {
            return None;
        }
        let requests = text.lines().find_map(|line| line.trim().split_once(" requests in "))?.0;
        Some(Self {
            requests: requests.parse().ok()?,
            rate: behind("Requests/sec:")?.parse().ok()?,
            median: microseconds(behind("50%")?)?,
            p99: microseconds(behind("99%")?)?,
        })
    }
}

/// `123.00us`, `4.56ms` or `7.89s`.
fn microseconds(text: &str) -> Option<f64> {
    let factors = [("us", 1.0), ("ms", 1e3), ("s", 1e6)];
    let (number, factor) =
        factors.into_iter().find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, factor)))?;
    Some(number.parse::<f64>().ok()? * factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
Running 1s test @ http://127.0.0.1:8000/
  1 threads and 32 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency   520.81us  249.38us   8.22ms   91.06%
    Req/Sec    61.66k     4.66k   71.77k    63.64%
  Latency Distribution
     50%  481.00us
     75%  575.00us
     90%  741.00us
     99%    1.24ms
  67401 requests in 1.10s, 14.21MB read
Requests/sec:  61319.86
Transfer/sec:     12.92MB
";

    #[test]
    fn the_words_of_wrk_are_read() {
        let expected = Said { requests: 67_401, rate: 61_319.86, median: 481.0, p99: 1240.0 };
        assert_eq!(Said::parse(TEXT), Some(expected));
    }

    #[test]
    fn requests_that_failed_are_a_failure() {
        for trouble in
            ["  Socket errors: connect 0, read 3, write 0, timeout 0", "  Non-2xx or 3xx responses: 7"]
        {
            assert_eq!(Said::parse(&format!("{TEXT}{trouble}\n")), None);
        }
        assert_eq!(Said::parse("unable to connect"), None);
    }
}
