//! The table on the terminal or in a log, a case a line, in the order of the list.

use std::collections::HashMap;
use std::io::{self, IsTerminal};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use proxyspec::conform::{Case, CaseEvent, Cases, Outcome, Plan, Results, Topic};

use crate::commands::print;

/// Shows outcomes as they come, and on a terminal a bar below them with what runs at the moment.
///
/// Several cases run at once, so an outcome is kept back until those before it are there.
pub(crate) struct Display {
    waiting: Vec<(Topic, &'static Case)>,
    early: HashMap<&'static str, Outcome>,
    running: Vec<&'static str>,
    topic: &'static str,
    bar: ProgressBar,
    width: usize,
    colours: bool,
    replay: String,
}

impl Display {
    /// Says what is going to happen.
    pub(crate) fn new(subject: &str, plan: &Plan, cases: &Cases, replay: String) -> Self {
        let waiting: Vec<_> =
            cases.iter().flat_map(|(topic, cases)| cases.iter().map(move |case| (*topic, *case))).collect();
        let width = waiting.iter().map(|(_, case)| case.name.len()).max().unwrap_or_default();
        let bar = ProgressBar::new(waiting.len() as u64);
        let style = ProgressStyle::with_template("{bar:30} {pos}/{len} {elapsed} {wide_msg}");
        bar.set_style(style.expect("the template is right"));
        bar.enable_steady_tick(Duration::from_millis(500));
        let display = Self {
            waiting,
            early: HashMap::new(),
            running: Vec::new(),
            topic: "",
            bar,
            width,
            colours: io::stdout().is_terminal(),
            replay,
        };
        let (service, seed) = (plan.service.description(), plan.seed);
        display.print(&format!("{subject}\nserves {service}; seed {seed}"));
        display
    }

    /// Shows what has happened.
    pub(crate) fn show(&mut self, event: &CaseEvent) {
        match event {
            CaseEvent::Begun(case) => self.running.push(case.name),
            CaseEvent::Ended(outcome) => {
                self.running.retain(|name| *name != outcome.case.name);
                self.early.insert(outcome.case.name, outcome.clone());
                self.bar.inc(1);
                self.print_those_whose_turn_it_is();
            }
        }
        self.bar.set_message(self.running.join(", "));
    }

    /// Shows the sum.
    pub(crate) fn finish(self, results: &Results<'_>) {
        self.bar.finish_and_clear();
        let (passed, failed, not_applicable) = results.counts();
        self.print(&format!("\n{passed} passed, {failed} failed, {not_applicable} not applicable"));
    }

    fn print_those_whose_turn_it_is(&mut self) {
        while let Some((topic, case)) = self.waiting.first().copied() {
            let Some(outcome) = self.early.remove(case.name) else { return };
            self.waiting.remove(0);
            if topic.name != self.topic {
                self.topic = topic.name;
                self.print(&format!("\n{}: {}", topic.name, topic.about));
            }
            self.print(&self.lines(&outcome));
        }
    }

    fn lines(&self, outcome: &Outcome) -> String {
        let (case, word, observed) = (outcome.case, outcome.word(), outcome.observed());
        let name = case.name;
        if !outcome.failed() {
            let width = self.width;
            let took = outcome.took.as_secs_f64();
            return format!("  {}  {name:width$}  {took:4.1} s  {observed}", self.coloured(word));
        }
        format!(
            "  {}  {name}\n        observed: {observed}\n        expected: {}\n        source:   {}\n        again:    {}",
            self.coloured("FAIL"),
            case.expects(),
            case.source(),
            self.replay.replace("--only CASE", &format!("--only {name}")),
        )
    }

    fn coloured(&self, word: &str) -> String {
        // Select Graphic Rendition, ECMA-48, section 8.3.117.
        let colour = match word {
            "pass" => 32,
            "FAIL" => 31,
            _ => 33,
        };
        let padded = format!("{word:4}");
        if self.colours { format!("\x1b[{colour}m{padded}\x1b[0m") } else { padded }
    }

    fn print(&self, text: &str) {
        self.bar.suspend(|| print(text));
    }
}
