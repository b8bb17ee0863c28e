//! Calls a signature or runs a step as the compiler and the engine do.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc;

use arrow::array::{ArrayRef, BooleanArray, Date32Array, Float64Array, Int64Array, StringArray};
use arrow::datatypes::{Field, Schema as ArrowSchema};
use arrow::record_batch::RecordBatch;
use mlp_artifact::table::{ColumnShape, Reader, Writer, arrow_type};
use mlp_model::{
    ArgError, ArgType, Catalogue, CheckedCall, Column, Digest, Inferred, InputFile, Named, Outcome, Role, RunId,
    Runner, RunnerEvent, Scalar, StartStep, StepError, TableType, Type, Value,
};
use mlp_stdlib::{BuiltinRunner, catalogue};

/// The catalogue, with an `sql` that gives an empty closed table.
pub fn operations() -> Catalogue {
    fn sql(_: &CheckedCall<'_>) -> Result<Inferred, Vec<ArgError>> {
        Ok(Inferred { outputs: vec![("out".into(), Type::Table(TableType::default()))], ..Inferred::default() })
    }
    catalogue(Arc::new(sql))
}

/// Checks a call with the arguments that are given and the defaults of the others.
pub fn infer(op: &str, inputs: &[(&str, Type)], params: &[(&str, Value)]) -> Result<Inferred, Vec<ArgError>> {
    let operations = operations();
    let signature = operations.get(op).unwrap_or_else(|| panic!("no operation `{op}`"));
    let mut bound = Named::new();
    for argument in &signature.args {
        let given = params.iter().find(|(name, _)| *name == argument.name).map(|(_, value)| value.clone());
        if let (ArgType::Param(_), Some(value)) = (&argument.ty, given.or(argument.default.clone())) {
            bound.insert(argument.name, value);
        }
    }
    let inputs = inputs.iter().map(|(name, ty)| ((*name).to_owned(), ty.clone())).collect();
    signature.infer.infer(&CheckedCall { inputs: &inputs, params: &bound })
}

/// One line for each mistake: `CODE argument[element]@within: message | help`.
pub fn mistakes(result: Result<Inferred, Vec<ArgError>>) -> Vec<String> {
    let errors = result.err().unwrap_or_default();
    let line = |error: &ArgError| {
        let element = error.element.map(|n| format!("[{n}]")).unwrap_or_default();
        let within = error.within.as_ref().map(|range| format!("@{range:?}")).unwrap_or_default();
        let argument = error.argument.as_deref().unwrap_or("-");
        let help = error.help.as_deref().map(|help| format!(" | {help}")).unwrap_or_default();
        format!("{} {argument}{element}{within}: {}{help}", error.code, error.message)
    };
    errors.iter().map(line).collect()
}

pub fn text(text: &str) -> Value {
    Value::Str(text.into())
}

pub fn texts(texts: &[&str]) -> Value {
    Value::List(texts.iter().map(|t| text(t)).collect())
}

pub fn record(fields: &[(&str, Value)]) -> Value {
    Value::Record(fields.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect())
}

pub fn constructor(name: &str, args: &[(&str, Value)]) -> Value {
    Value::Call {
        name: name.into(),
        args: args.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect(),
    }
}

pub fn table(columns: &[Column]) -> TableType {
    TableType { columns: columns.to_vec().into(), open: false, role: Role::All }
}

pub fn plain(name: &str, scalar: Scalar) -> Column {
    Column::plain(name, scalar)
}

/// A column of values, blanks where there are none.
pub enum Cells {
    Int(Vec<Option<i64>>),
    Float(Vec<Option<f64>>),
    Bool(Vec<Option<bool>>),
    Str(Vec<Option<&'static str>>),
    Date(Vec<Option<i32>>),
}

impl Cells {
    pub fn ints(values: impl IntoIterator<Item = i64>) -> Self {
        Self::Int(values.into_iter().map(Some).collect())
    }

    fn scalar(&self) -> Scalar {
        match self {
            Self::Int(_) => Scalar::Int,
            Self::Float(_) => Scalar::Float,
            Self::Bool(_) => Scalar::Bool,
            Self::Str(_) => Scalar::Str,
            Self::Date(_) => Scalar::Date,
        }
    }

    fn array(&self) -> ArrayRef {
        match self {
            Self::Int(values) => Arc::new(Int64Array::from(values.clone())),
            Self::Float(values) => Arc::new(Float64Array::from(values.clone())),
            Self::Bool(values) => Arc::new(BooleanArray::from(values.clone())),
            Self::Str(values) => Arc::new(StringArray::from(values.clone())),
            Self::Date(values) => Arc::new(Date32Array::from(values.clone())),
        }
    }
}

/// A step's folder with its inputs; gone when dropped.
pub struct Bench {
    folder: tempfile::TempDir,
    pub step: StartStep,
}

impl Bench {
    pub fn new(op: &str, params: &[(&str, Value)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let work_dir = folder.path().join("work");
        fs::create_dir(&work_dir).unwrap();
        let step = StartStep {
            run: RunId("0123456789ab".into()),
            step: "tested".into(),
            attempt: 1,
            op: op.into(),
            params: params.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect(),
            inputs: BTreeMap::new(),
            outputs: Vec::new(),
            environment: BTreeMap::new(),
            work_dir,
            timeout: None,
            gpus: Vec::new(),
            idempotency_key: None,
        };
        Self { folder, step }
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Adds a table of optional columns as input `name`.
    pub fn table(mut self, name: &str, columns: &[(&str, Cells)]) -> Self {
        let shapes: Vec<ColumnShape> = columns
            .iter()
            .map(|(name, cells)| ColumnShape { name: (*name).into(), scalar: cells.scalar(), optional: true })
            .collect();
        let fields: Vec<Field> = shapes.iter().map(|c| Field::new(&c.name, arrow_type(c.scalar), true)).collect();
        let arrays = columns.iter().map(|(_, cells)| cells.array()).collect();
        let batch = RecordBatch::try_new(Arc::new(ArrowSchema::new(fields)), arrays).unwrap();
        let path = self.path().join(name);
        let mut writer = Writer::create(&path, &shapes).unwrap();
        writer.write(&batch).unwrap();
        writer.finish().unwrap();
        let column = |shape: &ColumnShape| Column { optional: true, ..Column::plain(&shape.name, shape.scalar) };
        let ty = TableType { columns: shapes.iter().map(column).collect(), ..TableType::default() };
        self.input(name, &path, Type::Table(ty));
        self
    }

    pub fn input(&mut self, name: &str, path: &Path, ty: Type) {
        let bytes = if path.is_dir() { Vec::new() } else { fs::read(path).unwrap() };
        let (digest, size_bytes) = (Digest::of(&bytes), bytes.len() as u64);
        let file = InputFile { digest, ty, path: path.to_owned(), size_bytes, shown: format!("shown {name}") };
        self.step.inputs.insert(name.into(), file);
    }

    /// Runs the step to its end.
    pub fn run(&self) -> Result<Outcome, StepError> {
        let (sender, receiver) = mpsc::channel();
        let report = move |event| {
            if let RunnerEvent::Finished(result) = event {
                sender.send(result).unwrap();
            }
        };
        BuiltinRunner.start(self.step.clone(), Box::new(report));
        receiver.recv().unwrap()
    }
}

/// Reads int column `name` of an output table.
pub fn ints(outcome: &Outcome, output: &str, name: &str) -> Vec<Option<i64>> {
    let read = |batch: RecordBatch| {
        let column = batch.column_by_name(name).unwrap().clone();
        column.as_any().downcast_ref::<Int64Array>().unwrap().iter().collect::<Vec<_>>()
    };
    open(outcome, output).batches().flat_map(|batch| read(batch.unwrap())).collect()
}

/// The names of an output table's columns.
pub fn names(outcome: &Outcome, output: &str) -> Vec<String> {
    open(outcome, output).columns().iter().map(|column| column.name.clone()).collect()
}

fn open(outcome: &Outcome, output: &str) -> Reader {
    let path = &outcome.outputs[output].path;
    Reader::open(path, fs::metadata(path).unwrap().len()).unwrap()
}

/// The digest of an output file.
pub fn digest(outcome: &Outcome, output: &str) -> Digest {
    Digest::of(&fs::read(&outcome.outputs[output].path).unwrap())
}

/// The Weyl sequence frac(phi * k * i), i = 1..=n, as `tests/reference/metrics.py` makes it.
pub fn weyl(n: usize, k: f64) -> Vec<f64> {
    (1..=n).map(|i| (0.618_033_988_749_894_9 * k * i as f64) % 1.0).collect()
}
