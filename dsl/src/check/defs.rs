//! Checks what a `def` declares: the types of its parameters, their defaults and rules, and that it has a result.

use mlp_model::{Rule, Type, Value};

use super::names::{DefInfo, Names};
use super::order::sort;
use super::report::Report;
use super::types::{TYPE_NAMES, fit, read_rules, read_type, satisfies, written};
use super::value::{Eval, kind, show};
use crate::ast::{CallExpr, Decl, DeclKind, DefDecl, Expr, ExprKind, Name, ParamDecl};
use crate::diagnostic::Diagnostic;
use crate::suggest;

/// The types of parameters that only a `def` has.
const ARTIFACTS: [&str; 5] = ["table", "model", "report", "file", "folder"];

/// A `def` as its callers see it.
pub struct Shape<'a> {
    pub params: Vec<DefParam<'a>>,
    /// It calls itself, directly or not.
    pub is_circular: bool,
}

pub struct DefParam<'a> {
    pub decl: &'a ParamDecl<'a>,
    /// `None` where that is wrong.
    pub ty: Option<DefType>,
    /// The inner `None` is a default that is wrong.
    pub default: Option<Option<Value>>,
    pub rules: Vec<Rule>,
    /// As they are written: `` `in 0..=1` ``.
    pub rules_text: String,
}

#[derive(Debug, Clone, PartialEq)]
pub enum DefType {
    /// One of [`ARTIFACTS`].
    Artifact(&'static str),
    Column,
    Columns,
    Schema,
    Plain(Type),
}

/// Checks every `def`, called or not.
pub fn check<'a>(names: &Names<'a>, written: &dyn Fn(mlp_model::Span) -> String, report: Report<'_>) -> Vec<Shape<'a>> {
    let circular = refuse_circles(names, report);
    let shape = |(def, is_circular): (&DefInfo<'a>, bool)| {
        check_results(def.decl, report);
        let eval = Eval { report, names, env: Some(def.env) };
        let params = def.decl.params.iter().map(|decl| check_param(decl, &eval, written)).collect();
        Shape { params, is_circular }
    };
    names.defs.iter().zip(circular).map(shape).collect()
}

fn check_param<'a>(
    decl: &'a ParamDecl<'a>,
    eval: &Eval<'_, '_>,
    written_at: &dyn Fn(mlp_model::Span) -> String,
) -> DefParam<'a> {
    let report = eval.report;
    let texts: Vec<_> = decl.rules.iter().map(|rule| format!("`{}`", written_at(rule.span))).collect();
    let mut param = DefParam {
        decl,
        ty: read_def_type(decl, report),
        default: None,
        rules: Vec::new(),
        rules_text: texts.join(" and "),
    };
    let ty = match &param.ty {
        Some(DefType::Plain(ty)) => ty.clone(),
        other => {
            let word = decl.ty.name.text;
            if let (Some(_), Some(rule)) = (other, decl.rules.first()) {
                let message = format!("a {word} has no rules");
                report.add(Diagnostic::error("E0324", message).at(rule.span, ""));
            }
            if let (Some(ty), Some(default)) = (other, &decl.default) {
                let value = eval.value(default);
                param.default = Some(value.as_ref().and_then(|value| match (ty, value) {
                    (DefType::Column, Value::Str(_)) => Some(value.clone()),
                    (DefType::Columns, Value::List(items)) => {
                        items.iter().all(|item| matches!(item, Value::Str(_))).then(|| value.clone())
                    }
                    _ => None,
                }));
                if let (Some(None), Some(value)) = (&param.default, value) {
                    let message =
                        format!("the default of `{}` is {}, but it is a {word}", decl.name.text, kind(&value));
                    report.add(Diagnostic::error("E0307", message).at(default.span, ""));
                }
            }
            return param;
        }
    };
    param.rules = read_rules(&decl.rules, &ty, eval).unwrap_or_default();
    if let Some(default) = &decl.default {
        let name = decl.name.text;
        let fitted = eval.value(default).and_then(|value| match fit(value, &ty) {
            Ok(value) if param.rules.iter().all(|rule| satisfies(&value, rule)) => Some(value),
            Ok(value) => {
                let message =
                    format!("the default of `{name}` is {}, but it must be {}", show(&value), param.rules_text);
                report.add(Diagnostic::error("E0307", message).at(default.span, ""));
                None
            }
            Err(value) => {
                let message =
                    format!("the default of `{name}` is {}, but its type is `{}`", kind(&value), written(&ty));
                report.add(Diagnostic::error("E0307", message).at(default.span, "").and(decl.ty.span, "its type"));
                None
            }
        });
        param.default = Some(fitted);
    }
    param
}

fn read_def_type(decl: &ParamDecl<'_>, report: Report<'_>) -> Option<DefType> {
    let ty = &decl.ty;
    let special = match ty.name.text {
        "column" => Some(DefType::Column),
        "columns" => Some(DefType::Columns),
        "schema" => Some(DefType::Schema),
        other => ARTIFACTS.into_iter().find(|word| *word == other).map(DefType::Artifact),
    };
    match special {
        Some(special) if ty.args.is_empty() && !ty.optional => Some(special),
        Some(_) => {
            let message = format!("`{}` stands alone as a type", ty.name.text);
            report.add(Diagnostic::error("E0304", message).at(ty.span, ""));
            None
        }
        None if TYPE_NAMES.contains(&ty.name.text) => read_type(ty, report).map(DefType::Plain),
        None => {
            let all = || ARTIFACTS.into_iter().chain(["column", "columns", "schema"]).chain(TYPE_NAMES);
            let mut names: Vec<_> = all().collect();
            names.dedup();
            report.add(
                Diagnostic::error("E0304", format!("`{}` is not a type of a parameter", ty.name.text))
                    .at(ty.name.span, format!("the types are {}", names.join(", ")))
                    .maybe_help(suggest::help(ty.name.text, all())),
            );
            None
        }
    }
}

fn check_results(def: &DefDecl<'_>, report: Report<'_>) {
    let mut results = def.body.iter().filter_map(|decl| match &decl.kind {
        DeclKind::Result(result) => Some(result.span),
        _ => None,
    });
    let is_broken = def.body.iter().any(|decl| matches!(decl.kind, DeclKind::Broken { keyword: "result", .. }));
    let name = def.name.text;
    match (results.next(), results.next()) {
        (None, _) if !is_broken => {
            let problem = Diagnostic::error("E0225", format!("def `{name}` has no result"));
            let mut steps = def.body.iter().filter_map(|decl| decl.head().1);
            let example = steps.next_back().map_or("clean", |name| name.text);
            report.add(problem.at(def.name.span, "").help(format!("add `result = {example}`")));
        }
        (Some(first), Some(second)) => {
            let problem = Diagnostic::error("E0225", format!("def `{name}` says twice what its result is"));
            let problem = problem.at(second, "again here").and(first, "first here");
            report.add(problem.help("several results are written together: `result { train: .., test: .. }`"));
        }
        _ => {}
    }
}

/// Returns, for each `def`, whether it calls itself; each circle is reported once.
fn refuse_circles(names: &Names<'_>, report: Report<'_>) -> Vec<bool> {
    let edges: Vec<Vec<(usize, mlp_model::Span)>> = names
        .defs
        .iter()
        .map(|def| {
            let mut calls = Vec::new();
            collect_calls(&def.decl.body, &mut calls);
            calls
                .into_iter()
                .filter_map(|call| Some((names.def_called(def.env, &call.path).ok()??, call.path.span)))
                .collect()
        })
        .collect();
    let order = sort(
        &edges,
        |edge| edge.0,
        |circle| {
            let name = |def: usize| names.defs[def].decl.name.text;
            let Some((first, _)) = circle.first() else { return };
            let mut problem = if circle.len() == 1 {
                Diagnostic::error("E0226", format!("def `{}` calls itself", name(*first)))
            } else {
                let mut chain: Vec<_> = circle.iter().map(|(def, _)| format!("`{}`", name(*def))).collect();
                chain.extend(chain.first().cloned());
                Diagnostic::error("E0226", format!("defs call each other: {}", chain.join(" -> ")))
            };
            for (i, (def, (to, span))) in circle.iter().enumerate().take(8) {
                let text = format!("`{}` calls `{}`", name(*def), name(*to));
                problem = if i == 0 { problem.at(*span, text) } else { problem.and(*span, text) };
            }
            report.add(problem.help("a def is a template: it ends only if it calls other defs"));
        },
    );
    order.in_cycle
}

fn collect_calls<'e, 'a>(body: &'e [Decl<'a>], calls: &mut Vec<&'e CallExpr<'a>>) {
    for decl in body {
        match &decl.kind {
            DeclKind::Call(call) => calls.extend(called(&call.value)),
            DeclKind::Loop(decl) => collect_calls(&decl.body, calls),
            _ => {}
        }
    }
}

/// Returns the call that a step is declared with.
pub fn called<'e, 'a>(value: &'e Expr<'a>) -> Option<&'e CallExpr<'a>> {
    match &value.kind {
        ExprKind::Call(call) => Some(call),
        _ => None,
    }
}

/// Splits a written path, `features.clean`, into its names.
pub fn split_path<'a>(path: &Name<'a>) -> Vec<Name<'a>> {
    let mut start = path.span.start;
    let mut names = Vec::new();
    for text in path.text.split('.') {
        names.push(Name { text, span: mlp_model::Span { start, end: start + text.len(), ..path.span } });
        start += text.len() + 1;
    }
    names
}
