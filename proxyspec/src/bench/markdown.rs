//! The results as Markdown.

use super::contender::DIRECT;
use super::number::number;
use super::quantity::Better;
use super::results::{BenchResults, Entrant, Row};
use super::sections::{Column, Section, sections};
use super::statistics::Summary;
use super::{goals, ratios};
use crate::markdown::Markdown;

/// The tables alone.
pub(super) fn tables(results: &BenchResults) -> String {
    let mut text = Markdown::default();
    for section in &sections() {
        table(&mut text, results, section);
    }
    goals::table(&mut text, results);
    notes(&mut text, results);
    failures(&mut text, results);
    text.into_text()
}

/// The whole page. `plots` is where the plots are, seen from the page; none if there are none.
pub(super) fn page(results: &BenchResults, plots: Option<&str>) -> String {
    let mut text = Markdown::default();
    head(&mut text, results);
    goals::table(&mut text, results);
    ratios::table(&mut text, results);
    for section in &sections() {
        let shown = table(&mut text, results, section);
        if let (true, Some(folder), Some(name)) = (shown, plots, section.plot) {
            text.line(format!("\n![{}]({folder}/{name}.svg)", section.title));
        }
    }
    notes(&mut text, results);
    failures(&mut text, results);
    text.into_text()
}

fn head(text: &mut Markdown, results: &BenchResults) {
    let machine = &results.machine;
    text.line("# Performance, side by side\n");
    text.line(
        "This page is written by `proxyspec bench`; `make bench` makes one for your machine. The web proxy is measured in [webproxy.md](webproxy.md).\n",
    );
    let (cpu, cpus, memory) = (&machine.cpu, machine.cpus, machine.memory_gib);
    text.line(format!("- Machine: {cpu}, {cpus} processors, {memory:.0} GiB"));
    text.line(format!("- System: {}, {}", machine.system, machine.kernel));
    text.line(format!("- Command: `{}`", results.command));
    let (seconds, minutes) = (results.seconds, results.duration / 60.0);
    let rounds = match (results.rounds, results.turns) {
        (rounds, 1) => format!("{rounds} rounds"),
        (rounds, turns) => format!("{rounds} rounds of {turns} turns"),
    };
    text.line(format!(
        "- {rounds}, {seconds} s for each figure after a quarter of that to warm up; {minutes:.0} minutes in all"
    ));
    let crowded = results.measures.iter().filter(|measure| measure.name.ends_with("-10000"));
    if let Some(most) = crowded.map(|measure| measure.connections).find(|most| *most < 10_000) {
        text.line(format!("- Connections: {most} where it says 10,000, as descriptors allow"));
    }
    if let Some(headroom) = headroom(results) {
        text.line(format!(
            "- Without a proxy: at least {headroom:.2} times the best proxy's rate in each measure"
        ));
    }
    text.line(
        "\nContenders take turns, in another order each time. A figure is the median of the turns, with the least and the greatest \
         behind it; the best is bold. Clients and origin are one process of their own, on the same machine; of bulk data \
         they only write and count, as a peer on another machine would cost this one no more. Each proxy runs on one \
         thread, or a process for each client if it is made so. A turn in which other processes took much time is left out; where that \
         is half of them or more, the figure is marked as busy, and is not to be trusted.\n",
    );
    text.line("| contender | what it is | version | command |\n|---|---|---|---|");
    for Entrant { name, about, version, command } in &results.contenders {
        let command = if command.is_empty() { String::new() } else { format!("`{command}`") };
        text.row([name, about, version, &command].map(String::as_str));
    }
}

/// How much faster it goes without a proxy than with the best one, where it is least.
fn headroom(results: &BenchResults) -> Option<f64> {
    let columns = sections().into_iter().flat_map(|section| section.columns);
    let rates = columns.filter(|column| column.quantity.better() == Some(Better::More));
    let headrooms = rates.filter_map(|column| {
        let direct = results.summary(&column, DIRECT)?.median;
        Some(direct / best(results, &column)?)
    });
    headrooms.reduce(f64::min)
}

/// Whether there is something to show.
fn table(text: &mut Markdown, results: &BenchResults, section: &Section) -> bool {
    let columns = results.shown_columns(section);
    if columns.is_empty() {
        return false;
    }
    text.line(format!("\n## {}\n", section.title));
    if !section.about.is_empty() {
        text.line(format!("{}\n", section.about));
    }
    let heads: Vec<_> = columns.iter().map(|column| column.head).collect();
    text.head(&heads, "--:");
    for entrant in &results.contenders {
        let rows: Vec<_> = columns.iter().map(|column| results.row(column, &entrant.name)).collect();
        if rows.iter().all(Option::is_none) {
            continue;
        }
        let cells = columns.iter().zip(rows).map(|(column, row)| {
            row.map_or_else(String::new, |row| cell(results, column, row, section.spread))
        });
        text.row([entrant.name.clone()].into_iter().chain(cells));
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
fn notes(text: &mut Markdown, results: &BenchResults) {
    for measure in &results.measures {
        let rows = measure.rows.iter().filter(|row| !row.note.is_empty());
        for (i, row) in rows.enumerate() {
            if i == 0 {
                text.line(format!("\n### {}, one by one\n", measure.name));
            }
            text.line(format!("- {}: {}", row.contender, row.note));
        }
    }
}

fn failures(text: &mut Markdown, results: &BenchResults) {
    let rows = results.measures.iter().flat_map(|measure| measure.rows.iter().map(move |row| (measure, row)));
    let failures = rows.flat_map(|(measure, row)| row.failures.iter().map(move |why| (measure, row, why)));
    for (i, (measure, row, why)) in failures.enumerate() {
        if i == 0 {
            text.line("\n## What failed\n");
        }
        text.line(format!("- {}, {}: {}", measure.name, row.contender, why.replace('\n', " ")));
    }
}
