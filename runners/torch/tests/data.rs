//! The rows of `reference/make.py`, canonical tables of any columns, and steps to run on them.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{Field, Schema};
use mlp_artifact::table::{ColumnShape, Reader, Writer, arrow_type};
use mlp_model::{
    Column, Digest, InputFile, ModelType, Outcome, Progress, RunId, Scalar, StartStep, StepError, TableType, Task,
    Type, Value,
};
use mlp_torch::{Report, execute};
use serde::Deserialize;

pub const N_ROWS: usize = 240;

/// `reference.json`, as `make.py` wrote it.
#[derive(Deserialize)]
pub struct Reference {
    pub encodings: Moments,
    pub logistic: Vec<LogisticCase>,
    pub linear: Vec<LinearCase>,
    pub adam: Vec<AdamCase>,
    pub mlp: BTreeMap<String, Vec<f64>>,
}

#[derive(Deserialize)]
pub struct Moments {
    pub mean: Vec<f64>,
    pub std: Vec<f64>,
}

#[derive(Deserialize)]
pub struct LogisticCase {
    pub c: f64,
    pub weights: Vec<f64>,
    pub bias: f64,
    pub auc: f64,
    pub log_loss: f64,
}

#[derive(Deserialize)]
pub struct LinearCase {
    pub l2: f64,
    pub weights: Vec<f64>,
    pub bias: f64,
}

#[derive(Deserialize)]
pub struct AdamCase {
    pub weight_decay: f64,
    pub steps: Vec<Vec<f64>>,
}

pub fn reference() -> Reference {
    serde_json::from_str(include_str!("reference/reference.json")).unwrap()
}

/// A column and its name.
pub type Named = (&'static str, ArrayRef);

pub fn floats(values: impl IntoIterator<Item = impl Into<Option<f64>>>) -> ArrayRef {
    Arc::new(values.into_iter().map(Into::into).collect::<Float64Array>())
}

pub fn ints(values: impl IntoIterator<Item = impl Into<Option<i64>>>) -> ArrayRef {
    Arc::new(values.into_iter().map(Into::into).collect::<Int64Array>())
}

pub fn bools(values: impl IntoIterator<Item = impl Into<Option<bool>>>) -> ArrayRef {
    Arc::new(values.into_iter().map(Into::into).collect::<BooleanArray>())
}

pub fn strs<'a>(values: impl IntoIterator<Item = impl Into<Option<&'a str>>>) -> ArrayRef {
    Arc::new(values.into_iter().map(Into::into).collect::<StringArray>())
}

fn number(i: usize) -> f64 {
    i as f64
}

pub fn amount() -> Vec<f64> {
    (0..N_ROWS).map(|i| (number(i) * 0.7).sin() * 40.0 + number(i) * 0.25).collect()
}

pub fn churned() -> Vec<bool> {
    let at = |i: usize, amount: f64| {
        let plan = f64::from(u8::from((i * 5) % 3 == 1));
        let member = f64::from(u8::from(i % 7 < 3));
        (number(i) * 1.3).sin() * 2.0 + amount * 0.05 - number((i * i) % 17) * 0.2 + plan + member * 0.5 > 1.0
    };
    amount().into_iter().enumerate().map(|(i, amount)| at(i, amount)).collect()
}

pub fn spent() -> Vec<f64> {
    let at = |i: usize, amount: f64| {
        let basic = f64::from(u8::from((i * 5).is_multiple_of(3)));
        12.5 + amount * 3.0 - number((i * i) % 17) * 2.0 + basic * 7.0 + (number(i) * 2.1).cos() * 5.0
    };
    amount().into_iter().enumerate().map(|(i, amount)| at(i, amount)).collect()
}

/// The features of `make.py`.
pub fn features() -> Vec<Named> {
    vec![
        ("amount", floats(amount())),
        ("visits", ints((0..N_ROWS).map(|i| ((i * i) % 17) as i64))),
        ("member", bools((0..N_ROWS).map(|i| i % 7 < 3))),
        ("plan", strs((0..N_ROWS).map(|i| ["basic", "plus", "über"][(i * 5) % 3]))),
        ("region", strs((0..N_ROWS).map(|i| ["n", "e", "s", "w"][(i / 3) % 4]))),
    ]
}

pub const FEATURES: [&str; 5] = ["amount", "visits", "member", "plan", "region"];

/// The features, and both targets.
pub fn table() -> Vec<Named> {
    let mut columns = features();
    columns.push(("churned", bools(churned())));
    columns.push(("spent", floats(spent())));
    columns
}

/// Replaces a column, or adds it.
pub fn with(mut columns: Vec<Named>, name: &'static str, array: ArrayRef) -> Vec<Named> {
    columns.retain(|column| column.0 != name);
    columns.push((name, array));
    columns
}

pub fn shapes(columns: &[Named]) -> Vec<ColumnShape> {
    let schema = Schema::new(
        columns.iter().map(|(name, array)| Field::new(*name, array.data_type().clone(), true)).collect::<Vec<_>>(),
    );
    mlp_artifact::table::shape_of(&schema).unwrap()
}

pub fn batch(columns: &[Named]) -> RecordBatch {
    let fields =
        shapes(columns).iter().map(|shape| Field::new(&shape.name, arrow_type(shape.scalar), true)).collect::<Vec<_>>();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns.iter().map(|column| column.1.clone()).collect())
        .unwrap()
}

/// Writes columns as a canonical table.
pub fn write_table(folder: &Path, name: &str, columns: &[Named]) -> InputFile {
    let path = folder.join(name);
    let mut writer = Writer::create(&path, &shapes(columns)).unwrap();
    writer.write(&batch(columns)).unwrap();
    writer.finish().unwrap();
    let ty = shapes(columns);
    let ty = ty.iter().map(|shape| Column { optional: true, ..Column::plain(&shape.name, shape.scalar) });
    input(path, Type::Table(TableType { columns: ty.collect(), ..TableType::default() }), name)
}

pub fn input(path: PathBuf, ty: Type, shown: &str) -> InputFile {
    let bytes = std::fs::read(&path).unwrap();
    InputFile { digest: Digest::of(&bytes), ty, path, size_bytes: bytes.len() as u64, shown: shown.into() }
}

pub fn read_table(path: &Path) -> RecordBatch {
    let reader = Reader::open(path, std::fs::metadata(path).unwrap().len()).unwrap();
    let batches: Vec<RecordBatch> = reader.batches().map(Result::unwrap).collect();
    arrow::compute::concat_batches(&reader.schema(), &batches).unwrap()
}

pub fn call(name: &str, args: &[(&str, Value)]) -> Value {
    Value::Call {
        name: name.into(),
        args: args.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect(),
    }
}

pub fn logistic(c: f64) -> Value {
    call("torch.logistic", &[("c", Value::Float(c))])
}

pub fn linear(l2: f64) -> Value {
    call("torch.linear", &[("l2", Value::Float(l2))])
}

pub fn perceptron(hidden: &[i64], dropout: f64) -> Value {
    let hidden = hidden.iter().map(|width| Value::Int(*width)).collect();
    call("torch.mlp", &[("hidden", Value::List(hidden)), ("dropout", Value::Float(dropout))])
}

pub fn names(names: &[&str]) -> Value {
    Value::List(names.iter().map(|name| Value::Str((*name).into())).collect())
}

/// A step that trains on `data`, with the operation's defaults.
pub fn train_step(folder: &Path, data: InputFile, target: &str, net: Value) -> StartStep {
    let task = if target == "spent" { Task::Regression } else { Task::Binary };
    let params = [
        ("target", Value::Str(target.into())),
        ("net", net),
        ("features", names(&FEATURES)),
        ("one_hot", names(&[])),
        ("epochs", Value::Int(30)),
        ("lr", Value::Float(1e-3)),
        ("batch", Value::Int(256)),
        ("weight_decay", Value::Float(0.0)),
        ("loss", Value::Str("auto".into())),
        ("positive", Value::Null),
        ("seed", Value::Int(0)),
        ("device", Value::Str("cpu".into())),
        ("threads", Value::Int(1)),
    ];
    let scalar = if task == Task::Regression { Scalar::Float } else { Scalar::Bool };
    let model =
        ModelType { flavour: "torch".into(), task, target: Column::plain(target, scalar), features: Vec::new() };
    step(folder, "torch.train", &params, [("data".into(), data)].into(), Type::Model(model.into()))
}

/// A step that scores `data` with the model at `model`; with `actual` as that type, if one is given.
pub fn predict_step(
    folder: &Path,
    model: PathBuf,
    data: InputFile,
    keep: &[&str],
    actual: Option<Scalar>,
) -> StartStep {
    let model = input(model, Type::File, "model");
    let inputs = [("data".into(), data), ("model".into(), model)].into();
    let columns = actual.map(|scalar| Column::plain("actual", scalar)).into_iter().collect();
    let output = Type::Table(TableType { columns, ..TableType::default() });
    step(folder, "torch.predict", &[("keep", names(keep))], inputs, output)
}

fn step(
    folder: &Path,
    op: &str,
    params: &[(&str, Value)],
    inputs: BTreeMap<String, InputFile>,
    output: Type,
) -> StartStep {
    StartStep {
        run: RunId("test".into()),
        step: "step".into(),
        attempt: 1,
        op: op.into(),
        params: params.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect(),
        inputs,
        outputs: vec![("out".into(), output)],
        environment: BTreeMap::from([("device".into(), "cpu".into()), ("threads".into(), "1".into())]),
        work_dir: folder.into(),
        timeout: None,
        gpus: Vec::new(),
        idempotency_key: None,
    }
}

pub fn set(mut step: StartStep, name: &str, value: Value) -> StartStep {
    step.params.insert(name.to_owned(), value);
    step
}

/// Keeps what a step tells.
#[derive(Default)]
pub struct Told {
    pub progress: RefCell<Vec<Progress>>,
    pub lines: RefCell<Vec<String>>,
    pub cancel_after: Option<usize>,
}

impl Report for Told {
    fn progress(&self, progress: Progress) {
        self.progress.borrow_mut().push(progress);
    }
    fn print(&self, line: &str) {
        self.lines.borrow_mut().push(line.into());
    }
    fn is_cancelled(&self) -> bool {
        self.cancel_after.is_some_and(|n| self.progress.borrow().len() >= n)
    }
}

pub fn run(step: &StartStep) -> Result<Outcome, StepError> {
    execute(step, &Told::default())
}

/// Runs a step that must succeed and returns the path of its output.
pub fn make(step: &StartStep) -> PathBuf {
    run(step).unwrap().outputs["out"].path.clone()
}

/// Returns column `name` as floats.
pub fn column(batch: &RecordBatch, name: &str) -> Vec<f64> {
    let array = batch.column_by_name(name).unwrap();
    array.as_any().downcast_ref::<Float64Array>().unwrap().values().to_vec()
}

#[track_caller]
pub fn assert_close(found: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len());
    for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
        let apart = (found - expected).abs() / expected.abs().max(1.0);
        assert!(apart <= tolerance, "number {i}: {found} is not {expected}");
    }
}
