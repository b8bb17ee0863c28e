//! Tables: an Arrow IPC file in one canonical form.
//!
//! The form: batches of 65,536 rows (the last one is shorter, a table without rows has none), uncompressed, without
//! dictionaries and metadata, buffers aligned to 64 bytes; zeros under blank values and in padding; a validity bitmap
//! only where a batch has a blank value; one NaN, no negative zero; timestamps in microseconds UTC. Any Arrow reader
//! reads it.
//!
//! Knows columns and their types only; marks, rules and roles are the pipeline's.

mod canonical;
mod reader;
mod writer;

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use mlp_model::{Column, Scalar};

pub use canonical::dense as convert;
pub use reader::Reader;
pub use writer::Writer;

/// Rows in every batch but the last.
pub const BATCH_ROWS: usize = 65_536;

/// A column as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColumnShape {
    pub name: String,
    pub scalar: Scalar,
    /// Blank values are allowed.
    pub optional: bool,
}

impl From<&Column> for ColumnShape {
    fn from(column: &Column) -> Self {
        Self { name: column.name.clone(), scalar: column.scalar, optional: column.optional }
    }
}

/// Returns the Arrow type in which values of `scalar` are stored.
pub fn arrow_type(scalar: Scalar) -> DataType {
    match scalar {
        Scalar::Int => DataType::Int64,
        Scalar::Float => DataType::Float64,
        Scalar::Bool => DataType::Boolean,
        Scalar::Str => DataType::Utf8,
        Scalar::Date => DataType::Date32,
        Scalar::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, Some(Arc::from("UTC"))),
        Scalar::Decimal { precision, scale } => DataType::Decimal128(precision, scale),
        Scalar::Duration => DataType::Duration(TimeUnit::Millisecond),
    }
}

/// Returns the scalar whose values hold those of `arrow`, or `None` where there is none.
///
/// Narrower numbers widen, dictionaries and views are their values, an instant without a zone is in UTC.
pub fn scalar_of(arrow: &DataType) -> Option<Scalar> {
    Some(match arrow {
        DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Int64 => Scalar::Int,
        DataType::UInt8 | DataType::UInt16 | DataType::UInt32 | DataType::UInt64 => Scalar::Int,
        DataType::Float16 | DataType::Float32 | DataType::Float64 => Scalar::Float,
        DataType::Boolean => Scalar::Bool,
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Scalar::Str,
        DataType::Date32 | DataType::Date64 => Scalar::Date,
        DataType::Timestamp(_, _) => Scalar::Timestamp,
        DataType::Decimal32(precision, scale)
        | DataType::Decimal64(precision, scale)
        | DataType::Decimal128(precision, scale) => Scalar::Decimal { precision: *precision, scale: *scale },
        DataType::Duration(_) => Scalar::Duration,
        DataType::Dictionary(_, values) => return scalar_of(values),
        _ => return None,
    })
}

/// Returns the columns that hold what a table with this Arrow schema holds.
pub fn shape_of(schema: &Schema) -> Result<Vec<ColumnShape>, TableError> {
    let columns = schema.fields().iter().map(|field| {
        let name = field.name().clone();
        match scalar_of(field.data_type()) {
            Some(scalar) => Ok(ColumnShape { name, scalar, optional: field.is_nullable() }),
            None => Err(TableError::UnsupportedType { column: name, found: field.data_type().to_string() }),
        }
    });
    let columns = columns.collect::<Result<Vec<_>, _>>()?;
    check_columns(&columns)?;
    Ok(columns)
}

/// Refuses what cannot be stored: no columns, a column without name, two of one name, an impossible decimal.
fn check_columns(columns: &[ColumnShape]) -> Result<(), TableError> {
    if columns.is_empty() {
        return Err(TableError::NoColumns);
    }
    let mut seen = HashSet::new();
    for (i, column) in columns.iter().enumerate() {
        if column.name.is_empty() {
            return Err(TableError::UnnamedColumn { position: i + 1 });
        }
        if !seen.insert(&column.name) {
            return Err(TableError::DuplicateColumn { column: column.name.clone() });
        }
        if let Scalar::Decimal { precision, scale } = column.scalar
            && !(matches!(precision, 1..=38) && scale >= 0 && scale.unsigned_abs() <= precision)
        {
            return Err(TableError::UnsupportedType { column: column.name.clone(), found: column.scalar.to_string() });
        }
    }
    Ok(())
}

fn schema_of(columns: &[ColumnShape]) -> SchemaRef {
    let field = |column: &ColumnShape| Field::new(&column.name, arrow_type(column.scalar), column.optional);
    Arc::new(Schema::new(columns.iter().map(field).collect::<Vec<_>>()))
}

/// What is wrong with a table. Never tells a cell's value.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    #[error("cannot write `{}`: {source}", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("cannot read `{}`: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("`{}` is damaged or no table of ours: {reason}", path.display())]
    Damaged { path: PathBuf, reason: String },
    #[error("a table needs at least one column")]
    NoColumns,
    #[error("column {position} has no name")]
    UnnamedColumn { position: usize },
    #[error("two columns are called `{column}`")]
    DuplicateColumn { column: String },
    #[error("column `{column}` has the type {found}, which a table cannot hold")]
    UnsupportedType { column: String, found: String },
    #[error("the table has the columns {expected}, but a batch came with {found}")]
    OtherColumns { expected: String, found: String },
    #[error("column `{column}` is `{expected}`, but a batch came with {found}")]
    WrongType { column: String, expected: Scalar, found: String },
    #[error("column `{column}` is blank in row {row}, but its type is `{scalar}`")]
    Blank { column: String, scalar: Scalar, row: u64 },
    #[error("a value of column `{column}` does not fit `{scalar}`")]
    OutOfRange { column: String, scalar: Scalar },
    #[error("column `{column}` holds more than 2 GiB of text in 65,536 rows")]
    TooMuchText { column: String },
}

fn damaged(path: &Path, reason: impl Into<String>) -> TableError {
    TableError::Damaged { path: path.to_owned(), reason: reason.into() }
}

#[cfg(test)]
mod tests;
