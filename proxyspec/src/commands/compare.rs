use std::fs;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use clap::Args;
use proxyspec::conform::{Cases, Comparison, JudgedProxy, Judgement, Plan, Subject, Tried};
use proxyspec::template::Template;
use testkit::seed::Seed;

use crate::commands::conform::{JudgingArguments, SLACK, chosen, judge, limit};
use crate::commands::{end_everything_when_interrupted, print, write};

/// Each proxy is described by a file as in proxyspec/peers. All of them are judged with the same seed, one after another; then
/// the options that its file says are worth a try are tried on what has not passed.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit status: 0 if all were judged, 1 if one could not be, 2 if nothing could be done."
)]
pub(crate) struct CompareArguments {
    #[command(flatten)]
    judging: JudgingArguments,

    /// Begin with what is in the JSON file: proxies that are judged now are replaced there, and the others stay
    #[arg(long, requires = "json")]
    keep: bool,

    /// The files that describe the proxies
    #[arg(required = true, value_name = "TEMPLATE")]
    templates: Vec<PathBuf>,
}

/// The status says whether all were judged, however they did.
pub(crate) fn run(arguments: &CompareArguments) -> Result<ExitCode, String> {
    let JudgingArguments { only, json, markdown, seed } = &arguments.judging;
    let cases = chosen(only)?;
    let templates = arguments.templates.iter().map(|file| Ok((file, Template::read(file)?)));
    let templates = templates.collect::<Result<Vec<_>, String>>()?;
    end_everything_when_interrupted()?;
    let mut comparison = match json {
        Some(file) if arguments.keep => known(file)?,
        _ => Comparison::default(),
    };
    let mut all_judged = true;
    for (file, template) in templates {
        let judgement = judge_template(file, &template, &cases, *seed);
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
        let text = serde_json::to_string_pretty(&comparison).map_err(|error| error.to_string())?;
        write(json, &(text + "\n"))?;
        write(markdown, &comparison.markdown("proxyspec compare"))?;
    }
    Ok(if all_judged { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn judge_template(file: &Path, template: &Template, cases: &Cases, seed: Seed) -> Result<Judgement, String> {
    let recipe = template.judged(None)?;
    let version = template.version().ok_or_else(|| {
        let package = template.label("package").map(|package| format!(" (package {package})"));
        format!("it is not installed{}", package.unwrap_or_default())
    })?;
    let name = format!("{}: {}", template.name(), recipe.command_line());
    let subject = Subject::Command(recipe);
    let service = subject.probe()?;
    let plan = Plan { subject, service, seed, jobs: Plan::usual_jobs() };
    let replay = format!("proxyspec conform --seed {seed} --only CASE --config {}", file.display());
    let begin = Instant::now();
    let outcomes = judge(&name, &plan, cases, replay);
    let mut judgement = Judgement::new(version, &plan, &outcomes, begin.elapsed());
    for option in template.tries() {
        let end = limit(4 * Plan::limit(cases) + SLACK);
        let tried = Tried::run(template, option, &plan, cases, &outcomes);
        drop(end);
        let changes = tried.changes.as_ref().map_or_else(ToString::to_string, ToString::to_string);
        print(&format!("tried {option}: {changes}"));
        judgement.tried.push(tried);
    }
    Ok(judgement)
}

fn known(file: &Path) -> Result<Comparison, String> {
    let named = |error: &dyn std::fmt::Display| format!("{}: {error}", file.display());
    match fs::read_to_string(file) {
        Ok(text) => serde_json::from_str(&text).map_err(|error| named(&error)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Comparison::default()),
        Err(error) => Err(named(&error)),
    }
}
