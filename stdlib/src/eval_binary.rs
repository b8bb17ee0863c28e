//! `eval.binary`: how good the scores for a yes-or-no question are.

use std::sync::LazyLock;

use mlp_artifact::report::Report;
use mlp_model::{
    ArgError, CheckedCall, Inferred, Outcome, ParamType, ReportType, Shared, Signature, StepError, Task, Type, Value,
};
use serde_json::{Value as Json, json};

use crate::builtin::Work;
use crate::check;
use crate::declare::{Operation, one_output, param_or};
use crate::metrics::{self, Bin};
use crate::predictions::{self, on_train_argument, predictions_argument};

/// The metrics of the report, in the order in which people read them.
pub(crate) const METRICS: [&str; 16] = [
    "auc",
    "average_precision",
    "log_loss",
    "brier",
    "precision",
    "recall",
    "f1",
    "accuracy",
    "ece",
    "tp",
    "fp",
    "tn",
    "fn",
    "positives",
    "rows",
    "threshold",
];

/// The same for every call.
static REPORT: LazyLock<Shared<ReportType>> =
    LazyLock::new(|| ReportType { metrics: METRICS.map(str::to_owned).into() }.into());

pub(crate) fn signature() -> Signature {
    Operation {
        name: "eval.binary",
        version: 1,
        runner: "builtin",
        doc: "
Measures how well a model answers a yes-or-no question.

The rows of `data` are scored by `model` first (as step `NAME.predictions`). The positive class is the model's own.
A row is predicted positive if its score is at least `threshold`.

Ranking: `auc` (area under the ROC curve, ties count half), `average_precision` (step-wise, no interpolation).
Probabilities: `log_loss` (nats; probabilities kept 2.2e-16 away from 0 and 1), `brier`, `ece` (expected calibration
error over 10 equal bins, each with its right edge). At the threshold: `precision`, `recall`, `f1`, `accuracy`, and the
counts `tp`, `fp`, `tn`, `fn`. Besides `positives`, `rows` and `threshold`. The report also holds the 10 `bins`.

A metric that these rows cannot tell is null, not 0, and a gate that needs it refuses: `auc` without both classes,
`average_precision` and `recall` without positives, `precision` when no row is predicted positive, `f1` when a row is
neither, all without rows.

Values are those of scikit-learn 1.9 to 1e-12.

    step quality = eval.binary(model, parts.test, threshold: 0.4)

Errors: a model for numbers; rows without the target; rows that a model was trained on, unless `on_train: true`; at run
time a blank target (by row), a score outside 0 to 1.
",
        args: vec![
            predictions_argument(),
            param_or(
                "threshold",
                ParamType::Float { min: 0.0, max: 1.0 },
                Value::Float(0.5),
                "the least score of a row that is predicted positive",
            ),
            on_train_argument(),
        ],
    }
    .step(infer)
}

fn infer(call: &CheckedCall<'_>) -> Result<Inferred, Vec<ArgError>> {
    predictions::check_task(call, Task::Binary, "eval.binary")?;
    let threshold = check::number(call, "threshold").map_err(|error| vec![error])?;
    let mut inferred = one_output(Type::Report(REPORT.clone()));
    inferred.params.insert("threshold", Value::Float(threshold));
    Ok(inferred)
}

pub(crate) fn run(work: &Work<'_>) -> Result<Outcome, StepError> {
    let threshold = work.float("threshold")?;
    let (actual, score) = predictions::read_binary(work)?;
    let found = metrics::binary(&actual, &score, threshold);
    let count = |n: u64| Some(n as f64);
    let values = [
        found.auc,
        found.average_precision,
        found.log_loss,
        found.brier,
        found.precision,
        found.recall,
        found.f1,
        found.accuracy,
        found.ece,
        count(found.tp),
        count(found.fp),
        count(found.tn),
        count(found.fn_),
        count(found.tp + found.fn_),
        count(actual.len() as u64),
        Some(threshold),
    ];
    let mut report = Report::default();
    report.metrics.extend(METRICS.into_iter().map(str::to_owned).zip(values));
    report.extras.insert("bins".into(), found.bins.iter().map(bin).collect());
    predictions::write(work, &report)
}

fn bin(bin: &Bin) -> Json {
    let Bin { low, high, rows, positives, mean_score } = bin;
    json!({ "low": low, "high": high, "rows": rows, "positives": positives, "mean_score": mean_score })
}
