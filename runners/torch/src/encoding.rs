//! Turns the columns of a raw table into numbers that a net can learn from, and keeps how it did so.
//!
//! Fitted on the training rows only and stored with the model, so that prediction takes raw rows:
//! - Numbers, bools (0 and 1), dates (days), timestamps (microseconds) and durations (milliseconds) are scaled to mean 0
//!   and standard deviation 1 (ddof = 0, over the values that are not blank). A blank counts as the mean of the others,
//!   so it becomes 0. A constant column becomes 0, also for other values later.
//! - Text, and columns named in `one_hot` (int, bool, date as text), become one column for each value seen, in the order
//!   of their UTF-8 bytes: 1 where the row has it, else 0. A blank and a value unseen in training are 0 everywhere.
//!
//! Source: scikit-learn `StandardScaler` and `OneHotEncoder(handle_unknown="ignore")`; checked against both in `tests`.
//! Unaware of targets, nets and libtorch.

use std::collections::{BTreeSet, HashMap};

use arrow::array::{Array, AsArray, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, DurationMillisecondType, Float64Type, Int64Type, TimestampMicrosecondType,
};
use mlp_artifact::model::{Encoded, Encoding};
use mlp_artifact::table::ColumnShape;
use mlp_model::Scalar;

use crate::fault::Fault;

/// A column of text with more values than this is a name or a number, not a category.
pub const MAX_CATEGORIES: usize = 10_000;

/// A number of the matrix, single or double.
pub trait Cell: Copy {
    const ZERO: Self;
    fn from_f64(number: f64) -> Self;
}

impl Cell for f32 {
    const ZERO: Self = 0.0;
    fn from_f64(number: f64) -> Self {
        number as f32
    }
}

impl Cell for f64 {
    const ZERO: Self = 0.0;
    fn from_f64(number: f64) -> Self {
        number
    }
}

/// Learns an encoding, batch by batch.
pub struct Fitter {
    columns: Vec<(usize, ColumnShape, Fit)>,
}

enum Fit {
    Scale(Moments),
    OneHot(BTreeSet<String>),
}

/// Count, mean, sum of squared deviations and extremes of the values seen.
struct Moments {
    n: f64,
    mean: f64,
    m2: f64,
    min: f64,
    max: f64,
}

impl Fitter {
    /// Begins with no rows seen. `columns` are the table's.
    pub fn new(features: &[&str], one_hot: &[&str], columns: &[ColumnShape]) -> Result<Self, Fault> {
        if let Some(name) = one_hot.iter().find(|name| !features.contains(name)) {
            let message = format!("`one_hot` names `{name}`, which is not among the features");
            return Err(Fault::user("T4108", message).with_argument("one_hot").into());
        }
        let mut fitted = Vec::with_capacity(features.len());
        for name in features {
            let place = find(name, columns)?;
            let shape = columns[place].clone();
            let fit = if shape.scalar == Scalar::Str {
                Fit::OneHot(BTreeSet::new())
            } else if !one_hot.contains(name) {
                Fit::Scale(Moments { n: 0.0, mean: 0.0, m2: 0.0, min: f64::INFINITY, max: f64::NEG_INFINITY })
            } else if matches!(shape.scalar, Scalar::Int | Scalar::Bool | Scalar::Date) {
                Fit::OneHot(BTreeSet::new())
            } else {
                let message = format!("`{name}` is a {} and cannot be one-hot encoded", shape.scalar);
                let error = Fault::user("T4108", message).with_argument("one_hot").with_column(*name);
                return Err(error.with_help("leave it out of `one_hot`: it is then scaled").into());
            };
            fitted.push((place, shape, fit));
        }
        Ok(Self { columns: fitted })
    }

    /// Takes in the rows of a batch, whose first is row `first_row` of the table, from 1.
    pub fn add(&mut self, batch: &RecordBatch, first_row: u64) -> Result<(), Fault> {
        for (place, shape, fit) in &mut self.columns {
            let array = batch.column(*place);
            match fit {
                Fit::Scale(moments) => {
                    let numbers = finite_numbers(array, shape, first_row)?;
                    moments.add((0..numbers.len()).filter(|i| array.is_valid(*i)).map(|i| numbers[i]));
                }
                Fit::OneHot(categories) => {
                    for text in texts(array, &shape.name)?.iter().flatten() {
                        if !categories.contains(text) {
                            categories.insert(text.to_owned());
                        }
                    }
                    if categories.len() > MAX_CATEGORIES {
                        let message =
                            format!("feature `{}` has more than {MAX_CATEGORIES} different values", shape.name);
                        let error = Fault::user("T4106", message).with_argument("features").with_column(&shape.name);
                        return Err(error.with_help("leave it out of the features, or group its values first").into());
                    }
                }
            }
        }
        Ok(())
    }

    /// Ends the fit after `n_rows` rows.
    pub fn finish(self, n_rows: u64) -> Result<Vec<Encoded>, Fault> {
        let mut encoding = Vec::with_capacity(self.columns.len());
        for (_, shape, fit) in self.columns {
            let how = match fit {
                Fit::Scale(moments) => moments.finish(),
                Fit::OneHot(categories) if categories.is_empty() => None,
                Fit::OneHot(categories) => Some(Encoding::OneHot { categories: categories.into_iter().collect() }),
            };
            let Some(how) = how else {
                let message = format!("feature `{}` is blank in all {n_rows} rows", shape.name);
                let error = Fault::user("T4107", message).with_argument("features").with_column(&shape.name);
                return Err(error.with_help("leave it out of the features").into());
            };
            encoding.push(Encoded { column: shape.name, scalar: shape.scalar, how });
        }
        Ok(encoding)
    }
}

impl Moments {
    /// Merges in a batch: exact mean and deviations within the batch, then Chan's formula for two groups.
    fn add(&mut self, values: impl Iterator<Item = f64> + Clone) {
        let (mut n, mut sum) = (0.0, 0.0);
        for value in values.clone() {
            n += 1.0;
            sum += value;
            self.min = self.min.min(value);
            self.max = self.max.max(value);
        }
        if n == 0.0 {
            return;
        }
        let mean = sum / n;
        let m2: f64 = values.map(|value| (value - mean) * (value - mean)).sum();
        let total = self.n + n;
        let apart = mean - self.mean;
        self.mean += apart * n / total;
        self.m2 += m2 + apart * apart * self.n * n / total;
        self.n = total;
    }

    /// Returns `None` if there was no value.
    fn finish(self) -> Option<Encoding> {
        if self.n == 0.0 {
            return None;
        }
        if self.min == self.max {
            return Some(Encoding::Scale { fill: self.min, mean: self.min, std: 0.0 });
        }
        Some(Encoding::Scale { fill: self.mean, mean: self.mean, std: (self.m2 / self.n).sqrt() })
    }
}

/// Applies an encoding to the batches of one table.
pub struct Encoder {
    columns: Vec<Place>,
    width: usize,
}

struct Place {
    /// Where the column is in the table.
    place: usize,
    shape: ColumnShape,
    /// Its first column of the matrix.
    offset: usize,
    how: Apply,
    n_unseen: u64,
}

enum Apply {
    /// `factor` is 1 / std, or 0 for a constant column.
    Scale {
        fill: f64,
        mean: f64,
        factor: f64,
    },
    OneHot(HashMap<String, usize>),
}

impl Encoder {
    /// Looks up the encoded columns among a table's. A column that is missing or of another type is an error.
    pub fn new(encoding: &[Encoded], columns: &[ColumnShape]) -> Result<Self, Fault> {
        let mut places = Vec::with_capacity(encoding.len());
        let mut offset = 0;
        for encoded in encoding {
            let place = find(&encoded.column, columns)?;
            let shape = columns[place].clone();
            if shape.scalar != encoded.scalar {
                let message = format!(
                    "column `{}` is {}, but the model was trained on {}",
                    encoded.column, shape.scalar, encoded.scalar
                );
                let error = Fault::user("T4110", message).with_argument("data").with_column(&encoded.column);
                return Err(error.with_help("give it the same type as in the training data").into());
            }
            let (how, n_columns) = match &encoded.how {
                Encoding::Scale { fill, mean, std } => {
                    let factor = if *std > 0.0 { 1.0 / std } else { 0.0 };
                    (Apply::Scale { fill: *fill, mean: *mean, factor }, 1)
                }
                Encoding::OneHot { categories } => {
                    let numbered = categories.iter().enumerate().map(|(i, category)| (category.clone(), i));
                    (Apply::OneHot(numbered.collect()), categories.len())
                }
            };
            places.push(Place { place, shape, offset, how, n_unseen: 0 });
            offset += n_columns;
        }
        if offset == 0 {
            return Err(Fault::user("T4104", "the model reads no columns").with_argument("model").into());
        }
        Ok(Self { columns: places, width: offset })
    }

    /// How many numbers a row becomes.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Writes each row of a batch to the beginning of a row of `out`, whose rows are `stride` long and zero.
    pub fn encode<T: Cell>(
        &mut self,
        batch: &RecordBatch,
        first_row: u64,
        out: &mut [T],
        stride: usize,
    ) -> Result<(), Fault> {
        for Place { place, shape, offset, how, n_unseen } in &mut self.columns {
            let array = batch.column(*place);
            match how {
                Apply::Scale { fill, mean, factor } => {
                    let numbers = finite_numbers(array, shape, first_row)?;
                    for (i, (row, number)) in out.chunks_exact_mut(stride).zip(&numbers).enumerate() {
                        let number = if array.is_valid(i) { *number } else { *fill };
                        row[*offset] = T::from_f64((number - *mean) * *factor);
                    }
                }
                Apply::OneHot(numbered) => {
                    let texts = texts(array, &shape.name)?;
                    for (row, text) in out.chunks_exact_mut(stride).zip(&texts) {
                        let Some(text) = text else { continue };
                        match numbered.get(text) {
                            Some(i) => row[*offset + i] = T::from_f64(1.0),
                            None => *n_unseen += 1,
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// Returns the columns in which rows had a value unseen in training, and how many.
    pub fn unseen(&self) -> impl Iterator<Item = (&str, u64)> {
        self.columns.iter().filter(|place| place.n_unseen > 0).map(|place| (place.shape.name.as_str(), place.n_unseen))
    }
}

/// Returns where a column is.
pub fn find(name: &str, columns: &[ColumnShape]) -> Result<usize, Fault> {
    columns.iter().position(|column| column.name == name).ok_or_else(|| {
        let names: Vec<String> = columns.iter().map(|column| format!("`{}`", column.name)).collect();
        let message = format!("the table has no column `{name}`");
        let error = Fault::user("T4109", message).with_argument("data").with_column(name);
        error.with_help(format!("its columns are {}", names.join(", "))).into()
    })
}

/// Returns the values as floats; what stands for a blank means nothing.
pub fn numbers(array: &dyn Array, scalar: Scalar) -> Option<Vec<f64>> {
    Some(match scalar {
        Scalar::Int => array.as_primitive_opt::<Int64Type>()?.values().iter().map(|n| *n as f64).collect(),
        Scalar::Float => array.as_primitive_opt::<Float64Type>()?.values().to_vec(),
        Scalar::Bool => array.as_boolean_opt()?.values().iter().map(|b| f64::from(u8::from(b))).collect(),
        Scalar::Date => array.as_primitive_opt::<Date32Type>()?.values().iter().map(|n| f64::from(*n)).collect(),
        Scalar::Timestamp => {
            array.as_primitive_opt::<TimestampMicrosecondType>()?.values().iter().map(|n| *n as f64).collect()
        }
        Scalar::Decimal { scale, .. } => {
            let unit = 10_f64.powi(i32::from(scale));
            array.as_primitive_opt::<Decimal128Type>()?.values().iter().map(|n| *n as f64 / unit).collect()
        }
        Scalar::Duration => {
            array.as_primitive_opt::<DurationMillisecondType>()?.values().iter().map(|n| *n as f64).collect()
        }
        Scalar::Str => return None,
    })
}

fn finite_numbers(array: &dyn Array, shape: &ColumnShape, first_row: u64) -> Result<Vec<f64>, Fault> {
    let name = &shape.name;
    let not_numbers = || Fault::bug(format!("column `{name}` holds no {} as its table says", shape.scalar));
    let numbers = numbers(array, shape.scalar).ok_or_else(not_numbers)?;
    match numbers.iter().enumerate().position(|(i, number)| !number.is_finite() && array.is_valid(i)) {
        None => Ok(numbers),
        Some(i) => {
            let row = first_row + i as u64;
            let what = if numbers[i].is_nan() { "not a number" } else { "infinite" };
            let error = Fault::user("T4105", format!("`{name}` is {what} in row {row}")).with_argument("data");
            let error = error.with_row(row).with_column(name);
            Err(error.with_help("make it blank, or drop the row, before this step").into())
        }
    }
}

fn texts(array: &dyn Array, name: &str) -> Result<StringArray, Fault> {
    let texts = cast(array, &DataType::Utf8).ok();
    let texts = texts.and_then(|texts| texts.as_string_opt::<i32>().cloned());
    texts.ok_or_else(|| Fault::bug(format!("column `{name}` has no text form")))
}
