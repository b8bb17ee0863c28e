//! The values of a column, each once: what a loop over it goes over.

use std::collections::BTreeSet;
use std::path::Path;

use arrow::array::{Array, AsArray};
use arrow::datatypes::{DataType, Date32Type, Int64Type};
use mlp_artifact::table::Reader;
use mlp_model::{ErrorClass, StepError, Value};

use crate::error::bug;

/// So many values at most: each becomes a round of a loop.
pub const MOST_VALUES: usize = 10_000;

/// Returns the values of a column of a stored table in ascending order, each once.
///
/// # Errors
/// The file is no whole table, has no such column, or the column holds blanks, too many different values, or values of a type
/// that makes no good names.
pub fn distinct_values(path: &Path, size_bytes: u64, column: &str) -> Result<Vec<Value>, StepError> {
    let unreadable = |error: mlp_artifact::table::TableError| {
        StepError::new(ErrorClass::Environment, "D1170", format!("cannot read the table of a loop: {error}"))
            .with_help("`mlp store verify` tells what is whole; the next run makes the table again")
    };
    let table = Reader::open(path, size_bytes).map_err(unreadable)?;
    let mut found = Found::default();
    for batch in table.batches() {
        let batch = batch.map_err(unreadable)?;
        let values =
            batch.column_by_name(column).ok_or_else(|| bug(format!("the table of a loop has no column `{column}`")))?;
        if values.null_count() > 0 {
            let message = format!(
                "column `{column}` has {} blank values, and no round has a name without a value",
                values.null_count()
            );
            let error = StepError::new(ErrorClass::Data, "D1171", message);
            return Err(error.with_help("filter blank rows out in a `sql` step, and loop over what it gives"));
        }
        found.add(values.as_ref()).map_err(|ty| bug(format!("a loop goes over column `{column}` of type {ty}")))?;
        if found.len() > MOST_VALUES {
            let message = format!("column `{column}` has more than {MOST_VALUES} different values");
            let error = StepError::new(ErrorClass::Data, "D1172", message);
            return Err(error.with_help("go over a coarser column: each value makes nodes of its own"));
        }
    }
    Ok(found.into_values())
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
