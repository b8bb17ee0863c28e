//! What the evaluations share: their arguments, the reading of scores and the writing of a report.

use arrow::array::{Array, AsArray, BooleanArray, Float64Array, RecordBatch};
use arrow::datatypes::Float64Type;
use mlp_artifact::report::Report;
use mlp_model::{
    ArgError, Argument, ArtifactKind, CheckedCall, ErrorClass, InputType, Outcome, ParamType, Produced, Role, RoleRule,
    Scalar, StepError, Task, Value,
};

use crate::builtin::{Work, bug};
use crate::declare::{input, param_or};
use crate::{check, part};

/// A model and rows, bound as the table of scores that `FLAVOUR.predict` makes of them.
pub(crate) fn predictions_argument() -> Argument {
    let data_role = RoleRule::Not {
        roles: &[Role::Train],
        allow: Some("on_train"),
        why: "a model knows the rows it was trained on, so they do not show how it does on new ones",
    };
    let ty = InputType::Predictions { model: "model", data: "data", data_role };
    input("predictions", ty, "a model and the rows to judge it on")
}

pub(crate) fn on_train_argument() -> Argument {
    let doc = "allow rows of a `train` part, to see how closely a model fits them";
    param_or("on_train", ParamType::Bool, Value::Bool(false), doc)
}

/// Checks that the table of scores has what happened, and that it is of `task`. The type of `actual` tells the task:
/// bool for classes, float for numbers.
pub(crate) fn check_task(call: &CheckedCall<'_>, task: Task, op: &str) -> Result<(), Vec<ArgError>> {
    let table = check::table(call, "predictions").map_err(|error| vec![error])?;
    let error =
        |code, argument, message: String, help: &str| vec![ArgError::new(code, argument, message).with_help(help)];
    if table.column("score").is_none_or(|column| column.scalar != Scalar::Float) {
        let message = format!("`{op}` needs a float column `score`, as `torch.predict` makes it");
        return Err(error("E0353", "data", message, "score the rows with a model first"));
    }
    match (table.column("actual").map(|column| column.scalar), task) {
        (Some(Scalar::Bool), Task::Binary) | (Some(Scalar::Float), Task::Regression) => Ok(()),
        (None, _) => {
            let message = "the evaluated table lacks the target, so there is nothing to compare with".to_owned();
            Err(error("E0353", "data", message, "evaluate on rows that have the column the model predicts"))
        }
        (Some(_), Task::Binary) => {
            let message = format!("`{op}` judges yes-or-no models, but this one predicts a number");
            Err(error("E0352", "model", message, "use `eval.regression`"))
        }
        (Some(_), Task::Regression) => {
            let message = format!("`{op}` judges models that predict a number, but this one answers yes or no");
            Err(error("E0352", "model", message, "use `eval.binary`"))
        }
    }
}

/// Reads what happened and the probabilities.
pub(crate) fn read_binary(work: &Work<'_>) -> Result<(Vec<bool>, Vec<f64>), StepError> {
    let (mut actual, mut score) = (Vec::new(), Vec::new());
    for batch in work.table("predictions")?.batches() {
        let batch = work.batch("predictions", batch)?;
        let n_before = score.len();
        let column = part::column(&batch, "actual")?;
        let happened: &BooleanArray = column.as_boolean_opt().ok_or_else(|| bug("`actual` is not bool"))?;
        refuse_blank(happened, n_before)?;
        actual.extend(happened.values());
        let scores = scores(&batch)?;
        refuse(scores, "score", n_before, "is no probability from 0 to 1", |p| (0.0..=1.0).contains(&p))?;
        score.extend_from_slice(scores.values());
    }
    Ok((actual, score))
}

/// Reads what happened and the predicted numbers.
pub(crate) fn read_regression(work: &Work<'_>) -> Result<(Vec<f64>, Vec<f64>), StepError> {
    let (mut actual, mut score) = (Vec::new(), Vec::new());
    for batch in work.table("predictions")?.batches() {
        let batch = work.batch("predictions", batch)?;
        let n_before = score.len();
        let column = part::column(&batch, "actual")?;
        let happened: &Float64Array = column.as_primitive_opt().ok_or_else(|| bug("`actual` is not float"))?;
        refuse_blank(happened, n_before)?;
        refuse(happened, "actual", n_before, "is not a finite number", f64::is_finite)?;
        actual.extend_from_slice(happened.values());
        let scores = scores(&batch)?;
        refuse(scores, "score", n_before, "is not a finite number", f64::is_finite)?;
        score.extend_from_slice(scores.values());
    }
    Ok((actual, score))
}

fn scores(batch: &RecordBatch) -> Result<&Float64Array, StepError> {
    part::column(batch, "score")?.as_primitive_opt::<Float64Type>().ok_or_else(|| bug("`score` is not float"))
}

fn refuse_blank(actual: &dyn Array, n_before: usize) -> Result<(), StepError> {
    match (0..actual.len()).find(|row| actual.is_null(*row)) {
        None => Ok(()),
        Some(row) => {
            let row = (n_before + row) as u64 + 1;
            Err(StepError::new(
                ErrorClass::Data,
                "D1131",
                format!("the target is blank in row {row} of the evaluated table"),
            )
            .with_argument("data")
            .with_row(row)
            .with_column("actual")
            .with_help("evaluate on rows whose outcome is known: drop the others before"))
        }
    }
}

/// Refuses the first value that is blank or not `good`.
fn refuse(
    values: &Float64Array,
    name: &str,
    n_before: usize,
    what: &str,
    good: impl Fn(f64) -> bool,
) -> Result<(), StepError> {
    match values.iter().position(|value| !value.is_some_and(&good)) {
        None => Ok(()),
        Some(row) => {
            let row = (n_before + row) as u64 + 1;
            let help = if name == "score" {
                "the model's training did not end well: look at its loss"
            } else {
                "correct these values, or drop the rows before"
            };
            Err(StepError::new(ErrorClass::Data, "D1132", format!("`{name}` {what} in row {row} of the predictions"))
                .with_argument(if name == "score" { "model" } else { "data" })
                .with_row(row)
                .with_column(name)
                .with_help(help))
        }
    }
}

/// Writes the report; its measured metrics are the step's facts.
pub(crate) fn write(work: &Work<'_>, report: &Report) -> Result<Outcome, StepError> {
    let path = work.write("out", report.to_bytes())?;
    let facts = report.metrics.iter().filter_map(|(name, value)| Some((name.clone(), (*value)?))).collect();
    let produced = Produced { kind: ArtifactKind::Report, path };
    Ok(Outcome { outputs: [("out".into(), produced)].into(), facts, ..Outcome::default() })
}
