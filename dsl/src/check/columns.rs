//! Loops over what a table holds: `for store in values(sales.store_id) as network`, `for row in rows(configs) as fitted`.
//!
//! The values are known once the table is. Until then a loop has one round, `network[..]`, that stands for all: it is checked with a
//! value of the column's type, or a row of such values, so that whatever does not depend on the values themselves is found before
//! anything runs.

use std::collections::BTreeMap;

use mlp_model::{Column, KnownValues, Over, Rule, Scalar, Span, TableType, Type, Value, Waits};

use super::Scope;
use super::inputs::{Found, Inputs};
use super::names::{LoopInfo, OverTable, TableOf};
use super::report::Report;
use crate::ast::{CallExpr, Decl, DeclKind, ExprKind, LoopDecl, Name};
use crate::diagnostic::Diagnostic;
use crate::suggest::listed;

/// How the round that stands for all is called.
pub const OPEN_KEY: &str = "..";

/// A value to check rounds with, for each loop whose values are not known.
pub type Samples = BTreeMap<String, Value>;

/// What is known of the values of loops.
#[derive(Clone, Copy)]
pub struct LoopValues<'a> {
    pub known: &'a KnownValues,
    pub samples: &'a Samples,
}

/// Returns whether a loop goes over what a table holds.
pub fn is_over_table(decl: &LoopDecl<'_>) -> bool {
    called(decl, "values").or(called(decl, "rows")).is_some()
}

/// Returns the call of this name that a loop goes over.
fn called<'e, 'a>(decl: &'e LoopDecl<'a>, name: &str) -> Option<&'e CallExpr<'a>> {
    match &decl.values.kind {
        // Of several variables each goes over a list.
        ExprKind::Call(call) if call.path.text == name && !is_grid(decl) => Some(call),
        _ => None,
    }
}

/// Returns whether a loop goes over combinations of values, or over drawn ones.
pub fn is_grid(decl: &LoopDecl<'_>) -> bool {
    !decl.more.is_empty() || decl.draws.is_some()
}

/// Reads what of a table a loop goes over, if it is one over a table.
pub fn read<'a>(decl: &'a LoopDecl<'a>, report: Report<'_>) -> Option<TableOf<'a>> {
    match called(decl, "rows") {
        Some(call) => read_rows(decl, call, report),
        None => read_values(called(decl, "values")?, report),
    }
}

/// Reads `rows(configs)`, and which columns the body reads.
fn read_rows<'a>(decl: &'a LoopDecl<'a>, call: &CallExpr<'a>, report: Report<'_>) -> Option<TableOf<'a>> {
    let table = match call.args.as_slice() {
        [only] if only.name.is_none() => match &only.value.kind {
            ExprKind::Path(path) => Some((path.clone(), only.value.span)),
            _ => None,
        },
        _ => None,
    };
    let Some((table, span)) = table else {
        let problem = Diagnostic::error("E0231", "`rows` takes a table").at(whole(call), "");
        report.add(problem.help("write `rows(configs)`"));
        return None;
    };
    let row = decl.variable.text;
    let mut columns: Vec<Name<'a>> = Vec::new();
    let mut is_right = true;
    each_path_in(&decl.body, &mut |path| match path {
        [first, column, ..] if first.text == row => {
            if columns.iter().all(|known| known.text != column.text) {
                columns.push(*column);
            }
        }
        [first] if first.text == row => {
            is_right = false;
            let problem = Diagnostic::error("E0231", format!("`{row}` is a row, which is no value"));
            report.add(problem.at(first.span, "which column of it?").help(format!("write `{row}.COLUMN`")));
        }
        _ => {}
    });
    is_right.then_some(TableOf { table, over: OverTable::Rows(columns), span })
}

/// Hands over every path that is written in the expressions of a body.
fn each_path_in<'a>(body: &'a [Decl<'a>], found: &mut dyn FnMut(&'a [Name<'a>])) {
    for decl in body {
        match &decl.kind {
            DeclKind::Call(call) => {
                call.value.each_path(found);
                call.options.iter().for_each(|option| option.value.each_path(found));
                call.condition.iter().for_each(|condition| condition.each_path(found));
            }
            DeclKind::Loop(inner) => {
                inner.values.each_path(found);
                inner.more.iter().for_each(|(_, values)| values.each_path(found));
                inner.limit.iter().chain(&inner.tolerate).for_each(|bound| bound.each_path(found));
                if let Some(draws) = &inner.draws {
                    draws.count.each_path(found);
                    draws.seed.each_path(found);
                }
                each_path_in(&inner.body, found);
            }
            _ => {}
        }
    }
}

fn whole(call: &CallExpr<'_>) -> Span {
    Span { end: call.end.end.max(call.path.span.end), ..call.path.span }
}

/// Reads `values(sales.store_id)` or `values(sales, "Store Name")`.
fn read_values<'a>(call: &CallExpr<'a>, report: Report<'_>) -> Option<TableOf<'a>> {
    let of = |table, column: &str, span| TableOf { table, over: OverTable::Column(column.to_owned()), span };
    let named = call.args.iter().find_map(|arg| arg.name.as_ref());
    let path = call.args.first().and_then(|arg| match &arg.value.kind {
        ExprKind::Path(path) => Some(path.clone()),
        _ => None,
    });
    let read = match (call.args.as_slice(), path) {
        ([_], Some(mut table)) if table.len() > 1 && named.is_none() => {
            table.pop().map(|column| of(table, column.text, column.span))
        }
        ([_, column], Some(table)) if named.is_none() => match &column.value.kind {
            ExprKind::Text(text) => Some(of(table, &text.value, column.value.span)),
            ExprKind::Path(_) => column.value.as_name().map(|name| of(table, name.text, name.span)),
            _ => None,
        },
        _ => None,
    };
    if read.is_none() {
        let problem = Diagnostic::error("E0231", "`values` takes a table and one of its columns");
        let help = "write `values(sales.store_id)`, or `values(sales, \"Store Name\")`";
        report.add(problem.at(whole(call), "").help(help));
    }
    read
}

/// Checks every loop over a table, once the types of all tables are known. Returns where each one's values come from, and
/// a value, or a row, to go on checking with.
pub fn check_all<'r>(inputs: &Inputs<'r, 'r>) -> (BTreeMap<usize, Waits>, Samples) {
    let (mut waits, mut samples) = (BTreeMap::new(), Samples::new());
    for (index, info) in inputs.scope.names.loops.iter().enumerate() {
        let Some(of) = info.over.as_ref().filter(|_| !info.is_template) else { continue };
        let scope = Scope { env: info.env, report: info.report, ..inputs.scope };
        let inputs = Inputs { scope, ..*inputs };
        let Some((found, table)) = table_of(&inputs, of) else { continue };
        let over = match &of.over {
            OverTable::Column(column) => over_column(&inputs, info, (of, &found, table), column),
            OverTable::Rows(columns) => over_rows(&inputs, info, (of, &found, table), columns),
        };
        let Some((over, sample)) = over else { continue };
        let mlp_model::Input::Output { node, output } = &found.input else { continue };
        waits.insert(index, Waits { name: info.name.clone(), node: *node, output: output.to_string(), over });
        samples.insert(info.name.clone(), sample);
    }
    (waits, samples)
}

fn table_of<'r>(inputs: &Inputs<'r, 'r>, of: &TableOf<'r>) -> Option<(Found<'r>, &'r TableType)> {
    let (first, last) = (of.table.first()?, of.table.last()?);
    let span = Span { end: last.span.end, ..first.span };
    let report = inputs.scope.report;
    let found = inputs.node(inputs.scope.follow(&of.table), &of.table, span, Some("a table"))?;
    let Type::Table(table) = found.ty else {
        let word = if matches!(of.over, OverTable::Rows(_)) { "rows" } else { "values" };
        let message = format!("`{word}` takes a table, got the {} `{}`", found.ty, found.shown);
        report.add(Diagnostic::error("E0231", message).at(span, "not a table"));
        return None;
    };
    Some((found, table))
}

/// A loop's table: as it is written, the artifact, and its type.
type Table<'t, 'r> = (&'t TableOf<'r>, &'t Found<'r>, &'r TableType);

fn over_column<'r>(
    inputs: &Inputs<'r, 'r>,
    info: &LoopInfo<'_>,
    (of, found, table): Table<'_, 'r>,
    name: &str,
) -> Option<(Over, Value)> {
    let column = column_of(inputs.scope.report, found, table, name, of.span)?;
    if let Some(problem) = refusal(info, of.span, found, column) {
        inputs.scope.report.add(problem);
        return None;
    }
    Some((Over::Column(name.to_owned()), sample(info.decl, column)))
}

fn over_rows<'r>(
    inputs: &Inputs<'r, 'r>,
    info: &LoopInfo<'_>,
    (of, found, table): Table<'_, 'r>,
    read: &[Name<'_>],
) -> Option<(Over, Value)> {
    let report = inputs.scope.report;
    let Some(key) = table.columns.iter().find(|column| column.marks.key) else {
        let message = format!("the rows of `{}` have no key, and a round is called after it", found.shown);
        let problem = Diagnostic::error("E0231", message).at(of.span, "no column is marked `key`");
        report.add(problem.help("mark one in the schema that the table is read with: `NAME: str key`"));
        return None;
    };
    if let Some(problem) = refusal(info, of.span, found, key) {
        report.add(problem);
        return None;
    }
    let mut fields: BTreeMap<String, Value> = BTreeMap::new();
    let mut is_right = true;
    for name in read {
        let column = column_of(report, found, table, name.text, name.span);
        let problem = column.and_then(|column| unreadable(name, found, column));
        match (column, problem) {
            (Some(column), None) => {
                // A blank must be fine wherever the column is read.
                let value = if column.optional { Value::Null } else { sample(info.decl, column) };
                fields.insert(name.text.to_owned(), value);
            }
            (_, problem) => {
                problem.into_iter().for_each(|problem| report.add(problem));
                is_right = false;
            }
        }
    }
    let columns = fields.keys().cloned().collect();
    let row = Value::Record(fields.into_iter().collect());
    is_right.then(|| (Over::Rows { key: key.name.clone(), columns }, row))
}

fn column_of<'r>(
    report: Report<'_>,
    found: &Found<'_>,
    table: &'r TableType,
    name: &str,
    span: Span,
) -> Option<&'r Column> {
    let column = table.column(name);
    if column.is_none() {
        let names = || table.columns.iter().map(|column| column.name.as_str());
        let message = format!("`{name}` is not a column of `{}`", found.shown);
        let label = format!("its columns are {}", listed(names(), "and"));
        report.add(Diagnostic::error("E0312", message).at(span, label).maybe_help(report.suggest(name, names())));
    }
    column
}

/// Says why a column of a row cannot be read as a value.
fn unreadable(name: &Name<'_>, found: &Found<'_>, column: &Column) -> Option<Diagnostic> {
    let shown = found.shown;
    let refuse = |message: String, label: &str, help: &str| {
        Some(Diagnostic::error("E0231", message).at(name.span, label).help(help))
    };
    if column.marks.personal {
        let message = format!("column `{}` of `{shown}` is personal, and values stand in keys and names", column.name);
        return refuse(message, "declared `personal`", "steps read personal columns from tables alone");
    }
    match column.scalar {
        Scalar::Decimal { .. } | Scalar::Duration => {
            let message = format!("a column of type `{}` cannot be read as a value", column.scalar);
            refuse(
                message,
                "an int, float, str, bool, date or timestamp is needed",
                "make it one in a `sql` step before",
            )
        }
        _ => None,
    }
}

/// Says why a loop cannot go over a column.
fn refusal(info: &LoopInfo<'_>, span: Span, found: &Found<'_>, column: &Column) -> Option<Diagnostic> {
    let (name, shown) = (&column.name, found.shown);
    let refuse =
        |message: String, label: &str, help: &str| Some(Diagnostic::error("E0231", message).at(span, label).help(help));
    if found.reads_champion && matches!(found.input, mlp_model::Input::Champion { .. }) {
        let message = format!("loop `{}` cannot go over what the champion holds", info.decl.name.text);
        return refuse(message, "known only when it is live", "go over a table of this pipeline");
    }
    if column.marks.personal {
        let message = format!("column `{name}` of `{shown}` is personal, and a loop makes its values names of nodes");
        return refuse(message, "declared `personal`", "group by something that many share, in a `sql` step before");
    }
    if column.optional {
        let message = format!("column `{name}` of `{shown}` can be blank, and no round has a name without a value");
        let help = "say in a `sql` step before what a blank means, and declare the result with a schema";
        return refuse(message, "an optional type", help);
    }
    match column.scalar {
        Scalar::Int | Scalar::Str | Scalar::Bool | Scalar::Date => None,
        Scalar::Float => refuse(
            format!("column `{name}` of `{shown}` is a float, and floats that look alike would be different rounds"),
            "a float",
            "make it an int or a str in a `sql` step before",
        ),
        other => refuse(
            format!("a loop cannot go over a column of type `{other}`"),
            "an int, str, bool or date is needed",
            "make it one in a `sql` step before",
        ),
    }
}

/// Returns the text that a sample has where a text is needed.
pub fn sample_text(decl: &LoopDecl<'_>) -> String {
    format!("some {}", decl.variable.text)
}

/// Returns a value that the column could have.
fn sample(decl: &LoopDecl<'_>, column: &Column) -> Value {
    let allowed = column.rules.iter().find_map(|rule| match rule {
        Rule::OneOf(values) => values.first().cloned(),
        Rule::Min { value, inclusive: true } => Some(value.clone()),
        Rule::Min { value: Value::Int(n), inclusive: false } => Some(Value::Int(n.saturating_add(1))),
        Rule::Min { .. } | Rule::Max { .. } => None,
    });
    let highest = column.rules.iter().find_map(|rule| match rule {
        Rule::Max { value: Value::Int(n), inclusive } => Some(n.saturating_sub(i64::from(!inclusive))),
        _ => None,
    });
    let allowed = allowed.map(|value| match (column.scalar, value) {
        (Scalar::Float, Value::Int(n)) => Value::Float(n as f64),
        (_, value) => value,
    });
    allowed.unwrap_or_else(|| match column.scalar {
        Scalar::Int => Value::Int(highest.map_or(1, |highest| highest.min(1))),
        Scalar::Float => Value::Float(1.0),
        Scalar::Bool => Value::Bool(true),
        Scalar::Date => Value::Date(0),
        Scalar::Timestamp => Value::Timestamp(0),
        _ => Value::Str(sample_text(decl)),
    })
}
