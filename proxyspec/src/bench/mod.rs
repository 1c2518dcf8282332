//! Proxies side by side: throughput, cost, latency, memory, system calls.
//!
//! Clients and origin of each measurement are a process of their own ([`load`]); the contender is another. Both are started
//! for that measurement, or for several within a round. Contenders take turns (A B C, C A B, …), so that a machine that
//! becomes slower does so for all of them; a figure is the median.

mod contender;
mod goals;
pub mod load;
mod markdown;
mod measure;
mod netns;
mod number;
mod options;
mod player;
mod plots;
mod quantity;
mod ratios;
mod results;
mod sections;
mod statistics;

pub use options::BenchOptions;
pub use player::LOAD_COMMAND;

use std::collections::BTreeMap;
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
use player::{Player, Turns};
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
    let matches = schedule(&measures, &contenders, options);
    let namespaces = options.veth.then(Namespaces::new).transpose();
    let namespaces = namespaces.map_err(|error| format!("--veth: {error}"))?;
    let mut outcomes: Vec<_> = measures.iter().map(MeasureResults::new).collect();
    let progress = progress_bar(matches.iter().map(|found| found.order.len()).sum());
    for Match { measure, turns, order } in matches {
        let (measure, outcomes) = (&measures[measure], &mut outcomes[measure]);
        // One that has failed is none any more.
        let mut players: BTreeMap<usize, Option<Player>> = BTreeMap::new();
        for at in order {
            let contender = &contenders[at];
            progress.set_message(format!("{} {}", measure.name, contender.name));
            progress.inc(1);
            if let Some(None) = players.get(&at) {
                continue;
            }
            let start = || Player::start(measure, contender, turns, namespaces.as_ref());
            let outcome = players.remove(&at).flatten().map_or_else(start, Ok);
            let outcome = outcome.and_then(|mut player| Ok((player.measure()?, player)));
            let remark = match &outcome {
                Ok((report, _)) => report.others_load().filter(|load| *load > results::BUSY).map(|load| {
                    format!("the machine is busy: other processes took {load:.2} processors meanwhile")
                }),
                Err(error) => Some(error.clone()),
            };
            if let Some(remark) = remark {
                progress.suspend(|| say(&format!("{}: {}: {remark}", measure.name, contender.name)))?;
            }
            let (report, player) = match outcome {
                Ok((report, player)) => (Ok(report), Some(player)),
                Err(error) => (Err(error), None),
            };
            outcomes.add(&contender.name, report);
            players.insert(at, player);
        }
    }
    progress.finish_and_clear();
    let results = BenchResults {
        machine: Machine::this(),
        command: command_line(),
        rounds: options.rounds as usize,
        turns: options.turns as usize,
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
        let json = serde_json::to_string(results).map_err(|error| error.to_string())?;
        write(file, &(json + "\n"))?;
    }
    if let Some(file) = &options.markdown {
        let plots = options.plots.as_deref().map(|folder| seen_from(file, folder));
        write(file, &markdown::page(results, plots.as_deref()))?;
    }
    Ok(())
}

/// Contenders that run at the same time and are measured in turn; or one alone.
#[derive(Clone, Debug, PartialEq)]
struct Match {
    measure: usize,
    turns: Turns,
    /// The contenders, in the order of their turns.
    order: Vec<usize>,
}

/// Round after round, measure after measure, the contenders take turns: first in the order of the tables, then in another one
/// each time, so that what comes before a contender, or with the time, is not always the same.
fn schedule(measures: &[Measure], contenders: &[Contender], options: &BenchOptions) -> Vec<Match> {
    let mut matches = Vec::new();
    let mut rng = Seed::new(0).rng();
    for round in 0..options.rounds {
        for (measure, wanted) in measures.iter().enumerate().filter(|(_, wanted)| round == 0 || !wanted.once)
        {
            let field =
                contenders.iter().enumerate().filter(|(_, contender)| contender.takes_part_in(wanted));
            let field: Vec<_> = field.map(|(at, _)| at).collect();
            let takes_turns = wanted.workload.takes_turns() && options.turns > 1;
            let number = if takes_turns { options.turns } else { 1 };
            let players = if takes_turns { field.len() as u32 } else { 1 };
            let turns = Turns { seconds: options.seconds, number, players };
            let order: Vec<_> = (0..number)
                .flat_map(|turn| {
                    let mut order = field.clone();
                    if round + turn > 0 {
                        order.shuffle(&mut rng);
                    }
                    order
                })
                .collect();
            if takes_turns {
                matches.push(Match { measure, turns, order });
            } else {
                matches.extend(order.into_iter().map(|at| Match { measure, turns, order: vec![at] }));
            }
        }
    }
    matches
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

    /// The matches of two measures and five contenders.
    fn matches(rounds: u32, turns: u32) -> Vec<Match> {
        #[derive(clap::Parser)]
        struct Line {
            #[command(flatten)]
            options: BenchOptions,
        }
        let Line { options } = clap::Parser::parse_from(["bench"]);
        let contenders = vec![Contender::direct(); 5];
        schedule(&measure::all(9000)[..2], &contenders, &BenchOptions { rounds, turns, ..options })
    }

    /// Checks the order of each turn of all contenders, of which the first `sorted` are in that of the tables.
    fn check_turns(turns: &[Vec<usize>], sorted: usize) {
        for (number, turn) in turns.iter().enumerate() {
            assert!(number >= sorted || turn.is_sorted(), "the first is in the order of the tables");
            let mut places = turn.clone();
            places.sort_unstable();
            assert_eq!(places, [0, 1, 2, 3, 4]);
        }
        let firsts: BTreeSet<_> = turns.iter().map(|turn| turn[0]).collect();
        assert_eq!(firsts.len(), 5, "each is the first one at some time");
    }

    #[test]
    fn every_contender_has_its_turn_in_each_round_and_its_place_changes() {
        let matches = matches(9, 1);
        assert!(matches.iter().all(|one| one.turns.number == 1 && one.turns.players == 1));
        let turns: Vec<Vec<_>> =
            matches.chunks(5).map(|turn| turn.iter().map(|one| one.order[0]).collect()).collect();
        assert_eq!(turns.len(), 2 * 9);
        for (number, turn) in matches.chunks(5).enumerate() {
            assert!(turn.iter().all(|one| one.measure == number % 2));
        }
        check_turns(&turns, 2);
    }

    #[test]
    fn contenders_that_run_at_the_same_time_take_turns_within_a_round() {
        let matches = matches(2, 20);
        assert_eq!(matches.iter().map(|one| one.measure).collect::<Vec<_>>(), [0, 1, 0, 1]);
        for (number, Match { turns, order, .. }) in matches.iter().enumerate() {
            assert_eq!((turns.number, turns.players), (20, 5));
            let turns: Vec<Vec<_>> = order.chunks(5).map(<[_]>::to_vec).collect();
            assert_eq!(turns.len(), 20);
            check_turns(&turns, usize::from(number < 2));
        }
    }
}
