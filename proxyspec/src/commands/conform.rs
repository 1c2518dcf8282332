use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

use clap::{Args, ValueEnum};
use proxyspec::conform::{Case, Plan, Results, Service, Topic, topics};
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
    /// Run these cases or topics alone
    #[arg(long, value_name = "CASE", value_delimiter = ',')]
    only: Vec<String>,

    /// Write the results as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,

    /// Write the results as Markdown
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,

    /// What decides everything random [default: another one each time]
    #[arg(long, value_name = "HEX")]
    seed: Option<Seed>,

    /// How many cases run at once [default: two for each processor]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    jobs: Option<u16>,

    /// How many clients the proxy serves [default: found out]
    #[arg(long, value_enum)]
    clients: Option<Service>,

    #[command(flatten)]
    subject: SubjectArguments,
}

/// How long the run may take beyond all deadlines of its cases.
const SLACK: Duration = Duration::from_secs(120);

/// Judges the proxy; the status says whether all held.
pub(crate) fn run(arguments: &ConformArguments) -> Result<ExitCode, String> {
    let (subject, name) = arguments.subject.subject()?;
    let cases = chosen(&arguments.only)?;
    end_everything_when_interrupted()?;
    let service = match arguments.clients {
        Some(service) => service,
        None => subject.probe()?,
    };
    let processors = thread::available_parallelism().map_or(1, |count| count.get());
    let plan = Plan {
        subject,
        service,
        seed: arguments.seed.unwrap_or_else(Seed::random),
        jobs: arguments.jobs.map_or(2 * processors, usize::from),
    };
    let end = limit(Plan::limit(&cases) + SLACK);
    let mut display = Display::new(&name, &plan, &cases, replay(arguments, plan.seed));
    let outcomes = plan.run(&cases, |event| display.show(event));
    drop(end);
    let results = Results { subject: &name, service, seed: plan.seed, outcomes: &outcomes };
    display.finish(&results);
    write(&arguments.json, &format!("{:#}\n", results.json()))?;
    write(&arguments.markdown, &results.markdown())?;
    Ok(if outcomes.iter().any(|outcome| outcome.failed()) { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

pub(crate) type Chosen = Vec<(Topic, Vec<&'static Case>)>;

/// The cases that are named, by themselves or by their topic; all if no name is given.
pub(crate) fn chosen(only: &[String]) -> Result<Chosen, String> {
    let topics = topics();
    for name in only {
        let known =
            topics.iter().any(|topic| topic.name == name || topic.cases.iter().any(|case| case.name == name));
        if !known {
            return Err(format!("there is no case or topic {name:?}: see `proxyspec list`"));
        }
    }
    let chosen = topics.into_iter().map(|topic| {
        let is_named = |case: &&Case| only.iter().any(|name| name == topic.name || name == case.name);
        let cases = topic.cases.iter().filter(|case| only.is_empty() || is_named(case));
        (topic, cases.collect::<Vec<_>>())
    });
    Ok(chosen.filter(|(_, cases)| !cases.is_empty()).collect())
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
fn replay(arguments: &ConformArguments, seed: Seed) -> String {
    let mut words = vec!["proxyspec".to_owned(), "conform".to_owned(), "--seed".to_owned(), seed.to_string()];
    if let Some(clients) = arguments.clients.and_then(|clients| clients.to_possible_value()) {
        words.extend(["--clients".to_owned(), clients.get_name().to_owned()]);
    }
    words.extend(["--only CASE".to_owned(), arguments.subject.words()]);
    words.join(" ")
}
