//! Loops over what a run tells: reads their values and compiles the file again with them.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mlp_dsl::{Assignments, Checked, Severity};
use mlp_engine::{Engine, Loops, UnfoldError};
use mlp_model::{ErrorClass, KnownValues, ObjectFile, Pipeline, RunStatus, StepError, Unfold, Value, Waits};
use mlp_store::snapshot::Seen;

use crate::commands::run::run_failure;
use crate::compile::{Compiled, check_known};
use crate::exit::Exit;
use crate::output::{Failure, Output};

/// Compiles one file, as often as more of it becomes known.
pub struct Unfolder {
    file: PathBuf,
    params: Assignments,
    /// The workspace.
    root: PathBuf,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    latest: Option<Pipeline>,
    /// The last check, if it found mistakes.
    wrong: Option<Checked>,
    /// Every path that was looked at; `None`, if one cannot be described.
    looked_at: Option<Vec<(PathBuf, Seen)>>,
}

impl Unfolder {
    pub fn new(file: PathBuf, params: Assignments, root: &Path) -> Self {
        let state = State { looked_at: Some(Vec::new()), ..State::default() };
        Self { file, params, root: root.to_owned(), state: Mutex::new(state) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the pipeline as it was compiled last.
    pub fn latest(&self) -> Option<Pipeline> {
        self.state().latest.clone()
    }

    /// Prints what is wrong with the values that were found.
    pub fn print_mistakes(&self, output: &Output) {
        let Some(wrong) = self.state().wrong.take() else { return };
        for error in wrong.diagnostics.iter().filter(|diagnostic| diagnostic.severity == Severity::Error) {
            output.note(mlp_dsl::render(error, &wrong.sources, output.colour, output.width()));
        }
    }
}

impl Unfold for Unfolder {
    fn values(&self, table: &ObjectFile, wanted: &Waits) -> Result<Vec<Value>, StepError> {
        mlp_tabular::loop_values(&table.path, table.size_bytes, &wanted.over)
    }

    fn unfold(&self, known: &KnownValues) -> Result<Pipeline, StepError> {
        let (mut checked, looked_at) = check_known(&self.file, &self.params, &self.root, known);
        let mut state = self.state();
        state.looked_at = state.looked_at.take().zip(looked_at).map(|(all, more)| [all, more].concat());
        if let Some(pipeline) = checked.pipeline.take() {
            state.latest = Some(pipeline.clone());
            return Ok(pipeline);
        }
        let errors: Vec<_> = checked.diagnostics.iter().filter(|d| d.severity == Severity::Error).collect();
        let first = errors.first().map_or(String::new(), |error| error.message.clone());
        let code = errors.first().map_or("N6106".to_owned(), |error| error.code.to_string());
        let more = if errors.len() > 1 { format!(" (and {} more)", errors.len() - 1) } else { String::new() };
        let error = StepError::new(ErrorClass::User, &code, format!("with the values found, {first}{more}"));
        state.wrong = Some(checked);
        Err(error.with_help("the values come from data: let the steps of the loop take all that can occur"))
    }
}

impl Compiled {
    /// Unfolds every loop whose values the store has already. With `force` as the run has it.
    pub fn unfold(&mut self, engine: &Engine, force: &[String], output: &Output) -> Result<(), Failure> {
        let Some(unfolder) = self.unfolder.clone() else { return Ok(()) };
        let mut loops = self.new_loops(&unfolder);
        match engine.unfold(Pipeline::clone(&self.pipeline), &mut loops, force) {
            Ok(pipeline) => self.pipeline = Arc::new(pipeline),
            Err(UnfoldError::Run(error)) => return Err(run_failure(error)),
            Err(UnfoldError::Loop { name, error }) => {
                unfolder.print_mistakes(output);
                let exit = Exit::of_run(RunStatus::Failed, [error.class]);
                let message = format!("loop `{name}` cannot be unfolded: {error}");
                return Err(Failure { help: error.help, ..Failure::new(exit, message) });
            }
        }
        let more = unfolder.state().looked_at.clone();
        self.looked_at = self.looked_at.take().zip(more).map(|(all, more)| [all, more].concat());
        self.loops = Some(loops);
        Ok(())
    }

    fn new_loops(&self, unfolder: &Arc<Unfolder>) -> Loops {
        Loops { unfold: Arc::clone(unfolder) as Arc<dyn Unfold>, known: KnownValues::new() }
    }

    /// As [`Compiled::unfold`] for a run, which meets the same trouble again and tells it as its own.
    pub fn unfold_for_run(&mut self, engine: &Engine, force: &[String], output: &Output) {
        let Some(unfolder) = self.unfolder.clone() else { return };
        if self.unfold(engine, force, &output.silent()).is_err() {
            self.loops = Some(self.new_loops(&unfolder));
        }
    }
}
