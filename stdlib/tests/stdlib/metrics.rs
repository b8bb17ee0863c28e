//! Metrics against the values of scikit-learn in `tests/reference/metrics.json`; tolerance 1e-12.

use mlp_stdlib::metrics::{binary, regression};
use serde_json::Value as Json;

use crate::support::weyl;

const TOLERANCE: f64 = 1e-12;

fn reference() -> Json {
    serde_json::from_str(include_str!("../reference/metrics.json")).unwrap()
}

/// Compares measured values with those of case `name`, which must have no others.
fn check(reference: &Json, name: &str, measured: &[(&str, Option<f64>)]) {
    let expected = reference[name].as_object().unwrap_or_else(|| panic!("no case {name:?}"));
    assert_eq!(expected.len(), measured.len(), "{name}");
    for (metric, value) in measured {
        let expected = expected[*metric].as_f64();
        let near = match (*value, expected) {
            (Some(value), Some(expected)) => (value - expected).abs() <= TOLERANCE * expected.abs().max(1.0),
            (value, expected) => value == expected,
        };
        assert!(near, "{name}: {metric} is {value:?}, scikit-learn has {expected:?}");
    }
}

fn check_binary(name: &str, actual: &[bool], score: &[f64], threshold: f64) {
    let found = binary(actual, score, threshold);
    let count = |n: u64| Some(n as f64);
    let measured = [
        ("auc", found.auc),
        ("average_precision", found.average_precision),
        ("log_loss", found.log_loss),
        ("brier", found.brier),
        ("precision", found.precision),
        ("recall", found.recall),
        ("f1", found.f1),
        ("accuracy", found.accuracy),
        ("ece", found.ece),
        ("tp", count(found.tp)),
        ("fp", count(found.fp)),
        ("tn", count(found.tn)),
        ("fn", count(found.fn_)),
    ];
    check(&reference()["binary"], name, &measured);
}

/// Outcomes that grow with `score`, as the script has them.
fn labels(score: &[f64]) -> Vec<bool> {
    score.iter().zip(weyl(score.len(), 7.0)).map(|(s, u)| u < 0.15 + 0.7 * s * s.sqrt()).collect()
}

fn map(values: &[f64], f: impl Fn(f64) -> f64) -> Vec<f64> {
    values.iter().map(|x| f(*x)).collect()
}

#[test]
fn binary_metrics_are_those_of_scikit_learn() {
    let score = weyl(600, 1.0);
    check_binary("plain", &labels(&score), &score, 0.5);
    check_binary("threshold 0.8", &labels(&score), &score, 0.8);
    let score = map(&weyl(1000, 1.0), |u| (u * 20.0).floor() / 20.0);
    check_binary("ties on bin edges", &labels(&score), &score, 0.5);
    check_binary("one score", &labels(&weyl(50, 1.0)), &[0.25; 50], 0.5);
    let score = weyl(90_001, 3.0);
    check_binary("long", &labels(&score), &score, 0.3);
    let score = map(&weyl(40, 1.0), |u| (u * 2.0).floor());
    check_binary("certain", &labels(&weyl(40, 1.0)), &score, 0.5);
    let score = weyl(30, 1.0);
    check_binary("all positive", &[true; 30], &score, 0.5);
    check_binary("all negative", &[false; 30], &score, 0.5);
    check_binary("none predicted positive", &labels(&score), &map(&score, |u| u * 0.4), 0.5);
    let actual = labels(&score);
    let score: Vec<f64> = actual.iter().map(|positive| 0.1 + 0.8 * f64::from(u8::from(*positive))).collect();
    check_binary("perfect", &actual, &score, 0.5);
}

fn check_regression(name: &str, actual: &[f64], predicted: &[f64]) {
    let found = regression(actual, predicted);
    let measured = [
        ("mae", found.mae),
        ("rmse", found.rmse),
        ("r2", found.r2),
        ("medae", found.medae),
        ("max_error", found.max_error),
        ("mape", found.mape),
    ];
    check(&reference()["regression"], name, &measured);
}

#[test]
fn regression_metrics_are_those_of_scikit_learn() {
    let add = |a: &[f64], b: Vec<f64>| -> Vec<f64> { a.iter().zip(b).map(|(a, b)| a + b).collect() };
    let actual = map(&weyl(600, 3.0), |u| 5.0 + 10.0 * u);
    let noise = weyl(600, 5.0);
    let predicted: Vec<f64> = actual.iter().zip(noise).map(|(y, u)| y + 2.0 * (u - 0.5) + 0.3).collect();
    check_regression("plain", &actual, &predicted);
    check_regression("odd number", &actual[..599], &map(&actual[..599], |y| y * 1.5));
    let actual = map(&weyl(90_001, 3.0), |u| 1e9 + u);
    check_regression("far from zero", &actual, &add(&actual, weyl(90_001, 5.0)));
    let actual = map(&weyl(100, 1.0), |u| u - 0.5);
    check_regression("both signs", &actual, &map(&actual, |y| -y));
    check_regression("constant target", &[3.0; 100], &map(&weyl(100, 1.0), |u| 3.0 + u));
    check_regression("one row", &[2.0], &[2.5]);
    let actual = map(&weyl(100, 1.0), |u| (10.0 * u).floor());
    check_regression("zeros in the target", &actual, &add(&actual, weyl(100, 5.0)));
}
