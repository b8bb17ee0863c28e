//! How tests read to a person, and as JSON.

use serde_json::{Value, json};

use super::difference::{Difference, Pair};
use super::judge::Missed;
use super::{Tested, Tried};
use crate::output::Output;
use crate::report::words;

/// Wider cells are cut on the screen.
const CELL_WIDTH: usize = 32;
/// Rows that are the same are shown around what differs, so many of them.
const AROUND: usize = 2;
/// Rows of one table that are shown at most.
const MOST_ROWS: usize = 40;

/// Prints what became of a file's tests.
pub fn print(file: &Tested, output: &Output) {
    for diagnostic in &file.diagnostics {
        output.note(mlp_dsl::render(diagnostic, &file.sources, output.colour, output.width()));
    }
    if !file.checks() {
        return;
    }
    output.print(&file.shown);
    for test in &file.results {
        let verdict = if test.passed() { "ok  " } else { "FAIL" };
        output.print(format!("  {verdict}  {} ({})", test.name, words::seconds(test.seconds)));
        output.print(details(&file.shown, test));
        test.undone.iter().for_each(|undone| output.print(format!("        {undone}")));
    }
}

/// Writes what went wrong; nothing if all is well.
pub fn details(file: &str, test: &Tried) -> String {
    let mut text = String::new();
    for Missed { line, expected, message, table } in &test.missed {
        text.push_str(&format!("        {file}:{line}: {expected}\n          {message}\n"));
        for line in table.iter().flat_map(lines) {
            text.push_str(format!("          {line}").trim_end());
            text.push('\n');
        }
    }
    for trouble in &test.trouble {
        for line in trouble.lines() {
            text.push_str(format!("        {line}").trim_end());
            text.push('\n');
        }
    }
    text
}

/// Writes a difference as a table: `-` was expected, `+` came, `^` marks the cells.
fn lines(difference: &Difference) -> Vec<String> {
    let mut table: Vec<(&str, Vec<String>)> = vec![(" ", difference.columns.iter().map(|name| cut(name)).collect())];
    let is_same = |at: usize| difference.pairs.get(at).is_none_or(|pair| matches!(pair, Pair::Same(_)));
    let is_near = |at: usize| (at.saturating_sub(AROUND)..=at + AROUND).any(|near| !is_same(near));
    let (mut n_shown, mut n_left_out) = (0, 0);
    for (at, pair) in difference.pairs.iter().enumerate() {
        if !is_near(at) || n_shown >= MOST_ROWS {
            n_left_out += 1;
            continue;
        }
        n_shown += 1;
        let cells = |cells: &[String]| cells.iter().map(|cell| cut(cell)).collect::<Vec<_>>();
        match pair {
            Pair::Same(row) => table.push((" ", cells(row))),
            Pair::Missing(row) => table.push(("-", cells(row))),
            Pair::Unexpected(row) => table.push(("+", cells(row))),
            Pair::Differs { expected, came, differing } => {
                let (expected, came) = (cells(expected), cells(came));
                let marks = expected.iter().zip(&came).zip(differing).map(|((left, right), differs)| match differs {
                    true => "^".repeat(left.chars().count().max(right.chars().count()).max(1)),
                    false => String::new(),
                });
                let marks = marks.collect();
                table.extend([("-", expected), ("+", came), (" ", marks)]);
            }
        }
    }
    let width = |i: usize| table.iter().filter_map(|(_, row)| row.get(i)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..difference.columns.len()).map(|i| width(i).unwrap_or(0)).collect();
    let line = |(sign, row): &(&str, Vec<String>)| {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        format!("{sign} {}", cells.join("  "))
    };
    let mut lines: Vec<String> = table.iter().map(line).collect();
    if n_left_out > 0 {
        lines.push(format!(".. {} more", words::plural(n_left_out, "row")));
    }
    lines
}

fn cut(cell: &str) -> String {
    if cell.chars().count() > CELL_WIDTH {
        cell.chars().take(CELL_WIDTH - 2).chain("..".chars()).collect()
    } else {
        cell.to_owned()
    }
}

/// Returns the document that `--json` prints.
pub fn json(tested: &[Tested], n_passed: usize, n_failed: usize) -> Value {
    let is_ok = n_failed == 0 && tested.iter().all(Tested::checks);
    let files: Vec<Value> = tested.iter().map(file_json).collect();
    json!({ "ok": is_ok, "passed": n_passed, "failed": n_failed, "files": files })
}

fn file_json(file: &Tested) -> Value {
    let diagnostics: Vec<_> = file.diagnostics.iter().map(|d| mlp_dsl::to_json(d, &file.sources)).collect();
    let test = |test: &Tried| {
        json!({
            "name": test.name,
            "line": test.line,
            "ok": test.passed(),
            "seconds": test.seconds,
            "expectations": test.n_expected,
            "missed": test.missed.iter().map(missed_json).collect::<Vec<_>>(),
            "trouble": test.trouble,
            "undone": test.undone,
        })
    };
    json!({
        "file": file.shown,
        "checks": file.checks(),
        "diagnostics": diagnostics,
        "tests": file.results.iter().map(test).collect::<Vec<_>>(),
    })
}

fn missed_json(missed: &Missed) -> Value {
    let mut told = json!({ "line": missed.line, "expected": missed.expected, "message": missed.message });
    if let Some(table) = &missed.table {
        let row = |pair: &Pair| match pair {
            Pair::Same(row) => json!({ "is": "same", "expected": row, "came": row }),
            Pair::Missing(row) => json!({ "is": "missing", "expected": row }),
            Pair::Unexpected(row) => json!({ "is": "unexpected", "came": row }),
            Pair::Differs { expected, came, differing } => {
                let names = table.columns.iter().zip(differing).filter(|(_, differs)| **differs).map(|(name, _)| name);
                let names: Vec<&String> = names.collect();
                json!({ "is": "different", "expected": expected, "came": came, "differing": names })
            }
        };
        told["table"] = json!({
            "columns": table.columns,
            "n_expected": table.n_expected,
            "n_came": table.n_came,
            "rows": table.pairs.iter().map(row).collect::<Vec<_>>(),
        });
    }
    told
}
