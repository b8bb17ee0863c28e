//! Real Python transforms, built by componentize-py and run by wasmtime.

mod support;

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Date32Array, Decimal128Array, DurationMillisecondArray, Float64Array,
    Int64Array, StringArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{Float64Type, Int64Type};
use mlp_model::{Column, ErrorClass, Scalar, Value};
use support::{Bench, Told, fixture};

/// More than one batch.
const N_ROWS: usize = 65_536 + 10;

#[test]
fn columns_are_replaced_in_place_or_added_and_others_pass_untouched() {
    let bench = Bench::modes("good", N_ROWS);
    let told = Told::default();
    let outcome = bench.execute(&told).unwrap();
    assert_eq!(outcome.facts["rows"], N_ROWS as f64);
    assert_eq!(outcome.outputs["out"].path, bench.out());
    let result = bench.result();
    let names: Vec<_> = result.columns().iter().map(|column| column.name.as_str()).collect();
    assert_eq!(names, ["id", "x", "word"]);
    let mut row = 0;
    for batch in result.batches() {
        let batch = batch.unwrap();
        let (ids, x) = (batch.column(0).as_primitive::<Int64Type>(), batch.column(1).as_primitive::<Float64Type>());
        for i in 0..batch.num_rows() {
            assert_eq!(ids.value(i), row);
            assert_eq!(x.is_valid(i).then(|| x.value(i)), (row % 7 != 3).then_some(row as f64 / 2.0), "row {row}");
            row += 1;
        }
    }
    assert_eq!(row, N_ROWS as i64);
    let done: Vec<_> = told.progress.lock().unwrap().iter().map(|progress| (progress.done, progress.total)).collect();
    assert_eq!(done, [(65_536, Some(N_ROWS as u64)), (N_ROWS as u64, Some(N_ROWS as u64))]);
}

#[test]
fn the_same_source_gives_the_same_bytes_in_every_build_and_profile() {
    let first = Bench::modes("good", N_ROWS);
    first.execute(&Told::default()).unwrap();
    let again = Bench::modes("good", N_ROWS);
    again.execute(&Told::default()).unwrap();
    assert_eq!(first.out_digest(), again.out_digest());

    // Another build of the same source: orders of sets and random numbers must not come from the machine.
    let mut rebuilt = Bench::modes("good", N_ROWS);
    rebuilt.settings.cache = rebuilt.folder.path().join("cache");
    rebuilt.profile("fast");
    let told = Told::default();
    rebuilt.execute(&told).unwrap();
    assert!(told.text().contains("`modes.py`: building the transform"), "{}", told.text());
    assert_eq!(first.out_digest(), rebuilt.out_digest());

    // And what is built is not built again, even where nothing could build it.
    rebuilt.settings.tools.clear();
    let told = Told::default();
    rebuilt.execute(&told).unwrap();
    assert_eq!(told.text(), "");
}

#[test]
fn every_type_passes_through_python_unchanged_and_so_do_blanks() {
    let optional = |name: &str, scalar| Column { optional: true, ..Column::plain(name, scalar) };
    let money = Scalar::Decimal { precision: 38, scale: 4 };
    let decimals = Decimal128Array::from(vec![Some(10_i128.pow(37)), None, Some(-12_345)]);
    let timestamps = TimestampMicrosecondArray::from(vec![Some(1_763_888_888_123_456), None, Some(-1)]);
    let table: [(Column, ArrayRef); 8] = [
        (optional("int", Scalar::Int), Arc::new(Int64Array::from(vec![Some(i64::MIN), None, Some(i64::MAX)]))),
        (optional("float", Scalar::Float), Arc::new(Float64Array::from(vec![Some(f64::MIN), None, Some(f64::NAN)]))),
        (optional("bool", Scalar::Bool), Arc::new(BooleanArray::from(vec![Some(true), None, Some(false)]))),
        (optional("str", Scalar::Str), Arc::new(StringArray::from(vec![Some("Zoë 🚲\0"), None, Some("")]))),
        (optional("date", Scalar::Date), Arc::new(Date32Array::from(vec![Some(-719_162), None, Some(20_000)]))),
        (optional("timestamp", Scalar::Timestamp), Arc::new(timestamps.with_timezone("UTC"))),
        (optional("decimal", money), Arc::new(decimals.with_precision_and_scale(38, 4).unwrap())),
        (
            optional("duration", Scalar::Duration),
            Arc::new(DurationMillisecondArray::from(vec![Some(-1), None, Some(1)])),
        ),
    ];
    let names: Vec<&str> = table.iter().map(|(column, _)| column.name.as_str()).collect();
    let adds = table.iter().map(|(column, _)| Column { name: format!("{}_back", column.name), ..column.clone() });
    let mut bench = Bench::new(&fixture("types.py"), &table, &names, adds.collect());
    for (name, value) in [
        ("text", Value::Str("ä".into())),
        ("number", Value::Float(0.5)),
        ("whole", Value::Int(-3)),
        ("truth", Value::Bool(true)),
        ("nothing", Value::Null),
    ] {
        bench.param(name, value);
    }
    bench.execute(&Told::default()).unwrap();
    let result = bench.result().batches().next().unwrap().unwrap();
    for (i, name) in names.iter().enumerate() {
        assert_eq!(result.column(i), result.column(i + names.len()), "{name}");
    }
}

#[test]
fn what_goes_wrong_in_a_transform_is_told_with_its_place_and_a_way_out() {
    use ErrorClass::{Data, Step, User};
    for (mode, at, class, row, message) in [
        ("fails", 5, Step, None, "`modes.py` failed: ValueError: could not convert string to float: 'abc 1.25'"),
        ("refuses", 5, Data, Some(6), "`modes.py` refuses row 6: x is out of this world"),
        ("lists", 0, Step, None, "the transform returned a `list`, not a dict of columns"),
        ("fewer", 0, Step, None, "column `word` has 1 values for 20 rows"),
        ("other", 0, Step, None, "the transform returned column `extra`, but declares `x`, `word` alone"),
        ("misses", 0, Step, None, "the transform did not return column `word`, which it declares"),
        ("wrong_type", 2, Step, Some(3), "column `word` holds an `int`, but is declared `str` in row 3"),
        ("blank", 4, Step, Some(5), "column `word` is blank in row 5, but is declared `str`"),
        ("surrogate", 0, Step, Some(1), "a value of column `word` has a lone surrogate, which is no text in row 1"),
        ("rule", 0, Step, Some(1), "value -1000000000.0 of column `x` breaks the rule `>= -100`, in row 1 (20 rows"),
        ("unknown_column", 0, User, None, "asks for column `y`, which it is not given; it has `x`"),
        ("clock", 0, Step, None, "the transform was stopped: it did what it cannot do"),
        ("told_clock", 0, Step, None, "NotInTheSandbox: a transform has no clock"),
        ("files", 0, Step, None, "NotInTheSandbox: a transform has no files"),
        ("entropy", 0, Step, None, "NotInTheSandbox: a transform has no randomness"),
        ("recursion", 0, Step, None, "RecursionError"),
        ("memory", 0, Step, None, "the transform needs more than its 1024 MiB of memory"),
    ] {
        let mut bench = Bench::modes(mode, 20);
        bench.param("at", Value::Int(at));
        let error = bench.error();
        assert!(error.message.contains(message), "{mode}: {error:#?}");
        assert_eq!((error.class, error.row), (class, row), "{mode}: {error:#?}");
        assert!(error.help.is_some_and(|help| !help.is_empty()), "{mode}");
    }
}

#[test]
fn an_exception_comes_with_the_users_own_lines() {
    let error = Bench::modes("fails", 20).error();
    let source = std::fs::read_to_string(fixture("modes.py")).unwrap();
    let line_of = |code: &str| source.lines().position(|line| line.contains(code)).unwrap() + 1;
    let place = |code: &str, function: &str| {
        [format!("`modes.py`, line {}, in `{function}`", line_of(code)), format!("    {code}")]
    };
    let expected = [
        place("return MODES[mode](t, at, by)", "modes"),
        place("return helper(t[\"x\"], at)", "fails"),
        place("return float(f\"abc {values[at]}\")", "helper"),
    ];
    assert_eq!(error.detail, expected.concat());
}

#[test]
fn rows_are_those_of_the_table_in_every_batch() {
    let mut bench = Bench::modes("refuses", 65_536 + 70_000);
    // The third batch alone is shorter than this.
    bench.param("at", Value::Int(65_535));
    assert_eq!(bench.error().row, Some(65_536));
    let bench = Bench::modes("blank", N_ROWS);
    assert_eq!(bench.error().row, Some(1));
}

#[test]
fn an_endless_loop_runs_out_of_fuel() {
    let mut bench = Bench::modes("loop", 20);
    bench.settings.limits.fuel_per_batch = 3_000_000_000;
    let error = bench.error();
    assert_eq!((error.class, error.code.as_str()), (ErrorClass::Step, "W3206"), "{error:#?}");
    assert!(error.help.unwrap().contains("profile: fast"));
}

#[test]
fn a_result_that_is_too_large_is_refused() {
    let mut bench = Bench::modes("text_bomb", 100);
    bench.settings.limits.result_bytes = 50 << 20;
    assert_eq!(bench.error().message, "the transform returned more than 50 MiB for one batch");
}

#[test]
fn what_a_transform_prints_is_shown_but_not_where_columns_are_personal() {
    let mut bench = Bench::modes("prints", 20);
    let told = Told::default();
    bench.execute(&told).unwrap();
    assert!(told.text().ends_with("seen 20 rows [2J\nby 2.0"), "{:?}", told.text());

    bench.mark_personal("x");
    let told = Told::default();
    bench.execute(&told).unwrap();
    assert!(told.text().ends_with("2 printed lines are not shown, because column `x` is personal"), "{}", told.text());
    bench.param("mode", Value::Str("fails".into()));
    let error = bench.error();
    assert_eq!(error.message, "`modes.py` failed: ValueError");
    assert!(!format!("{error:?}").contains("abc 0.0"), "{error:#?}");
}

#[test]
fn parameters_that_the_function_does_not_take_are_refused() {
    let mut bench = Bench::modes("good", 3);
    bench.param("months", Value::Int(12));
    let error = bench.error();
    assert_eq!(error.class, ErrorClass::User);
    assert!(error.message.contains("has no parameter `months`; it has `mode`, `at`, `by`"), "{error}");
}

#[test]
fn a_table_without_rows_gives_one_without_rows() {
    let bench = Bench::modes("fails", 0);
    bench.execute(&Told::default()).unwrap();
    assert_eq!((bench.result().n_rows(), bench.result().columns().len()), (0, 3));
}

#[test]
fn a_source_that_cannot_be_loaded_is_told_with_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let broken = folder.path().join("broken.py");
    for (source, message, detail) in [
        ("from mlp import transform\n\n@transform\ndef clean(t:\n    return {}\n", "SyntaxError", "line 4"),
        ("import numpy\n", "ModuleNotFoundError: No module named 'numpy'", "import numpy"),
        ("def clean(t):\n    return {}\n", "`broken.py` is no transform: the file has no function marked", ""),
    ] {
        std::fs::write(&broken, source).unwrap();
        let mut bench = Bench::modes("good", 3);
        bench.step.inputs.get_mut("source").unwrap().path = broken.clone();
        bench.step.inputs.get_mut("source").unwrap().shown = "broken.py".into();
        bench.settings.cache = folder.path().join("cache");
        let error = bench.error();
        assert_eq!((error.class, error.code.as_str()), (ErrorClass::User, "W3201"), "{error:#?}");
        assert!(error.message.contains(message), "{error:#?}");
        assert!(error.detail.join("\n").contains(detail), "{error:#?}");
        assert!(error.help.is_some());
    }
}
