//! The results as pictures: for each section a panel of bars a column, the contenders from top to bottom.

use std::fs;
use std::path::Path;

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::contender::DIRECT;
use super::number::number;
use super::results::BenchResults;
use super::sections::{Column, sections};

/// Draws every section that has a plot and figures, into files of this folder.
///
/// # Errors
///
/// When the folder or a file cannot be written.
pub(super) fn draw(results: &BenchResults, folder: &Path) -> Result<(), String> {
    fs::create_dir_all(folder).map_err(|error| format!("cannot make {}: {error}", folder.display()))?;
    for section in &sections() {
        let columns = results.shown_columns(section);
        if let Some(name) = section.plot.filter(|_| !columns.is_empty()) {
            let svg = picture(results, section.title, &columns)
                .map_err(|error| format!("cannot draw {name}: {error}"))?;
            let file = folder.join(name).with_extension("svg");
            fs::write(&file, svg).map_err(|error| format!("cannot write {}: {error}", file.display()))?;
        }
    }
    Ok(())
}

// Sizes in pixels.
const NAMES: i32 = 170;
const PANEL: i32 = 210;
const HEAD: i32 = 56;
const ROW: i32 = 22;
const BAR: i32 = 14;
/// Room for a number behind a bar.
const NUMBER: i32 = 62;
const MARGIN: i32 = 12;
const LETTERS: i32 = 13;

const INK: RGBColor = RGBColor(31, 35, 40);
const PALE: RGBColor = RGBColor(101, 109, 118);
const OURS: RGBColor = RGBColor(9, 105, 218);
const PEER: RGBColor = RGBColor(166, 175, 186);
const LIMIT: RGBColor = RGBColor(225, 228, 232);

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Drawn = Result<(), Box<dyn std::error::Error>>;

fn picture(
    results: &BenchResults,
    title: &str,
    columns: &[&Column],
) -> Result<String, Box<dyn std::error::Error>> {
    let took_part = |name: &str| columns.iter().any(|column| results.row(column, name).is_some());
    let names = results.contenders.iter().map(|entrant| entrant.name.as_str());
    let names: Vec<_> = names.filter(|name| took_part(name)).collect();
    let width = NAMES + PANEL * columns.len() as i32 + MARGIN;
    let height = HEAD + ROW * names.len() as i32 + MARGIN;
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, (width as u32, height as u32)).into_drawing_area();
        area.fill(&WHITE)?;
        text(&area, title, (MARGIN, 18), 15, &INK, HPos::Left)?;
        for (row, name) in names.iter().enumerate() {
            text(&area, name, (NAMES - 8, middle(row)), LETTERS, &INK, HPos::Right)?;
        }
        for (i, column) in columns.iter().enumerate() {
            panel(&area, results, column, &names, NAMES + PANEL * i as i32)?;
        }
        area.present()?;
    }
    Ok(svg)
}

/// One column: bars to the medians, a line from the least to the greatest, the median as a number.
fn panel(area: &Area<'_>, results: &BenchResults, column: &Column, names: &[&str], left: i32) -> Drawn {
    text(area, column.head, (left, HEAD - 14), LETTERS, &PALE, HPos::Left)?;
    let summaries = results.rows(column).filter_map(|row| row.summaries.get(&column.quantity));
    let greatest = summaries.map(|summary| summary.max).fold(f64::MIN_POSITIVE, f64::max);
    let at = |value: f64| left + (value.max(0.0) / greatest * f64::from(PANEL - NUMBER)) as i32;
    for (row, name) in names.iter().enumerate() {
        let Some(outcome) = results.row(column, name) else {
            continue;
        };
        let y = middle(row);
        let Some(summary) = outcome.summaries.get(&column.quantity) else {
            if !outcome.failures.is_empty() {
                text(area, "failed", (left, y), LETTERS, &PALE, HPos::Left)?;
            }
            continue;
        };
        let color = match *name {
            DIRECT => LIMIT,
            name if name.starts_with("tcpproxy") => OURS,
            _ => PEER,
        };
        let bar = [(left, y - BAR / 2), (at(summary.median), y + BAR / 2)];
        area.draw(&Rectangle::new(bar, color.filled()))?;
        area.draw(&PathElement::new(vec![(at(summary.min), y), (at(summary.max), y)], INK.stroke_width(1)))?;
        text(area, &number(summary.median), (at(summary.max) + 5, y), LETTERS - 1, &INK, HPos::Left)?;
    }
    Ok(())
}

/// The height at which a row is.
const fn middle(row: usize) -> i32 {
    HEAD + ROW * row as i32 + ROW / 2
}

fn text(area: &Area<'_>, words: &str, at: (i32, i32), size: i32, color: &RGBColor, side: HPos) -> Drawn {
    let style =
        TextStyle::from(("sans-serif", size).into_font()).color(color).pos(Pos::new(side, VPos::Center));
    area.draw(&Text::new(words, at, style))?;
    Ok(())
}
