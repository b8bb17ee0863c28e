//! Models and predictions as files: what is stored, and that it predicts.

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::Float64Type;
use mlp_artifact::model;
use mlp_model::{Scalar, Value};
use tempfile::TempDir;

use crate::data::*;

/// Trains on the whole table with `net` and predicts it, keeping two columns.
fn round_trip(target: &str, net: Value, actual: Scalar) -> (RecordBatch, TempDir) {
    let folder = TempDir::new().unwrap();
    let data = write_table(folder.path(), "data", &table());
    let step = train_step(folder.path(), data.clone(), target, net);
    let step = set(set(step, "lr", Value::Float(0.02)), "batch", Value::Int(32));
    let step = predict_step(folder.path(), make(&step), data, &["plan", "spent"], Some(actual));
    (read_table(&make(&step)), folder)
}

#[test]
fn a_binary_model_predicts_probabilities_through_its_file() {
    let (predictions, _folder) = round_trip("churned", perceptron(&[16, 8], 0.1), Scalar::Bool);
    let names: Vec<&str> = predictions.schema_ref().fields().iter().map(|field| field.name().as_str()).collect();
    assert_eq!(names, ["plan", "spent", "actual", "score"]);
    assert_eq!(predictions.column(0).as_string::<i32>().value(1), "über");
    assert_close(predictions.column(1).as_primitive::<Float64Type>().values(), &spent(), 0.0);
    let actual = predictions.column(2).as_boolean();
    let scores = column(&predictions, "score");
    assert!(scores.iter().all(|score| (0.0..=1.0).contains(score)));
    let n_right = scores.iter().zip(actual).filter(|(score, actual)| (**score > 0.5) == actual.unwrap()).count();
    assert_eq!(actual.iter().flatten().collect::<Vec<bool>>(), churned());
    assert!(n_right > 200, "{n_right} of {N_ROWS} right");
}

#[test]
fn a_regression_predicts_in_the_unit_of_the_target() {
    let mean = spent().iter().sum::<f64>() / N_ROWS as f64;
    let spread = spent().iter().map(|value| (value - mean).abs()).sum::<f64>();
    for net in [linear(1.0), perceptron(&[16], 0.0)] {
        let (predictions, _folder) = round_trip("spent", net, Scalar::Float);
        assert_close(&column(&predictions, "actual"), &spent(), 0.0);
        let errors = column(&predictions, "score")
            .iter()
            .zip(spent())
            .map(|(score, actual)| (score - actual).abs())
            .sum::<f64>();
        assert!(errors < 0.15 * spread, "{errors} of {spread}");
    }
}

#[test]
fn a_model_file_holds_pytorchs_names_and_a_card() {
    let folder = TempDir::new().unwrap();
    let data = write_table(folder.path(), "data", &table());
    let path = make(&train_step(folder.path(), data, "churned", perceptron(&[16, 8], 0.1)));
    let (card, tensors) = model::read(&path, std::fs::metadata(&path).unwrap().len()).unwrap();
    let shapes: Vec<(&str, &[usize])> = tensors.iter().map(|(name, tensor)| (name.as_str(), &*tensor.shape)).collect();
    assert_eq!(
        shapes,
        [
            ("layers.0.bias", &[16][..]),
            ("layers.0.weight", &[16, 10]),
            ("layers.1.bias", &[8]),
            ("layers.1.weight", &[8, 16]),
            ("layers.2.bias", &[1]),
            ("layers.2.weight", &[1, 8]),
        ]
    );
    assert_eq!(card.positive, Some(Value::Bool(true)));
    assert_eq!(card.net, perceptron(&[16, 8], 0.1));
    assert_eq!(card.encoding.iter().map(|encoded| encoded.column.as_str()).collect::<Vec<_>>(), FEATURES);
}

#[test]
fn prediction_needs_neither_target_nor_known_categories() {
    let folder = TempDir::new().unwrap();
    let data = write_table(folder.path(), "data", &table());
    let model = make(&train_step(folder.path(), data, "churned", logistic(1.0)));
    let rows = vec![
        ("region", strs([Some("n"), Some("mars"), None])),
        ("member", bools([Some(true), None, Some(false)])),
        ("plan", strs([Some("plus"), Some("plus"), Some("gone")])),
        ("visits", ints([Some(3), Some(3), None])),
        ("amount", floats([Some(1.5), None, Some(2.5)])),
    ];
    let later = write_table(folder.path(), "later", &rows);
    let outcome = run(&predict_step(folder.path(), model, later, &[], None)).unwrap();
    let predictions = read_table(&outcome.outputs["out"].path);
    assert_eq!((predictions.num_columns(), predictions.num_rows()), (1, 3));
    let expected = [("rows", 3.0), ("unseen.plan", 1.0), ("unseen.region", 1.0)];
    assert_eq!(outcome.facts, expected.map(|(name, number)| (name.to_owned(), number)).into());
}

#[test]
fn the_score_is_the_probability_of_the_positive_value() {
    let words = |churned: bool| if churned { "gone" } else { "here" };
    let columns = with(table(), "churned", strs(churned().into_iter().map(words)));
    let folder = TempDir::new().unwrap();
    let data = write_table(folder.path(), "data", &columns);
    let scores = |positive: &str| {
        let step = train_step(folder.path(), data.clone(), "churned", logistic(1.0));
        let model = make(&set(step, "positive", Value::Str(positive.into())));
        let step = predict_step(folder.path(), model, data.clone(), &[], Some(Scalar::Bool));
        let predictions = read_table(&make(&step));
        let actual: Vec<bool> = predictions.column(0).as_boolean().iter().flatten().collect();
        (column(&predictions, "score"), actual)
    };
    let (gone, actual) = scores("gone");
    assert_eq!(actual, churned());
    let (here, _) = scores("here");
    assert_close(&gone, &here.iter().map(|score| 1.0 - score).collect::<Vec<_>>(), 1e-6);
}

#[test]
fn long_tables_are_predicted_batch_by_batch() {
    let folder = TempDir::new().unwrap();
    let data = write_table(folder.path(), "data", &table());
    let model = make(&train_step(folder.path(), data.clone(), "churned", perceptron(&[4], 0.0)));
    let once = column(&read_table(&make(&predict_step(folder.path(), model.clone(), data, &[], None))), "score");

    let n_copies = 300;
    let long: Vec<Named> = features()
        .into_iter()
        .map(|(name, array)| {
            let copies: Vec<&dyn arrow::array::Array> = vec![&*array; n_copies];
            (name, arrow::compute::concat(&copies).unwrap())
        })
        .collect();
    let data = write_table(folder.path(), "long", &long);
    let told = Told::default();
    let step = predict_step(folder.path(), model, data, &[], None);
    let outcome = mlp_torch::execute(&step, &told).unwrap();
    let scores = column(&read_table(&outcome.outputs["out"].path), "score");
    assert_close(&scores, &once.repeat(n_copies), 1e-6);
    assert_eq!(told.progress.take().iter().map(|progress| progress.done).collect::<Vec<_>>(), [65_536, 72_000]);
}
