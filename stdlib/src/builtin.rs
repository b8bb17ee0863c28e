//! Executes the built-in steps of this crate, each on a thread of its own; small ones in memory, on the thread that asks.
//!
//! Unaware of the plan, the store and of what a step's name means to the user.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use mlp_artifact::table::{ColumnShape, Reader, TableError, Writer};
use mlp_model::{
    ArtifactKind, Call, Cancel, ErrorClass, Handle, InputFile, Outcome, Produced, Progress, Runner, RunnerEvent,
    SmallFiles, StartStep, StepError, Value, Watched,
};

use crate::{
    eval_binary, eval_regression, pick_best, table_concat, table_join, table_split, table_split_groups,
    table_split_rows, table_split_time, table_where,
};

/// Runs the operations of [`BuiltinRunner::OPS`].
///
/// Other operations of runner `builtin` (tables in and out, SQL) belong to another crate.
#[derive(Debug, Clone, Copy, Default)]
pub struct BuiltinRunner;

impl BuiltinRunner {
    pub const OPS: [&'static str; 10] = [
        "eval.binary",
        "eval.regression",
        "pick.best",
        "table.concat",
        "table.join",
        "table.split",
        "table.split_groups",
        "table.split_rows",
        "table.split_time",
        "table.where",
    ];
}

impl Runner for BuiltinRunner {
    /// Nothing outside the parameters and inputs matters to these steps.
    fn environment(&self, _: &Call) -> Result<BTreeMap<String, String>, StepError> {
        Ok(BTreeMap::new())
    }

    fn watched(&self, _: &Call) -> Option<Watched> {
        Some(Watched::default())
    }

    /// Rows and figures come out as they went in, or fewer; but a join can multiply them.
    fn is_light(&self, call: &Call) -> bool {
        &*call.op != "table.join"
    }

    /// Nobody is told how far a step is that ends in a moment.
    fn execute(&self, step: &StartStep, files: &SmallFiles, cancelled: &AtomicBool) -> Result<Outcome, StepError> {
        execute(step, Some(files), cancelled, &|_| {})
    }

    fn start(&self, step: StartStep, report: Box<dyn Fn(RunnerEvent) + Send + Sync>) -> Box<dyn Handle> {
        let cancelled = Arc::new(AtomicBool::new(false));
        let report: Arc<dyn Fn(RunnerEvent) + Send + Sync> = report.into();
        let thread = thread::Builder::new().name(format!("step {}", step.step)).spawn({
            let (cancelled, report) = (Arc::clone(&cancelled), Arc::clone(&report));
            move || {
                let finished = catch_unwind(AssertUnwindSafe(|| execute(&step, None, &cancelled, &*report)));
                report(RunnerEvent::Finished(
                    finished.unwrap_or_else(|_| Err(bug(format!("operation `{}` panicked", step.op)))),
                ));
            }
        });
        if let Err(error) = thread {
            let message = format!("cannot start a thread for the step: {error}");
            let error = StepError::new(ErrorClass::Environment, "N6902", message);
            report(RunnerEvent::Finished(Err(
                error.with_help("the machine is at its limit of threads: use fewer `--jobs`")
            )));
        }
        Box::new(Thread { cancelled })
    }
}

fn execute(
    step: &StartStep,
    files: Option<&SmallFiles>,
    cancelled: &AtomicBool,
    report: &(dyn Fn(RunnerEvent) + Send + Sync),
) -> Result<Outcome, StepError> {
    let deadline = step.timeout.and_then(|timeout| Some((timeout, Instant::now().checked_add(timeout)?)));
    let work = Work { step, files, cancelled, deadline, report, n_rows_done: AtomicU64::new(0) };
    work.go_on()?;
    match step.op.as_str() {
        "eval.binary" => eval_binary::run(&work),
        "eval.regression" => eval_regression::run(&work),
        "pick.best" => pick_best::run(&work),
        "table.concat" => table_concat::run(&work),
        "table.join" => table_join::run(&work),
        "table.split" => table_split::run(&work),
        "table.split_groups" => table_split_groups::run(&work),
        "table.split_rows" => table_split_rows::run(&work),
        "table.split_time" => table_split_time::run(&work),
        "table.where" => table_where::run(&work),
        other => Err(bug(format!("operation `{other}` was given to the wrong runner"))),
    }
}

/// A step's thread. It looks at the flag between batches, so both ways of cancelling are the same to it.
struct Thread {
    cancelled: Arc<AtomicBool>,
}

impl Handle for Thread {
    fn cancel(&self, _: Cancel) {
        self.cancelled.store(true, Ordering::Relaxed);
    }
}

/// A step while it is executed: its parameters, inputs and outputs, and whether to go on.
pub(crate) struct Work<'a> {
    pub step: &'a StartStep,
    /// Where it works in memory: what it reads and makes.
    files: Option<&'a SmallFiles>,
    cancelled: &'a AtomicBool,
    deadline: Option<(Duration, Instant)>,
    report: &'a (dyn Fn(RunnerEvent) + Send + Sync),
    n_rows_done: AtomicU64,
}

impl Work<'_> {
    pub fn float(&self, name: &str) -> Result<f64, StepError> {
        self.param(name, Value::as_float)
    }

    pub fn int(&self, name: &str) -> Result<i64, StepError> {
        self.param(name, Value::as_int)
    }

    pub fn str(&self, name: &str) -> Result<&str, StepError> {
        self.param(name, Value::as_str)
    }

    /// Returns the text, or `None` if the parameter was left out.
    pub fn optional_str(&self, name: &str) -> Result<Option<&str>, StepError> {
        match self.step.params.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(_) => self.str(name).map(Some),
        }
    }

    fn param<'v, T>(&'v self, name: &str, read: impl Fn(&'v Value) -> Option<T>) -> Result<T, StepError> {
        let value = self.step.params.get(name).and_then(read);
        value.ok_or_else(|| bug(format!("`{}` was started without parameter `{name}`", self.step.op)))
    }

    pub fn input(&self, name: &str) -> Result<&InputFile, StepError> {
        let input = self.step.inputs.get(name);
        input.ok_or_else(|| bug(format!("`{}` was started without input `{name}`", self.step.op)))
    }

    /// Opens input `name`.
    pub fn table(&self, name: &str) -> Result<Reader, StepError> {
        let input = self.input(name)?;
        let table = match self.in_memory(input) {
            Some(bytes) => Reader::from_bytes(&input.path, &bytes),
            None => Reader::open(&input.path, input.size_bytes),
        };
        table.map_err(|error| self.cannot_read(name, error))
    }

    /// Returns the bytes of input `name`.
    pub fn bytes(&self, name: &str) -> Result<Arc<[u8]>, StepError> {
        let input = self.input(name)?;
        if let Some(bytes) = self.in_memory(input) {
            return Ok(bytes);
        }
        let mut bytes = fs::read(&input.path).map_err(|error| self.cannot_read(name, error))?;
        // An object is longer than what it holds.
        bytes.truncate(usize::try_from(input.size_bytes).unwrap_or(usize::MAX));
        Ok(bytes.into())
    }

    fn in_memory(&self, input: &InputFile) -> Option<Arc<[u8]>> {
        self.files?.get(&input.path)
    }

    /// Whether the step works in memory.
    pub fn is_in_memory(&self) -> bool {
        self.files.is_some()
    }

    /// Returns the next batch of input `name`, unless the step is to end.
    pub fn batch(&self, name: &str, batch: Result<RecordBatch, TableError>) -> Result<RecordBatch, StepError> {
        self.go_on()?;
        let batch = batch.map_err(|error| self.cannot_read(name, error))?;
        let n_rows = batch.num_rows() as u64;
        let done = self.n_rows_done.fetch_add(n_rows, Ordering::Relaxed) + n_rows;
        (self.report)(RunnerEvent::Progressed(Progress { unit: "rows".into(), done, ..Progress::default() }));
        Ok(batch)
    }

    /// Fails if the step was cancelled or its time is over.
    pub fn go_on(&self) -> Result<(), StepError> {
        if self.cancelled.load(Ordering::Relaxed) {
            return Err(StepError::new(ErrorClass::Cancelled, "N6903", "the step was cancelled"));
        }
        match self.deadline {
            Some((timeout, at)) if Instant::now() >= at => {
                let timeout = Value::DurationMs(u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX));
                let error = StepError::new(ErrorClass::Step, "N6904", format!("the step took longer than {timeout}"));
                Err(error.with_help("raise `timeout` in its `with { }`"))
            }
            _ => Ok(()),
        }
    }

    /// Returns where output `name` is to be written.
    pub fn output_path(&self, name: &str) -> PathBuf {
        self.step.work_dir.join(name)
    }

    /// Makes output `name` of these bytes, and returns its path.
    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]> + Into<Arc<[u8]>>) -> Result<PathBuf, StepError> {
        let path = self.output_path(name);
        match self.files {
            Some(files) => files.put(path.clone(), bytes.into()),
            None => fs::write(&path, bytes).map_err(|error| self.cannot_write(name, error))?,
        }
        Ok(path)
    }

    /// Begins output `name`, a table.
    pub fn create_table<'w>(&'w self, name: &'w str, columns: &[ColumnShape]) -> Result<TableOut<'w>, StepError> {
        let path = self.output_path(name);
        let writer = match self.files {
            Some(_) => Writer::in_memory(&path, columns),
            None => Writer::create(&path, columns),
        };
        let writer = writer.map_err(|error| self.cannot_write(name, error))?;
        Ok(TableOut { files: self.files, name, path, writer })
    }

    pub fn cannot_read(&self, name: &str, error: impl Display) -> StepError {
        let shown = self.step.inputs.get(name).map_or(name, |input| input.shown.as_str());
        let message = format!("cannot read `{shown}`: {error}");
        StepError::new(ErrorClass::Environment, "N6905", message).with_argument(name)
    }

    pub fn cannot_write(&self, name: &str, error: impl Display) -> StepError {
        cannot_write(name, error)
    }
}

fn cannot_write(name: &str, error: impl Display) -> StepError {
    let message = format!("cannot write output `{name}`: {error}");
    StepError::new(ErrorClass::Environment, "N6906", message)
        .with_help("is the disk full? `mlp doctor` shows the space that is left")
}

/// An output that is a table, while it is written.
pub(crate) struct TableOut<'w> {
    files: Option<&'w SmallFiles>,
    name: &'w str,
    path: PathBuf,
    writer: Writer,
}

impl TableOut<'_> {
    pub fn write(&mut self, batch: &RecordBatch) -> Result<(), StepError> {
        self.writer.write(batch).map_err(|error| cannot_write(self.name, error))
    }

    /// Ends the table; returns how many rows it has, and the output.
    pub fn finish(self) -> Result<(u64, Produced), StepError> {
        let finished = self.writer.finish_with_bytes();
        let (n_rows, bytes) = finished.map_err(|error| cannot_write(self.name, error))?;
        if let Some(files) = self.files {
            files.put(self.path.clone(), bytes.into());
        }
        Ok((n_rows, Produced { kind: ArtifactKind::Table, path: self.path }))
    }
}

/// Returns an error that is a mistake of ours.
pub(crate) fn bug(what: impl Display) -> StepError {
    StepError::new(ErrorClass::Bug, "N6901", what.to_string()).with_help("this is a mistake in mlp: please report it")
}
