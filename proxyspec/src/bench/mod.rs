//! Proxies side by side: throughput, cost, latency, memory, system calls.
//!
//! Clients and origin of each measurement are a process of their own ([`load`]); the contender is another, started for
//! that measurement alone. Contenders take turns (A B C, C A B, …), so that a machine that becomes slower does so for
//! all of them; a figure is the median of the rounds.

mod cell;
mod contender;
mod goals;
pub mod load;
mod markdown;
mod measure;
mod netns;
mod number;
mod options;
mod plots;
mod quantity;
mod ratios;
mod results;
mod sections;
mod statistics;

pub use cell::LOAD_COMMAND;
pub use options::BenchOptions;

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use indicatif::{ProgressBar, ProgressStyle};
use rand::seq::SliceRandom;

use crate::machine::Machine;
use contender::{Contender, NotInstalled};
use measure::Measure;
use netns::Namespaces;
use results::{BenchResults, MeasureResults};
use testkit::descriptors;
use testkit::seed::Seed;

/// Measures what the options ask for, prints the tables, and writes the files.
///
/// # Errors
///
/// When an option names nothing, the proxy of this project is missing, or a file cannot be written. A measurement that
/// fails is part of the results.
pub fn run(options: &BenchOptions) -> Result<(), String> {
    if let Some(file) = &options.figures {
        return report(&BenchResults::read(file)?, options);
    }
    let begun = Instant::now();
    let limit = descriptors::raise_limit()
        .map_err(|error| format!("cannot raise the limit of descriptors: {error}"))?;
    let most = most_connections(limit).min(options.most.map_or(usize::MAX, |most| most as usize));
    let mut measures = chosen_measures(options, most)?;
    measures.retain(|measure| {
        let missing = measure.programs().iter().find(|(program, _)| !is_installed(program));
        if let Some((program, package)) = missing {
            // What cannot be printed now is missing from the results, too.
            let _ = say(&format!(
                "not installed: {program} (package {package}), so {} is left out",
                measure.name
            ));
        }
        missing.is_none()
    });
    let (contenders, missing) = chosen_contenders(options)?;
    for (name, package) in missing {
        say(&format!("not installed: {name} (package {package})"))?;
    }
    let cells = schedule(&measures, &contenders, options.rounds);
    let namespaces = options.veth.then(Namespaces::new).transpose();
    let namespaces = namespaces.map_err(|error| format!("--veth: {error}"))?;
    let mut outcomes: Vec<_> = measures.iter().map(MeasureResults::new).collect();
    let progress = progress_bar(cells.len());
    for cell in cells {
        let (measure, contender) = (&measures[cell.measure], &contenders[cell.contender]);
        progress.set_message(format!("{} {}", measure.name, contender.name));
        let outcome = cell::run(measure, contender, options.seconds, namespaces.as_ref());
        let remark = match &outcome {
            Ok(report) => report.others_load().filter(|load| *load > results::BUSY).map(|load| {
                format!("the machine is busy: other processes took {load:.2} processors meanwhile")
            }),
            Err(error) => Some(error.clone()),
        };
        if let Some(remark) = remark {
            progress.suspend(|| say(&format!("{}: {}: {remark}", measure.name, contender.name)))?;
        }
        outcomes[cell.measure].add(&contender.name, outcome);
        progress.inc(1);
    }
    progress.finish_and_clear();
    let results = BenchResults {
        machine: Machine::this(),
        command: command_line(),
        rounds: options.rounds as usize,
        seconds: options.seconds,
        duration: begun.elapsed().as_secs_f64(),
        contenders: contenders.iter().map(Into::into).collect(),
        measures: outcomes,
    };
    report(&results, options)
}

fn report(results: &BenchResults, options: &BenchOptions) -> Result<(), String> {
    say(&markdown::tables(results))?;
    if let Some(folder) = &options.plots {
        plots::draw(results, folder)?;
    }
    if let Some(file) = &options.json {
        let json = serde_json::to_string_pretty(results).map_err(|error| error.to_string())?;
        write(file, &(json + "\n"))?;
    }
    if let Some(file) = &options.markdown {
        let plots = options.plots.as_deref().map(|folder| seen_from(file, folder));
        write(file, &markdown::page(results, plots.as_deref()))?;
    }
    Ok(())
}

/// One measure of one contender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cell {
    measure: usize,
    contender: usize,
}

/// Round after round, measure after measure, the contenders take turns: in the first round in the order of the tables, then
/// in another one each time, so that what comes before a contender, or with the time, is not always the same.
fn schedule(measures: &[Measure], contenders: &[Contender], rounds: u32) -> Vec<Cell> {
    let mut cells = Vec::new();
    let mut rng = Seed::new(0).rng();
    for round in 0..rounds {
        for (m, measure) in measures.iter().enumerate() {
            if measure.once && round > 0 {
                continue;
            }
            let field =
                contenders.iter().enumerate().filter(|(_, contender)| contender.takes_part_in(measure));
            let mut turn: Vec<_> = field.map(|(c, _)| Cell { measure: m, contender: c }).collect();
            if round > 0 {
                turn.shuffle(&mut rng);
            }
            cells.extend(turn);
        }
    }
    cells
}

fn chosen_measures(options: &BenchOptions, limit: usize) -> Result<Vec<Measure>, String> {
    let all = measure::all(limit);
    for pattern in &options.only {
        if !all.iter().any(|measure| measure.is_named(pattern)) {
            let names: Vec<_> = all.iter().map(|measure| measure.name).collect();
            return Err(format!("there is no measure {pattern}; there are {}", names.join(", ")));
        }
    }
    let chosen = |measure: &Measure| {
        options.only.is_empty() || options.only.iter().any(|pattern| measure.is_named(pattern))
    };
    Ok(all.into_iter().filter(chosen).collect())
}

/// The contenders that were asked for and are installed, and those that are not installed, with their packages.
fn chosen_contenders(options: &BenchOptions) -> Result<(Vec<Contender>, Vec<NotInstalled>), String> {
    let names = &options.contenders;
    let beside = || Some(std::env::current_exe().ok()?.with_file_name("tcpproxy"));
    let ours = options.tcpproxy.clone().or_else(beside).unwrap_or_else(|| PathBuf::from("tcpproxy"));
    let (peers, mut missing) = Contender::packaged()?;
    let mut all = vec![Contender::direct()];
    // A run without it does not need the program.
    if names.is_empty() || names.iter().any(|name| name.starts_with("tcpproxy")) {
        all.extend(Contender::ours(&ours)?);
    }
    all.extend(peers);
    all.retain(
        |contender| {
            if names.is_empty() { !contender.is_on_demand() } else { names.contains(&contender.name) }
        },
    );
    missing.retain(|(name, _)| names.is_empty() || names.iter().any(|wanted| wanted == name));
    let known = |name: &String| {
        all.iter().any(|contender| contender.name == *name) || missing.iter().any(|(other, _)| other == name)
    };
    if let Some(name) = names.iter().find(|name| !known(name)) {
        return Err(format!("there is no contender {name}"));
    }
    all.extend(options.others.iter().cloned());
    Ok((all, missing))
}

/// How many connections fit under a limit of descriptors: a contender, and the process of clients and origin, have two
/// for each, and some more.
fn most_connections(limit: u64) -> usize {
    const OTHERS: u64 = 200;
    usize::try_from(limit.saturating_sub(OTHERS) / 2).unwrap_or(usize::MAX)
}

fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Where daemons are, which is not in every user's path.
    let places = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    places.into_iter().any(|folder| folder.join(program).is_file())
}

fn progress_bar(cells: usize) -> ProgressBar {
    let style = ProgressStyle::with_template("{wide_bar} {pos}/{len}, {eta} left: {msg}");
    ProgressBar::new(cells as u64).with_style(style.expect("this template is correct"))
}

fn command_line() -> String {
    let mut words = std::env::args();
    let program = words.next().unwrap_or_default();
    let name = Path::new(&program).file_name().map(|name| name.to_string_lossy().into_owned());
    [name.unwrap_or(program)].into_iter().chain(words).collect::<Vec<_>>().join(" ")
}

/// The way from a page to a folder, if the folder is beside the page or below; otherwise the folder as it is.
fn seen_from(page: &Path, folder: &Path) -> String {
    let beside = page.parent().and_then(|parent| folder.strip_prefix(parent).ok());
    beside.unwrap_or(folder).display().to_string()
}

fn say(text: &str) -> Result<(), String> {
    writeln!(io::stdout(), "{text}").map_err(|error| format!("cannot print: {error}"))
}

fn write(file: &Path, text: &str) -> Result<(), String> {
    fs::write(file, text).map_err(|error| format!("cannot write {}: {error}", file.display()))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_contender_has_its_turn_in_each_round_and_its_place_changes() {
        let measures = &measure::all(9000)[..2];
        let contenders = vec![Contender::direct(); 5];
        let cells = schedule(measures, &contenders, 9);
        let turns: Vec<_> = cells.chunks(5).collect();
        assert_eq!(turns.len(), 2 * 9);
        for (number, turn) in turns.iter().enumerate() {
            assert!(turn.iter().all(|cell| cell.measure == number % 2));
            let mut places: Vec<_> = turn.iter().map(|cell| cell.contender).collect();
            assert!(number >= 2 || places.is_sorted(), "the first round is in the order of the tables");
            places.sort_unstable();
            assert_eq!(places, [0, 1, 2, 3, 4]);
        }
        let firsts: BTreeSet<_> = turns.iter().map(|turn| turn[0].contender).collect();
        assert_eq!(firsts.len(), 5, "each is the first one in some round");
    }
}
