//! Where tests run: a store and an engine of their own.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use mlp_dsl::{Assignments, CheckInput, Severity, TestCase, check_test};
use mlp_engine::{Engine, Loops, RunError, RunRequest};
use mlp_model::{
    CallClass, CheckResult, ErrorClass, Event, Input, KnownValues, NodeKind, ObjectFile, OutputRecord, Pipeline,
    StepError, Unfold, Value, Waits,
};
use mlp_store::Client;
use tokio::runtime::Runtime;
use tokio::sync::watch;

use super::Tried;
use super::judge;
use crate::commands::run::{new_run_id, run_failure};
use crate::compile::{Disk, render_step_error};
use crate::exit::Exit;
use crate::machine::machine;
use crate::output::{Failure, Output};
use crate::wiring;
use crate::workspace::Workspace;

/// A place for the tests of one workspace.
pub struct Bench {
    workspace: Workspace,
    /// Opened when the first test runs.
    open: Option<Open>,
}

struct Open {
    store: Arc<Client>,
    engine: Engine,
    runtime: Runtime,
}

/// What a run told of its nodes.
#[derive(Default)]
pub struct Came {
    pub outputs: BTreeMap<String, Vec<OutputRecord>>,
    pub failures: BTreeMap<String, StepError>,
    /// Why a node was skipped.
    pub skipped: BTreeMap<String, String>,
    pub checks: BTreeMap<String, Vec<CheckResult>>,
}

impl Came {
    fn event(&mut self, event: &Event) {
        match event {
            Event::StepFinished { step, outputs, .. } | Event::StepReused { step, outputs, .. } => {
                self.outputs.insert(step.clone(), outputs.clone());
            }
            Event::StepFailed { step, error, will_retry: false, .. } => {
                self.failures.insert(step.clone(), error.clone());
            }
            Event::StepSkipped { step, because, .. } => {
                self.skipped.insert(step.clone(), because.clone());
            }
            Event::GatePassed { gate, checks, .. } | Event::GateRefused { gate, checks, .. } => {
                self.checks.insert(gate.clone(), checks.clone());
            }
            _ => {}
        }
    }
}

impl Bench {
    /// Names the place. It is below the folder of the workspace's own store, which git ignores.
    pub fn new(workspace: Workspace) -> Result<Self, Failure> {
        let root = workspace.root.join(".mlp/tests");
        let trouble = |path: &Path, e: std::io::Error| {
            Failure::new(Exit::Environment, format!("cannot write `{}`: {e}", path.display()))
        };
        std::fs::create_dir_all(&root).map_err(|e| trouble(&root, e))?;
        let ignore = workspace.root.join(".mlp/.gitignore");
        if !ignore.exists() {
            std::fs::write(&ignore, "*\n").map_err(|e| trouble(&ignore, e))?;
        }
        Ok(Self { workspace: Workspace { root, settings: workspace.settings }, open: None })
    }

    /// The folder that given rows are written into.
    pub fn tables(&self) -> PathBuf {
        self.workspace.root.join("given")
    }

    /// Runs a test, which is number `number` of its file.
    pub fn run(&mut self, file: &Path, number: usize, test: TestCase, output: &Output) -> Result<Tried, Failure> {
        let started = Instant::now();
        for (path, text) in &test.tables {
            write_table(path, text)?;
        }
        let request = RunRequest {
            run: new_run_id(),
            file: file.display().to_string(),
            targets: test.targets.clone(),
            until: Vec::new(),
            from: Vec::new(),
            force: Vec::new(),
            keep_going: true,
            jobs: std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get),
            machine: machine(&self.workspace.settings.resources, &test.pipeline)?,
            budget: None,
            params_given: BTreeMap::new(),
            trigger: format!("test {:?}", test.name),
            mlp_version: env!("CARGO_PKG_VERSION").to_owned(),
            host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
        };
        let tables = self.tables();
        if self.open.is_none() {
            self.open = Some(Open::new(&self.workspace)?);
        }
        let Some(open) = &self.open else {
            return Err(Failure::new(Exit::Bug, "the store of the tests was just opened"));
        };
        let pipeline = test.pipeline.clone();
        let unfolder = Arc::new(Unfolder {
            file: file.to_owned(),
            tables,
            number,
            state: Mutex::new(State { latest: test, mistakes: Vec::new() }),
        });
        let loops = (!pipeline.open_loops().is_empty())
            .then(|| Loops { unfold: Arc::clone(&unfolder) as Arc<dyn Unfold>, known: KnownValues::new() });
        let mut came = Came::default();
        let on_event = |event: &Event| came.event(event);
        let (_sender, cancel) = watch::channel(None);
        let ran =
            open.runtime.block_on(open.engine.run_unfolding(&Arc::new(pipeline), loops, request, on_event, cancel));
        match ran {
            Ok(_) => {}
            // What this machine lacks keeps its steps from running, as a failure would.
            Err(RunError::Unmet(unmet)) => came.failures.extend(unmet.into_iter().map(|f| (f.step, f.error))),
            Err(error) => return Err(run_failure(error)),
        }
        // The engine has let go of its copy, or a thread is about to.
        let mut state = unfolder.state.lock().unwrap_or_else(PoisonError::into_inner);
        let test = &state.latest;
        let missed = judge::missed(test, &came, &*open.store)?;
        let mut trouble = Vec::new();
        if !missed.is_empty() {
            // A failure that was expected is no trouble, but it may explain why something else is missing.
            let failed =
                came.failures.iter().map(|(step, error)| render_step_error(&test.pipeline, step, error, output));
            trouble.extend(failed);
        }
        let undone = undone(test, &came);
        let line = line_of(test);
        let (name, n_expected) = (test.name.clone(), test.expectations.len());
        trouble.append(&mut state.mistakes);
        Ok(Tried { name, line, n_expected, missed, trouble, undone, seconds: started.elapsed().as_secs_f64() })
    }
}

impl Open {
    fn new(workspace: &Workspace) -> Result<Self, Failure> {
        let store = wiring::open_store(workspace)?;
        let engine = wiring::engine(Arc::clone(&store))?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .map_err(|e| Failure::new(Exit::Environment, format!("cannot start threads: {e}")))?;
        Ok(Self { store, engine, runtime })
    }
}

/// Returns the effects that a run would do where this test ends: all they read is there.
fn undone(test: &TestCase, came: &Came) -> Vec<String> {
    let nodes = &test.pipeline.nodes;
    let is_there = |node: usize| came.outputs.contains_key(&nodes[node].name);
    let effects = nodes.iter().filter_map(|node| match &node.kind {
        NodeKind::Call(call) if call.class == CallClass::Effect && call.options.skip.is_none() => Some((node, call)),
        _ => None,
    });
    let could = effects.filter(|(_, call)| {
        call.inputs.values().any(|input| matches!(input, Input::Output { .. }))
            && call.inputs.values().all(|input| match input {
                Input::Output { node, .. } => is_there(*node),
                Input::Path { .. } => true,
                Input::Champion { .. } => false,
            })
    });
    could
        .map(|(node, call)| {
            let gates: Vec<String> = call.options.gates.iter().map(|gate| format!("`{}`", nodes[*gate].name)).collect();
            let when = if gates.is_empty() { String::new() } else { format!(", when {} passes", gates.join(" and ")) };
            format!("effect `{}` is not done in a test; a run would do it{when}", node.name)
        })
        .collect()
}

fn line_of(test: &TestCase) -> usize {
    judge::line(&test.pipeline.sources, test.span)
}

/// Writes given rows. The path says what they are, so that a file that is there is right.
fn write_table(path: &Path, text: &str) -> Result<(), Failure> {
    if std::fs::read_to_string(path).is_ok_and(|there| there == text) {
        return Ok(());
    }
    let write = || {
        let folder = path.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(folder)?;
        // Another `mlp test` may read it meanwhile.
        let new = folder.join(format!(".{}", std::process::id()));
        std::fs::write(&new, text)?;
        std::fs::rename(&new, path)
    };
    write().map_err(|e: std::io::Error| {
        Failure::new(Exit::Environment, format!("cannot write the rows of a test to `{}`: {e}", path.display()))
    })
}

/// Compiles a test again when the values of its loops are known.
struct Unfolder {
    file: PathBuf,
    tables: PathBuf,
    number: usize,
    state: Mutex<State>,
}

struct State {
    /// The test as it was compiled last.
    latest: TestCase,
    /// What is wrong with the values that were found.
    mistakes: Vec<String>,
}

impl Unfold for Unfolder {
    fn values(&self, table: &ObjectFile, wanted: &Waits) -> Result<Vec<Value>, StepError> {
        mlp_tabular::loop_values(&table.path, table.size_bytes, &wanted.over)
    }

    fn unfold(&self, known: &KnownValues) -> Result<Pipeline, StepError> {
        let catalogue = wiring::catalogue();
        let params = Assignments::default();
        let input = CheckInput { file: &self.file, params: &params, catalogue: &catalogue, world: &Disk };
        let checked = check_test(&input, &self.tables, self.number, known);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(test) = checked.tests.into_iter().next() {
            state.latest = test;
            return Ok(state.latest.pipeline.clone());
        }
        let errors = || checked.diagnostics.iter().filter(|d| d.severity == Severity::Error);
        state.mistakes.extend(errors().map(|error| mlp_dsl::render(error, &checked.sources, false, 100)));
        let code = errors().next().map_or("N6106".to_owned(), |error| error.code.to_string());
        let message = errors().next().map_or(String::new(), |error| error.message.clone());
        Err(StepError::new(ErrorClass::User, &code, format!("with the values found, {message}")))
    }
}
