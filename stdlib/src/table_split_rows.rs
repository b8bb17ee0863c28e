//! `table.split_rows`: rows set aside by their number.

use arrow::array::BooleanArray;
use mlp_model::{ArgError, CheckedCall, Inferred, Outcome, ParamType, Signature, StepError, Value};

use crate::builtin::Work;
use crate::check;
use crate::declare::{Operation, param};
use crate::part::{self, Parts};

pub(crate) fn signature() -> Signature {
    Operation {
        name: "table.split_rows",
        version: 1,
        runner: "builtin",
        doc: "
Sets every n-th row aside for testing.

Outputs `train` and `test`: all columns, rows in their old order. Row i, counted from 0, is a test row if
i % `every` == `at`, so `every: 5, at: 4` takes the fifth, the tenth and so on. Use it to repeat a published
figure or to compare with another program; rows that are sorted or repeat in a rhythm make such parts unlike
each other, and `table.split` does not.

    step parts = table.split_rows(clean, every: 5, at: 4)

Errors: a table so small that a part would be empty.
",
        args: vec![
            part::data_argument(),
            param("every", ParamType::Int { min: 2, max: i64::MAX }, "one row in so many is a test row"),
            param("at", ParamType::Int { min: 0, max: i64::MAX - 1 }, "which one: from 0, less than `every`"),
            part::mixed_groups(),
        ],
    }
    .step(infer)
}

fn infer(call: &CheckedCall<'_>) -> Result<Inferred, Vec<ArgError>> {
    let table = check::table(call, "data").map_err(|error| vec![error])?;
    let int = |name| check::value(call, name).and_then(Value::as_int);
    if let (Some(every), Some(at)) = (int("every"), int("at"))
        && at >= every
    {
        let message = format!("`at` must be less than `every`: no row number leaves {at} when divided by {every}");
        let help = format!("the rows of one in {every} are numbered 0 to {}", every - 1);
        return Err(vec![ArgError::new("E0350", "at", message).with_help(help)]);
    }
    part::keeps_groups(call, table).map_err(|error| vec![error])?;
    Ok(part::train_and_test(table))
}

pub(crate) fn run(work: &Work<'_>) -> Result<Outcome, StepError> {
    let (every, at) = (work.int("every")?, work.int("at")?);
    let data = work.table("data")?;
    let mut parts = Parts::create(work, &data)?;
    let mut row = 0i64;
    for batch in data.batches() {
        let batch = work.batch("data", batch)?;
        let rows = row..row + batch.num_rows() as i64;
        row = rows.end;
        let is_test: BooleanArray = rows.map(|row| Some(row.checked_rem(every) == Some(at))).collect();
        parts.write(&batch, &is_test)?;
    }
    parts.finish()
}
