//! Columns of a batch as a guest gets them: borrowed where Arrow's layout is the same, else copied once.
//!
//! Unaware of what the guest does with them.

use arrow::array::{
    Array, BooleanArray, Date32Array, Decimal128Array, DurationMillisecondArray, Float64Array, Int64Array, StringArray,
    TimestampMicrosecondArray,
};
use arrow::record_batch::RecordBatch;
use mlp_model::{Column, Scalar, StepError, Value};

use crate::fail;
use crate::guest::wit;

/// A column, ready to be lent to the guest.
pub struct Sent<'a> {
    name: &'a str,
    values: Values<'a>,
    validity: Vec<u8>,
}

enum Values<'a> {
    Floats(&'a [f64]),
    Ints(&'a [i64]),
    Bools(Vec<bool>),
    Texts(Vec<&'a str>),
    Dates(&'a [i32]),
    Timestamps(&'a [i64]),
    Decimals { precision: u8, scale: i8, unscaled: Vec<(u64, i64)> },
    Durations(&'a [i64]),
}

impl<'a> Sent<'a> {
    /// Takes column `index`, called `name`, of a batch that the table reader made.
    pub fn new(batch: &'a RecordBatch, index: usize, name: &'a str, scalar: Scalar) -> Result<Self, StepError> {
        let array = batch.columns().get(index).ok_or_else(|| fail::bug("a batch lacks a column of its table"))?;
        let wrong = || fail::bug(format!("column `{name}` is stored as {}, not as {scalar}", array.data_type()));
        let array = array.as_ref();
        let values = match scalar {
            Scalar::Float => array.as_any().downcast_ref::<Float64Array>().map(|a| Values::Floats(a.values())),
            Scalar::Int => array.as_any().downcast_ref::<Int64Array>().map(|a| Values::Ints(a.values())),
            Scalar::Bool => {
                array.as_any().downcast_ref::<BooleanArray>().map(|a| Values::Bools(a.values().iter().collect()))
            }
            Scalar::Str => array
                .as_any()
                .downcast_ref::<StringArray>()
                .map(|a| Values::Texts(a.iter().map(Option::unwrap_or_default).collect())),
            Scalar::Date => array.as_any().downcast_ref::<Date32Array>().map(|a| Values::Dates(a.values())),
            Scalar::Timestamp => {
                array.as_any().downcast_ref::<TimestampMicrosecondArray>().map(|a| Values::Timestamps(a.values()))
            }
            Scalar::Duration => {
                array.as_any().downcast_ref::<DurationMillisecondArray>().map(|a| Values::Durations(a.values()))
            }
            Scalar::Decimal { precision, scale } => array.as_any().downcast_ref::<Decimal128Array>().map(|a| {
                let unscaled = a.values().iter().map(|n| (*n as u64, (*n >> 64) as i64)).collect();
                Values::Decimals { precision, scale, unscaled }
            }),
        };
        let validity = match array.nulls().filter(|nulls| nulls.null_count() > 0) {
            Some(nulls) => nulls.iter().map(u8::from).collect(),
            None => Vec::new(),
        };
        Ok(Self { name, values: values.ok_or_else(wrong)?, validity })
    }

    pub fn lend(&self) -> wit::ColumnParam<'_> {
        let values = match &self.values {
            Values::Floats(values) => wit::ValuesParam::Floats(values),
            Values::Ints(values) => wit::ValuesParam::Ints(values),
            Values::Bools(values) => wit::ValuesParam::Bools(values),
            Values::Texts(values) => wit::ValuesParam::Texts(values),
            Values::Dates(values) => wit::ValuesParam::Dates(values),
            Values::Timestamps(values) => wit::ValuesParam::Timestamps(values),
            Values::Decimals { precision, scale, unscaled } => {
                wit::ValuesParam::Decimals(wit::DecimalsParam { precision: *precision, scale: *scale, unscaled })
            }
            Values::Durations(values) => wit::ValuesParam::Durations(values),
        };
        wit::ColumnParam { name: self.name, values, validity: &self.validity }
    }
}

/// Says which column the guest shall give back.
pub fn field(column: &Column) -> wit::Field<'_> {
    let kind = match column.scalar {
        Scalar::Float => wit::Kind::Floats,
        Scalar::Int => wit::Kind::Ints,
        Scalar::Bool => wit::Kind::Bools,
        Scalar::Str => wit::Kind::Texts,
        Scalar::Date => wit::Kind::Dates,
        Scalar::Timestamp => wit::Kind::Timestamps,
        Scalar::Decimal { precision, scale } => wit::Kind::Decimals((precision, scale)),
        Scalar::Duration => wit::Kind::Durations,
    };
    wit::Field { name: &column.name, kind, optional: column.optional }
}

/// Returns the parameter for the guest, or `None` if its value is no literal.
pub fn parameter<'a>(name: &'a str, value: &'a Value) -> Option<wit::Parameter<'a>> {
    let value = match value {
        Value::Null => wit::Literal::None,
        Value::Bool(b) => wit::Literal::Truth(*b),
        Value::Int(n) => wit::Literal::Whole(*n),
        Value::Float(x) => wit::Literal::Number(*x),
        Value::Str(s) => wit::Literal::Text(s),
        _ => return None,
    };
    Some(wit::Parameter { name, value })
}
