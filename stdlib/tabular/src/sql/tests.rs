//! What a query becomes, and what it computes.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Float64Array, Int64Array, StringArray};
use arrow::record_batch::RecordBatch;
use mlp_model::{
    ArgError, CheckedCall, Column, ErrorClass, Infer, Inferred, Marks, Named, Role, Rule, Scalar, StepError, TableType,
    Type, Value,
};

use super::SqlInfer;
use crate::tests::support::{Fixture, column, optional, texts};

fn customers() -> TableType {
    let marked = |name: &str, scalar, mark: fn(&mut Marks)| {
        let mut column = column(name, scalar);
        mark(&mut column.marks);
        column
    };
    let mut tenure = column("tenure", Scalar::Int);
    tenure.rules = vec![Rule::Min { value: Value::Int(0), inclusive: true }];
    TableType {
        columns: vec![
            marked("id", Scalar::Str, |marks| marks.key = true),
            tenure,
            optional("TotalCharges", Scalar::Float),
            marked("name", Scalar::Str, |marks| marks.personal = true),
            marked("gender", Scalar::Str, |marks| marks.protected = true),
            marked("Churn", Scalar::Bool, |marks| marks.label = true),
            marked("casual", Scalar::Int, |marks| marks.unusable = Some("part of the answer".into())),
            column("day", Scalar::Date),
        ]
        .into(),
        open: false,
        role: Role::Train,
    }
}

fn prices() -> TableType {
    TableType {
        columns: vec![column("id", Scalar::Str), column("price", Scalar::Float)].into(),
        open: true,
        role: Role::All,
    }
}

fn infer(query: &str) -> Result<Inferred, Vec<ArgError>> {
    let inputs = Named::from([
        ("tables.c".to_owned(), Type::Table(customers())),
        ("tables.prices".to_owned(), Type::Table(prices())),
    ]);
    let params = Named::from([("query".to_owned(), Value::Str(query.into()))]);
    SqlInfer.infer(&CheckedCall { inputs: &inputs, params: &params })
}

fn table(query: &str) -> TableType {
    match infer(query).unwrap_or_else(|errors| panic!("{query}: {errors:?}")).outputs.remove(0) {
        (name, Type::Table(table)) => {
            assert_eq!(name, "out");
            table
        }
        other => panic!("{other:?}"),
    }
}

/// Returns the columns in short: `name: type?` and the marks' words.
fn shape(query: &str) -> String {
    let column = |column: &Column| {
        let marks = &column.marks;
        let words =
            [("key", marks.key), ("personal", marks.personal), ("protected", marks.protected), ("label", marks.label)];
        let words = words.into_iter().chain([("unusable", marks.unusable.is_some())]).filter(|(_, is)| *is);
        let words: String = words.map(|(word, _)| format!(" {word}")).collect();
        format!("{}: {}{}{words}", column.name, column.scalar, if column.optional { "?" } else { "" })
    };
    table(query).columns.iter().map(column).collect::<Vec<_>>().join(", ")
}

/// Shows all cases at once that are not as expected: query, found, expected.
#[track_caller]
fn compare<T: PartialEq + std::fmt::Debug>(cases: impl IntoIterator<Item = (&'static str, T, T)>) {
    let wrong: Vec<_> = cases.into_iter().filter(|(_, found, expected)| found != expected).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_planner_gives_names_types_and_blanks() {
    let cases = [
        ("select tenure, TotalCharges from c", "tenure: int, TotalCharges: float?"),
        ("select tenure + 1 as t, tenure / 2.0 as h, cast(tenure as varchar) s from c", "t: int, h: float, s: str"),
        ("select day + interval '1 day' as next, extract(month from day) as m from c", "next: date, m: int"),
        ("select count(*) as n, avg(tenure) as mean, max(day) as last from c", "n: int, mean: float?, last: date?"),
        ("select c.tenure, p.price from c left join prices p on c.id = p.id", "tenure: int, price: float?"),
        ("select coalesce(TotalCharges, 0) as total from c", "total: float"),
        (
            "select 1 as one, 'a' as a, true as yes, cast(1.5 as decimal(9, 2)) as d",
            "one: int, a: str, yes: bool, d: decimal(9, 2)",
        ),
        ("with x as (select tenure as t from c) select t from x union all select 2", "t: int"),
        ("select ln(tenure + 1) as l, round(price, 2) as r from c, prices", "l: float?, r: float"),
        ("select COUNT(*) AS n FROM c", "n: int"),
        ("values (1, 'a')", "column1: int, column2: str"),
    ];
    compare(cases.map(|(query, expected)| (query, shape(query).replace(" label", ""), expected.to_owned())));
}

#[test]
fn marks_follow_the_columns_that_carry_them() {
    let cases = [
        ("select * from prices", "id: str, price: float"),
        (
            "select * from c",
            "id: str key, tenure: int, TotalCharges: float?, name: str personal, gender: str protected, Churn: bool label, \
             casual: int unusable, day: date",
        ),
        (
            "select name as n, upper(name) as u, length(name) as l from c",
            "n: str personal, u: str? personal, l: int? personal",
        ),
        ("select tenure + casual as x from c", "x: int unusable"),
        ("select case when Churn then 1 else 0 end as y from c", "y: int label"),
        ("select id || '-' || gender as x from c", "x: str protected"),
        ("select cast(casual as double) as x, id as k from c", "x: float unusable, k: str key"),
        ("select x.n from (select name as n from c where tenure > 1) x", "n: str personal"),
        ("with x as (select max(name) as n from c) select n || '!' as m from x", "m: str? personal"),
        (
            "select gender, count(*) as n, count(name) as m from c group by gender",
            "gender: str protected, n: int, m: int",
        ),
        ("select count(case when Churn then 1 end) as n from c", "n: int label"),
        ("select sum(cast(Churn as int)) as n from c", "n: int? label"),
        ("select row_number() over (order by name) as n from c", "n: int personal"),
        ("select price as x from prices union all select cast(casual as double) from c", "x: float unusable"),
        ("select name as x from c union select gender from c", "x: str personal protected"),
        ("select (select max(name) from c) as n, price from prices", "n: str? personal, price: float"),
        ("select exists (select 1 from c where c.id = p.id and c.Churn) as e from prices p", "e: bool label"),
        ("select p.id in (select name from c) as e from prices p", "e: bool personal"),
        ("select c.id, p.price from prices p join c on c.name = p.id", "id: str key, price: float"),
        ("select distinct gender from c order by gender", "gender: str protected"),
        ("select tenure from c where name = 'x' and Churn", "tenure: int"),
        (
            "select max(price) as p, name from c, prices group by rollup(name)",
            "p: float? personal protected label unusable, name: str? personal protected label unusable",
        ),
    ];
    compare(cases.map(|(query, expected)| (query, shape(query), expected.to_owned())));
}

#[test]
fn rules_stay_with_columns_that_pass_unchanged() {
    let rules = |query: &str| table(query).columns.iter().map(|column| column.rules.len()).collect::<Vec<_>>();
    assert_eq!(rules("select tenure, tenure as t, tenure + 1 as u, cast(tenure as double) as v from c"), [1, 1, 0, 0]);
}

#[test]
fn the_role_is_that_of_the_tables_it_reads() {
    use Role::{All, Test, Train, Valid};
    let role = |query: &str, a: Role, b: Role| {
        let ty = |role| Type::Table(TableType { role, ..prices() });
        let inputs = Named::from([("tables.a".to_owned(), ty(a)), ("tables.b".to_owned(), ty(b))]);
        let params = Named::from([("query".to_owned(), Value::Str(query.into()))]);
        match SqlInfer.infer(&CheckedCall { inputs: &inputs, params: &params }).unwrap().outputs.remove(0).1 {
            Type::Table(table) => table.role,
            other => panic!("{other}"),
        }
    };
    let both = "select a.price from a join b on a.id = b.id";
    for (a, b, expected) in [
        (Train, Train, Train),
        (Train, Test, Test),
        (All, Test, Test),
        (All, Train, Train),
        (Valid, Train, Valid),
        (All, All, All),
    ] {
        assert_eq!(role(both, a, b), expected, "{a} with {b}");
        assert_eq!(role(both, b, a), expected, "{b} with {a}");
    }
    assert_eq!(role("select price from a", Train, Test), Train);
    assert_eq!(role("select price from a where id in (select id from b)", Train, Test), Test);
    assert_eq!(role("select 1 as one", Train, Test), All);
}

#[test]
fn the_way_a_query_is_written_does_not_matter() {
    let normal = |query: &str| infer(query).unwrap().params.remove("query").unwrap();
    let one = normal("select tenure from c where tenure > 1");
    assert_eq!(normal("-- a comment\nSELECT  tenure\n  FROM c /* here */ WHERE tenure>1 ;\n"), one);
    assert_ne!(normal("select tenure from c where tenure > 2"), one);
    let Value::Str(text) = &one else { panic!("{one}") };
    assert_eq!(normal(text), one);
}

#[test]
fn what_a_step_must_not_do_is_refused_with_a_way_out() {
    let cases = [
        ("", "E0360", "the query is empty"),
        ("selec 1", "E0360", "the query cannot be read: expected an SQL statement, found selec"),
        ("select 1 as a; select 2 as b", "E0360", "the query is more than one statement"),
        ("select (1 as x", "E0360", "the query cannot be read: expected ), found as"),
        ("select 'abc", "E0360", "the query cannot be read: unterminated string literal"),
        ("select tenure from cc", "E0361", "`cc` is not a table of this query"),
        ("select * from other", "E0361", "`other` is not a table of this query"),
        ("select * from 'data/a.csv'", "E0361", "`data/a.csv` is not a table of this query"),
        ("select * from a.b", "E0361", "`a.b` is not a table of this query"),
        ("select Tenure from c", "E0312", "`Tenure` is not a column of the query's tables"),
        ("select c.tenur from c", "E0312", "`tenur` is not a column of `c`"),
        ("select discount from prices", "E0312", "`discount` is not a column of the query's tables"),
        ("select flor(tenure) as x from c", "E0363", "there is no function `flor`"),
        ("create table x as select 1", "E0364", "`create` is not allowed: a step only reads its tables"),
        (
            "create external table x stored as csv location '/etc/passwd'",
            "E0364",
            "`create` is not allowed: a step only reads its tables",
        ),
        ("copy c to '/tmp/x.csv'", "E0364", "`copy` is not allowed: a step only reads its tables"),
        ("insert into c select * from c", "E0364", "`insert` is not allowed: a step only reads its tables"),
        ("update c set tenure = 1", "E0364", "`update` is not allowed: a step only reads its tables"),
        ("delete from c", "E0364", "`delete` is not allowed: a step only reads its tables"),
        ("drop table c", "E0364", "`drop` is not allowed: a step only reads its tables"),
        (
            "set datafusion.execution.target_partitions = 8",
            "E0364",
            "`set` is not allowed: a step only reads its tables",
        ),
        ("explain select * from c", "E0364", "`explain` is not allowed: a step only reads its tables"),
        ("show tables", "E0364", "`show` is not allowed: a step only reads its tables"),
        (
            "with recursive t as (select 1 as n union all select n + 1 from t) select n from t",
            "E0364",
            "`with recursive` is not allowed here",
        ),
        ("select now() as t", "E0365", "`now` reads the clock, so the step would not be repeatable"),
        ("select current_date as t", "E0365", "`current_date` reads the clock, so the step would not be repeatable"),
        (
            "select CURRENT_TIMESTAMP as t",
            "E0365",
            "`current_timestamp` reads the clock, so the step would not be repeatable",
        ),
        (
            "select tenure from c where random() < 0.5",
            "E0365",
            "`random` is different each time, so the step would not be repeatable",
        ),
        ("select uuid() as u from c", "E0365", "`uuid` is different each time, so the step would not be repeatable"),
        ("select tenure from c limit 5", "E0366", "`limit` without `order by` takes rows by chance"),
        ("select tenure from c offset 5", "E0366", "`limit` without `order by` takes rows by chance"),
        ("select tenure from c fetch first 5 rows only", "E0366", "`limit` without `order by` takes rows by chance"),
        (
            "select n from (select tenure as n from c limit 5) x order by n",
            "E0366",
            "`limit` without `order by` takes rows by chance",
        ),
        ("select c.id, p.id from c join prices p on c.id = p.id", "E0367", "two columns of the result are called `id`"),
        ("select tenure, tenure from c", "E0367", "two columns of the result are called `tenure`"),
        ("select tenure as \"\" from c", "E0367", "column 1 of the result has no name"),
        ("select null as x from c", "E0367", "column `x` of the result is only `null` and has no type"),
        (
            "select interval '1 day' as x from c",
            "E0367",
            "column `x` of the result has the type Interval(MonthDayNano), which a table cannot hold",
        ),
        ("select id from c, prices", "E0369", "`id` is a column of several tables of the query"),
    ];
    compare(cases.map(|(query, code, message)| {
        let told = match infer(query) {
            Ok(inferred) => format!("no error: {:?}", inferred.outputs),
            Err(errors) => errors.iter().map(|error| format!("{}: {}", error.code, error.message)).collect(),
        };
        (query, told, format!("{code}: {message}"))
    }));
    let long = format!("select {} as x", vec!["1"; 40_000].join("+"));
    assert_eq!(infer(&long).unwrap_err()[0].message, "the query is longer than 64 KiB");
    let deep = format!("select {}1{} as x", "(".repeat(500), ")".repeat(500));
    assert_eq!(infer(&deep).unwrap_err()[0].message, "the query is nested too deeply");
}

#[test]
fn a_mistake_points_at_its_place_and_at_a_way_out() {
    let told = |query: &str| {
        let error = infer(query).unwrap_err().remove(0);
        (error.within.map(|within| query[within].to_owned()), error.help.unwrap_or_default())
    };
    let cases = [
        ("select 'größe',\n  Tenure from c", "Tenure", "did you mean `tenure`? Names are case-sensitive"),
        ("select c.tenur from c", "c.tenur", "did you mean `tenure`?"),
        (
            "select discount from prices",
            "discount",
            "a query sees declared columns only: if the file has `discount`, declare it in the schema",
        ),
        ("select 1 as x from price", "price", "did you mean `prices`?"),
        ("select 1 as x from orders", "orders", "its tables are `c`, `prices`; add `orders` to `tables`"),
        (
            "select tenure,\n now() as t from c",
            "now",
            "take the day from the data, or make it a parameter of the pipeline",
        ),
        ("select tenure from c limit 5", "limit", "add `order by` with columns that tell the rows apart"),
        ("select tenure from c wher tenure > 1", "tenure", ""),
        ("select flor(tenure) as x from c", "flor", "did you mean `floor`?"),
        ("select id from c, prices", "id", "say which one: `TABLE.id`"),
    ];
    compare(cases.map(|(query, place, help)| (query, told(query), (Some(place.to_owned()), help.to_owned()))));
}

#[test]
fn an_input_that_is_no_table_is_refused() {
    let inputs = Named::from([("tables.m".to_owned(), Type::File)]);
    let params = Named::from([("query".to_owned(), Value::Str("select 1 as x".into()))]);
    let errors = SqlInfer.infer(&CheckedCall { inputs: &inputs, params: &params }).unwrap_err();
    assert_eq!(
        (errors[0].argument.as_deref(), errors[0].message.as_str()),
        (Some("tables"), "`m` is a file, but a query reads tables")
    );
}

#[test]
fn a_long_chain_of_conditions_is_planned() {
    let chain: Vec<_> = (0..2_000).map(|i| format!("tenure = {i}")).collect();
    assert_eq!(shape(&format!("select tenure from c where {}", chain.join(" or "))), "tenure: int");
}

fn rows_of(n: i64) -> RecordBatch {
    let range = || 0..n;
    let arrays: [(&str, ArrayRef); 3] = [
        ("n", Arc::new(Int64Array::from_iter_values(range()))),
        ("x", Arc::new(Float64Array::from_iter(range().map(|i| (i % 10 > 0).then_some(1.0 / (i + 1) as f64))))),
        ("g", Arc::new(StringArray::from_iter_values(range().map(|i| format!("g{}", i * 7 % 5))))),
    ];
    RecordBatch::try_from_iter(arrays).unwrap()
}

fn rows_type() -> TableType {
    TableType {
        columns: vec![column("n", Scalar::Int), optional("x", Scalar::Float), column("g", Scalar::Str)].into(),
        ..TableType::default()
    }
}

/// A step that runs `query` over a table `t` of `n` rows.
fn query_over(ty: TableType, batch: &RecordBatch, query: &str) -> Fixture {
    let inputs = Named::from([("tables.t".to_owned(), Type::Table(ty.clone()))]);
    let params = Named::from([("query".to_owned(), Value::Str(query.into()))]);
    let inferred = SqlInfer.infer(&CheckedCall { inputs: &inputs, params: &params }).unwrap();
    let mut fixture = Fixture::new("sql").table("tables.t", ty, batch);
    fixture.step.outputs = inferred.outputs.into_iter().map(|(name, ty)| (name.into_owned(), ty)).collect();
    fixture.step.params = inferred.params;
    fixture
}

fn over(n: i64, query: &str) -> Fixture {
    query_over(rows_type(), &rows_of(n), query)
}

#[test]
fn queries_compute_what_sql_says() {
    let cases: [(&str, &[&[&str]]); 6] = [
        ("select n, g from t where n % 2 = 1 order by n desc limit 2", &[&["9", "g3"], &["7", "g4"]]),
        (
            "select g, count(*) as k, sum(n) as s from t group by g order by g",
            &[&["g0", "2", "5"], &["g1", "2", "11"], &["g2", "2", "7"], &["g3", "2", "13"], &["g4", "2", "9"]],
        ),
        ("select a.n from t a join t b on a.n = b.n + 8", &[&["8"], &["9"]]),
        ("select n from t where x is null", &[&["0"]]),
        ("select n from t where n > 100", &[]),
        (
            "select n as a from t where n < 2 union all select -n from t where n < 3",
            &[&["0"], &["1"], &["0"], &["-1"], &["-2"]],
        ),
    ];
    for (query, expected) in cases {
        assert_eq!(over(10, query).rows().1, texts(expected), "{query}");
    }
}

#[test]
fn equal_tables_give_equal_bytes() {
    // Large enough for several batches; float sums and unordered groups depend on the order of rows.
    for query in [
        "select g, sum(x) as s, avg(x) as m from t group by g",
        "select g, s from (select g, sum(x) as s from (select g, x from t union all select g, x * 3 from t) u group by g) v",
        "select a.n, b.x from t a join (select n, x from t where n % 3 = 0) b on a.n = b.n",
        "select distinct n % 1000 as r from t",
        "select n, row_number() over (partition by g order by x, n) as k from t",
        "select n, x from t union all select n, x from t where n % 2 = 0",
    ] {
        let fixture = over(150_000, query);
        let digests: Vec<_> = (0..3).map(|_| fixture.digest()).collect();
        assert!(digests.iter().all(|digest| *digest == digests[0]), "{query}");
    }
    // When this fails, stored results differ from new ones: raise the version of `sql`.
    assert_eq!(over(1_000, "select g, sum(x) as s, count(*) as k from t group by g").digest().short(), "17dcb069cadb");
}

#[test]
fn union_all_keeps_the_order_of_its_inputs() {
    let (_, rows) = over(100_000, "select n from t union all select -n from t").rows();
    assert!(rows.iter().enumerate().all(|(i, row)| {
        let n = if i < 100_000 { i as i64 } else { 100_000 - i as i64 };
        row[0] == n.to_string()
    }));
}

#[test]
fn a_query_sees_declared_columns_only() {
    let mut declared = rows_type();
    declared.columns.remove(1);
    declared.open = true;
    let mut fixture = query_over(declared.clone(), &rows_of(3).project(&[0, 2]).unwrap(), "select * from t");
    // The stored table has a further column.
    let stored = Fixture::new("sql").table("tables.t", rows_type(), &rows_of(3));
    let file = &stored.step.inputs["tables.t"];
    fixture.input("tables.t", "raw", file.path.clone(), Type::Table(declared), file.size_bytes);
    let (shapes, rows) = fixture.rows();
    assert_eq!(shapes.iter().map(|shape| shape.name.as_str()).collect::<Vec<_>>(), ["n", "g"]);
    assert_eq!(rows[2], texts(&[&["2", "g4"]])[0]);
}

#[test]
fn what_cannot_be_computed_is_told_without_values() {
    let batch = RecordBatch::try_from_iter([
        ("name", Arc::new(StringArray::from(vec!["SECRET"])) as ArrayRef),
        ("n", Arc::new(Int64Array::from(vec![0]))),
        ("b", Arc::new(BooleanArray::from(vec![true]))),
    ]);
    let name = Column { marks: Marks { personal: true, ..Marks::default() }, ..column("name", Scalar::Str) };
    let ty = TableType {
        columns: vec![name, column("n", Scalar::Int), column("b", Scalar::Bool)].into(),
        ..TableType::default()
    };
    let batch = batch.unwrap();
    let error = |query: &str| -> StepError { query_over(ty.clone(), &batch, query).error() };
    for (query, class, code, message) in [
        ("select 1 / n as x from t", ErrorClass::Data, "D1180", "the query divides a whole number by zero"),
        (
            "select cast(name as bigint) as x from t",
            ErrorClass::Data,
            "D1181",
            "the query converts a value to a type that it does not fit",
        ),
    ] {
        let error = error(query);
        assert_eq!((error.class, error.code.as_str(), error.message.as_str()), (class, code, message));
        assert!(!format!("{error:?}").contains("SECRET"), "{error:?}");
    }
    let (_, rows) =
        query_over(ty.clone(), &batch, "select try_cast(name as bigint) as x, 1 / nullif(n, 0) as y from t").rows();
    assert_eq!(rows, texts(&[&["", ""]]));
}
