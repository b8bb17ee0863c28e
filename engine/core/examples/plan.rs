//! How long a plan takes, and a run with nothing to do, over pipelines of N steps built by hand: all of them independent, and
//! all in one chain. `target/debug/examples/plan 10000 100000`; the sizes may be left out.
//!
//! The store is in memory and knows every result: what is measured is the engine's own work. Prints the median of five
//! and what it is for each step, which must not grow with N.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use mlp_engine::{Engine, RunRequest};
use mlp_model::{
    ArtifactKind, CacheKey, Call, CallClass, Claim, CommitGuard, Digest, Done, Handle, Input, InputRecord, KeyId,
    Machine, Named, Node, NodeKind, ObjectFile, Options, Output, OutputRecord, Pipeline, Record, RunId, RunSummary,
    Runner, RunnerEvent, Sensitivity, Span, StartStep, StepError, StepId, StepResult, Store, StoreError, Stored, Take,
    Timestamp, Type, Value,
};
use tokio::sync::watch;

const N_ROUNDS: usize = 5;

fn main() {
    let sizes: Vec<usize> = std::env::args().skip(1).filter_map(|size| size.parse().ok()).collect();
    let sizes = if sizes.is_empty() { vec![1_000, 10_000] } else { sizes };
    println!("{:>8}  {:<12} {:<16} {:>10} {:>12}", "steps", "shape", "what", "seconds", "us a step");
    for n_steps in sizes {
        for is_chain in [false, true] {
            measure(n_steps, is_chain);
        }
    }
}

fn measure(n_steps: usize, is_chain: bool) {
    let shape = if is_chain { "chain" } else { "independent" };
    let old = pipeline(n_steps, is_chain, 0);
    let new = pipeline(n_steps, is_chain, 1);
    let store = Arc::new(KnownStore::of(&old));
    let runners: BTreeMap<String, Arc<dyn Runner>> = BTreeMap::from([("bench".to_owned(), Arc::new(Idle) as _)]);
    let engine = Engine::new(store, runners, Arc::new(|| Timestamp(0)));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("threads");
    let tell = |what: &str, work: &mut dyn FnMut()| {
        let mut seconds: Vec<f64> = (0..N_ROUNDS)
            .map(|_| {
                let started = Instant::now();
                work();
                started.elapsed().as_secs_f64()
            })
            .collect();
        seconds.sort_by(f64::total_cmp);
        let median = seconds[N_ROUNDS / 2];
        println!("{n_steps:>8}  {shape:<12} {what:<16} {median:>10.3} {:>12.2}", median * 1e6 / n_steps as f64);
    };
    tell("plan, all known", &mut || {
        let plan = engine.plan(&old, &request()).expect("a plan");
        assert_eq!((plan.steps.len(), plan.seconds), (n_steps, 0.0));
    });
    tell("plan, all new", &mut || {
        let plan = engine.plan(&new, &request()).expect("a plan");
        assert!(plan.seconds_at_most > 0.0);
    });
    tell("run, all known", &mut || {
        let (_cancel, never) = watch::channel(None);
        let outcome = runtime.block_on(engine.run(&old, request(), |_| {}, never)).expect("a run");
        assert_eq!(outcome.steps.reused, n_steps);
    });
}

fn request() -> RunRequest {
    RunRequest {
        run: RunId("bench".into()),
        file: "bench.mlp".into(),
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
        mlp_version: "0".into(),
        host: "bench".into(),
    }
}

fn pipeline(n_steps: usize, is_chain: bool, salt: i64) -> Pipeline {
    let node = |idx: usize| {
        let before = (is_chain && idx > 0).then(|| Input::Output { node: idx - 1, output: "out".into() });
        let call = Call {
            class: CallClass::Step,
            op: "bench".into(),
            op_version: 1,
            runner: "bench".into(),
            params: Named::from([("idx", Value::Int(idx as i64)), ("salt", Value::Int(salt))]),
            inputs: before.into_iter().map(|input| ("data".to_owned(), input)).collect(),
            outputs: vec![Output { name: "out".into(), ty: Type::File, optional: false }],
            options: Options::default(),
            arg_spans: Named::new(),
        };
        Node {
            name: format!("s{idx}"),
            doc: String::new(),
            span: Span::default(),
            kind: NodeKind::Call(Box::new(call)),
        }
    };
    let nodes = (0..n_steps).map(node).collect();
    Pipeline { name: "bench".into(), doc: String::new(), params: BTreeMap::new(), nodes, sources: vec![] }
}

/// Starts nothing: in these runs there is nothing to start.
struct Idle;

impl Runner for Idle {
    fn environment(&self, _: &Call) -> Result<BTreeMap<String, String>, StepError> {
        Ok(BTreeMap::new())
    }

    fn start(&self, step: StartStep, _: Box<dyn Fn(RunnerEvent) + Send + Sync>) -> Box<dyn Handle> {
        panic!("`{}` was started", step.step)
    }
}

/// Knows the result of every step of a pipeline, each of one second.
struct KnownStore {
    results: HashMap<KeyId, StepResult>,
    by_step: HashMap<String, KeyId>,
    keys: HashMap<Digest, Vec<u8>>,
    n_records: Mutex<u64>,
}

impl KnownStore {
    fn of(pipeline: &Pipeline) -> Self {
        let n_records = Mutex::new(0);
        let mut store = Self { results: HashMap::new(), by_step: HashMap::new(), keys: HashMap::new(), n_records };
        for node in &pipeline.nodes {
            let NodeKind::Call(call) = &node.kind else { continue };
            let inputs: Vec<InputRecord> = call
                .inputs
                .iter()
                .map(|(name, input)| {
                    let Input::Output { node, .. } = input else { unreachable!("steps read steps") };
                    let maker = &pipeline.nodes[*node].name;
                    InputRecord {
                        name: (*name).to_owned(),
                        digest: Digest::of(maker.as_bytes()),
                        shown: format!("{maker}.out"),
                    }
                })
                .collect();
            let key = CacheKey {
                op: call.op.to_string(),
                op_version: call.op_version,
                params: call.params.clone(),
                inputs: inputs.iter().map(|input| (input.name.clone(), input.digest)).collect(),
                environment: BTreeMap::new(),
                salt: String::new(),
            };
            let bytes = serde_json::to_vec(&key).expect("a key");
            let output = OutputRecord {
                name: "out".into(),
                digest: Digest::of(node.name.as_bytes()),
                kind: ArtifactKind::File,
                size_bytes: 1,
            };
            let result = StepResult {
                key: key.id(),
                key_object: Digest::of(&bytes),
                op: call.op.to_string(),
                attempt: 1,
                inputs,
                outputs: vec![output],
                facts: BTreeMap::new(),
                environment: BTreeMap::new(),
                seconds: 1.0,
                peak_mem_bytes: None,
                at: Timestamp(0),
            };
            store.by_step.insert(node.name.clone(), result.key);
            store.keys.insert(result.key_object, bytes);
            store.results.insert(result.key, result);
        }
        store
    }
}

fn nowhere() -> StoreError {
    StoreError::Owner { message: "a store in memory has no files".into() }
}

impl Store for KnownStore {
    fn scratch(&self) -> Result<PathBuf, StoreError> {
        Err(nowhere())
    }

    fn discard(&self, _: &Path) {}

    fn adopt(&self, _: &Path, _: Sensitivity, _: &[String]) -> Result<(Digest, u64), StoreError> {
        Err(nowhere())
    }

    fn put(&self, _: &[u8], _: Sensitivity) -> Result<Digest, StoreError> {
        Err(nowhere())
    }

    fn object(&self, _: &Digest) -> Result<Option<ObjectFile>, StoreError> {
        Ok(Some(ObjectFile { path: PathBuf::new(), size_bytes: 1 }))
    }

    fn read(&self, digest: &Digest) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.keys.get(digest).cloned())
    }

    fn digest_file(&self, _: &Path) -> Result<(Digest, u64), StoreError> {
        Err(nowhere())
    }

    fn commit(&self, records: Vec<Record>, _: Option<CommitGuard>, done: Done<()>) {
        *self.n_records.lock().expect("nobody panics") += records.len() as u64;
        done(Ok(()));
    }

    fn claim(&self, _: KeyId, _: Vec<Take>, answer: Done<Claim>) {
        answer(Err(nowhere()));
    }

    fn track(&self, _: u32) -> Result<(), StoreError> {
        Ok(())
    }

    fn untrack(&self, _: u32) {}

    fn result(&self, key: &KeyId) -> Result<Option<(RunId, StepResult)>, StoreError> {
        Ok(self.results.get(key).map(|result| (RunId("before".into()), result.clone())))
    }

    fn runs(&self, _: usize, _: Option<&RunId>) -> Result<Vec<RunSummary>, StoreError> {
        Ok(Vec::new())
    }

    fn find_runs(&self, _: &str) -> Result<Vec<RunSummary>, StoreError> {
        Ok(Vec::new())
    }

    fn run_records(&self, _: &RunId) -> Result<Vec<Stored>, StoreError> {
        Ok(Vec::new())
    }

    fn step_history(&self, step: &StepId, _: usize) -> Result<Vec<Stored>, StoreError> {
        let result = self.by_step.get(&step.step).map(|key| self.results[key].clone());
        let record = |result| Record::StepFinished { run: RunId("before".into()), step: step.clone(), result };
        Ok(result.map(|result| Stored { seq: 1, record: record(result) }).into_iter().collect())
    }

    fn op_history(&self, _: &str, _: usize) -> Result<Vec<Stored>, StoreError> {
        Ok(Vec::new())
    }

    fn producers(&self, _: &Digest) -> Result<Vec<Stored>, StoreError> {
        Ok(Vec::new())
    }

    fn consumers(&self, _: &Digest) -> Result<Vec<Stored>, StoreError> {
        Ok(Vec::new())
    }

    fn find_artifacts(&self, _: &str, _: usize) -> Result<Vec<Digest>, StoreError> {
        Ok(Vec::new())
    }

    fn release_records(&self, _: &str) -> Result<Vec<Stored>, StoreError> {
        Ok(Vec::new())
    }

    fn releases(&self) -> Result<Vec<String>, StoreError> {
        Ok(Vec::new())
    }

    fn run_dir(&self, _: &RunId) -> Result<PathBuf, StoreError> {
        Err(nowhere())
    }
}
