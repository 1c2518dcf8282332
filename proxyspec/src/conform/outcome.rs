use std::io;
use std::time::Duration;

use crate::conform::Case;

/// What a case returns: on success what was observed, in a line.
pub type Verdict = Result<String, Stop>;

/// Why a case ended before all of its promise was seen to be kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The proxy has broken the promise: what was observed instead.
    Broken(String),
    /// The case does not fit this proxy or this machine, and why.
    NotApplicable(String),
}

impl Stop {
    /// The same with these words before what was observed.
    pub(super) fn after(self, words: &str) -> Self {
        match self {
            Self::Broken(observed) => Self::Broken(format!("{words} {observed}")),
            other => other,
        }
    }
}

/// What the suite itself needs and does not get, such as a port, fails the case too: it has not been seen to hold.
impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Broken(format!("the case could not go on: {error}"))
    }
}

/// The promise is broken: what was observed.
pub fn broken<T>(observed: impl Into<String>) -> Result<T, Stop> {
    Err(Stop::Broken(observed.into()))
}

/// How one case ended.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Which case.
    pub case: &'static Case,
    /// The topic it belongs to.
    pub topic: &'static str,
    /// Whether the promise was kept, and what was observed.
    pub verdict: Verdict,
    /// How long it took.
    pub took: Duration,
}

impl Outcome {
    /// The result in a word: `pass`, `fail` or `n/a`.
    pub const fn word(&self) -> &'static str {
        match self.verdict {
            Ok(_) => "pass",
            Err(Stop::Broken(_)) => "fail",
            Err(Stop::NotApplicable(_)) => "n/a",
        }
    }

    /// What was observed, or why the case was left out.
    pub fn observed(&self) -> &str {
        match &self.verdict {
            Ok(text) | Err(Stop::Broken(text) | Stop::NotApplicable(text)) => text,
        }
    }

    /// Whether the promise was broken.
    pub const fn failed(&self) -> bool {
        matches!(self.verdict, Err(Stop::Broken(_)))
    }
}
