//! A folder with inputs, and a step over them.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::mpsc;
use std::time::Duration;

use arrow::record_batch::RecordBatch;
use mlp_artifact::table::{ColumnShape, Reader, Writer};
use mlp_model::{
    Column, Digest, InputFile, Marks, Named, Outcome, RunId, Runner, RunnerEvent, Scalar, Schema, StartStep, StepError,
    TableType, Type, Value,
};
use tempfile::TempDir;

use crate::TabularRunner;
use crate::rules::show;

pub(crate) struct Fixture {
    folder: TempDir,
    pub step: StartStep,
}

impl Fixture {
    pub(crate) fn new(op: &str) -> Self {
        let folder = TempDir::new().unwrap();
        let work_dir = folder.path().join("work");
        fs::create_dir(&work_dir).unwrap();
        let step = StartStep {
            run: RunId("0123456789ab".into()),
            step: "s".into(),
            attempt: 1,
            op: op.into(),
            params: Named::new(),
            inputs: BTreeMap::new(),
            outputs: vec![("out".into(), Type::File)],
            environment: BTreeMap::new(),
            work_dir,
            timeout: None,
            gpus: Vec::new(),
            idempotency_key: None,
        };
        Self { folder, step }
    }

    /// Adds a file as the store keeps it: with bytes of its own behind the payload.
    pub(crate) fn file(mut self, argument: &str, name: &str, bytes: &[u8]) -> Self {
        let path = self.folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, [bytes, b"footer of the store"].concat()).unwrap();
        self.input(argument, name, path, Type::File, bytes.len() as u64);
        self
    }

    pub(crate) fn param(mut self, name: &str, value: Value) -> Self {
        self.step.params.insert(name.to_owned(), value);
        self
    }

    /// Adds a stored table.
    pub(crate) fn table(mut self, argument: &str, ty: TableType, batch: &RecordBatch) -> Self {
        let path = self.folder.path().join(argument);
        let shapes: Vec<_> = ty.columns.iter().map(ColumnShape::from).collect();
        let mut writer = Writer::create(&path, &shapes).unwrap();
        writer.write(batch).unwrap();
        writer.finish().unwrap();
        let size_bytes = fs::metadata(&path).unwrap().len();
        self.input(argument, argument, path, Type::Table(ty), size_bytes);
        self
    }

    pub(crate) fn input(&mut self, argument: &str, shown: &str, path: PathBuf, ty: Type, size_bytes: u64) {
        let file = InputFile { digest: Digest::of(b""), ty, path, size_bytes, shown: shown.into() };
        self.step.inputs.insert(argument.into(), file);
    }

    pub(crate) fn out(&self) -> PathBuf {
        self.step.work_dir.join("out")
    }

    pub(crate) fn run(&self) -> Result<Outcome, StepError> {
        run(&TabularRunner::new(1), self.step.clone())
    }

    /// Runs the step, which must fail.
    pub(crate) fn error(&self) -> StepError {
        self.run().unwrap_err()
    }

    /// Runs the step and returns its result as columns and cells.
    pub(crate) fn rows(&self) -> (Vec<ColumnShape>, Vec<Vec<String>>) {
        self.run().unwrap();
        let size_bytes = fs::metadata(self.out()).unwrap().len();
        let table = Reader::open(&self.out(), size_bytes).unwrap();
        let batches: Vec<_> = table.batches().collect::<Result<_, _>>().unwrap();
        let rows = batches.iter().flat_map(|batch| {
            (0..batch.num_rows()).map(move |row| batch.columns().iter().map(|array| show(array, row)).collect())
        });
        (table.columns().to_vec(), rows.collect())
    }

    pub(crate) fn digest(&self) -> Digest {
        self.run().unwrap();
        Digest::of(&fs::read(self.out()).unwrap())
    }
}

/// Starts a step and waits for its end.
pub(crate) fn run(runner: &TabularRunner, step: StartStep) -> Result<Outcome, StepError> {
    let (sender, events) = mpsc::channel();
    runner.start(step, Box::new(move |event| _ = sender.send(event)));
    loop {
        match events.recv_timeout(Duration::from_secs(120)).expect("the step ends") {
            RunnerEvent::Finished(done) => return done,
            RunnerEvent::Progressed(_) | RunnerEvent::Printed(_) => {}
        }
    }
}

pub(crate) fn column(name: &str, scalar: Scalar) -> Column {
    Column::plain(name, scalar)
}

pub(crate) fn optional(name: &str, scalar: Scalar) -> Column {
    Column { optional: true, ..column(name, scalar) }
}

pub(crate) fn personal_key(name: &str) -> Column {
    Column { marks: Marks { key: true, personal: true, ..Marks::default() }, ..column(name, Scalar::Str) }
}

pub(crate) fn schema(open: bool, columns: &[Column]) -> Value {
    Value::Schema(Box::new(Schema { name: "Customer".into(), open, columns: columns.to_vec() }))
}

pub(crate) fn texts(rows: &[&[&str]]) -> Vec<Vec<String>> {
    rows.iter().map(|row| row.iter().map(|cell| (*cell).to_owned()).collect()).collect()
}
