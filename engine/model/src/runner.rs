//! The contract between the engine and what executes steps. No async: a runner calls back from its own threads.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{ArtifactKind, Call, Demand, Digest, ErrorClass, Facts, Named, RunId, StepError, Type, Value};

/// Executes steps of the operations that name it.
pub trait Runner: Send + Sync {
    /// What belongs into the cache key beside parameters and inputs: versions of tools, device class, threads, declared
    /// variables. Cheap: reads at most small files, starts no process.
    fn environment(&self, call: &Call) -> Result<BTreeMap<String, String>, StepError>;

    /// What [`Runner::environment`] looks at besides its call and this program: as long as none of it changes, its
    /// answer stays the same. `None`: that cannot be told.
    fn watched(&self, _call: &Call) -> Option<Watched> {
        None
    }

    /// Whether a call may lack something of the outside, so that [`Runner::lacks`] is to be asked. Looks at the call alone.
    fn may_lack(&self, _call: &Call) -> bool {
        false
    }

    /// What a call needs of the outside and does not have, such as a secret. Asked before anything runs, of calls that run
    /// or may have to.
    fn lacks(&self, _call: &Call) -> Option<StepError> {
        None
    }

    /// What a call needs of the machine where the pipeline does not say. Capped by what there is, so that a pipeline
    /// runs on a small machine as well.
    fn implied_demand(&self, _call: &Call) -> Demand {
        Demand::default()
    }

    /// Whether the step of a call makes hardly more than it reads, inside this process. Where it reads little, it is then
    /// executed by [`Runner::execute`].
    fn is_light(&self, _call: &Call) -> bool {
        false
    }

    /// Executes a light step on the caller's thread, and in memory. Inputs that `files` does not hold are files outside the
    /// store; outputs are put there, under the paths that they would have in the work folder, which does not exist.
    /// `cancelled` may become true at any time.
    fn execute(&self, step: &StartStep, _files: &SmallFiles, _cancelled: &AtomicBool) -> Result<Outcome, StepError> {
        let message = format!("the runner of step `{}` does not execute it in memory", step.step);
        Err(StepError::new(ErrorClass::Bug, "N6301", message))
    }

    /// Whether `report` may take its time, since each step has a thread that does nothing else.
    fn may_linger(&self) -> bool {
        false
    }

    /// Starts the step and returns at once. `report` is called from any thread, last with
    /// [`RunnerEvent::Finished`], exactly once, also after a cancel. Dropping the handle does not stop the step.
    fn start(&self, step: StartStep, report: Box<dyn Fn(RunnerEvent) + Send + Sync>) -> Box<dyn Handle>;
}

/// What a light step reads and makes, by its path.
#[derive(Debug, Default)]
pub struct SmallFiles(Mutex<BTreeMap<PathBuf, Arc<[u8]>>>);

impl SmallFiles {
    pub fn put(&self, path: PathBuf, bytes: Arc<[u8]>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(path, bytes);
    }

    pub fn get(&self, path: &Path) -> Option<Arc<[u8]>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(path).cloned()
    }
}

/// Parts of the outside world, to be compared with what they were.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Watched {
    /// Variables of this process's environment.
    pub variables: BTreeSet<String>,
    /// Files, by their bytes, and folders, by their entries. They need not exist.
    pub paths: BTreeSet<PathBuf>,
}

impl Watched {
    pub fn add(&mut self, more: Self) {
        self.variables.extend(more.variables);
        self.paths.extend(more.paths);
    }
}

/// A running step.
pub trait Handle: Send {
    /// Asks the step to end; it still reports `Finished`, with class `Cancelled`.
    fn cancel(&self, how: Cancel);
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cancel {
    /// End cleanly, by force after 10 seconds.
    Gently,
    /// End by force.
    Now,
}

/// Told by a runner of each process group that it starts (`true`) and of its end (`false`), so that somebody else can
/// kill it should this process die. Called from any thread, before the group does any work.
pub type ProcessWatch = Arc<dyn Fn(u32, bool) + Send + Sync>;

/// A step to execute.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StartStep {
    pub run: RunId,
    pub step: String,
    /// From 1.
    pub attempt: u32,
    pub op: String,
    pub params: Named<Value>,
    /// By argument name, as in [`Call::inputs`].
    pub inputs: BTreeMap<String, InputFile>,
    /// Name and type of each output to produce.
    pub outputs: Vec<(String, Type)>,
    /// As the runner declared it for the key.
    pub environment: BTreeMap<String, String>,
    /// An empty folder for this attempt, on the store's filesystem: outputs are written here. Removed afterwards.
    pub work_dir: PathBuf,
    pub timeout: Option<Duration>,
    /// UUIDs of the GPUs that it may use, and no others.
    #[serde(default)]
    pub gpus: Vec<String>,
    /// Of an effect: what tells whoever is written to that this is one and the same wish, however often it comes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
}

/// An input artifact, ready to be mapped or read. Never to be written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InputFile {
    pub digest: Digest,
    pub ty: Type,
    /// The payload is the first `size_bytes` bytes of this file. For a folder: the folder itself. What stands beside the work
    /// folder is a copy that was made for this attempt alone, which the runner may move.
    pub path: PathBuf,
    pub size_bytes: u64,
    /// What a person calls it: a path as written, or `node.output`.
    pub shown: String,
}

#[derive(Debug, Clone, PartialEq)]
pub enum RunnerEvent {
    Progressed(Progress),
    Printed(String),
    Finished(Result<Outcome, StepError>),
}

/// How far a step is.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Progress {
    /// What is counted: `rows`, `epochs`.
    pub unit: String,
    pub done: u64,
    /// `None` while unknown.
    pub total: Option<u64>,
    /// Current figures, such as `loss`.
    #[serde(deserialize_with = "crate::record::read_facts")]
    pub metrics: Facts,
}

/// What a step made.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Outcome {
    /// One for each declared output.
    pub outputs: BTreeMap<String, Produced>,
    #[serde(deserialize_with = "crate::record::read_facts")]
    pub facts: Facts,
    /// What the result was made with, for lineage: `libtorch`, `device`, `threads`.
    pub environment: BTreeMap<String, String>,
    /// The most memory that the step's own processes had at once, as far as that was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peak_mem_bytes: Option<u64>,
}

/// A file (or, for a folder artifact, a folder) in the work folder, in the canonical form of its kind.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Produced {
    pub kind: ArtifactKind,
    pub path: PathBuf,
}
