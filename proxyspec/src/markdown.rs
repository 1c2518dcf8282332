//! Markdown, line by line.

use std::borrow::Borrow;
use std::fmt::Display;

/// A page, or a part of it.
#[derive(Debug, Default)]
pub(crate) struct Markdown(String);

impl Markdown {
    /// Adds these words, and ends the line.
    pub(crate) fn line(&mut self, words: impl Display) {
        self.0 += &format!("{words}\n");
    }

    /// Adds a row of a table.
    pub(crate) fn row<C: Borrow<str>>(&mut self, cells: impl IntoIterator<Item = C>) {
        let cells: Vec<_> = cells.into_iter().collect();
        self.line(format!("| {} |", cells.join(" | ")));
    }

    /// Adds the head of a table whose first column has names; `alignment` is that of the others, such as `--:`.
    pub(crate) fn head<C: Borrow<str>>(&mut self, columns: &[C], alignment: &str) {
        self.line(format!("| | {} |", columns.join(" | ")));
        self.line(format!("|---|{}", format!("{alignment}|").repeat(columns.len())));
    }

    /// All of it.
    pub(crate) fn into_text(self) -> String {
        self.0
    }
}

/// Words for a cell of a table.
pub(crate) fn cell(words: &str) -> String {
    plain(words).replace('|', "\\|")
}

/// Words on one line.
pub(crate) fn plain(words: &str) -> String {
    words.split_whitespace().collect::<Vec<_>>().join(" ")
}
