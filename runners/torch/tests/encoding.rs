//! Encoding against scikit-learn, and what it does with blanks and values it has not seen.

use mlp_artifact::model::{Encoded, Encoding};
use mlp_torch::encoding::{Encoder, Fitter, MAX_CATEGORIES};
use mlp_torch::fault::Fault;

use crate::data::*;

fn fit(features: &[&str], one_hot: &[&str], columns: &[Named]) -> Result<Vec<Encoded>, Fault> {
    let mut fitter = Fitter::new(features, one_hot, &shapes(columns))?;
    let rows = batch(columns);
    // In two unequal parts, as a long table comes.
    let cut = rows.num_rows() / 3;
    fitter.add(&rows.slice(0, cut), 1)?;
    fitter.add(&rows.slice(cut, rows.num_rows() - cut), cut as u64 + 1)?;
    fitter.finish(rows.num_rows() as u64)
}

fn encode(encoding: &[Encoded], columns: &[Named]) -> (Vec<Vec<f64>>, Encoder) {
    let mut encoder = Encoder::new(encoding, &shapes(columns)).unwrap();
    let rows = batch(columns);
    let width = encoder.width();
    let mut cells = vec![0.0; rows.num_rows() * width];
    encoder.encode(&rows, 1, &mut cells, width).unwrap();
    (cells.chunks(width).map(<[f64]>::to_vec).collect(), encoder)
}

fn code(fault: Fault) -> String {
    match fault {
        Fault::Step(error) => error.code,
        Fault::Torch(error) => panic!("{error}"),
    }
}

#[test]
fn mean_and_deviation_equal_scikit_learn_and_leave_blanks_out() {
    let blank = amount().into_iter().enumerate().map(|(i, amount)| (i % 11 != 5).then_some(amount));
    let columns = with(features(), "amount", floats(blank));
    let expected = reference().encodings;
    let encoding = fit(&["amount", "visits", "member"], &[], &columns).unwrap();
    for (i, encoded) in encoding.iter().enumerate() {
        let Encoding::Scale { fill, mean, std } = encoded.how else { panic!("{encoded:?}") };
        assert_close(&[fill, mean, std], &[expected.mean[i], expected.mean[i], expected.std[i]], 1e-13);
    }
    let (rows, _) = encode(&encoding, &columns);
    assert_eq!(rows[5][0], 0.0, "a blank number is encoded as the mean");
    assert_close(&[rows[6][0]], &[(amount()[6] - expected.mean[0]) / expected.std[0]], 1e-12);
}

#[test]
fn categories_are_sorted_and_what_was_not_seen_is_zero() {
    let seen = vec![("plan", strs([Some("über"), None, Some("Z"), Some("a"), Some("Z")]))];
    let encoding = fit(&["plan"], &[], &seen).unwrap();
    assert_eq!(encoding[0].how, Encoding::OneHot { categories: ["Z", "a", "über"].map(String::from).to_vec() });

    let later = vec![("plan", strs([Some("a"), Some("new"), None, Some("über"), Some("new")]))];
    let (rows, encoder) = encode(&encoding, &later);
    assert_eq!(rows, [[0.0, 1.0, 0.0], [0.0; 3], [0.0; 3], [0.0, 0.0, 1.0], [0.0; 3]]);
    assert_eq!(encoder.unseen().collect::<Vec<_>>(), [("plan", 2)]);
}

#[test]
fn numbers_can_be_categories() {
    let columns = vec![("hour", ints([10, 9, 10])), ("open", bools([true, false, true]))];
    let encoding = fit(&["hour", "open"], &["hour", "open"], &columns).unwrap();
    let categories = |of: &[&str]| Encoding::OneHot { categories: of.iter().map(|text| (*text).into()).collect() };
    assert_eq!(encoding[0].how, categories(&["10", "9"]));
    assert_eq!(encoding[1].how, categories(&["false", "true"]));
    assert_eq!(encode(&encoding, &columns).0[1], [0.0, 1.0, 1.0, 0.0]);
}

#[test]
fn a_constant_column_is_zero_for_every_value() {
    // The mean of 0.1, summed up, is not exactly 0.1.
    let encoding = fit(&["fee"], &[], &[("fee", floats([0.1; 10]))]).unwrap();
    assert_eq!(encoding[0].how, Encoding::Scale { fill: 0.1, mean: 0.1, std: 0.0 });
    assert_eq!(encode(&encoding, &[("fee", floats([Some(0.1), Some(1e9), None]))]).0, [[0.0], [0.0], [0.0]]);
}

#[test]
fn columns_that_cannot_be_encoded_are_refused() {
    let many: Vec<String> = (0..=MAX_CATEGORIES).map(|i| i.to_string()).collect();
    let cases: [(&str, Named, &[&str]); 7] = [
        ("T4105", ("x", floats([1.0, f64::NAN, 2.0])), &[]),
        ("T4105", ("x", floats([f64::NEG_INFINITY, 1.0, 2.0])), &[]),
        ("T4106", ("x", strs(many.iter().map(String::as_str))), &[]),
        ("T4107", ("x", floats([None::<f64>; 3])), &[]),
        ("T4107", ("x", strs([None::<&str>; 3])), &[]),
        ("T4108", ("x", floats([1.0, 2.0, 3.0])), &["x"]),
        ("T4108", ("x", ints([1, 2, 3])), &["y"]),
    ];
    for (expected, column, one_hot) in cases {
        assert_eq!(code(fit(&["x"], one_hot, &[column]).unwrap_err()), expected);
    }
    assert_eq!(code(fit(&["y"], &[], &[("x", ints([1]))]).unwrap_err()), "T4109");
}

#[test]
fn a_bad_number_is_named_by_its_row_and_not_by_its_value() {
    let mut values = vec![1.0; 9];
    values[7] = f64::INFINITY;
    let Fault::Step(error) = fit(&["x"], &[], &[("x", floats(values))]).unwrap_err() else { panic!() };
    assert_eq!(error.message, "`x` is infinite in row 8");
    assert_eq!((error.row, error.column.as_deref()), (Some(8), Some("x")));
}

#[test]
fn a_table_that_does_not_fit_the_model_is_refused() {
    let encoding = fit(&["plan", "x"], &[], &[("plan", strs(["a", "b"])), ("x", ints([1, 2]))]).unwrap();
    let refuse = |columns: &[Named]| match Encoder::new(&encoding, &shapes(columns)) {
        Err(Fault::Step(error)) => (error.code, error.message),
        _ => panic!("not refused"),
    };
    let (refused, message) = refuse(&[("plan", strs(["a"]))]);
    assert_eq!((refused.as_str(), message.as_str()), ("T4109", "the table has no column `x`"));
    let (refused, message) = refuse(&[("plan", strs(["a"])), ("x", strs(["1"]))]);
    assert_eq!((refused.as_str(), message.as_str()), ("T4110", "column `x` is str, but the model was trained on int"));

    let nothing = Encoded { how: Encoding::OneHot { categories: Vec::new() }, ..encoding[0].clone() };
    assert_eq!(code(Encoder::new(&[nothing], &shapes(&[("plan", strs(["a"]))])).err().unwrap()), "T4104");
}
