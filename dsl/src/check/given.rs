//! Checks what goes into a `def` and what comes out of it, used or not, once the types of all calls are known.

use std::collections::HashSet;

use mlp_model::Value;

use super::Scope;
use super::bind;
use super::inputs::{Inputs, find_output};
use super::names::{Entity, Followed};
use super::value::kind;
use crate::ast::{DeclKind, Expr, ExprKind, ResultContent};
use crate::diagnostic::Diagnostic;

/// Checks that every `def` is given what its parameters declare.
pub fn check_bounds<'r>(inputs: &Inputs<'r, 'r>) {
    for (index, bound) in inputs.scope.names.bounds.iter().enumerate() {
        let inputs = inputs.of_caller(index);
        let scope = inputs.scope;
        let got = match &bound.expr.kind {
            ExprKind::Path(path) if inputs.is_node(bound.expr) => match scope.follow(path) {
                // Passed on: it is checked where it is written.
                Followed::Given { .. } => continue,
                followed => {
                    let Some(found) = inputs.node(followed, path, bound.expr.span, None) else { continue };
                    if found.ty.to_string() == bound.word {
                        continue;
                    }
                    format!("the {} `{}`", found.ty, found.shown)
                }
            },
            ExprKind::Call(call) if !["file", "folder"].contains(&call.path.text) => {
                let problem =
                    Diagnostic::error("E0218", format!("`{}(..)` stands inside another call", call.path.text));
                let problem = problem.at(call.path.span, "calls do not nest");
                scope
                    .report
                    .add(problem.help(format!("give it a step of its own: `step NAME = {}(..)`", call.path.text)));
                continue;
            }
            ExprKind::Call(call) if call.path.text == bound.word => {
                inputs.given(index, bound.expr);
                continue;
            }
            ExprKind::Call(call) => format!("a {}", call.path.text),
            ExprKind::Text(_) if matches!(bound.word, "file" | "folder") => {
                inputs.given(index, bound.expr);
                continue;
            }
            ExprKind::Wrong => continue,
            _ => match scope.eval().value(bound.expr) {
                Some(Value::Str(_)) if matches!(bound.word, "file" | "folder") && bound.expr.as_name().is_some() => {
                    inputs.given(index, bound.expr);
                    continue;
                }
                Some(value) => kind(&value).to_owned(),
                None => continue,
            },
        };
        let message = format!("argument `{}` of `{}` must be a {}, got {got}", bound.param, bound.def, bound.word);
        scope.report.add(Diagnostic::error("E0301", message).at(bound.expr.span, format!("not a {}", bound.word)));
    }
}

/// Checks that the results of every `def` name what its body has.
pub fn check_results<'r>(inputs: &Inputs<'r, 'r>) {
    for ((env, report), def) in inputs.scope.names.bodies.iter().zip(&inputs.scope.names.defs) {
        let scope = Scope { env: *env, report: *report, ..inputs.scope };
        for decl in &def.decl.body {
            let DeclKind::Result(result) = &decl.kind else { continue };
            match &result.content {
                ResultContent::One(expr) => check_result(&scope, inputs, expr),
                ResultContent::Several(fields) => {
                    let mut seen = HashSet::new();
                    for field in fields {
                        let Some(name) = bind::field_name(scope.report, field) else { continue };
                        if !seen.insert(name.text.clone()) {
                            let message =
                                format!("def `{}` has two results called `{}`", def.decl.name.text, name.text);
                            scope.report.add(Diagnostic::error("E0207", message).at(name.span, "again here"));
                        }
                        check_result(&scope, inputs, &field.value);
                    }
                }
            }
        }
    }
}

fn check_result<'r>(scope: &Scope<'r>, inputs: &Inputs<'r, 'r>, expr: &Expr<'r>) {
    let ExprKind::Path(path) = &expr.kind else {
        if !matches!(expr.kind, ExprKind::Wrong) {
            let problem = Diagnostic::error("E0225", "a result is the name of a step or of one of its outputs");
            scope.report.add(problem.at(expr.span, ""));
        }
        return;
    };
    let shown = path.first().map_or("", |name| name.text);
    match scope.follow(path) {
        Followed::Found { entity: Entity::Call(call), rest, .. } => {
            // A step with several outputs may be the result as a whole.
            if !rest.is_empty() {
                find_output(scope, inputs.results, call, shown, &rest, expr.span);
            }
        }
        Followed::Found { entity: Entity::Group(_) | Entity::Bound(_) | Entity::Loop(_) | Entity::Broken, .. } => {}
        Followed::Given { .. } | Followed::Silent => {}
        Followed::Found { word, .. } => {
            let problem = Diagnostic::error("E0225", format!("`{shown}` is a {word}, which is no result of a def"));
            scope.report.add(problem.at(expr.span, "a result is what a step gives"));
        }
        Followed::Champion { .. } => {
            let problem = Diagnostic::error("E0216", "a def does not know the champion of the pipeline that calls it");
            scope.report.add(problem.at(expr.span, "which pipeline's?"));
        }
        Followed::Wrong(problem) => scope.report.add(*problem),
        Followed::Unknown(name) => scope.report.add(scope.unknown(name)),
    }
}
