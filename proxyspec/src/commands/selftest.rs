use std::collections::BTreeMap;
use std::env;
use std::process::ExitCode;
use std::sync::mpsc::channel;
use std::thread;

use clap::Args;
use proxyspec::conform::{Selftest, Service, cases};
use proxyspec::planted::Bug;
use testkit::replay::in_threads;
use testkit::seed::Seed;

use crate::commands::{end_everything_when_interrupted, print};

/// How many cases of one proxy run at once.
const CASES_AT_ONCE: usize = 4;

/// Small proxies, each with a bug planted in it, are judged by the suite: each must fail the cases that are listed for its
/// bug and no others, and the proxy without a bug none.
#[derive(Debug, Args)]
pub(crate) struct SelftestArguments {
    /// Judge proxies with these bugs alone
    #[arg(long, value_enum, value_delimiter = ',')]
    bug: Vec<Bug>,

    /// Draw everything random from this seed [default: another one each time]
    #[arg(long, value_name = "HEX", default_value_t = Seed::random(), hide_default_value = true)]
    seed: Seed,

    /// Judge N proxies at once; most of the time is spent waiting for events that do not come
    #[arg(long, value_name = "N", default_value_t = 12, value_parser = clap::value_parser!(u16).range(1..))]
    jobs: u16,
}

/// The status says whether the suite has judged as it should.
pub(crate) fn run(arguments: &SelftestArguments) -> Result<ExitCode, String> {
    end_everything_when_interrupted()?;
    let program = env::current_exe().map_err(|error| format!("cannot find this program: {error}"))?;
    let cases = cases(|_, _| true);
    let seed = arguments.seed;
    let mut subjects = Vec::new();
    if arguments.bug.is_empty() {
        subjects.extend([(None, Service::ManyAtOnce), (None, Service::OneAtATime)]);
    }
    let bugs = if arguments.bug.is_empty() { Bug::all() } else { &arguments.bug };
    subjects.extend(bugs.iter().map(|bug| (Some(*bug), Service::ManyAtOnce)));
    print(&format!("seed {seed}"));
    let (sender, judged) = channel();
    thread::scope(|scope| {
        let (subjects, program, cases) = (&subjects, &program, &cases);
        let judge = move |(number, &(bug, service))| {
            // The other end goes on until the sender is gone.
            let _ = sender.send((number, Selftest::run(program, bug, service, cases, seed, CASES_AT_ONCE)));
        };
        scope.spawn(|| in_threads(arguments.jobs.into(), subjects.iter().enumerate(), judge));
        let mut early = BTreeMap::new();
        let mut shown = 0;
        let mut all_right = true;
        for (number, judged) in judged {
            early.insert(number, judged?);
            while let Some(judged) = early.remove(&shown) {
                let (bug, service) = subjects[shown];
                all_right &= judged.is_right();
                print(&line(bug, service, &judged));
                shown += 1;
            }
        }
        Ok(if all_right { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    })
}

fn line(bug: Option<Bug>, service: Service, judged: &Selftest) -> String {
    let word = if judged.is_right() { "right" } else { "WRONG" };
    let name = bug.map_or_else(|| format!("no bug, {}", service.description()), Bug::name);
    format!("  {word}  {name:32}  {judged}")
}
