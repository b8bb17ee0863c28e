//! Checks parameters: their types, defaults and rules, and the values the command line gives them.

use std::collections::BTreeMap;

use mlp_model::{ParamValue, Scalar, Span, Type, Value};

use super::Sources;
use super::names::Names;
use super::report::{Findings, Report};
use super::types::{fit, read_rules, read_type, satisfies, written};
use super::value::{Eval, kind, show};
use crate::ast::ParamDecl;
use crate::diagnostic::Diagnostic;
use crate::literal::{self, Number};
use crate::parse;

/// Refuses what the command line gives and the pipeline does not have.
pub fn refuse_unknown(names: &Names<'_>, given: &BTreeMap<String, String>, report: Report<'_>) {
    for name in given.keys() {
        let entry = names.get(PIPELINE, name);
        if names.params.iter().any(|(param, _)| param.name.text == name) {
            continue;
        }
        match entry.map(|entry| entry.word) {
            None => {
                let candidates = names.params.iter().map(|(param, _)| param.name.text);
                report.add(
                    Diagnostic::error("E0213", format!("`--param {name}`: the pipeline has no parameter `{name}`"))
                        .maybe_help(report.suggest(name, candidates)),
                );
            }
            // One that could not be read.
            Some("param") => {}
            Some(word) => {
                let message = format!("`--param {name}`: `{name}` is a {word}, not a parameter");
                report.add(Diagnostic::error("E0213", message));
            }
        }
    }
}

/// The name space of the pipeline's file.
const PIPELINE: usize = 0;

/// Returns the parameter's value, or `None` after reporting what is wrong.
pub fn check(
    param: &ParamDecl<'_>,
    eval: &Eval<'_, '_>,
    given: &BTreeMap<String, String>,
    source: Sources<'_>,
) -> Option<ParamValue> {
    let report = eval.report;
    let name = param.name.text;
    let ty = read_type(&param.ty, report);
    let default = param.default.as_ref().map(|expr| (expr, eval.value(expr)));
    let ty = ty?;
    let rules = read_rules(&param.rules, &ty, eval);
    let rules_text = || {
        let rules: Vec<_> = param.rules.iter().map(|rule| format!("`{}`", source.written(rule.span))).collect();
        rules.join(" and ")
    };
    let breaks = |value: &Value| rules.as_ref().is_some_and(|rules| !rules.iter().all(|rule| satisfies(value, rule)));
    let rules_span = param.rules.first().map(|rule| rule.span);

    let mut result = None;
    if let Some((expr, value)) = default {
        match fit(value?, &ty) {
            Err(value) => {
                let message =
                    format!("the default of `{name}` is {}, but its type is `{}`", kind(&value), written(&ty));
                report.add(Diagnostic::error("E0307", message).at(expr.span, "").and(param.ty.span, "its type"));
                return None;
            }
            Ok(value) if breaks(&value) => {
                let message = format!("the default of `{name}` is {}, but it must be {}", show(&value), rules_text());
                let problem = Diagnostic::error("E0307", message).at(expr.span, "");
                report.add(match rules_span {
                    Some(span) => problem.and(span, "its rule"),
                    None => problem,
                });
                return None;
            }
            Ok(value) => result = Some(ParamValue { value, origin: "default" }),
        }
    }
    let Some(text) = given.get(name) else {
        if result.is_none() {
            report.add(
                Diagnostic::error("E0214", format!("parameter `{name}` has no value"))
                    .at(param.name.span, "has no default")
                    .help(format!("give it one: `--param {name}=..`")),
            );
        }
        return result.filter(|_| rules.is_some());
    };
    match read_given(text, &ty) {
        None => {
            let message = format!("`--param {name}={text}`: `{text}` is not of type `{}`", written(&ty));
            let problem = Diagnostic::error("E0308", message).at(param.ty.span, "its type");
            report.add(problem.maybe_help(example(&ty, name)));
            None
        }
        Some(value) if breaks(&value) => {
            let message = format!("`--param {name}={text}`: it must be {}", rules_text());
            let span = rules_span.unwrap_or(param.name.span);
            report.add(Diagnostic::error("E0308", message).at(span, "its rule"));
            None
        }
        Some(value) => rules.is_some().then_some(ParamValue { value, origin: "--param" }),
    }
}

/// Reads a value of the command line: as in the file, but strings have no quotes.
fn read_given(text: &str, ty: &Type) -> Option<Value> {
    match ty {
        Type::Optional(_) if text == "none" => Some(Value::Null),
        Type::Optional(inner) => read_given(text, inner),
        Type::Size => literal::read_size(text.trim()).flatten().map(Value::SizeBytes),
        Type::Scalar(scalar) => read_scalar(text, *scalar).and_then(|value| fit(value, ty).ok()),
        Type::List(_) => {
            let findings = Findings::new(Vec::new());
            let report = Report::new(&findings);
            // The grammar knows no blanks but spaces.
            let text = text.replace(['\t', '\r', '\n'], " ");
            let expr = parse::parse_value(&text)?;
            let value = Eval { report, names: &Names::default(), env: None }.value(&expr)?;
            fit(value, ty).ok()
        }
        _ => None,
    }
}

fn read_scalar(text: &str, scalar: Scalar) -> Option<Value> {
    let text = if scalar == Scalar::Str { text } else { text.trim() };
    match scalar {
        Scalar::Str => Some(Value::Str(text.to_owned())),
        Scalar::Bool => match text {
            "true" => Some(Value::Bool(true)),
            "false" => Some(Value::Bool(false)),
            _ => None,
        },
        Scalar::Date => literal::read_date(text).map(Value::Date),
        Scalar::Timestamp => literal::read_timestamp(text).map(Value::Timestamp),
        Scalar::Duration => literal::read_duration(text).flatten().map(Value::DurationMs),
        Scalar::Int | Scalar::Float | Scalar::Decimal { .. } => {
            let (is_negative, digits) = text.strip_prefix('-').map_or((false, text), |digits| (true, digits));
            if !digits.starts_with(|c: char| c.is_ascii_digit()) {
                return None;
            }
            match literal::read_number(digits, Span::default()).ok()? {
                Number::Int(n) if is_negative => 0_i64.checked_sub_unsigned(n).map(Value::Int),
                Number::Int(n) => i64::try_from(n).ok().map(Value::Int),
                Number::Other(Value::Float(x)) => Some(Value::Float(if is_negative { -x } else { x })),
                Number::Other(_) => None,
            }
        }
    }
}

fn example(ty: &Type, name: &str) -> Option<String> {
    let example = match ty {
        Type::Scalar(Scalar::Bool) => "true",
        Type::Scalar(Scalar::Date) => "2026-09-01",
        Type::Scalar(Scalar::Timestamp) => "2026-09-01T12:30:00Z",
        Type::Scalar(Scalar::Duration) => "30m",
        Type::List(_) => "[64, 32]",
        Type::Size => "\"8 GiB\"",
        _ => return None,
    };
    Some(format!("write it like this: `--param {name}={example}`"))
}
