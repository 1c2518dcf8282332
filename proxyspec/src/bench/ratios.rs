//! Ours beside the best of the others, as ratios.

use std::fmt::Write as _;

use super::contender::{self, DIRECT};
use super::markdown::number;
use super::quantity::Better;
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
            let ratios = [COPYING, SPLICING].map(|modes| modes.ratio(results, column));
            let Some(better) =
                column.quantity.better().filter(|_| !shown && ratios.iter().any(Option::is_some))
            else {
                continue;
            };
            let cells = ratios.map(|ratio| ratio.map_or_else(|| "|".to_owned(), |ratio| ratio.cells(better)));
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

struct Ratio {
    other: String,
    theirs: f64,
    ours: f64,
}

impl Modes {
    fn ratio(&self, results: &BenchResults, column: &Column) -> Option<Ratio> {
        let better = column.quantity.better()?;
        let ours = results.summary(column, self.ours)?.median;
        let splices = |name: &str| {
            results
                .contenders
                .iter()
                .any(|entrant| entrant.name == name && entrant.about.contains("splice(2)"))
        };
        let others = results.rows(column).filter(|row| {
            let name = row.contender.as_str();
            name != DIRECT && !name.starts_with("tcpproxy") && (self.splicing || !splices(name))
        });
        let figures = others
            .filter_map(|row| Some((row.contender.clone(), row.summaries.get(&column.quantity)?.median)));
        let (other, theirs) = figures.reduce(|best, next| {
            let ahead = match better {
                Better::More => next.1 > best.1,
                Better::Less => next.1 < best.1,
            };
            if ahead { next } else { best }
        })?;
        Some(Ratio { other, theirs, ours })
    }
}

impl Ratio {
    fn cells(&self, better: Better) -> String {
        let Self { other, theirs, ours } = self;
        let ratio = if ours == theirs { "1".to_owned() } else { number(ours / theirs) };
        let ahead = match better {
            Better::More => ours > theirs,
            Better::Less => ours < theirs,
        };
        let shown = if ahead { format!("**{ratio}**") } else { ratio };
        format!("{other} {} | {shown}", number(*theirs))
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
        let copying = COPYING.ratio(&results, column).unwrap();
        assert_eq!(
            (copying.other.as_str(), copying.cells(Better::Less).as_str()),
            ("a", "a 1.00 | **0.500**")
        );
        let splicing = SPLICING.ratio(&results, column).unwrap();
        assert_eq!(splicing.cells(Better::Less), "c-splice 0.400 | 1.25");
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
