//! Turns cells of text into Arrow columns, and finds the type of columns that nobody declared.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanBuilder, Date32Builder, Decimal128Builder, DurationMillisecondBuilder, Float64Builder,
    Int64Builder, StringBuilder, TimestampMicrosecondBuilder,
};
use mlp_artifact::table::arrow_type;
use mlp_model::Scalar;

use crate::cells;

/// What came of a cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Parsed {
    Value,
    Blank,
    /// Not of the type; a blank stands in its place.
    Unfit,
}

/// Collects the cells of one column.
pub(crate) enum ColumnReader {
    Int(Int64Builder),
    Float(Float64Builder),
    Bool(BooleanBuilder),
    Str(StringBuilder),
    Date(Date32Builder),
    Timestamp(TimestampMicrosecondBuilder),
    Decimal(Decimal128Builder, u8, i8),
    Duration(DurationMillisecondBuilder),
}

impl ColumnReader {
    pub(crate) fn new(scalar: Scalar) -> Self {
        match scalar {
            Scalar::Int => Self::Int(Int64Builder::new()),
            Scalar::Float => Self::Float(Float64Builder::new()),
            Scalar::Bool => Self::Bool(BooleanBuilder::new()),
            Scalar::Str => Self::Str(StringBuilder::new()),
            Scalar::Date => Self::Date(Date32Builder::new()),
            Scalar::Timestamp => {
                Self::Timestamp(TimestampMicrosecondBuilder::new().with_data_type(arrow_type(Scalar::Timestamp)))
            }
            Scalar::Decimal { precision, scale } => {
                Self::Decimal(Decimal128Builder::new().with_data_type(arrow_type(scalar)), precision, scale)
            }
            Scalar::Duration => Self::Duration(DurationMillisecondBuilder::new()),
        }
    }

    /// Appends a cell. Spaces around it count only where the column is text.
    pub(crate) fn push(&mut self, cell: &str, blank: &[String]) -> Parsed {
        let is_text = matches!(self, Self::Str(_));
        let cell = if is_text { cell } else { cell.trim_matches([' ', '\t']) };
        let is_blank = blank.iter().any(|marker| marker == cell);
        macro_rules! append {
            ($builder:expr, $parsed:expr) => {{
                let parsed = if is_blank { None } else { $parsed };
                $builder.append_option(parsed);
                match parsed {
                    Some(_) => Parsed::Value,
                    None if is_blank => Parsed::Blank,
                    None => Parsed::Unfit,
                }
            }};
        }
        match self {
            Self::Int(builder) => append!(builder, cells::parse_int(cell)),
            Self::Float(builder) => append!(builder, cells::parse_float(cell)),
            Self::Bool(builder) => append!(builder, cells::parse_bool(cell)),
            Self::Str(builder) => append!(builder, Some(cell)),
            Self::Date(builder) => append!(builder, cells::parse_date(cell)),
            Self::Timestamp(builder) => append!(builder, cells::parse_timestamp(cell)),
            Self::Decimal(builder, precision, scale) => {
                append!(builder, cells::parse_decimal(cell, *precision, *scale))
            }
            Self::Duration(builder) => append!(builder, cells::parse_duration(cell)),
        }
    }

    /// Returns the collected cells and starts over.
    pub(crate) fn finish(&mut self) -> ArrayRef {
        match self {
            Self::Int(builder) => Arc::new(builder.finish()),
            Self::Float(builder) => Arc::new(builder.finish()),
            Self::Bool(builder) => Arc::new(builder.finish()),
            Self::Str(builder) => Arc::new(builder.finish()),
            Self::Date(builder) => Arc::new(builder.finish()),
            Self::Timestamp(builder) => Arc::new(builder.finish()),
            Self::Decimal(builder, _, _) => Arc::new(builder.finish()),
            Self::Duration(builder) => Arc::new(builder.finish()),
        }
    }
}

/// Finds the narrowest type that fits every cell of a column: int, float, bool, date, timestamp, else text.
///
/// Whole columns decide, so that the first rows cannot mislead. A number with leading zeros is text (it is a code), and
/// so are yes/no and single letters: only `true` and `false` make a bool of a column that nobody declared.
pub(crate) struct Guess {
    fits: [bool; GUESSES.len()],
    any_blank: bool,
    any_value: bool,
}

type Fits = fn(&str) -> bool;
const GUESSES: [(Scalar, Fits); 5] = [
    (Scalar::Int, |cell| !has_leading_zero(cell) && cells::parse_int(cell).is_some()),
    (Scalar::Float, |cell| !has_leading_zero(cell) && cells::parse_float(cell).is_some()),
    (Scalar::Bool, |cell| cell.eq_ignore_ascii_case("true") || cell.eq_ignore_ascii_case("false")),
    (Scalar::Date, |cell| cells::parse_date(cell).is_some()),
    (Scalar::Timestamp, |cell| cells::parse_timestamp(cell).is_some()),
];

impl Guess {
    pub(crate) fn new() -> Self {
        Self { fits: [true; GUESSES.len()], any_blank: false, any_value: false }
    }

    pub(crate) fn push(&mut self, cell: &str, blank: &[String]) {
        let trimmed = cell.trim_matches([' ', '\t']);
        if blank.iter().any(|marker| marker == trimmed) {
            self.any_blank = true;
            return;
        }
        self.any_value = true;
        for (fits, (_, test)) in self.fits.iter_mut().zip(&GUESSES) {
            *fits = *fits && test(trimmed);
        }
    }

    /// Returns the type, and whether there are blanks. A column of blanks is text.
    pub(crate) fn finish(&self) -> (Scalar, bool) {
        let first = self.fits.iter().zip(&GUESSES).find(|(fits, _)| **fits && self.any_value);
        (first.map_or(Scalar::Str, |(_, (scalar, _))| *scalar), self.any_blank)
    }
}

fn has_leading_zero(cell: &str) -> bool {
    let digits = cell.strip_prefix(['-', '+']).unwrap_or(cell);
    digits.strip_prefix('0').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
}
