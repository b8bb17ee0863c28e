use std::fs;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Float64Array, Int64Array, StringArray};
use arrow::record_batch::RecordBatch;
use mlp_model::{Scalar, TableType};

use super::support::{Fixture, optional, schema};

#[test]
fn what_is_written_reads_back_to_the_same_table() {
    let columns = vec![
        optional("n, \"quoted\"", Scalar::Int),
        optional("x", Scalar::Float),
        optional("s", Scalar::Str),
        optional("b", Scalar::Bool),
    ];
    let arrays: [ArrayRef; 4] = [
        Arc::new(Int64Array::from(vec![Some(i64::MIN), None, Some(3)])),
        Arc::new(Float64Array::from(vec![Some(0.1), Some(1e300), None])),
        Arc::new(StringArray::from(vec![Some("a,\"b\"\r\nc"), Some(" größe "), None])),
        Arc::new(BooleanArray::from(vec![Some(true), None, Some(false)])),
    ];
    let batch = RecordBatch::try_from_iter(columns.iter().map(|column| column.name.clone()).zip(arrays)).unwrap();
    let ty = TableType { columns: columns.clone().into(), ..TableType::default() };
    let written = Fixture::new("csv.write").table("data", ty, &batch);
    let outcome = written.run().unwrap();
    assert_eq!(outcome.facts["rows"], 3.0);
    let text = fs::read_to_string(written.out()).unwrap();
    let expected =
        "\"n, \"\"quoted\"\"\",x,s,b\n-9223372036854775808,0.1,\"a,\"\"b\"\"\r\nc\",true\n,1e300, größe ,\n3,,,false\n";
    assert_eq!(text, expected);

    let read = Fixture::new("csv.read").file("file", "a.csv", text.as_bytes()).param("schema", schema(false, &columns));
    read.run().unwrap();
    assert_eq!(fs::read(read.out()).unwrap(), fs::read(&written.step.inputs["data"].path).unwrap());
}

#[test]
fn a_blank_and_an_empty_text_differ_and_no_record_is_an_empty_line() {
    let ty = TableType { columns: vec![optional("s", Scalar::Str)].into(), ..TableType::default() };
    let array: ArrayRef = Arc::new(StringArray::from(vec![Some(""), None, Some("x")]));
    let one = RecordBatch::try_from_iter([("s", array.clone())]).unwrap();
    let written = Fixture::new("csv.write").table("data", ty, &one);
    written.run().unwrap();
    assert_eq!(fs::read_to_string(written.out()).unwrap(), "s\n\"\"\n\"\"\nx\n");
    let ty = TableType {
        columns: vec![optional("s", Scalar::Str), optional("t", Scalar::Str)].into(),
        ..TableType::default()
    };
    let two = RecordBatch::try_from_iter([("s", array.clone()), ("t", array)]).unwrap();
    let written = Fixture::new("csv.write").table("data", ty, &two);
    written.run().unwrap();
    assert_eq!(fs::read_to_string(written.out()).unwrap(), "s,t\n\"\",\"\"\n,\nx,x\n");
}
