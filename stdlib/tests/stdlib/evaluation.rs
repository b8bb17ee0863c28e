//! The evaluations from a table of predictions to a report.

use std::fs;

use mlp_artifact::report::Report;
use mlp_model::{ArtifactKind, ErrorClass, Outcome, StepError, Value};
use mlp_stdlib::metrics;
use serde_json::json;

use crate::support::{Bench, Cells, weyl};

fn evaluate(op: &str, actual: Cells, score: Vec<Option<f64>>) -> Result<(Outcome, Report), StepError> {
    let params = [("threshold", Value::Float(0.5)), ("on_train", Value::Bool(false))];
    let kept = Cells::ints(0..score.len() as i64);
    let columns = [("kept", kept), ("actual", actual), ("score", Cells::Float(score))];
    let bench = Bench::new(op, &params).table("predictions", &columns);
    bench.run().map(|outcome| {
        assert_eq!(outcome.outputs["out"].kind, ArtifactKind::Report);
        let report = Report::parse(&fs::read(&outcome.outputs["out"].path).unwrap()).unwrap();
        (outcome, report)
    })
}

fn some<T>(values: impl IntoIterator<Item = T>) -> Vec<Option<T>> {
    values.into_iter().map(Some).collect()
}

#[test]
fn a_report_holds_every_metric_and_the_bins() {
    let actual = Cells::Bool(some([true, false, true, false]));
    let (outcome, report) = evaluate("eval.binary", actual, some([0.9, 0.6, 0.3, 0.05])).unwrap();
    let expected = [
        ("accuracy", 0.5),
        ("auc", 0.75),
        ("average_precision", (1.0 + 2.0 / 3.0) / 2.0),
        ("brier", (0.01 + 0.36 + 0.49 + 0.0025) / 4.0),
        ("ece", (0.1 + 0.6 + 0.7 + 0.05) / 4.0),
        ("f1", 0.5),
        ("fn", 1.0),
        ("fp", 1.0),
        ("log_loss", -(0.9f64 * 0.4 * 0.3 * 0.95).ln() / 4.0),
        ("positives", 2.0),
        ("precision", 0.5),
        ("recall", 0.5),
        ("rows", 4.0),
        ("threshold", 0.5),
        ("tn", 1.0),
        ("tp", 1.0),
    ];
    assert!(report.metrics.keys().map(String::as_str).eq(expected.map(|(name, _)| name)));
    for (name, expected) in expected {
        let found = report.metrics[name].unwrap();
        assert!((found - expected).abs() < 1e-12, "{name}: {found} instead of {expected}");
        assert_eq!(outcome.facts[name], found);
    }
    let bins = report.extras["bins"].as_array().unwrap();
    assert_eq!(bins.len(), 10);
    assert_eq!(bins[8], json!({ "low": 0.8, "high": 0.9, "rows": 1, "positives": 1, "mean_score": 0.9 }));
    assert_eq!(bins[9], json!({ "low": 0.9, "high": 1, "rows": 0, "positives": 0, "mean_score": null }));
}

#[test]
fn what_cannot_be_measured_is_null_in_the_report_and_no_fact() {
    let (outcome, report) = evaluate("eval.binary", Cells::Bool(some([false])), some([0.1])).unwrap();
    for name in ["auc", "average_precision", "precision", "recall", "f1"] {
        assert_eq!(report.metrics[name], None, "{name}");
        assert!(!outcome.facts.contains_key(name), "{name}");
    }
    assert_eq!(report.metrics["accuracy"], Some(1.0));
    for (op, actual, rows) in
        [("eval.binary", Cells::Bool(vec![]), 0.0), ("eval.regression", Cells::Float(vec![]), 0.0)]
    {
        let (_, report) = evaluate(op, actual, vec![]).unwrap();
        assert_eq!(report.metrics["rows"], Some(rows));
    }
    let (_, report) = evaluate("eval.regression", Cells::Float(some([0.0, 0.0])), some([1.0, 1.0])).unwrap();
    assert_eq!((report.metrics["r2"], report.metrics["mape"], report.metrics["mae"]), (None, None, Some(1.0)));
}

#[test]
fn a_report_over_several_batches_has_the_metrics_of_all_rows() {
    let (actual, score) = (weyl(140_000, 3.0), weyl(140_000, 5.0));
    let (_, report) = evaluate("eval.regression", Cells::Float(some(actual.clone())), some(score.clone())).unwrap();
    let expected = metrics::regression(&actual, &score);
    assert_eq!(report.metrics["mae"], expected.mae);
    assert_eq!(report.metrics["r2"], expected.r2);
    assert_eq!(report.metrics["rows"], Some(140_000.0));
}

#[test]
fn a_bad_row_is_refused_by_its_number_and_never_by_its_value() {
    let binary = |actual, score| evaluate("eval.binary", Cells::Bool(actual), score).unwrap_err();
    let regression = |actual, score| evaluate("eval.regression", Cells::Float(actual), score).unwrap_err();
    let yes = || vec![Some(true); 3];
    let ones = || some([1.0; 3]);
    let cases = [
        (
            binary(vec![Some(true), None], some([0.5; 2])),
            "D1131",
            2,
            "the target is blank in row 2 of the evaluated table",
        ),
        (
            binary(yes(), vec![Some(0.5), Some(0.5), None]),
            "D1132",
            3,
            "`score` is no probability from 0 to 1 in row 3 of the predictions",
        ),
        (
            binary(yes(), some([1.0, 1.25, 0.0])),
            "D1132",
            2,
            "`score` is no probability from 0 to 1 in row 2 of the predictions",
        ),
        (
            binary(yes(), some([f64::NAN, 0.5, 0.5])),
            "D1132",
            1,
            "`score` is no probability from 0 to 1 in row 1 of the predictions",
        ),
        (regression(vec![None; 3], ones()), "D1131", 1, "the target is blank in row 1 of the evaluated table"),
        (
            regression(some([1.0, f64::INFINITY, 1.0]), ones()),
            "D1132",
            2,
            "`actual` is not a finite number in row 2 of the predictions",
        ),
        (
            regression(ones(), some([1.0, 1.0, f64::NAN])),
            "D1132",
            3,
            "`score` is not a finite number in row 3 of the predictions",
        ),
    ];
    for (error, code, row, message) in cases {
        assert_eq!((error.class, error.code.as_str(), error.row), (ErrorClass::Data, code, Some(row)));
        assert_eq!(error.message, message);
    }
    let mut late = vec![Some(true); 70_000];
    late[65_536] = None;
    assert_eq!(binary(late, vec![Some(0.5); 70_000]).row, Some(65_537));
}
