//! `eval.regression`: how far predicted numbers are from what happened.

use std::sync::LazyLock;

use mlp_artifact::report::Report;
use mlp_model::{ArgError, CheckedCall, Inferred, Outcome, ReportType, Shared, Signature, StepError, Task, Type};

use crate::builtin::Work;
use crate::declare::{Operation, one_output};
use crate::metrics;
use crate::predictions::{self, on_train_argument, predictions_argument};

/// The metrics of the report, in the order in which people read them.
pub(crate) const METRICS: [&str; 7] = ["mae", "rmse", "r2", "medae", "max_error", "mape", "rows"];

/// The same for every call.
static REPORT: LazyLock<Shared<ReportType>> =
    LazyLock::new(|| ReportType { metrics: METRICS.map(str::to_owned).into() }.into());

pub(crate) fn signature() -> Signature {
    Operation {
        name: "eval.regression",
        version: 1,
        runner: "builtin",
        doc: "
Measures how well a model predicts a number.

The rows of `data` are scored by `model` first (as step `NAME.predictions`).

In the unit of the target: `mae` (mean absolute error), `rmse` (root of the mean squared error), `medae` (median
absolute error), `max_error`. Without unit: `r2` (share of the variance that is explained), `mape` (mean of
|error| / |actual|; 0.1 is 10 %). Besides `rows`.

A metric that these rows cannot tell is null, not 0, and a gate that needs it refuses: `r2` with fewer than two rows or
a target that does not vary, `mape` when an actual value is 0, all without rows.

Values are those of scikit-learn 1.9 to 1e-12.

    step quality = eval.regression(model, parts.test)

Errors: a model for classes; rows without the target; rows that a model was trained on, unless `on_train: true`; at run
time a blank or infinite target, a score that is no finite number (by row).
",
        args: vec![predictions_argument(), on_train_argument()],
    }
    .step(infer)
}

fn infer(call: &CheckedCall<'_>) -> Result<Inferred, Vec<ArgError>> {
    predictions::check_task(call, Task::Regression, "eval.regression")?;
    Ok(one_output(Type::Report(REPORT.clone())))
}

pub(crate) fn run(work: &Work<'_>) -> Result<Outcome, StepError> {
    let (actual, score) = predictions::read_regression(work)?;
    let found = metrics::regression(&actual, &score);
    let rows = Some(actual.len() as f64);
    let values = [found.mae, found.rmse, found.r2, found.medae, found.max_error, found.mape, rows];
    let mut report = Report::default();
    report.metrics.extend(METRICS.into_iter().map(str::to_owned).zip(values));
    predictions::write(work, &report)
}
