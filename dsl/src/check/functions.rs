//! The functions of constant expressions: over lists, and over strings.

use std::cmp::Ordering;

use mlp_model::{Span, Value};

use super::bind::{self, Formal};
use super::value::{DAY_MS, Eval, compare, is_scalar, kind, plain};
use crate::ast::CallExpr;
use crate::diagnostic::Diagnostic;
use crate::suggest::did_you_mean;

struct Function {
    name: &'static str,
    args: &'static [&'static str],
    apply: fn(&[Value]) -> Option<Value>,
    takes: &'static str,
}

const FUNCTIONS: [Function; 11] = [
    Function { name: "len", args: &["of"], apply: len, takes: "a list or a string" },
    Function {
        name: "range",
        args: &["from", "below"],
        apply: range,
        takes: "two ints with at most 20000 between them",
    },
    Function {
        name: "days",
        args: &["from", "before", "every"],
        apply: days,
        takes: "two dates with at most 20000 between them, and whole days",
    },
    Function { name: "min", args: &["of"], apply: min, takes: "a list of values that compare, with at least one" },
    Function { name: "max", args: &["of"], apply: max, takes: "a list of values that compare, with at least one" },
    Function { name: "join", args: &["list", "with"], apply: join, takes: "a list of scalars, and a string" },
    Function { name: "split", args: &["text", "at"], apply: split, takes: "a string, and a string that is not empty" },
    Function {
        name: "replace",
        args: &["text", "old", "new"],
        apply: replace,
        takes: "three strings, the second not empty",
    },
    Function { name: "lower", args: &["text"], apply: lower, takes: "a string" },
    Function { name: "upper", args: &["text"], apply: upper, takes: "a string" },
    Function { name: "trim", args: &["text"], apply: trim, takes: "a string" },
];

/// Computes a call; what is no function of constants is refused.
pub fn call(eval: &Eval<'_, '_>, call: &CallExpr<'_>, span: Span) -> Option<Value> {
    let name = call.path.text;
    let Some(function) = FUNCTIONS.iter().find(|function| function.name == name) else {
        let problem = Diagnostic::error("E0218", format!("`{name}(..)` is not a value"))
            .at(span, "a call cannot stand here")
            .help(match name {
                "values" => {
                    "it stands only, and alone, as what a loop goes over: `for store in values(sales.store_id) as NAME`"
                }
                "rows" => "it stands only, and alone, as what a loop goes over: `for row in rows(configs) as NAME`",
                "files" => {
                    "it stands only, and alone, as what a loop goes over: `for file in files(\"data/*.csv\") as NAME`"
                }
                "secret" => "it stands only, and alone, in `env` of a step: `env: { PASSWORD: secret(\"db\") }`",
                _ => "give an operation a `step` of its own and use its name",
            });
        let meant = did_you_mean(name, FUNCTIONS.iter().map(|function| function.name));
        eval.report.add(problem.maybe_help(meant.map(|meant| format!("did you mean `{meant}(..)`?"))));
        return None;
    };
    let is_required = |name: &str| name != "every";
    let formals: Vec<_> = function.args.iter().map(|name| Formal { name, required: is_required(name) }).collect();
    let bound = bind::bind(call, &formals, eval.report);
    let values: Vec<_> =
        bound.values.iter().map(|expr| expr.map_or(Some(Value::Null), |expr| eval.value(expr))).collect();
    if !bound.is_complete {
        return None;
    }
    let values: Vec<Value> = values.into_iter().collect::<Option<_>>()?;
    let result = (function.apply)(&values);
    if result.is_none() {
        let given = values.iter().zip(&bound.values).filter(|(_, expr)| expr.is_some());
        let got: Vec<_> = given.map(|(value, _)| kind(value)).collect();
        let message = format!("`{name}` takes {}, got {}", function.takes, got.join(" and "));
        eval.report.add(Diagnostic::error("E0305", message).at(span, ""));
    }
    result
}

fn len(args: &[Value]) -> Option<Value> {
    let n = match args {
        [Value::List(items)] => items.len(),
        [Value::Str(text)] => text.chars().count(),
        _ => return None,
    };
    i64::try_from(n).ok().map(Value::Int)
}

fn range(args: &[Value]) -> Option<Value> {
    const MOST: i64 = 20_000;
    let [Value::Int(from), Value::Int(below)] = args else { return None };
    let is_short = below.checked_sub(*from).is_some_and(|n| n <= MOST);
    is_short.then(|| Value::List((*from..*below).map(Value::Int).collect()))
}

/// Each day from the first to the one before the last, or each so many days.
fn days(args: &[Value]) -> Option<Value> {
    const MOST: usize = 20_000;
    let [Value::Date(from), Value::Date(before), every] = args else { return None };
    let step = match every {
        Value::Null => 1,
        Value::DurationMs(ms) if *ms > 0 && ms % DAY_MS == 0 => usize::try_from(ms / DAY_MS).ok()?,
        _ => return None,
    };
    let days: Vec<_> = (*from..*before).step_by(step).take(MOST + 1).map(Value::Date).collect();
    (days.len() <= MOST).then_some(Value::List(days))
}

fn min(args: &[Value]) -> Option<Value> {
    extreme(args, Ordering::Less)
}

fn max(args: &[Value]) -> Option<Value> {
    extreme(args, Ordering::Greater)
}

/// Returns the first of the items that none goes beyond.
fn extreme(args: &[Value], wanted: Ordering) -> Option<Value> {
    let [Value::List(items)] = args else { return None };
    let (first, rest) = items.split_first()?;
    compare(first, first)?;
    let mut best = first;
    for item in rest {
        if compare(item, best)? == wanted {
            best = item;
        }
    }
    Some(best.clone())
}

fn join(args: &[Value]) -> Option<Value> {
    let [Value::List(items), Value::Str(with)] = args else { return None };
    let texts: Vec<_> = items.iter().map(|item| is_scalar(item).then(|| plain(item))).collect::<Option<_>>()?;
    Some(Value::Str(texts.join(with)))
}

fn split(args: &[Value]) -> Option<Value> {
    let [Value::Str(text), Value::Str(at)] = args else { return None };
    (!at.is_empty()).then(|| Value::List(text.split(at.as_str()).map(|part| Value::Str(part.to_owned())).collect()))
}

fn replace(args: &[Value]) -> Option<Value> {
    let [Value::Str(text), Value::Str(old), Value::Str(new)] = args else { return None };
    (!old.is_empty()).then(|| Value::Str(text.replace(old.as_str(), new)))
}

fn lower(args: &[Value]) -> Option<Value> {
    text(args, str::to_lowercase)
}

fn upper(args: &[Value]) -> Option<Value> {
    text(args, str::to_uppercase)
}

fn trim(args: &[Value]) -> Option<Value> {
    text(args, |text| text.trim().to_owned())
}

fn text(args: &[Value], change: impl Fn(&str) -> String) -> Option<Value> {
    let [Value::Str(text)] = args else { return None };
    Some(Value::Str(change(text)))
}
