use std::fs;
use std::path::Path;

use arrow::array::{
    Array, ArrayRef, BooleanArray, Date32Array, Date64Array, Decimal128Array, DictionaryArray,
    DurationMillisecondArray, Float32Array, Float64Array, Int8Array, Int64Array, LargeStringArray, NullArray,
    StringArray, StringViewArray, TimestampMicrosecondArray, TimestampNanosecondArray, TimestampSecondArray,
    UInt64Array,
};
use arrow::buffer::{BooleanBuffer, NullBuffer, ScalarBuffer};
use arrow::compute::concat_batches;
use arrow::datatypes::Int32Type;
use arrow::record_batch::RecordBatch;
use mlp_model::Digest;
use proptest::prelude::*;
use tempfile::TempDir;

use super::*;

const DECIMAL: Scalar = Scalar::Decimal { precision: 9, scale: 2 };

fn shape(name: &str, scalar: Scalar, optional: bool) -> ColumnShape {
    ColumnShape { name: name.into(), scalar, optional }
}

fn all_columns() -> Vec<ColumnShape> {
    vec![
        shape("id", Scalar::Int, false),
        shape("x", Scalar::Float, true),
        shape("ok", Scalar::Bool, true),
        shape("text", Scalar::Str, true),
        shape("day", Scalar::Date, true),
        shape("at", Scalar::Timestamp, true),
        shape("price", DECIMAL, true),
        shape("took", Scalar::Duration, true),
    ]
}

/// Rows in which everything varies, blanks included.
fn rows(range: std::ops::Range<i64>) -> RecordBatch {
    let some = |i: i64, n: i64| (i % n != 0).then_some(i);
    let ints = || range.clone();
    let arrays: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from_iter_values(ints().map(|i| i * 7 - 3))),
        Arc::new(Float64Array::from_iter(ints().map(|i| some(i, 5).map(|i| i as f64 / 3.0)))),
        Arc::new(BooleanArray::from_iter(ints().map(|i| some(i, 3).map(|i| i % 2 == 0)))),
        Arc::new(StringArray::from_iter(ints().map(|i| some(i, 4).map(|i| "é".repeat(i.rem_euclid(9) as usize))))),
        Arc::new(Date32Array::from_iter(ints().map(|i| some(i, 6).map(|i| i as i32 - 1000)))),
        Arc::new(
            TimestampMicrosecondArray::from_iter(ints().map(|i| some(i, 7).map(|i| i * 1_000_003)))
                .with_timezone("UTC"),
        ),
        Arc::new(
            Decimal128Array::from_iter(ints().map(|i| some(i, 8).map(i128::from)))
                .with_precision_and_scale(9, 2)
                .unwrap(),
        ),
        Arc::new(DurationMillisecondArray::from_iter(ints().map(|i| some(i, 9)))),
    ];
    RecordBatch::try_new(schema_of(&all_columns()), arrays).unwrap()
}

fn write(path: &Path, columns: &[ColumnShape], batches: &[RecordBatch]) -> Result<u64, TableError> {
    let mut writer = Writer::create(path, columns)?;
    for batch in batches {
        writer.write(batch)?;
    }
    writer.finish()
}

fn bytes_of(columns: &[ColumnShape], batches: &[RecordBatch]) -> Vec<u8> {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("table");
    write(&path, columns, batches).unwrap();
    fs::read(path).unwrap()
}

fn open_bytes(bytes: &[u8]) -> Result<Vec<RecordBatch>, TableError> {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("table");
    fs::write(&path, bytes).unwrap();
    let reader = Reader::open(&path, bytes.len() as u64)?;
    reader.batches().collect()
}

/// Bytes of a table with the single column `x`, given as `array`.
fn bytes_of_array(scalar: Scalar, array: impl Array + 'static) -> Vec<u8> {
    let batch = RecordBatch::try_from_iter_with_nullable([("x", Arc::new(array) as ArrayRef, true)]).unwrap();
    bytes_of(&[shape("x", scalar, true)], &[batch])
}

#[test]
fn the_bytes_are_a_promise() {
    // When this fails, stored digests no longer fit: raise the version of every operation that makes a table.
    assert_eq!(Digest::of(&bytes_of(&all_columns(), &[rows(0..70_000)])).short(), "cf21481335c0");
    assert_eq!(Digest::of(&bytes_of(&all_columns(), &[])).short(), "32e0d79999a1");
}

#[test]
fn what_was_written_reads_back() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("table");
    let table = rows(0..140_000);
    assert_eq!(write(&path, &all_columns(), std::slice::from_ref(&table)).unwrap(), 140_000);
    // A store may keep a footer of its own after the payload.
    let size_bytes = fs::metadata(&path).unwrap().len();
    let mut file = fs::read(&path).unwrap();
    file.extend_from_slice(b"footer of the store");
    fs::write(&path, file).unwrap();

    let reader = Reader::open(&path, size_bytes).unwrap();
    assert_eq!(reader.columns(), all_columns());
    assert_eq!(reader.n_rows(), 140_000);
    let batches: Vec<_> = reader.batches().collect::<Result<_, _>>().unwrap();
    assert_eq!(batches.iter().map(RecordBatch::num_rows).collect::<Vec<_>>(), [65_536, 65_536, 8_928]);
    drop(reader);
    assert_eq!(concat_batches(&table.schema(), &batches).unwrap(), table);
}

#[test]
fn any_arrow_reader_reads_it() {
    let bytes = bytes_of(&all_columns(), &[rows(0..1_000)]);
    let reader = arrow::ipc::reader::FileReader::try_new(std::io::Cursor::new(bytes), None).unwrap();
    assert_eq!(reader.collect::<Result<Vec<_>, _>>().unwrap(), [rows(0..1_000)]);
}

#[test]
fn a_table_without_rows_reads_back() {
    assert!(open_bytes(&bytes_of(&all_columns(), &[])).unwrap().is_empty());
    assert_eq!(bytes_of(&all_columns(), &[]), bytes_of(&all_columns(), &[rows(5..5)]));
}

#[test]
fn what_lies_under_blanks_leaves_no_trace() {
    let nulls = || Some(NullBuffer::from(vec![true, false, true]));
    let with = |x: f64| Float64Array::new(ScalarBuffer::from(vec![1.0, x, 2.0]), nulls());
    assert_eq!(bytes_of_array(Scalar::Float, with(99.0)), bytes_of_array(Scalar::Float, with(f64::NAN)));
    let with = |b: bool| BooleanArray::new(BooleanBuffer::from(vec![true, b, false]), nulls());
    assert_eq!(bytes_of_array(Scalar::Bool, with(true)), bytes_of_array(Scalar::Bool, with(false)));
    let with = |text: &str| {
        let dense = StringArray::from(vec!["a", text, "b"]);
        StringArray::new(dense.offsets().clone(), dense.values().clone(), nulls())
    };
    assert_eq!(bytes_of_array(Scalar::Str, with("secret")), bytes_of_array(Scalar::Str, with("")));
}

#[test]
fn a_full_validity_bitmap_is_left_out() {
    let values = || ScalarBuffer::from(vec![1_i64, 2, 3]);
    let full = Int64Array::new(values(), Some(NullBuffer::from(vec![true; 3])));
    assert_eq!(bytes_of_array(Scalar::Int, full), bytes_of_array(Scalar::Int, Int64Array::new(values(), None)));
}

#[test]
fn there_is_one_nan_and_one_zero() {
    let odd = [f64::from_bits(0xfff8_0000_0000_0001), f64::from_bits(0x7ff0_0000_0000_0001), -0.0, f64::NEG_INFINITY];
    let plain = [f64::NAN, f64::NAN, 0.0, f64::NEG_INFINITY];
    assert_eq!(
        bytes_of_array(Scalar::Float, Float64Array::from(odd.to_vec())),
        bytes_of_array(Scalar::Float, Float64Array::from(plain.to_vec()))
    );
}

#[test]
fn other_encodings_of_a_value_give_its_bytes() {
    let strings = ["b", "a", "b", "a longer text that a view keeps elsewhere"];
    let plain = bytes_of_array(Scalar::Str, StringArray::from(strings.to_vec()));
    assert_eq!(bytes_of_array(Scalar::Str, strings.into_iter().collect::<DictionaryArray<Int32Type>>()), plain);
    assert_eq!(bytes_of_array(Scalar::Str, StringViewArray::from(strings.to_vec())), plain);
    assert_eq!(bytes_of_array(Scalar::Str, LargeStringArray::from(strings.to_vec())), plain);

    let plain = bytes_of_array(Scalar::Int, Int64Array::from(vec![Some(1), None]));
    assert_eq!(bytes_of_array(Scalar::Int, Int8Array::from(vec![Some(1), None])), plain);
    assert_eq!(bytes_of_array(Scalar::Int, UInt64Array::from(vec![Some(1), None])), plain);
    let plain = bytes_of_array(Scalar::Float, Float64Array::from(vec![0.5]));
    assert_eq!(bytes_of_array(Scalar::Float, Float32Array::from(vec![0.5])), plain);

    let utc = |micros: Vec<i64>| {
        bytes_of_array(Scalar::Timestamp, TimestampMicrosecondArray::from(micros).with_timezone("UTC"))
    };
    assert_eq!(bytes_of_array(Scalar::Timestamp, TimestampSecondArray::from(vec![-2])), utc(vec![-2_000_000]));
    assert_eq!(bytes_of_array(Scalar::Timestamp, TimestampNanosecondArray::from(vec![1_999, -1])), utc(vec![1, -1]));
    let berlin = TimestampMicrosecondArray::from(vec![5]).with_timezone("+01:00");
    assert_eq!(bytes_of_array(Scalar::Timestamp, berlin), utc(vec![5]));
    let days = bytes_of_array(Scalar::Date, Date32Array::from(vec![1, -1]));
    assert_eq!(bytes_of_array(Scalar::Date, Date64Array::from(vec![86_400_000, -1])), days);
}

#[test]
fn what_does_not_fit_is_refused_without_its_value() {
    let batch = |array: ArrayRef| RecordBatch::try_from_iter_with_nullable([("x", array, true)]).unwrap();
    let decimals = |value| Decimal128Array::from(vec![value]).with_precision_and_scale(9, 2).unwrap();
    let cases: [(ColumnShape, ArrayRef, &str); 8] = [
        (
            shape("x", Scalar::Int, true),
            Arc::new(UInt64Array::from(vec![u64::MAX])),
            "a value of column `x` does not fit `int`",
        ),
        (
            shape("x", Scalar::Timestamp, true),
            Arc::new(TimestampSecondArray::from(vec![i64::MAX])),
            "a value of column `x` does not fit `timestamp`",
        ),
        (
            shape("x", DECIMAL, true),
            Arc::new(decimals(1_234_567_890)),
            "a value of column `x` does not fit `decimal(9, 2)`",
        ),
        (
            shape("x", Scalar::Int, true),
            Arc::new(StringArray::from(vec!["1"])),
            "column `x` is `int`, but a batch came with Utf8",
        ),
        (
            shape("x", Scalar::Decimal { precision: 9, scale: 3 }, true),
            Arc::new(decimals(1)),
            "column `x` is `decimal(9, 3)`, but a batch came with Decimal128(9, 2)",
        ),
        (shape("x", Scalar::Int, true), Arc::new(NullArray::new(1)), "column `x` is `int`, but a batch came with Null"),
        (
            shape("x", Scalar::Int, false),
            Arc::new(Int64Array::from(vec![Some(1), None])),
            "column `x` is blank in row 2, but its type is `int`",
        ),
        (
            shape("y", Scalar::Int, true),
            Arc::new(Int64Array::from(vec![1])),
            "the table has the columns `y`, but a batch came with `x`",
        ),
    ];
    let folder = TempDir::new().unwrap();
    for (column, array, message) in cases {
        let error = write(&folder.path().join("table"), &[column], &[batch(array)]).unwrap_err();
        assert_eq!(error.to_string(), message);
    }
}

#[test]
fn the_row_of_a_blank_is_counted_over_all_batches() {
    let batch = |values: Vec<Option<i64>>| {
        RecordBatch::try_from_iter_with_nullable([("x", Arc::new(Int64Array::from(values)) as ArrayRef, true)]).unwrap()
    };
    let folder = TempDir::new().unwrap();
    let batches = [batch(vec![Some(1); 65_000]), batch([vec![Some(1); 600], vec![None]].concat())];
    let error = write(&folder.path().join("table"), &[shape("x", Scalar::Int, false)], &batches).unwrap_err();
    assert!(matches!(error, TableError::Blank { row: 65_601, .. }), "{error}");
}

#[test]
fn impossible_columns_are_refused() {
    let folder = TempDir::new().unwrap();
    let x = || shape("x", Scalar::Int, true);
    for columns in [
        vec![],
        vec![x(), x()],
        vec![shape("", Scalar::Int, true)],
        vec![shape("x", Scalar::Decimal { precision: 39, scale: 0 }, true)],
        vec![shape("x", Scalar::Decimal { precision: 3, scale: 4 }, true)],
    ] {
        assert!(Writer::create(&folder.path().join("table"), &columns).is_err(), "{columns:?}");
    }
}

#[test]
fn shape_of_knows_which_types_a_table_can_hold() {
    let schema = |data_type| Schema::new(vec![Field::new("x", data_type, false)]);
    let dictionary = DataType::Dictionary(Box::new(DataType::Int8), Box::new(DataType::Utf8View));
    assert_eq!(shape_of(&schema(dictionary)).unwrap(), [shape("x", Scalar::Str, false)]);
    for unknown in [DataType::Null, DataType::Binary, DataType::Time64(TimeUnit::Microsecond)] {
        assert!(matches!(shape_of(&schema(unknown)), Err(TableError::UnsupportedType { .. })));
    }
}

#[test]
fn a_truncated_file_is_refused() {
    let bytes = bytes_of(&all_columns(), &[rows(0..100)]);
    for len in [0, 5, 12, bytes.len() / 2, bytes.len() - 1] {
        assert!(matches!(open_bytes(&bytes[..len]), Err(TableError::Damaged { .. })), "{len}");
    }
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("table");
    fs::write(&path, &bytes).unwrap();
    assert!(matches!(Reader::open(&path, bytes.len() as u64 + 1), Err(TableError::Damaged { .. })));
    assert!(matches!(Reader::open(&folder.path().join("absent"), 100), Err(TableError::Read { .. })));
}

#[test]
fn text_that_is_not_utf8_is_refused() {
    let mut bytes = bytes_of_array(Scalar::Str, StringArray::from(vec!["needle"]));
    let at = bytes.windows(6).position(|window| window == b"needle").unwrap();
    bytes[at] = 0xff;
    let error = open_bytes(&bytes).unwrap_err().to_string();
    assert!(error.contains("column `x` of batch 1"), "{error}");
}

#[test]
fn a_changed_byte_anywhere_gives_an_error_or_a_table_but_never_a_crash() {
    let bytes = bytes_of(&all_columns(), &[rows(0..20)]);
    let n_columns = all_columns().len();
    for at in 0..bytes.len() {
        for change in [0x01, 0x80, 0xff] {
            let mut changed = bytes.clone();
            changed[at] ^= change;
            if let Ok(batches) = open_bytes(&changed) {
                assert!(batches.iter().all(|batch| batch.num_columns() == n_columns));
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn equal_rows_give_equal_bytes_however_they_are_cut(cuts in prop::collection::vec(0_usize..70_000, 0..12), offset in 0_usize..100) {
        let n_rows = 70_000;
        let padded = rows(-100..n_rows as i64);
        let table = padded.slice(100, n_rows);
        let expected = bytes_of(&all_columns(), std::slice::from_ref(&table));
        let mut cuts = cuts;
        cuts.extend([0, n_rows]);
        cuts.sort_unstable();
        let pieces: Vec<_> = cuts.windows(2).map(|cut| table.slice(cut[0], cut[1] - cut[0])).collect();
        prop_assert!(bytes_of(&all_columns(), &pieces) == expected);
        // The same rows at another offset of their buffers.
        let shifted = rows(-(offset as i64)..n_rows as i64).slice(offset, n_rows);
        prop_assert!(bytes_of(&all_columns(), &[shifted]) == expected);
    }
}
