//! What a guest gave back, checked as if an enemy had written it, as Arrow columns.
//!
//! Unaware of rules over values (`rules`).

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Date32Array, Decimal128Array, DurationMillisecondArray, Float64Array, Int64Array,
    StringBuilder, TimestampMicrosecondArray,
};
use arrow::buffer::{BooleanBuffer, NullBuffer};
use mlp_model::{Column, ErrorClass, Scalar, StepError};

use crate::guest::{Context, readable, wit};

const HELP: &str = "let the function return exactly the columns of `adds`, with one value for each row";

/// Returns the columns in the order of `adds`.
pub fn columns(
    mut received: Vec<wit::ColumnResult>,
    adds: &[Column],
    context: &Context<'_>,
) -> Result<Vec<ArrayRef>, StepError> {
    let unknown = received.iter().find(|column| adds.iter().all(|add| add.name != column.name));
    if let Some(column) = unknown {
        let name =
            if context.personal.is_some() { String::new() } else { format!(" `{}`", readable(&column.name, 80)) };
        let declared = adds.iter().map(|add| format!("`{}`", add.name)).collect::<Vec<_>>().join(", ");
        return Err(wrong(format!("`{}` returned a column{name}, but declares {declared} alone", context.shown)));
    }
    let mut arrays = Vec::with_capacity(adds.len());
    for add in adds {
        let Some(index) = received.iter().position(|column| column.name == add.name) else {
            let message = format!("`{}` did not return column `{}`, which it declares", context.shown, add.name);
            return Err(wrong(message).with_column(&add.name));
        };
        let column = received.swap_remove(index);
        if received.iter().any(|column| column.name == add.name) {
            let message = format!("`{}` returned column `{}` twice", context.shown, add.name);
            return Err(wrong(message).with_column(&add.name));
        }
        arrays.push(array(column, add, context).map_err(|error| error.with_column(&add.name))?);
    }
    Ok(arrays)
}

fn array(column: wit::ColumnResult, add: &Column, context: &Context<'_>) -> Result<ArrayRef, StepError> {
    let nulls = nulls(&column.validity, add, context)?;
    let count = |n_values: usize| {
        let n_rows = context.n_rows;
        if n_values == n_rows {
            return Ok(());
        }
        let shown = context.shown;
        Err(wrong(format!("`{shown}` returned {n_values} values of column `{}` for {n_rows} rows", add.name)))
    };
    Ok(match (add.scalar, column.values) {
        (Scalar::Float, wit::ValuesResult::Floats(values)) => {
            count(values.len())?;
            Arc::new(Float64Array::new(values.into(), nulls))
        }
        (Scalar::Int, wit::ValuesResult::Ints(values)) => {
            count(values.len())?;
            Arc::new(Int64Array::new(values.into(), nulls))
        }
        (Scalar::Bool, wit::ValuesResult::Bools(values)) => {
            count(values.len())?;
            Arc::new(BooleanArray::new(BooleanBuffer::from(values), nulls))
        }
        (Scalar::Str, wit::ValuesResult::Texts(values)) => {
            count(values.len())?;
            let mut builder = StringBuilder::with_capacity(values.len(), values.iter().map(String::len).sum());
            for (row, text) in values.iter().enumerate() {
                if nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row)) {
                    builder.append_value(text);
                } else {
                    builder.append_null();
                }
            }
            Arc::new(builder.finish())
        }
        (Scalar::Date, wit::ValuesResult::Dates(values)) => {
            count(values.len())?;
            Arc::new(Date32Array::new(values.into(), nulls))
        }
        (Scalar::Timestamp, wit::ValuesResult::Timestamps(values)) => {
            count(values.len())?;
            Arc::new(TimestampMicrosecondArray::new(values.into(), nulls).with_timezone("UTC"))
        }
        (Scalar::Duration, wit::ValuesResult::Durations(values)) => {
            count(values.len())?;
            Arc::new(DurationMillisecondArray::new(values.into(), nulls))
        }
        (Scalar::Decimal { precision, scale }, wit::ValuesResult::Decimals(decimals)) => {
            if (decimals.precision, decimals.scale) != (precision, scale) {
                let found = Scalar::Decimal { precision: decimals.precision, scale: decimals.scale };
                return Err(other_type(add, &found.to_string()));
            }
            count(decimals.unscaled.len())?;
            let values = decimals.unscaled.into_iter().map(|(low, high)| (i128::from(high) << 64) | i128::from(low));
            let values: Vec<i128> = values.collect();
            let limit = 10_u128.checked_pow(u32::from(precision)).unwrap_or(u128::MAX);
            let is_valid = |row| nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row));
            if let Some(row) = (0..).zip(&values).position(|(row, n)| n.unsigned_abs() >= limit && is_valid(row)) {
                let row = context.first_row + row as u64 + 1;
                let message =
                    format!("a value of column `{}` has more than {precision} digits, in row {row}", add.name);
                return Err(wrong(message).with_row(row));
            }
            let array = Decimal128Array::new(values.into(), nulls).with_precision_and_scale(precision, scale);
            Arc::new(array.map_err(|_| other_type(add, "an impossible decimal"))?)
        }
        (_, values) => return Err(other_type(add, name_of(&values))),
    })
}

/// Reads which rows are blank; only an optional column may have any.
fn nulls(validity: &[u8], add: &Column, context: &Context<'_>) -> Result<Option<NullBuffer>, StepError> {
    if validity.is_empty() {
        return Ok(None);
    }
    if validity.len() != context.n_rows || validity.iter().any(|byte| *byte > 1) {
        let message =
            format!("`{}` says for column `{}` in no readable way which rows are blank", context.shown, add.name);
        return Err(wrong(message).with_help("give one byte for each row, 0 or 1, or none at all"));
    }
    if !add.optional
        && let Some(row) = validity.iter().position(|byte| *byte == 0)
    {
        let row = context.first_row + row as u64 + 1;
        let message = format!("column `{}` is blank in row {row}, but is declared `{}`", add.name, add.scalar);
        let help = format!("return a value, or declare that it may be blank: `{}: {}?`", add.name, add.scalar);
        return Err(wrong(message).with_row(row).with_help(help));
    }
    Ok(Some(NullBuffer::from(validity.iter().map(|byte| *byte == 1).collect::<Vec<_>>())))
}

fn wrong(message: String) -> StepError {
    StepError::new(ErrorClass::Step, "W3204", message).with_help(HELP)
}

fn other_type(add: &Column, found: &str) -> StepError {
    wrong(format!("column `{}` is declared `{}`, but came back as {found}", add.name, add.scalar))
}

fn name_of(values: &wit::ValuesResult) -> &'static str {
    match values {
        wit::ValuesResult::Floats(_) => "float",
        wit::ValuesResult::Ints(_) => "int",
        wit::ValuesResult::Bools(_) => "bool",
        wit::ValuesResult::Texts(_) => "str",
        wit::ValuesResult::Dates(_) => "date",
        wit::ValuesResult::Timestamps(_) => "timestamp",
        wit::ValuesResult::Decimals(_) => "decimal",
        wit::ValuesResult::Durations(_) => "duration",
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Array, AsArray};
    use arrow::datatypes::Decimal128Type;

    use super::*;

    fn column(name: &str, values: wit::ValuesResult, validity: &[u8]) -> wit::ColumnResult {
        wit::ColumnResult { name: name.into(), values, validity: validity.into() }
    }

    fn context(personal: Option<&'static str>) -> Context<'static> {
        Context { shown: "t.py", source: b"", first_row: 100, n_rows: 2, personal }
    }

    fn check(received: Vec<wit::ColumnResult>, add: Column) -> Result<ArrayRef, StepError> {
        columns(received, &[add], &context(None)).map(|mut arrays| arrays.remove(0))
    }

    #[test]
    fn what_breaks_the_declaration_is_refused_with_column_and_row() {
        use wit::ValuesResult::{Floats, Ints};
        let x = |scalar| Column::plain("x", scalar);
        let float = || column("x", Floats(vec![0.5, 1.5]), &[]);
        let decimal =
            |precision, unscaled| wit::ValuesResult::Decimals(wit::DecimalsResult { precision, scale: 2, unscaled });
        let money = Scalar::Decimal { precision: 5, scale: 2 };
        for (received, add, expected) in [
            (vec![], x(Scalar::Float), "did not return column `x`"),
            (vec![float(), float()], x(Scalar::Float), "returned column `x` twice"),
            (
                vec![float(), column("y", Ints(vec![1, 2]), &[])],
                x(Scalar::Float),
                "a column `y`, but declares `x` alone",
            ),
            (vec![float()], x(Scalar::Int), "column `x` is declared `int`, but came back as float"),
            (vec![column("x", Ints(vec![1]), &[])], x(Scalar::Int), "1 values of column `x` for 2 rows"),
            (vec![column("x", Ints(vec![1, 2, 3]), &[])], x(Scalar::Int), "3 values of column `x` for 2 rows"),
            (vec![column("x", Ints(vec![1, 2]), &[1])], x(Scalar::Int), "which rows are blank"),
            (vec![column("x", Ints(vec![1, 2]), &[1, 2])], x(Scalar::Int), "which rows are blank"),
            (vec![column("x", Ints(vec![1, 2]), &[1, 0])], x(Scalar::Int), "blank in row 102, but is declared `int`"),
            (vec![column("x", decimal(6, vec![(1, 0); 2]), &[])], x(money), "came back as decimal(6, 2)"),
            (
                vec![column("x", decimal(5, vec![(1, 0), (100_000, 0)]), &[])],
                x(money),
                "more than 5 digits, in row 102",
            ),
            (
                vec![column("x", decimal(5, vec![(1, 0), (0, i64::MIN)]), &[])],
                x(money),
                "more than 5 digits, in row 102",
            ),
        ] {
            let error = check(received, add).unwrap_err();
            assert!(error.message.contains(expected), "{} <> {expected}", error.message);
            assert_eq!(error.class, ErrorClass::Step);
            assert!(error.help.is_some());
        }
    }

    #[test]
    fn an_unknown_column_is_not_named_where_names_may_be_data() {
        let received = vec![column("Jane", wit::ValuesResult::Ints(vec![1, 2]), &[])];
        let error = columns(received, &[Column::plain("x", Scalar::Int)], &context(Some("name"))).unwrap_err();
        assert!(!error.message.contains("Jane"), "{error}");
    }

    #[test]
    fn blank_values_and_negative_decimals_arrive() {
        let unscaled = vec![(u64::MAX - 149, -1), (7, 0)];
        let values = wit::ValuesResult::Decimals(wit::DecimalsResult { precision: 5, scale: 2, unscaled });
        let add = Column { optional: true, ..Column::plain("x", Scalar::Decimal { precision: 5, scale: 2 }) };
        let array = check(vec![column("x", values, &[1, 0])], add).unwrap();
        assert_eq!(array.as_primitive::<Decimal128Type>().value(0), -150);
        assert!(array.is_null(1));
    }
}
