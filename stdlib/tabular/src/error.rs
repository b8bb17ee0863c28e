//! How this crate words its failures.

use std::io;

use mlp_artifact::table::TableError;
use mlp_model::{ErrorClass, InputFile, Named, Schema, StartStep, StepError, Value};

/// Data that breaks its schema or its format.
pub(crate) fn data(code: &str, message: impl Into<String>) -> StepError {
    StepError::new(ErrorClass::Data, code, message)
}

/// Something that the checker should have refused.
pub(crate) fn bug(message: impl Into<String>) -> StepError {
    StepError::new(ErrorClass::Bug, "D1199", message)
}

pub(crate) fn cannot_read(shown: &str, error: &io::Error) -> StepError {
    let error_text = plain(error);
    StepError::new(ErrorClass::Environment, "D1192", format!("cannot read `{shown}`: {error_text}"))
}

pub(crate) fn cannot_write(error: &io::Error) -> StepError {
    let failure =
        StepError::new(ErrorClass::Environment, "D1193", format!("cannot write the result: {}", plain(error)));
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => failure.with_help("free some space and run again"),
        _ => failure,
    }
}

/// The system's own words, without the number of the error.
fn plain(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "file not found".into(),
        io::ErrorKind::PermissionDenied => "permission denied".into(),
        io::ErrorKind::IsADirectory => "it is a folder".into(),
        io::ErrorKind::StorageFull => "the disk is full".into(),
        io::ErrorKind::QuotaExceeded => "the disk quota is used up".into(),
        _ => error.to_string(),
    }
}

/// A result table that could not be written; `shown` is what it is made from.
pub(crate) fn table_out(error: TableError, shown: &str) -> StepError {
    match error {
        TableError::Write { source, .. } => cannot_write(&source),
        TableError::Blank { ref column, row, .. } => {
            let message =
                format!("column `{column}` of the result is blank in row {row}, though its type has no blanks");
            data("D1108", message).with_column(column.clone()).with_row(row)
        }
        TableError::OutOfRange { ref column, scalar } => {
            let message = format!("column `{column}` of `{shown}` has a value that does not fit `{scalar}`");
            data("D1108", message).with_column(column.clone())
        }
        TableError::TooMuchText { ref column } => data("D1108", error.to_string()).with_column(column.clone()),
        TableError::UnsupportedType { ref column, ref found } => {
            let message = format!("column `{column}` of `{shown}` has the type {found}, which a table cannot hold");
            data("D1108", message).with_column(column.clone())
        }
        other => bug(other.to_string()),
    }
}

/// An input table that could not be read.
pub(crate) fn table_in(error: TableError, input: &InputFile) -> StepError {
    match error {
        TableError::Read { source, .. } => cannot_read(&input.shown, &source),
        TableError::Damaged { reason, .. } => {
            let message = format!("`{}` is damaged or no table: {reason}", input.shown);
            StepError::new(ErrorClass::Environment, "D1194", message)
        }
        other => bug(other.to_string()),
    }
}

pub(crate) fn input<'a>(step: &'a StartStep, name: &str) -> Result<&'a InputFile, StepError> {
    step.inputs.get(name).ok_or_else(|| bug(format!("`{}` was started without its input `{name}`", step.op)))
}

pub(crate) fn schema(params: &Named<Value>) -> Result<&Schema, StepError> {
    params.get("schema").and_then(Value::as_schema).ok_or_else(|| bug("the step was started without its schema"))
}

/// Returns `n` with commas between thousands.
pub(crate) fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Returns the name that a person may have meant.
pub(crate) fn did_you_mean<'a>(written: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let distance = |name: &str| strsim::damerau_levenshtein(&written.to_lowercase(), &name.to_lowercase());
    let close = names.into_iter().map(|name| (distance(name), name));
    let close = close.filter(|(distance, name)| *distance <= written.chars().count().max(name.chars().count()) / 3);
    close.min_by_key(|(distance, _)| *distance).map(|(_, name)| name)
}
