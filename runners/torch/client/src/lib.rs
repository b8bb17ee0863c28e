//! Runs torch steps in `mlp-torch` processes: finds that program and a libtorch for it, starts it, hands it steps.
//!
//! A worker's number of threads is fixed when it starts, since results depend on it; so there is a pool of workers for
//! each number, and a worker keeps libtorch loaded from one step to the next.
//!
//! Unaware of what the steps compute, and of libtorch itself: `mlp` links none of it.

mod locate;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ffi::OsString;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use mlp_model::{
    Call, Cancel, Demand, ErrorClass, GpuDemand, Handle, ProcessWatch, Runner, RunnerEvent, StartStep, StepError,
    Value, Watched,
};
use mlp_worker::{Pool, PoolConfig};

pub use locate::{LIBTORCH, Located, Surroundings, locate, locate_in};

/// Executes `torch.*` steps.
pub struct TorchRunner {
    watch: ProcessWatch,
    /// How many idle workers a pool keeps.
    max_idle: usize,
    /// Looked up until it is found.
    located: OnceLock<Located>,
    watched: OnceLock<Watched>,
    /// By device class, number of threads and GPUs.
    pools: Mutex<BTreeMap<Kind, Arc<Pool>>>,
}

/// What is fixed when a worker starts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Kind {
    device: String,
    threads: u32,
    gpus: Vec<String>,
}

impl TorchRunner {
    /// Looks for nothing and starts nothing yet. `watch` hears of each process that begins and ends.
    pub fn new(watch: ProcessWatch, max_idle: usize) -> Self {
        Self { watch, max_idle, located: OnceLock::new(), watched: OnceLock::new(), pools: Mutex::new(BTreeMap::new()) }
    }

    fn located(&self) -> Result<&Located, StepError> {
        if let Some(located) = self.located.get() {
            return Ok(located);
        }
        let located = locate()?;
        Ok(self.located.get_or_init(|| located))
    }

    fn pool(&self, kind: Kind) -> Result<Arc<Pool>, StepError> {
        let mut pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(match pools.entry(kind) {
            Entry::Occupied(pool) => Arc::clone(pool.get()),
            Entry::Vacant(place) => {
                let located = self.located()?;
                let kind = place.key();
                let config = PoolConfig {
                    name: "mlp-torch",
                    program: located.program.clone(),
                    args: Vec::new(),
                    env: variables(located, kind)?,
                    memory_bytes: None,
                    // After an error of CUDA a process can do nothing more, and an idle one would hold GPU memory.
                    max_idle: if kind.device == "cpu" { self.max_idle } else { 0 },
                    watch: Arc::clone(&self.watch),
                };
                Arc::clone(place.insert(Pool::new(config)))
            }
        })
    }

    fn try_start(&self, step: &StartStep) -> Result<Arc<Pool>, StepError> {
        let declared = |name: &str| {
            step.environment.get(name).ok_or_else(|| {
                StepError::new(ErrorClass::Bug, "T4003", format!("the step's environment does not declare `{name}`"))
            })
        };
        let threads = declared("threads")?.parse().ok().filter(|threads| *threads > 0);
        let threads =
            threads.ok_or_else(|| StepError::new(ErrorClass::Bug, "T4003", "the step's number of threads is odd"))?;
        self.pool(Kind { device: declared("device")?.clone(), threads, gpus: step.gpus.clone() })
    }
}

impl Runner for TorchRunner {
    /// `libtorch`, its version; `device`, `cpu` or `cuda`; `threads`. All three change the bytes of a result.
    fn environment(&self, call: &Call) -> Result<BTreeMap<String, String>, StepError> {
        let located = self.located()?;
        let asked = call.params.get("device").and_then(Value::as_str).unwrap_or("auto");
        let device = if asked == "auto" { located.device_class() } else { asked };
        let threads = call.params.get("threads").and_then(Value::as_int).unwrap_or(1);
        Ok(BTreeMap::from([
            ("libtorch".into(), located.version.clone()),
            ("device".into(), device.to_owned()),
            ("threads".into(), threads.to_string()),
        ]))
    }

    /// Where the worker and libtorch are looked for.
    fn watched(&self, _: &Call) -> Option<Watched> {
        Some(self.watched.get_or_init(|| locate::watched(&Surroundings::of_this_process())).clone())
    }

    /// As many cores as it computes with, and a GPU if that is where it computes.
    fn implied_demand(&self, call: &Call) -> Demand {
        let Ok(environment) = self.environment(call) else { return Demand::default() };
        let gpu = environment.get("device").filter(|device| *device == "cuda").map(|_| GpuDemand::Count(1));
        Demand { cpu: environment.get("threads").and_then(|threads| threads.parse().ok()), gpu, ..Demand::default() }
    }

    fn start(&self, step: StartStep, report: Box<dyn Fn(RunnerEvent) + Send + Sync>) -> Box<dyn Handle> {
        match self.try_start(&step) {
            Ok(pool) => pool.start(step, report),
            Err(error) => {
                report(RunnerEvent::Finished(Err(error)));
                Box::new(Ended)
            }
        }
    }
}

/// What must stand in the worker's environment before its libraries are loaded.
fn variables(located: &Located, kind: &Kind) -> Result<Vec<(OsString, OsString)>, StepError> {
    let text = |name: &str, value: &str| (OsString::from(name), OsString::from(value));
    let threads = kind.threads.to_string();
    let mut variables = vec![
        ("LD_LIBRARY_PATH".into(), locate::library_path(&located.library_folders)?),
        // The same number of threads, whatever else the machine does, and so the same sums.
        text("OMP_NUM_THREADS", &threads),
        text("OMP_DYNAMIC", "FALSE"),
        text("MKL_NUM_THREADS", &threads),
        text("MKL_DYNAMIC", "FALSE"),
        text("MKL_CBWR", "AUTO"),
        text("CUDA_DEVICE_ORDER", "PCI_BUS_ID"),
        text("CUBLAS_WORKSPACE_CONFIG", ":4096:8"),
    ];
    // Where nobody could count the GPUs, none was given, and a step that needs one takes what this process sees.
    if !kind.gpus.is_empty() || kind.device == "cpu" {
        variables.push(text("CUDA_VISIBLE_DEVICES", &kind.gpus.join(",")));
    }
    Ok(variables)
}

/// The handle of a step that never began.
struct Ended;

impl Handle for Ended {
    fn cancel(&self, _how: Cancel) {}
}
