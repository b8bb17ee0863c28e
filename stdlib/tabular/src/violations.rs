//! Collects what is wrong with a table's values, in bounded memory, and tells it so that the owner of the data can act.
//!
//! All faults of the file are counted; the first 20 are kept with their place. Values of `personal` columns are replaced by
//! the word `personal` when they are recorded, so that none can leave this module.

use std::collections::BTreeMap;

use mlp_model::{Column, Schema, StepError};

use crate::error::{data, grouped};

/// How many faults are shown.
pub(crate) const N_SHOWN: usize = 20;
const MAX_CHARS: usize = 40;

/// What is wrong with one value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    Blank,
    /// Not of the column's type.
    Type,
    /// Breaks the rule of this index.
    Rule(usize),
    /// A key that was there before, in this row or line.
    Repeated {
        first: u64,
    },
}

pub(crate) struct Violations<'a> {
    schema: &'a Schema,
    /// What a person calls the source: `data/telco.csv`.
    shown: String,
    /// `line` or `row`.
    place: &'static str,
    /// The column that names a row: the first key.
    key: Option<usize>,
    n: u64,
    /// By column and kind.
    counts: BTreeMap<(usize, Fault), u64>,
    first: BTreeMap<(u64, usize, Fault), Cells>,
}

struct Cells {
    key: String,
    value: String,
}

impl<'a> Violations<'a> {
    pub(crate) fn new(schema: &'a Schema, shown: &str, place: &'static str) -> Self {
        let key = schema.columns.iter().position(|column| column.marks.key);
        Self { schema, shown: shown.into(), place, key, n: 0, counts: BTreeMap::new(), first: BTreeMap::new() }
    }

    pub(crate) fn any(&self) -> bool {
        self.n > 0
    }

    pub(crate) fn n(&self) -> u64 {
        self.n
    }

    /// Counts a fault. `cell` gives a cell of the same row by its column, as text; it is asked only for what is shown.
    pub(crate) fn add(&mut self, at: u64, column: usize, fault: Fault, cell: impl Fn(usize) -> String) {
        self.n += 1;
        let kind = if let Fault::Repeated { .. } = fault { Fault::Repeated { first: 0 } } else { fault };
        *self.counts.entry((column, kind)).or_default() += 1;
        let place = (at, column, fault);
        let is_early = self.first.len() < N_SHOWN || self.first.last_key_value().is_some_and(|(last, _)| place < *last);
        if is_early {
            let show = |column: usize| match self.schema.columns.get(column) {
                Some(Column { marks, .. }) if marks.personal => "personal".to_owned(),
                _ => quoted(&cell(column)),
            };
            let cells = Cells { key: self.key.map(show).unwrap_or_default(), value: show(column) };
            self.first.insert(place, cells);
            if self.first.len() > N_SHOWN {
                self.first.pop_last();
            }
        }
    }

    /// Returns the whole as one error.
    pub(crate) fn into_error(self) -> StepError {
        let mut error = match self.counts.iter().next() {
            Some(((column, fault), n)) if self.counts.len() == 1 => {
                let message = self.sentence(*column, *fault, *n, &format!(" in `{}`", self.shown));
                data("D1104", message).with_column(self.column(*column).name.clone())
            }
            _ => {
                // Several kinds, so there are at least two.
                let (n, shown, schema) = (grouped(self.n), &self.shown, &self.schema.name);
                let message = format!("{n} values of `{shown}` break schema `{schema}`");
                data("D1104", message)
            }
        };
        error.row = self.first.first_key_value().map(|((at, _, _), _)| *at);
        error.detail = self.detail();
        error.help = Some(self.help());
        error.with_argument("file")
    }

    /// Returns the table of the first faults, then the sums where there are several kinds.
    pub(crate) fn detail(&self) -> Vec<String> {
        let mut rows = vec![vec![self.place.to_owned()]];
        rows[0].extend(self.key.map(|key| self.column(key).name.clone()));
        rows[0].extend(["column", "value", "rule"].map(str::to_owned));
        for ((at, column, fault), cells) in &self.first {
            let mut row = vec![at.to_string()];
            row.extend(self.key.map(|_| cells.key.clone()));
            row.extend([self.column(*column).name.clone(), cells.value.clone(), self.rule(*column, *fault)]);
            rows.push(row);
        }
        let mut lines = aligned(&rows);
        let n_more = self.n - self.first.len() as u64;
        if n_more > 0 {
            lines.push(format!(".. {} more", grouped(n_more)));
        }
        if self.counts.len() > 1 {
            lines.extend(self.counts.iter().map(|((column, fault), n)| self.sentence(*column, *fault, *n, "")));
        }
        lines
    }

    fn column(&self, index: usize) -> &Column {
        &self.schema.columns[index]
    }

    /// Returns, for example, "11 values of `TotalCharges` are blank, but the column is `float`".
    fn sentence(&self, column: usize, fault: Fault, n: u64, source: &str) -> String {
        let column = self.column(column);
        let (name, scalar) = (&column.name, column.scalar);
        let one = n == 1;
        let (count, values, are) = (grouped(n), if one { "value" } else { "values" }, if one { "is" } else { "are" });
        match fault {
            Fault::Blank => format!("{count} {values} of `{name}`{source} {are} blank, but the column is `{scalar}`"),
            Fault::Type => format!("{count} {values} of `{name}`{source} {are} not of type `{scalar}`"),
            Fault::Rule(i) => {
                let rule = column.rules.get(i).map(ToString::to_string).unwrap_or_default();
                let (breaks, rule) = (if one { "breaks" } else { "break" }, shortened(&rule, 2 * MAX_CHARS));
                format!("{count} {values} of `{name}`{source} {breaks} the rule `{rule}`")
            }
            Fault::Repeated { .. } => {
                let repeat = if one { "repeats" } else { "repeat" };
                format!("{count} {values} of the key `{name}`{source} {repeat} an earlier one")
            }
        }
    }

    fn rule(&self, column: usize, fault: Fault) -> String {
        let column = self.column(column);
        match fault {
            Fault::Blank => "not blank".into(),
            Fault::Type => column.scalar.to_string(),
            Fault::Rule(i) => {
                column.rules.get(i).map(|rule| shortened(&rule.to_string(), MAX_CHARS)).unwrap_or_default()
            }
            Fault::Repeated { first } => format!("unique, but as in {} {first}", self.place),
        }
    }

    fn help(&self) -> String {
        // The most frequent kind; of equals the first.
        let mut most: Option<(&(usize, Fault), u64)> = None;
        for (kind, n) in &self.counts {
            if most.is_none_or(|(_, before)| *n > before) {
                most = Some((kind, *n));
            }
        }
        let Some(((column, fault), _)) = most else { return "correct the file".into() };
        let column = self.column(*column);
        match fault {
            Fault::Blank if column.marks.key => format!("a key is never blank: fill in `{}`", column.name),
            Fault::Blank => format!("allow blanks with `{}: {}?`, or correct the file", column.name, column.scalar),
            Fault::Type => {
                format!(
                    "correct the file, or declare `{}` as `str`; text that means no value goes into `blank`",
                    column.name
                )
            }
            Fault::Rule(_) => format!("correct the file, or change the rule of `{}` in its schema", column.name),
            Fault::Repeated { .. } => format!("remove the repeated rows, or the mark `key` from `{}`", column.name),
        }
    }
}

/// Returns the rows as lines with aligned columns; the first column is a number and stands to the right.
pub(crate) fn aligned(rows: &[Vec<String>]) -> Vec<String> {
    let n_columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |i: usize| rows.iter().filter_map(|row| row.get(i)).map(|cell| cell.chars().count()).max().unwrap_or(0);
    let widths: Vec<_> = (0..n_columns).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).enumerate().map(|(i, (cell, width))| match i {
            0 => format!("{cell:>width$}"),
            _ => format!("{cell:<width$}"),
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

/// Returns the cell in quotes, without control characters, cut to what fits a line.
fn quoted(cell: &str) -> String {
    let text: String = cell.chars().take(MAX_CHARS).collect();
    let dots = if text.len() < cell.len() { ".." } else { "" };
    format!("{text:?}{dots}")
}

fn shortened(text: &str, n_chars: usize) -> String {
    match text.char_indices().nth(n_chars) {
        Some((end, _)) => format!("{}..", &text[..end]),
        None => text.to_owned(),
    }
}
