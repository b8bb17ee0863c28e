//! The values of a loop, and how they stand in the names of nodes.

use std::collections::HashMap;

use mlp_model::Value;

use super::columns;
use super::expand::Around;
use super::files;
use super::grid;
use super::names::LoopInfo;
use super::report::Report;
use super::value::{Eval, is_scalar, kind, show};
use crate::ast::{CallExpr, Expr, ExprKind, LoopDecl};
use crate::diagnostic::Diagnostic;

/// What a loop goes over.
pub enum Values {
    /// The value of each variable, with the key of the round.
    Known(Vec<(String, Vec<Value>)>),
    /// Known once a run has told them; until then, with a value to check the body with, if its type is known.
    Open(Option<Value>),
}

/// Returns the values of a loop, or reports why there are none.
pub fn values(decl: &LoopDecl<'_>, info: &LoopInfo<'_>, eval: &Eval<'_, '_>, around: &Around<'_>) -> Option<Values> {
    if columns::is_over_table(decl) {
        info.over.as_ref()?;
        return Some(match around.loops.known.get(&info.name) {
            Some(values) => Values::Known(values.iter().map(round_of).collect()),
            None => Values::Open(around.loops.samples.get(&info.name).cloned()),
        });
    }
    if columns::is_grid(decl) {
        return grid::points(decl, eval).map(Values::Known);
    }
    let found = listed(decl, eval, around)?;
    Some(Values::Known(found.into_iter().map(|(key, value)| (key, vec![value])).collect()))
}

/// Returns the round of a value that a run has told: its key, and what the variable stands for.
fn round_of(told: &Value) -> (String, Vec<Value>) {
    match told {
        // A row: the value of its key, and the columns that are read.
        Value::List(row) => match row.as_slice() {
            [key, columns] => (key_of(key), vec![columns.clone()]),
            _ => (show(told), vec![told.clone()]),
        },
        value => (key_of(value), vec![value.clone()]),
    }
}

/// Returns the values that are known when the file is checked, each with its key.
fn listed(decl: &LoopDecl<'_>, eval: &Eval<'_, '_>, around: &Around<'_>) -> Option<Vec<(String, Value)>> {
    let report = eval.report;
    if let Some(call) = files_of(decl) {
        if eval.env.is_some_and(|env| eval.names.is_in_def(env)) {
            refuse_files(decl, report);
            return None;
        }
        let file = around.source.path(decl.values.span);
        let found = files::matching(call, eval, around.world, file)?;
        return Some(found.into_iter().map(|(key, path)| (quoted(&key), path)).collect());
    }
    list_of(decl.name.text, &decl.values, eval)
}

/// Returns how many steps of a loop run at once, if it says that.
pub fn limit(decl: &LoopDecl<'_>, eval: &Eval<'_, '_>) -> Option<u32> {
    most("limit", 1, decl.limit.as_ref()?, eval)
}

/// Returns how many rounds of a loop may fail, if it says that.
pub fn tolerated(decl: &LoopDecl<'_>, eval: &Eval<'_, '_>) -> Option<u32> {
    most("tolerate", 0, decl.tolerate.as_ref()?, eval)
}

fn most(word: &str, least: i64, expr: &Expr<'_>, eval: &Eval<'_, '_>) -> Option<u32> {
    let (code, message) = match eval.value(expr)? {
        Value::Int(n) if n >= least => return Some(u32::try_from(n).unwrap_or(u32::MAX)),
        Value::Int(n) => ("E0302", format!("`{word}` takes an int of at least {least}, got {n}")),
        other => ("E0301", format!("`{word}` takes an int, got {}", kind(&other))),
    };
    eval.report.add(Diagnostic::error(code, message).at(expr.span, ""));
    None
}

/// Returns a loop's name without the rounds that it is in: `outer.inner` of `outer[a].inner`.
pub fn without_keys(name: &str) -> String {
    let (mut depth, mut is_quoted, mut is_escaped) = (0_usize, false, false);
    let mut plain = String::new();
    for c in name.chars() {
        match c {
            _ if is_escaped => is_escaped = false,
            '\\' if is_quoted => is_escaped = true,
            '"' if depth > 0 => is_quoted = !is_quoted,
            '[' if !is_quoted => depth += 1,
            ']' if !is_quoted => depth = depth.saturating_sub(1),
            c if depth == 0 => plain.push(c),
            _ => {}
        }
    }
    plain
}

/// Returns the values of a list that a loop goes over, each with its key.
pub fn list_of(loop_name: &str, expr: &Expr<'_>, eval: &Eval<'_, '_>) -> Option<Vec<(String, Value)>> {
    let report = eval.report;
    let mut list = match eval.value(expr)? {
        Value::List(values) => values,
        other => {
            let message = format!("a loop goes over a list, got {}", kind(&other));
            report.add(Diagnostic::error("E0301", message).at(expr.span, kind(&other)));
            return None;
        }
    };
    if list.iter().any(|value| matches!(value, Value::Float(_))) {
        for value in &mut list {
            *value = value.as_float().map_or(value.clone(), Value::Float);
        }
    }
    let mut seen: HashMap<String, usize> = HashMap::new();
    let mut keyed = Vec::with_capacity(list.len());
    for (i, value) in list.iter().enumerate() {
        let span = item_at(expr, i).map_or(expr.span, |item| item.span);
        let first = list.first().unwrap_or(value);
        if !is_scalar(value) || std::mem::discriminant(first) != std::mem::discriminant(value) {
            let message = format!("the values of a loop are scalars of one type, got {}", kind(value));
            let label = if is_scalar(value) { format!("the first one is {}", kind(first)) } else { String::new() };
            report.add(Diagnostic::error("E0301", message).at(span, label));
            return None;
        }
        let key = key_of(value);
        if let Some(first) = seen.insert(key.clone(), i) {
            let problem = Diagnostic::error("E0229", format!("loop `{loop_name}` has {} twice", show(value)));
            let problem = problem.at(span, "again here");
            report.add(match item_at(expr, first) {
                Some(item) => problem.and(item.span, "first here"),
                None => problem,
            });
            return None;
        }
        keyed.push((key, value.clone()));
    }
    Some(keyed)
}

/// Returns the call where a loop goes over files.
pub fn files_of<'e, 'a>(decl: &'e LoopDecl<'a>) -> Option<&'e CallExpr<'a>> {
    match &decl.values.kind {
        ExprKind::Call(call) if call.path.text == "files" && !columns::is_grid(decl) => Some(call),
        _ => None,
    }
}

/// Refuses a loop over files in the body of a `def`.
pub fn refuse_files(decl: &LoopDecl<'_>, report: Report<'_>) {
    if files_of(decl).is_some() {
        let problem = Diagnostic::error("E0215", "a def reads nothing from outside, so it cannot look for files");
        report.add(problem.at(decl.values.span, "").help("put the loop around the calls of the def"));
    }
}

fn item_at<'e, 'a>(list: &'e Expr<'a>, i: usize) -> Option<&'e Expr<'a>> {
    match &list.kind {
        ExprKind::List(items) => items.get(i),
        _ => None,
    }
}

/// Writes a value as it stands in the name of a node. A string has quotes only where it could be taken for more.
fn key_of(value: &Value) -> String {
    match value {
        Value::Str(text) => quoted(text),
        other => show(other),
    }
}

fn quoted(text: &str) -> String {
    let is_plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
    if is_plain { text.to_owned() } else { show(&Value::Str(text.to_owned())) }
}

/// Returns a key as a name that programs take: letters, digits and `_`.
pub fn plain_key(key: &str) -> String {
    key.trim_matches('"').chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect()
}

#[cfg(test)]
mod tests {
    use super::without_keys;

    #[test]
    fn a_loop_is_known_without_the_rounds_around_it() {
        let cases = [("a", "a"), ("a[1].b", "a.b"), ("call.a[x,2].b[\"]\\\"[\"].c", "call.a.b.c")];
        for (name, expected) in cases {
            assert_eq!(without_keys(name), expected);
        }
    }
}
