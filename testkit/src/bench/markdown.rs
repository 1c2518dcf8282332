//! Results as Markdown.

use std::fmt::Write as _;

use super::contender::DIRECT;
use super::quantity::Quantity;
use super::results::{MeasureResults, Results, Row};

/// The tables alone.
pub(super) fn tables(results: &Results) -> String {
    let mut text = String::new();
    for measure in &results.measures {
        table(&mut text, measure);
    }
    text
}

/// The whole page.
pub(super) fn page(results: &Results) -> String {
    tables(results)
}

fn table(text: &mut String, measure: &MeasureResults) {
    let mut quantities: Vec<Quantity> =
        measure.rows.iter().flat_map(|row| row.values.keys().copied()).collect();
    quantities.sort_unstable();
    quantities.dedup();
    line(text, &format!("\n### {}\n", measure.title));
    let heads: Vec<_> = quantities.iter().map(|quantity| quantity.label()).collect();
    line(text, &format!("| | {} |", heads.join(" | ")));
    line(text, &format!("|---|{}", "--:|".repeat(heads.len())));
    for row in &measure.rows {
        let cells: Vec<_> = quantities.iter().map(|&quantity| cell(measure, row, quantity)).collect();
        line(text, &format!("| {} | {} |", row.contender, cells.join(" | ")));
    }
    for row in measure.rows.iter().filter(|row| !row.note.is_empty()) {
        line(text, &format!("\n{}: {}", row.contender, row.note));
    }
}

fn cell(measure: &MeasureResults, row: &Row, quantity: Quantity) -> String {
    let Some(summary) = row.summaries.get(&quantity) else {
        return if row.failures.is_empty() { "–" } else { "failed" }.to_owned();
    };
    let median = number(summary.median);
    let best = measure
        .rows
        .iter()
        .filter(|row| row.contender != DIRECT)
        .filter_map(|row| Some(row.summaries.get(&quantity)?.median))
        .reduce(if quantity.more_is_better() { f64::max } else { f64::min });
    let median = if best == Some(summary.median) && row.contender != DIRECT {
        format!("**{median}**")
    } else {
        median
    };
    if summary.min == summary.max {
        return median;
    }
    format!("{median} ({}–{})", number(summary.min), number(summary.max))
}

/// Three digits or more, and thousands apart.
fn number(value: f64) -> String {
    let digits = match value.abs() {
        v if v >= 100.0 => 0,
        v if v >= 10.0 => 1,
        v if v >= 1.0 => 2,
        _ => 3,
    };
    let text = format!("{value:.digits$}");
    let (whole, rest) = text.split_at(text.find('.').unwrap_or(text.len()));
    let mut grouped = String::new();
    for (i, c) in whole.chars().enumerate() {
        if i > 0 && (whole.len() - i) % 3 == 0 && !grouped.ends_with('-') {
            grouped.push(',');
        }
        grouped.push(c);
    }
    grouped + rest
}

fn line(text: &mut String, words: &str) {
    writeln!(text, "{words}").expect("writing to a string does not fail");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits_at_least() {
        let shown = [1234567.0, -1234.4, 999.6, 123.4, 12.34, 1.234, 0.1234, 0.0].map(number);
        assert_eq!(shown, ["1,234,567", "-1,234", "1,000", "123", "12.3", "1.23", "0.123", "0.000"]);
    }
}
