//! BenchResults as Markdown.

use std::fmt::Write as _;

use super::contender::DIRECT;
use super::goals;
use super::number::number;
use super::quantity::Quantity;
use super::ratios;
use super::results::{BenchResults, Row};
use super::sections::{Column, SECTIONS, Section};
use super::statistics::Summary;

/// The tables alone.
pub(super) fn tables(results: &BenchResults) -> String {
    let mut text = String::new();
    for section in SECTIONS {
        table(&mut text, results, section);
    }
    text.push_str(&goals::table(results));
    notes(&mut text, results);
    failures(&mut text, results);
    text
}

/// The whole page. `plots` is where the plots are, seen from the page; none if there are none.
pub(super) fn page(results: &BenchResults, plots: Option<&str>) -> String {
    let mut text = String::new();
    head(&mut text, results);
    text.push_str(&goals::table(results));
    text.push_str(&ratios::table(results));
    for section in SECTIONS {
        if !table(&mut text, results, section) {
            continue;
        }
        if let (Some(folder), Some(name)) = (plots, section.plot) {
            line(&mut text, &format!("\n![{}]({folder}/{name}.svg)", section.title));
        }
    }
    notes(&mut text, results);
    failures(&mut text, results);
    text
}

fn head(text: &mut String, results: &BenchResults) {
    let machine = &results.machine;
    line(text, "# Performance, side by side");
    line(text, "");
    line(
        text,
        "This page is written by `proxyspec bench`; `make bench` makes one for your machine. The web proxy is measured in [webproxy.md](webproxy.md).",
    );
    line(text, "");
    line(
        text,
        &format!("- Machine: {}, {} processors, {:.0} GiB", machine.cpu, machine.cpus, machine.memory_gib),
    );
    line(text, &format!("- System: {}, {}", machine.system, machine.kernel));
    line(text, &format!("- Command: `{}`", results.command));
    line(
        text,
        &format!(
            "- {} rounds, {} s for each figure after a quarter of that to warm up; {:.0} minutes in all",
            results.rounds,
            results.seconds,
            results.duration / 60.0
        ),
    );
    if results.most_connections < 10_000 {
        line(
            text,
            &format!(
                "- Connections: {} where it says 10,000, as descriptors allow",
                results.most_connections
            ),
        );
    }
    if let Some(headroom) = headroom(results) {
        line(
            text,
            &format!("- Without a proxy: at least {headroom:.2} times the best proxy's rate in each measure"),
        );
    }
    line(text, "");
    line(
        text,
        "Contenders take turns in each round. A figure is the median of the rounds, with the least and the greatest \
         behind it; the best is bold. Clients and origin are one process of their own, on the same machine; of bulk data \
         they only write and count, as a peer on another machine would cost this one no more. Each proxy runs on one \
         thread, or a process for each client if it is made so. A round in which other processes took much time is left out; where that \
         is half of the rounds or more, the figure is marked as busy, and is not to be trusted.",
    );
    line(text, "");
    line(text, "| contender | what it is | version | command |");
    line(text, "|---|---|---|---|");
    for entrant in &results.contenders {
        let command =
            if entrant.command.is_empty() { String::new() } else { format!("`{}`", entrant.command) };
        line(text, &format!("| {} | {} | {} | {command} |", entrant.name, entrant.about, entrant.version));
    }
}

/// How much faster it goes without a proxy than with the best one, where it is least.
fn headroom(results: &BenchResults) -> Option<f64> {
    let rates = SECTIONS.iter().flat_map(|section| section.columns).filter(|column| {
        matches!(column.quantity, Quantity::Throughput | Quantity::Requests | Quantity::Connections)
    });
    rates
        .filter_map(|column| {
            let direct = results.summary(column, DIRECT)?.median;
            Some(direct / best(results, column)?)
        })
        .reduce(f64::min)
}

/// Whether there is something to show.
fn table(text: &mut String, results: &BenchResults, section: &Section) -> bool {
    let columns: Vec<_> =
        section.columns.iter().filter(|column| results.rows(column).next().is_some()).collect();
    if columns.is_empty() {
        return false;
    }
    line(text, &format!("\n## {}\n", section.title));
    if !section.about.is_empty() {
        line(text, &format!("{}\n", section.about));
    }
    let heads: Vec<_> = columns.iter().map(|column| column.head).collect();
    line(text, &format!("| | {} |", heads.join(" | ")));
    line(text, &format!("|---|{}", "--:|".repeat(heads.len())));
    for entrant in &results.contenders {
        let rows: Vec<_> = columns.iter().map(|column| results.row(column, &entrant.name)).collect();
        if rows.iter().all(Option::is_none) {
            continue;
        }
        let cells: Vec<_> = columns
            .iter()
            .zip(rows)
            .map(|(column, row)| {
                row.map_or_else(String::new, |row| cell(results, column, row, section.spread))
            })
            .collect();
        line(text, &format!("| {} | {} |", entrant.name, cells.join(" | ")));
    }
    true
}

/// The best median of a proxy.
fn best(results: &BenchResults, column: &Column) -> Option<f64> {
    results.best(column, |name| name != DIRECT).map(|(_, median)| median)
}

fn cell(results: &BenchResults, column: &Column, row: &Row, spread: bool) -> String {
    let Some(Summary { median, min, max }) = row.summaries.get(&column.quantity) else {
        return if row.failures.is_empty() { String::new() } else { "failed".to_owned() };
    };
    let is_best = row.contender != DIRECT && best(results, column) == Some(*median);
    let text = if is_best { format!("**{}**", number(*median)) } else { number(*median) };
    let busy = if row.busy { ", busy" } else { "" };
    if !spread || min == max {
        return format!("{text}{busy}");
    }
    format!("{text} ({}–{}){busy}", number(*min), number(*max))
}

/// What figures consist of.
fn notes(text: &mut String, results: &BenchResults) {
    for measure in &results.measures {
        let rows = measure.rows.iter().filter(|row| !row.note.is_empty());
        for (i, row) in rows.enumerate() {
            if i == 0 {
                line(text, &format!("\n### {}, one by one\n", measure.name));
            }
            line(text, &format!("- {}: {}", row.contender, row.note));
        }
    }
}

fn failures(text: &mut String, results: &BenchResults) {
    let failures = results.measures.iter().flat_map(|measure| {
        measure
            .rows
            .iter()
            .flat_map(move |row| row.failures.iter().map(move |failure| (measure, row, failure)))
    });
    for (i, (measure, row, failure)) in failures.enumerate() {
        if i == 0 {
            line(text, "\n## What failed\n");
        }
        line(text, &format!("- {}, {}: {}", measure.name, row.contender, failure.replace('\n', " ")));
    }
}

fn line(text: &mut String, words: &str) {
    writeln!(text, "{words}").expect("writing to a string does not fail");
}
