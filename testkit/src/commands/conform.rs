use std::fs;
use std::io::{self, Write};
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

use clap::{Args, ValueEnum};
use testkit::conform::{Case, Plan, Results, Service, Subject, Topic, topics};
use testkit::proxy::{Recipe, kill_all_and_exit};
use testkit::seed::Seed;

use crate::commands::display::Display;
use crate::commands::{TROUBLE, end_everything_when_interrupted};

/// The proxy is given by its command line, in which {host} and {port} stand for the server, {listen} for the port
/// to listen on; or, if it runs already, by two addresses.
#[derive(Debug, Args)]
#[command(
    after_help = "{address} is {host}:{port}, {dir} a directory that is removed at the end. What can be asked of the \
    proxy only if it is told so may be given as {name:usual}, as in --idle={half_close:3600}: half_close, connect \
    and drain in seconds, clients, buffer in bytes.\n\
    Exit status: 0 if no case failed, 1 if one did, 2 if the proxy could not be judged."
)]
pub(crate) struct Arguments {
    /// Run these cases or topics alone
    #[arg(long, value_name = "CASE", value_delimiter = ',')]
    only: Vec<String>,

    /// Leave these cases or topics out
    #[arg(long, value_name = "CASE", value_delimiter = ',')]
    skip: Vec<String>,

    /// Write what came out as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,

    /// Write what came out as Markdown
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,

    /// What decides everything random [default: another one each time]
    #[arg(long, value_name = "HEX")]
    seed: Option<Seed>,

    /// Multiply amounts and counts, for a longer run
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=1000))]
    scale: u64,

    /// How many cases run at once [default: two for each processor]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    jobs: Option<u16>,

    /// How many clients the proxy serves [default: found out]
    #[arg(long, value_enum)]
    clients: Option<Clients>,

    /// A configuration file for the proxy, in which the same places are filled; {config} names it in the command. Without
    /// a command, its line `# command: …` is the command
    #[arg(long, value_name = "TEMPLATE")]
    config: Option<PathBuf>,

    /// Where the clients of a running proxy connect
    #[arg(long, value_name = "HOST:PORT", requires = "origin_listen", conflicts_with_all = ["command", "config"])]
    address: Option<String>,

    /// Where a running proxy expects its server
    #[arg(long, value_name = "ADDR:PORT", requires = "address")]
    origin_listen: Option<SocketAddr>,

    /// The program and its arguments
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Clients {
    /// One, and then it ends
    Once,
    /// One at a time, the others wait
    One,
    /// Several at once
    Many,
}

/// How long the run may take beyond all deadlines of its cases.
const SLACK: Duration = Duration::from_secs(120);

/// Judges the proxy; the status says whether all held.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode, String> {
    let (subject, name) = subject(arguments)?;
    let cases = chosen(&arguments.only, &arguments.skip)?;
    end_everything_when_interrupted()?;
    let service = match arguments.clients {
        Some(Clients::Once) => Service::Once,
        Some(Clients::One) => Service::OneAtATime,
        Some(Clients::Many) => Service::Crowd,
        None => subject.probe()?,
    };
    let processors = thread::available_parallelism().map_or(1, |count| count.get());
    let plan = Plan {
        subject,
        service,
        seed: arguments.seed.unwrap_or_else(Seed::random),
        scale: arguments.scale,
        jobs: arguments.jobs.map_or(2 * processors, usize::from),
    };
    let end = limit(Plan::limit(&cases) + SLACK);
    let mut display = Display::new(&name, &plan, &cases, replay(arguments, plan.seed));
    let outcomes = plan.run(&cases, |event| display.show(event));
    drop(end);
    let results = Results { subject: &name, service, seed: plan.seed, outcomes: &outcomes };
    display.finish(&results);
    let write = |file: &Option<PathBuf>, text: String| match file {
        Some(file) => {
            fs::write(file, text).map_err(|error| format!("cannot write {}: {error}", file.display()))
        }
        None => Ok(()),
    };
    write(&arguments.json, format!("{:#}\n", results.json()))?;
    write(&arguments.markdown, results.markdown())?;
    Ok(if outcomes.iter().any(|outcome| outcome.failed()) { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// The proxy, and what to call it.
fn subject(arguments: &Arguments) -> Result<(Subject, String), String> {
    if let (Some(address), Some(origin)) = (&arguments.address, arguments.origin_listen) {
        let resolved = address.to_socket_addrs().map_err(|error| format!("{address}: {error}"))?;
        let proxy = resolved.into_iter().next().ok_or_else(|| format!("{address} has no address"))?;
        return Ok((Subject::Running { proxy, origin }, format!("{address} in front of {origin}")));
    }
    let words = arguments.command.iter();
    let recipe = match &arguments.config {
        Some(file) if arguments.command.is_empty() => Recipe::read(file)?,
        Some(file) => {
            let text = fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
            Recipe::with_configuration(words, text)?
        }
        None => Recipe::new(words)?,
    };
    let name = recipe.command_line();
    Ok((Subject::Command(recipe), name))
}

type Chosen = Vec<(Topic, Vec<&'static Case>)>;

/// The cases that are named, or all, without those to be left out.
fn chosen(only: &[String], skip: &[String]) -> Result<Chosen, String> {
    let topics = topics();
    for name in only.iter().chain(skip) {
        let known = topics
            .iter()
            .any(|topic| topic.name == name || topic.cases.iter().any(|case| case.name() == name));
        if !known {
            return Err(format!("there is no case or topic {name:?}: see `testkit list`"));
        }
    }
    let named = |names: &[String], topic: &Topic, case: &Case| {
        names.iter().any(|name| name == topic.name || name == case.name())
    };
    let chosen = topics.into_iter().map(|topic| {
        let cases = topic
            .cases
            .iter()
            .filter(|case| (only.is_empty() || named(only, &topic, case)) && !named(skip, &topic, case));
        (topic, cases.collect::<Vec<_>>())
    });
    Ok(chosen.filter(|(_, cases)| !cases.is_empty()).collect())
}

/// Ends everything if what is returned is not dropped in time: every case has a deadline, so this is a mistake here.
fn limit(limit: Duration) -> Sender<()> {
    let (sender, dropped) = channel::<()>();
    thread::spawn(move || {
        if dropped.recv_timeout(limit) == Err(RecvTimeoutError::Timeout) {
            let _ = writeln!(io::stderr(), "testkit: the run has not ended within {limit:?}");
            kill_all_and_exit(TROUBLE.into());
        }
    });
    sender
}

/// The command line that runs one case again, without the name of the case.
fn replay(arguments: &Arguments, seed: Seed) -> String {
    let mut words = vec!["testkit".to_owned(), "conform".to_owned(), "--seed".to_owned(), seed.to_string()];
    if arguments.scale > 1 {
        words.extend(["--scale".to_owned(), arguments.scale.to_string()]);
    }
    if let Some(clients) = arguments.clients.and_then(|clients| clients.to_possible_value()) {
        words.extend(["--clients".to_owned(), clients.get_name().to_owned()]);
    }
    if let Some(config) = &arguments.config {
        words.extend(["--config".to_owned(), config.display().to_string()]);
    }
    if let (Some(address), Some(origin)) = (&arguments.address, arguments.origin_listen) {
        words.extend(["--address", address, "--origin-listen", &origin.to_string()].map(ToOwned::to_owned));
    }
    words.push("--only CASE".to_owned());
    if !arguments.command.is_empty() {
        words.push("--".to_owned());
        words.extend(arguments.command.iter().map(|word| quoted(word)));
    }
    words.join(" ")
}

/// For a shell.
fn quoted(word: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./:=,+@{}".contains(&byte);
    if !word.is_empty() && word.bytes().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}
