use mlp_model::{Column, ErrorClass, Marks, Rule, Scalar, Value};

use super::support::{Fixture, column, optional, personal_key, schema, texts};

fn read(text: &str, open: bool, columns: &[Column]) -> Fixture {
    Fixture::new("csv.read").file("file", "data/a.csv", text.as_bytes()).param("schema", schema(open, columns))
}

impl Fixture {
    fn shape(&self) -> Vec<String> {
        let (shapes, _) = self.rows();
        shapes
            .iter()
            .map(|shape| format!("{}: {}{}", shape.name, shape.scalar, if shape.optional { "?" } else { "" }))
            .collect()
    }
}

fn min(value: i64) -> Rule {
    Rule::Min { value: Value::Int(value), inclusive: true }
}

fn max(value: i64) -> Rule {
    Rule::Max { value: Value::Int(value), inclusive: true }
}

#[test]
fn every_type_is_read_in_the_order_of_the_schema() {
    let columns = [
        column("i", Scalar::Int),
        column("f", Scalar::Float),
        column("b", Scalar::Bool),
        column("s", Scalar::Str),
        column("d", Scalar::Date),
        column("t", Scalar::Timestamp),
        column("m", Scalar::Decimal { precision: 9, scale: 2 }),
        optional("p", Scalar::Duration),
    ];
    let text = "\u{feff}p,m,t,d,s,b,f,i\r\n90s,12.5,2026-11-23 14:02:11,2026-11-23,\" a,b \",Yes, 1e3 ,-5\r\n\
                ,-0.01,1969-12-31T23:59:59.5+01:00,0001-01-01,\"x\n\"\"y\"\"\",f,.5,+7\r\n";
    let (_, rows) = read(text, false, &columns).rows();
    assert_eq!(
        rows,
        texts(&[
            &["-5", "1000.0", "true", " a,b ", "2026-11-23", "2026-11-23T14:02:11Z", "12.50", "90s"],
            &["7", "0.5", "false", "x\n\"y\"", "0001-01-01", "1969-12-31T22:59:59.500000Z", "-0.01", ""],
        ])
    );
}

#[test]
fn the_bytes_are_a_promise() {
    // When this fails, stored results differ from new ones: raise the version of `csv.read`.
    let text = "id,x,day,note\n1,0.5,2026-11-23,\n2,,2026-11-24,\"a,b\"\n3,1e-9,2026-11-25,-\n";
    let columns = [column("id", Scalar::Int), optional("x", Scalar::Float)];
    assert_eq!(read(text, true, &columns).digest().short(), "be09a4133428");
}

#[test]
fn how_a_file_is_written_does_not_change_the_table() {
    let columns = [column("a", Scalar::Int), optional("b", Scalar::Str)];
    let digest = read("a,b\n1,x\n2,\n", false, &columns).digest();
    for text in ["b,a\nx,1\n,2\n", "a,b\r\n1,x\r\n2,\r\n", "\u{feff}\"a\",\"b\"\n\n\"1\",\"x\"\n\n2,\"\"\n\n\n"] {
        assert_eq!(read(text, false, &columns).digest(), digest, "{text:?}");
    }
    let semicolons = read("a;b\n1;x\n2;\n", false, &columns).param("delimiter", Value::Str(";".into()));
    assert_eq!(semicolons.digest(), digest);
}

#[test]
fn a_file_with_a_header_alone_is_a_table_without_rows() {
    for text in ["a,b\n", "a,b"] {
        let (shapes, rows) = read(text, true, &[column("a", Scalar::Int)]).rows();
        assert_eq!((shapes.len(), rows.len()), (2, 0));
    }
}

#[test]
fn further_columns_of_an_open_schema_are_typed_by_all_their_values() {
    let text = "n,m,f,b,d,t,s,zip,yes,none,k\n\
                1,1,1,true,2026-01-01,2026-01-01 00:00:00,a,01234,yes,,1\n\
                -2,,2.5,FALSE,2026-01-02,2026-01-01T00:00:00Z,1,99999,no,,2\n\
                3,7, 1e3,true,2026-01-03,2026-01-01T00:00:00.5Z,,1,yes,,3\n";
    let shape = read(text, true, &[column("k", Scalar::Int)]).shape();
    let expected = [
        "k: int",
        "n: int",
        "m: int?",
        "f: float",
        "b: bool",
        "d: date",
        "t: timestamp",
        "s: str?",
        "zip: str",
        "yes: str",
        "none: str?",
    ];
    assert_eq!(shape, expected);
}

#[test]
fn a_column_is_text_when_its_last_of_many_rows_says_so() {
    let mut text = String::from("k,x\n");
    for i in 0..70_000 {
        text.push_str(&format!("{i},{i}\n"));
    }
    text.push_str("70000,n/a\n");
    let fixture = read(&text, true, &[column("k", Scalar::Int)]);
    assert_eq!(fixture.shape(), ["k: int", "x: str"]);
    let (_, rows) = fixture.rows();
    assert_eq!(
        (rows.len(), &rows[69_999][..], &rows[70_000][..]),
        (70_001, &texts(&[&["69999", "69999"]])[0][..], &texts(&[&["70000", "n/a"]])[0][..])
    );
}

#[test]
fn cells_that_mean_blank_are_chosen() {
    let blank = |markers: &[&str]| Value::List(markers.iter().map(|marker| Value::Str((*marker).into())).collect());
    let columns = [optional("x", Scalar::Float), optional("s", Scalar::Str)];
    let fixture = read("x,s\nNA,NA\n 1 ,\n,x\n", false, &columns);
    assert_eq!(fixture.error().message, "1 value of `x` in `data/a.csv` is not of type `float`");
    let (_, rows) = fixture.param("blank", blank(&["", "NA"])).rows();
    assert_eq!(rows, texts(&[&["", ""], &["1.0", ""], &["", "x"]]));
    // Without the empty cell among them, an empty text is a text.
    let required = [column("s", Scalar::Str), column("n", Scalar::Int)];
    let (_, rows) = read("s,n\n,1\n", false, &required).param("blank", blank(&["NA"])).rows();
    assert_eq!(rows, texts(&[&["", "1"]]));
}

#[test]
fn blanks_of_a_required_column_are_told_as_its_owner_needs_it() {
    let columns = [personal_key("customerID"), column("TotalCharges", Scalar::Float)];
    let mut text = String::from("customerID,TotalCharges\n");
    for i in 0..40 {
        let total = if i % 4 == 3 { " ".to_owned() } else { format!("{i}.5") };
        text.push_str(&format!("7590-SECRET{i},{total}\n"));
    }
    let error = read(&text, false, &columns).error();
    assert_eq!(error.class, ErrorClass::Data);
    assert_eq!(error.code, "D1104");
    assert_eq!(error.message, "10 values of `TotalCharges` in `data/a.csv` are blank, but the column is `float`");
    assert_eq!(
        (error.row, error.column.as_deref(), error.argument.as_deref()),
        (Some(5), Some("TotalCharges"), Some("file"))
    );
    assert_eq!(error.help.as_deref(), Some("allow blanks with `TotalCharges: float?`, or correct the file"));
    assert_eq!(error.detail.len(), 11);
    assert_eq!(
        error.detail[..2],
        ["line  customerID  column        value  rule", "   5  personal    TotalCharges  \" \"    not blank"]
    );
    assert!(!format!("{error:?}").contains("SECRET"));
}

#[test]
fn all_faults_are_counted_and_the_first_twenty_shown() {
    let mut tenure = column("tenure", Scalar::Int);
    tenure.rules = vec![min(0), max(120)];
    let mut contract = column("Contract", Scalar::Str);
    contract.rules = vec![Rule::OneOf(vec![Value::Str("One year".into()), Value::Str("Two year".into())])];
    let mut email = column("email", Scalar::Int);
    email.marks.personal = true;
    let mut text = String::from("tenure,Contract,email\n");
    for i in 0..100_000 {
        text.push_str(match i {
            70_000 => "121,One year,1\n",
            10 | 20 => "x,Monthly,1\n",
            30 => "-1,Two year,a@b.example\n",
            i if i >= 99_980 => "5,\"line\nbreak\",1\n",
            _ => "5,One year,1\n",
        });
    }
    let error = read(&text, false, &[tenure, contract, email]).error();
    assert_eq!(error.message, "27 values of `data/a.csv` break schema `Customer`");
    assert_eq!(error.row, Some(12));
    let detail = error.detail;
    assert_eq!(detail[0], "  line  column    value          rule");
    assert_eq!(detail[1], "    12  tenure    \"x\"            int");
    assert_eq!(detail[2], "    12  Contract  \"Monthly\"      in [\"One year\", \"Two year\"]");
    assert_eq!(detail[5], "    32  tenure    \"-1\"           >= 0");
    assert_eq!(detail[6], "    32  email     personal       int");
    assert_eq!(detail[7], " 70002  tenure    \"121\"          <= 120");
    assert_eq!(detail[8], " 99982  Contract  \"line\\nbreak\"  in [\"One year\", \"Two year\"]");
    assert_eq!(detail[9], " 99984  Contract  \"line\\nbreak\"  in [\"One year\", \"Two year\"]");
    assert_eq!(detail[21], ".. 7 more");
    assert_eq!(
        detail[22..],
        [
            "2 values of `tenure` are not of type `int`",
            "1 value of `tenure` breaks the rule `>= 0`",
            "1 value of `tenure` breaks the rule `<= 120`",
            "22 values of `Contract` break the rule `in [\"One year\", \"Two year\"]`",
            "1 value of `email` is not of type `int`",
        ]
    );
}

#[test]
fn rules_compare_values_of_every_type() {
    let date = |text: &str| Value::Str(text.into());
    let rule = |min: bool, value: Value, inclusive: bool| {
        if min { Rule::Min { value, inclusive } } else { Rule::Max { value, inclusive } }
    };
    let decimal = Scalar::Decimal { precision: 9, scale: 2 };
    let cases: [(Scalar, Rule, &[&str], &[&str]); 13] = [
        (Scalar::Int, rule(true, Value::Int(0), false), &["1", "9"], &["0", "-1"]),
        (Scalar::Int, rule(false, Value::Float(1.5), true), &["1", "-9"], &["2"]),
        (Scalar::Int, rule(true, Value::Float(-1.5), false), &["-1"], &["-2"]),
        (Scalar::Int, Rule::OneOf(vec![Value::Int(1), Value::Int(3)]), &["1", "3"], &["2"]),
        (Scalar::Float, rule(true, Value::Int(0), true), &["0", "-0.0", "1e-300"], &["-1e-300"]),
        (Scalar::Float, rule(false, Value::Float(0.1), false), &["0.0999"], &["0.1"]),
        (Scalar::Float, Rule::OneOf(vec![Value::Float(0.5), Value::Int(2)]), &["0.5", "2.0"], &["1"]),
        (decimal, rule(true, Value::Float(0.1), true), &["0.1", "0.10"], &["0.09"]),
        (decimal, rule(false, Value::Float(0.005), true), &["0"], &["0.01"]),
        (Scalar::Date, rule(true, date("2026-01-01"), true), &["2026-01-01"], &["2025-12-31"]),
        (
            Scalar::Timestamp,
            rule(false, date("2026-01-01T00:00:00Z"), false),
            &["2025-12-31 23:59:59"],
            &["2026-01-01 00:00:00"],
        ),
        (Scalar::Duration, rule(false, Value::DurationMs(60_000), true), &["60s", "1m"], &["61s"]),
        (Scalar::Bool, Rule::OneOf(vec![Value::Bool(true)]), &["yes"], &["no"]),
    ];
    for (scalar, rule, good, bad) in cases {
        let shown = format!("{scalar} {rule}");
        let column = Column { rules: vec![rule], ..column("x", scalar) };
        let text = |cells: &[&str]| format!("x\n{}\n", cells.join("\n"));
        read(&text(good), false, std::slice::from_ref(&column)).run().expect(&shown);
        let error = read(&text(bad), false, &[column]).error();
        assert_eq!((error.code.as_str(), error.detail.len()), ("D1104", 1 + bad.len()), "{shown}");
    }
}

#[test]
fn a_key_is_unique_over_the_whole_file_and_never_blank() {
    let mut text = String::from("id,x\n");
    for i in 0..70_000 {
        text.push_str(&format!("c{},1\n", if i == 69_999 { 3 } else { i }));
    }
    let key = Column { marks: Marks { key: true, ..Marks::default() }, ..column("id", Scalar::Str) };
    let columns = [key.clone(), column("x", Scalar::Int)];
    let error = read(&text, false, &columns).error();
    assert_eq!(error.message, "1 value of the key `id` in `data/a.csv` repeats an earlier one");
    assert_eq!(error.detail[1], "70001  \"c3\"  id      \"c3\"   unique, but as in line 5");
    let error = read("id,x\n,1\n,2\n", false, &[Column { optional: true, ..key }, column("x", Scalar::Int)]).error();
    assert_eq!(error.message, "2 values of `id` in `data/a.csv` are blank, but the column is `str`");
    assert_eq!(error.help.as_deref(), Some("a key is never blank: fill in `id`"));
}

#[test]
fn keys_of_every_type_are_compared_by_value() {
    let decimal = Scalar::Decimal { precision: 9, scale: 2 };
    for (scalar, same, other) in [
        (Scalar::Int, ["7", "+7"], "8"),
        (Scalar::Float, ["0.0", "-0"], "1"),
        (Scalar::Bool, ["yes", "TRUE"], "no"),
        (Scalar::Date, ["2026-01-01", "2026-01-01"], "2026-01-02"),
        (decimal, ["1.5", "1.50"], "1.51"),
    ] {
        let key = Column { marks: Marks { key: true, ..Marks::default() }, ..column("k", scalar) };
        let columns = [key, optional("x", Scalar::Int)];
        read(&format!("k,x\n{},\n{other},\n", same[0]), false, &columns).run().unwrap();
        let error = read(&format!("k,x\n{},\n{},\n", same[0], same[1]), false, &columns).error();
        assert_eq!(error.message, "1 value of the key `k` in `data/a.csv` repeats an earlier one", "{scalar}");
    }
}

#[test]
fn ragged_records_are_counted_with_their_physical_lines() {
    let columns = [column("a", Scalar::Int), column("b", Scalar::Str)];
    let error = read("a,b\n1,\"x\ny\"\n\n2\n3,z,3\nq,z\n", false, &columns).error();
    assert_eq!((error.class, error.code.as_str(), error.row), (ErrorClass::Data, "D1103", Some(5)));
    assert_eq!(error.message, "2 records of `data/a.csv` do not have the 2 cells of the first record");
    assert_eq!(
        error.detail,
        [
            "line  expected  found",
            "   5  2         1",
            "   6  2         3",
            "beside that, 1 value breaks schema `Customer`:",
            "line  column  value  rule",
            "   7  a       \"q\"    int",
        ]
    );
    let mut text = String::from("a,b\n");
    text.push_str(&"1\n".repeat(1_234));
    let error = read(&text, false, &columns).error();
    assert!(error.message.starts_with("1,234 records"), "{error}");
    assert_eq!((error.detail.len(), error.detail[21].as_str()), (22, ".. 1,214 more"));
}

#[test]
fn files_that_are_no_table_of_text_are_refused() {
    let columns = [column("a", Scalar::Int)];
    let cases: [(&[u8], &str, &str); 9] = [
        (b"", "D1102", "`data/a.csv` is empty"),
        (b"\n\r\n", "D1102", "`data/a.csv` is empty"),
        (
            b"b\n1\n",
            "D1102",
            "`data/a.csv` lacks the column `a` and has the column `b`, which schema `Customer` does not declare",
        ),
        (b"a,a\n1,1\n", "D1102", "`data/a.csv` has two columns called `a`"),
        (b"a\n1\n\xff\n", "D1101", "`data/a.csv` is not UTF-8: byte 0xff at offset 4, on line 3"),
        (b"a\n1\0\n", "D1101", "`data/a.csv` holds a zero byte at offset 3, on line 2: it is no text"),
        (b"\xff\xfea\0", "D1101", "`data/a.csv` is UTF-16, not UTF-8"),
        (b"a\n1\n\"2\n3\n", "D1105", "a quote in the record on line 3 of `data/a.csv` is never closed"),
        (b"a\n99999999999999999999\n", "D1104", "1 value of `a` in `data/a.csv` is not of type `int`"),
    ];
    for (bytes, code, message) in cases {
        let fixture =
            Fixture::new("csv.read").file("file", "data/a.csv", bytes).param("schema", schema(false, &columns));
        let error = fixture.error();
        assert_eq!((error.code.as_str(), error.message.as_str(), error.class), (code, message, ErrorClass::Data));
        assert!(error.help.is_some(), "{error}");
    }
}

#[test]
fn a_file_that_is_gone_is_a_matter_of_the_environment() {
    let fixture = read("a\n1\n", false, &[column("a", Scalar::Int)]);
    std::fs::remove_file(&fixture.step.inputs["file"].path).unwrap();
    let error = fixture.error();
    assert_eq!(
        (error.class, error.message.as_str()),
        (ErrorClass::Environment, "cannot read `data/a.csv`: file not found")
    );
}
