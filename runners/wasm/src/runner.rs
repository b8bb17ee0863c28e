//! The side of `mlp`: gives steps to worker processes.
//!
//! Names no part of wasmtime: nothing of a guest is ever in this process.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::available_parallelism;

use mlp_model::{Call, Handle, ProcessWatch, Runner, RunnerEvent, StartStep, StepError, Watched};
use mlp_worker::{Pool, PoolConfig};

use crate::{kit, worker};

/// The address space of a worker, besides what each processor core needs: a guest's memory of 1 GiB with its
/// surroundings, machine code, a batch and its result, and the compiler of Python transforms (below 8 GiB).
const ADDRESS_SPACE: u64 = 12 << 30;
const ADDRESS_SPACE_PER_CORE: u64 = 128 << 20;

/// How to start workers.
pub struct WasmConfig {
    /// A program that calls [`crate::worker_main`] when it is given `args`: `mlp` itself.
    pub program: PathBuf,
    pub args: Vec<OsString>,
    /// How many idle workers are kept for further steps.
    pub max_idle: usize,
    pub watch: ProcessWatch,
}

/// Executes `wasm.map`.
pub struct WasmRunner {
    pool: Arc<Pool>,
}

impl WasmRunner {
    /// Makes a runner. No process is started before the first step.
    pub fn new(config: WasmConfig) -> Self {
        let n_cores = available_parallelism().map_or(1, usize::from) as u64;
        Self {
            pool: Pool::new(PoolConfig {
                name: worker::NAME,
                program: config.program,
                args: config.args,
                env: Vec::new(),
                memory_bytes: Some(ADDRESS_SPACE + n_cores * ADDRESS_SPACE_PER_CORE),
                max_idle: config.max_idle,
                watch: config.watch,
            }),
        }
    }
}

impl Runner for WasmRunner {
    /// The compiler's version is the one that transforms are built with, whether or not it is installed: what is
    /// stored can be used without it. The profile is a parameter, and so in the key already.
    fn environment(&self, _call: &Call) -> Result<BTreeMap<String, String>, StepError> {
        Ok(BTreeMap::from([
            ("componentize-py".to_owned(), kit::COMPONENTIZE_PY.to_owned()),
            ("sdk".to_owned(), kit::digest().short()),
        ]))
    }

    fn watched(&self, _: &Call) -> Option<Watched> {
        Some(Watched::default())
    }

    fn start(&self, step: StartStep, report: Box<dyn Fn(RunnerEvent) + Send + Sync>) -> Box<dyn Handle> {
        self.pool.start(step, report)
    }
}
