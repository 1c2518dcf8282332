use std::time::Duration;

use crate::conform::{Trial, Verdict};

/// The texts of all cases. The comment at its beginning describes the format.
const TEXTS: &str = include_str!("cases.txt");

/// One promise, and how to find out whether a proxy keeps it.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// The promise in words joined by underscores.
    pub name: &'static str,
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
        Self { name, needs: &[], deadline: DEADLINE, alone: false, run }
    }

    /// A case about the process of the proxy.
    pub(super) const fn of_process(name: &'static str, run: fn(&Trial) -> Verdict) -> Self {
        Self::new(name, run).needs(&[Need::Process])
    }

    /// What the case does, and what breaks if the promise does.
    pub fn why(&self) -> &'static str {
        self.texts().next().unwrap_or_default()
    }

    /// What a correct proxy brings about, as a line beside what was observed.
    pub fn expects(&self) -> &'static str {
        self.labelled("expected:")
    }

    /// The RFC with its section, or the man page, behind the promise.
    pub fn source(&self) -> &'static str {
        self.labelled("source:")
    }

    /// The lines below its name.
    fn texts(&self) -> impl Iterator<Item = &'static str> {
        let lines = TEXTS.lines().map(str::trim).skip_while(|line| *line != self.name);
        lines.skip(1).take_while(|line| !line.is_empty())
    }

    fn labelled(&self, label: &str) -> &'static str {
        self.texts().find_map(|line| line.strip_prefix(label)).unwrap_or_default().trim()
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

/// The cases among these that are wanted.
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

impl Topic {
    /// A topic of this name, whose text says what it is about.
    pub(super) fn new(name: &'static str, cases: &'static [Case]) -> Self {
        let about = TEXTS.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        Self { name, about: about.unwrap_or_default(), cases }
    }
}
