//! Reads written types and the rules that restrict them, and fits values to both.

use std::cmp::Ordering;

use mlp_model::{Comparison, Rule, Scalar, Span, Type, Value};

use super::report::Report;
use super::value::{Eval, compare, holds, kind, show};
use crate::ast::{ExprKind, RuleExpr, RuleKind, TypeArg, TypeExpr};
use crate::diagnostic::Diagnostic;
use crate::suggest::listed;

/// The words that begin a type.
pub const TYPE_NAMES: [&str; 10] =
    ["int", "float", "bool", "str", "date", "timestamp", "decimal", "duration", "size", "list"];

/// Returns the type that is written, or reports why it is none.
pub fn read_type(ty: &TypeExpr<'_>, report: Report<'_>) -> Option<Type> {
    let scalar = match ty.name.text {
        "int" => Some(Scalar::Int),
        "float" => Some(Scalar::Float),
        "bool" => Some(Scalar::Bool),
        "str" => Some(Scalar::Str),
        "date" => Some(Scalar::Date),
        "timestamp" => Some(Scalar::Timestamp),
        "duration" => Some(Scalar::Duration),
        _ => None,
    };
    let read = match (scalar, ty.name.text, ty.args.as_slice()) {
        (Some(scalar), _, []) => Some(Type::Scalar(scalar)),
        (Some(_), name, _) => {
            report.add(Diagnostic::error("E0304", format!("type `{name}` takes nothing in brackets")).at(ty.span, ""));
            None
        }
        (None, "size", []) => Some(Type::Size),
        (None, "decimal", [TypeArg::Number(precision), TypeArg::Number(scale)]) => {
            let (ExprKind::Int(p), ExprKind::Int(s)) = (&precision.kind, &scale.kind) else {
                return wrong_decimal(ty, report);
            };
            match (u8::try_from(*p), i8::try_from(*s)) {
                (Ok(precision @ 1..=38), Ok(scale)) if u8::try_from(scale).is_ok_and(|scale| scale <= precision) => {
                    Some(Type::Scalar(Scalar::Decimal { precision, scale }))
                }
                _ => wrong_decimal(ty, report),
            }
        }
        (None, "decimal", _) => wrong_decimal(ty, report),
        (None, "list", [TypeArg::Type(item)]) => read_type(item, report).map(|item| Type::List(Box::new(item))),
        (None, "list", _) => {
            let problem = Diagnostic::error("E0304", "`list` takes the type of its items").at(ty.span, "");
            report.add(problem.help("write `list(int)`, for example"));
            None
        }
        (None, name, _) => {
            let other = match name {
                "string" | "text" | "varchar" => Some("str"),
                "integer" | "long" | "i64" => Some("int"),
                "double" | "number" | "real" | "f64" => Some("float"),
                "boolean" => Some("bool"),
                "datetime" => Some("timestamp"),
                _ => None,
            };
            let help = other.map(|other| format!("write `{other}`")).or_else(|| report.suggest(name, TYPE_NAMES));
            let types = listed(TYPE_NAMES, "and");
            report.add(
                Diagnostic::error("E0304", format!("`{name}` is not a type"))
                    .at(ty.name.span, format!("the types are {types}"))
                    .maybe_help(help),
            );
            None
        }
    }?;
    Some(if ty.optional { Type::Optional(Box::new(read)) } else { read })
}

fn wrong_decimal(ty: &TypeExpr<'_>, report: Report<'_>) -> Option<Type> {
    let problem = Diagnostic::error("E0304", "`decimal` takes two numbers: digits in all, and after the point");
    let problem = problem.at(ty.span, "");
    report.add(problem.help("write `decimal(18, 2)`: 1 to 38 digits, at most all of them after the point"));
    None
}

/// Returns the value as one of type `ty`; an int becomes a float where one is needed.
pub fn fit(value: Value, ty: &Type) -> Result<Value, Value> {
    match (ty, value) {
        (Type::Optional(_), Value::Null) => Ok(Value::Null),
        (Type::Optional(inner), value) => fit(value, inner),
        (Type::List(item), Value::List(items)) => {
            let fitted: Result<Vec<_>, _> = items.iter().cloned().map(|value| fit(value, item)).collect();
            fitted.map(Value::List).map_err(|_| Value::List(items))
        }
        (Type::Size, value @ Value::SizeBytes(_)) => Ok(value),
        (Type::Scalar(scalar), value) => fit_scalar(value, *scalar),
        (_, value) => Err(value),
    }
}

fn fit_scalar(value: Value, scalar: Scalar) -> Result<Value, Value> {
    match (scalar, value) {
        (Scalar::Float, Value::Int(n)) => Ok(Value::Float(n as f64)),
        (Scalar::Int, value @ Value::Int(_))
        | (Scalar::Float, value @ Value::Float(_))
        | (Scalar::Bool, value @ Value::Bool(_))
        | (Scalar::Str, value @ Value::Str(_))
        | (Scalar::Date, value @ Value::Date(_))
        | (Scalar::Timestamp, value @ Value::Timestamp(_))
        | (Scalar::Duration, value @ Value::DurationMs(_)) => Ok(value),
        (Scalar::Decimal { precision, scale }, value @ (Value::Int(_) | Value::Float(_))) => {
            // The shortest text of a float has the digits that were written.
            let text = value.as_float().map_or(String::new(), |x| format!("{}", x.abs()));
            let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
            let n_whole = whole.trim_start_matches('0').len();
            let room = usize::from(precision) - usize::from(scale.unsigned_abs()).min(usize::from(precision));
            let fits = fraction.len() <= usize::from(scale.unsigned_abs()) && n_whole <= room;
            if fits { Ok(value) } else { Err(value) }
        }
        (_, value) => Err(value),
    }
}

/// Computes rules over values of type `ty`. A rule that is wrong is reported and makes the whole `None`.
pub fn read_rules(rules: &[RuleExpr<'_>], ty: &Type, eval: &Eval<'_, '_>) -> Option<Vec<Rule>> {
    let base = match ty {
        Type::Optional(inner) => inner,
        other => other,
    };
    let mut read: Vec<(Rule, Span)> = Vec::new();
    let mut is_complete = true;
    for rule in rules {
        match read_rule(rule, ty, base, eval) {
            Some(some) => {
                let against = some.iter().find_map(|rule| read.iter().find(|(earlier, _)| exclude(earlier, rule)));
                if let Some((_, earlier)) = against {
                    let problem = Diagnostic::error("E0325", "no value satisfies both of these rules");
                    eval.report.add(problem.at(rule.span, "").and(*earlier, "and this one"));
                    is_complete = false;
                }
                read.extend(some.into_iter().map(|read| (read, rule.span)));
            }
            None => is_complete = false,
        }
    }
    is_complete.then(|| read.into_iter().map(|(rule, _)| rule).collect())
}

/// Returns whether no value satisfies both rules.
fn exclude(a: &Rule, b: &Rule) -> bool {
    match (a, b) {
        (Rule::OneOf(values), other) | (other, Rule::OneOf(values)) => {
            !values.iter().any(|value| satisfies(value, other))
        }
        (Rule::Min { value: low, inclusive: with_low }, Rule::Max { value: high, inclusive: with_high })
        | (Rule::Max { value: high, inclusive: with_high }, Rule::Min { value: low, inclusive: with_low }) => {
            match (low, high) {
                // Of whole numbers there need not be one between two others.
                (Value::Int(low), Value::Int(high)) => {
                    let low = i128::from(*low) + i128::from(!with_low);
                    low > i128::from(*high) - i128::from(!with_high)
                }
                _ => match compare(low, high) {
                    Some(Ordering::Less) | None => false,
                    Some(Ordering::Equal) => !(*with_low && *with_high),
                    Some(Ordering::Greater) => true,
                },
            }
        }
        _ => false,
    }
}

fn read_rule(rule: &RuleExpr<'_>, ty: &Type, base: &Type, eval: &Eval<'_, '_>) -> Option<Vec<Rule>> {
    let report = eval.report;
    let is_plain = matches!(base, Type::Scalar(_) | Type::Size);
    let is_ordered = is_plain && !matches!(base, Type::Scalar(Scalar::Bool | Scalar::Str));
    let is_list = matches!(rule.kind, RuleKind::OneOf(_));
    if !is_plain || !(is_ordered || is_list) {
        let problem = Diagnostic::error("E0324", format!("this rule does not fit type `{}`", written(ty)));
        let help = if is_plain { "list the values it can have: `in [..]`" } else { "a list has no rules" };
        report.add(problem.at(rule.span, "").help(help));
        return None;
    }
    let fitted = |value: Value, span: Span| {
        let refuse = |value: Value| {
            let message = format!("the rule has {}, but the type is `{base}`", kind(&value));
            report.add(Diagnostic::error("E0324", message).at(span, format!("`{}`", show(&value))));
        };
        fit(value, base).map_err(refuse).ok()
    };
    let value = |expr: &crate::ast::Expr<'_>| fitted(eval.value(expr)?, expr.span);
    match &rule.kind {
        RuleKind::OneOf(list) => {
            // Written out, each item has a place of its own.
            let values: Vec<_> = match &list.kind {
                ExprKind::List(items) => items.iter().map(value).collect(),
                _ => match eval.value(list)? {
                    Value::List(items) => items.into_iter().map(|item| fitted(item, list.span)).collect(),
                    other => {
                        let message = format!("`in` needs a list or a range, got {}", kind(&other));
                        report.add(Diagnostic::error("E0324", message).at(list.span, ""));
                        return None;
                    }
                },
            };
            if values.is_empty() {
                report.add(Diagnostic::error("E0325", "no value is in an empty list").at(rule.span, ""));
                return None;
            }
            Some(vec![Rule::OneOf(values.into_iter().collect::<Option<_>>()?)])
        }
        RuleKind::Bound { comparison, value: bound } => {
            let value = value(bound)?;
            let inclusive = matches!(comparison, Comparison::LessOrEqual | Comparison::GreaterOrEqual);
            Some(vec![match comparison {
                Comparison::Less | Comparison::LessOrEqual => Rule::Max { value, inclusive },
                Comparison::Greater | Comparison::GreaterOrEqual => Rule::Min { value, inclusive },
            }])
        }
        RuleKind::Range { low, high, inclusive } => {
            let (low_value, high_value) = (value(low), value(high));
            let (low_value, high_value) = (low_value?, high_value?);
            let is_empty = match compare(&low_value, &high_value) {
                Some(Ordering::Less) => false,
                Some(Ordering::Equal) => !inclusive,
                _ => true,
            };
            if is_empty {
                let (low, high) = (show(&low_value), show(&high_value));
                report.add(
                    Diagnostic::error("E0325", format!("no value lies between {low} and {high}")).at(rule.span, ""),
                );
                return None;
            }
            Some(vec![
                Rule::Min { value: low_value, inclusive: true },
                Rule::Max { value: high_value, inclusive: *inclusive },
            ])
        }
    }
}

/// Returns whether the value satisfies the rule; `none` satisfies every one.
pub fn satisfies(value: &Value, rule: &Rule) -> bool {
    let against = |bound: &Value, comparison| compare(value, bound).is_some_and(|ordering| holds(comparison, ordering));
    match rule {
        _ if *value == Value::Null => true,
        Rule::Min { value, inclusive: true } => against(value, Comparison::GreaterOrEqual),
        Rule::Min { value, inclusive: false } => against(value, Comparison::Greater),
        Rule::Max { value, inclusive: true } => against(value, Comparison::LessOrEqual),
        Rule::Max { value, inclusive: false } => against(value, Comparison::Less),
        Rule::OneOf(values) => values.iter().any(|other| compare(value, other) == Some(Ordering::Equal)),
    }
}

/// Writes a type as the language does.
pub fn written(ty: &Type) -> String {
    match ty {
        Type::List(item) => format!("list({})", written(item)),
        Type::Optional(inner) => format!("{}?", written(inner)),
        other => other.to_string(),
    }
}
