//! Ours beside the best of the others, as ratios.

use std::fmt::Write as _;

use super::contender::{self, DIRECT};
use super::number::number;
use super::results::BenchResults;
use super::sections::{Column, SECTIONS};

/// A table with a line for each figure; nothing if ours or the others did not take part.
pub(super) fn table(results: &BenchResults) -> String {
    let mut lines = String::new();
    for (i, section) in SECTIONS.iter().enumerate().filter(|(_, section)| section.spread) {
        for column in section.columns {
            let shown = SECTIONS[..i]
                .iter()
                .flat_map(|section| section.columns)
                .any(|other| other.shows_the_same(column));
            let cells = [COPYING, SPLICING].map(|modes| modes.cells(results, column));
            if shown || cells.iter().all(Option::is_none) {
                continue;
            }
            let cells = cells.map(|cells| cells.unwrap_or_else(|| "|".to_owned()));
            writeln!(lines, "| {}, {} | {} |", section.title, column.head, cells.join(" | "))
                .expect("writing to a string does not fail");
        }
    }
    if lines.is_empty() {
        return lines;
    }
    format!(
        "\n## Beside the best of the others\n\n\
         Each figure of ours divided by the best that another proxy has in the same rounds: in bold where ours is better. \
         Where nothing is in bold, another one is ahead.\n\n\
         | | best other that copies | tcpproxy-copying | best of all others | tcpproxy |\n|---|--:|--:|--:|--:|\n{lines}"
    )
}

/// One of our modes, and those that it is compared with.
struct Modes {
    ours: &'static str,
    /// Whether others may splice, too.
    splicing: bool,
}

const COPYING: Modes = Modes { ours: contender::COPYING, splicing: false };
const SPLICING: Modes = Modes { ours: contender::OURS, splicing: true };

impl Modes {
    /// The best of the others and ours divided by it, as two cells of the table.
    fn cells(&self, results: &BenchResults, column: &Column) -> Option<String> {
        let ours = results.summary(column, self.ours)?.median;
        let splices = |name: &str| {
            let mut entrants = results.contenders.iter();
            entrants.any(|entrant| entrant.name == name && entrant.about.contains("splice(2)"))
        };
        let (other, theirs) = results.best(column, |name| {
            name != DIRECT && !name.starts_with("tcpproxy") && (self.splicing || !splices(name))
        })?;
        let ratio = if ours == theirs { "1".to_owned() } else { number(ours / theirs) };
        let ahead = column.quantity.better()?.prefers(ours, theirs);
        let shown = if ahead { format!("**{ratio}**") } else { ratio };
        Some(format!("{other} {} | {shown}", number(theirs)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::quantity::Quantity;
    use super::*;

    #[test]
    fn the_best_of_the_others_is_what_ours_is_divided_by() {
        let column = SECTIONS
            .iter()
            .flat_map(|section| section.columns)
            .find(|column| column.quantity == Quantity::CpuPerGib);
        let column = column.unwrap();
        let figures = [
            ("direct", 0.1),
            ("tcpproxy-copying", 0.5),
            ("tcpproxy", 0.5),
            ("a", 1.0),
            ("b", 2.0),
            ("c-splice", 0.4),
        ];
        let results = BenchResults::of_medians(column, &figures);
        assert!(
            table(&results).contains("| a 1.00 | **0.500** | c-splice 0.400 | 1.25 |"),
            "{}",
            table(&results)
        );
        assert!(
            table(&BenchResults::of_medians(column, &figures[..3])).is_empty(),
            "there is no other proxy to compare with"
        );
    }
}
