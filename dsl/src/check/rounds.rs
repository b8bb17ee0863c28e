//! The values of a loop, and how they stand in the names of nodes.

use std::collections::HashMap;

use mlp_model::Value;

use super::value::{Eval, is_scalar, kind, show};
use crate::ast::{Expr, ExprKind, LoopDecl};
use crate::diagnostic::Diagnostic;

/// Returns the values of a loop, each with its key, or reports why there are none.
pub fn values(decl: &LoopDecl<'_>, eval: &Eval<'_, '_>) -> Option<Vec<(String, Value)>> {
    let report = eval.report;
    let mut list = match eval.value(&decl.values)? {
        Value::List(values) => values,
        other => {
            let message = format!("a loop goes over a list, got {}", kind(&other));
            report.add(Diagnostic::error("E0301", message).at(decl.values.span, kind(&other)));
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
        let span = item_at(&decl.values, i).map_or(decl.values.span, |item| item.span);
        let first = list.first().unwrap_or(value);
        if !is_scalar(value) || std::mem::discriminant(first) != std::mem::discriminant(value) {
            let message = format!("the values of a loop are scalars of one type, got {}", kind(value));
            let label = if is_scalar(value) { format!("the first one is {}", kind(first)) } else { String::new() };
            report.add(Diagnostic::error("E0301", message).at(span, label));
            return None;
        }
        let key = key_of(value);
        if let Some(first) = seen.insert(key.clone(), i) {
            let problem = Diagnostic::error("E0229", format!("loop `{}` has {} twice", decl.name.text, show(value)));
            let problem = problem.at(span, "again here");
            report.add(match item_at(&decl.values, first) {
                Some(item) => problem.and(item.span, "first here"),
                None => problem,
            });
            return None;
        }
        keyed.push((key, value.clone()));
    }
    Some(keyed)
}

fn item_at<'e, 'a>(list: &'e Expr<'a>, i: usize) -> Option<&'e Expr<'a>> {
    match &list.kind {
        ExprKind::List(items) => items.get(i),
        _ => None,
    }
}

/// Writes a value as it stands in the name of a node. A string has quotes only where it could be taken for more.
fn key_of(value: &Value) -> String {
    let is_plain =
        |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
    match value {
        Value::Str(text) if is_plain(text) => text.clone(),
        other => show(other),
    }
}

/// Returns a key as a name that programs take: letters, digits and `_`.
pub fn plain_key(key: &str) -> String {
    key.trim_matches('"').chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect()
}
