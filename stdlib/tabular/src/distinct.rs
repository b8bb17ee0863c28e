//! What loops go over: the values of a column, each once, or the rows of a table.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Date32Type, Float64Type, Int64Type, TimestampMicrosecondType};
use mlp_artifact::table::{Reader, TableError};
use mlp_model::{ErrorClass, Over, StepError, Value};

use crate::error::bug;

/// So many values at most: each becomes a round of a loop.
pub const MOST_VALUES: usize = 10_000;

/// Returns what a loop goes over a stored table for: the values of a column in ascending order, each once, or the rows in the
/// order of their keys, each as a list of its key and a record of the columns that are asked for.
///
/// # Errors
/// The file is no whole table, has no such column, or what the rounds are called after holds blanks, too many different values,
/// a key twice, or values of a type that makes no good names.
pub fn loop_values(path: &Path, size_bytes: u64, over: &Over) -> Result<Vec<Value>, StepError> {
    let table = Reader::open(path, size_bytes).map_err(unreadable)?;
    match over {
        Over::Column(column) => distinct_values(&table, column),
        Over::Rows { key, columns } => keyed_rows(&table, key, columns),
    }
}

fn unreadable(error: TableError) -> StepError {
    StepError::new(ErrorClass::Environment, "D1170", format!("cannot read the table of a loop: {error}"))
        .with_help("`mlp store verify` tells what is whole; the next run makes the table again")
}

fn distinct_values(table: &Reader, column: &str) -> Result<Vec<Value>, StepError> {
    let mut found = Found::default();
    for batch in table.batches() {
        let batch = batch.map_err(unreadable)?;
        let values = named(&batch, column)?;
        found.add(values.as_ref()).map_err(|ty| bug(format!("a loop goes over column `{column}` of type {ty}")))?;
        if found.len() > MOST_VALUES {
            let message = format!("column `{column}` has more than {MOST_VALUES} different values");
            let error = StepError::new(ErrorClass::Data, "D1172", message);
            return Err(error.with_help("go over a coarser column: each value makes nodes of its own"));
        }
    }
    Ok(found.into_values())
}

/// Returns a column of which rounds are called, which has no blanks.
fn named<'b>(batch: &'b RecordBatch, column: &str) -> Result<&'b ArrayRef, StepError> {
    let values = column_of(batch, column)?;
    if values.null_count() > 0 {
        let n_blank = values.null_count();
        let message = format!("column `{column}` has {n_blank} blank values, and no round has a name without a value");
        let error = StepError::new(ErrorClass::Data, "D1171", message);
        return Err(error.with_help("filter blank rows out in a `sql` step, and loop over what it gives"));
    }
    Ok(values)
}

fn column_of<'b>(batch: &'b RecordBatch, column: &str) -> Result<&'b ArrayRef, StepError> {
    batch.column_by_name(column).ok_or_else(|| bug(format!("the table of a loop has no column `{column}`")))
}

fn keyed_rows(table: &Reader, key: &str, columns: &[String]) -> Result<Vec<Value>, StepError> {
    let mut keys = Found::default();
    let mut rows: Vec<(Value, Vec<(String, Value)>)> = Vec::new();
    for batch in table.batches() {
        let batch = batch.map_err(unreadable)?;
        let key_values = named(&batch, key)?;
        keys.add(key_values.as_ref()).map_err(|ty| bug(format!("a loop goes over key `{key}` of type {ty}")))?;
        let n_rows = rows.len() + batch.num_rows();
        if n_rows > MOST_VALUES {
            let message = format!("a loop goes over a table with more than {MOST_VALUES} rows");
            let error = StepError::new(ErrorClass::Data, "D1172", message);
            return Err(error.with_help("go over a smaller table: each row makes nodes of its own"));
        }
        if keys.len() < n_rows {
            let n_repeated = n_rows - keys.len();
            let plural = if n_repeated == 1 { "row repeats" } else { "rows repeat" };
            let message = format!("key `{key}` of the table of a loop is not unique: {n_repeated} {plural} one");
            let error = StepError::new(ErrorClass::Data, "D1173", message);
            return Err(error.with_help("let one row stand for each key, in the data or in a `sql` step"));
        }
        let read = columns.iter().map(|column| Ok((column, column_of(&batch, column)?)));
        let read = read.collect::<Result<Vec<_>, StepError>>()?;
        for row in 0..batch.num_rows() {
            let value = |column: &str, values: &dyn Array| {
                cell(values, row)
                    .ok_or_else(|| bug(format!("a loop reads column `{column}` of type {}", values.data_type())))
            };
            let fields = read.iter().map(|(column, values)| Ok(((*column).clone(), value(column, values.as_ref())?)));
            rows.push((value(key, key_values.as_ref())?, fields.collect::<Result<_, StepError>>()?));
        }
    }
    let order: BTreeMap<Key, usize> = rows.iter().enumerate().map(|(at, (key, _))| (Key::of(key), at)).collect();
    let row = |at: usize| {
        let (key, fields) = rows.get(at)?;
        Some(Value::List(vec![key.clone(), Value::Record(fields.iter().cloned().collect())]))
    };
    Ok(order.into_values().filter_map(row).collect())
}

/// A key, to be put in order with others of its type.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Number(i64),
    Text(String),
}

impl Key {
    fn of(value: &Value) -> Self {
        match value {
            Value::Int(n) => Self::Number(*n),
            Value::Date(day) => Self::Number((*day).into()),
            Value::Bool(flag) => Self::Number((*flag).into()),
            Value::Str(text) => Self::Text(text.clone()),
            other => Self::Text(other.to_string()),
        }
    }
}

/// Returns a cell as a value; a blank is none. `None` for a type that is no value's.
fn cell(values: &dyn Array, row: usize) -> Option<Value> {
    if values.is_null(row) {
        return Some(Value::Null);
    }
    if let Some(texts) = values.as_string_opt::<i32>() {
        return Some(Value::Str(texts.value(row).to_owned()));
    }
    if let Some(flags) = values.as_boolean_opt() {
        return Some(Value::Bool(flags.value(row)));
    }
    let number = values.as_primitive_opt::<Int64Type>().map(|values| Value::Int(values.value(row)));
    let number = number.or_else(|| Some(Value::Float(values.as_primitive_opt::<Float64Type>()?.value(row))));
    let number = number.or_else(|| Some(Value::Date(values.as_primitive_opt::<Date32Type>()?.value(row))));
    number.or_else(|| Some(Value::Timestamp(values.as_primitive_opt::<TimestampMicrosecondType>()?.value(row))))
}

/// One of the sets is used: a column has one type.
#[derive(Default)]
struct Found {
    texts: BTreeSet<String>,
    ints: BTreeSet<i64>,
    days: BTreeSet<i32>,
    flags: BTreeSet<bool>,
}

impl Found {
    fn add(&mut self, values: &dyn Array) -> Result<(), DataType> {
        if let Some(texts) = values.as_string_opt::<i32>() {
            for text in texts.iter().flatten() {
                if !self.texts.contains(text) {
                    self.texts.insert(text.to_owned());
                }
            }
        } else if let Some(ints) = values.as_primitive_opt::<Int64Type>() {
            self.ints.extend(ints.values());
        } else if let Some(days) = values.as_primitive_opt::<Date32Type>() {
            self.days.extend(days.values());
        } else if let Some(flags) = values.as_boolean_opt() {
            self.flags.extend(flags.iter().flatten());
        } else {
            return Err(values.data_type().clone());
        }
        Ok(())
    }

    fn len(&self) -> usize {
        self.texts.len() + self.ints.len() + self.days.len() + self.flags.len()
    }

    fn into_values(self) -> Vec<Value> {
        let texts = self.texts.into_iter().map(Value::Str);
        let ints = self.ints.into_iter().map(Value::Int);
        let days = self.days.into_iter().map(Value::Date);
        texts.chain(ints).chain(days).chain(self.flags.into_iter().map(Value::Bool)).collect()
    }
}
