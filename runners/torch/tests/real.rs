//! The churn data that ships with the reference pipeline: the figures of scikit-learn on real rows.

use std::path::Path;

use mlp_model::{Scalar, Value};
use tempfile::TempDir;

use crate::convex::{auc, log_loss};
use crate::data::*;

const CATEGORIES: [&str; 14] = [
    "Partner",
    "Dependents",
    "PhoneService",
    "MultipleLines",
    "InternetService",
    "OnlineSecurity",
    "OnlineBackup",
    "DeviceProtection",
    "TechSupport",
    "StreamingTV",
    "StreamingMovies",
    "Contract",
    "PaperlessBilling",
    "PaymentMethod",
];
const NUMBERS: [&str; 4] = ["SeniorCitizen", "tenure", "MonthlyCharges", "TotalCharges"];

/// Rows with number `i % 5 == 4`, or the others. A blank `TotalCharges` is 0: nothing has been charged yet.
fn telco(test: bool) -> Vec<Named> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../pipelines/churn/data/telco.csv");
    let mut reader = csv::Reader::from_path(path).unwrap();
    let header = reader.headers().unwrap().clone();
    let rows: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
    let rows: Vec<csv::StringRecord> =
        rows.into_iter().enumerate().filter(|(i, _)| (i % 5 == 4) == test).map(|(_, row)| row).collect();
    let cells = |name: &str| -> Vec<String> {
        let place = header.iter().position(|column| column == name).unwrap();
        rows.iter().map(|row| row[place].trim().to_owned()).collect()
    };
    let mut columns = Vec::new();
    for name in NUMBERS {
        columns.push((name, floats(cells(name).iter().map(|cell| cell.parse::<f64>().unwrap_or(0.0)))));
    }
    for name in CATEGORIES {
        columns.push((name, strs(cells(name).iter().map(String::as_str))));
    }
    columns.push(("Churn", bools(cells("Churn").iter().map(|cell| cell == "Yes"))));
    columns
}

/// Trains, predicts the test rows, and returns AUC and log loss.
fn churn(net: Value, settings: &[(&str, Value)]) -> (f64, f64) {
    let folder = TempDir::new().unwrap();
    let train = write_table(folder.path(), "train", &telco(false));
    let test = write_table(folder.path(), "test", &telco(true));
    let mut step = train_step(folder.path(), train, "Churn", net);
    step = set(step, "features", names(&[&NUMBERS[..], &CATEGORIES].concat()));
    for (name, value) in settings {
        step = set(step, name, value.clone());
    }
    let step = predict_step(folder.path(), make(&step), test, &[], Some(Scalar::Float));
    let predictions = read_table(&make(&step));
    let actual: Vec<bool> = column(&predictions, "actual").iter().map(|number| *number == 1.0).collect();
    let scores = column(&predictions, "score");
    (auc(&scores, &actual), log_loss(&scores, &actual))
}

#[test]
fn logistic_regression_of_churn_has_scikit_learns_figures() {
    let (auc, log_loss) = churn(logistic(1.0), &[]);
    assert_close(&[auc, log_loss], &[0.8374, 0.4307], 0.001);
}
