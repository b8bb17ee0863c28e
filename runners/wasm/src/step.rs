//! Executes a step: one instance of the transform is given one batch after another, and the result is written as it
//! comes, so that memory does not grow with the table.
//!
//! Runs in a worker process. Unaware of how that process is spoken to.

use std::collections::BTreeMap;
use std::fs;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::thread;

use arrow::array::ArrayRef;
use arrow::datatypes::{Field, Schema};
use arrow::record_batch::RecordBatch;
use mlp_artifact::table::{Reader, Writer, arrow_type};
use mlp_model::{ArtifactKind, Digest, ErrorClass, Outcome, Produced, Progress, StartStep, StepError};
use wasmtime::Engine;
use wasmtime::component::Component;

use crate::engine::{GUEST_STACK, Profile, engine};
use crate::guest::{Context, Guest};
use crate::request::{OUTPUT, Request};
use crate::rules::Checker;
use crate::sent::Sent;
use crate::settings::Settings;
use crate::{compiled, component, fail, guest, received, sent};

/// How many loaded components a worker keeps for further steps.
const MAX_LOADED: usize = 4;

/// Follows a step.
pub trait Watch: Sync {
    fn progress(&self, progress: Progress);
    fn print(&self, line: &str);
    /// Asked between batches.
    fn is_cancelled(&self) -> bool;
}

/// Executes steps, and keeps what it has loaded for the next one.
pub struct Workshop {
    settings: Settings,
    engines: Vec<(Profile, Engine)>,
    /// The one used last is last.
    loaded: Vec<(Digest, Profile, Component)>,
}

impl Workshop {
    pub fn new(settings: Settings) -> Self {
        Self { settings, engines: Vec::new(), loaded: Vec::new() }
    }

    /// Executes a step of `wasm.map`.
    pub fn execute(&mut self, step: &StartStep, watch: &dyn Watch) -> Result<Outcome, StepError> {
        // The guest's stack is part of the thread's that calls it.
        let thread = thread::Builder::new().name("transform".to_owned()).stack_size(2 * GUEST_STACK);
        thread::scope(|scope| {
            let running = thread.spawn_scoped(scope, || self.execute_here(step, watch));
            let running = running.map_err(|error| {
                let message = format!("cannot start a thread: {error}");
                StepError::new(ErrorClass::Environment, "W3109", message).with_help("end other programs")
            })?;
            running.join().unwrap_or_else(|panic| resume_unwind(panic))
        })
    }

    fn execute_here(&mut self, step: &StartStep, watch: &dyn Watch) -> Result<Outcome, StepError> {
        let request = Request::read(step)?;
        let source = fs::read(&request.source.path).map_err(|error| fail::source(&request.source.shown, &error))?;
        let table = Reader::open(&request.data.path, request.data.size_bytes).map_err(|error| fail::input(&error))?;
        let places = request.places(table.columns())?;
        let engine = self.engine(request.profile)?;
        let component = self.component(&engine, &request, &source, watch)?;
        let guest = Guest::start(&engine, &component, self.settings.limits, request.profile)?;

        let run = Run { request: &request, table: &table, source: &source, places, watch };
        let out = step.work_dir.join(OUTPUT);
        let result = request.result(table.columns());
        let shapes: Vec<_> = result.iter().map(|(shape, _)| shape.clone()).collect();
        let mut writer = Writer::create(&out, &shapes).map_err(|error| fail::output(&error))?;
        run.map_all(guest, &result, &mut writer)?;
        let n_rows = writer.finish().map_err(|error| fail::output(&error))?;
        Ok(Outcome {
            outputs: BTreeMap::from([(OUTPUT.to_owned(), Produced { kind: ArtifactKind::Table, path: out })]),
            facts: BTreeMap::from([("rows".to_owned(), n_rows as f64), ("columns".to_owned(), shapes.len() as f64)]),
            environment: step.environment.clone(),
            ..Outcome::default()
        })
    }

    fn engine(&mut self, profile: Profile) -> Result<Engine, StepError> {
        if let Some((_, engine)) = self.engines.iter().find(|(known, _)| *known == profile) {
            return Ok(engine.clone());
        }
        let engine = engine(profile).map_err(|error| fail::bug(format!("wasmtime refuses its settings: {error}")))?;
        self.engines.push((profile, engine.clone()));
        Ok(engine)
    }

    fn component(
        &mut self,
        engine: &Engine,
        request: &Request<'_>,
        source: &[u8],
        watch: &dyn Watch,
    ) -> Result<Component, StepError> {
        let digest = Digest::of(source);
        let known = |(d, p, _): &(Digest, Profile, Component)| (*d, *p) == (digest, request.profile);
        let entry = match self.loaded.iter().position(known) {
            Some(index) => self.loaded.remove(index),
            None => {
                let shown = &request.source.shown;
                let mut say = |what: &str| watch.print(&format!("`{shown}`: {what}"));
                let bytes = component::of_python(&self.settings, source, shown, &mut say)?;
                let component = compiled::load(&self.settings.cache, engine, &bytes, &mut say)?;
                (digest, request.profile, component)
            }
        };
        let component = entry.2.clone();
        self.loaded.push(entry);
        let n_surplus = self.loaded.len().saturating_sub(MAX_LOADED);
        self.loaded.drain(..n_surplus);
        Ok(component)
    }
}

/// What stays the same for all batches of a step.
struct Run<'a> {
    request: &'a Request<'a>,
    table: &'a Reader,
    source: &'a [u8],
    /// Where in the table the columns stand that the guest is given.
    places: Vec<usize>,
    watch: &'a dyn Watch,
}

impl Run<'_> {
    fn map_all(
        &self,
        mut guest: Guest,
        result: &[(mlp_artifact::table::ColumnShape, Option<usize>)],
        writer: &mut Writer,
    ) -> Result<(), StepError> {
        let fields = result.iter().map(|(shape, _)| Field::new(&shape.name, arrow_type(shape.scalar), shape.optional));
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        let is_public = |add: &mlp_model::Column| !add.marks.personal && self.request.personal.is_none();
        let mut checkers: Vec<_> = self.request.adds.iter().map(|add| Checker::new(add, is_public(add))).collect();
        let mut n_done = 0;
        for batch in self.table.batches() {
            let batch = batch.map_err(|error| fail::input(&error))?;
            if self.watch.is_cancelled() {
                return Err(fail::cancelled());
            }
            let added = self.map(&mut guest, &batch, n_done)?;
            for (checker, array) in checkers.iter_mut().zip(&added) {
                checker.check(array, n_done)?;
            }
            let columns = result.iter().enumerate().map(|(index, (_, from_adds))| match from_adds {
                Some(place) => added.get(*place).cloned(),
                None => batch.columns().get(index).cloned(),
            });
            let columns =
                columns.collect::<Option<Vec<_>>>().ok_or_else(|| fail::bug("a column of the result is lost"))?;
            let batch = RecordBatch::try_new(Arc::clone(&schema), columns).map_err(fail::bug)?;
            writer.write(&batch).map_err(|error| fail::output(&error))?;
            n_done += batch.num_rows() as u64;
            let total = Some(self.table.n_rows());
            self.watch.progress(Progress { unit: "rows".to_owned(), done: n_done, total, ..Progress::default() });
        }
        Ok(())
    }

    /// Returns the declared columns for the rows of `batch`.
    fn map(&self, guest: &mut Guest, batch: &RecordBatch, first_row: u64) -> Result<Vec<ArrayRef>, StepError> {
        let request = self.request;
        let n_rows = batch.num_rows();
        let given = request.columns.iter().zip(&self.places).map(|(name, index)| {
            let shape = self.table.columns().get(*index).ok_or_else(|| fail::bug("a column of the table is lost"))?;
            Sent::new(batch, *index, name, shape.scalar)
        });
        let given = given.collect::<Result<Vec<_>, StepError>>()?;
        let lent: Vec<_> = given.iter().map(Sent::lend).collect();
        let adds: Vec<_> = request.adds.iter().map(sent::field).collect();
        let params = request.params.iter().map(|(name, value)| {
            sent::parameter(name, value).ok_or_else(|| fail::bug(format!("parameter `{name}` is no literal")))
        });
        let params = params.collect::<Result<Vec<_>, StepError>>()?;
        let n_sent = u32::try_from(n_rows).map_err(|_| fail::bug("a batch is too long"))?;
        let batch = guest::wit::Batch { n_rows: n_sent, columns: &lent };

        let answer = guest.map(batch, &adds, &params)?;
        for line in guest::printed(&answer.printed, request.personal) {
            self.watch.print(&line);
        }
        let shown = &request.source.shown;
        let context = Context { shown, source: self.source, first_row, n_rows, personal: request.personal };
        match answer.outcome {
            Ok(columns) => received::columns(columns, &request.adds, &context),
            Err(error) => Err(guest::told(error, &context)),
        }
    }
}
