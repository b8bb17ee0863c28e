use std::fs;

use mlp_model::{Column, Over, Scalar, StepError, Value};

use super::support::{Fixture, column, optional, schema};
use crate::loop_values;

/// Reads a table and returns what a loop goes over it for.
fn over(text: &str, columns: &[Column], over: &Over) -> Result<Vec<Value>, StepError> {
    let fixture =
        Fixture::new("csv.read").file("file", "a.csv", text.as_bytes()).param("schema", schema(false, columns));
    fixture.run().unwrap();
    loop_values(&fixture.out(), fs::metadata(fixture.out()).unwrap().len(), over)
}

fn rows(key: &str, columns: &[&str]) -> Over {
    Over::Rows { key: key.to_owned(), columns: columns.iter().map(|name| (*name).to_owned()).collect() }
}

fn row(key: Value, fields: &[(&str, Value)]) -> Value {
    let fields = fields.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
    Value::List(vec![key, Value::Record(fields.collect())])
}

#[test]
fn rows_stand_in_the_order_of_their_keys_with_the_columns_that_are_asked_for() {
    let columns = [
        column("n", Scalar::Int),
        column("f", Scalar::Float),
        column("b", Scalar::Bool),
        column("d", Scalar::Date),
        column("t", Scalar::Timestamp),
        optional("s", Scalar::Str),
    ];
    let text = "n,f,b,d,t,s\n10,0.5,yes,1970-01-02,1970-01-01T00:00:01Z,x\n9,1,no,1970-01-01,1970-01-01T00:00:00Z,\n";
    let found = over(text, &columns, &rows("n", &["f", "b", "d", "t", "s"])).unwrap();
    let expected = [
        row(
            Value::Int(9),
            &[
                ("f", Value::Float(1.0)),
                ("b", Value::Bool(false)),
                ("d", Value::Date(0)),
                ("t", Value::Timestamp(0)),
                ("s", Value::Null),
            ],
        ),
        row(
            Value::Int(10),
            &[
                ("f", Value::Float(0.5)),
                ("b", Value::Bool(true)),
                ("d", Value::Date(1)),
                ("t", Value::Timestamp(1_000_000)),
                ("s", Value::Str("x".into())),
            ],
        ),
    ];
    assert_eq!(found, expected);
    let found = over(text, &columns, &rows("n", &[])).unwrap();
    assert_eq!(found, [row(Value::Int(9), &[]), row(Value::Int(10), &[])]);
}

#[test]
fn what_makes_no_names_is_refused() {
    let columns = [optional("s", Scalar::Str), column("n", Scalar::Int)];
    let text = "s,n\nx,1\nx,2\n";
    let error = over(text, &columns, &rows("s", &[])).unwrap_err();
    assert_eq!(
        (error.code.as_str(), &*error.message),
        ("D1173", "key `s` of the table of a loop is not unique: 1 row repeats one")
    );
    let values = over(text, &columns, &Over::Column("s".to_owned())).unwrap();
    assert_eq!(values, [Value::Str("x".into())]);
    for what in [rows("s", &["n"]), Over::Column("s".to_owned())] {
        let error = over("s,n\nx,1\n,2\n", &columns, &what).unwrap_err();
        assert_eq!(error.code, "D1171", "{error}");
    }
}
