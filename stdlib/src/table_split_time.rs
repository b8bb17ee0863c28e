//! `table.split_time`: the latest rows set aside.

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray};
use arrow::datatypes::{Date32Type, Int64Type, TimestampMicrosecondType};
use mlp_model::{ArgError, CheckedCall, ErrorClass, Inferred, Outcome, ParamType, Scalar, Signature, StepError};

use crate::builtin::{Work, bug};
use crate::check;
use crate::declare::{Operation, param};
use crate::part::{self, Parts};

pub(crate) fn signature() -> Signature {
    Operation {
        name: "table.split_time",
        version: 1,
        runner: "builtin",
        doc: "
Sets the latest rows aside for testing.

Outputs `train` and `test`: all columns, rows in their old order (not sorted by time). `test` holds the last `test` of
the rows in the order of column `by`, rounded to the nearest whole number (half up). Rows with an equal `by` are never
torn apart: those at the boundary all go to `test`, which may therefore be a little larger.

    step parts = table.split_time(rides, by: dteday, test: 0.2)

Errors: a row whose `by` is blank; a table in which a part would be empty, such as one with a single day.
",
        args: vec![
            part::data_argument(),
            param("by", ParamType::Column { of: "data" }, "when each row was: a date, timestamp or int column"),
            param("test", ParamType::Float { min: 0.0, max: 1.0 }, "the fraction set aside; more than 0, less than 1"),
            part::mixed_groups(),
        ],
    }
    .step(infer)
}

fn infer(call: &CheckedCall<'_>) -> Result<Inferred, Vec<ArgError>> {
    let table = check::table(call, "data").map_err(|error| vec![error])?;
    let mut errors = Vec::new();
    let by = check::string(call, "by").and_then(|name| check::column(table, "data", "by", name));
    match by {
        Ok(column) if matches!(column.scalar, Scalar::Date | Scalar::Timestamp | Scalar::Int) => {}
        Ok(column) => {
            let message = format!("`by` takes a date, timestamp or int column, `{}` is {}", column.name, column.scalar);
            let help = "declare the column as `date` or `timestamp` in the schema, or make one with `sql`";
            errors.push(ArgError::new("E0342", "by", message).with_help(help));
        }
        Err(error) => errors.push(error),
    }
    errors.extend(part::keeps_groups(call, table).err());
    part::by_fraction(call, table, errors)
}

pub(crate) fn run(work: &Work<'_>) -> Result<Outcome, StepError> {
    let (by, test) = (work.str("by")?, work.float("test")?);
    let data = work.table("data")?;

    // First pass: all times; then the earliest time of a test row.
    let mut times = Vec::new();
    for batch in data.batches() {
        let batch = work.batch("data", batch)?;
        let values = part::column(&batch, by)?;
        if let Some(blank) = (0..values.len()).find(|row| values.is_null(*row)) {
            return Err(no_time(by, (times.len() + blank) as u64 + 1));
        }
        push_times(values, &mut times)?;
    }
    let n_train = times.len() as u64 - part::n_test(times.len() as u64, test);
    let first_test = nth(&mut times, n_train);

    // Second pass: write.
    let mut parts = Parts::create(work, &data)?;
    for batch in data.batches() {
        let batch = work.batch("data", batch)?;
        let mut times = Vec::with_capacity(batch.num_rows());
        push_times(part::column(&batch, by)?, &mut times)?;
        let is_test: BooleanArray =
            times.into_iter().map(|time| Some(first_test.is_some_and(|first| time >= first))).collect();
        parts.write(&batch, &is_test)?;
    }
    parts.finish()
}

/// Returns the time at position `n` in time order, counted from 0; `None` past the end.
fn nth(times: &mut [i64], n: u64) -> Option<i64> {
    let index = usize::try_from(n).ok()?;
    (index < times.len()).then(|| *times.select_nth_unstable(index).1)
}

/// Appends the times of a column without blanks.
fn push_times(values: &ArrayRef, times: &mut Vec<i64>) -> Result<(), StepError> {
    if let Some(days) = values.as_primitive_opt::<Date32Type>() {
        times.extend(days.values().iter().map(|day| i64::from(*day)));
    } else if let Some(instants) = values.as_primitive_opt::<TimestampMicrosecondType>() {
        times.extend(instants.values());
    } else if let Some(numbers) = values.as_primitive_opt::<Int64Type>() {
        times.extend(numbers.values());
    } else {
        return Err(bug(format!("a column of type {} has no place in time", values.data_type())));
    }
    Ok(())
}

fn no_time(by: &str, row: u64) -> StepError {
    StepError::new(ErrorClass::Data, "D1122", format!("`{by}` is blank in row {row}, which has no place in time"))
        .with_argument("by")
        .with_row(row)
        .with_column(by)
        .with_help("drop such rows before the split, or declare the column without `?` so that reading refuses them")
}
