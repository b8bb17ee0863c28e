//! Components that an enemy could have written, as text: what they may not do, and how they end.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::record_batch::RecordBatch;
use mlp_model::{Column, ErrorClass, Scalar, StepError};
use wasmtime::component::Component;
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};

use crate::engine::{GUEST_STACK, Limits, Profile, engine};
use crate::guest::{Context, Guest, wit};
use crate::sent::{self, Sent};
use crate::{fail, received};

const LIMITS: Limits =
    Limits { memory_bytes: 4 << 20, fuel_per_batch: 20_000_000, result_bytes: 1 << 20, table_elements: 1000 };

/// Makes a transform of a core module's fields. `map-rows` is given seven numbers and gives back where its answer lies.
fn transform(fields: &str) -> Vec<u8> {
    let mut resolve = wit_parser::Resolve::default();
    let (package, _) = resolve.push_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/wit")).unwrap();
    let world = resolve.select_world(&[package], Some("transform")).unwrap();
    let mut module = wat::parse_str(format!("(module {fields})")).unwrap();
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
    ComponentEncoder::default().validate(true).module(&module).unwrap().encode().unwrap()
}

/// A module whose function does `body`, and whose allocator gives away the second page.
fn with_body(body: &str) -> Vec<u8> {
    transform(&format!(
        r#"(memory (export "memory") 3)
           (table $table 1 funcref)
           (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) i32.const 65536)
           (func $again (export "map-rows") (param i32 i32 i32 i32 i32 i32 i32) (result i32) {body})
        "#
    ))
}

/// Runs the guest as a step does: on a thread with room for its stack.
fn run(component: &[u8], profile: Profile) -> Result<Vec<ArrayRef>, StepError> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(2 * GUEST_STACK);
        thread.spawn_scoped(scope, || run_here(component, profile)).unwrap().join().unwrap()
    })
}

fn run_here(component: &[u8], profile: Profile) -> Result<Vec<ArrayRef>, StepError> {
    let engine = engine(profile).unwrap();
    let component = Component::new(&engine, component).map_err(|error| fail::component(error.root_cause()))?;
    let mut guest = Guest::start(&engine, &component, LIMITS, profile)?;
    let schema = Arc::new(Schema::new(vec![Field::new("x", DataType::Float64, false)]));
    let array: ArrayRef = Arc::new(Float64Array::from(vec![1.5, 2.5]));
    let batch = RecordBatch::try_new(schema, vec![array]).unwrap();
    let given = Sent::new(&batch, 0, "x", Scalar::Float).unwrap();
    let adds = [Column::plain("x", Scalar::Float)];
    let fields = adds.each_ref().map(sent::field);
    let lent = [given.lend()];
    let answer = guest.map(wit::Batch { n_rows: 2, columns: &lent }, &fields, &[])?;
    let context = Context { shown: "t.wasm", source: b"", first_row: 0, n_rows: 2, personal: None };
    match answer.outcome {
        Ok(columns) => received::columns(columns, &adds, &context),
        Err(error) => Err(crate::guest::told(error, &context)),
    }
}

/// Writes numbers into memory and returns the place of the first, 1024.
///
/// An answer is: the printed lines (pointer, length), then a tag (0: columns, 1: error), then a list (pointer,
/// length) of columns: name (pointer, length), kind of values, list of values, validity (pointer, length).
fn answer(numbers: &[(u32, i64)]) -> String {
    let stores = numbers.iter().map(|(at, n)| format!("(i32.store (i32.const {at}) (i32.const {}))", *n as i32));
    format!("{} i32.const 1024", stores.collect::<String>())
}

/// A right answer: column `x` with the values 0.0 and 0.0.
const GOOD: [(u32, i64); 11] = [
    (1024, 0),
    (1028, 0),
    (1032, 0),
    (1036, 2048),
    (1040, 1),
    (2048, 3072),
    (2052, 1),
    (2056, 0),
    (2060, 4096),
    (2064, 2),
    (3072, b'x' as i64),
];

/// [`GOOD`], with other numbers at some places.
fn but(changes: &[(u32, i64)]) -> Vec<u8> {
    with_body(&answer(&[&GOOD[..], changes].concat()))
}

#[test]
fn the_answer_that_the_others_are_spoilt_from_is_right() {
    let columns = run(&but(&[]), Profile::Strict).unwrap();
    let expected: ArrayRef = Arc::new(Float64Array::from(vec![0.0, 0.0]));
    assert_eq!(columns, [expected]);
}

#[test]
fn an_answer_that_lies_is_refused_with_words() {
    let (huge, high) = (i64::from(u32::MAX), 0x7fff_fff0);
    for (what, component, expected) in [
        ("columns outside its memory", but(&[(1036, high)]), "cannot be read"),
        ("more columns than its memory holds", but(&[(1040, 1 << 20)]), "cannot be read"),
        ("a length that overflows", but(&[(1040, huge)]), "cannot be read"),
        ("a misaligned list", but(&[(1036, 2049)]), "cannot be read"),
        ("a tag that does not exist", but(&[(1032, 7)]), "cannot be read"),
        ("values outside its memory", but(&[(2060, high)]), "cannot be read"),
        ("a name that is no text", but(&[(3072, 0xff)]), "cannot be read"),
        ("a kind that does not exist", but(&[(2056, 99)]), "cannot be read"),
        ("printed lines outside its memory", but(&[(1028, 1 << 24)]), "cannot be read"),
        ("too few values", but(&[(2064, 1)]), "returned 1 values of column `x` for 2 rows"),
        ("another type", but(&[(2056, 1)]), "declared `float`, but came back as int"),
        ("another name", but(&[(3072, b'y'.into())]), "returned a column `y`, but declares `x` alone"),
        ("no columns", but(&[(1040, 0)]), "did not return column `x`"),
        ("validity of another length", but(&[(2076, 1)]), "which rows are blank"),
        ("an answer outside its memory", with_body("i32.const 0x7ffffff0"), "cannot be read"),
        ("a misaligned answer", with_body("i32.const 1025"), "cannot be read"),
        ("a row that does not exist", but(&[(1032, 1), (1036, 0), (1056, 1), (1060, 99)]), "`t.wasm` refuses a row"),
    ] {
        let error = run(&component, Profile::Strict).expect_err(what);
        assert!(error.message.contains(expected), "{what}: {error:#?}");
        assert!(error.help.is_some(), "{what}");
        assert!(!error.message.contains("backtrace"), "{what}: {error:#?}");
    }
}

#[test]
fn a_guest_that_takes_too_much_ends_and_the_limit_is_named() {
    let grow = "(loop (drop (memory.grow (i32.const 1))) (br 0)) unreachable";
    let grow_table =
        "(loop (br_if 0 (i32.ne (table.grow $table (ref.null func) (i32.const 1)) (i32.const -1)))) unreachable";
    let call_itself = "(call $again (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)
                       (i32.const 0))";
    // Empty lines, each of which takes more of the host's memory than the eight bytes of the guest's that tell of it.
    let much = answer(&[&GOOD[..], &[(1028, 100_000)]].concat());
    let much = format!("(drop (memory.grow (i32.const 20))) {much}");
    for (what, component, code, expected) in [
        ("an endless loop", with_body("(loop (br 0)) unreachable"), "W3206", "20000000 instructions"),
        ("memory that grows", with_body(grow), "W3207", "more than its 4 MiB of memory"),
        ("a table that grows is only refused", with_body(grow_table), "W3205", "stopped"),
        ("a call without end", with_body(call_itself), "W3208", "stack"),
        ("a trap", with_body("unreachable"), "W3205", "stopped"),
        ("a division by zero", with_body("(i32.div_u (i32.const 1) (i32.const 0))"), "W3205", "divide by zero"),
        ("reading beyond memory", with_body("(i32.load (i32.const -4))"), "W3205", "out of bounds"),
        ("more lines than a result may have", with_body(&much), "W3209", "more than 1 MiB"),
        (
            "a memory that begins too large",
            transform(
                r#"(memory (export "memory") 2000)
                   (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) i32.const 65536)
                   (func (export "map-rows") (param i32 i32 i32 i32 i32 i32 i32) (result i32) i32.const 0)"#,
            ),
            "W3207",
            "more than its 4 MiB of memory",
        ),
        (
            "an allocator that traps",
            transform(
                r#"(memory (export "memory") 3)
                   (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) unreachable)
                   (func (export "map-rows") (param i32 i32 i32 i32 i32 i32 i32) (result i32) i32.const 0)"#,
            ),
            "W3205",
            "stopped",
        ),
        (
            "an allocator that gives memory it has not",
            transform(
                r#"(memory (export "memory") 3)
                   (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) i32.const -8)
                   (func (export "map-rows") (param i32 i32 i32 i32 i32 i32 i32) (result i32) i32.const 0)"#,
            ),
            "W3209",
            "",
        ),
        (
            "a start function that never ends",
            transform(
                r#"(memory (export "memory") 3)
                   (func $start (loop (br 0)))
                   (start $start)
                   (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) i32.const 65536)
                   (func (export "map-rows") (param i32 i32 i32 i32 i32 i32 i32) (result i32) i32.const 0)"#,
            ),
            "W3206",
            "instructions",
        ),
    ] {
        let error = run(&component, Profile::Strict).expect_err(what);
        assert_eq!(error.code, code, "{what}: {error:#?}");
        assert_eq!(error.class, ErrorClass::Step, "{what}");
        assert!(error.message.contains(expected), "{what}: {error:#?}");
    }
    let error = run(&with_body(grow), Profile::Fast).unwrap_err();
    assert_eq!(error.code, "W3207");
}

#[test]
fn a_component_that_reaches_for_anything_is_not_run() {
    for (what, text, expected) in [
        ("a function", r#"(component (import "now" (func (result u64))))"#, "imports `now`"),
        (
            "a clock of WASI",
            r#"(component (import "wasi:clocks/wall-clock@0.2.0" (instance (export "now" (func)))))"#,
            "imports `wasi:clocks/wall-clock@0.2.0`",
        ),
        ("a component", r#"(component (import "inner" (component)))"#, "component imports are not supported"),
        ("a core module", r#"(component (import "code" (core module)))"#, "imports `code`"),
        (
            "a resource among types",
            r#"(component (import "a:b/c" (instance (export "file" (type (sub resource))))))"#,
            "imports `a:b/c`",
        ),
        ("nothing, but is no transform", "(component)", "map-rows"),
        ("a core module instead", "(module)", "cannot be run"),
    ] {
        let error = run(&wat::parse_str(text).unwrap(), Profile::Strict).expect_err(what);
        assert_eq!(error.code, "W3107", "{what}: {error:#?}");
        assert!(error.message.contains(expected), "{what}: {error:#?}");
    }
    let error = run(b"\0asm garbage", Profile::Strict).unwrap_err();
    assert_eq!(error.code, "W3107");
}
