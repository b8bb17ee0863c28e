//! What each operation gives, and each of its refusals; `torch.train` and what uses its models are in `training`.

use mlp_model::{Column, Marks, Named, ReportType, Role, Scalar, Schema, TableType, Type, Value, Word};

use crate::support::{infer, mistakes, plain, record, table, text, texts};

fn marked(name: &str, scalar: Scalar, mark: fn(&mut Marks)) -> Column {
    let mut column = plain(name, scalar);
    mark(&mut column.marks);
    column
}

fn customers() -> TableType {
    table(&[
        marked("id", Scalar::Str, |m| (m.key, m.personal) = (true, true)),
        marked("gender", Scalar::Str, |m| m.protected = true),
        plain("tenure", Scalar::Int),
        Column { optional: true, ..plain("charges", Scalar::Float) },
        plain("since", Scalar::Date),
        plain("price", Scalar::Decimal { precision: 10, scale: 2 }),
        marked("casual", Scalar::Int, |m| m.unusable = Some("part of the answer".into())),
        marked("churn", Scalar::Bool, |m| m.label = true),
    ])
}

fn data(role: Role) -> (&'static str, Type) {
    ("data", Type::Table(TableType { role, ..customers() }))
}

fn schema(open: bool, columns: &[Column]) -> Value {
    Value::Schema(Box::new(Schema { name: "S".into(), open, columns: columns.to_vec() }))
}

/// The only output, which must be a table.
fn out(op: &str, inputs: &[(&str, Type)], params: &[(&str, Value)]) -> TableType {
    let inferred = infer(op, inputs, params).unwrap_or_else(|errors| panic!("{op}: {errors:?}"));
    match inferred.outputs.as_slice() {
        [(name, Type::Table(table))] if name == "out" => table.clone(),
        other => panic!("{op} gave {other:?}"),
    }
}

#[track_caller]
fn check_refused(op: &str, inputs: &[(&str, Type)], params: &[(&str, Value)], expected: &[&str]) {
    assert_eq!(mistakes(infer(op, inputs, params)), expected);
}

#[test]
fn reading_gives_the_columns_of_the_schema() {
    let columns = customers().columns;
    for open in [false, true] {
        for op in ["csv.read", "parquet.read"] {
            let expected = TableType { columns: columns.clone().into(), open, role: Role::All };
            assert_eq!(out(op, &[("file", Type::File)], &[("schema", schema(open, &columns))]), expected);
        }
    }
    assert!(out("csv.read", &[("file", Type::File)], &[("schema", schema(true, &[]))]).columns.is_empty());
}

#[test]
fn reading_refuses_an_empty_schema_and_odd_delimiters() {
    let file = [("file", Type::File)];
    let empty = "E0340 schema: schema `S` has no columns | declare the columns to read, or make it `open`";
    check_refused("parquet.read", &file, &[("schema", schema(false, &[]))], &[empty]);
    let one = schema(false, &[plain("a", Scalar::Int)]);
    for delimiter in ["", ",,", "é", "\n", "\"", "\r"] {
        let message = format!(
            "E0354 delimiter: `delimiter` must be one ASCII character other than a quote or line break, got {delimiter:?} \
             | usual ones are `,` `;` `|` and `\\t`"
        );
        check_refused("csv.read", &file, &[("schema", one.clone()), ("delimiter", text(delimiter))], &[&message]);
    }
    for delimiter in [",", ";", "\t", "|"] {
        out("csv.read", &file, &[("schema", one.clone()), ("delimiter", text(delimiter))]);
    }
    let line_break = "E0354 blank[1]: a cell that means no value cannot contain a line break";
    let params = [("schema", schema(false, &[])), ("blank", texts(&["NA", "a\nb"]))];
    check_refused("csv.read", &file, &params, &[empty, line_break]);
}

#[test]
fn files_and_folders_come_as_they_are() {
    for (op, inputs, ty) in [
        ("file", [("path", Type::File)], Type::File),
        ("folder", [("path", Type::Folder)], Type::Folder),
        ("csv.write", [data(Role::Test)], Type::File),
        ("parquet.write", [data(Role::Train)], Type::File),
    ] {
        assert_eq!(infer(op, &inputs, &[]).unwrap().outputs, [("out".into(), ty)], "{op}");
    }
}

#[test]
fn a_split_gives_train_and_test_rows_with_all_columns() {
    let cases: [(&str, &[(&str, Value)]); 4] = [
        ("table.split", &[("test", Value::Float(0.2)), ("seed", Value::Int(7))]),
        ("table.split", &[("test", Value::Float(0.2)), ("seed", Value::Int(7)), ("stratify", text("churn"))]),
        ("table.split_rows", &[("every", Value::Int(5)), ("at", Value::Int(4))]),
        ("table.split_time", &[("by", text("since")), ("test", Value::Float(0.2))]),
    ];
    for (op, params) in cases {
        for role in [Role::All, Role::Train] {
            let part = |role| Type::Table(TableType { role, ..customers() });
            let expected = [("train".into(), part(Role::Train)), ("test".into(), part(Role::Test))];
            assert_eq!(infer(op, &[data(role)], params).unwrap().outputs, expected, "{op}");
        }
    }
}

#[test]
fn where_keeps_columns_and_role_and_takes_a_value_of_the_columns_type() {
    let of = |column: &'static str, equals: Value| [("column", text(column)), ("equals", equals)];
    let found = out("table.where", &[data(Role::Test)], &of("gender", text("f")));
    assert_eq!(found, TableType { role: Role::Test, ..customers() });
    let all = [data(Role::All)];
    let message = "E0301 equals: `equals` must be a value of column `gender`, which is of type str";
    check_refused("table.where", &all, &of("gender", Value::Int(1)), &[message]);
    check_refused(
        "table.where",
        &all,
        &of("gendr", Value::Int(1)),
        &["E0312 column: `gendr` is not a column of `data` | did you mean `gender`?"],
    );
    check_refused(
        "table.where",
        &all,
        &of("price", Value::Int(1)),
        &["E0342 column: `column` takes an int, float, str, bool or date column, `price` is decimal(10, 2) \
         | use a `where` in a `sql` step"],
    );
    let params = infer("table.where", &all, &of("charges", Value::Int(1))).unwrap().params;
    assert_eq!(params, Named::from([("equals", Value::Float(1.0))]));
}

#[test]
fn concat_takes_tables_of_one_shape_and_role_and_keeps_every_mark() {
    let of = |tables: &[(&'static str, TableType)]| -> Vec<(&'static str, Type)> {
        tables.iter().map(|(name, ty)| (*name, Type::Table(ty.clone()))).collect()
    };
    let test = TableType { role: Role::Test, ..customers() };
    assert_eq!(out("table.concat", &of(&[("tables.a", test.clone()), ("tables.b", test.clone())]), &[]), test);
    let mut blank = test.clone();
    (blank.columns[2].optional, blank.columns[3].marks.personal) = (true, true);
    for order in [[test.clone(), blank.clone()], [blank.clone(), test.clone()]] {
        let [a, b] = order;
        assert_eq!(out("table.concat", &of(&[("tables.a", a), ("tables.b", b)]), &[]), blank);
    }

    let (mut fewer, mut other, mut turned) = (test.clone(), test.clone(), test.clone());
    fewer.columns.pop();
    other.columns[2].scalar = Scalar::Float;
    turned.columns.swap(1, 2);
    let cases = [
        (fewer.clone(), "`b` has no column `churn`, and `a` has one"),
        (other, "`b` has a column `tenure` of type float, in `a` it is int"),
        (turned, "`b` has its columns in another order than `a`: first `tenure`"),
    ];
    for (second, message) in cases {
        let tables = of(&[("tables.a", test.clone()), ("tables.b", second)]);
        check_refused("table.concat", &tables, &[], &[&format!("E0349 tables: {message}")]);
    }
    let tables = of(&[("tables.a", fewer), ("tables.b", test.clone())]);
    check_refused("table.concat", &tables, &[], &["E0349 tables: `b` has a column `churn`, and `a` has none"]);
    let tables = of(&[("tables.a", customers()), ("tables.b", test)]);
    let message = "E0349 tables: `b` has test rows, and `a` has all rows | rows of one role go together: what is set aside stays so";
    check_refused("table.concat", &tables, &[], &[message]);
    check_refused("table.concat", &[], &[], &["E0349 tables: there are no tables to put together"]);
    let file = [("tables.a", Type::File)];
    check_refused("table.concat", &file, &[], &["E0349 tables: `a` is a file, not a table"]);
}

#[test]
fn a_whole_number_is_a_float_in_the_key() {
    let inputs = [("predictions", Type::Table(table(&[plain("actual", Scalar::Bool), plain("score", Scalar::Float)])))];
    let params = infer("eval.binary", &inputs, &[("threshold", Value::Int(1))]).unwrap().params;
    assert_eq!(params, Named::from([("threshold", Value::Float(1.0))]));
}

#[test]
fn splits_refuse_fractions_columns_and_rows_that_make_no_sense() {
    let all = [data(Role::All)];
    for test in [0.0, 1.0, -0.5, f64::NAN] {
        let message = format!(
            "E0350 test: `test` must be more than 0 and less than 1, got {test} | `test: 0.2` sets a fifth of the rows aside"
        );
        check_refused("table.split", &all, &[("test", Value::Float(test)), ("seed", Value::Int(0))], &[&message]);
        check_refused("table.split_time", &all, &[("test", Value::Float(test)), ("by", text("since"))], &[&message]);
    }
    let split = |stratify| [("test", Value::Float(0.5)), ("seed", Value::Int(0)), ("stratify", text(stratify))];
    check_refused(
        "table.split",
        &all,
        &split("Churn"),
        &["E0312 stratify: `Churn` is not a column of `data` | did you mean `churn`?"],
    );
    for (name, scalar) in [("charges", "float"), ("price", "decimal(10, 2)")] {
        let message = format!(
            "E0342 stratify: `stratify` takes a bool, int, str or date column, `{name}` is {scalar} \
             | make a column of a few classes from it, with `sql`"
        );
        check_refused("table.split", &all, &split(name), &[&message]);
    }
    check_refused(
        "table.split_time",
        &all,
        &[("by", text("gender")), ("test", Value::Float(2.0))],
        &[
            "E0342 by: `by` takes a date, timestamp or int column, `gender` is str \
             | declare the column as `date` or `timestamp` in the schema, or make one with `sql`",
            "E0350 test: `test` must be more than 0 and less than 1, got 2 | `test: 0.2` sets a fifth of the rows aside",
        ],
    );
    check_refused(
        "table.split_rows",
        &all,
        &[("every", Value::Int(5)), ("at", Value::Int(5))],
        &["E0350 at: `at` must be less than `every`: no row number leaves 5 when divided by 5 \
           | the rows of one in 5 are numbered 0 to 4"],
    );
}

#[test]
fn a_transform_replaces_columns_in_place_and_appends_new_ones() {
    let adds = schema(false, &[plain("bucket", Scalar::Int), plain("charges", Scalar::Float)]);
    let params = [("columns", texts(&["tenure", "charges"])), ("adds", adds)];
    let found = out("wasm.map", &[data(Role::Test), ("source", Type::File)], &params);
    let mut expected = customers().columns;
    expected[3] = plain("charges", Scalar::Float);
    expected.push(plain("bucket", Scalar::Int));
    assert_eq!(found, TableType { columns: expected, open: false, role: Role::Test });
}

#[test]
fn computed_columns_inherit_the_marks_of_what_they_are_computed_from() {
    let added = |reads: &[&str], declared: Marks| {
        let adds = schema(false, &[Column { marks: declared, ..plain("new", Scalar::Float) }]);
        let inputs = [data(Role::All), ("source", Type::File)];
        let found = out("wasm.map", &inputs, &[("columns", texts(reads)), ("adds", adds)]);
        found.column("new").unwrap().marks.clone()
    };
    let none = Marks::default;
    assert_eq!(added(&["tenure", "charges"], none()), none());
    assert_eq!(added(&["id"], none()), Marks { personal: true, ..none() });
    assert_eq!(added(&["gender", "churn"], none()), Marks { protected: true, label: true, ..none() });
    let reason = Some("computed from `casual`: part of the answer".to_owned());
    assert_eq!(added(&["tenure", "casual"], none()), Marks { unusable: reason, ..none() });
    let own = Some("a guess".to_owned());
    let declared = Marks { unusable: own.clone(), key: true, ..none() };
    assert_eq!(added(&["casual", "id"], declared), Marks { unusable: own, key: true, personal: true, ..none() });
}

#[test]
fn a_transform_refuses_unknown_columns_and_results_that_are_not_settled() {
    let inputs = [data(Role::All), ("source", Type::File)];
    let good = schema(false, &[plain("took", Scalar::Duration)]);
    check_refused(
        "wasm.map",
        &inputs,
        &[("columns", texts(&["tenur", "charges", "charges", "price", "zzz"])), ("adds", good)],
        &[
            "E0312 columns[0]: `tenur` is not a column of `data` | did you mean `tenure`?",
            "E0341 columns[2]: column `charges` is named twice",
            "E0312 columns[4]: `zzz` is not a column of `data`",
        ],
    );
    let columns = || ("columns", texts(&["tenure"]));
    check_refused(
        "wasm.map",
        &inputs,
        &[columns(), ("adds", schema(true, &[plain("x", Scalar::Int)]))],
        &["E0340 adds: schema `S` is open, but a transform returns exactly the declared columns \
           | declare it without `open`"],
    );
    check_refused(
        "wasm.map",
        &inputs,
        &[columns(), ("adds", schema(false, &[]))],
        &["E0340 adds: schema `S` has no columns, so the transform would have no effect \
           | declare the columns that the function returns"],
    );
}

#[test]
fn only_declared_columns_of_an_open_table_can_be_named() {
    let open = Type::Table(TableType { open: true, ..customers() });
    check_refused(
        "table.split_time",
        &[("data", open)],
        &[("by", text("zzz")), ("test", Value::Float(0.5))],
        &[
            "E0312 by: `zzz` is not a column of `data` | only columns that the schema declares can be named: declare it there",
        ],
    );
}

fn sh(command: &str, inputs: &[(&str, Type)], outputs: &[(&str, &str)]) -> Result<Vec<(Word, Type)>, Vec<String>> {
    let inputs: Vec<(String, Type)> = inputs.iter().map(|(n, ty)| (format!("inputs.{n}"), ty.clone())).collect();
    let inputs: Vec<(&str, Type)> = inputs.iter().map(|(n, ty)| (n.as_str(), ty.clone())).collect();
    let outputs = Value::Record(outputs.iter().map(|(n, kind)| ((*n).to_owned(), text(kind))).collect());
    let result = infer("sh", &inputs, &[("command", text(command)), ("outputs", outputs)]);
    result.map(|inferred| inferred.outputs).map_err(|errors| mistakes(Err(errors)))
}

#[test]
fn a_command_gives_the_outputs_it_declares() {
    let report = Type::Report(ReportType::default().into());
    let inputs = [("raw", Type::File), ("pages", Type::Folder), ("quality", report)];
    let outputs = [("sorted", "file"), ("parts", "folder")];
    let expected = [("parts".into(), Type::Folder), ("sorted".into(), Type::File)];
    assert_eq!(sh("x {raw} '{{}}' > {sorted} && mv y {parts}", &inputs, &outputs), Ok(expected.into()));
    assert_eq!(sh("date > {now}", &[], &[("now", "file")]), Ok(vec![("now".into(), Type::File)]));
}

#[test]
fn a_command_says_which_outputs_it_may_leave_out_and_which_inputs_it_names() {
    let inputs = [("inputs.model_1", Type::File), ("inputs.model_2", Type::File), ("inputs.rows", Type::File)];
    let outputs = [("best", "file"), ("log", "folder?"), ("notes", "file?")];
    let outputs = Value::Record(outputs.iter().map(|(name, kind)| ((*name).to_owned(), text(kind))).collect());
    let at = Value::Record([("rows".to_owned(), text("data/rows.csv"))].into());
    let command = text("cat {model_2} in/* > {best}; ls > {notes}; mkdir {log}");
    let inferred = infer("sh", &inputs, &[("command", command), ("outputs", outputs), ("at", at)]).expect("it fits");
    let types: Vec<&Type> = inferred.outputs.iter().map(|(_, ty)| ty).collect();
    assert_eq!(types, [&Type::File, &Type::Folder, &Type::File]);
    assert_eq!(inferred.optional, ["log", "notes"].map(str::to_owned).into());
    assert_eq!(inferred.named, ["inputs.model_2", "inputs.rows"].map(str::to_owned).into());
}

#[test]
fn a_command_is_refused_when_names_and_braces_do_not_fit() {
    let file = [("raw", Type::File)];
    let out = [("sorted", "file")];
    type Case<'c> = (&'c str, &'c [(&'c str, Type)], &'c [(&'c str, &'c str)], &'c [&'c str]);
    let cases: [Case<'_>; 9] = [
        (" ", &file, &out, &["E0346 command: the command is empty"]),
        (
            "sort {rwa} > {sorted}",
            &file,
            &out,
            &["E0346 command@5..10: `rwa` is neither an input nor an output of this step | did you mean `raw`?"],
        ),
        (
            "echo ${HOME} > {sorted}",
            &file,
            &out,
            &["E0346 command@6..12: `HOME` is neither an input nor an output of this step \
               | there are `raw` and `sorted`; for braces that the shell is to see, write `{{HOME}}`"],
        ),
        (
            "awk '{print $1}' > {sorted}",
            &file,
            &out,
            &[
                "E0346 command@5..6: `{` belongs to a placeholder, but no name and `}` follow \
                 | write `{{` for a brace that the shell is to see",
                "E0346 command@14..15: `}` belongs to a placeholder, but no `{` precedes it \
                 | write `}}` for a brace that the shell is to see",
            ],
        ),
        (
            "sort {raw}",
            &file,
            &out,
            &["E0347 command: the command does not mention output `sorted`, so it cannot know where to write it \
               | write `{sorted}` where its path belongs"],
        ),
        (
            "true",
            &file,
            &[],
            &["E0347 outputs: the step has no outputs, so nothing could use its result \
               | name what the command makes: `outputs: { result: file }`"],
        ),
        (
            "cp {raw} {raw}",
            &file,
            &[("raw", "file")],
            &["E0347 outputs.raw: `raw` is both an input and an output, so `{raw}` could mean either \
               | give one of them another name"],
        ),
        (
            "x {clean} > {sorted}",
            &[("clean", Type::Table(TableType::default()))],
            &out,
            &[
                "E0345 inputs.clean: input `clean` is a table, and programs read files | write it first: `csv.write(clean)`",
            ],
        ),
        (
            "x {n} > {sorted}",
            &[("n", Type::Scalar(Scalar::Int))],
            &out,
            &["E0345 inputs.n: input `n` is of type int, and programs read files, folders, reports and models \
               | write the value into the command, or give it as a variable with `env`"],
        ),
    ];
    for (command, inputs, outputs, expected) in cases {
        let expected: Vec<String> = expected.iter().map(|line| (*line).to_owned()).collect();
        assert_eq!(sh(command, inputs, outputs), Err(expected), "{command}");
    }
}

#[test]
fn a_variable_is_set_or_passed_but_not_both() {
    check_refused(
        "sh",
        &[],
        &[
            ("command", text("x > {out}")),
            ("outputs", record(&[("out", text("file"))])),
            ("env", record(&[("LANG", text("C")), ("a=b", text(""))])),
            ("pass_env", texts(&["HOME", "LANG", "A B", "1ST"])),
        ],
        &[
            "E0354 env.a=b: `a=b` is not the name of a variable: letters, digits and `_`, no digit first",
            "E0354 pass_env[1]: variable `LANG` is both in `env` and in `pass_env`",
            "E0354 pass_env[2]: `A B` is not the name of a variable: letters, digits and `_`, no digit first",
            "E0354 pass_env[3]: `1ST` is not the name of a variable: letters, digits and `_`, no digit first",
        ],
    );
}

#[test]
fn an_unconfined_command_is_not_given_the_network_once_more() {
    let command = [("command", text("x > {out}")), ("outputs", record(&[("out", text("file"))]))];
    let with = |confine: &str, network: bool| {
        let rest = [("confine", text(confine)), ("network", Value::Bool(network))];
        let params: Vec<_> = command.iter().cloned().chain(rest).collect();
        infer("sh", &[], &params).map(|_| ()).map_err(|errors| mistakes(Err(errors)))
    };
    assert_eq!([with("on", false), with("on", true), with("off", false)], [Ok(()), Ok(()), Ok(())]);
    let expected = "E0355 network: an unconfined step has the network anyway \
                    | leave out `confine: off` to keep it from other files, or leave out `network`";
    assert_eq!(with("off", true), Err(vec![expected.to_owned()]));
}

#[test]
fn inputs_and_outputs_stand_at_places_of_their_own() {
    let inputs = [("inputs.raw", Type::File), ("inputs.src", Type::Folder)];
    let outputs = record(&[("model", text("file")), ("plots", text("folder"))]);
    let placed = |at: &[(&str, &str)], texts: &[(&str, &str)]| {
        let at: Vec<_> = at.iter().map(|(name, path)| (*name, text(path))).collect();
        let texts: Vec<_> = texts.iter().map(|(path, written)| (*path, text(written))).collect();
        let params = [
            ("command", text("python fit.py")),
            ("outputs", outputs.clone()),
            ("at", record(&at)),
            ("texts", record(&texts)),
        ];
        infer("sh", &inputs, &params).map(|_| ()).map_err(|errors| mistakes(Err(errors)))
    };
    let all = [("raw", "src/raw.csv"), ("src", "src"), ("model", "out/m.bin"), ("plots", "src/plots")];
    assert_eq!(placed(&all, &[("src/params.yaml", "a: 1")]), Ok(()), "within an input's folder");

    let path = "write a path such as `data/raw.csv`, without `..` and `.`";
    let own = "give each a path of its own";
    let within = "only in the folder of an input can something else stand";
    let cases: [(&[(&str, &str)], &[(&str, &str)], String); 9] = [
        (&[("raw", "../x")], &[], format!("at.raw: `../x` is no place in the folder of the step | {path}")),
        (&[("raw", "/x")], &[], format!("at.raw: `/x` is no place in the folder of the step | {path}")),
        (&[("raw", "tmp")], &[], format!("at.raw: `tmp` is taken: `$TMPDIR` is there | {path}")),
        (&[("raw", "in/a")], &[], format!("at.raw: `in/a` is taken: inputs without a place stand in `in` | {path}")),
        (
            &[("rav", "a")],
            &[],
            "at.rav: `rav` is neither an input nor an output of this step | did you mean `raw`?".to_owned(),
        ),
        (&[("raw", "a"), ("src", "a")], &[], format!("at.src: `raw` and `src` both stand at `a` | {own}")),
        (&[("raw", "a"), ("src", "a/b")], &[], format!("at.src: `src` would stand within `raw`, at `a/b` | {within}")),
        (
            &[("raw", "p/a"), ("plots", "p")],
            &[],
            format!("at.raw: `raw` would stand within `plots`, at `p/a` | {within}"),
        ),
        (&[("raw", "a")], &[("a", "x")], format!("texts.a: `raw` and `a` both stand at `a` | {own}")),
    ];
    for (at, texts, expected) in cases {
        let mut whole = at.to_vec();
        whole.extend(all.iter().skip(2).filter(|(name, _)| at.iter().all(|(other, _)| other != name)));
        assert_eq!(placed(&whole, texts), Err(vec![format!("E0358 {expected}")]), "{at:?}");
    }
    let error = placed(&[("model", "m.bin")], &[]).unwrap_err();
    assert!(error[0].starts_with("E0347 command: the command does not mention output `plots`"), "{error:?}");
}

#[test]
fn the_query_planner_types_sql() {
    assert_eq!(out("sql", &[], &[("query", text("select 1"))]), TableType::default());
}

#[test]
fn no_split_tears_a_group_apart_unless_told_to() {
    let visits = table(&[
        marked("patient", Scalar::Str, |m| m.group = true),
        plain("day", Scalar::Date),
        plain("ward", Scalar::Str),
    ]);
    let visits = [("data", Type::Table(visits))];
    let by_chance = vec![("test", Value::Float(0.2)), ("seed", Value::Int(1))];
    let by_time = vec![("test", Value::Float(0.2)), ("by", text("day"))];
    let by_number = vec![("every", Value::Int(5)), ("at", Value::Int(4))];
    for (op, params) in [("table.split", by_chance), ("table.split_time", by_time), ("table.split_rows", by_number)] {
        let expected = "E0408 data: rows of one `patient` would be on both sides of the split: the model would be judged on groups it \
                        knows | use `table.split_groups(.., by: patient)`; if new groups are not what the model is for, use another \
                        split and write `mixed_groups: true`";
        check_refused(op, &visits, &params, &[expected]);
        let params = [params, vec![("mixed_groups", Value::Bool(true))]].concat();
        assert!(infer(op, &visits, &params).is_ok(), "{op}");
    }
    let groups = |by| infer("table.split_groups", &visits, &[("by", text(by)), ("test", Value::Float(0.2))]);
    assert_eq!(groups("patient").unwrap().outputs.len(), 2);
    assert!(mistakes(groups("ward"))[0].starts_with("E0408 by: rows of one `patient`"));
    assert_eq!(mistakes(groups("dayy")), ["E0312 by: `dayy` is not a column of `data` | did you mean `day`?"]);
}
