//! What the three splits share: their data argument, their two outputs and the writing of them.

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch};
use arrow::compute::{filter_record_batch, not};
use arrow::datatypes::{Date32Type, Int64Type};
use mlp_artifact::table::Reader;
use mlp_model::{
    ArgError, Argument, CheckedCall, ErrorClass, Facts, Inferred, Outcome, ParamType, Role, StepError, TableType, Type,
    Value,
};

use crate::builtin::{TableOut, Work, bug};
use crate::check;
use crate::declare::{param_or, table_not};

/// The table to split. Rows that are set aside already stay together.
pub(crate) fn data_argument() -> Argument {
    table_not(
        "data",
        &[Role::Test, Role::Valid],
        "these rows are set aside for judging a model and stay together",
        "the table to split: not split yet, or the `train` part of another split",
    )
}

/// The argument that overrides [`keeps_groups`].
pub(crate) fn mixed_groups() -> Argument {
    param_or(
        "mixed_groups",
        ParamType::Bool,
        Value::Bool(false),
        "let rows of one `group` of the schema fall on both sides",
    )
}

/// Refuses to tear apart what the schema says belongs together, unless the call says that it may be.
pub(crate) fn keeps_groups(call: &CheckedCall<'_>, table: &TableType) -> Result<(), ArgError> {
    let group = table.columns.iter().find(|column| column.marks.group);
    match group {
        Some(group) if check::value(call, "mixed_groups") != Some(&Value::Bool(true)) => Err(torn(&group.name, "data")),
        _ => Ok(()),
    }
}

pub(crate) fn torn(group: &str, argument: &str) -> ArgError {
    let message = format!(
        "rows of one `{group}` would be on both sides of the split: the model would be judged on groups it knows"
    );
    let help = format!(
        "use `table.split_groups(.., by: {group})`; if new groups are not what the model is for, use another split and \
         write `mixed_groups: true`"
    );
    ArgError::new("E0408", argument, message).with_help(help)
}

/// Returns the outputs of a split of `table`.
pub(crate) fn train_and_test(table: &TableType) -> Inferred {
    let part = |role| Type::Table(TableType { role, ..table.clone() });
    Inferred {
        outputs: vec![("train".into(), part(Role::Train)), ("test".into(), part(Role::Test))],
        ..Inferred::default()
    }
}

/// As [`train_and_test`], of a call that says what fraction is set aside; `errors` is what else is wrong with it.
pub(crate) fn by_fraction(
    call: &CheckedCall<'_>,
    table: &TableType,
    mut errors: Vec<ArgError>,
) -> Result<Inferred, Vec<ArgError>> {
    let test = check::fraction(call, "test").map_err(|error| errors.push(error)).unwrap_or_default();
    if !errors.is_empty() {
        return Err(errors);
    }
    let mut inferred = train_and_test(table);
    inferred.params.insert("test", Value::Float(test));
    Ok(inferred)
}

/// Returns how many of `n_rows` rows are test rows: the nearest whole number, half up.
pub(crate) fn n_test(n_rows: u64, fraction: f64) -> u64 {
    ((n_rows as f64 * fraction).round() as u64).min(n_rows)
}

/// The two parts while they are written.
pub(crate) struct Parts<'w> {
    n_columns: usize,
    train: TableOut<'w>,
    test: TableOut<'w>,
}

impl<'w> Parts<'w> {
    pub fn create(work: &'w Work<'w>, data: &Reader) -> Result<Self, StepError> {
        let columns = data.columns();
        let create = |name| work.create_table(name, columns);
        Ok(Self { n_columns: columns.len(), train: create("train")?, test: create("test")? })
    }

    /// Appends the rows of a batch to their parts. `is_test` has one value for each row and no blanks.
    pub fn write(&mut self, batch: &RecordBatch, is_test: &BooleanArray) -> Result<(), StepError> {
        let is_train = not(is_test).map_err(bug)?;
        for (rows, table) in [(&is_train, &mut self.train), (is_test, &mut self.test)] {
            table.write(&filter_record_batch(batch, rows).map_err(bug)?)?;
        }
        Ok(())
    }

    pub fn finish(self) -> Result<Outcome, StepError> {
        let Self { n_columns, train, test } = self;
        let ((n_train, train), (n_test, test)) = (train.finish()?, test.finish()?);
        for (name, n_rows, other) in [("train", n_train, n_test), ("test", n_test, n_train)] {
            if n_rows == 0 {
                let message = format!("the table has {}, and none of them falls to `{name}`", count(other));
                let help = "a split needs at least one row in each part: give it more rows or other proportions";
                return Err(StepError::new(ErrorClass::Data, "D1121", message).with_argument("data").with_help(help));
            }
        }
        let facts = [("rows", n_train + n_test), ("train_rows", n_train), ("test_rows", n_test)];
        let mut facts: Facts = facts.into_iter().map(|(name, n)| (name.to_owned(), n as f64)).collect();
        facts.insert("columns".into(), n_columns as f64);
        let outputs = [("train".to_owned(), train), ("test".to_owned(), test)].into();
        Ok(Outcome { outputs, facts, ..Outcome::default() })
    }
}

fn count(n_rows: u64) -> String {
    if n_rows == 1 { "1 row".to_owned() } else { format!("{n_rows} rows") }
}

/// Returns column `name`, which the checker has seen.
pub(crate) fn column<'b>(batch: &'b RecordBatch, name: &str) -> Result<&'b ArrayRef, StepError> {
    batch.column_by_name(name).ok_or_else(|| bug(format!("the table has no column `{name}`")))
}

/// Appends bytes that tell the value in `row`, which is not blank, from all others of its column.
pub(crate) fn push_value(values: &ArrayRef, row: usize, out: &mut Vec<u8>) -> Result<(), StepError> {
    if let Some(texts) = values.as_string_opt::<i32>() {
        out.extend(texts.value(row).as_bytes());
    } else if let Some(flags) = values.as_boolean_opt() {
        out.push(u8::from(flags.value(row)));
    } else if let Some(numbers) = values.as_primitive_opt::<Int64Type>() {
        out.extend(numbers.value(row).to_le_bytes());
    } else if let Some(days) = values.as_primitive_opt::<Date32Type>() {
        out.extend(days.value(row).to_le_bytes());
    } else {
        return Err(bug(format!("a column of type {} has no classes", values.data_type())));
    }
    Ok(())
}
