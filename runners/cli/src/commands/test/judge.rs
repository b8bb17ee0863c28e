//! Compares what a test expects with what came.

use mlp_dsl::{Expectation, Expected, TestCase, compares};
use mlp_engine::gate::nodes_read;
use mlp_model::{Column, NodeKind, OutputRecord, SourceText, Span, Store, Verdict};

use super::bench::Came;
use super::difference::{self, Difference};
use super::rows;
use crate::exit::Exit;
use crate::output::Failure;
use crate::report::words;
use crate::wiring;

/// An expectation that did not come true.
pub struct Missed {
    pub line: usize,
    /// As written, on one line.
    pub expected: String,
    /// What came instead.
    pub message: String,
    pub table: Option<Difference>,
}

/// Returns the expectations that did not come true.
pub fn missed(test: &TestCase, came: &Came, store: &dyn Store) -> Result<Vec<Missed>, Failure> {
    let mut missed = Vec::new();
    for expectation in &test.expectations {
        let (message, table) = match judge(test, expectation, came, store)? {
            Judged::Holds => continue,
            Judged::Missed(message) => (message, None),
            Judged::Differs(difference) => (difference.summary(), Some(difference)),
        };
        let line = line(&test.pipeline.sources, expectation.span);
        missed.push(Missed { line, expected: shortened(&expectation.text), message, table });
    }
    Ok(missed)
}

/// Returns the line of a place, from 1.
pub fn line(sources: &[SourceText], span: Span) -> usize {
    let text = sources.get(span.source).map_or("", |source| &source.text);
    text.bytes().take(span.start).filter(|byte| *byte == b'\n').count() + 1
}

/// Leaves the head of an expectation whose table stands in the file.
fn shortened(text: &str) -> String {
    match text.split_once("\"\"\"") {
        Some((head, rest)) => {
            let tail = rest.split_once("\"\"\"").map_or("", |(_, tail)| tail);
            format!("{head}\"\"\"..\"\"\"{tail}")
        }
        None => text.to_owned(),
    }
}

enum Judged {
    Holds,
    Missed(String),
    Differs(Difference),
}

fn judge(test: &TestCase, expectation: &Expectation, came: &Came, store: &dyn Store) -> Result<Judged, Failure> {
    Ok(match &expectation.kind {
        Expected::Rows { node, output, columns, rows, any_order, within } => {
            match table(test, *node, output, came, store)? {
                Err(why) => Judged::Missed(why),
                Ok(table) => {
                    let table = rows::read(&table, columns, rows.len()).map_err(unreadable)?;
                    let personal: Vec<bool> = columns.iter().map(|column: &Column| column.marks.personal).collect();
                    match difference::between(rows, table, columns, &personal, *any_order, *within) {
                        Some(difference) => Judged::Differs(difference),
                        None => Judged::Holds,
                    }
                }
            }
        }
        Expected::Count { node, output, comparison, n_rows } => match table(test, *node, output, came, store)? {
            Err(why) => Judged::Missed(why),
            Ok(table) => {
                let found = i64::try_from(rows::count(&table).map_err(unreadable)?).unwrap_or(i64::MAX);
                match compares(*comparison, found, *n_rows) {
                    true => Judged::Holds,
                    false => Judged::Missed(format!("it has {}", words::plural(found as usize, "row"))),
                }
            }
        },
        Expected::Figures { gate } => figures(test, gate, came),
        Expected::Fails { node, code } => {
            let name = &test.pipeline.nodes[*node].name;
            match came.failures.get(name) {
                Some(error) if error.code == *code => Judged::Holds,
                Some(error) => Judged::Missed(format!("it failed with {}: {error}", error.code)),
                None if came.outputs.contains_key(name) => Judged::Missed("it did not fail".to_owned()),
                None => Judged::Missed(why_absent(test, *node, came)),
            }
        }
    })
}

fn unreadable(error: rows::RowsError) -> Failure {
    Failure::new(Exit::Bug, format!("cannot read what a step of a test made: {error}"))
}

/// Returns the table that a node made, or why there is none.
fn table(
    test: &TestCase,
    node: usize,
    output: &str,
    came: &Came,
    store: &dyn Store,
) -> Result<Result<mlp_model::ObjectFile, String>, Failure> {
    let made = came.outputs.get(&test.pipeline.nodes[node].name);
    let made: Option<&OutputRecord> = made.and_then(|outputs| outputs.iter().find(|made| made.name == output));
    let Some(made) = made else { return Ok(Err(why_absent(test, node, came))) };
    let object = store.object(&made.digest).map_err(wiring::store_failure)?;
    Ok(object.ok_or_else(|| "what it made is missing from the store of the tests".to_owned()))
}

fn figures(test: &TestCase, gate: &str, came: &Came) -> Judged {
    let Some(checks) = came.checks.get(gate) else {
        let because = came.skipped.get(gate).cloned();
        return Judged::Missed(
            because.unwrap_or_else(|| "it could not be told: a step that it reads failed".to_owned()),
        );
    };
    if checks.iter().all(|check| check.verdict == Verdict::Passed) {
        return Judged::Holds;
    }
    let mut figures: Vec<String> = Vec::new();
    for (name, value) in checks.iter().flat_map(|check| &check.metrics) {
        // A figure of a few rows is compared to the last digit, and shown so.
        let shown = format!("{name} is {}", value.map_or_else(|| "absent".to_owned(), |value| value.to_string()));
        if !figures.contains(&shown) {
            figures.push(shown);
        }
    }
    let absent = test.pipeline.node(gate).and_then(|(_, node)| match &node.kind {
        NodeKind::Gate(gate) => nodes_read(gate).into_iter().find_map(|node| {
            let name = &test.pipeline.nodes[node].name;
            came.skipped.get(name).map(|because| format!("`{name}` was skipped: {because}"))
        }),
        _ => None,
    });
    figures.extend(absent);
    Judged::Missed(figures.join(", "))
}

/// Says why a node has made nothing.
fn why_absent(test: &TestCase, node: usize, came: &Came) -> String {
    let name = &test.pipeline.nodes[node].name;
    if let Some(error) = came.failures.get(name) {
        return format!("`{name}` failed with {}: {error}", error.code);
    }
    match came.skipped.get(name) {
        Some(because) => format!("`{name}` was skipped: {because}"),
        None => format!("`{name}` did not run: what it needs failed"),
    }
}
