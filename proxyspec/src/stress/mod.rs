//! Random sessions through a proxy, many at once, for a given time.
//!
//! Every session is a [`Scenario`] drawn from a seed of its own, is judged when it is over, and can be played again
//! alone: [`replay`]. The first one that goes wrong ends the run.
//!
//! Of a proxy that is a process of this machine, what it takes is watched: a first round of sessions brings its
//! descriptors and its memory to where a proxy that has worked has them, and there they have to be again at the end.

mod figures;
mod resource_monitor;
mod workers;

pub use figures::{Figures, ProcessFigures};

use std::fmt;
use std::num::ParseIntError;
use std::sync::Arc;
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use bytesize::ByteSize;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, value_parser};
use resource_monitor::ResourceMonitor;
use testkit::proxy::{Proxy, stuttering};
use testkit::scenario::{Kind, Played, Scenario, Stage};
use testkit::seed::Seed;
use workers::{Until, Workers};

/// What to do to a proxy.
#[derive(Clone, Debug, Args)]
pub struct Stress {
    /// Play sessions for N seconds
    #[arg(long = "seconds", value_name = "N", default_value = "60", value_parser = seconds)]
    pub length: Duration,

    /// Play N sessions at once; with 1 they come one after the other
    #[arg(long, value_name = "N", default_value = "16", value_parser = value_parser!(u16).range(1..).map(usize::from))]
    pub clients: usize,

    /// Draw every session from this seed [default: another one each time]
    #[arg(long, value_name = "HEX", default_value_t = Seed::random(), hide_default_value = true)]
    pub seed: Seed,

    /// Draw these kinds of session alone
    #[arg(long, value_name = "KIND", value_parser = kind_parser(), value_delimiter = ',')]
    pub kinds: Vec<Kind>,

    /// Draw sessions for a proxy with buffers of this size: with small ones, less is sent
    #[arg(long, value_name = "SIZE", default_value = "256KiB", value_parser = bytes)]
    pub buffer: u64,

    /// Let the server refuse every client for a moment, now and then: clients have to be reset
    #[arg(long)]
    pub refusals: bool,

    /// Stop the process of the proxy for moments, so that what happens meanwhile meets it at once
    #[arg(long, conflicts_with = "address")]
    pub stutter: bool,

    /// Fail if the proxy ends with more memory than after its first sessions by this size
    #[arg(long, value_name = "SIZE", value_parser = bytes, conflicts_with = "address")]
    pub memory_growth: Option<u64>,
}

/// What the buffers of a proxy hold unless it is said, in bytes.
pub const BUFFER: u64 = 256 << 10;

fn seconds(text: &str) -> Result<Duration, ParseIntError> {
    text.parse().map(Duration::from_secs)
}

fn bytes(text: &str) -> Result<u64, String> {
    text.parse().map(|size: ByteSize| size.as_u64())
}

/// Reads the name of a kind of session.
fn kind_parser() -> impl TypedValueParser<Value = Kind> {
    PossibleValuesParser::new(Kind::ALL.map(Kind::name)).map(|name| {
        let named = Kind::ALL.into_iter().find(|kind| kind.name() == name);
        named.expect("only names of kinds are possible")
    })
}

/// What went wrong.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The session it was, if it was one that can be played again.
    pub session: Option<Seed>,
    /// In a few words.
    pub why: String,
    /// What was drawn, and what both sides saw.
    pub details: String,
}

/// How often the figures are read.
const LOOK: Duration = Duration::from_secs(1);

/// The least number of sessions that bring a proxy to work.
const FIRST_ROUND: u64 = 16;

impl Stress {
    /// Plays sessions through the proxy of the stage, and tells every second how far it is.
    ///
    /// # Errors
    ///
    /// The first thing that went wrong. Sessions under way are left to themselves then.
    ///
    /// # Panics
    ///
    /// When there are no clients, or none of the kinds can be drawn for them.
    pub fn run(
        &self,
        stage: &Arc<Stage>,
        proxy: Option<&Proxy>,
        mut progress: impl FnMut(&Figures),
    ) -> Result<Figures, Failure> {
        assert!(self.clients > 0, "there is no stress without a client");
        assert!(
            self.clients > 1 || self.kinds.is_empty() || self.kinds.iter().any(|kind| *kind != Kind::Vanish),
            "of these kinds none can be drawn for {} clients: {:?}",
            self.clients,
            self.kinds
        );
        let mut monitor = ResourceMonitor::new(proxy, self.clients);
        let workers = Arc::new(Workers::new(self.clone(), stage.clone()));
        if proxy.is_some() {
            let enough = Until::Sessions((2 * self.clients as u64).max(FIRST_ROUND));
            self.play(&workers, enough, &mut monitor, &mut progress)?;
            monitor.settle()?;
        }
        let end = Until::Time(Instant::now() + self.length);
        let stutters = proxy.filter(|_| self.stutter);
        stuttering(stutters, self.seed, || self.play(&workers, end, &mut monitor, &mut progress))?;
        stage.check().map_err(Failure::of_the_run)?;
        monitor.expect_return(self.memory_growth)?;
        let figures = workers.figures(&monitor);
        progress(&figures);
        Ok(figures)
    }

    /// The session of this number.
    fn scenario(&self, number: u64) -> Scenario {
        let seeds = (0..).map(|draw| self.seed.derive(&format!("session {number}, draw {draw}")));
        let mut scenarios = seeds.map(|seed| Scenario::draw(seed, self.buffer, self.clients > 1));
        let is_wanted = |kind| self.kinds.is_empty() || self.kinds.contains(&kind);
        scenarios.find(|scenario| is_wanted(scenario.kind())).expect("draws never end")
    }

    /// Lets the workers work, and looks on.
    fn play(
        &self,
        workers: &Arc<Workers>,
        until: Until,
        monitor: &mut ResourceMonitor<'_>,
        progress: &mut impl FnMut(&Figures),
    ) -> Result<(), Failure> {
        let failures = workers.begin(until);
        loop {
            match failures.recv_timeout(LOOK) {
                Ok(failure) => return Err(failure),
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
                Err(RecvTimeoutError::Timeout) => {}
            }
            monitor.look()?;
            workers.expect_ends()?;
            progress(&workers.figures(monitor));
        }
    }
}

/// Plays one session again.
///
/// # Errors
///
/// What went wrong.
pub fn replay(stage: &Stage, scenario: &Scenario) -> Result<Played, Failure> {
    let played = stage.play(scenario);
    played.judge().map_err(|why| Failure::of_a_session(stage, &played, why))?;
    stage.check().map_err(Failure::of_the_run)?;
    Ok(played)
}

impl Failure {
    fn of_a_session(stage: &Stage, played: &Played, why: String) -> Self {
        let mut details = format!("{played:#?}");
        // A session whose first bytes were spoiled cannot be recognized.
        if let Err(faults) = stage.check() {
            details = format!("{faults}\n{details}");
        }
        Self { session: Some(played.scenario.seed()), why, details }
    }

    fn of_the_run(why: impl Into<String>) -> Self {
        Self { session: None, why: why.into(), details: String::new() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.session {
            Some(seed) => write!(f, "session {seed}: {}", self.why),
            None => f.write_str(&self.why),
        }
    }
}

impl std::error::Error for Failure {}
