//! Puts the crates together: the catalogue, the store's client, the runners and the engine.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use mlp_engine::Engine;
use mlp_model::{
    Call, Catalogue, Handle, Outcome, ProcessWatch, Runner, RunnerEvent, SmallFiles, StartStep, StepError, Store,
    StoreError, Watched,
};
use mlp_process::{ProcessRunner, Workshop};
use mlp_stdlib::BuiltinRunner;
use mlp_store::snapshot::last_written;
use mlp_store::{Client, Clock, SystemClock};
use mlp_tabular::{SqlInfer, TabularRunner};
use mlp_torch_client::TorchRunner;
use mlp_wasm::{WasmConfig, WasmRunner};

use crate::exit::Exit;
use crate::keyring::encryption;
use crate::output::Failure;
use crate::secrets::{is_secret, secrets};
use crate::workspace::Workspace;

/// How long the store's owner process stays when nobody needs it.
const OWNER_IDLE: Duration = Duration::from_secs(60);

/// How many idle worker processes are kept for the next step.
const IDLE_WORKERS: usize = 2;

/// The runners that this binary has.
const RUNNERS: [&str; 4] = ["builtin", "process", "torch", "wasm"];

/// The hidden command that makes this program a worker for transforms.
pub const WASM_WORKER: &str = "__wasm-worker";

/// Returns the operations that a runner of this binary can execute.
pub fn catalogue() -> Catalogue {
    let all = mlp_stdlib::catalogue(Arc::new(SqlInfer));
    let known = all.iter().filter(|signature| RUNNERS.contains(&signature.runner)).cloned();
    Catalogue::new(known).with_modules(all.modules())
}

/// Connects to the workspace's store, starting its owner process if there is none.
pub fn open_store(workspace: &Workspace) -> Result<Arc<Client>, Failure> {
    connect(workspace).map_err(store_failure)
}

/// A store that is being opened while something else is done: its owner process, if there is none, takes as long to begin as a
/// pipeline to be checked.
pub struct Opening(Option<JoinHandle<Result<Arc<Client>, Failure>>>);

impl Opening {
    /// Opens the store near `file` if there is one; a new one is made when it is needed.
    pub fn begin(file: &Path) -> Self {
        let workspace = Workspace::of(file).ok().filter(|found| last_written(&found.root).is_some());
        let open = |workspace: Workspace| thread::Builder::new().spawn(move || open_store(&workspace)).ok();
        Self(workspace.and_then(open))
    }

    /// Waits until it is open.
    pub fn store(self, workspace: &Workspace) -> Result<Arc<Client>, Failure> {
        match self.0.map(JoinHandle::join) {
            Some(Ok(opened)) => opened,
            // It panicked, and was shown to.
            Some(Err(_)) | None => open_store(workspace),
        }
    }
}

/// The same for who wants to know why there is no connection.
pub fn connect(workspace: &Workspace) -> Result<Arc<Client>, StoreError> {
    let root = workspace.root.clone();
    let idle = workspace.settings.owner_idle_seconds.unwrap_or(OWNER_IDLE.as_secs());
    let spawn = move || {
        let mut owner = Command::new(std::env::current_exe()?);
        // It outlives this process, and needs none of them.
        std::env::vars_os().filter(|(name, _)| is_secret(name)).for_each(|(name, _)| _ = owner.env_remove(name));
        owner.arg("__owner").arg(&root).args(["--idle", &idle.to_string()]).current_dir("/");
        mlp_store::spawn_detached(owner)
    };
    let encryption = encryption(&workspace.root, &workspace.settings);
    Client::connect_encrypted(&workspace.root, Box::new(spawn), Arc::new(SystemClock), encryption).map(Arc::new)
}

/// Runs the owner process itself (`mlp __owner`).
pub fn serve_owner(workspace: &Path, idle_seconds: u64) -> Result<Exit, Failure> {
    // A session of its own: a terminal's ctrl-C is for `mlp run`, not for the owner that cleans up after it.
    let _ = rustix::process::setsid();
    mlp_store::serve_owner(workspace, Duration::from_secs(idle_seconds), Arc::new(SystemClock))
        .map(|()| Exit::Done)
        .map_err(store_failure)
}

pub fn store_failure(error: StoreError) -> Failure {
    let help = match &error {
        StoreError::DiskFull { .. } => "free some space and run again; nothing that was finished is lost",
        StoreError::JournalDamaged { .. } => {
            "`mlp store verify` tells what is whole; `mlp store repair` what can be done"
        }
        StoreError::NewerFormat { .. } => "use the newer mlp that wrote it",
        StoreError::Owner { .. } => "see `.mlp/owner.log` in the workspace",
        StoreError::NetworkFilesystem(_) => {
            "put the workspace on a local disk, or make its `.mlp` a link to a folder there"
        }
        StoreError::Io { .. } => "check that the workspace's `.mlp` folder can be read and written",
        StoreError::Conflict { .. } => "run again",
        StoreError::Key { place: None, .. } => "say in mlp.yaml where keys are: `encryption`",
        StoreError::Key { .. } => "bring the key back; to give up what is encrypted with it: `mlp erase`",
    };
    Failure::new(Exit::Environment, error.to_string()).with_help(help)
}

/// Returns an engine with every runner.
pub fn engine(store: Arc<Client>) -> Result<Engine, Failure> {
    let watch: ProcessWatch = {
        let store = Arc::clone(&store);
        Arc::new(move |group, alive| {
            if alive {
                // Should the owner be away just now, the client tells it again when it is back.
                let _ = store.track(group);
            } else {
                store.untrack(group);
            }
        })
    };
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
    let program = std::env::current_exe().map_err(|error| {
        let message = format!("cannot find the program file of mlp: {error}");
        Failure::new(Exit::Environment, message).with_help("start mlp by its full path")
    })?;
    let transforms =
        WasmConfig { program, args: vec![WASM_WORKER.into()], max_idle: IDLE_WORKERS, watch: Arc::clone(&watch) };
    let workshop = {
        let (to_make, to_remove) = (Arc::clone(&store), Arc::clone(&store));
        Workshop {
            make: Arc::new(move || to_make.scratch().map_err(io::Error::other)),
            remove: Arc::new(move |folder| to_remove.discard(folder)),
        }
    };
    let shells = ProcessRunner::new(std::env::vars_os(), Arc::clone(&watch))
        .with_secrets(secrets(store.workspace()))
        .with_workshop(workshop);
    let builtin = Builtin { tabular: TabularRunner::new(threads), rest: BuiltinRunner };
    let runners: BTreeMap<String, Arc<dyn Runner>> = BTreeMap::from([
        ("builtin".to_owned(), Arc::new(builtin) as Arc<dyn Runner>),
        ("process".to_owned(), Arc::new(shells)),
        ("torch".to_owned(), Arc::new(TorchRunner::new(watch, IDLE_WORKERS))),
        ("wasm".to_owned(), Arc::new(WasmRunner::new(transforms))),
    ]);
    let clock = SystemClock;
    Ok(Engine::new(store, runners, Arc::new(move || clock.now())))
}

/// The steps that run inside `mlp` itself, from the two crates that have them.
struct Builtin {
    tabular: TabularRunner,
    rest: BuiltinRunner,
}

impl Builtin {
    fn of(&self, op: &str) -> &dyn Runner {
        if TabularRunner::OPS.contains(&op) { &self.tabular } else { &self.rest }
    }
}

impl Runner for Builtin {
    fn environment(&self, call: &Call) -> Result<BTreeMap<String, String>, StepError> {
        self.of(&call.op).environment(call)
    }

    fn watched(&self, call: &Call) -> Option<Watched> {
        self.of(&call.op).watched(call)
    }

    fn is_light(&self, call: &Call) -> bool {
        self.of(&call.op).is_light(call)
    }

    fn execute(&self, step: &StartStep, files: &SmallFiles, cancelled: &AtomicBool) -> Result<Outcome, StepError> {
        self.of(&step.op).execute(step, files, cancelled)
    }

    fn may_linger(&self) -> bool {
        true
    }

    fn start(&self, step: StartStep, report: Box<dyn Fn(RunnerEvent) + Send + Sync>) -> Box<dyn Handle> {
        self.of(&step.op).start(step, report)
    }
}
