//! Several proxies beside each other.

mod page;

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::conform::{Cases, Outcome, Plan, Subject, those};
use crate::machine::Machine;
use crate::template::Template;

/// The judgement of each contender.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// In the order in which they are shown.
    pub contenders: Vec<JudgedProxy>,
}

/// A proxy in one of its configurations.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JudgedProxy {
    /// That of its [`Template`].
    pub name: String,
    /// What its template says about it.
    pub description: String,
    /// The command line, with its placeholders.
    pub command: String,
    /// The configuration file, with its placeholders; empty if it has none.
    pub configuration: String,
    /// The options it was judged with, and where they stand; empty without any.
    pub with: String,
    /// The judgement, or why it was not judged.
    pub judgement: Result<Judgement, String>,
}

/// The results of one contender.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Judgement {
    /// What its program says.
    pub version: String,
    /// How many clients it serves.
    pub serves: String,
    /// The distribution and the kernel.
    pub system: String,
    /// The day, in UTC.
    pub date: String,
    /// The seed of the run.
    pub seed: String,
    /// How long the run took, without what was tried besides.
    pub seconds: f64,
    /// The cases by their names.
    pub cases: BTreeMap<String, CaseResult>,
    /// The options that were tried.
    pub tried: Vec<Tried>,
}

/// The result of one case.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CaseResult {
    /// `pass`, `fail` or `n/a`.
    pub result: String,
    /// What was observed, or why the case was left out.
    pub observed: String,
}

/// The effect of one more option on the cases.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tried {
    /// The line of the template.
    pub option: String,
    /// The difference it made, or why it could not be judged.
    pub changes: Result<Changes, String>,
}

/// The difference that an option made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changes {
    /// The cases that pass with it, twice, and not without, before and after.
    pub mended: Vec<String>,
    /// The cases that fail with it, twice, and passed without. They are run only if it mends something.
    pub broken: Vec<String>,
}

impl Comparison {
    /// Replaces the contender of this name, or adds this one at the end.
    pub fn put(&mut self, contender: JudgedProxy) {
        match self.contenders.iter_mut().find(|known| known.name == contender.name) {
            Some(known) => *known = contender,
            None => self.contenders.push(contender),
        }
    }

    /// The page with all of it. `command` is how it was made.
    pub fn markdown(&self, command: &str) -> String {
        page::markdown(self, command)
    }
}

impl fmt::Display for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { mended, broken } = self;
        let mended = if mended.is_empty() { "nothing".to_owned() } else { mended.join(", ") };
        write!(f, "mends {mended}")?;
        if broken.is_empty() { Ok(()) } else { write!(f, ", breaks {}", broken.join(", ")) }
    }
}

impl Judgement {
    /// The judgement from the outcomes of a run, and the time it took.
    pub fn new(version: String, plan: &Plan, outcomes: &[Outcome], took: Duration) -> Self {
        let machine = Machine::this();
        let date = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
        let found = |outcome: &Outcome| {
            let (result, observed) = (outcome.word().to_owned(), outcome.observed().to_owned());
            (outcome.case.name.to_owned(), CaseResult { result, observed })
        };
        Self {
            version,
            serves: plan.service.description().to_owned(),
            system: format!("{}, {}, {} processors", machine.system, machine.kernel, machine.cpus),
            date: date[..DAY].to_owned(),
            seed: plan.seed.to_string(),
            seconds: took.as_secs_f64(),
            cases: outcomes.iter().map(found).collect(),
            tried: Vec::new(),
        }
    }
}

/// The length of `2026-01-31`.
const DAY: usize = 10;

impl Tried {
    /// Runs the cases that have not passed, with one more option; and if that mends one, those that have passed.
    ///
    /// `plan` is that of the run without it, `outcomes` its results.
    pub fn run(template: &Template, option: &str, plan: &Plan, cases: &Cases, outcomes: &[Outcome]) -> Self {
        let changes = changes(template, option, plan, cases, outcomes);
        Self { option: option.to_owned(), changes }
    }
}

fn changes(
    template: &Template,
    option: &str,
    without: &Plan,
    cases: &Cases,
    outcomes: &[Outcome],
) -> Result<Changes, String> {
    let subject = Subject::Command(template.judged(Some(option))?);
    let service = subject.probe()?;
    let with = Plan { subject, service, ..without.clone() };
    let run = |plan: &Plan, names: &[String]| {
        plan.run(&those(cases, |case| names.iter().any(|name| name == case.name)), |_| ())
    };
    let (passed, others): (Vec<_>, Vec<_>) = outcomes.iter().partition(|outcome| passes(outcome));
    // Most cases that fail wait for their time limit.
    let eager = Plan { jobs: EAGER * with.jobs, ..with.clone() };
    let once = those_that(passes, run(&eager, &names(others)));
    let twice = those_that(passes, run(&with, &once));
    // What fails now and then may have passed by chance.
    let mended = those_that(|outcome| !passes(outcome), run(without, &twice));
    let broken = if mended.is_empty() {
        Vec::new()
    } else {
        let once = those_that(Outcome::failed, run(&with, &names(passed)));
        those_that(Outcome::failed, run(&with, &once))
    };
    Ok(Changes { mended, broken })
}

/// How many times as many cases run at once when an option is tried on those that have not passed.
const EAGER: usize = 4;

fn passes(outcome: &Outcome) -> bool {
    outcome.verdict.is_ok()
}

fn those_that(counts: fn(&Outcome) -> bool, outcomes: Vec<Outcome>) -> Vec<String> {
    names(outcomes.iter().filter(|outcome| counts(outcome)))
}

fn names<'a>(outcomes: impl IntoIterator<Item = &'a Outcome>) -> Vec<String> {
    outcomes.into_iter().map(|outcome| outcome.case.name.to_owned()).collect()
}
