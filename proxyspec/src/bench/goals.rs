//! What this project's proxy has to reach, beside the best of the established ones.

use super::contender::OURS;
use super::number::number;
use super::quantity::{Better, Quantity};
use super::results::BenchResults;
use super::sections::Column;
use crate::markdown::Markdown;

/// The proxies that ours is compared with here.
const PEERS: &[&str] =
    &["haproxy", "haproxy-256k", "haproxy-splice-1m", "nginx", "nginx-256k", "systemd-socket-proxyd"];

use Quantity as Q;

const BULK: [Quantity; 2] = [Q::Throughput, Q::CpuPerGib];
const REQUESTS: [Quantity; 2] = [Q::Requests, Q::CpuPerRequest];
const CONNECTIONS: [Quantity; 2] = [Q::Connections, Q::CpuPerConnection];

/// The lines of the table: a name, a measure, its rate and its cost, and what both divided by those of the hardest peer have to be.
const GOALS: &[(&str, &str, [Quantity; 2], [f64; 2])] = &[
    ("keep-alive requests, 32 connections (wrk)", "wrk-requests", REQUESTS, [1.0, 0.93]),
    ("short connections, 32 at once (wrk)", "wrk-connections", CONNECTIONS, [1.0, 0.95]),
    ("short connections, one after the other", "connections-1", CONNECTIONS, [0.95, 1.0]),
    ("ping-pong on one CPU", "pingpong", REQUESTS, [1.0, 0.97]),
    ("64 connections, answers of 64 B", "small-64", REQUESTS, [1.0, 0.97]),
    ("64 connections, answers of 16 KiB", "large-64", REQUESTS, [1.0, 0.97]),
    ("bulk, one stream up", "bulk-up", BULK, [1.05, 0.85]),
    ("bulk, one stream down", "bulk-down", BULK, [1.05, 0.85]),
    ("bulk, both ways", "bulk-both", BULK, [1.0, 0.85]),
    ("bulk, 64 streams", "bulk-64", BULK, [1.0, 0.95]),
];

/// Ours divided by the hardest peer's, beside what it has to be; nothing if one of them did not take part.
fn cell(results: &BenchResults, measure: &'static str, quantity: Quantity, limit: f64) -> Option<String> {
    let column = Column { measure, quantity, head: "" };
    let busy = results.row(&column, OURS)?.busy;
    let (peer, ratio) = results.hardest(&column, OURS, |name| PEERS.contains(&name))?;
    let theirs = results.summary(&column, peer)?.median;
    let (sign, reached) = match quantity.better()? {
        Better::More => ("≥", ratio >= limit),
        Better::Less => ("≤", ratio <= limit),
    };
    let shown = if reached { format!("**{}**", number(ratio)) } else { number(ratio) };
    let busy = if busy { ", busy" } else { "" };
    Some(format!("{shown}{busy} | {sign} {limit:.2} | {peer} {}", number(theirs)))
}

/// The table; nothing if no line of it can be filled.
pub(super) fn table(text: &mut Markdown, results: &BenchResults) {
    let lines = GOALS.iter().filter_map(|(name, measure, quantities, limits)| {
        let cells = [0, 1].map(|i| cell(results, measure, quantities[i], limits[i]));
        let filled = cells.iter().any(Option::is_some);
        let [rate, cost] = cells.map(|cell| cell.unwrap_or_else(|| " | |".to_owned()));
        filled.then(|| [(*name).to_owned(), rate, cost])
    });
    let lines: Vec<_> = lines.collect();
    if lines.is_empty() {
        return;
    }
    text.line(
        "\n## Goals\n\n\
         The rate and the processor time of tcpproxy, divided by those of HAProxy, nginx and systemd-socket-proxyd in the same \
         turns, with buffers of 16 and 256 KiB and with splice(2): the median of the ratios with the peer that is hardest to \
         beat. In bold what reaches its goal.\n\n\
         | | rate | goal | hardest peer | CPU | goal | hardest peer |\n|---|--:|--:|---|--:|--:|---|",
    );
    lines.into_iter().for_each(|line| text.row(line));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ours_is_divided_by_the_best_of_the_peers_and_bold_where_the_goal_is_reached() {
        let column = Column { measure: "bulk-both", quantity: Q::CpuPerGib, head: "" };
        let others = [("haproxy", 0.5), ("nginx", 0.4), ("socat", 0.1)];
        let with = |ours: f64| [&[(OURS, ours)], &others[..]].concat();
        let table = |medians: &[(&str, f64)]| {
            let mut text = Markdown::default();
            table(&mut text, &BenchResults::of_medians(&column, medians));
            text.into_text()
        };
        let text = table(&with(0.3));
        assert!(text.contains("| bulk, both ways |  | | | **0.750** | ≤ 0.85 | nginx 0.400 |"), "{text}");
        let text = table(&with(0.36));
        assert!(text.contains("| 0.900 | ≤ 0.85 | nginx 0.400 |"), "{text}");
        assert_eq!(table(&others), "");
    }
}
