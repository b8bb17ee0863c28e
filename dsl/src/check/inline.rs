//! Tables written in a test: what stands between `"""` becomes columns and cells.
//!
//! The first line names the columns; every further line is a row. Cells stand between commas, blanks around them mean
//! nothing, so that columns can be aligned. A cell with a comma, a quote or blanks at its ends is written in quotes.

use mlp_model::{Column, Span};

use super::filler;
use crate::ast::Text;
use crate::diagnostic::Diagnostic;

/// A written table.
pub struct Table {
    pub columns: Vec<(String, Span)>,
    pub rows: Vec<Vec<Cell>>,
}

pub struct Cell {
    /// `None` where nothing is written.
    pub text: Option<String>,
    pub span: Span,
}

/// Reads a table; what is wrong is reported, and `None` returned.
pub fn read(text: &Text<'_>, diagnostics: &mut Vec<Diagnostic>) -> Option<Table> {
    let n_before = diagnostics.len();
    let wrong = |message: String, span| Diagnostic::error("E0701", message).at(span, "");
    let mut lines = lines_of(&text.value).filter(|(_, line)| !line.trim().is_empty());
    let Some((start, header)) = lines.next() else {
        let problem = wrong("the table has no line that names its columns".to_owned(), text.span);
        diagnostics.push(problem.help("name the columns in the first line: `id, amount`"));
        return None;
    };
    let mut columns: Vec<(String, Span)> = Vec::new();
    for cell in cells_of(text, start, header, diagnostics) {
        let Some(name) = cell.text else {
            diagnostics.push(wrong("a column of the table has no name".to_owned(), cell.span));
            continue;
        };
        if columns.iter().any(|(other, _)| *other == name) {
            diagnostics.push(wrong(format!("the table has two columns called `{name}`"), cell.span));
        }
        columns.push((name, cell.span));
    }
    let is_named = diagnostics.len() == n_before;
    let mut rows = Vec::new();
    for (start, line) in lines {
        let n_found = diagnostics.len();
        let row = cells_of(text, start, line, diagnostics);
        if row.len() != columns.len() && is_named && diagnostics.len() == n_found {
            let (n_cells, n_columns) = (row.len(), columns.len());
            let plural = |n: usize| if n == 1 { "" } else { "s" };
            let message = format!(
                "a row of {n_cells} cell{} in a table of {n_columns} column{}",
                plural(n_cells),
                plural(n_columns)
            );
            let span = text.span_of(start, start + line.trim_end().len());
            let help = "a cell that holds a comma is written in quotes; an empty cell means: no value";
            diagnostics.push(wrong(message, span).help(help));
        }
        rows.push(row);
    }
    (diagnostics.len() == n_before).then_some(Table { columns, rows })
}

impl Table {
    /// Writes the table as CSV, for the operation that reads it: a cell without text as `blank`, and behind the written
    /// columns those of `columns` that the table does not name, filled with values that they allow.
    pub fn to_csv(&self, columns: &[Column], blank: &str) -> String {
        let missing: Vec<&Column> =
            columns.iter().filter(|column| self.columns.iter().all(|(name, _)| *name != column.name)).collect();
        let mut csv = String::new();
        let names = self.columns.iter().map(|(name, _)| Some(name.clone()));
        line(names.chain(missing.iter().map(|column| Some(column.name.clone()))).collect(), blank, &mut csv);
        for (i, row) in self.rows.iter().enumerate() {
            let written = row.iter().map(|cell| cell.text.clone());
            line(written.chain(missing.iter().map(|column| filler::cell(column, i))).collect(), blank, &mut csv);
        }
        csv
    }
}

fn line(cells: Vec<Option<String>>, blank: &str, csv: &mut String) {
    let is_narrow = cells.len() == 1;
    for (i, cell) in cells.into_iter().enumerate() {
        if i > 0 {
            csv.push(',');
        }
        match cell.as_deref().unwrap_or(blank) {
            // An empty line is no record, and an empty cell is no empty text.
            "" if cell.is_some() || is_narrow => csv.push_str("\"\""),
            "" => {}
            text if text.contains([',', '"', '\n', '\r']) || text.trim() != text => {
                csv.push_str(&format!("\"{}\"", text.replace('"', "\"\"")));
            }
            text => csv.push_str(text),
        }
    }
    csv.push('\n');
}

/// Returns the lines with the places at which they begin.
fn lines_of(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut at = 0;
    text.split('\n').map(move |line| {
        let start = at;
        at += line.len() + 1;
        (start, line.strip_suffix('\r').unwrap_or(line))
    })
}

fn cells_of(text: &Text<'_>, start: usize, line: &str, diagnostics: &mut Vec<Diagnostic>) -> Vec<Cell> {
    let mut cells = Vec::new();
    let mut at = 0;
    loop {
        let rest = &line[at..];
        let lead = rest.len() - rest.trim_start().len();
        let from = at + lead;
        if let Some(quoted) = line[from..].strip_prefix('"') {
            let (value, length) = unquoted(quoted);
            let span = text.span_of(start + from, start + from + 1 + length);
            let after = &line[from + 1 + length..];
            let next = after.find(',').map_or(after.len(), |n| n);
            if !quoted[..length].ends_with('"') || !after[..next].trim().is_empty() {
                let message = "a quoted cell ends with a quote, and a comma or the end of the line follows";
                diagnostics.push(Diagnostic::error("E0701", message).at(span, "").help("a quote in it is doubled"));
            }
            cells.push(Cell { text: Some(value), span });
            at = from + 1 + length + next;
        } else {
            let length = line[from..].find(',').unwrap_or(line.len() - from);
            let cell = line[from..from + length].trim_end();
            let span = text.span_of(start + from, start + from + cell.len().max(1));
            cells.push(Cell { text: (!cell.is_empty()).then(|| cell.to_owned()), span });
            at = from + length;
        }
        if at >= line.len() {
            return cells;
        }
        at += 1;
    }
}

/// Reads what follows an opening quote; returns the value, and how long it is as written, with the closing quote.
fn unquoted(text: &str) -> (String, usize) {
    let mut value = String::new();
    let mut at = 0;
    while let Some(n) = text[at..].find('"') {
        value.push_str(&text[at..at + n]);
        at += n + 1;
        if !text[at..].starts_with('"') {
            return (value, at);
        }
        value.push('"');
        at += 1;
    }
    value.push_str(&text[at..]);
    (value, text.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::literal::read_string;

    fn table(text: &str) -> Result<Table, Vec<String>> {
        let text = format!("\"\"\"\n{text}\n\"\"\"");
        let read_text = read_string(&text, Span { source: 0, start: 0, end: text.len() }).expect("a string");
        let mut problems = Vec::new();
        read(&read_text, &mut problems).ok_or_else(|| problems.into_iter().map(|problem| problem.message).collect())
    }

    #[test]
    fn blanks_around_cells_mean_nothing_and_quotes_keep_what_they_hold() {
        let table = table("id , note\n a ,\"x, \"\"y\"\" \"\n\n b,\n").expect("a table");
        assert_eq!(table.to_csv(&[], ""), "id,note\na,\"x, \"\"y\"\" \"\nb,\n");
        assert_eq!(table.rows[1][1].text, None);
    }

    #[test]
    fn a_table_of_one_column_keeps_its_empty_rows() {
        let csv = table("id, n\n , 1").map(|table| table.to_csv(&[], ""));
        assert_eq!(csv.as_deref().ok(), Some("id,n\n,1\n"));
        assert_eq!(table("note\n\"\"\n").map(|table| table.to_csv(&[], "")).as_deref().ok(), Some("note\n\"\"\n"));
    }

    #[test]
    fn columns_that_are_not_named_are_filled_and_blank_cells_are_written_as_the_source_reads_them() {
        let columns = ["id", "n"].map(|name| Column::plain(name, mlp_model::Scalar::Int));
        let csv = table("note, id\n , 1\n").map(|table| table.to_csv(&columns, "NA"));
        assert_eq!(csv.as_deref().ok(), Some("note,id,n\nNA,1,0\n"));
    }

    #[test]
    fn ragged_rows_and_open_quotes_are_refused() {
        for (text, expected) in [
            ("", "the table has no line that names its columns"),
            ("a, a", "the table has two columns called `a`"),
            ("a, , b", "a column of the table has no name"),
            ("a, b\n1", "a row of 1 cell in a table of 2 columns"),
            ("a\n\"x", "a quoted cell ends with a quote, and a comma or the end of the line follows"),
            ("a\n\"x\"y", "a quoted cell ends with a quote, and a comma or the end of the line follows"),
        ] {
            assert_eq!(table(text).err(), Some(vec![expected.to_owned()]), "{text:?}");
        }
    }
}
