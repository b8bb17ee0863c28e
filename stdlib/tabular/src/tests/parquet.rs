use std::fs;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, DictionaryArray, Float64Array, Int32Array, Int64Array, StringArray, TimestampNanosecondArray,
};
use arrow::datatypes::Int8Type;
use arrow::record_batch::RecordBatch;
use mlp_model::{Column, ErrorClass, Rule, Scalar, TableType, Value};
use parquet::arrow::ArrowWriter;

use super::support::{Fixture, column, optional, personal_key, schema, texts};

fn file_of(columns: Vec<(&str, ArrayRef)>) -> Vec<u8> {
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    bytes
}

fn read(bytes: &[u8], open: bool, columns: &[Column]) -> Fixture {
    Fixture::new("parquet.read").file("file", "data/a.parquet", bytes).param("schema", schema(open, columns))
}

fn customers() -> Vec<u8> {
    file_of(vec![
        ("tenure", Arc::new(Int32Array::from(vec![1, 500, 3])) as ArrayRef),
        ("id", Arc::new(["SECRET-a", "SECRET-b", "SECRET-a"].into_iter().collect::<DictionaryArray<Int8Type>>())),
        ("total", Arc::new(Float64Array::from(vec![Some(1.0), None, Some(2.0)]))),
    ])
}

#[test]
fn columns_are_brought_into_the_order_and_types_of_the_schema() {
    let columns = [column("id", Scalar::Str), column("tenure", Scalar::Int)];
    let (shapes, rows) = read(&customers(), true, &columns).rows();
    assert_eq!(shapes.iter().map(|shape| shape.name.as_str()).collect::<Vec<_>>(), ["id", "tenure", "total"]);
    assert_eq!(rows, texts(&[&["SECRET-a", "1", "1.0"], &["SECRET-b", "500", ""], &["SECRET-a", "3", "2.0"]]));
}

#[test]
fn values_are_checked_as_those_of_a_csv_file_are() {
    let tenure =
        Column { rules: vec![Rule::Max { value: Value::Int(120), inclusive: true }], ..column("tenure", Scalar::Int) };
    let error = read(&customers(), false, &[personal_key("id"), tenure, column("total", Scalar::Float)]).error();
    assert_eq!((error.class, error.code.as_str(), error.row), (ErrorClass::Data, "D1104", Some(2)));
    assert_eq!(error.message, "3 values of `data/a.parquet` break schema `Customer`");
    assert_eq!(
        error.detail[..4],
        [
            "row  id        column  value     rule",
            "  2  personal  tenure  \"500\"     <= 120",
            "  2  personal  total   \"\"        not blank",
            "  3  personal  id      personal  unique, but as in row 1",
        ]
    );
    assert!(!format!("{error:?}").contains("SECRET"));
}

#[test]
fn other_columns_than_declared_are_refused() {
    let binary = file_of(vec![("x", Arc::new(BinaryArray::from(vec![&b"a"[..]])) as ArrayRef)]);
    let nanos = |tick| file_of(vec![("x", Arc::new(TimestampNanosecondArray::from(vec![tick])) as ArrayRef)]);
    read(&nanos(5_000), false, &[column("x", Scalar::Timestamp)]).run().unwrap();
    let cases: [(&[u8], bool, Column, &str, &str); 5] = [
        (
            &customers(),
            true,
            column("tenure", Scalar::Float),
            "D1107",
            "column `tenure` of `data/a.parquet` is `int`, but schema `Customer` declares `float`",
        ),
        (
            &customers(),
            true,
            column("Tenure", Scalar::Int),
            "D1102",
            "`data/a.parquet` lacks the column `Tenure` of schema `Customer`",
        ),
        (
            &binary,
            false,
            column("x", Scalar::Str),
            "D1107",
            "column `x` of `data/a.parquet` is `Binary`, but schema `Customer` declares `str`",
        ),
        (
            &binary,
            true,
            column("y", Scalar::Str),
            "D1102",
            "`data/a.parquet` lacks the column `y` of schema `Customer`",
        ),
        (
            &nanos(5_001),
            false,
            column("x", Scalar::Timestamp),
            "D1107",
            "column `x` of `data/a.parquet` has times finer than a microsecond",
        ),
    ];
    for (bytes, open, column, code, message) in cases {
        let error = read(bytes, open, &[column]).error();
        assert_eq!((error.code.as_str(), error.message.as_str()), (code, message));
    }
}

#[test]
fn a_damaged_file_is_an_error_and_never_a_crash() {
    let bytes = customers();
    let columns = [optional("id", Scalar::Str), optional("tenure", Scalar::Int), optional("total", Scalar::Float)];
    for len in [0, 3, 8, bytes.len() / 2, bytes.len() - 1] {
        let error = read(&bytes[..len], false, &columns).error();
        assert_eq!((error.class, error.code.as_str()), (ErrorClass::Data, "D1106"), "{len}: {error}");
    }
    let mut n_errors = 0;
    for at in (0..bytes.len()).step_by(7) {
        let mut changed = bytes.clone();
        changed[at] ^= 0xff;
        match read(&changed, false, &columns).run() {
            Ok(outcome) => assert_eq!(outcome.facts["columns"], 3.0),
            Err(error) => {
                assert!(matches!(error.class, ErrorClass::Data), "byte {at}: {error:?}");
                n_errors += 1;
            }
        }
    }
    assert!(n_errors > 0);
}

#[test]
fn what_is_written_reads_back_and_its_bytes_are_a_promise() {
    let columns = vec![column("n", Scalar::Int), optional("s", Scalar::Str), optional("p", Scalar::Duration)];
    let batch = RecordBatch::try_from_iter([
        ("n", Arc::new(Int64Array::from_iter_values(0..70_000)) as ArrayRef),
        ("s", Arc::new(StringArray::from_iter((0..70_000).map(|i| (i % 7 > 0).then(|| format!("text {}", i % 1000)))))),
        (
            "p",
            Arc::new(arrow::array::DurationMillisecondArray::from_iter((0..70_000).map(|i| (i % 2 > 0).then_some(i)))),
        ),
    ]);
    let ty = TableType { columns: columns.clone().into(), ..TableType::default() };
    let written = Fixture::new("parquet.write").table("data", ty, &batch.unwrap());
    // When this fails, the same table gives other bytes: raise the version of `parquet.write`.
    assert_eq!(written.digest().short(), "730ef460e42e");
    let read = read(&fs::read(written.out()).unwrap(), false, &columns);
    read.run().unwrap();
    assert_eq!(fs::read(read.out()).unwrap(), fs::read(&written.step.inputs["data"].path).unwrap());
}
