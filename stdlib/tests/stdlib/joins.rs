//! `table.join`: which rows come out, and what is refused.

use mlp_model::{Column, ErrorClass, Facts, Marks, Role, Scalar, StepError, TableType, Type, Value};

use crate::support::{Bench, Cells, infer, ints, mistakes, names, plain, table, text, texts};

/// Joins `left(id, l, at)` with `right(id, r, at)`: ids are texts, times are days.
fn join(
    left: &[(&'static str, i32)],
    right: &[(&'static str, i32)],
    more: &[(&str, Value)],
) -> Result<Joined, StepError> {
    let side = |rows: &[(&'static str, i32)], number: &'static str, from: i64| {
        let text = |id: &'static str| (!id.is_empty()).then_some(id);
        [
            ("id", Cells::Str(rows.iter().map(|(id, _)| text(id)).collect())),
            (number, Cells::ints(from..from + rows.len() as i64)),
            (
                if number == "l" { "asked" } else { "known" },
                Cells::Date(rows.iter().map(|(_, day)| Some(*day)).collect()),
            ),
        ]
    };
    let defaults =
        [("on", texts(&["id"])), ("unmatched", text("refuse")), ("expect", Value::Float(0.0)), ("prefix", text(""))];
    let mut params: Vec<(&str, Value)> =
        defaults.into_iter().filter(|(name, _)| more.iter().all(|(n, _)| n != name)).collect();
    params.extend(more.iter().cloned());
    let bench =
        Bench::new("table.join", &params).table("left", &side(left, "l", 0)).table("right", &side(right, "r", 100));
    let outcome = bench.run()?;
    let left = ints(&outcome, "out", "l").into_iter().map(|n| n.expect("left rows are whole"));
    let pairs = left.zip(ints(&outcome, "out", "r")).collect();
    Ok(Joined { columns: names(&outcome, "out"), pairs, facts: outcome.facts })
}

#[derive(Debug)]
struct Joined {
    columns: Vec<String>,
    /// Rows of the result: of left and right, by their numbers.
    pairs: Vec<(i64, Option<i64>)>,
    facts: Facts,
}

fn stated(word: &str) -> (&'static str, Value) {
    ("cardinality", text(word))
}

#[test]
fn rows_come_in_the_order_of_left_and_blank_keys_match_nothing() {
    let (left, right) = ([("b", 0), ("", 0), ("a", 0), ("b", 0)], [("a", 0), ("", 0), ("b", 0), ("c", 0)]);
    let kept = join(&left, &right, &[stated("many_to_one"), ("unmatched", text("keep"))]).unwrap();
    assert_eq!(kept.columns, ["id", "l", "asked", "r", "known"]);
    assert_eq!(kept.pairs, [(0, Some(102)), (1, None), (2, Some(100)), (3, Some(102))]);
    let facts = ["rows", "columns", "unmatched_rows", "unused_rows", "matched"].map(|name| kept.facts[name]);
    assert_eq!(facts, [4.0, 5.0, 1.0, 2.0, 0.75]);
    let dropped = join(&left, &right, &[stated("many_to_one"), ("unmatched", text("drop"))]).unwrap();
    assert_eq!(dropped.pairs, [(0, Some(102)), (2, Some(100)), (3, Some(102))]);
}

#[test]
fn several_matches_come_in_the_order_of_right() {
    let left = [("a", 0), ("b", 0)];
    let right = [("b", 0), ("a", 0), ("b", 0)];
    let many = join(&left, &right, &[stated("one_to_many")]).unwrap();
    assert_eq!(many.pairs, [(0, Some(101)), (1, Some(100)), (1, Some(102))]);
}

#[test]
fn more_matches_than_stated_fail_and_name_the_row() {
    let (once, twice) = ([("a", 0), ("b", 0)], [("a", 0), ("b", 0), ("a", 0), ("a", 0)]);
    for (left, right, word, side) in [
        (&once[..], &twice[..], "many_to_one", "right"),
        (&once[..], &twice[..], "one_to_one", "right"),
        (&twice[..], &once[..], "one_to_one", "left"),
        (&twice[..], &once[..], "one_to_many", "left"),
    ] {
        let error = join(left, right, &[stated(word)]).unwrap_err();
        assert_eq!((error.code.as_str(), error.class, error.row), ("D1161", ErrorClass::Data, Some(3)), "{word}");
        let expected = format!(
            "the join is stated to be {word}, but in `{side}` row 3 and 1 other repeat the `id` of an earlier row"
        );
        assert_eq!(error.message, expected);
    }
    assert!(join(&twice, &twice, &[stated("many_to_many")]).is_ok());
}

#[test]
fn rows_without_a_match_fail_unless_said_otherwise() {
    let (left, right) = ([("a", 0), ("x", 0), ("y", 0), ("b", 0)], [("a", 0), ("b", 0)]);
    let error = join(&left, &right, &[stated("one_to_one")]).unwrap_err();
    assert_eq!((error.code.as_str(), error.row), ("D1162", Some(2)));
    let expected =
        "50 % of the 4 rows of `left` have a match, all of them are expected to; row 2 and 1 other have none";
    assert_eq!(error.message, expected);
    let expect = |share| [stated("one_to_one"), ("unmatched", text("drop")), ("expect", Value::Float(share))];
    assert_eq!(join(&left, &right, &expect(0.5)).unwrap().pairs, [(0, Some(100)), (3, Some(101))]);
    let error = join(&left, &right, &expect(0.51)).unwrap_err();
    assert_eq!(error.code, "D1162");
    assert!(error.message.contains("51 % are expected to"), "{}", error.message);
}

fn looking_back(within_days: Option<u64>) -> Vec<(&'static str, Value)> {
    let within = within_days.map(|days| ("within", Value::DurationMs(days * 86_400_000)));
    let always = [("as_of", text("asked")), ("time", text("known")), ("unmatched", text("keep"))];
    always.into_iter().chain(within).collect()
}

#[test]
fn a_join_as_of_a_time_takes_what_was_known_last() {
    let right = [("a", 10), ("a", 30), ("a", 20), ("b", 1)];
    let left = [("a", 9), ("a", 10), ("a", 29), ("a", 99), ("b", 99), ("c", 99)];
    let all = join(&left, &right, &looking_back(None)).unwrap();
    let expected = [(0, None), (1, Some(100)), (2, Some(102)), (3, Some(101)), (4, Some(103)), (5, None)];
    assert_eq!(all.pairs, expected);
    let recent = join(&left, &right, &looking_back(Some(69))).unwrap();
    let expected = [(0, None), (1, Some(100)), (2, Some(102)), (3, Some(101)), (4, None), (5, None)];
    assert_eq!(recent.pairs, expected);
}

#[test]
fn two_rows_of_one_time_are_refused_where_they_decide() {
    let right = [("a", 10), ("a", 10), ("a", 20)];
    assert!(join(&[("a", 20)], &right, &looking_back(None)).is_ok());
    let error = join(&[("a", 15)], &right, &looking_back(None)).unwrap_err();
    assert_eq!((error.code.as_str(), error.row), ("D1163", Some(1)));
    assert_eq!(
        error.message,
        "rows 1 and 2 of `right` match the same row and have the same `known`: neither is the later"
    );
}

#[test]
fn it_agrees_with_looking_at_every_pair() {
    // Ids and days from a Weyl sequence, in tables of more than one batch on the left.
    let draw = |i: usize, k: f64, n: i32| ((0.618_033_988_749_894_9 * k * i as f64) % 1.0 * f64::from(n)) as i32;
    const IDS: [&str; 8] = ["a", "b", "c", "d", "e", "f", "g", ""];
    let left: Vec<_> = (1..70_000).map(|i| (IDS[draw(i, 1.0, 8) as usize], draw(i, 3.0, 50))).collect();
    // One row for each id and day at most, so that there is always a latest.
    let right: Vec<_> = (0..100).map(|i| (IDS[i % 7], (i / 7) as i32 * 3)).collect();
    let joined = join(&left, &right, &looking_back(Some(9))).unwrap();
    let expected = left.iter().enumerate().map(|(i, (id, asked))| {
        let known =
            right.iter().enumerate().filter(|(_, (other, known))| other == id && known <= asked && asked - known <= 9);
        (i as i64, known.max_by_key(|(_, (_, known))| *known).map(|(row, _)| row as i64 + 100))
    });
    assert!(joined.pairs.into_iter().eq(expected));
}

fn loans() -> TableType {
    table(&[
        Column { marks: Marks { key: true, ..Marks::default() }, ..plain("loan", Scalar::Str) },
        plain("customer", Scalar::Int),
        plain("applied", Scalar::Date),
        plain("score", Scalar::Float),
    ])
}

fn ratings() -> TableType {
    let late = Marks { known_at: Some("received".into()), ..Marks::default() };
    table(&[
        plain("customer", Scalar::Int),
        plain("received", Scalar::Date),
        plain("printed", Scalar::Date),
        Column { marks: late, ..plain("rating", Scalar::Int) },
    ])
}

fn check(left: TableType, right: TableType, params: &[(&str, Value)]) -> Result<TableType, Vec<String>> {
    let result = infer("table.join", &[("left", Type::Table(left)), ("right", Type::Table(right))], params);
    match result {
        Ok(inferred) => match &inferred.outputs[0].1 {
            Type::Table(table) => Ok(table.clone()),
            other => panic!("{other:?}"),
        },
        Err(errors) => Err(mistakes(Err(errors))),
    }
}

#[test]
fn the_result_has_the_columns_of_both_and_is_set_aside_if_one_is() {
    let test = TableType { role: Role::Test, ..loans() };
    let params = [("on", texts(&["customer"])), ("cardinality", text("one_to_many")), ("unmatched", text("keep"))];
    let joined = check(test, ratings(), &params).unwrap();
    let columns: Vec<String> = joined
        .columns
        .iter()
        .map(|c| format!("{}: {}{}", c.name, c.scalar, if c.optional { "?" } else { "" }))
        .collect();
    let expected = [
        "loan: str",
        "customer: int",
        "applied: date",
        "score: float",
        "received: date?",
        "printed: date?",
        "rating: int?",
    ];
    assert_eq!(columns, expected);
    assert_eq!(joined.role, Role::Test);
    assert!(!joined.columns[0].marks.key, "a row of `left` may be there twice");
    assert_eq!(joined.columns[6].marks.known_at.as_deref(), Some("received"));
}

#[test]
fn what_was_known_by_then_is_late_no_more() {
    let params =
        [("on", texts(&["customer"])), ("as_of", text("applied")), ("time", text("received")), ("prefix", text("r_"))];
    let joined = check(loans(), ratings(), &params).unwrap();
    assert!(joined.columns[0].marks.key);
    assert_eq!((joined.columns[6].name.as_str(), &joined.columns[6].marks.known_at), ("r_rating", &None));
    let params = [("on", texts(&["customer"])), ("as_of", text("applied")), ("time", text("printed"))];
    let expected = "E0357 time: `rating` became known at `received`, and the join goes by `printed` | write `time: received`, or \
                    leave the column out of `right` with `sql`";
    assert_eq!(check(loans(), ratings(), &params).unwrap_err(), [expected]);
}

#[test]
fn what_does_not_fit_is_refused_all_at_once() {
    let params =
        [("on", texts(&["loan", "score"])), ("right_on", texts(&["customer"])), ("within", Value::DurationMs(1))];
    assert_eq!(
        check(loans(), ratings(), &params).unwrap_err(),
        [
            "E0357 right_on: `on` has 2 columns and `right_on` has 1 | name one for each of `on`, in its order",
            "E0357 right_on[0]: `loan` of `left` is str and `customer` of `right` is int: they are never equal | declare both \
             alike in their schemas, or convert one with `sql`",
            "E0342 on[1]: `score` is float: computed numbers are hardly ever equal | join on an int, str, date or another exact \
             type",
            "E0357 cardinality: the join does not say how many rows may match | `cardinality: many_to_one` if each row of `left` \
             has one at most, else `one_to_one`, `one_to_many` or `many_to_many`",
            "E0357 within: `within` is for joins with `as_of` and `time`",
        ]
    );
    let params = [
        ("on", texts(&["customer"])),
        ("as_of", text("customer")),
        ("cardinality", text("many_to_one")),
        ("expect", Value::Float(0.9)),
    ];
    assert_eq!(
        check(loans(), ratings(), &params).unwrap_err(),
        [
            "E0357 cardinality: a join as of a time takes one row at most | leave `cardinality` out",
            "E0357 expect: `unmatched: refuse` expects that all rows match | say what becomes of the others: `unmatched: keep` \
             or `unmatched: drop`; or leave `expect` out",
            "E0342 as_of: `as_of` takes a date or timestamp column, `customer` is int",
            "E0357 as_of: the join does not say when the rows of `right` were known | name that column of `right`: `time: received`",
        ]
    );
    let params = [("on", texts(&["customer"])), ("cardinality", text("many_to_many"))];
    let other = table(&[plain("customer", Scalar::Int), plain("score", Scalar::Int)]);
    let expected = "E0357 prefix: both tables have a column `score` | name those of `right` differently: `prefix: \"r_\"`; or \
                    leave it out of one, with `sql`";
    assert_eq!(check(loans(), other, &params).unwrap_err(), [expected]);
}
