//! The `proxyspec` program: judges and measures any TCP proxy, and has the peers of the test kit for use from a shell.

mod commands;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use commands::{compare, conform, list, origin, peer, replay, selftest, stress};
use proxyspec::{bench, planted};

/// Peers to prove TCP programs with, and a suite that scores any TCP proxy.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Score a TCP proxy, case by case
    Conform(conform::ConformArguments),
    /// Score several TCP proxies, and put the results beside each other
    Compare(compare::CompareArguments),
    /// Explain the cases of the suite
    List,
    /// Judge the suite by the bugs that it finds in small proxies
    Selftest(selftest::SelftestArguments),
    /// Run a small proxy, with a bug or without
    Planted(planted::PlantedOptions),
    /// Serve a web page with many pictures, and large files at /large?bytes=N
    Origin(origin::OriginArguments),
    /// Measure TCP proxies side by side
    Bench(bench::BenchOptions),
    /// The clients and the origin of a measurement
    #[command(name = bench::LOAD_COMMAND, hide = true)]
    Load {
        /// What to do, as JSON
        orders: String,
    },
    /// Carry out verbs as a server or a client, to try a program by hand
    Peer(peer::PeerArguments),
    /// Play random sessions through a proxy for a while, many at once
    Stress(stress::StressArguments),
    /// Play one session again that `stress` has named
    Replay(replay::ReplayArguments),
}

fn main() -> ExitCode {
    let done = |outcome: Result<(), String>| outcome.map(|()| ExitCode::SUCCESS);
    let result = match Cli::parse().command {
        Command::Conform(arguments) => conform::run(&arguments),
        Command::Compare(arguments) => compare::run(&arguments),
        Command::List => list::run(),
        Command::Selftest(arguments) => selftest::run(&arguments),
        Command::Planted(options) => {
            done(planted::serve(options).map_err(|error| format!("cannot listen: {error}")))
        }
        Command::Origin(arguments) => done(origin::run(&arguments)),
        Command::Bench(options) => {
            done(commands::end_everything_when_interrupted().and_then(|()| bench::run(&options)))
        }
        Command::Load { orders } => done(bench::load::run(&orders)),
        Command::Peer(arguments) => peer::run(&arguments),
        Command::Stress(arguments) => stress::run(&arguments),
        Command::Replay(arguments) => replay::run(&arguments),
    };
    result.unwrap_or_else(|error| {
        // Nothing is left to do when stderr is closed too.
        let _ = writeln!(io::stderr(), "proxyspec: {error}");
        ExitCode::from(commands::TROUBLE)
    })
}
