//! The rules that the declared columns set for values: bounds, choices, and that a key is unique.
//!
//! Unaware of who made the values.

use std::cmp::Ordering;
use std::collections::HashSet;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{
    Date32Type, Decimal128Type, DurationMillisecondType, Float64Type, Int64Type, TimestampMicrosecondType,
};
use mlp_model::{Column, ErrorClass, Rule, Scalar, StepError, Value};

use crate::fail;

/// How many rows are told of one column.
const MAX_TOLD: usize = 20;

/// Checks one column, batch after batch.
pub struct Checker<'a> {
    column: &'a Column,
    /// Values may be shown.
    public: bool,
    /// Hashes of the values of a key column.
    seen: HashSet<[u8; 16]>,
}

/// A value of a column, lent.
#[derive(Clone, Copy)]
enum Cell<'a> {
    Int(i128),
    Float(f64),
    Bool(bool),
    Text(&'a str),
    /// The unscaled number and the digits after its point.
    Decimal(i128, i8),
}

impl<'a> Checker<'a> {
    pub fn new(column: &'a Column, public: bool) -> Self {
        Self { column, public, seen: HashSet::new() }
    }

    /// Checks the next rows, the first of which is row `first_row` of the table, from 0.
    pub fn check(&mut self, array: &ArrayRef, first_row: u64) -> Result<(), StepError> {
        if self.column.rules.is_empty() && !self.column.marks.key {
            return Ok(());
        }
        let cell = cells(array, self.column.scalar).ok_or_else(|| fail::bug("a column has another type"))?;
        let mut told = Vec::new();
        let mut n_broken = 0_usize;
        let mut first = None;
        for index in (0..array.len()).filter(|index| array.is_valid(*index)) {
            let cell = cell(index);
            let broken = self.column.rules.iter().find(|rule| !holds(rule, cell));
            let broken = broken.map(|rule| format!("breaks the rule `{rule}`"));
            let broken = broken.or_else(|| {
                let repeats = self.column.marks.key && !self.seen.insert(hash(cell));
                repeats.then(|| "is there twice, but the column is declared `key`".to_owned())
            });
            let Some(broken) = broken else { continue };
            n_broken += 1;
            if told.len() < MAX_TOLD {
                let row = first_row + index as u64 + 1;
                let value = if self.public { format!(" {}", show(cell)) } else { String::new() };
                first.get_or_insert((row, format!("value{value} of column `{}` {broken}", self.column.name)));
                told.push(format!("row {row}: value{value} {broken}"));
            }
        }
        let Some((row, message)) = first else { return Ok(()) };
        let more = match n_broken {
            1 => String::new(),
            n => format!(" ({n} rows of this batch do)"),
        };
        Err(StepError::new(ErrorClass::Step, "W3211", format!("{message}, in row {row}{more}"))
            .with_column(&self.column.name)
            .with_row(row)
            .with_detail(told)
            .with_help("mend the transform, or change the rule in the schema that `adds` names"))
    }
}

/// Returns a look at each value, or `None` if the array is not of the type.
fn cells<'a>(array: &'a ArrayRef, scalar: Scalar) -> Option<Box<dyn Fn(usize) -> Cell<'a> + 'a>> {
    Some(match scalar {
        Scalar::Int => {
            let array = array.as_primitive_opt::<Int64Type>()?;
            Box::new(|i| Cell::Int(array.value(i).into()))
        }
        Scalar::Float => {
            let array = array.as_primitive_opt::<Float64Type>()?;
            Box::new(|i| Cell::Float(array.value(i)))
        }
        Scalar::Bool => {
            let array = array.as_boolean_opt()?;
            Box::new(|i| Cell::Bool(array.value(i)))
        }
        Scalar::Str => {
            let array = array.as_string_opt::<i32>()?;
            Box::new(|i| Cell::Text(array.value(i)))
        }
        Scalar::Date => {
            let array = array.as_primitive_opt::<Date32Type>()?;
            Box::new(|i| Cell::Int(array.value(i).into()))
        }
        Scalar::Timestamp => {
            let array = array.as_primitive_opt::<TimestampMicrosecondType>()?;
            Box::new(|i| Cell::Int(array.value(i).into()))
        }
        Scalar::Duration => {
            let array = array.as_primitive_opt::<DurationMillisecondType>()?;
            Box::new(|i| Cell::Int(array.value(i).into()))
        }
        Scalar::Decimal { scale, .. } => {
            let array = array.as_primitive_opt::<Decimal128Type>()?;
            Box::new(move |i| Cell::Decimal(array.value(i), scale))
        }
    })
}

fn holds(rule: &Rule, cell: Cell<'_>) -> bool {
    let bound = |value: &Value, inclusive: bool, wanted: Ordering| match compare(cell, value) {
        Some(Ordering::Equal) => inclusive,
        found => found == Some(wanted),
    };
    match rule {
        Rule::Min { value, inclusive } => bound(value, *inclusive, Ordering::Greater),
        Rule::Max { value, inclusive } => bound(value, *inclusive, Ordering::Less),
        Rule::OneOf(values) => values.iter().any(|value| compare(cell, value) == Some(Ordering::Equal)),
    }
}

/// `None`: they cannot be compared, as a NaN cannot, so that no rule holds for it.
fn compare(cell: Cell<'_>, value: &Value) -> Option<Ordering> {
    match (cell, value) {
        (Cell::Bool(a), Value::Bool(b)) => Some(a.cmp(b)),
        (Cell::Text(a), Value::Str(b)) => Some(a.cmp(b.as_str())),
        (Cell::Int(a), Value::Int(b) | Value::Timestamp(b)) => Some(a.cmp(&i128::from(*b))),
        (Cell::Int(a), Value::Date(b)) => Some(a.cmp(&i128::from(*b))),
        (Cell::Int(a), Value::DurationMs(b)) => Some(a.cmp(&i128::from(*b))),
        (Cell::Int(a), Value::Float(b)) => (a as f64).partial_cmp(b),
        (Cell::Float(a), Value::Int(b)) => a.partial_cmp(&(*b as f64)),
        (Cell::Float(a), Value::Float(b)) => a.partial_cmp(b),
        (Cell::Decimal(a, scale), Value::Int(b)) => {
            let factor = 10_i128.checked_pow(u32::try_from(scale).ok()?)?;
            // What is too large to be scaled is larger than any decimal.
            Some(i128::from(*b).checked_mul(factor).map_or(0.cmp(b), |b| a.cmp(&b)))
        }
        (Cell::Decimal(a, scale), Value::Float(b)) => (a as f64 / 10_f64.powi(scale.into())).partial_cmp(b),
        _ => None,
    }
}

fn hash(cell: Cell<'_>) -> [u8; 16] {
    let hash = match cell {
        Cell::Int(n) | Cell::Decimal(n, _) => blake3::hash(&n.to_le_bytes()),
        Cell::Float(x) => blake3::hash(&x.to_bits().to_le_bytes()),
        Cell::Bool(b) => blake3::hash(&[u8::from(b)]),
        Cell::Text(text) => blake3::hash(text.as_bytes()),
    };
    let mut short = [0; 16];
    short.iter_mut().zip(hash.as_bytes()).for_each(|(to, from)| *to = *from);
    short
}

fn show(cell: Cell<'_>) -> String {
    match cell {
        Cell::Int(n) => n.to_string(),
        Cell::Float(x) => format!("{x:?}"),
        Cell::Bool(b) => b.to_string(),
        Cell::Text(text) => format!("{:?}", crate::guest::readable(text, 60)),
        Cell::Decimal(n, scale) => {
            let digits = usize::try_from(scale).unwrap_or_default();
            let text = format!("{:0width$}", n.unsigned_abs(), width = digits + 1);
            let (whole, rest) = text.split_at(text.len() - digits);
            let sign = if n < 0 { "-" } else { "" };
            if digits == 0 { format!("{sign}{whole}") } else { format!("{sign}{whole}.{rest}") }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Decimal128Array, Float64Array, Int64Array, StringArray};

    use super::*;

    fn column(scalar: Scalar, rules: Vec<Rule>) -> Column {
        Column { rules, ..Column::plain("x", scalar) }
    }

    fn min(value: Value) -> Vec<Rule> {
        vec![Rule::Min { value, inclusive: true }]
    }

    #[test]
    fn a_broken_rule_is_told_with_row_value_and_rule() {
        let money = Scalar::Decimal { precision: 5, scale: 2 };
        let decimals = Decimal128Array::from(vec![0, -150]).with_precision_and_scale(5, 2).unwrap();
        let words = Rule::OneOf(vec![Value::Str("a".into()), Value::Str("b".into())]);
        let below_two = Rule::Max { value: Value::Int(2), inclusive: false };
        let cases: [(Column, ArrayRef, &str); 5] = [
            (column(Scalar::Float, min(Value::Int(0))), Arc::new(Float64Array::from(vec![0.0, f64::NAN])), "NaN"),
            (column(Scalar::Float, min(Value::Float(0.5))), Arc::new(Float64Array::from(vec![0.5, 0.25])), "0.25"),
            (column(Scalar::Int, vec![below_two]), Arc::new(Int64Array::from(vec![1, 2])), "2"),
            (column(Scalar::Str, vec![words]), Arc::new(StringArray::from(vec!["a", "c"])), "\"c\""),
            (column(money, min(Value::Int(0))), Arc::new(decimals), "-1.50"),
        ];
        for (column, array, value) in cases {
            let error = Checker::new(&column, true).check(&array, 10).unwrap_err();
            let expected = format!("value {value} of column `x` breaks the rule `{}`, in row 12", column.rules[0]);
            assert_eq!((error.message, error.row), (expected, Some(12)));
            let masked = Checker::new(&column, false).check(&array, 10).unwrap_err();
            let expected = format!("value of column `x` breaks the rule `{}`, in row 12", column.rules[0]);
            assert_eq!((masked.message, masked.detail.len()), (expected, 1));
        }
    }

    #[test]
    fn blank_values_satisfy_every_rule() {
        let column = Column { optional: true, ..column(Scalar::Float, min(Value::Int(0))) };
        let array: ArrayRef = Arc::new(Float64Array::from(vec![Some(1.0), None]));
        assert_eq!(Checker::new(&column, true).check(&array, 0), Ok(()));
    }

    #[test]
    fn a_key_is_unique_over_all_batches() {
        let mut column = column(Scalar::Int, Vec::new());
        column.marks.key = true;
        let mut checker = Checker::new(&column, true);
        checker.check(&(Arc::new(Int64Array::from(vec![1, 2])) as ArrayRef), 0).unwrap();
        let error = checker.check(&(Arc::new(Int64Array::from(vec![3, 1])) as ArrayRef), 2).unwrap_err();
        assert_eq!(error.message, "value 1 of column `x` is there twice, but the column is declared `key`, in row 4");
    }

    #[test]
    fn only_the_first_rows_are_told_but_all_are_counted() {
        let column = column(Scalar::Int, min(Value::Int(100)));
        let array: ArrayRef = Arc::new(Int64Array::from((0..50).collect::<Vec<_>>()));
        let error = Checker::new(&column, true).check(&array, 0).unwrap_err();
        assert!(error.message.ends_with("in row 1 (50 rows of this batch do)"), "{error}");
        assert_eq!(error.detail.len(), MAX_TOLD);
    }
}
