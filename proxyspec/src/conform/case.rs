use std::time::Duration;

use crate::conform::{Trial, Verdict};

/// One promise, and how to find out whether a proxy keeps it.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// The promise in words joined by underscores.
    pub name: &'static str,
    /// What a correct proxy brings about, as a line beside what was observed.
    pub expects: &'static str,
    /// What the case does, and what breaks if the promise does.
    pub why: &'static str,
    /// The RFC with its section, or the man page, behind the promise.
    pub source: &'static str,
    /// What the case cannot do without.
    pub needs: &'static [Need],
    pub(super) deadline: Duration,
    pub(super) alone: bool,
    pub(super) run: fn(&Trial) -> Verdict,
}

/// What a case cannot do without. It is not applicable where that is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// The proxy is a process of this machine, which the suite has started.
    Process,
    /// The proxy serves one client after another, and does not end with the first.
    Sessions,
    /// The proxy serves several clients at once.
    ManyAtOnce,
}

impl Need {
    /// In words.
    pub const fn description(self) -> &'static str {
        match self {
            Self::Process => "the process of the proxy",
            Self::Sessions => "a proxy that serves one client after another",
            Self::ManyAtOnce => "a proxy that serves several clients at once",
        }
    }
}

/// How long a case may take in all, unless it says otherwise.
const DEADLINE: Duration = Duration::from_secs(90);

impl Case {
    /// A case of this name.
    pub(super) const fn new(name: &'static str, run: fn(&Trial) -> Verdict) -> Self {
        Self { name, expects: "", why: "", source: "", needs: &[], deadline: DEADLINE, alone: false, run }
    }

    /// A case about the process of the proxy.
    pub(super) const fn of_process(name: &'static str, run: fn(&Trial) -> Verdict) -> Self {
        Self::new(name, run).needs(&[Need::Process])
    }

    /// Says what a correct proxy brings about.
    pub(super) const fn expects(mut self, expects: &'static str) -> Self {
        self.expects = expects;
        self
    }

    /// Says what the case does.
    pub(super) const fn why(mut self, why: &'static str) -> Self {
        self.why = why;
        self
    }

    /// Says what is behind the promise.
    pub(super) const fn source(mut self, source: &'static str) -> Self {
        self.source = source;
        self
    }

    /// Says what the case cannot do without.
    pub(super) const fn needs(mut self, needs: &'static [Need]) -> Self {
        self.needs = needs;
        self
    }

    /// Another deadline for the whole case, in seconds.
    pub(super) const fn deadline(mut self, seconds: u64) -> Self {
        self.deadline = Duration::from_secs(seconds);
        self
    }

    /// Not beside other cases: it compares times, or needs much of the machine.
    pub(super) const fn alone(mut self) -> Self {
        self.alone = true;
        self
    }
}

/// Cases, topic by topic.
pub type Cases = Vec<(Topic, Vec<&'static Case>)>;

/// Those of these cases that are wanted.
pub(super) fn those(cases: &Cases, wanted: impl Fn(&Case) -> bool) -> Cases {
    let wanted = |case: &&Case| wanted(case);
    cases.iter().map(|(topic, cases)| (*topic, cases.iter().copied().filter(wanted).collect())).collect()
}

/// Cases that belong together.
#[derive(Clone, Copy, Debug)]
pub struct Topic {
    /// A word.
    pub name: &'static str,
    /// What the cases have in common.
    pub about: &'static str,
    /// In the order in which they are shown.
    pub cases: &'static [Case],
}
