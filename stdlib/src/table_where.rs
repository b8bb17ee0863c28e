//! `table.where`: the rows that have one value in a column.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Date32Array, Float64Array, Int64Array, Scalar, StringArray};
use arrow::compute::filter_record_batch;
use arrow::compute::kernels::cmp::eq;
use mlp_model::{ArgError, CheckedCall, Facts, Inferred, Outcome, ParamType, Signature, StepError, Type, Value};

use crate::builtin::{Work, bug};
use crate::check;
use crate::declare::{Operation, one_output, param, table};
use crate::part;

pub(crate) fn signature() -> Signature {
    Operation {
        name: "table.where",
        version: 1,
        runner: "builtin",
        doc: "
Keeps the rows that have one value in a column.

All columns, rows in their old order and of their old role. A blank is equal to nothing; a value that no row has
gives a table without rows. In a loop over the values of a column it gives a round its rows. When a row of one value
changes, the tables of the others come out with the bytes they had, so that nothing behind them runs:

    for store in values(sales.store_id) as network {
      step rows = table.where(sales, column: store_id, equals: store)
    }
",
        args: vec![
            table("data", "the table"),
            param("column", ParamType::Column { of: "data" }, "an int, float, str, bool or date column"),
            param("equals", ParamType::Literal, "the value: of the column's type"),
        ],
    }
    .step(infer)
}

fn infer(call: &CheckedCall<'_>) -> Result<Inferred, Vec<ArgError>> {
    let data = check::table(call, "data").map_err(|error| vec![error])?;
    let column = check::string(call, "column").and_then(|name| check::column(data, "data", "column", name));
    let column = column.map_err(|error| vec![error])?;
    let Some(value) = call.params.get("equals") else {
        return Err(vec![ArgError::new("E0301", "equals", "argument `equals` has no value")]);
    };
    let fits = match (column.scalar, value) {
        (mlp_model::Scalar::Int, Value::Int(_))
        | (mlp_model::Scalar::Float, Value::Int(_) | Value::Float(_))
        | (mlp_model::Scalar::Str, Value::Str(_))
        | (mlp_model::Scalar::Bool, Value::Bool(_))
        | (mlp_model::Scalar::Date, Value::Date(_)) => true,
        (
            mlp_model::Scalar::Int
            | mlp_model::Scalar::Float
            | mlp_model::Scalar::Str
            | mlp_model::Scalar::Bool
            | mlp_model::Scalar::Date,
            _,
        ) => false,
        (other, _) => {
            let message =
                format!("`column` takes an int, float, str, bool or date column, `{}` is {other}", column.name);
            let error = ArgError::new("E0342", "column", message);
            return Err(vec![error.with_help("use a `where` in a `sql` step")]);
        }
    };
    if !fits {
        let message =
            format!("`equals` must be a value of column `{}`, which is of type {}", column.name, column.scalar);
        return Err(vec![ArgError::new("E0301", "equals", message)]);
    }
    let mut inferred = one_output(Type::Table(data.clone()));
    if let (mlp_model::Scalar::Float, Value::Int(_)) = (column.scalar, value) {
        // Written either way it is one value, and one key.
        inferred.params.extend(value.as_float().map(|value| ("equals".to_owned(), Value::Float(value))));
    }
    Ok(inferred)
}

pub(crate) fn run(work: &Work<'_>) -> Result<Outcome, StepError> {
    let column = work.str("column")?;
    let wanted = work.step.params.get("equals").ok_or_else(|| bug("`table.where` was started without `equals`"))?;
    let data = work.table("data")?;
    let mut table = work.create_table("out", data.columns())?;
    for batch in data.batches() {
        let batch = work.batch("data", batch)?;
        let is_kept = equal_to(part::column(&batch, column)?, wanted)?;
        if is_kept.true_count() > 0 {
            table.write(&filter_record_batch(&batch, &is_kept).map_err(bug)?)?;
        }
    }
    let (n_rows, table) = table.finish()?;
    let facts = [("rows", n_rows as f64), ("columns", data.columns().len() as f64)];
    let facts: Facts = facts.into_iter().map(|(name, n)| (name.to_owned(), n)).collect();
    let outputs = [("out".to_owned(), table)].into();
    Ok(Outcome { outputs, facts, ..Outcome::default() })
}

/// Returns for each row whether it has the value; null where it is blank.
fn equal_to(values: &ArrayRef, wanted: &Value) -> Result<BooleanArray, StepError> {
    let wanted: ArrayRef = match wanted {
        Value::Str(text) => Arc::new(StringArray::from(vec![text.as_str()])),
        Value::Int(n) => Arc::new(Int64Array::from(vec![*n])),
        Value::Date(day) => Arc::new(Date32Array::from(vec![*day])),
        Value::Float(x) => Arc::new(Float64Array::from(vec![*x])),
        Value::Bool(flag) => Arc::new(BooleanArray::from(vec![*flag])),
        other => return Err(bug(format!("no column can be compared with {other}"))),
    };
    eq(values, &Scalar::new(wanted)).map_err(bug)
}
