//! Checks parameters: their types, defaults and rules, and the values that are given to them from outside.

use mlp_model::{ParamValue, Scalar, Span, Type, Value};

use super::names::Names;
use super::report::{Findings, Report};
use super::types::{fit, read_rules, read_type, satisfies, written};
use super::value::{Eval, kind, show};
use super::{CheckInput, PIPELINE, Sources};
use crate::assign::{AS_OF, Assignment, Assignments, Giver, Written};
use crate::ast::ParamDecl;
use crate::diagnostic::Diagnostic;
use crate::literal::{self, Number};
use crate::outline::{self, Chunk};
use crate::parse;
use crate::world::World;

/// What is given from outside, and to whom.
#[derive(Clone, Copy)]
pub struct Given<'a> {
    assignments: &'a Assignments,
    /// The pipeline's name.
    pipeline: &'a str,
    world: &'a dyn World,
    sources: Sources<'a>,
}

impl<'a> Given<'a> {
    pub fn new(input: &CheckInput<'a>, sources: Sources<'a>, pipeline: &'a str) -> Self {
        Self { assignments: input.params, pipeline, world: input.world, sources }
    }

    /// Refuses values for parameters that there are not, and for pipelines that there are not.
    pub fn refuse_unknown(&self, names: &Names<'_>, report: Report<'_>) {
        for assignment in &self.assignments.list {
            let name = assignment.name.as_str();
            let has_it = names.params.iter().any(|(param, _)| param.name.text == name);
            let (is_shared, only) = match &assignment.by {
                Giver::Argument => (false, None),
                Giver::Variable | Giver::Profile { pipeline: None, .. } => (true, None),
                Giver::Profile { pipeline: Some((pipeline, place)), .. } => (false, Some((pipeline, place))),
            };
            if let Some((other, place)) = only.filter(|(only, _)| *only != self.pipeline) {
                // Whether that one has the parameter is told where it is checked.
                if !self.another_has("pipeline", other) {
                    let giver = assignment.giver();
                    let message = format!("{giver}: no pipeline of the workspace is called `{other}`");
                    let problem = Diagnostic::error("E0213", message).at(self.sources.in_settings(place), "");
                    report.add(problem.maybe_help(report.suggest(other, [self.pipeline])));
                }
                continue;
            }
            if has_it || is_shared && self.another_has("param", name) {
                continue;
            }
            let problem = match names.get(PIPELINE, name).map(|entry| entry.word) {
                None if name == AS_OF && !is_shared => {
                    let message = format!("{}: the pipeline takes no `as_of`", assignment.giver());
                    Diagnostic::error("E0213", message)
                        .help(format!("write `pipeline {}(as_of: date)` if its runs are for a day", self.pipeline))
                }
                // One that could not be read.
                Some("param") => continue,
                Some(word) => {
                    Diagnostic::error("E0213", format!("{}: `{name}` is a {word}, not a parameter", assignment.giver()))
                }
                None => {
                    let who = if is_shared { "no pipeline of the workspace" } else { "the pipeline" };
                    let has = if is_shared { "has a" } else { "has no" };
                    let candidates = names.params.iter().map(|(param, _)| param.name.text);
                    Diagnostic::error("E0213", format!("{}: {who} {has} parameter `{name}`", assignment.giver()))
                        .maybe_help(report.suggest(name, candidates))
                }
            };
            report.add(match &assignment.by {
                Giver::Profile { name, .. } => problem.at(self.sources.in_settings(name), ""),
                Giver::Argument | Giver::Variable => problem,
            });
        }
    }

    fn another_has(&self, keyword: &str, name: &str) -> bool {
        self.world.another_has(&|text| {
            let outline = outline::cut(0, text, &mut Vec::new());
            let is_it = |chunk: &Chunk<'_>| match (keyword, name) {
                ("param", AS_OF) => chunk.keyword == "pipeline" && text[chunk.start..chunk.end].contains(AS_OF),
                _ => chunk.keyword == keyword && chunk.name.is_some_and(|it| it.text == name),
            };
            outline.chunks.iter().any(is_it)
        })
    }

    /// Returns a problem with a value at the value's place, beside the place in the file that it breaks.
    fn problem(&self, message: String, assignment: &Assignment, broken: Span, text: &str) -> Diagnostic {
        let problem = Diagnostic::error("E0308", message);
        match &assignment.by {
            Giver::Profile { value, .. } => problem.at(self.sources.in_settings(value), "").and(broken, text),
            Giver::Argument | Giver::Variable => problem.at(broken, text),
        }
    }
}

/// Returns the parameter's value, or `None` after reporting what is wrong.
pub fn check(param: &ParamDecl<'_>, eval: &Eval<'_, '_>, given: Given<'_>) -> Option<ParamValue> {
    let report = eval.report;
    let name = param.name.text;
    let ty = read_type(&param.ty, report);
    let default = param.default.as_ref().map(|expr| (expr, eval.value(expr)));
    let ty = ty?;
    let rules = read_rules(&param.rules, &ty, eval);
    let rules_text = || {
        let rules: Vec<_> = param.rules.iter().map(|rule| format!("`{}`", given.sources.written(rule.span))).collect();
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
            Ok(value) => result = Some(ParamValue { value, origin: "default", span: param.name.span }),
        }
    }
    let Some(assignment) = given.assignments.of(name, given.pipeline) else {
        if result.is_none() {
            report.add(
                Diagnostic::error("E0214", format!("parameter `{name}` has no value"))
                    .at(param.name.span, "has no default")
                    .help(match name {
                        AS_OF => "say which day the run is for: `--as-of 2026-09-01`".to_owned(),
                        _ => format!("give it one: `--param {name}=..`, or in a profile of the settings file"),
                    }),
            );
        }
        return result.filter(|_| rules.is_some());
    };
    match read_written(&assignment.written, &ty) {
        None => {
            let text = assignment.written.shown();
            let message = format!("{}: `{text}` is not of type `{}`", assignment.shown(), written(&ty));
            let problem = given.problem(message, assignment, param.ty.span, "its type");
            let example = example(&ty, &assignment.written).map(|value| assignment.example(value));
            report.add(problem.maybe_help(example.map(|example| format!("write it like this: `{example}`"))));
            None
        }
        Some(value) if breaks(&value) => {
            let message = format!("{}: it must be {}", assignment.shown(), rules_text());
            report.add(given.problem(message, assignment, rules_span.unwrap_or(param.name.span), "its rule"));
            None
        }
        Some(value) => {
            let origin = match assignment.by {
                Giver::Argument => "--param",
                Giver::Variable => "environment",
                Giver::Profile { .. } => "profile",
            };
            rules.is_some().then_some(ParamValue { value, origin, span: param.name.span })
        }
    }
}

/// Reads a value that is written outside of the language.
fn read_written(written: &Written, ty: &Type) -> Option<Value> {
    match (written, ty) {
        (Written::Text(text), _) => read_given(text, ty),
        (Written::Nothing, Type::Optional(_)) => Some(Value::Null),
        (written, Type::Optional(inner)) => read_written(written, inner),
        // Numbers and truth are not written in quotes; dates and the like have no other form there.
        (Written::Quoted(_), Type::Scalar(Scalar::Int | Scalar::Float | Scalar::Bool)) => None,
        (Written::Quoted(text), Type::Scalar(_) | Type::Size) => read_given(text, ty),
        (Written::List(items), Type::List(item)) => {
            items.iter().map(|written| read_written(written, item)).collect::<Option<_>>().map(Value::List)
        }
        _ => None,
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

/// Reads one value of a type as it is written, except that a string has no quotes.
pub fn read_scalar(text: &str, scalar: Scalar) -> Option<Value> {
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

/// Returns a value of the type, to show how it is written; nothing where that is plain.
fn example(ty: &Type, written: &Written) -> Option<&'static str> {
    Some(match ty {
        Type::Optional(inner) => return example(inner, written),
        Type::Scalar(Scalar::Bool) => "true",
        Type::Scalar(Scalar::Date) => "2026-09-01",
        Type::Scalar(Scalar::Timestamp) => "2026-09-01T12:30:00Z",
        Type::Scalar(Scalar::Duration) => "30m",
        Type::Scalar(Scalar::Int) if matches!(written, Written::Quoted(_)) => "30",
        Type::Scalar(Scalar::Float) if matches!(written, Written::Quoted(_)) => "0.5",
        Type::List(_) => "[64, 32]",
        Type::Size => "\"8 GiB\"",
        _ => return None,
    })
}
