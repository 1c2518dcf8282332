use std::fs;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use proxyspec::conform::{
    Changes, Comparison, JudgedProxy, Judgement, Outcome, Plan, Results, Subject, Tried,
};
use proxyspec::template::Template;
use testkit::seed::Seed;

use crate::commands::conform::{Chosen, chosen, limit};
use crate::commands::display::Display;
use crate::commands::{end_everything_when_interrupted, print, write};

/// Each proxy is described by a file as in proxyspec/peers. All of them are judged with the same seed, one after another; then
/// the options that its file says are worth a try are tried on what has not passed.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit status: 0 if all were judged, 1 if one could not be, 2 if nothing could be done."
)]
pub(crate) struct CompareArguments {
    /// Write the results as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,

    /// Begin with what is in the JSON file: proxies that are judged now are replaced there, and the others stay
    #[arg(long, requires = "json")]
    keep: bool,

    /// Write the results as a page of Markdown
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,

    /// Run these cases or topics alone
    #[arg(long, value_name = "CASE", value_delimiter = ',')]
    only: Vec<String>,

    /// What decides everything random [default: another one each time]
    #[arg(long, value_name = "HEX")]
    seed: Option<Seed>,

    /// The files that describe the proxies
    #[arg(required = true, value_name = "TEMPLATE")]
    templates: Vec<PathBuf>,
}

/// How long trying one option may take beyond all deadlines of the cases.
const SLACK: Duration = Duration::from_secs(120);

/// The status says whether all were judged, however they did.
pub(crate) fn run(arguments: &CompareArguments) -> Result<ExitCode, String> {
    let cases = chosen(&arguments.only)?;
    let templates = arguments.templates.iter().map(|file| Ok((file, Template::read(file)?)));
    let templates = templates.collect::<Result<Vec<_>, String>>()?;
    end_everything_when_interrupted()?;
    let mut comparison = match &arguments.json {
        Some(file) if arguments.keep => known(file)?,
        _ => Comparison::default(),
    };
    let seed = arguments.seed.unwrap_or_else(Seed::random);
    let mut all_judged = true;
    for (file, template) in templates {
        let judgement = judge(file, &template, &cases, seed);
        if let Err(why) = &judgement {
            all_judged = false;
            let _ = writeln!(io::stderr(), "proxyspec: {} is NOT judged: {why}", template.name()); // if it is closed, there is the status
        }
        comparison.put(JudgedProxy {
            name: template.name().to_owned(),
            description: template.description(),
            command: template.label("command").unwrap_or_default().to_owned(),
            configuration: template.configuration(),
            with: template.label("with").unwrap_or_default().to_owned(),
            judgement,
        });
        // Each time, so that an interrupt costs one contender alone.
        let json = serde_json::to_string_pretty(&comparison).map_err(|error| error.to_string())?;
        write(&arguments.json, &(json + "\n"))?;
        write(&arguments.markdown, &comparison.markdown("proxyspec compare"))?;
    }
    Ok(if all_judged { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn judge(file: &Path, template: &Template, cases: &Chosen, seed: Seed) -> Result<Judgement, String> {
    let recipe = template.judged(None)?;
    let version = template.version().ok_or_else(|| {
        let package = template.label("package").map(|package| format!(" (package {package})"));
        format!("it is not installed{}", package.unwrap_or_default())
    })?;
    let name = format!("{}: {}", template.name(), recipe.command_line());
    let subject = Subject::Command(recipe);
    let service = subject.probe()?;
    let processors = thread::available_parallelism().map_or(1, |count| count.get());
    let plan = Plan { subject, service, seed, jobs: 2 * processors };
    let replay = format!("proxyspec conform --seed {seed} --only CASE --config {}", file.display());
    let begin = Instant::now();
    let outcomes = watched(&name, &plan, cases, &replay);
    let mut judgement = Judgement::new(version, &plan, &outcomes, begin.elapsed());
    for option in template.tries() {
        let end = limit(4 * Plan::limit(cases) + SLACK);
        let tried = Tried::run(template, option, &plan, cases, &outcomes, |_| ());
        drop(end);
        print(&describe(&tried));
        judgement.tried.push(tried);
    }
    Ok(judgement)
}

fn watched(name: &str, plan: &Plan, cases: &Chosen, replay: &str) -> Vec<Outcome> {
    let end = limit(Plan::limit(cases) + SLACK);
    let mut display = Display::new(name, plan, cases, replay.to_owned());
    let outcomes = plan.run(cases, |event| display.show(event));
    drop(end);
    display.finish(&Results { subject: name, service: plan.service, seed: plan.seed, outcomes: &outcomes });
    outcomes
}

fn describe(Tried { option, changes }: &Tried) -> String {
    let list = |names: &[String]| if names.is_empty() { "nothing".to_owned() } else { names.join(", ") };
    match changes {
        Ok(Changes { mended, broken }) if broken.is_empty() => {
            format!("tried {option}: mends {}", list(mended))
        }
        Ok(Changes { mended, broken }) => {
            format!("tried {option}: mends {}, breaks {}", list(mended), list(broken))
        }
        Err(why) => format!("tried {option}: {why}"),
    }
}

fn known(file: &Path) -> Result<Comparison, String> {
    let named = |error: &dyn std::fmt::Display| format!("{}: {error}", file.display());
    match fs::read_to_string(file) {
        Ok(text) => serde_json::from_str(&text).map_err(|error| named(&error)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Comparison::default()),
        Err(error) => Err(named(&error)),
    }
}
