//! The results, before they are drawn.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::contender::Contender;
use super::load::LoadReport;
use super::measure::Measure;
use super::quantity::Quantity;
use super::sections::{Column, Section};
use super::statistics::Summary;

/// When everything else on the machine takes more processors' worth of time than this, what is measured is not what it
/// would be on a quiet one.
pub(super) const BUSY: f64 = 0.15;

/// Everything a run has found out.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct BenchResults {
    /// Where it was measured.
    pub(super) machine: crate::machine::Machine,
    /// The command line.
    pub(super) command: String,
    /// How often each measure was made.
    pub(super) rounds: usize,
    /// How many turns of each round a contender had.
    pub(super) turns: usize,
    /// How long, each time.
    pub(super) seconds: f64,
    /// How long all of it took, in seconds.
    pub(super) duration: f64,
    /// The contenders that were measured.
    pub(super) contenders: Vec<Entrant>,
    /// What was measured, in order.
    pub(super) measures: Vec<MeasureResults>,
}

/// A contender, for the record.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Entrant {
    /// What it is called.
    pub(super) name: String,
    /// What it is.
    pub(super) about: String,
    /// What its program says about its version.
    pub(super) version: String,
    /// Its command line; empty if it has none.
    pub(super) command: String,
}

/// The outcome of one measure.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct MeasureResults {
    /// Its name.
    pub(super) name: String,
    /// How many connections were open.
    pub(super) connections: usize,
    /// For each contender that took part, in the order of the contenders.
    pub(super) rows: Vec<Row>,
}

/// One contender in one measure.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Row {
    /// Its name.
    pub(super) contender: String,
    /// Every figure of every round.
    pub(super) values: BTreeMap<Quantity, Vec<f64>>,
    /// Their medians.
    pub(super) summaries: BTreeMap<Quantity, Summary>,
    /// What a figure consists of, if there is more to say.
    pub(super) note: String,
    /// Whether the machine was busy with other things in half of the rounds or more.
    #[serde(default)]
    pub(super) busy: bool,
    /// Why it has fewer figures than rounds, or none.
    pub(super) failures: Vec<String>,
}

impl BenchResults {
    /// What an earlier run has found out.
    ///
    /// # Errors
    ///
    /// When the file cannot be read, or is not what `--json` writes.
    pub(super) fn read(file: &Path) -> Result<Self, String> {
        let cannot = |error: &dyn std::fmt::Display| format!("cannot read {}: {error}", file.display());
        let text = fs::read_to_string(file).map_err(|error| cannot(&error))?;
        let mut results: Self = serde_json::from_str(&text).map_err(|error| cannot(&error))?;
        for row in results.measures.iter_mut().flat_map(|measure| &mut measure.rows) {
            row.summarize();
        }
        Ok(results)
    }

    /// The row of every contender in the measure of this column.
    pub(super) fn rows(&self, column: &Column) -> impl Iterator<Item = &Row> {
        let measure = self.measures.iter().find(|measure| measure.name == column.measure);
        measure.into_iter().flat_map(|measure| &measure.rows)
    }

    /// The columns of this section that have figures.
    pub(super) fn shown_columns<'a>(&self, section: &'a Section) -> Vec<&'a Column> {
        section.columns.iter().filter(|column| self.rows(column).next().is_some()).collect()
    }

    /// One contender's row in the measure of this column.
    pub(super) fn row(&self, column: &Column, contender: &str) -> Option<&Row> {
        self.rows(column).find(|row| row.contender == contender)
    }

    /// The best median among these contenders, and whose it is. `None` if there is none, or if neither more nor less is
    /// better.
    pub(super) fn best(&self, column: &Column, among: impl Fn(&str) -> bool) -> Option<(&str, f64)> {
        let better = column.quantity.better()?;
        let rows = self.rows(column).filter(|row| among(&row.contender));
        let medians = rows
            .filter_map(|row| Some((row.contender.as_str(), row.summaries.get(&column.quantity)?.median)));
        medians.reduce(|best, next| if better.prefers(next.1, best.1) { next } else { best })
    }

    /// One contender's figure divided by another one's: the median of the ratios of each turn, in which both have met the same
    /// machine, or, if a turn of one of them is missing, the ratio of the medians.
    pub(super) fn ratio(&self, column: &Column, of: &str, to: &str) -> Option<f64> {
        let rows = [self.row(column, of)?, self.row(column, to)?];
        let [of, to] = rows.map(|row| row.values.get(&column.quantity).map_or(&[][..], Vec::as_slice));
        let divided = |of: f64, to: f64| if of == to { 1.0 } else { of / to };
        if of.is_empty() || of.len() != to.len() || rows.iter().any(|row| !row.failures.is_empty()) {
            let [of, to] = rows.map(|row| row.summaries.get(&column.quantity));
            return Some(divided(of?.median, to?.median));
        }
        let counted = |turn: usize| rows.iter().all(|row| row.busy || row.is_quiet(turn));
        let turns = (0..of.len()).filter(|turn| counted(*turn));
        let ratios: Vec<_> = turns.map(|turn| divided(of[turn], to[turn])).collect();
        Some(Summary::of(&ratios)?.median)
    }

    /// The peer, among these, that leaves one contender the worst ratio, and that ratio. `None` if there is none, or if
    /// neither more nor less is better.
    pub(super) fn hardest(
        &self,
        column: &Column,
        of: &str,
        among: impl Fn(&str) -> bool,
    ) -> Option<(&str, f64)> {
        let better = column.quantity.better()?;
        let peers = self.rows(column).map(|row| row.contender.as_str()).filter(|peer| among(peer));
        let ratios = peers.filter_map(|peer| Some((peer, self.ratio(column, of, peer)?)));
        ratios.reduce(|worst, next| if better.prefers(worst.1, next.1) { next } else { worst })
    }

    /// One contender's figure.
    pub(super) fn summary(&self, column: &Column, contender: &str) -> Option<&Summary> {
        self.row(column, contender)?.summaries.get(&column.quantity)
    }
}

impl MeasureResults {
    /// A measure without a contender yet.
    pub(super) fn new(measure: &Measure) -> Self {
        Self { name: measure.name.to_owned(), connections: measure.connections(), rows: Vec::new() }
    }

    /// Adds what one cell gave.
    pub(super) fn add(&mut self, contender: &str, outcome: Result<LoadReport, String>) {
        let at = self.rows.iter().position(|row| row.contender == contender).unwrap_or_else(|| {
            self.rows.push(Row { contender: contender.to_owned(), ..Row::default() });
            self.rows.len() - 1
        });
        self.rows[at].add(outcome);
    }
}

impl Row {
    /// Takes the medians of the turns in which the machine was quiet, if they are the majority. A quantity
    /// that is missing in a turn has none.
    fn summarize(&mut self) {
        let turns = self.values.get(&Quantity::OthersLoad).map_or(0, Vec::len);
        let quiet = |turn: usize| self.is_quiet(turn);
        let busy = (0..turns).filter(|turn| quiet(*turn)).count() * 2 <= turns && turns > 0;
        let summaries = self.values.iter().filter_map(|(&quantity, values)| {
            if quantity.is_never_zero() && values.contains(&0.0) {
                return None;
            }
            let counted = values.iter().enumerate().filter(|(round, _)| busy || quiet(*round));
            let counted: Vec<_> = counted.map(|(_, value)| *value).collect();
            Some((quantity, Summary::of(&counted)?))
        });
        self.summaries = summaries.collect();
        self.busy = busy;
    }

    /// Whether nothing else on the machine took much time in this turn.
    fn is_quiet(&self, turn: usize) -> bool {
        let loads = self.values.get(&Quantity::OthersLoad);
        loads.and_then(|loads| loads.get(turn)).is_none_or(|load| *load <= BUSY)
    }

    fn add(&mut self, outcome: Result<LoadReport, String>) {
        match outcome {
            Ok(report) => {
                for (quantity, value) in report.values {
                    self.values.entry(quantity).or_default().push(value);
                }
                self.summarize();
                self.note = report.note;
            }
            Err(error) => self.failures.push(error),
        }
    }
}

impl From<&Contender> for Entrant {
    fn from(contender: &Contender) -> Self {
        Self {
            name: contender.name.clone(),
            about: contender.about.clone(),
            version: contender.version.clone(),
            command: contender.command_line(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::Machine;

    impl BenchResults {
        /// One figure of several contenders.
        pub(in crate::bench) fn of_medians(column: &Column, medians: &[(&str, f64)]) -> Self {
            let row = |&(contender, median): &(&str, f64)| Row {
                contender: contender.to_owned(),
                summaries: [(column.quantity, Summary { median, min: median, max: median })].into(),
                ..Row::default()
            };
            let rows = medians.iter().map(row).collect();
            Self {
                machine: Machine::this(),
                command: String::new(),
                rounds: 1,
                turns: 1,
                seconds: 1.0,
                duration: 1.0,
                contenders: medians
                    .iter()
                    .map(|(name, _)| Entrant {
                        name: (*name).to_owned(),
                        about: if name.contains("splice") { "splice(2)" } else { "" }.to_owned(),
                        version: String::new(),
                        command: String::new(),
                    })
                    .collect(),
                measures: vec![MeasureResults { name: column.measure.to_owned(), connections: 1, rows }],
            }
        }
    }

    #[test]
    fn processor_time_that_is_missing_in_a_round_is_no_figure() {
        let mut row = Row::default();
        for cpu in [3.0, 0.0, 4.0] {
            let values = vec![(Quantity::CpuPerRequest, cpu), (Quantity::IdleCpu, 0.0)];
            row.add(Ok(LoadReport { values, note: String::new() }));
        }
        assert_eq!(row.summaries.keys().collect::<Vec<_>>(), [&Quantity::IdleCpu]);
        assert_eq!(row.values[&Quantity::CpuPerRequest], [3.0, 0.0, 4.0], "what was read is kept");
    }

    #[test]
    fn a_ratio_is_that_of_turns_on_the_same_machine() {
        let column = Column { measure: "pingpong", quantity: Quantity::Requests, head: "" };
        let mut results = BenchResults::of_medians(&column, &[("ours", 0.0), ("theirs", 0.0)]);
        // The machine was three times as fast in one turn, and busy in another.
        let ours = [(110.0, 0.01), (330.0, 0.02), (120.0, 0.01), (10.0, 0.9)];
        let theirs = [(100.0, 0.02), (300.0, 0.02), (100.0, 0.02), (100.0, 0.01)];
        for (of, values) in [(0, ours), (1, theirs)] {
            results.measures[0].rows[of] =
                Row { contender: results.contenders[of].name.clone(), ..row(&values) };
        }
        let near = |ratio: Option<f64>, expected: f64| (ratio.unwrap() - expected).abs() < 1e-9;
        assert!(near(results.ratio(&column, "ours", "theirs"), 1.1));
        assert_eq!(results.hardest(&column, "ours", |name| name == "theirs").unwrap().0, "theirs");
        // Where a turn is missing, those of the two that belong together are not known.
        results.measures[0].rows[1].failures.push("no answer".to_owned());
        let medians = results.ratio(&column, "ours", "theirs");
        assert!(near(medians, 120.0 / 100.0), "{medians:?}");
    }

    fn row(rounds: &[(f64, f64)]) -> Row {
        let mut row = Row::default();
        for &(rate, others) in rounds {
            let values = vec![(Quantity::Requests, rate), (Quantity::OthersLoad, others)];
            row.add(Ok(LoadReport { values, note: String::new() }));
        }
        row
    }

    #[test]
    fn a_round_on_a_busy_machine_is_left_out_and_a_row_of_them_is_marked() {
        let calm = row(&[(100.0, 0.01), (50.0, 0.9), (102.0, 0.02)]);
        assert!(!calm.busy);
        assert_eq!(calm.summaries[&Quantity::Requests], Summary { median: 101.0, min: 100.0, max: 102.0 });
        let busy = row(&[(100.0, 0.01), (50.0, 0.9)]);
        assert!(busy.busy);
        assert_eq!(busy.summaries[&Quantity::Requests].median, 75.0);
    }
}
