//! Executes the operations of this crate, each step on a thread of its own; `file` also in memory.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use mlp_model::{
    ArtifactKind, Call, Cancel, ErrorClass, Facts, Handle, Outcome, Produced, Runner, RunnerEvent, SmallFiles,
    StartStep, StepError, Watched,
};

use crate::context::{Context, Report};
use crate::error::bug;
use crate::{copy, csv_read, csv_write, parquet_io, sql};

/// Deeply nested queries are planned by recursion.
const STACK_BYTES: usize = 256 << 20;

/// Executes `csv.read`, `csv.write`, `parquet.read`, `parquet.write`, `sql`, `file` and `folder`.
pub struct TabularRunner {
    seats: Arc<Seats>,
}

impl TabularRunner {
    /// The operations it executes.
    pub const OPS: &[&str] = &["csv.read", "csv.write", "parquet.read", "parquet.write", "sql", "file", "folder"];

    /// At most `threads` steps work at once; further ones wait.
    pub fn new(threads: usize) -> Self {
        Self { seats: Arc::new(Seats { free: Mutex::new(threads.max(1)), freed: Condvar::new() }) }
    }
}

impl Runner for TabularRunner {
    fn environment(&self, call: &Call) -> Result<BTreeMap<String, String>, StepError> {
        Ok(match call.op.as_ref() {
            // The planner decides the order of rows where the query does not.
            "sql" => BTreeMap::from([("datafusion".into(), datafusion::DATAFUSION_VERSION.into())]),
            // The encoder decides the bytes.
            "parquet.write" => BTreeMap::from([("arrow".into(), arrow::ARROW_VERSION.into())]),
            _ => BTreeMap::new(),
        })
    }

    fn watched(&self, _: &Call) -> Option<Watched> {
        Some(Watched::default())
    }

    /// Tables and queries grow; files do not.
    fn is_light(&self, call: &Call) -> bool {
        &*call.op == "file"
    }

    fn execute(&self, step: &StartStep, files: &SmallFiles, _: &AtomicBool) -> Result<Outcome, StepError> {
        if step.op != "file" {
            return Err(bug(format!("`{}` is not executed in memory", step.op)));
        }
        let (facts, path) = copy::small_file(step, files)?;
        Ok(outcome(step, ArtifactKind::File, path, facts))
    }

    fn start(&self, step: StartStep, report: Box<dyn Fn(RunnerEvent) + Send + Sync>) -> Box<dyn Handle> {
        let cancelled = Arc::new(AtomicBool::new(false));
        let handle = Box::new(Running { cancelled: cancelled.clone() });
        let report: Arc<dyn Fn(RunnerEvent) + Send + Sync> = report.into();
        let seats = self.seats.clone();
        let work = {
            let report = report.clone();
            move || {
                let progress: Report = {
                    let report = report.clone();
                    Box::new(move |event| report(event))
                };
                let ctx = Context::new(progress, cancelled, step.timeout);
                let done = seats.take(&ctx).and_then(|_seat| {
                    catch_unwind(AssertUnwindSafe(|| execute(&step, &ctx))).unwrap_or_else(|_| Err(panicked(&step)))
                });
                report(RunnerEvent::Finished(done));
            }
        };
        let spawned = thread::Builder::new().name("tabular".into()).stack_size(STACK_BYTES).spawn(work);
        if let Err(error) = spawned {
            let message = format!("cannot start a thread: {error}");
            report(RunnerEvent::Finished(Err(StepError::new(ErrorClass::Environment, "D1195", message))));
        }
        handle
    }
}

fn execute(step: &StartStep, ctx: &Context) -> Result<Outcome, StepError> {
    ctx.check()?;
    let path = step.work_dir.join("out");
    type Operation = fn(&StartStep, &Context, &Path) -> Result<Facts, StepError>;
    let (kind, operation): (ArtifactKind, Operation) = match step.op.as_str() {
        "csv.read" => (ArtifactKind::Table, csv_read::run),
        "parquet.read" => (ArtifactKind::Table, parquet_io::read),
        "sql" => (ArtifactKind::Table, sql::run),
        "csv.write" => (ArtifactKind::File, csv_write::run),
        "parquet.write" => (ArtifactKind::File, parquet_io::write),
        "file" => (ArtifactKind::File, copy::file),
        "folder" => (ArtifactKind::Folder, copy::folder),
        other => return Err(bug(format!("no operation of this runner is called `{other}`"))),
    };
    let facts = operation(step, ctx, &path)?;
    Ok(outcome(step, kind, path, facts))
}

fn outcome(step: &StartStep, kind: ArtifactKind, path: PathBuf, facts: Facts) -> Outcome {
    let outputs = BTreeMap::from([(output_name(step), Produced { kind, path })]);
    Outcome { outputs, facts, environment: step.environment.clone(), ..Outcome::default() }
}

fn output_name(step: &StartStep) -> String {
    step.outputs.first().map_or_else(|| "out".to_owned(), |(name, _)| name.clone())
}

fn panicked(step: &StartStep) -> StepError {
    bug(format!("`{}` broke down", step.op)).with_help("please report it; what it printed tells where")
}

struct Running {
    cancelled: Arc<AtomicBool>,
}

impl Handle for Running {
    fn cancel(&self, _: Cancel) {
        self.cancelled.store(true, Ordering::Relaxed);
    }
}

/// How many steps may still begin.
struct Seats {
    free: Mutex<usize>,
    freed: Condvar,
}

struct Seat(Arc<Seats>);

impl Seats {
    /// Waits for a seat, or for the step's end.
    fn take(self: &Arc<Self>, ctx: &Context) -> Result<Seat, StepError> {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        while *free == 0 {
            ctx.check()?;
            let waited = self.freed.wait_timeout(free, Duration::from_millis(50));
            (free, _) = waited.unwrap_or_else(PoisonError::into_inner);
        }
        *free -= 1;
        Ok(Seat(self.clone()))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        *self.0.free.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.0.freed.notify_one();
    }
}
