//! Computes the values of a file, parameters and `let`s, each after those it names.

use std::collections::BTreeMap;

use mlp_model::{ParamValue, Span};

use super::collect::{Constant, Constants};
use super::names::{Entity, Names};
use super::order::sort;
use super::params::{self, Given};
use super::report::Report;
use super::value::Eval;
use crate::ast::{Expr, ExprKind, RuleKind};
use crate::diagnostic::Diagnostic;

/// Computes the values of every file; returns the pipeline's parameters.
pub fn compute<'a>(
    names: &mut Names<'a>,
    constants: &[Constants<'a>],
    given: Given<'_>,
    report: Report<'_>,
) -> BTreeMap<String, ParamValue> {
    given.refuse_unknown(names, report);
    let mut params = BTreeMap::new();
    for (env, constants) in constants.iter().enumerate() {
        let edges = edges(names, env, constants);
        let order = sort(&edges, |edge| edge.0, |cycle| refuse_cycle(constants, cycle, report));
        for index in order.order.iter().filter(|index| !order.in_cycle[**index]) {
            let (place, constant) = &constants[*index];
            let eval = Eval { report, names, env: Some(env) };
            let value = match constant {
                Constant::Let(decl) => eval.value(&decl.value),
                Constant::Param(decl) => {
                    let param = params::check(decl, &eval, given);
                    param.map(|param| {
                        let value = param.value.clone();
                        params.insert(decl.name.text.to_owned(), param);
                        value
                    })
                }
            };
            names.values[*place] = value;
        }
    }
    params
}

/// Returns, for each constant, those of its file that it names.
fn edges(names: &Names<'_>, env: usize, constants: &Constants<'_>) -> Vec<Vec<(usize, Span)>> {
    let first = constants.first().map_or(0, |(place, _)| *place);
    let edges_of = |constant: &Constant<'_>| {
        let mut found = Vec::new();
        match constant {
            Constant::Let(decl) => mentions(&decl.value, &mut found),
            Constant::Param(decl) => {
                decl.default.iter().for_each(|default| mentions(default, &mut found));
                for rule in &decl.rules {
                    match &rule.kind {
                        RuleKind::Range { low, high, .. } => {
                            mentions(low, &mut found);
                            mentions(high, &mut found);
                        }
                        RuleKind::OneOf(value) | RuleKind::Bound { value, .. } => mentions(value, &mut found),
                    }
                }
            }
        }
        let edge = |(name, span): (&str, Span)| match names.get(env, name)?.entity {
            // The constants of a file stand side by side.
            Entity::Value(place) => place.checked_sub(first).filter(|i| *i < constants.len()).map(|i| (i, span)),
            _ => None,
        };
        found.into_iter().filter_map(edge).collect()
    };
    constants.iter().map(|(_, constant)| edges_of(constant)).collect()
}

fn mentions<'a>(expr: &Expr<'a>, found: &mut Vec<(&'a str, Span)>) {
    match &expr.kind {
        ExprKind::Path(path) => found.extend(path.first().map(|name| (name.text, name.span))),
        ExprKind::List(items) => items.iter().for_each(|item| mentions(item, found)),
        ExprKind::Record(fields) => fields.iter().for_each(|field| mentions(&field.value, found)),
        ExprKind::Call(call) => call.args.iter().for_each(|field| mentions(&field.value, found)),
        ExprKind::Index { list, index } => {
            mentions(list, found);
            mentions(index, found);
        }
        ExprKind::If(parts) => parts.iter().for_each(|part| mentions(part, found)),
        ExprKind::Group(inner) | ExprKind::Unary { operand: inner, .. } => mentions(inner, found),
        ExprKind::Binary { left, right, .. } => {
            mentions(left, found);
            mentions(right, found);
        }
        ExprKind::Int(_) | ExprKind::Literal(_) | ExprKind::Text(_) | ExprKind::Maybe(_) | ExprKind::Wrong => {}
    }
}

fn refuse_cycle(constants: &Constants<'_>, cycle: &[(usize, (usize, Span))], report: Report<'_>) {
    let name = |index: usize| match &constants[index].1 {
        Constant::Param(decl) => decl.name.text,
        Constant::Let(decl) => decl.name.text,
    };
    let Some((first, _)) = cycle.first() else { return };
    let mut problem = if cycle.len() == 1 {
        Diagnostic::error("E0309", format!("the value of `{}` depends on itself", name(*first)))
    } else {
        let mut chain: Vec<_> = cycle.iter().map(|(index, _)| format!("`{}`", name(*index))).collect();
        chain.extend(chain.first().cloned());
        Diagnostic::error("E0309", format!("values depend on each other: {}", chain.join(" -> ")))
    };
    for (i, (index, (to, span))) in cycle.iter().enumerate().take(8) {
        let text = format!("`{}` needs `{}`", name(*index), name(*to));
        problem = if i == 0 { problem.at(*span, text) } else { problem.and(*span, text) };
    }
    report.add(problem);
}
