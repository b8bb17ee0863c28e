//! Logistic and linear regression against scikit-learn.

use mlp_artifact::model;
use mlp_model::Scalar;
use tempfile::TempDir;

use crate::data::*;

/// Trains, and returns the weights and the bias.
fn solve(target: &str, net: mlp_model::Value) -> (Vec<f64>, f64, TempDir, std::path::PathBuf) {
    let folder = TempDir::new().unwrap();
    let data = write_table(folder.path(), "data", &table());
    let path = make(&train_step(folder.path(), data, target, net));
    let (_, tensors) = model::read(&path, std::fs::metadata(&path).unwrap().len()).unwrap();
    assert_eq!(tensors["layers.0.weight"].shape, [1, 10]);
    let weights = tensors["layers.0.weight"].data.iter().map(|weight| f64::from(*weight)).collect();
    let bias = f64::from(tensors["layers.0.bias"].data[0]);
    (weights, bias, folder, path)
}

#[test]
fn logistic_regression_equals_scikit_learn() {
    for case in reference().logistic {
        let (weights, bias, folder, path) = solve("churned", logistic(case.c));
        assert_close(&weights, &case.weights, 1e-6);
        assert_close(&[bias], &[case.bias], 1e-6);

        let data = write_table(folder.path(), "data", &table());
        let scores = column(&read_table(&make(&predict_step(folder.path(), path, data, &[], None))), "score");
        assert_close(&[auc(&scores, &churned())], &[case.auc], 1e-6);
        assert_close(&[log_loss(&scores, &churned())], &[case.log_loss], 1e-6);
    }
}

#[test]
fn linear_regression_equals_scikit_learn() {
    for case in reference().linear {
        let (weights, bias, ..) = solve("spent", linear(case.l2));
        assert_close(&weights, &case.weights, 1e-6);
        assert_close(&[bias], &[case.bias], 1e-6);
    }
}

#[test]
fn wide_problems_are_solved_without_the_matrix() {
    // One category a row: more columns than the Newton matrix is formed for.
    let n = 4_200;
    let names: Vec<String> = (0..n).map(|i| format!("c{:04}", i % 4_150)).collect();
    let columns = vec![
        ("name", strs(names.iter().map(String::as_str))),
        ("x", floats((0..n).map(|i| (i as f64).sin()))),
        ("churned", bools((0..n).map(|i| (i as f64).sin() + (i as f64 * 0.3).cos() > 0.2))),
    ];
    let folder = TempDir::new().unwrap();
    let data = write_table(folder.path(), "data", &columns);
    let step =
        set(train_step(folder.path(), data, "churned", logistic(0.5)), "features", crate::data::names(&["name", "x"]));
    let told = Told::default();
    let outcome = mlp_torch::execute(&step, &told).unwrap();
    assert_eq!(outcome.facts["features"], 4_151.0);
    assert!(told.lines.borrow().is_empty(), "{:?}", told.lines.borrow());

    // At the optimum the gradient of the intercept is 0: the mean score equals the rate of positives.
    let data = write_table(folder.path(), "data", &columns);
    let path = outcome.outputs["out"].path.clone();
    let predictions = read_table(&make(&predict_step(folder.path(), path, data, &[], Some(Scalar::Float))));
    let mean = |name: &str| column(&predictions, name).iter().sum::<f64>() / f64::from(n);
    assert_close(&[mean("score")], &[mean("actual")], 1e-6);
}

#[test]
fn too_few_iterations_are_told() {
    let folder = TempDir::new().unwrap();
    let data = write_table(folder.path(), "data", &table());
    let step = set(train_step(folder.path(), data, "churned", logistic(1.0)), "epochs", mlp_model::Value::Int(1));
    let told = Told::default();
    let outcome = mlp_torch::execute(&step, &told).unwrap();
    assert_eq!(outcome.facts["epochs"], 1.0);
    assert_eq!(told.lines.take(), ["not at the optimum after 1 iterations: raise `epochs`"]);
}

/// The probability that a positive row scores higher than a negative one.
pub fn auc(scores: &[f64], actual: &[bool]) -> f64 {
    let (mut won, mut pairs) = (0.0, 0.0);
    for (positive, _) in scores.iter().zip(actual).filter(|(_, actual)| **actual) {
        for (negative, _) in scores.iter().zip(actual).filter(|(_, actual)| !**actual) {
            pairs += 1.0;
            won += if positive > negative {
                1.0
            } else if positive == negative {
                0.5
            } else {
                0.0
            };
        }
    }
    won / pairs
}

pub fn log_loss(scores: &[f64], actual: &[bool]) -> f64 {
    let losses = scores.iter().zip(actual).map(|(score, actual)| -if *actual { *score } else { 1.0 - score }.ln());
    losses.sum::<f64>() / scores.len() as f64
}
