//! The suite judges itself: each planted bug fails the cases that are listed for it, and no others.

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;

use crate::conform::{Cases, Outcome, Plan, Service, Subject, those};
use crate::planted::Bug;
use crate::recipe::Recipe;
use testkit::seed::Seed;

/// How often a case that should fail is tried: what it provokes may not come about on a machine that is busy elsewhere.
const ATTEMPTS: usize = 3;

/// The result for one bug, or for the proxy without one.
#[derive(Debug)]
pub struct Selftest {
    /// The cases that had to fail and did not, tried several times.
    pub missed: Vec<&'static str>,
    /// What failed and must not, with what was observed.
    pub false_alarms: Vec<Outcome>,
    /// How many cases failed as expected.
    pub found: usize,
}

impl Selftest {
    /// Judges the proxy with this bug, or without one, by these cases. `program` is `proxyspec` itself.
    ///
    /// # Errors
    ///
    /// When the proxy cannot be described, which is a mistake here.
    pub fn run(
        program: &Path,
        bug: Option<Bug>,
        service: Service,
        cases: &Cases,
        seed: Seed,
        jobs: usize,
    ) -> Result<Self, String> {
        let subject = Subject::Command(recipe(program, bug, service)?);
        let mut plan = Plan { subject, service, seed, jobs };
        let (must, may) = bug.map_or_else(Default::default, |bug| (bug.must_fail(), bug.may_fail()));
        let failed = plan.run(cases, |_| ()).into_iter().filter(Outcome::failed);
        let (found, false_alarms): (Vec<_>, Vec<_>) =
            failed.partition(|outcome| [&must, &may].iter().any(|names| names.contains(&outcome.case.name)));
        let mut found: BTreeSet<_> = found.iter().map(|outcome| outcome.case.name).collect();
        let mut missed = Vec::new();
        for attempt in 1..=ATTEMPTS {
            let left = those(cases, |case| must.contains(&case.name) && !found.contains(case.name));
            missed = left.iter().flat_map(|(_, cases)| cases).map(|case| case.name).collect();
            if missed.is_empty() || attempt == ATTEMPTS {
                break;
            }
            plan.seed = plan.seed.derive("again");
            let again = plan.run(&left, |_| ());
            found.extend(again.iter().filter(|outcome| outcome.failed()).map(|outcome| outcome.case.name));
        }
        Ok(Self { missed, false_alarms, found: found.len() })
    }

    /// Whether the suite has judged as it should.
    pub fn is_right(&self) -> bool {
        self.missed.is_empty() && self.false_alarms.is_empty()
    }
}

/// A line for each case with a wrong result.
impl fmt::Display for Selftest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:2} cases failed as expected", self.found)?;
        for case in &self.missed {
            write!(f, "\n           it did not fail {case}")?;
        }
        for alarm in &self.false_alarms {
            write!(f, "\n           it failed {}: {}", alarm.case.name, alarm.observed())?;
        }
        Ok(())
    }
}

/// The planted proxy as a command.
fn recipe(program: &Path, bug: Option<Bug>, service: Service) -> Result<Recipe, String> {
    let clients = if service == Service::OneAtATime { 1 } else { 0 };
    let settings = [
        "--buffer={buffer:16384}",
        "--connect={connect:10}",
        "--half-close={half_close:3600}",
        "--drain={drain:30}",
        &format!("--clients={{clients:{clients}}}"),
    ];
    let bug = bug.map(|bug| format!("--bug={}", bug.name()));
    let program = program.display().to_string();
    let words = [&program, "planted"].into_iter().chain(settings).chain(bug.as_deref());
    Recipe::new(words.chain(["{host}", "{port}", "{listen}"]))
}
