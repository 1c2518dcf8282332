use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

use clap::{Args, ValueEnum};
use proxyspec::conform::{Case, Cases, Outcome, Plan, Results, Service, Topic, cases};
use testkit::proxy::kill_all_and_exit;
use testkit::seed::Seed;

use crate::commands::display::Display;
use crate::commands::subject::SubjectArguments;
use crate::commands::{TROUBLE, end_everything_when_interrupted, write};

/// The proxy is given by its command line, in which {host} and {port} stand for the server, {listen} for the port
/// to listen on; or, if it runs already, by two addresses.
#[derive(Debug, Args)]
#[command(
    after_help = "{address} is {host}:{port}, {dir} a directory that is removed at the end. What can be asked of the \
    proxy only if it is asked for may be given as {name:usual}, as in --idle={half_close:3600}: half_close, connect \
    and drain in seconds, clients, buffer in bytes.\n\
    Exit status: 0 if no case failed, 1 if one did, 2 if the proxy could not be judged."
)]
pub(crate) struct ConformArguments {
    #[command(flatten)]
    judging: JudgingArguments,

    /// Run N cases at once [default: two for each processor]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    jobs: Option<u16>,

    /// Take the proxy for one that serves so [default: found out]
    #[arg(long, value_enum)]
    clients: Option<Service>,

    #[command(flatten)]
    subject: SubjectArguments,
}

// No documentation here: it would become that of the command.
#[derive(Debug, Args)]
pub(crate) struct JudgingArguments {
    /// Run these cases or topics alone
    #[arg(long, value_name = "CASE", value_delimiter = ',')]
    pub(crate) only: Vec<String>,

    /// Write the results as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,

    /// Write the results as Markdown
    #[arg(long, value_name = "FILE")]
    pub(crate) markdown: Option<PathBuf>,

    /// Draw everything random from this seed [default: another one each time]
    #[arg(long, value_name = "HEX", default_value_t = Seed::random(), hide_default_value = true)]
    pub(crate) seed: Seed,
}

/// How long a run may take beyond all deadlines of its cases.
pub(crate) const SLACK: Duration = Duration::from_secs(120);

/// Judges the proxy; the status says whether all held.
pub(crate) fn run(arguments: &ConformArguments) -> Result<ExitCode, String> {
    let JudgingArguments { only, json, markdown, seed } = &arguments.judging;
    let (subject, name) = arguments.subject.subject()?;
    let cases = chosen(only)?;
    end_everything_when_interrupted()?;
    let service = match arguments.clients {
        Some(service) => service,
        None => subject.probe()?,
    };
    let jobs = arguments.jobs.map_or_else(Plan::usual_jobs, usize::from);
    let plan = Plan { subject, service, seed: *seed, jobs };
    let outcomes = judge(&name, &plan, &cases, replay(arguments));
    let results = Results { subject: &name, service, seed: *seed, outcomes: &outcomes };
    write(json, &format!("{:#}\n", results.json()))?;
    write(markdown, &results.markdown())?;
    Ok(if outcomes.iter().any(Outcome::failed) { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Runs the cases, and shows each outcome. `replay` is the command line that runs one case again.
pub(crate) fn judge(name: &str, plan: &Plan, cases: &Cases, replay: String) -> Vec<Outcome> {
    let end = limit(Plan::limit(cases) + SLACK);
    let mut display = Display::new(name, plan, cases, replay);
    let outcomes = plan.run(cases, |event| display.show(event));
    drop(end);
    display.finish(&Results { subject: name, service: plan.service, seed: plan.seed, outcomes: &outcomes });
    outcomes
}

/// The cases that are named, by themselves or by their topic; all if no name is given.
pub(crate) fn chosen(only: &[String]) -> Result<Cases, String> {
    for name in only {
        if cases(|topic, case| name == topic.name || name == case.name).is_empty() {
            return Err(format!("there is no case or topic {name:?}: see `proxyspec list`"));
        }
    }
    let is_named =
        |topic: &Topic, case: &Case| only.iter().any(|name| name == topic.name || name == case.name);
    Ok(cases(|topic, case| only.is_empty() || is_named(topic, case)))
}

/// Ends everything if what is returned is not dropped in time: every case has a deadline, so this is a mistake here.
pub(crate) fn limit(limit: Duration) -> Sender<()> {
    let (sender, dropped) = channel::<()>();
    thread::spawn(move || {
        if dropped.recv_timeout(limit) == Err(RecvTimeoutError::Timeout) {
            let _ = writeln!(io::stderr(), "proxyspec: the run has not ended within {limit:?}");
            kill_all_and_exit(TROUBLE.into());
        }
    });
    sender
}

/// The command line that runs one case again, without the name of the case.
fn replay(arguments: &ConformArguments) -> String {
    let clients = arguments.clients.and_then(|clients| clients.to_possible_value());
    let clients = clients.map_or_else(String::new, |clients| format!(" --clients {}", clients.get_name()));
    let (seed, subject) = (arguments.judging.seed, arguments.subject.words());
    format!("proxyspec conform --seed {seed}{clients} --only CASE {subject}")
}
