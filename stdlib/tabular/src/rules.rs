//! Checks the values of whole columns against a schema: rules, blanks and keys.
//!
//! Bounds and lists are brought into the column's own representation once; a batch is then checked value by value without
//! allocation. Memory grows only with the number of distinct keys, some 40 bytes for each.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{
    Date32Type, Decimal128Type, DurationMillisecondType, Float64Type, Int64Type, TimestampMicrosecondType,
};
use arrow::record_batch::RecordBatch;
use mlp_model::{Column, Rule, Scalar, Schema, StepError, Value};

use crate::cells;
use crate::error::bug;
use crate::violations::{Fault, Violations};

/// The rules of a schema, ready to be applied to batches whose first columns are those of the schema.
pub(crate) struct Rules<'a> {
    schema: &'a Schema,
    /// By column of the schema.
    tests: Vec<Vec<Test>>,
    keys: Vec<(usize, Keys)>,
    /// Whether blanks of required columns are faults that nobody has counted yet.
    count_blanks: bool,
}

/// Where each key was first. Keys are known by 128 bits of their hash.
type Keys = HashMap<u128, u64, BuildHasherDefault<TakeBits>>;

impl<'a> Rules<'a> {
    pub(crate) fn new(schema: &'a Schema, count_blanks: bool) -> Result<Self, StepError> {
        let compile = |column: &Column| {
            let tests = column.rules.iter().map(|rule| {
                Test::new(rule, column.scalar)
                    .ok_or_else(|| bug(format!("the rule `{rule}` of `{}` does not fit its type", column.name)))
            });
            tests.collect::<Result<Vec<_>, _>>()
        };
        let tests = schema.columns.iter().map(compile).collect::<Result<_, _>>()?;
        let is_key = |(i, column): (usize, &Column)| column.marks.key.then(|| (i, Keys::default()));
        let keys = schema.columns.iter().enumerate().filter_map(is_key).collect();
        Ok(Self { schema, tests, keys, count_blanks })
    }

    /// Checks a batch. `place` gives the line or row of a row of the batch.
    pub(crate) fn check(&mut self, batch: &RecordBatch, place: &dyn Fn(usize) -> u64, found: &mut Violations<'_>) {
        let cell = |row: usize| move |column: usize| show(batch.column(column), row);
        for (i, (column, tests)) in self.schema.columns.iter().zip(&self.tests).enumerate() {
            let array = batch.column(i);
            for (rule, test) in tests.iter().enumerate() {
                test.each_break(array, &mut |row| found.add(place(row), i, Fault::Rule(rule), cell(row)));
            }
            let is_required = !column.optional || column.marks.key;
            if self.count_blanks && is_required && array.null_count() > 0 {
                let blanks = (0..array.len()).filter(|row| array.is_null(*row));
                blanks.for_each(|row| found.add(place(row), i, Fault::Blank, cell(row)));
            }
        }
        for (i, keys) in &mut self.keys {
            let array = batch.column(*i);
            for row in (0..array.len()).filter(|row| array.is_valid(*row)) {
                let first = *keys.entry(identity(array, row)).or_insert_with(|| place(row));
                if first != place(row) {
                    found.add(place(row), *i, Fault::Repeated { first }, cell(row));
                }
            }
        }
    }
}

/// A rule in the representation of its column.
enum Test {
    /// For everything that is stored as a whole number. Both bounds are included.
    Whole {
        min: i128,
        max: i128,
    },
    WholeIn(HashSet<i128>),
    Min {
        bound: f64,
        inclusive: bool,
    },
    Max {
        bound: f64,
        inclusive: bool,
    },
    FloatIn(Vec<f64>),
    BoolIn([bool; 2]),
    TextIn(HashSet<String>),
    MinText {
        bound: String,
        inclusive: bool,
    },
    MaxText {
        bound: String,
        inclusive: bool,
    },
}

impl Test {
    fn new(rule: &Rule, scalar: Scalar) -> Option<Self> {
        Some(match (rule, scalar) {
            (Rule::Min { value, inclusive }, Scalar::Float) => {
                Self::Min { bound: value.as_float()?, inclusive: *inclusive }
            }
            (Rule::Max { value, inclusive }, Scalar::Float) => {
                Self::Max { bound: value.as_float()?, inclusive: *inclusive }
            }
            (Rule::OneOf(values), Scalar::Float) => {
                Self::FloatIn(values.iter().map(Value::as_float).collect::<Option<_>>()?)
            }
            (Rule::Min { value, inclusive }, Scalar::Str) => {
                Self::MinText { bound: value.as_str()?.into(), inclusive: *inclusive }
            }
            (Rule::Max { value, inclusive }, Scalar::Str) => {
                Self::MaxText { bound: value.as_str()?.into(), inclusive: *inclusive }
            }
            (Rule::OneOf(values), Scalar::Str) => {
                Self::TextIn(values.iter().map(|value| value.as_str().map(str::to_owned)).collect::<Option<_>>()?)
            }
            (Rule::OneOf(values), Scalar::Bool) => {
                let values = values.iter().map(Value::as_bool).collect::<Option<Vec<_>>>()?;
                Self::BoolIn([values.contains(&false), values.contains(&true)])
            }
            (Rule::Min { .. } | Rule::Max { .. }, Scalar::Bool) => return None,
            (Rule::Min { value, inclusive }, _) => {
                let (floor, is_exact) = whole(value, scalar)?;
                Self::Whole { min: if is_exact && *inclusive { floor } else { floor + 1 }, max: i128::MAX }
            }
            (Rule::Max { value, inclusive }, _) => {
                let (floor, is_exact) = whole(value, scalar)?;
                Self::Whole { min: i128::MIN, max: if is_exact && !*inclusive { floor - 1 } else { floor } }
            }
            (Rule::OneOf(values), _) => {
                let wholes = values.iter().map(|value| whole(value, scalar)).collect::<Option<Vec<_>>>()?;
                // What is not exact is no value of the column.
                Self::WholeIn(wholes.into_iter().filter_map(|(floor, is_exact)| is_exact.then_some(floor)).collect())
            }
        })
    }

    /// Calls `breaks` with every row whose value breaks the rule. Blank values satisfy all.
    fn each_break(&self, array: &ArrayRef, breaks: &mut dyn FnMut(usize)) {
        let mut check = |keeps: &dyn Fn(usize) -> bool| {
            (0..array.len()).filter(|row| array.is_valid(*row) && !keeps(*row)).for_each(&mut *breaks);
        };
        match self {
            Self::Whole { min, max } => match array.as_primitive_opt::<Int64Type>() {
                // The usual case, without going through 128 bits.
                Some(ints) => {
                    let range = clamp(*min)..=clamp(*max);
                    let is_empty = *min > i128::from(i64::MAX) || *max < i128::from(i64::MIN);
                    check(&|row| range.contains(&ints.value(row)) && !is_empty);
                }
                None => check(&|row| (*min..=*max).contains(&units(array, row))),
            },
            Self::WholeIn(values) => check(&|row| values.contains(&units(array, row))),
            Self::Min { bound, inclusive } => {
                let floats = array.as_primitive::<Float64Type>();
                check(&|row| floats.value(row) > *bound || (*inclusive && floats.value(row) == *bound));
            }
            Self::Max { bound, inclusive } => {
                let floats = array.as_primitive::<Float64Type>();
                check(&|row| floats.value(row) < *bound || (*inclusive && floats.value(row) == *bound));
            }
            Self::FloatIn(values) => {
                let floats = array.as_primitive::<Float64Type>();
                check(&|row| values.contains(&floats.value(row)));
            }
            Self::BoolIn(allowed) => check(&|row| allowed[usize::from(array.as_boolean().value(row))]),
            Self::TextIn(values) => {
                let texts = array.as_string::<i32>();
                check(&|row| values.contains(texts.value(row)));
            }
            Self::MinText { bound, inclusive } => {
                let texts = array.as_string::<i32>();
                check(&|row| texts.value(row) > bound.as_str() || (*inclusive && texts.value(row) == bound));
            }
            Self::MaxText { bound, inclusive } => {
                let texts = array.as_string::<i32>();
                check(&|row| texts.value(row) < bound.as_str() || (*inclusive && texts.value(row) == bound));
            }
        }
    }
}

fn clamp(bound: i128) -> i64 {
    bound.clamp(i64::MIN.into(), i64::MAX.into()) as i64
}

/// Returns the largest stored number not above `value`, and whether it is the value itself.
fn whole(value: &Value, scalar: Scalar) -> Option<(i128, bool)> {
    match (value, scalar) {
        (Value::Int(n), Scalar::Int) => Some((i128::from(*n), true)),
        (Value::Int(n), Scalar::Decimal { scale, .. }) => {
            Some((i128::from(*n).checked_mul(10_i128.checked_pow(u32::try_from(scale).ok()?)?)?, true))
        }
        (Value::Float(x), Scalar::Int) => floor(*x, 0),
        (Value::Float(x), Scalar::Decimal { scale, .. }) => floor(*x, u32::try_from(scale).ok()?),
        (Value::Date(days), Scalar::Date) => Some((i128::from(*days), true)),
        (Value::Timestamp(micros), Scalar::Timestamp) => Some((i128::from(*micros), true)),
        (Value::DurationMs(millis), Scalar::Duration) => Some((i128::from(*millis), true)),
        // A day and an instant may also be written as text.
        (Value::Str(text), Scalar::Date) => cells::parse_date(text).map(|days| (i128::from(days), true)),
        (Value::Str(text), Scalar::Timestamp) => cells::parse_timestamp(text).map(|micros| (i128::from(micros), true)),
        _ => None,
    }
}

/// Returns `x * 10^scale`, rounded down, going by the decimal digits with which `x` is written.
fn floor(x: f64, scale: u32) -> Option<(i128, bool)> {
    if !x.is_finite() {
        return None;
    }
    let text = x.abs().to_string();
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    let (kept, cut) = fraction.split_at_checked(scale as usize).unwrap_or((fraction, ""));
    let is_exact = cut.bytes().all(|digit| digit == b'0');
    let digits = format!("{whole}{kept:0<width$}", width = scale as usize);
    // What is too large to be stored is beyond every value.
    let magnitude = digits.parse().unwrap_or(i128::MAX / 2);
    Some(match (x < 0.0, is_exact) {
        (false, _) => (magnitude, is_exact),
        (true, true) => (-magnitude, true),
        (true, false) => (-magnitude - 1, false),
    })
}

/// Returns a value that is stored as a whole number.
fn units(array: &ArrayRef, row: usize) -> i128 {
    use arrow::datatypes::DataType;
    match array.data_type() {
        DataType::Int64 => array.as_primitive::<Int64Type>().value(row).into(),
        DataType::Date32 => array.as_primitive::<Date32Type>().value(row).into(),
        DataType::Timestamp(_, _) => array.as_primitive::<TimestampMicrosecondType>().value(row).into(),
        DataType::Duration(_) => array.as_primitive::<DurationMillisecondType>().value(row).into(),
        _ => array.as_primitive::<Decimal128Type>().value(row),
    }
}

/// Returns 128 bits that two values of a column share only when they are equal.
fn identity(array: &ArrayRef, row: usize) -> u128 {
    let hash = |bytes: &[u8]| {
        let hash = blake3::hash(bytes);
        hash.as_bytes().first_chunk::<16>().map_or(0, |bits| u128::from_le_bytes(*bits))
    };
    if let Some(texts) = array.as_string_opt::<i32>() {
        hash(texts.value(row).as_bytes())
    } else if let Some(bools) = array.as_boolean_opt() {
        u128::from(bools.value(row))
    } else if let Some(floats) = array.as_primitive_opt::<Float64Type>() {
        // Adding zero makes -0.0 positive.
        u128::from((floats.value(row) + 0.0).to_bits())
    } else {
        units(array, row) as u128
    }
}

/// Takes part of a key that is a hash already, or mixes one that is a number.
#[derive(Default)]
struct TakeBits(u64);

impl Hasher for TakeBits {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0.rotate_left(8) ^ u64::from(*byte)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        }
    }

    fn write_u128(&mut self, bits: u128) {
        self.0 = ((bits >> 64) as u64 ^ bits as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

/// Returns a cell as a person would write it; empty where it is blank.
pub(crate) fn show(array: &ArrayRef, row: usize) -> String {
    use arrow::datatypes::DataType;
    let mut text = String::new();
    if array.is_null(row) {
        return text;
    }
    match array.data_type() {
        DataType::Utf8 => text.push_str(array.as_string::<i32>().value(row)),
        DataType::Boolean => text.push_str(if array.as_boolean().value(row) { "true" } else { "false" }),
        DataType::Float64 => cells::write_float(array.as_primitive::<Float64Type>().value(row), &mut text),
        DataType::Date32 => cells::write_date(array.as_primitive::<Date32Type>().value(row), &mut text),
        DataType::Timestamp(_, _) => {
            cells::write_timestamp(array.as_primitive::<TimestampMicrosecondType>().value(row), &mut text);
        }
        DataType::Duration(_) => {
            cells::write_duration(array.as_primitive::<DurationMillisecondType>().value(row), &mut text);
        }
        DataType::Decimal128(_, scale) => cells::write_decimal(units(array, row), *scale, &mut text),
        _ => text.push_str(&units(array, row).to_string()),
    }
    text
}
