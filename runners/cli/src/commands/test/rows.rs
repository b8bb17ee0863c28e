//! Reads the rows of an artifact as values of the language.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{
    Date32Type, Decimal128Type, DurationMillisecondType, Float64Type, Int64Type, TimestampMicrosecondType,
};
use mlp_artifact::table::{Reader, TableError};
use mlp_model::{Column, ObjectFile, Scalar, Value};

/// So many rows more than were expected are read: enough to see what they are.
const MORE: usize = 1_000;

/// The rows of a table, in the columns that were asked for.
pub struct Rows {
    pub rows: Vec<Vec<Option<Value>>>,
    /// In all; `rows` may stop before.
    pub n_rows: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum RowsError {
    #[error(transparent)]
    Table(#[from] TableError),
    #[error("it has no column `{0}`")]
    NoColumn(String),
}

pub fn count(file: &ObjectFile) -> Result<u64, RowsError> {
    Ok(Reader::open(&file.path, file.size_bytes)?.n_rows())
}

/// Reads the named columns, of somewhat more than `n_expected` rows at most.
pub fn read(file: &ObjectFile, columns: &[Column], n_expected: usize) -> Result<Rows, RowsError> {
    let reader = Reader::open(&file.path, file.size_bytes)?;
    let places: Vec<usize> = columns
        .iter()
        .map(|column| {
            let place = reader.columns().iter().position(|there| there.name == column.name);
            place.ok_or_else(|| RowsError::NoColumn(column.name.clone()))
        })
        .collect::<Result<_, _>>()?;
    let limit = n_expected.saturating_add(MORE);
    let mut rows = Vec::new();
    for batch in reader.batches() {
        let batch = batch?;
        for row in 0..batch.num_rows().min(limit - rows.len()) {
            let cell = |place: &usize| value(batch.column(*place), reader.columns()[*place].scalar, row);
            rows.push(places.iter().map(cell).collect());
        }
        if rows.len() >= limit {
            break;
        }
    }
    Ok(Rows { rows, n_rows: reader.n_rows() })
}

/// Returns a cell; `None` if it is blank.
fn value(array: &ArrayRef, scalar: Scalar, row: usize) -> Option<Value> {
    if array.is_null(row) {
        return None;
    }
    // A table of ours has just these types; the reader has made sure of it.
    Some(match scalar {
        Scalar::Int => Value::Int(array.as_primitive::<Int64Type>().value(row)),
        Scalar::Float => Value::Float(array.as_primitive::<Float64Type>().value(row)),
        Scalar::Bool => Value::Bool(array.as_boolean().value(row)),
        Scalar::Str => Value::Str(array.as_string::<i32>().value(row).to_owned()),
        Scalar::Date => Value::Date(array.as_primitive::<Date32Type>().value(row)),
        Scalar::Timestamp => Value::Timestamp(array.as_primitive::<TimestampMicrosecondType>().value(row)),
        // Exact in a test's few digits: the difference is told in decimal, as it is written.
        Scalar::Decimal { .. } => {
            let text = array.as_primitive::<Decimal128Type>().value_as_string(row);
            text.parse().map_or(Value::Str(text), Value::Float)
        }
        Scalar::Duration => {
            let ms = array.as_primitive::<DurationMillisecondType>().value(row);
            u64::try_from(ms).map_or(Value::Int(ms), Value::DurationMs)
        }
    })
}
