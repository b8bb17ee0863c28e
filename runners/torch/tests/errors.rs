//! Steps that cannot succeed say why, where and what to do.

use mlp_model::{ErrorClass, StartStep, StepError, Value};
use tempfile::TempDir;

use crate::data::*;

/// Makes a good step bad.
type Edit = fn(StartStep) -> StartStep;

fn fail(columns: &[Named], edit: impl Fn(StartStep) -> StartStep) -> StepError {
    let folder = TempDir::new().unwrap();
    let data = write_table(folder.path(), "customers", columns);
    run(&edit(train_step(folder.path(), data, "churned", perceptron(&[4], 0.0)))).unwrap_err()
}

/// The table without its rows.
fn no_rows() -> Vec<Named> {
    table().into_iter().map(|(name, array)| (name, array.slice(0, 0))).collect()
}

#[test]
fn bad_inputs_are_refused_with_code_message_and_help() {
    let same = |step: StartStep| step;
    let to_linear: Edit = |step| set(step, "net", linear(0.0));
    let blank = churned().into_iter().enumerate().map(|(i, b)| (i != 4).then_some(b));
    let third: Edit = |step| set(step, "positive", Value::Str("gone".into()));
    let cases: [(Vec<Named>, Edit, &str, &str); 12] = [
        (no_rows(), same, "T4101", "there is nothing to learn from: `customers` has no rows"),
        (
            with(table(), "churned", bools([false; N_ROWS])),
            same,
            "T4102",
            "none of the 240 rows have target `churned` = true: there is nothing to tell apart",
        ),
        (
            with(table(), "churned", bools([true; N_ROWS])),
            same,
            "T4102",
            "all of the 240 rows have target `churned` = true: there is nothing to tell apart",
        ),
        (with(table(), "churned", bools(blank)), same, "T4103", "target `churned` is blank in row 5"),
        (table(), |step| set(step, "features", names(&[])), "T4104", "no column is left to learn `churned` from"),
        (
            table(),
            |step| set(step, "features", names(&["amount", "churned"])),
            "T4104",
            "`churned` is both the target and a feature",
        ),
        (table(), |step| set(step, "features", names(&["size"])), "T4109", "the table has no column `size`"),
        (
            with(table(), "churned", ints((0..N_ROWS).map(|i| (i % 3) as i64))),
            same,
            "T4111",
            "target `churned` is neither 0 nor 1 in row 3",
        ),
        (
            with(table(), "churned", strs(["here"; N_ROWS])),
            same,
            "T4111",
            "which value of target `churned` (str) is the positive one?",
        ),
        (
            with(table(), "churned", strs(["here"; N_ROWS])),
            third,
            "T4102",
            "none of the 240 rows have target `churned` = \"gone\": there is nothing to tell apart",
        ),
        (table(), to_linear, "T4201", "this net is for a regression task, but the target makes it binary"),
        (
            table(),
            |step| set(step, "loss", Value::Str("mae".into())),
            "T4201",
            "loss `mae` does not fit a binary target",
        ),
    ];
    for (columns, edit, code, message) in cases {
        let error = fail(&columns, edit);
        assert_eq!((error.code.as_str(), error.message.as_str()), (code, message));
        assert_eq!(error.class, ErrorClass::User);
        assert!(error.argument.is_some(), "{message}");
    }
}

#[test]
fn a_training_that_diverges_names_the_epoch() {
    let error = fail(&table(), |step| set(step, "lr", Value::Float(1e30)));
    assert_eq!((error.class, error.code.as_str()), (ErrorClass::Step, "T4202"));
    assert!(error.message.starts_with("the training diverged: the loss is "), "{error}");
    assert!(error.message.ends_with(" of 30"), "{error}");
    assert_eq!(error.argument.as_deref(), Some("lr"));
}

#[test]
fn a_missing_cuda_device_is_an_error_of_the_environment() {
    // The libtorch that the tests are built with is for the CPU only.
    let error = fail(&table(), |mut step| {
        step.environment.insert("device".into(), "cuda".into());
        step
    });
    assert_eq!((error.class, error.code.as_str()), (ErrorClass::Environment, "T4010"));
    assert!(error.message.contains("is for the CPU only"), "{error}");
}

#[test]
fn a_net_too_large_for_the_memory_says_so() {
    let error = fail(&table(), |step| set(step, "net", perceptron(&[30_000_000, 30_000_000], 0.0)));
    assert_eq!((error.class, error.code.as_str()), (ErrorClass::Step, "T4005"), "{error}");
    assert!(error.help.is_some());
}

#[test]
fn damaged_models_and_tables_are_named() {
    let folder = TempDir::new().unwrap();
    let data = write_table(folder.path(), "customers", &table());
    let model = make(&train_step(folder.path(), data.clone(), "churned", logistic(1.0)));

    let bytes = std::fs::read(&model).unwrap();
    std::fs::write(&model, &bytes[..bytes.len() - 4]).unwrap();
    let error = run(&predict_step(folder.path(), model.clone(), data.clone(), &[], None)).unwrap_err();
    assert!(error.code == "T4001" && error.message.starts_with("cannot read model `model`: "), "{error}");

    std::fs::write(&data.path, b"ARROW1").unwrap();
    let error = run(&train_step(folder.path(), data, "churned", logistic(1.0))).unwrap_err();
    assert!(error.code == "T4001" && error.message.starts_with("cannot read table `customers`: "), "{error}");
}

#[test]
fn a_model_that_does_not_fit_its_own_net_is_refused() {
    let folder = TempDir::new().unwrap();
    let data = write_table(folder.path(), "customers", &table());
    let path = make(&train_step(folder.path(), data.clone(), "churned", perceptron(&[4], 0.0)));
    let (mut card, tensors) = mlp_artifact::model::read(&path, std::fs::metadata(&path).unwrap().len()).unwrap();
    for (net, message) in [
        (
            perceptron(&[5], 0.0),
            "model `model` does not fit its own net: `layers.0.weight` is [4, 10], where [5, 10] is needed",
        ),
        (
            perceptron(&[4, 4], 0.0),
            "model `model` does not fit its own net: `layers.1.weight` is [1, 4], where [4, 4] is needed",
        ),
        (
            logistic(1.0),
            "model `model` does not fit its own net: `layers.0.weight` is [4, 10], where [1, 10] is needed",
        ),
    ] {
        card.net = net;
        mlp_artifact::model::write(&path, &card, &tensors).unwrap();
        let error = run(&predict_step(folder.path(), path.clone(), data.clone(), &[], None)).unwrap_err();
        assert_eq!(error.message, message);
    }
}

#[test]
fn predicted_columns_cannot_be_kept_ones() {
    let folder = TempDir::new().unwrap();
    let columns = with(table(), "score", floats(amount()));
    let data = write_table(folder.path(), "customers", &columns);
    let model = make(&train_step(folder.path(), data.clone(), "churned", logistic(1.0)));
    let error = run(&predict_step(folder.path(), model, data, &["score"], None)).unwrap_err();
    assert_eq!(error.code, "T4112");
}
