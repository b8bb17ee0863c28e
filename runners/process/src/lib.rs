//! `sh` steps: a command of the shell over files, in a folder of its own, with a clean environment.
//!
//! A step's life: its folder is laid out (`stage`), the shell runs (`shell`), every process that it left behind is
//! ended (`tree`), its outputs are checked and taken (`collect`). What a step sees:
//!
//! - the working folder holds read-only copies of the declared inputs under `in/`, and an empty `out/` and `tmp/`; what
//!   the pipeline places elsewhere in it (`at`) stands there (`project`);
//! - `sh -e -c COMMAND`: the first failing command ends the step. In a pipe only the last command counts, as `sh` has
//!   it;
//! - variables: `PATH` of mlp, `HOME` (the working folder), `TMPDIR`, `LC_CTYPE=C.UTF-8`, `TZ=UTC`,
//!   `SOURCE_DATE_EPOCH` (1980-01-01, the earliest that zip files can say), `MLP_STEP`, and what the pipeline declares; nothing else;
//! - secrets, which pipelines know by name alone: their values are variables of the step and nothing else, and are masked in
//!   all that it prints and that is said of it (`mask`);
//! - umask 022, no standard input, no terminal.
//!
//! **Invariant:** a step's inputs are copies, so that nothing it does can change an object of the store; and its
//! outputs are looked at only when none of its processes is left.
//!
//! Unaware of the store, of the scheduler and of where inputs come from.

mod cgroup;
mod collect;
mod confine;
mod copy;
mod ended;
mod filter;
mod hands;
mod landlock;
mod lines;
mod mask;
mod places;
mod proc;
mod project;
mod refused;
mod sandbox;
mod settings;
mod shell;
mod spawn;
mod stage;
mod step;
mod tag;
mod tree;
mod witness;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::sync::Arc;
use std::time::Duration;

pub use mlp_model::ProcessWatch;
use mlp_model::{Call, Cancel, Handle, Runner, RunnerEvent, StartStep, StepError, Watched};
pub use sandbox::Workshop;

use crate::confine::Confinement;
use crate::hands::Hands;
use crate::project::Project;
use crate::settings::Settings;
use crate::step::{Job, Machine, Ticket};

/// Tells the value of a secret by its name, or why it is not there.
pub type Secrets = Arc<dyn Fn(&str) -> Result<Vec<u8>, StepError> + Send + Sync>;

/// Runs `sh` steps.
pub struct ProcessRunner {
    machine: Arc<Machine>,
    hands: Arc<Hands>,
    cancel_limit: Duration,
}

/// What is used of a machine, if it has it.
#[derive(Debug, Clone, Copy)]
pub struct Means {
    /// Control groups, to end all that a step started.
    pub cgroups: bool,
    /// To refuse files.
    pub landlock: bool,
    /// To refuse the network.
    pub filters: bool,
    /// Filters that ask, to name what was refused.
    pub asks: bool,
}

impl Default for Means {
    fn default() -> Self {
        Self { cgroups: true, landlock: true, filters: true, asks: true }
    }
}

/// Tells how well this machine confines steps: in a few words, and what is lacking, if something is.
pub fn confinement() -> (&'static str, Option<&'static str>) {
    let level = Confinement::level_of(Means::default());
    (level.text(), level.lack())
}

impl ProcessRunner {
    /// Makes a runner. `variables` is the environment of this process: `PATH`, and what `pass_env` names, is taken
    /// from it.
    pub fn new(variables: impl IntoIterator<Item = (OsString, OsString)>, watch: ProcessWatch) -> Self {
        let variables = variables.into_iter().collect();
        let machine = Machine::new(variables, watch, Arc::new(ended::no_secret), Means::default(), None);
        Self { machine: Arc::new(machine), hands: Arc::default(), cancel_limit: Duration::from_secs(10) }
    }

    /// Says who tells secrets; otherwise there are none.
    pub fn with_secrets(mut self, secrets: Secrets) -> Self {
        let Machine { variables, watch, means, .. } = &*self.machine;
        let workshop = self.machine.workshop();
        self.machine = Arc::new(Machine::new(variables.clone(), watch.clone(), secrets, *means, workshop));
        self
    }

    /// Returns whether steps have control groups, which end everything that a step started for sure.
    pub fn has_control_groups(&self) -> bool {
        self.machine.cgroups().is_some()
    }

    /// Leaves out what this machine could do, so that the means of lesser ones can be tested.
    pub fn with_means(mut self, means: Means) -> Self {
        let Machine { variables, watch, secrets, .. } = &*self.machine;
        let (secrets, workshop) = (Arc::clone(secrets), self.machine.workshop());
        self.machine = Arc::new(Machine::new(variables.clone(), watch.clone(), secrets, means, workshop));
        self
    }

    /// Lets steps run in folders of the workshop, which serve one after the other; otherwise each has a new one in its work
    /// folder.
    pub fn with_workshop(mut self, workshop: Workshop) -> Self {
        let Machine { variables, watch, secrets, means, .. } = &*self.machine;
        let secrets = Arc::clone(secrets);
        self.machine = Arc::new(Machine::new(variables.clone(), watch.clone(), secrets, *means, Some(workshop)));
        self
    }

    /// Changes how long a step that is asked to end has until it is killed; 10 seconds otherwise.
    pub fn with_cancel_limit(mut self, limit: Duration) -> Self {
        self.cancel_limit = limit;
        self
    }
}

impl Runner for ProcessRunner {
    /// Returns the value of each variable of `pass_env`, as `env.NAME`, and the name under which the command sees each
    /// file beside the pipeline, as `file.NAME`: programs go by its extension.
    ///
    /// The values stand in the cache key, where anybody can read them: `pass_env` is not for secrets.
    fn environment(&self, call: &Call) -> Result<BTreeMap<String, String>, StepError> {
        let settings = Settings::read(&call.params)?;
        let mut environment = settings.passed(&self.machine.variables)?;
        environment.extend(stage::file_names(&call.inputs, &Project::read(&call.params)?));
        Ok(environment)
    }

    fn may_lack(&self, call: &Call) -> bool {
        Settings::read(&call.params).is_ok_and(|settings| !settings.secrets().is_empty())
    }

    /// The first secret that is not there.
    fn lacks(&self, call: &Call) -> Option<StepError> {
        let settings = Settings::read(&call.params).ok()?;
        settings.secrets().values().find_map(|name| (self.machine.secrets)(name).err())
    }

    /// The variables of `pass_env`. Secrets are none of them: their values decide nothing.
    fn watched(&self, call: &Call) -> Option<Watched> {
        let settings = Settings::read(&call.params).ok()?;
        Some(Watched { variables: settings.names_passed(), ..Watched::default() })
    }

    fn may_linger(&self) -> bool {
        true
    }

    fn start(&self, step: StartStep, report: Box<dyn Fn(RunnerEvent) + Send + Sync>) -> Box<dyn Handle> {
        let ticket = match Ticket::new() {
            Ok(ticket) => Arc::new(ticket),
            Err(error) => {
                report(RunnerEvent::Finished(Err(ended::no_resources(&error))));
                return Box::new(Over);
            }
        };
        let report: Arc<dyn Fn(RunnerEvent) + Send + Sync> = report.into();
        let job = Job {
            step,
            machine: Arc::clone(&self.machine),
            cancel_limit: self.cancel_limit,
            report: Arc::clone(&report),
            ticket: Arc::clone(&ticket),
        };
        if let Err(error) = self.hands.give(Box::new(move || job.work())) {
            report(RunnerEvent::Finished(Err(ended::no_resources(&error))));
        }
        Box::new(Running(ticket))
    }
}

struct Running(Arc<Ticket>);

impl Handle for Running {
    fn cancel(&self, how: Cancel) {
        self.0.cancel(how);
    }
}

/// The handle of a step that could not be started.
struct Over;

impl Handle for Over {
    fn cancel(&self, _how: Cancel) {}
}
