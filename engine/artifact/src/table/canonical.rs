//! Brings columns of any Arrow encoding into the one in which they are stored.
//!
//! [`dense`] settles the type, [`ColumnBuilder`] the bytes: what lies under blank values, slices' offsets and the sign of
//! zero leave no trace.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, BooleanArray, BooleanBufferBuilder, Int64Array, NullBufferBuilder,
    PrimitiveArray, StringArray,
};
use arrow::buffer::{BooleanBuffer, OffsetBuffer, ScalarBuffer};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, DurationMillisecondType, Float64Type, Int64Type, TimeUnit,
    TimestampMicrosecondType,
};
use mlp_model::Scalar;

use super::{BATCH_ROWS, ColumnShape, TableError, arrow_type, scalar_of};

/// The only NaN that a table holds.
const NAN: f64 = f64::from_bits(0x7ff8_0000_0000_0000);

/// Returns `array` in the Arrow type that stores its column; the values are the same.
///
/// Instants and durations finer than the stored unit are rounded down.
pub fn dense(shape: &ColumnShape, array: &ArrayRef) -> Result<ArrayRef, TableError> {
    let target = arrow_type(shape.scalar);
    let found = array.data_type();
    if *found == target {
        return Ok(array.clone());
    }
    if scalar_of(found) != Some(shape.scalar) {
        let (column, found) = (shape.name.clone(), found.to_string());
        return Err(TableError::WrongType { column, expected: shape.scalar, found });
    }
    let out_of_range = || TableError::OutOfRange { column: shape.name.clone(), scalar: shape.scalar };
    let cast = |array: &ArrayRef, to: &DataType| {
        let options = CastOptions { safe: false, ..CastOptions::default() };
        cast_with_options(array, to, &options).map_err(|_| out_of_range())
    };
    let rescale = |array: &ArrayRef, factor: Factor| -> Result<Int64Array, TableError> {
        let ticks = cast(array, &DataType::Int64)?;
        let ticks = ticks.as_primitive::<Int64Type>();
        ticks.try_unary::<_, Int64Type, _>(|tick| factor.apply(tick).ok_or_else(out_of_range))
    };
    match found {
        DataType::Dictionary(_, values) => dense(shape, &cast(array, values)?),
        DataType::Timestamp(unit, _) => {
            let ticks = rescale(array, Factor::between(*unit, TimeUnit::Microsecond))?;
            Ok(Arc::new(ticks.reinterpret_cast::<TimestampMicrosecondType>().with_data_type(target)))
        }
        DataType::Duration(unit) => {
            let ticks = rescale(array, Factor::between(*unit, TimeUnit::Millisecond))?;
            Ok(Arc::new(ticks.reinterpret_cast::<DurationMillisecondType>()))
        }
        DataType::Date64 => {
            let days = rescale(array, Factor::Divide(86_400_000))?;
            cast(&(Arc::new(days) as ArrayRef), &DataType::Int32).and_then(|days| cast(&days, &target))
        }
        _ => cast(array, &target),
    }
}

enum Factor {
    Multiply(i64),
    Divide(i64),
}

impl Factor {
    fn between(from: TimeUnit, to: TimeUnit) -> Self {
        let per_second = |unit| match unit {
            TimeUnit::Second => 1,
            TimeUnit::Millisecond => 1_000,
            TimeUnit::Microsecond => 1_000_000,
            TimeUnit::Nanosecond => 1_000_000_000,
        };
        let (from, to) = (per_second(from), per_second(to));
        if from <= to { Self::Multiply(to / from) } else { Self::Divide(from / to) }
    }

    fn apply(&self, tick: i64) -> Option<i64> {
        match self {
            Self::Multiply(factor) => tick.checked_mul(*factor),
            Self::Divide(factor) => Some(tick.div_euclid(*factor)),
        }
    }
}

/// Collects the rows of one batch of one column.
pub(super) struct ColumnBuilder {
    pub shape: ColumnShape,
    values: Values,
    validity: NullBufferBuilder,
}

enum Values {
    I32(Vec<i32>),
    I64(Vec<i64>),
    I128(Vec<i128>),
    F64(Vec<f64>),
    Bool(BooleanBufferBuilder),
    Str { ends: Vec<i32>, text: Vec<u8> },
}

/// Why rows could not be appended.
pub(super) enum AppendError {
    /// A blank value, by its place among the appended rows.
    Blank(usize),
    OutOfRange,
    TooMuchText,
}

impl AppendError {
    /// Tells it of the table whose first appended row is `n_before` rows down.
    pub(super) fn in_row(self, shape: &ColumnShape, n_before: u64) -> TableError {
        let column = shape.name.clone();
        match self {
            Self::Blank(i) => TableError::Blank { column, scalar: shape.scalar, row: n_before + i as u64 + 1 },
            Self::OutOfRange => TableError::OutOfRange { column, scalar: shape.scalar },
            Self::TooMuchText => TableError::TooMuchText { column },
        }
    }
}

impl ColumnBuilder {
    pub(super) fn new(shape: ColumnShape) -> Self {
        let values = Values::new(shape.scalar);
        Self { shape, values, validity: NullBufferBuilder::new(BATCH_ROWS) }
    }

    /// Appends an array that [`dense`] returned.
    pub(super) fn append(&mut self, array: &ArrayRef) -> Result<(), AppendError> {
        let nulls = array.nulls().filter(|nulls| nulls.null_count() > 0);
        match nulls {
            Some(nulls) if !self.shape.optional => {
                return Err(AppendError::Blank(nulls.iter().position(|valid| !valid).unwrap_or(0)));
            }
            Some(nulls) => self.validity.append_buffer(nulls),
            None => self.validity.append_n_non_nulls(array.len()),
        }
        let is_valid = |i: usize| nulls.is_none_or(|nulls| nulls.is_valid(i));
        match (&mut self.values, self.shape.scalar) {
            (Values::I32(out), _) => extend(out, array.as_primitive::<Date32Type>(), |day| day),
            (Values::I64(out), Scalar::Timestamp) => {
                extend(out, array.as_primitive::<TimestampMicrosecondType>(), |tick| tick);
            }
            (Values::I64(out), Scalar::Duration) => {
                extend(out, array.as_primitive::<DurationMillisecondType>(), |tick| tick);
            }
            (Values::I64(out), _) => extend(out, array.as_primitive::<Int64Type>(), |n| n),
            (Values::I128(out), scalar) => {
                let decimals = array.as_primitive::<Decimal128Type>();
                if let Scalar::Decimal { precision, .. } = scalar {
                    decimals.validate_decimal_precision(precision).map_err(|_| AppendError::OutOfRange)?;
                }
                extend(out, decimals, |n| n);
            }
            (Values::F64(out), _) => {
                // Adding zero makes -0.0 positive and changes nothing else.
                extend(out, array.as_primitive::<Float64Type>(), |x| if x.is_nan() { NAN } else { x + 0.0 });
            }
            (Values::Bool(out), _) => {
                let bools = array.as_boolean().values();
                match nulls {
                    None => out.append_buffer(bools),
                    Some(nulls) => out.append_buffer(&(bools & nulls.inner())),
                }
            }
            (Values::Str { ends, text }, _) => {
                let strings = array.as_string::<i32>();
                for i in 0..strings.len() {
                    if is_valid(i) {
                        text.extend_from_slice(strings.value(i).as_bytes());
                    }
                    ends.push(i32::try_from(text.len()).map_err(|_| AppendError::TooMuchText)?);
                }
            }
        }
        Ok(())
    }

    /// Returns the collected rows and starts over.
    pub(super) fn finish(&mut self) -> ArrayRef {
        let nulls = self.validity.finish().filter(|nulls| nulls.null_count() > 0);
        match (std::mem::replace(&mut self.values, Values::new(self.shape.scalar)), self.shape.scalar) {
            (Values::I32(values), _) => Arc::new(PrimitiveArray::<Date32Type>::new(values.into(), nulls)),
            (Values::I64(values), Scalar::Timestamp) => {
                let array = PrimitiveArray::<TimestampMicrosecondType>::new(values.into(), nulls);
                Arc::new(array.with_data_type(arrow_type(Scalar::Timestamp)))
            }
            (Values::I64(values), Scalar::Duration) => {
                Arc::new(PrimitiveArray::<DurationMillisecondType>::new(values.into(), nulls))
            }
            (Values::I64(values), _) => Arc::new(PrimitiveArray::<Int64Type>::new(values.into(), nulls)),
            (Values::I128(values), scalar) => {
                let array = PrimitiveArray::<Decimal128Type>::new(values.into(), nulls);
                Arc::new(array.with_data_type(arrow_type(scalar)))
            }
            (Values::F64(values), _) => Arc::new(PrimitiveArray::<Float64Type>::new(values.into(), nulls)),
            (Values::Bool(mut bits), _) => {
                let bits: BooleanBuffer = bits.finish();
                Arc::new(BooleanArray::new(bits, nulls))
            }
            (Values::Str { ends, text }, _) => {
                let offsets = OffsetBuffer::new(ScalarBuffer::from(ends));
                // SAFETY: offsets and text were appended string by string.
                Arc::new(unsafe { StringArray::new_unchecked(offsets, text.into(), nulls) })
            }
        }
    }
}

impl Values {
    fn new(scalar: Scalar) -> Self {
        match scalar {
            Scalar::Int | Scalar::Timestamp | Scalar::Duration => Self::I64(Vec::new()),
            Scalar::Float => Self::F64(Vec::new()),
            Scalar::Bool => Self::Bool(BooleanBufferBuilder::new(0)),
            Scalar::Str => Self::Str { ends: vec![0], text: Vec::new() },
            Scalar::Date => Self::I32(Vec::new()),
            Scalar::Decimal { .. } => Self::I128(Vec::new()),
        }
    }
}

/// Appends the values, zeros where they are blank.
fn extend<T: ArrowPrimitiveType>(
    out: &mut Vec<T::Native>,
    array: &PrimitiveArray<T>,
    canonical: impl Fn(T::Native) -> T::Native,
) {
    match array.nulls().filter(|nulls| nulls.null_count() > 0) {
        None => out.extend(array.values().iter().map(|value| canonical(*value))),
        Some(nulls) => out.extend(
            array
                .values()
                .iter()
                .zip(nulls)
                .map(|(value, valid)| if valid { canonical(*value) } else { T::Native::default() }),
        ),
    }
}
