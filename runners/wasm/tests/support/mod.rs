//! Tables, steps and a watch for the tests. Components are kept between test runs, as a user's cache keeps them.

#![allow(dead_code)] // each test program uses a part of it

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use arrow::array::{ArrayRef, Float64Array, Int64Array};
use arrow::datatypes::{Field, Schema};
use arrow::record_batch::RecordBatch;
use mlp_artifact::table::{ColumnShape, Reader, Writer, arrow_type};
use mlp_model::{
    Column, Digest, InputFile, Named, Outcome, Progress, Rule, RunId, Scalar, Schema as Declared, StartStep, StepError,
    TableType, Type, Value,
};
use mlp_wasm::{Settings, Watch, Workshop};
use tempfile::TempDir;

/// A step to execute, in a folder of its own.
pub struct Bench {
    pub folder: TempDir,
    pub step: StartStep,
    pub settings: Settings,
}

/// What a step told on its way.
#[derive(Default)]
pub struct Told {
    pub lines: Mutex<Vec<String>>,
    pub progress: Mutex<Vec<Progress>>,
}

impl Watch for Told {
    fn progress(&self, progress: Progress) {
        self.progress.lock().unwrap().push(progress);
    }

    fn print(&self, line: &str) {
        self.lines.lock().unwrap().push(line.to_owned());
    }

    fn is_cancelled(&self) -> bool {
        false
    }
}

impl Told {
    pub fn text(&self) -> String {
        self.lines.lock().unwrap().join("\n")
    }
}

impl Bench {
    /// A step that maps `columns` of a table to `adds` with the fixture `source`.
    pub fn new(source: &Path, table: &[(Column, ArrayRef)], columns: &[&str], adds: Vec<Column>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        let size_bytes = write_table(&data, table);
        let given: Vec<Column> = table.iter().map(|(column, _)| column.clone()).collect();
        let mut made = given.clone();
        for add in &adds {
            match made.iter_mut().find(|column| column.name == add.name) {
                Some(column) => *column = add.clone(),
                None => made.push(add.clone()),
            }
        }
        let table = |columns: Vec<Column>| Type::Table(TableType { columns: columns.into(), ..TableType::default() });
        let code = std::fs::read(source).unwrap();
        let input = |path: &Path, digest, ty, size_bytes, shown: &str| InputFile {
            digest,
            ty,
            path: path.to_owned(),
            size_bytes,
            shown: shown.to_owned(),
        };
        let digest = Digest::of(&std::fs::read(&data).unwrap());
        let shown = source.file_name().unwrap().to_str().unwrap();
        let work_dir = folder.path().join("work");
        std::fs::create_dir(&work_dir).unwrap();
        let step = StartStep {
            run: RunId("0123456789ab".into()),
            step: "clean".into(),
            attempt: 1,
            op: "wasm.map".into(),
            params: Named::from([
                ("columns", Value::List(columns.iter().map(|name| Value::Str((*name).into())).collect())),
                ("adds", Value::Schema(Box::new(Declared { name: "Adds".into(), open: false, columns: adds }))),
                ("params", Value::Record(Named::new())),
                ("profile", Value::Str("strict".into())),
            ]),
            inputs: BTreeMap::from([
                ("data".into(), input(&data, digest, table(given), size_bytes, "raw")),
                ("source".into(), input(source, Digest::of(&code), Type::File, code.len() as u64, shown)),
            ]),
            outputs: vec![("out".into(), table(made))],
            environment: BTreeMap::from([("sdk".into(), "0".into())]),
            work_dir,
            timeout: None,
            gpus: Vec::new(),
            idempotency_key: None,
        };
        let mut settings = Settings::from_env().unwrap();
        settings.cache = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("mlp");
        Self { folder, step, settings }
    }

    /// The step of the fixture `modes.py` over `n_rows` rows.
    pub fn modes(mode: &str, n_rows: usize) -> Self {
        let ids = Int64Array::from_iter_values(0..n_rows as i64);
        let x = Float64Array::from_iter((0..n_rows).map(|i| (i % 7 != 3).then_some(i as f64 / 4.0)));
        let x_column = Column { optional: true, ..Column::plain("x", Scalar::Float) };
        let table: [(Column, ArrayRef); 2] =
            [(Column::plain("id", Scalar::Int), Arc::new(ids)), (x_column.clone(), Arc::new(x))];
        let bound = Rule::Min { value: Value::Int(-100), inclusive: true };
        let adds = vec![Column { rules: vec![bound], ..x_column }, Column::plain("word", Scalar::Str)];
        let mut bench = Self::new(&fixture("modes.py"), &table, &["x"], adds);
        bench.param("mode", Value::Str(mode.into()));
        bench
    }

    pub fn param(&mut self, name: &str, value: Value) {
        let Some(Value::Record(params)) = self.step.params.get_mut("params") else { panic!("no params") };
        params.insert(name.to_owned(), value);
    }

    pub fn mark_personal(&mut self, column: &str) {
        let Some(Type::Table(table)) = self.step.inputs.get_mut("data").map(|data| &mut data.ty) else {
            panic!("no table")
        };
        table.columns.iter_mut().find(|found| found.name == column).unwrap().marks.personal = true;
    }

    pub fn profile(&mut self, profile: &str) {
        self.step.params.insert("profile", Value::Str(profile.into()));
    }

    pub fn execute(&self, told: &Told) -> Result<Outcome, StepError> {
        Workshop::new(self.settings.clone()).execute(&self.step, told)
    }

    /// Executes the step, which must fail.
    pub fn error(&self) -> StepError {
        match self.execute(&Told::default()) {
            Ok(outcome) => panic!("it must fail, but made {outcome:?}"),
            Err(error) => error,
        }
    }

    pub fn out(&self) -> PathBuf {
        self.step.work_dir.join("out")
    }

    pub fn out_digest(&self) -> Digest {
        Digest::of(&std::fs::read(self.out()).unwrap())
    }

    pub fn result(&self) -> Reader {
        Reader::open(&self.out(), self.out().metadata().unwrap().len()).unwrap()
    }
}

pub fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

fn write_table(path: &Path, table: &[(Column, ArrayRef)]) -> u64 {
    let shapes: Vec<_> = table.iter().map(|(column, _)| ColumnShape::from(column)).collect();
    let fields = shapes.iter().map(|shape| Field::new(&shape.name, arrow_type(shape.scalar), shape.optional));
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    let arrays = table.iter().map(|(_, array)| Arc::clone(array)).collect();
    let mut writer = Writer::create(path, &shapes).unwrap();
    writer.write(&RecordBatch::try_new(schema, arrays).unwrap()).unwrap();
    writer.finish().unwrap();
    path.metadata().unwrap().len()
}
