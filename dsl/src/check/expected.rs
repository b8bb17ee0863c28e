//! Checks what a test expects: which node is meant, whether it has such columns, and what its cells are.

use mlp_model::{Comparison, Input, Scalar, Span, Type, Value};

use super::inline;
use super::inputs::{Found, Inputs};
use super::names::Entity;
use super::params::read_scalar;
use super::testing::{Expectation, Expected};
use super::types::fit;
use crate::ast::{Binary, ExpectDecl, ExpectKind, Expr, ExprKind, GateDecl, GivenDecl, RowsExpected};
use crate::diagnostic::Diagnostic;
use crate::suggest::{self, listed};

/// Returns whether an expectation is about the number of rows: `rows(NODE) == 3`.
pub fn is_count(expr: &Expr<'_>) -> bool {
    let ExprKind::Binary { left, .. } = &expr.kind else { return false };
    matches!(&left.kind, ExprKind::Call(call) if call.path.text == "rows")
}

/// Checks the columns of given rows against what they are given for. Columns that are not named are filled later.
pub fn check_given(inputs: &Inputs<'_, '_>, given: &GivenDecl<'_>) {
    let mut problems = Vec::new();
    let table = inline::read(&given.table, &mut problems);
    let Some(Entity::Call(call)) = inputs.scope.get(given.name.text) else { return };
    let result = inputs.results.get(call).and_then(Option::as_ref);
    let ty = result.and_then(|result| result.call.outputs.first()).map(|output| &output.ty);
    let (Some(table), Some(Type::Table(ty))) = (table, ty) else { return };
    let names = || ty.columns.iter().map(|column| column.name.as_str());
    for (name, span) in table.columns.iter().filter(|(name, _)| !ty.open && !names().any(|known| known == name)) {
        inputs.scope.report.add(unknown_column(name, *span, names));
    }
}

fn unknown_column<'n, I: Iterator<Item = &'n str>>(name: &str, span: Span, names: impl Fn() -> I) -> Diagnostic {
    Diagnostic::error("E0312", format!("`{name}` is not a column of the table"))
        .at(span, format!("its columns are {}", listed(names(), "and")))
        .maybe_help(suggest::help(name, names()))
}

/// Checks one expectation; what is wrong is reported, and `None` returned.
pub fn check<'a>(inputs: &Inputs<'_, 'a>, decl: &ExpectDecl<'a>) -> Option<Expectation> {
    let kind = match &decl.kind {
        ExpectKind::Rows(expected) => rows(inputs, expected)?,
        ExpectKind::Fails { node, code } => {
            let digits = code.text.trim_start_matches(|c: char| c.is_ascii_uppercase());
            let is_code = digits.len() < code.text.len() && digits.len() >= 3;
            if !is_code || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
                let message = format!("`{}` is not the code of a failure", code.text);
                let problem = Diagnostic::error("E0705", message).at(code.span, "");
                inputs.scope.report.add(problem.help("a failed step tells its code in brackets: `D1108`, for example"));
                return None;
            }
            let (node, _) = place(inputs, node)?;
            Expected::Fails { node, code: code.text.to_owned() }
        }
        ExpectKind::Compare(expr) => count(inputs, expr)?,
    };
    Some(Expectation { text: inputs.scope.source.written(decl.span), span: decl.span, kind })
}

/// Returns what a test expects of figures, which a gate decides.
pub fn of_gate(gate: &GateDecl<'_>, inputs: &Inputs<'_, '_>) -> Expectation {
    Expectation {
        text: inputs.scope.source.written(gate.name.span),
        span: gate.name.span,
        kind: Expected::Figures { gate: gate.name.text.to_owned() },
    }
}

fn found<'r, 'a>(inputs: &Inputs<'r, 'a>, node: &Expr<'a>) -> Option<Found<'r>> {
    let ExprKind::Path(path) = &node.kind else {
        let problem = Diagnostic::error("E0705", "what is expected begins with a node");
        inputs.scope.report.add(problem.at(node.span, "not a source or step"));
        return None;
    };
    inputs.node(inputs.scope.follow(path), path, node.span, Some("a source or step"))
}

fn place<'a>(inputs: &Inputs<'_, 'a>, node: &Expr<'a>) -> Option<(usize, String)> {
    match found(inputs, node)?.input {
        Input::Output { node, output } => Some((node, output.into_owned())),
        Input::Path { .. } | Input::Champion { .. } => {
            let problem = Diagnostic::error("E0705", "a test has no champion: nothing is released in it");
            inputs.scope.report.add(problem.at(node.span, "not there"));
            None
        }
    }
}

fn rows<'a>(inputs: &Inputs<'_, 'a>, expected: &RowsExpected<'a>) -> Option<Expected> {
    let RowsExpected { node, table: text, any_order, within } = expected;
    let report = inputs.scope.report;
    let within = match within {
        None => None,
        Some(written) => match inputs.scope.eval().value(written)?.as_float() {
            Some(off) if off >= 0.0 => Some(off),
            _ => {
                let problem = Diagnostic::error("E0705", "how far a number may be off is a number from 0 on");
                report.add(problem.at(written.span, "").help("write `within 0.01`, for example"));
                return None;
            }
        },
    };
    let found = found(inputs, node)?;
    let Type::Table(ty) = found.ty else {
        let message = format!("`{}` is a {}, which has no rows", found.shown, found.ty);
        report.add(Diagnostic::error("E0705", message).at(node.span, "not a table"));
        return None;
    };
    let (place, output) = place(inputs, node)?;
    let mut problems = Vec::new();
    let table = inline::read(text, &mut problems);
    problems.into_iter().for_each(|problem| report.add(problem));
    let table = table?;
    let names = || ty.columns.iter().map(|column| column.name.as_str());
    let mut columns = Vec::new();
    for (name, span) in &table.columns {
        match ty.columns.iter().find(|column| column.name == *name) {
            Some(column) => columns.push(column.clone()),
            None => report.add(unknown_column(name, *span, names)),
        }
    }
    if columns.len() != table.columns.len() {
        return None;
    }
    let mut is_right = true;
    let mut rows = Vec::new();
    for row in &table.rows {
        let mut cells = Vec::new();
        for (cell, column) in row.iter().zip(&columns) {
            let value = cell.text.as_deref().map(|text| read_cell(text, column.scalar));
            if let Some(None) = value {
                let text = cell.text.as_deref().unwrap_or_default();
                let message =
                    format!("`{text}` is not of type `{}`, which column `{}` has", column.scalar, column.name);
                report.add(Diagnostic::error("E0701", message).at(cell.span, ""));
                is_right = false;
            }
            cells.push(value.flatten());
        }
        rows.push(cells);
    }
    is_right.then_some(Expected::Rows { node: place, output, columns, rows, any_order: *any_order, within })
}

fn read_cell(text: &str, scalar: Scalar) -> Option<Value> {
    match scalar {
        // A number with digits behind the point, which is compared as one.
        Scalar::Decimal { .. } => text.parse().ok().filter(|x: &f64| x.is_finite()).map(Value::Float),
        scalar => fit(read_scalar(text, scalar)?, &Type::Scalar(scalar)).ok(),
    }
}

fn count<'a>(inputs: &Inputs<'_, 'a>, expr: &Expr<'a>) -> Option<Expected> {
    let report = inputs.scope.report;
    let wrong = |span| {
        let problem = Diagnostic::error("E0705", "the number of rows is compared with an int").at(span, "");
        report.add(problem.help("write `expect rows(NODE) == 3`; `<`, `<=`, `>` and `>=` compare, too"));
        None
    };
    let ExprKind::Binary { op, left, right, .. } = &expr.kind else { return wrong(expr.span) };
    let comparison = match op {
        Binary::Equal => None,
        Binary::Compare(comparison) => Some(*comparison),
        _ => return wrong(expr.span),
    };
    let ExprKind::Call(call) = &left.kind else { return wrong(expr.span) };
    let [node] = call.args.as_slice() else { return wrong(call.path.span) };
    let found = found(inputs, &node.value)?;
    if !matches!(found.ty, Type::Table(_)) {
        let message = format!("`{}` is a {}, which has no rows", found.shown, found.ty);
        report.add(Diagnostic::error("E0705", message).at(node.value.span, "not a table"));
        return None;
    }
    let (place, output) = place(inputs, &node.value)?;
    match inputs.scope.eval().value(right)? {
        Value::Int(n_rows) => Some(Expected::Count { node: place, output, comparison, n_rows }),
        _ => wrong(right.span),
    }
}

/// Says how a number of rows is compared.
pub fn compares(comparison: Option<Comparison>, n_rows: i64, with: i64) -> bool {
    match comparison {
        None => n_rows == with,
        Some(Comparison::Less) => n_rows < with,
        Some(Comparison::LessOrEqual) => n_rows <= with,
        Some(Comparison::Greater) => n_rows > with,
        Some(Comparison::GreaterOrEqual) => n_rows >= with,
    }
}
