//! Loops over the values of a table's column: `for store in values(sales.store_id) as network`.
//!
//! The values are known once the table is. Until then a loop has one round, `network[..]`, that stands for all: it is checked with a
//! value of the column's type, so that whatever does not depend on the value itself is found before anything runs.

use std::collections::BTreeMap;

use mlp_model::{Column, KnownValues, Rule, Scalar, Span, Type, Value, Waits};

use super::Scope;
use super::inputs::{Found, Inputs};
use super::names::{ColumnOf, LoopInfo};
use super::report::Report;
use crate::ast::{CallExpr, ExprKind, LoopDecl};
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

/// Returns the call where a loop goes over the values of a column.
pub fn values_of<'e, 'a>(decl: &'e LoopDecl<'a>) -> Option<&'e CallExpr<'a>> {
    match &decl.values.kind {
        // Of several variables each goes over a list.
        ExprKind::Call(call) if call.path.text == "values" && !is_grid(decl) => Some(call),
        _ => None,
    }
}

/// Returns whether a loop goes over combinations of values, or over drawn ones.
pub fn is_grid(decl: &LoopDecl<'_>) -> bool {
    !decl.more.is_empty() || decl.draws.is_some()
}

/// Reads `values(sales.store_id)` or `values(sales, "Store Name")`.
pub fn read<'a>(call: &CallExpr<'a>, report: Report<'_>) -> Option<ColumnOf<'a>> {
    let named = call.args.iter().find_map(|arg| arg.name.as_ref());
    let path = call.args.first().and_then(|arg| match &arg.value.kind {
        ExprKind::Path(path) => Some(path.clone()),
        _ => None,
    });
    let read = match (call.args.as_slice(), path) {
        ([_], Some(mut table)) if table.len() > 1 && named.is_none() => {
            table.pop().map(|column| ColumnOf { table, column: column.text.to_owned(), span: column.span })
        }
        ([_, column], Some(table)) if named.is_none() => match &column.value.kind {
            ExprKind::Text(text) => {
                Some(ColumnOf { table, column: text.value.clone().into_owned(), span: column.value.span })
            }
            ExprKind::Path(_) => {
                column.value.as_name().map(|name| ColumnOf { table, column: name.text.to_owned(), span: name.span })
            }
            _ => None,
        },
        _ => None,
    };
    if read.is_none() {
        let problem = Diagnostic::error("E0231", "`values` takes a table and one of its columns");
        let span = Span { end: call.end.end.max(call.path.span.end), ..call.path.span };
        report.add(problem.at(span, "").help("write `values(sales.store_id)`, or `values(sales, \"Store Name\")`"));
    }
    read
}

/// Checks every loop over a column, once the types of all tables are known. Returns where each one's values come from, and
/// a value to go on checking with.
pub fn check_all<'r>(inputs: &Inputs<'r, 'r>) -> (BTreeMap<usize, Waits>, Samples) {
    let (mut waits, mut samples) = (BTreeMap::new(), Samples::new());
    for (index, info) in inputs.scope.names.loops.iter().enumerate() {
        let Some(of) = info.column.as_ref().filter(|_| !info.is_template) else { continue };
        let scope = Scope { env: info.env, report: info.report, ..inputs.scope };
        let Some((found, column)) = column_of(&Inputs { scope, ..*inputs }, of) else { continue };
        if let Some(problem) = refusal(info, of, &found, column) {
            scope.report.add(problem);
            continue;
        }
        let mlp_model::Input::Output { node, output } = &found.input else { continue };
        let (name, column_name) = (info.name.clone(), of.column.clone());
        waits.insert(index, Waits { name, node: *node, output: output.clone(), column: column_name });
        samples.insert(info.name.clone(), sample(info, column));
    }
    (waits, samples)
}

fn column_of<'r>(inputs: &Inputs<'r, 'r>, of: &ColumnOf<'r>) -> Option<(Found<'r>, &'r Column)> {
    let (first, last) = (of.table.first()?, of.table.last()?);
    let span = Span { end: last.span.end, ..first.span };
    let report = inputs.scope.report;
    let found = inputs.node(inputs.scope.follow(&of.table), &of.table, span, Some("a table"))?;
    let Type::Table(table) = found.ty else {
        let message = format!("`values` takes a table, got the {} `{}`", found.ty, found.shown);
        report.add(Diagnostic::error("E0231", message).at(span, "not a table"));
        return None;
    };
    let Some(column) = table.column(&of.column) else {
        let names = || table.columns.iter().map(|column| column.name.as_str());
        let message = format!("`{}` is not a column of `{}`", of.column, found.shown);
        let label = format!("its columns are {}", listed(names(), "and"));
        report.add(
            Diagnostic::error("E0312", message).at(of.span, label).maybe_help(report.suggest(&of.column, names())),
        );
        return None;
    };
    Some((found, column))
}

/// Says why a loop cannot go over a column.
fn refusal(info: &LoopInfo<'_>, of: &ColumnOf<'_>, found: &Found<'_>, column: &Column) -> Option<Diagnostic> {
    let (name, shown) = (&column.name, found.shown);
    let refuse = |message: String, label: &str, help: &str| {
        Some(Diagnostic::error("E0231", message).at(of.span, label).help(help))
    };
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

/// Returns a value that the column could have.
fn sample(info: &LoopInfo<'_>, column: &Column) -> Value {
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
    allowed.unwrap_or_else(|| match column.scalar {
        Scalar::Int => Value::Int(highest.map_or(1, |highest| highest.min(1))),
        Scalar::Bool => Value::Bool(true),
        Scalar::Date => Value::Date(0),
        _ => Value::Str(format!("some {}", info.decl.variable.text)),
    })
}
