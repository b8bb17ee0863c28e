//! One step from its start to its report, on a thread of its own. Unaware of other steps.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use mlp_model::{Cancel, Outcome, ProcessWatch, RunnerEvent, StartStep, StepError};
use rustix::event::{EventfdFlags, eventfd};

use crate::cgroup::Cgroups;
use crate::confine::Confinement;
use crate::mask::Mask;
use crate::project::Project;
use crate::sandbox::{Sandbox, Sandboxes, Workshop};
use crate::settings::Settings;
use crate::shell::{self, How, Shell};
use crate::{Means, Secrets};
use crate::{collect, ended, refused, stage};

/// What the steps of a runner share.
pub struct Machine {
    /// The environment of `mlp`.
    pub variables: BTreeMap<OsString, OsString>,
    pub watch: ProcessWatch,
    /// Tells the values of secrets.
    pub secrets: Secrets,
    pub means: Means,
    confinement: OnceLock<Confinement>,
    cgroups: OnceLock<Option<Cgroups>>,
    pub sandboxes: Sandboxes,
    has_warned: AtomicBool,
}

impl Machine {
    pub fn new(
        variables: BTreeMap<OsString, OsString>,
        watch: ProcessWatch,
        secrets: Secrets,
        means: Means,
        workshop: Option<Workshop>,
    ) -> Self {
        Self {
            variables,
            watch,
            secrets,
            means,
            confinement: OnceLock::new(),
            cgroups: OnceLock::new(),
            sandboxes: workshop.map(Sandboxes::new).unwrap_or_default(),
            has_warned: AtomicBool::new(false),
        }
    }

    pub fn workshop(&self) -> Option<Workshop> {
        self.sandboxes.workshop()
    }

    pub fn variable(&self, name: &str) -> Option<&OsString> {
        self.variables.get(OsStr::new(name))
    }

    /// Looked up by the first step that needs it.
    pub fn confinement(&self) -> &Confinement {
        self.confinement.get_or_init(|| Confinement::probe(self.means, &|name| self.variable(name).map(PathBuf::from)))
    }

    pub fn cgroups(&self) -> Option<&Cgroups> {
        self.cgroups.get_or_init(|| Cgroups::find().filter(|_| self.means.cgroups)).as_ref()
    }
}

pub struct Job {
    pub step: StartStep,
    pub machine: Arc<Machine>,
    pub cancel_limit: Duration,
    pub report: Arc<dyn Fn(RunnerEvent) + Send + Sync>,
    pub ticket: Arc<Ticket>,
}

impl Job {
    /// Does the step and reports its end.
    pub fn work(self) {
        let result = self.run();
        (self.report)(RunnerEvent::Finished(result));
    }

    fn run(&self) -> Result<Outcome, StepError> {
        let settings = Settings::read(&self.step.params)?;
        let mut secrets = Vec::new();
        for (variable, name) in settings.secrets() {
            secrets.push((OsString::from(variable), OsString::from_vec((self.machine.secrets)(name)?)));
        }
        let mask = Mask::of(secrets.iter().map(|(_, value)| value.as_bytes()));
        self.run_with(&settings, secrets, &mask).map_err(|error| mask.error(error))
    }

    fn run_with(
        &self,
        settings: &Settings<'_>,
        secrets: Vec<(OsString, OsString)>,
        mask: &Mask,
    ) -> Result<Outcome, StepError> {
        let project = Project::read(&self.step.params)?;
        let sandboxes = &self.machine.sandboxes;
        let mut sandbox = stage::take(&self.step, &project, sandboxes)?;
        stage::prepare(&self.step, &project, &mut sandbox, &self.ticket)?;
        let (outcome, is_all_over) = self.run_in(settings, secrets, mask, &sandbox)?;
        if is_all_over {
            sandboxes.give_back(sandbox);
        }
        Ok(outcome)
    }

    /// Returns the outcome, and whether surely no process of the step is left.
    fn run_in(
        &self,
        settings: &Settings<'_>,
        secrets: Vec<(OsString, OsString)>,
        mask: &Mask,
        sandbox: &Sandbox,
    ) -> Result<(Outcome, bool), StepError> {
        let command = settings.expand(&sandbox.paths)?;
        let print = |line| (self.report)(RunnerEvent::Printed(line));
        let confinement = settings.confine.then(|| self.machine.confinement());
        if let Some(lack) = confinement.and_then(|confinement| confinement.level().lack())
            && !self.machine.has_warned.swap(true, Ordering::Relaxed)
        {
            print(format!("mlp: {lack}"));
        }
        let beside = refused::folder_of_pipeline(&self.step);
        let rules =
            confinement.map(|confinement| confinement.rules(sandbox, settings.network, beside.as_deref())).transpose();
        let rules = rules.map_err(|error| ended::no_rules(&error))?;
        // First, so that none of them is taken for what mlp sets.
        let mut variables = secrets;
        variables.extend(settings.variables(&self.step, self.machine.variable("PATH").map(OsString::as_os_str))?);
        let shell = Shell {
            command: &command,
            folder: &sandbox.folder,
            variables,
            timeout: self.step.timeout,
            cancel_limit: self.cancel_limit,
            rules: rules.as_ref(),
            cgroups: self.machine.cgroups(),
            mask,
        };
        let end = shell::run(&shell, &self.machine.watch, &self.ticket, &print)?;
        match end.how {
            How::Exited(status) => match refused::judge(beside.as_deref(), &end.denials, status, &end.last_lines) {
                Some(error) => return Err(error),
                None if status.success() => {}
                None => return Err(ended::failed(status, end.last_lines)),
            },
            How::TimedOut => return Err(ended::timed_out(self.step.timeout.unwrap_or_default(), end.last_lines)),
            How::Cancelled => return Err(ended::cancelled()),
        }
        let outputs = collect::take(&self.step, sandbox)?;
        Ok((Outcome { outputs, peak_mem_bytes: end.peak_mem_bytes, ..Outcome::default() }, end.is_all_over))
    }
}

/// Carries a wish to cancel from the handle to the step's thread.
pub struct Ticket {
    /// 0: none, 1: gently, 2: now.
    how: AtomicU8,
    wake: OwnedFd,
}

impl Ticket {
    pub fn new() -> std::io::Result<Self> {
        Ok(Self { how: AtomicU8::new(0), wake: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)? })
    }

    pub fn cancel(&self, how: Cancel) {
        self.how.fetch_max(if how == Cancel::Now { 2 } else { 1 }, Ordering::AcqRel);
        // It can only fail when it is rung already.
        let _ = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
    }

    pub fn cancelled(&self) -> Option<Cancel> {
        match self.how.load(Ordering::Acquire) {
            0 => None,
            1 => Some(Cancel::Gently),
            _ => Some(Cancel::Now),
        }
    }

    /// Becomes readable at a wish to cancel, until it is [`hush`](Self::hush)ed.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }

    pub fn hush(&self) {
        let _ = rustix::io::read(&self.wake, &mut [0; 8]);
    }
}
