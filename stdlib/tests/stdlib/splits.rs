//! The splits over table files: which rows go where.

use mlp_model::{ErrorClass, Outcome, StepError, Value};

use crate::support::{Bench, Cells, ints, text};

/// The rows of each part of a table of `n` rows, by their number from 0, with further columns.
fn split(
    op: &str,
    params: &[(&str, Value)],
    n: i64,
    more: Vec<(&'static str, Cells)>,
) -> Result<[Vec<i64>; 2], StepError> {
    let mut columns = vec![("row", Cells::ints(0..n))];
    columns.extend(more);
    let bench = Bench::new(op, params).table("data", &columns);
    bench.run().map(|outcome| {
        let [train, test] = parts(&outcome);
        let facts = ["rows", "columns", "train_rows", "test_rows"].map(|name| outcome.facts[name]);
        assert_eq!(facts, [n as f64, columns.len() as f64, train.len() as f64, test.len() as f64]);
        [train, test]
    })
}

fn parts(outcome: &Outcome) -> [Vec<i64>; 2] {
    ["train", "test"].map(|part| ints(outcome, part, "row").into_iter().flatten().collect())
}

fn by_chance(n: i64, test: f64, seed: i64) -> [Vec<i64>; 2] {
    split("table.split", &[("test", Value::Float(test)), ("seed", Value::Int(seed))], n, vec![]).unwrap()
}

#[test]
fn the_test_rows_are_those_of_the_documented_draws() {
    // From an independent SplitMix64 in Python: the ten smallest of 40 draws.
    for (seed, expected) in [
        (7, [9, 11, 14, 18, 19, 31, 32, 35, 37, 38]),
        (0, [2, 4, 6, 8, 18, 27, 31, 32, 33, 37]),
        (8, [5, 10, 13, 18, 19, 20, 21, 32, 35, 38]),
    ] {
        assert_eq!(by_chance(40, 0.25, seed)[1], expected, "seed {seed}");
    }
}

#[test]
fn each_row_is_in_one_part_in_its_old_order_and_the_count_is_exact() {
    // The last has rows in more than two batches of a table.
    for (n, test, n_test) in [(2, 0.5, 1), (5, 0.5, 3), (10, 0.25, 3), (1000, 0.2, 200), (150_001, 0.3, 45_000)] {
        let [train, tested] = by_chance(n, test, 3);
        assert_eq!(tested.len(), n_test);
        assert!(train.is_sorted() && tested.is_sorted());
        let mut all = [train, tested].concat();
        all.sort_unstable();
        assert!(all.into_iter().eq(0..n), "{n} rows");
    }
}

#[test]
fn appended_rows_move_few_others() {
    let before = by_chance(1000, 0.2, 7)[1].clone();
    let after = by_chance(1010, 0.2, 7)[1].clone();
    assert_eq!((before.len(), after.len()), (200, 202));
    assert_eq!(before.iter().filter(|row| after.contains(row)).count(), 200);
}

#[test]
fn a_stratified_split_gives_each_value_its_share() {
    let params = [("test", Value::Float(0.25)), ("seed", Value::Int(1)), ("stratify", text("class"))];
    // 50 a, 30 b, 13 blank, 6 c, 1 d: a quarter is 12.5, 7.5, 3.25, 1.5 and 0.25, together 25.
    let class = |row: i64| match row {
        0..50 => Some("a"),
        50..80 => Some("b"),
        80..93 => None,
        93..99 => Some("c"),
        _ => Some("d"),
    };
    // A stride that meets every row once, so that classes are mixed.
    let mixed: Vec<i64> = (0..100).map(|i| i * 37 % 100).collect();
    let cells = Cells::Str(mixed.iter().map(|row| class(*row)).collect());
    let [_, test] = split("table.split", &params, 100, vec![("class", cells)]).unwrap();
    let count = |value| test.iter().filter(|row| class(mixed[**row as usize]) == value).count();
    let counts = [Some("a"), Some("b"), None, Some("c"), Some("d")].map(count);
    // 12 + 7 + 3 + 1 + 0 = 23; the two left go to the largest remainders, 0.5, and among those to the frequent values.
    assert_eq!(counts, [13, 8, 3, 1, 0]);
}

#[test]
fn every_type_that_can_be_stratified_by_is_told_apart() {
    let half = [("test", Value::Float(0.5)), ("seed", Value::Int(1)), ("stratify", text("class"))];
    for cells in [
        Cells::Bool((0..40).map(|i| Some(i % 4 == 0)).collect()),
        Cells::Int((0..40).map(|i| (i % 4 == 0).then_some(-1)).collect()),
        Cells::Date((0..40).map(|i| Some(i32::from(i % 4 == 0))).collect()),
        Cells::Str((0..40).map(|i| Some(if i % 4 == 0 { "" } else { "é" })).collect()),
    ] {
        let [_, test] = split("table.split", &half, 40, vec![("class", cells)]).unwrap();
        assert_eq!((test.len(), test.iter().filter(|row| *row % 4 == 0).count()), (20, 5));
    }
}

#[test]
fn every_nth_row_is_a_test_row() {
    let rows =
        |every, at, n| split("table.split_rows", &[("every", Value::Int(every)), ("at", Value::Int(at))], n, vec![]);
    assert_eq!(rows(5, 4, 12).unwrap(), [vec![0, 1, 2, 3, 5, 6, 7, 8, 10, 11], vec![4, 9]]);
    assert_eq!(rows(2, 0, 3).unwrap(), [vec![1], vec![0, 2]]);
    // Counting goes on from batch to batch: 65,536 is no multiple of 5.
    let [_, test] = rows(5, 4, 70_000).unwrap();
    assert!(test.into_iter().eq((4..70_000).step_by(5)));
}

fn by_time(days: Vec<Option<i32>>, test: f64) -> Result<[Vec<i64>; 2], StepError> {
    let params = [("by", text("day")), ("test", Value::Float(test))];
    split("table.split_time", &params, days.len() as i64, vec![("day", Cells::Date(days))])
}

#[test]
fn the_latest_rows_are_test_rows_and_equal_times_stay_together() {
    let days = |days: &[i32]| days.iter().map(|day| Some(*day)).collect::<Vec<_>>();
    assert_eq!(by_time(days(&[5, 1, 4, 2, 3]), 0.4).unwrap(), [vec![1, 3, 4], vec![0, 2]]);
    // One of three would be asked for, but both rows of day 7 are at the boundary.
    assert_eq!(by_time(days(&[7, 3, 7]), 0.3).unwrap(), [vec![1], vec![0, 2]]);
    assert_eq!(by_time(days(&[-3, -1, -2]), 0.34).unwrap(), [vec![0, 2], vec![1]]);
    // More than one batch, backwards in time.
    let [train, test] = by_time((0..70_000).rev().map(Some).collect(), 0.2).unwrap();
    assert!(test.into_iter().eq(0..14_000) && train.into_iter().eq(14_000..70_000));
}

#[test]
fn a_row_without_a_time_is_refused_by_its_number() {
    let mut days: Vec<Option<i32>> = (0..70_000).map(Some).collect();
    days[69_000] = None;
    let error = by_time(days, 0.2).unwrap_err();
    assert_eq!((error.class, error.code.as_str(), error.row), (ErrorClass::Data, "D1122", Some(69_001)));
    assert_eq!(error.message, "`day` is blank in row 69001, which has no place in time");
}

#[test]
fn a_part_without_rows_is_refused() {
    let chance = |n, test| split("table.split", &[("test", Value::Float(test)), ("seed", Value::Int(0))], n, vec![]);
    let every = |n, every| split("table.split_rows", &[("every", Value::Int(every)), ("at", Value::Int(1))], n, vec![]);
    let cases = [
        (chance(1, 0.2), "the table has 1 row, and none of them falls to `test`"),
        (chance(1, 0.8), "the table has 1 row, and none of them falls to `train`"),
        (chance(0, 0.5), "the table has 0 rows, and none of them falls to `train`"),
        (every(1, 2), "the table has 1 row, and none of them falls to `test`"),
        (by_time(vec![Some(1); 9], 0.2), "the table has 9 rows, and none of them falls to `train`"),
    ];
    for (result, expected) in cases {
        let error = result.unwrap_err();
        assert_eq!((error.class, error.code.as_str(), error.message.as_str()), (ErrorClass::Data, "D1121", expected));
    }
}

/// The rows of each part when the column `who` keeps rows together.
fn by_group(who: &[&'static str], seed: i64) -> [Vec<i64>; 2] {
    let cells = Cells::Str(who.iter().map(|name| (!name.is_empty()).then_some(*name)).collect());
    let params = [("by", text("who")), ("test", Value::Float(0.5)), ("seed", Value::Int(seed))];
    split("table.split_groups", &params, who.len() as i64, vec![("who", cells)]).unwrap()
}

#[test]
fn whole_groups_are_set_aside_and_new_ones_move_nobody() {
    let who = ["ann", "bob", "", "ann", "cyd", "dan", "bob", "", "eve", "cyd", "ann"];
    for seed in [1, 2, 3] {
        let [train, test] = by_group(&who, seed);
        for (part, other) in [(&train, &test), (&test, &train)] {
            let names = |rows: &[i64]| rows.iter().map(|row| who[*row as usize]).collect::<Vec<_>>();
            assert!(names(part).iter().all(|name| !names(other).contains(name)), "seed {seed}");
        }
        let [_, later] = by_group(&[&who[..], &["fay", "ann", "gus"]].concat(), seed);
        assert!(test.iter().all(|row| later.contains(row)), "seed {seed}");
        assert!(later.iter().all(|row| test.contains(row) || *row >= who.len() as i64), "seed {seed}");
    }
}

#[test]
fn the_groups_are_those_of_the_documented_draws() {
    // From an independent SplitMix64 in Python, `tests/reference/groups.py`: ids 0 to 19, `test` 0.3.
    for (seed, expected) in GROUPS {
        let ids = Cells::ints(0..20);
        let params = [("by", text("id")), ("test", Value::Float(0.3)), ("seed", Value::Int(seed))];
        assert_eq!(split("table.split_groups", &params, 20, vec![("id", ids)]).unwrap()[1], expected, "seed {seed}");
    }
}

const GROUPS: [(i64, &[i64]); 3] =
    [(7, &[6, 8, 13, 14, 17, 18]), (0, &[6, 7, 10, 17, 18, 19]), (8, &[0, 7, 12, 14, 16])];

#[test]
fn where_keeps_the_rows_of_one_value_of_any_type_and_no_blank() {
    for (cells, equals) in [
        (Cells::Bool(vec![Some(true), None, Some(false), Some(true)]), Value::Bool(true)),
        (Cells::Int(vec![Some(-7), None, Some(7), Some(-7)]), Value::Int(-7)),
        (Cells::Date(vec![Some(3), None, Some(0), Some(3)]), Value::Date(3)),
        (Cells::Str(vec![Some("a"), None, Some(""), Some("a")]), text("a")),
        (Cells::Float(vec![Some(0.5), None, Some(0.0), Some(0.5)]), Value::Float(0.5)),
    ] {
        let columns = [("row", Cells::ints(0..4)), ("class", cells)];
        let kept = |equals: &Value| {
            let params = [("column", text("class")), ("equals", equals.clone())];
            let bench = Bench::new("table.where", &params).table("data", &columns);
            let outcome = bench.run().unwrap();
            assert_eq!(outcome.facts["columns"], 2.0);
            ints(&outcome, "out", "row").into_iter().flatten().collect::<Vec<_>>()
        };
        assert_eq!(kept(&equals), [0, 3], "{equals}");
    }
}
