//! Pipelines built by hand, a runner whose operations are small functions, and a desk that runs one with the other.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use mlp_engine::{Engine, RunError, RunOutcome, RunRequest};
use mlp_model::{
    ArtifactKind, Call, CallClass, Cancel, ErrorClass, Event, Handle, Input, Machine, ModelType, Named, Node, NodeKind,
    Options, Outcome, Output, Pipeline, Produced, ReportType, RunId, Runner, RunnerEvent, Scalar, Span, StartStep,
    StepError, StepId, TableType, Task, Timestamp, Type, Value,
};
use tempfile::TempDir;
use tokio::sync::watch;

use crate::memory_store::MemoryStore;

/// A workspace: a store, a folder of sources, a runner, a clock that ticks at each look.
pub struct Desk {
    pub store: Arc<MemoryStore>,
    pub engine: Arc<Engine>,
    pub runner: Arc<TestRunner>,
    pub sources: TempDir,
    n_runs: AtomicUsize,
}

/// A finished run with all it told.
pub struct Told {
    pub outcome: RunOutcome,
    pub events: Vec<Event>,
}

impl Desk {
    pub fn new() -> Self {
        let store = MemoryStore::new();
        let runner = Arc::new(TestRunner::default());
        let engine = Arc::new(engine(&store, &runner));
        Self { store, engine, runner, sources: tempfile::tempdir().unwrap(), n_runs: AtomicUsize::new(0) }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.sources.path().join(name)
    }

    pub fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    pub fn file(&self, name: &str) -> Input {
        Input::Path { path: self.path(name), shown: name.to_owned(), folder: false }
    }

    pub fn folder(&self, name: &str) -> Input {
        Input::Path { path: self.path(name), shown: name.to_owned(), folder: true }
    }

    /// A request whose run is called `run1`, `run2`, ..
    pub fn request(&self) -> RunRequest {
        RunRequest {
            run: RunId(format!("run{}", self.n_runs.fetch_add(1, Ordering::SeqCst) + 1)),
            file: "churn.mlp".into(),
            targets: vec![],
            until: vec![],
            from: vec![],
            force: vec![],
            keep_going: false,
            jobs: 2,
            machine: Machine::default(),
            budget: None,
            params_given: BTreeMap::new(),
            trigger: "by hand".into(),
            mlp_version: "0.1.0".into(),
            host: "desk".into(),
        }
    }

    pub fn run(&self, pipeline: &Pipeline) -> Told {
        self.run_with(pipeline, |_| {})
    }

    pub fn run_with(&self, pipeline: &Pipeline, edit: impl FnOnce(&mut RunRequest)) -> Told {
        let mut request = self.request();
        edit(&mut request);
        self.try_run(pipeline, request).unwrap()
    }

    pub fn try_run(&self, pipeline: &Pipeline, request: RunRequest) -> Result<Told, RunError> {
        let (_cancel, never) = watch::channel(None);
        run_to_the_end(&self.engine, pipeline, request, never, |_| {})
    }

    pub fn id(&self, step: &str) -> StepId {
        StepId { pipeline: "churn".into(), step: step.into() }
    }
}

pub fn engine(store: &Arc<MemoryStore>, runner: &Arc<TestRunner>) -> Engine {
    let now = AtomicI64::new(1_000);
    let clock = move || Timestamp(now.fetch_add(1, Ordering::SeqCst));
    let runners: BTreeMap<String, Arc<dyn Runner>> = BTreeMap::from([("test".to_owned(), runner.clone() as _)]);
    Engine::new(store.clone(), runners, Arc::new(clock))
}

pub fn run_to_the_end(
    engine: &Engine,
    pipeline: &Pipeline,
    request: RunRequest,
    cancel: watch::Receiver<Option<Cancel>>,
    mut on_event: impl FnMut(&Event) + Send,
) -> Result<Told, RunError> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let mut events = Vec::new();
    let record = |event: &Event| {
        events.push(event.clone());
        on_event(event);
    };
    let outcome = runtime.block_on(engine.run(pipeline, request, record, cancel))?;
    Ok(Told { outcome, events })
}

impl Told {
    /// How each source and step came out, in the order of the events: `raw executed`, `model cut off`, ..
    pub fn story(&self) -> Vec<String> {
        let told = self.events.iter().filter_map(|event| {
            Some(match event {
                Event::StepFinished { step, .. } => format!("{step} executed"),
                Event::StepReused { step, early_cutoff: false, .. } => format!("{step} reused"),
                Event::StepReused { step, early_cutoff: true, .. } => format!("{step} cut off"),
                Event::StepFailed { step, will_retry: false, .. } => format!("{step} failed"),
                Event::StepFailed { step, attempt, will_retry: true, .. } => format!("{step} failed attempt {attempt}"),
                Event::StepSkipped { step, because, .. } => format!("{step} skipped: {because}"),
                _ => return None,
            })
        });
        told.collect()
    }

    /// The same, sorted: for steps that run at once.
    pub fn sorted_story(&self) -> Vec<String> {
        let mut story = self.story();
        story.sort();
        story
    }

    pub fn reason(&self, wanted: &str) -> String {
        let reason = self.events.iter().find_map(|event| match event {
            Event::StepStarted { step, reason, .. } if step == wanted => Some(reason.clone()),
            _ => None,
        });
        reason.unwrap_or_else(|| panic!("{wanted} was not started"))
    }

    pub fn only_failure(&self) -> &StepError {
        assert_eq!(self.outcome.failures.len(), 1, "{:?}", self.outcome.failures);
        &self.outcome.failures[0].error
    }

    pub fn digest(&self, wanted: &str, output: &str) -> mlp_model::Digest {
        let outputs = self.events.iter().find_map(|event| match event {
            Event::StepFinished { step, outputs, .. } | Event::StepReused { step, outputs, .. } if step == wanted => {
                Some(outputs)
            }
            _ => None,
        });
        outputs.unwrap().iter().find(|found| found.name == output).unwrap().digest
    }
}

// Pipelines.

pub fn pipeline(nodes: Vec<Node>) -> Pipeline {
    Pipeline { name: "churn".into(), doc: String::new(), params: BTreeMap::new(), nodes, sources: vec![] }
}

pub fn table() -> Type {
    Type::Table(TableType::default())
}

pub fn model() -> Type {
    let target = mlp_model::Column::plain("Churn", Scalar::Bool);
    Type::Model(ModelType { flavour: "test".into(), task: Task::Binary, target, features: vec![] }.into())
}

pub fn report() -> Type {
    Type::Report(ReportType::default().into())
}

pub fn node(name: &str, kind: NodeKind) -> Node {
    Node { name: name.into(), doc: String::new(), span: Span::default(), kind }
}

/// A call of operation `op` with one output `out`.
pub fn step(name: &str, op: &str, inputs: &[(&str, Input)], params: &[(&str, Value)], ty: Type) -> Node {
    let call = Call {
        class: CallClass::Step,
        op: op.to_owned().into(),
        op_version: 1,
        runner: "test".into(),
        params: params.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect(),
        inputs: inputs.iter().map(|(name, input)| ((*name).to_owned(), input.clone())).collect(),
        outputs: vec![Output { name: "out".into(), ty, optional: false }],
        options: Options::default(),
        arg_spans: Named::new(),
    };
    node(name, NodeKind::Call(Box::new(call)))
}

pub fn edit_call(pipeline: &mut Pipeline, name: &str, edit: impl FnOnce(&mut Call)) {
    let node = pipeline.nodes.iter_mut().find(|node| node.name == name).unwrap();
    match &mut node.kind {
        NodeKind::Call(call) => edit(call),
        _ => panic!("{name} is no call"),
    }
}

pub fn out(node: usize) -> Input {
    output(node, "out")
}

pub fn output(node: usize, output: &str) -> Input {
    Input::Output { node, output: output.to_owned().into() }
}

// The runner.

pub type Work = Arc<dyn Fn(&StartStep) -> Result<Outcome, StepError> + Send + Sync>;

/// Runs each step on a thread of its own. Operations: see [`ordinary`]; tests may add others.
#[derive(Default)]
pub struct TestRunner {
    /// The names of the steps that were started, in order.
    pub started: Mutex<Vec<String>>,
    pub environment: Mutex<BTreeMap<String, String>>,
    special: Mutex<HashMap<String, Work>>,
    cancelled: Arc<Mutex<Vec<(String, Cancel)>>>,
}

struct TestHandle {
    step: String,
    cancelled: Arc<Mutex<Vec<(String, Cancel)>>>,
}

impl Handle for TestHandle {
    fn cancel(&self, how: Cancel) {
        self.cancelled.lock().unwrap().push((self.step.clone(), how));
    }
}

impl TestRunner {
    pub fn add(&self, op: &str, work: impl Fn(&StartStep) -> Result<Outcome, StepError> + Send + Sync + 'static) {
        self.special.lock().unwrap().insert(op.to_owned(), Arc::new(work));
    }

    pub fn take_started(&self) -> Vec<String> {
        std::mem::take(&mut self.started.lock().unwrap())
    }

    pub fn cancelled(&self) -> Arc<Mutex<Vec<(String, Cancel)>>> {
        Arc::clone(&self.cancelled)
    }

    fn work_of(&self, op: &str) -> Work {
        let special = self.special.lock().unwrap().get(op).cloned();
        special.unwrap_or_else(|| ordinary(op))
    }
}

/// Returns what an operation of the tests does.
pub fn ordinary(op: &str) -> Work {
    match op {
        // The text without blank lines.
        "read" => Arc::new(|step| {
            let text = read(step, "file");
            let lines: Vec<&str> = text.lines().filter(|line| !line.is_empty()).collect();
            write_out(step, &lines.join("\n"))
        }),
        // Even lines for training, odd ones for testing.
        "split" => Arc::new(|step| {
            let text = read(step, "data");
            let every_second = |at: usize| text.lines().skip(at).step_by(2).collect::<Vec<_>>().join("\n");
            let train = write(step, "train", ArtifactKind::Table, &every_second(0));
            let test = write(step, "test", ArtifactKind::Table, &every_second(1));
            Ok(Outcome {
                outputs: BTreeMap::from([("train".to_owned(), train), ("test".to_owned(), test)]),
                facts: BTreeMap::from([("rows".to_owned(), text.lines().count() as f64)]),
                ..Outcome::default()
            })
        }),
        // A model that knows how good it is.
        "train" => Arc::new(|step| {
            let auc = step.params["auc"].as_float().unwrap();
            write_out(step, &format!("{auc}\ntrained on {}", read(step, "data")))
        }),
        "eval" => Arc::new(|step| {
            let auc = read(step, "model").lines().next().unwrap().to_owned();
            write_out(step, &format!(r#"{{"auc":{auc}}}"#))
        }),
        // Inputs and parameters side by side; a single input as it is.
        "join" => Arc::new(|step| {
            let inputs = step.inputs.keys().map(|name| read(step, name));
            let texts: Vec<String> = inputs.chain(step.params.values().map(Value::to_string)).collect();
            write_out(step, &texts.join("+"))
        }),
        "fail" => Arc::new(|step| {
            let class = match step.params.get("class").and_then(Value::as_str) {
                Some("data") => ErrorClass::Data,
                Some("environment") => ErrorClass::Environment,
                _ => ErrorClass::Step,
            };
            let n_failures = step.params.get("times").and_then(Value::as_int).unwrap_or(i64::MAX);
            if i64::from(step.attempt) <= n_failures {
                return Err(StepError::new(class, "P2001", format!("step `{}` failed", step.step)));
            }
            write_out(step, "done")
        }),
        _ => panic!("the test runner has no operation {op}"),
    }
}

impl Runner for TestRunner {
    fn environment(&self, _: &Call) -> Result<BTreeMap<String, String>, StepError> {
        Ok(self.environment.lock().unwrap().clone())
    }

    fn start(&self, step: StartStep, report: Box<dyn Fn(RunnerEvent) + Send + Sync>) -> Box<dyn Handle> {
        self.started.lock().unwrap().push(step.step.clone());
        let work = self.work_of(&step.op);
        let handle = TestHandle { step: step.step.clone(), cancelled: self.cancelled() };
        std::thread::spawn(move || {
            let end = work(&step);
            report(RunnerEvent::Finished(end));
        });
        Box::new(handle)
    }
}

/// Reads an input as text: the payload only.
pub fn read(step: &StartStep, input: &str) -> String {
    let input = &step.inputs[input];
    let bytes = fs::read(&input.path).unwrap();
    String::from_utf8(bytes[..input.size_bytes as usize].to_vec()).unwrap()
}

pub fn write(step: &StartStep, name: &str, kind: ArtifactKind, text: &str) -> Produced {
    let path = step.work_dir.join(name);
    fs::write(&path, text).unwrap();
    Produced { kind, path }
}

/// Writes the only output, in the kind that is asked for.
pub fn write_out(step: &StartStep, text: &str) -> Result<Outcome, StepError> {
    let kind = step.outputs[0].1.artifact_kind().unwrap();
    let produced = write(step, "out", kind, text);
    Ok(Outcome { outputs: BTreeMap::from([("out".to_owned(), produced)]), ..Outcome::default() })
}

pub fn touch(path: &Path) {
    let later = std::time::SystemTime::now() + std::time::Duration::from_secs(60);
    fs::File::options().write(true).open(path).unwrap().set_modified(later).unwrap();
}
