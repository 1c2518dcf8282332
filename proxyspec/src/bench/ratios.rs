//! Ours beside the others that are hardest to beat, as ratios.

use super::contender::{COPYING, DIRECT, OURS};
use super::number::number;
use super::results::BenchResults;
use super::sections::{Column, sections};
use crate::markdown::Markdown;

/// A table with a line for each figure; nothing if ours or the others did not take part.
pub(super) fn table(text: &mut Markdown, results: &BenchResults) {
    let mut lines: Vec<(Column, [String; 3])> = Vec::new();
    for section in sections().into_iter().filter(|section| section.spread) {
        for column in section.columns {
            let cells = [cells(results, &column, COPYING, false), cells(results, &column, OURS, true)];
            let shown = lines
                .iter()
                .any(|(other, _)| (other.measure, other.quantity) == (column.measure, column.quantity));
            if !shown && cells.iter().any(Option::is_some) {
                let name = format!("{}, {}", section.title, column.head);
                let [copying, splicing] = cells.map(|cells| cells.unwrap_or_else(|| "|".to_owned()));
                lines.push((column, [name, copying, splicing]));
            }
        }
    }
    if lines.is_empty() {
        return;
    }
    text.line(
        "\n## Beside the others\n\n\
         Each figure of ours divided by that of another proxy in the same turns, the one that is hardest to beat: in bold where \
         ours is better. Where nothing is in bold, another one is ahead.\n\n\
         | | hardest that copies | tcpproxy-copying | hardest of all | tcpproxy |\n|---|--:|--:|--:|--:|",
    );
    lines.into_iter().for_each(|(_, line)| text.row(line));
}

/// The hardest of the others, among those that splice(2) only if ours does, and ours divided by it: two cells of the table.
fn cells(results: &BenchResults, column: &Column, ours: &str, splicing: bool) -> Option<String> {
    let splices = |name: &str| {
        let mut entrants = results.contenders.iter();
        entrants.any(|entrant| entrant.name == name && entrant.about.contains("splice(2)"))
    };
    let (other, ratio) = results.hardest(column, ours, |name| {
        name != DIRECT && !name.starts_with("tcpproxy") && (splicing || !splices(name))
    })?;
    let theirs = results.summary(column, other)?.median;
    let ahead = column.quantity.better()?.prefers(ratio, 1.0);
    let ratio = if ratio == 1.0 { "1".to_owned() } else { number(ratio) };
    let shown = if ahead { format!("**{ratio}**") } else { ratio };
    Some(format!("{other} {} | {shown}", number(theirs)))
}

#[cfg(test)]
mod tests {
    use super::super::quantity::Quantity;
    use super::*;

    #[test]
    fn the_best_of_the_others_is_what_ours_is_divided_by() {
        let column = Column { measure: "bulk-up", quantity: Quantity::CpuPerGib, head: "up" };
        let figures = [
            ("direct", 0.1),
            ("tcpproxy-copying", 0.5),
            ("tcpproxy", 0.5),
            ("a", 1.0),
            ("b", 2.0),
            ("c-splice", 0.4),
        ];
        let table = |medians: &[(&str, f64)]| {
            let mut text = Markdown::default();
            table(&mut text, &BenchResults::of_medians(&column, medians));
            text.into_text()
        };
        let text = table(&figures);
        assert!(text.contains("| a 1.00 | **0.500** | c-splice 0.400 | 1.25 |"), "{text}");
        assert!(table(&figures[..3]).is_empty(), "there is no other proxy to compare with");
    }
}
