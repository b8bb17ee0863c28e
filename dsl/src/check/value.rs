//! Computes constant expressions. Knows parameters; every other name is a mistake here.

use std::cmp::Ordering;

use mlp_model::{Comparison, Named, Span, Value};

use super::functions;
use super::names::{Entity, Names};
use super::report::Report;
use crate::assign::AS_OF;
use crate::ast::{Binary, Expr, ExprKind, Name, Unary};
use crate::diagnostic::Diagnostic;
use crate::literal;
use crate::suggest::listed;

pub const DAY_MS: u64 = 86_400_000;

/// Computes expressions; what is wrong is reported, and `None` returned.
#[derive(Clone, Copy)]
pub struct Eval<'e, 'a> {
    pub report: Report<'e>,
    pub names: &'e Names<'a>,
    /// The name space that names are looked up in. Without one, none is known.
    pub env: Option<usize>,
}

impl Eval<'_, '_> {
    pub fn value(&self, expr: &Expr<'_>) -> Option<Value> {
        match &expr.kind {
            ExprKind::Int(magnitude) => self.int(i64::try_from(*magnitude).ok(), expr.span),
            ExprKind::Literal(value) => Some(value.clone()),
            ExprKind::Text(text) => Some(Value::Str(text.value.clone().into_owned())),
            ExprKind::Path(path) => self.name(path, expr.span),
            ExprKind::If(parts) => self.choose(parts),
            ExprKind::Index { list, index } => self.item(list, index),
            ExprKind::Group(inner) => self.value(inner),
            ExprKind::Unary { op, operand } => self.unary(*op, operand, expr.span),
            ExprKind::Binary { op, op_span, left, right } => {
                if let Some(value) = self.shortcut(*op, left, right) {
                    return value;
                }
                // Both sides, so that mistakes in both are reported.
                let (left_value, right_value) = (self.value(left), self.value(right));
                self.binary(*op, *op_span, (left, left_value?), (right, right_value?))
            }
            ExprKind::List(items) => {
                let values: Vec<_> = items.iter().map(|item| self.value(item)).collect();
                values.into_iter().collect::<Option<_>>().map(Value::List)
            }
            ExprKind::Record(fields) => {
                let mut values = Named::new();
                let mut is_complete = true;
                for field in fields {
                    let name = super::bind::field_name(self.report, field);
                    match (name, self.value(&field.value)) {
                        (Some(name), Some(value)) => drop(values.insert(name.text.into_owned(), value)),
                        _ => is_complete = false,
                    }
                }
                is_complete.then_some(Value::Record(values))
            }
            ExprKind::Call(call) => functions::call(self, call, expr.span),
            ExprKind::Maybe(word) => {
                let message = format!("`{}?` is no value", word.text);
                let problem = Diagnostic::error("E0301", message).at(expr.span, "nothing can be left out here");
                self.report.add(problem.help("`file?` and `folder?` stand among the `outputs` of a command"));
                None
            }
            ExprKind::Wrong => None,
        }
    }

    fn name(&self, path: &[Name<'_>], span: Span) -> Option<Value> {
        let first = path.first()?;
        let entry = self.env.and_then(|env| self.names.get(env, first.text));
        let problem = match entry.map(|entry| (entry.entity, entry.word)) {
            Some((Entity::Value(i), _)) if path.len() == 1 => return self.names.values.get(i).cloned().flatten(),
            Some((Entity::Broken, _)) => return None,
            Some((Entity::Value(i), word)) => {
                match self.member(self.names.values.get(i)?.as_ref()?, word, path, span) {
                    Ok(value) => return Some(value),
                    Err(problem) => *problem,
                }
            }
            Some((_, word)) => Diagnostic::error("E0301", format!("`{}` is a {word}, not a value", first.text))
                .at(span, "a value is needed here")
                .help("values are literals, parameters and `let`s; what a step gives is known only when it has run"),
            None if first.text == "champion" => {
                Diagnostic::error("E0301", "what the champion holds is not known when the file is checked")
                    .at(span, "a value is needed here")
            }
            None => {
                let env = self.env.unwrap_or_default();
                if let Some(hidden) = self.names.hidden(env, first.text) {
                    self.report.add(not_seen(*first, hidden.word));
                    return None;
                }
                let is_value = |name: &&str| {
                    self.names.get(env, name).is_some_and(|entry| matches!(entry.entity, Entity::Value(_)))
                };
                let values = self.names.visible(env).filter(is_value);
                let help = match (first.text, self.names.pipeline) {
                    (AS_OF, Some((name, _))) => Some(format!("write `pipeline {}(as_of: date)`", name.text)),
                    _ => self.report.suggest(first.text, values),
                };
                Diagnostic::error("E0202", format!("`{}` is not known", first.text))
                    .at(first.span, "no value has this name")
                    .maybe_help(help)
            }
        };
        self.report.add(problem);
        None
    }

    /// Follows a path into a record: `best.lr`.
    fn member(&self, value: &Value, word: &str, path: &[Name<'_>], span: Span) -> Result<Value, Box<Diagnostic>> {
        let (mut value, mut shown) = (value, path.first().map_or("", |name| name.text).to_owned());
        let mut subject = format!("{word} `{shown}`");
        for name in path.iter().skip(1) {
            let Value::Record(fields) = value else {
                let problem = Diagnostic::error("E0202", format!("{subject} has no parts")).at(span, "");
                return Err(Box::new(problem));
            };
            let Some(member) = fields.get(name.text) else {
                let known = listed(fields.keys(), "and");
                let problem = Diagnostic::error("E0202", format!("{subject} has no member `{}`", name.text))
                    .at(name.span, format!("its members are {known}"))
                    .maybe_help(self.report.suggest(name.text, fields.keys()));
                return Err(Box::new(problem));
            };
            value = member;
            shown = format!("{shown}.{}", name.text);
            subject = format!("`{shown}`");
        }
        Ok(value.clone())
    }

    fn choose(&self, [condition, yes, no]: &[Expr<'_>; 3]) -> Option<Value> {
        match self.value(condition)? {
            // Only what is chosen is computed, so that a condition can guard against what has no result.
            Value::Bool(true) => self.value(yes),
            Value::Bool(false) => self.value(no),
            other => {
                let message = format!("the condition of an `if` must be a bool, got {}", kind(&other));
                self.report.add(Diagnostic::error("E0305", message).at(condition.span, ""));
                None
            }
        }
    }

    fn item(&self, list: &Expr<'_>, index: &Expr<'_>) -> Option<Value> {
        let (items, at) = (self.value(list), self.value(index));
        match (items?, at?) {
            (Value::List(items), Value::Int(at)) => {
                let item = usize::try_from(at).ok().and_then(|at| items.get(at)).cloned();
                if item.is_none() {
                    let n = items.len();
                    let plural = if n == 1 { "" } else { "s" };
                    let message = format!("there is no item {at} in a list of {n} item{plural}");
                    let problem = Diagnostic::error("E0306", message).at(index.span, "");
                    self.report.add(problem.help("the first item is number 0"));
                }
                item
            }
            (Value::List(_), other) => {
                let message = format!("the number of an item must be an int, got {}", kind(&other));
                self.report.add(Diagnostic::error("E0305", message).at(index.span, ""));
                None
            }
            (other, _) => {
                let message = format!("only a list has items, got {}", kind(&other));
                self.report.add(Diagnostic::error("E0305", message).at(list.span, kind(&other)));
                None
            }
        }
    }

    /// Answers where the left side alone decides. What is not looked at then may be wrong.
    fn shortcut(&self, op: Binary, left: &Expr<'_>, right: &Expr<'_>) -> Option<Option<Value>> {
        if op != Binary::Otherwise {
            return None;
        }
        Some(match self.value(left) {
            Some(Value::Null) => self.value(right),
            other => other,
        })
    }

    fn unary(&self, op: Unary, operand: &Expr<'_>, span: Span) -> Option<Value> {
        if let (Unary::Negate, ExprKind::Int(magnitude)) = (op, &operand.kind) {
            return self.int(0_i64.checked_sub_unsigned(*magnitude), span);
        }
        match (op, self.value(operand)?) {
            (Unary::Negate, Value::Int(n)) => self.int(n.checked_neg(), span),
            (Unary::Negate, Value::Float(x)) => Some(Value::Float(-x)),
            (Unary::Not, Value::Bool(b)) => Some(Value::Bool(!b)),
            (op, other) => {
                let (sign, needed) = if op == Unary::Not { ("not", "a bool") } else { ("-", "a number") };
                let problem = Diagnostic::error("E0305", format!("`{sign}` needs {needed}, got {}", kind(&other)));
                self.report.add(problem.at(operand.span, format!("{} `{}`", kind(&other), show(&other))));
                None
            }
        }
    }

    fn binary(
        &self,
        op: Binary,
        op_span: Span,
        (left_expr, left): (&Expr<'_>, Value),
        (right_expr, right): (&Expr<'_>, Value),
    ) -> Option<Value> {
        let span = Span { end: right_expr.span.end, ..left_expr.span };
        match (op, &left, &right) {
            (Binary::Within, item, Value::List(items)) => {
                let is_item = |other: &Value| compare(item, other) == Some(Ordering::Equal) || item == other;
                return Some(Value::Bool(items.iter().any(is_item)));
            }
            (Binary::Add, Value::List(a), Value::List(b)) => return Some(Value::List([a.as_slice(), b].concat())),
            (Binary::Equal, Value::Null, other) | (Binary::Equal, other, Value::Null) => {
                return Some(Value::Bool(*other == Value::Null));
            }
            (Binary::NotEqual, Value::Null, other) | (Binary::NotEqual, other, Value::Null) => {
                return Some(Value::Bool(*other != Value::Null));
            }
            (Binary::And, Value::Bool(a), Value::Bool(b)) => return Some(Value::Bool(*a && *b)),
            (Binary::Or, Value::Bool(a), Value::Bool(b)) => return Some(Value::Bool(*a || *b)),
            (Binary::Add, Value::Str(_), other) | (Binary::Add, other, Value::Str(_)) if is_scalar(other) => {
                return Some(Value::Str(plain(&left) + &plain(&right)));
            }
            (Binary::Add, Value::DurationMs(a), Value::DurationMs(b)) => {
                return self.result(a.checked_add(*b).map(Value::DurationMs), span, "the sum is too long a duration");
            }
            (Binary::Subtract, Value::DurationMs(a), Value::DurationMs(b)) => {
                return self.result(a.checked_sub(*b).map(Value::DurationMs), span, "a duration cannot be negative");
            }
            (Binary::Add | Binary::Subtract, Value::Date(days), Value::DurationMs(ms)) => {
                return self.shifted(op, *days, *ms, (span, right_expr.span));
            }
            (Binary::Add, Value::DurationMs(ms), Value::Date(days)) => {
                return self.shifted(op, *days, *ms, (span, left_expr.span));
            }
            (Binary::Add | Binary::Subtract, Value::Timestamp(us), Value::DurationMs(ms)) => {
                let offset = i64::try_from(*ms).ok().and_then(|ms| ms.checked_mul(1_000));
                let moved = offset.and_then(|offset| match op {
                    Binary::Add => us.checked_add(offset),
                    _ => us.checked_sub(offset),
                });
                let moved = moved.filter(|us| literal::is_timestamp(*us)).map(Value::Timestamp);
                return self.result(moved, span, "the timestamp is out of the range of years that there are");
            }
            (Binary::Subtract, Value::Date(a), Value::Date(b)) => {
                let days = i64::from(*a) - i64::from(*b);
                let ms = u64::try_from(days).ok().and_then(|days| days.checked_mul(DAY_MS));
                return self.result(
                    ms.map(Value::DurationMs),
                    span,
                    "a duration cannot be negative: the later date comes first",
                );
            }
            (Binary::Add, Value::SizeBytes(a), Value::SizeBytes(b)) => {
                return self.result(
                    a.checked_add(*b).map(Value::SizeBytes),
                    span,
                    "the size does not fit into 64 bits",
                );
            }
            (Binary::Multiply, Value::SizeBytes(a), Value::Int(n))
            | (Binary::Multiply, Value::Int(n), Value::SizeBytes(a)) => {
                let product = u64::try_from(*n).ok().and_then(|n| a.checked_mul(n));
                return self.result(product.map(Value::SizeBytes), span, "the size does not fit into 64 bits");
            }
            (Binary::Remainder, Value::Int(_), Value::Int(0)) | (Binary::Divide, _, Value::Int(0)) => {
                return self.result(None, right_expr.span, "division by zero");
            }
            (Binary::Remainder, Value::Int(a), Value::Int(b)) => return self.int(a.checked_rem(*b), span),
            (Binary::Add, Value::Int(a), Value::Int(b)) => return self.int(a.checked_add(*b), span),
            (Binary::Subtract, Value::Int(a), Value::Int(b)) => return self.int(a.checked_sub(*b), span),
            (Binary::Multiply, Value::Int(a), Value::Int(b)) => return self.int(a.checked_mul(*b), span),
            _ => {}
        }
        if let (Some(a), Some(b)) = (left.as_float(), right.as_float()) {
            let number = match op {
                Binary::Add => Some(a + b),
                Binary::Subtract => Some(a - b),
                Binary::Multiply => Some(a * b),
                Binary::Divide if b == 0.0 => return self.result(None, right_expr.span, "division by zero"),
                Binary::Divide => Some(a / b),
                _ => None,
            };
            if let Some(number) = number {
                let value = number.is_finite().then_some(Value::Float(number));
                return self.result(value, span, "the result is too large for a float");
            }
        }
        let ordering = compare(&left, &right);
        let truth = match (op, ordering) {
            (Binary::Equal, Some(ordering)) => Some(ordering == Ordering::Equal),
            (Binary::NotEqual, Some(ordering)) => Some(ordering != Ordering::Equal),
            (Binary::Compare(comparison), Some(ordering)) if !matches!(left, Value::Bool(_)) => {
                Some(holds(comparison, ordering))
            }
            _ => None,
        };
        if truth.is_none() {
            let none = [(&left, left_expr), (&right, right_expr)].into_iter().find(|(value, _)| **value == Value::Null);
            let (left, right) = (kind(&left), kind(&right));
            let problem = Diagnostic::error("E0305", format!("`{}` does not fit {left} and {right}", sign(op)))
                .at(op_span, "")
                .and(left_expr.span, left)
                .and(right_expr.span, right);
            let name = none.and_then(|(_, expr)| expr.as_name());
            let help = name.map(|name| format!("say what it is without a value: `({} ?? ..)`", name.text));
            self.report.add(problem.maybe_help(help));
        }
        truth.map(Value::Bool)
    }

    /// Moves a date by a duration, which must be of whole days.
    fn shifted(&self, op: Binary, days: i32, ms: u64, (span, duration): (Span, Span)) -> Option<Value> {
        if ms % DAY_MS != 0 {
            let problem = Diagnostic::error("E0306", "a date is moved by whole days").at(duration, "is not whole days");
            self.report.add(problem.help("write days or weeks: `52w`, `7d`"));
            return None;
        }
        let offset = i32::try_from(ms / DAY_MS).ok();
        let moved = offset.and_then(|offset| match op {
            Binary::Add => days.checked_add(offset),
            _ => days.checked_sub(offset),
        });
        let moved = moved.filter(|days| literal::is_date(*days)).map(Value::Date);
        self.result(moved, span, "the date is out of the range of years that there are")
    }

    fn int(&self, value: Option<i64>, span: Span) -> Option<Value> {
        self.result(value.map(Value::Int), span, "the int does not fit into 64 bits")
    }

    fn result(&self, value: Option<Value>, span: Span, problem: &str) -> Option<Value> {
        if value.is_none() {
            self.report.add(Diagnostic::error("E0306", problem).at(span, ""));
        }
        value
    }
}

/// Says that the body of a `def` does not see what the file around it declares.
pub fn not_seen(name: Name<'_>, word: &str) -> Diagnostic {
    Diagnostic::error("E0202", format!("a def does not see {word} `{}`", name.text))
        .at(name.span, "declared outside of it")
        .help(format!("give the def a parameter, and `{}` where it is called", name.text))
}

/// Compares two scalars of one type, or an int and a float; other pairs have no order.
pub fn compare(left: &Value, right: &Value) -> Option<Ordering> {
    match (left, right) {
        (Value::Int(a), Value::Int(b)) => Some(a.cmp(b)),
        (Value::Bool(a), Value::Bool(b)) => Some(a.cmp(b)),
        (Value::Str(a), Value::Str(b)) => Some(a.cmp(b)),
        (Value::Date(a), Value::Date(b)) => Some(a.cmp(b)),
        (Value::Timestamp(a), Value::Timestamp(b)) => Some(a.cmp(b)),
        (Value::DurationMs(a), Value::DurationMs(b)) => Some(a.cmp(b)),
        (Value::SizeBytes(a), Value::SizeBytes(b)) => Some(a.cmp(b)),
        _ => left.as_float()?.partial_cmp(&right.as_float()?),
    }
}

pub fn holds(comparison: Comparison, ordering: Ordering) -> bool {
    match comparison {
        Comparison::Less => ordering.is_lt(),
        Comparison::LessOrEqual => ordering.is_le(),
        Comparison::Greater => ordering.is_gt(),
        Comparison::GreaterOrEqual => ordering.is_ge(),
    }
}

/// Returns the kind of a value with its article: `an int`.
pub fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "`none`",
        Value::Bool(_) => "a bool",
        Value::Int(_) => "an int",
        Value::Float(_) => "a float",
        Value::Str(_) => "a string",
        Value::Date(_) => "a date",
        Value::Timestamp(_) => "a timestamp",
        Value::DurationMs(_) => "a duration",
        Value::SizeBytes(_) => "a size",
        Value::List(_) => "a list",
        Value::Record(_) => "a record",
        Value::Call { .. } => "a call",
        Value::Schema(_) => "a schema",
    }
}

/// Writes a value as the language does.
pub fn show(value: &Value) -> String {
    match value {
        Value::Date(days) => literal::date_text(*days),
        Value::Timestamp(us) => literal::timestamp_text(*us),
        Value::List(items) => format!("[{}]", items.iter().map(show).collect::<Vec<_>>().join(", ")),
        other => other.to_string(),
    }
}

/// Writes a scalar as `+` joins it to a string.
pub fn plain(value: &Value) -> String {
    match value {
        Value::Str(text) => text.clone(),
        other => show(other),
    }
}

pub fn is_scalar(value: &Value) -> bool {
    !matches!(value, Value::Null | Value::List(_) | Value::Record(_) | Value::Call { .. } | Value::Schema(_))
}

pub fn sign(op: Binary) -> &'static str {
    match op {
        Binary::Or => "or",
        Binary::And => "and",
        Binary::Equal => "==",
        Binary::NotEqual => "!=",
        Binary::Compare(Comparison::Less) => "<",
        Binary::Compare(Comparison::LessOrEqual) => "<=",
        Binary::Compare(Comparison::Greater) => ">",
        Binary::Compare(Comparison::GreaterOrEqual) => ">=",
        Binary::Within => "in",
        Binary::Otherwise => "??",
        Binary::Add => "+",
        Binary::Subtract => "-",
        Binary::Multiply => "*",
        Binary::Divide => "/",
        Binary::Remainder => "%",
    }
}
