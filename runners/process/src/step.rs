//! One step from its start to its report, on a thread of its own. Unaware of other steps.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use mlp_model::{Cancel, Outcome, ProcessWatch, RunnerEvent, StartStep, StepError};
use rustix::event::{EventfdFlags, eventfd};

use crate::settings::Settings;
use crate::shell::{self, End, Shell};
use crate::{collect, ended, stage};

pub struct Job {
    pub step: StartStep,
    /// Where the shell looks for programs.
    pub path: Option<OsString>,
    pub watch: ProcessWatch,
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
        let sandbox = stage::prepare(&self.step, &self.ticket)?;
        let command = settings.expand(&sandbox.paths)?;
        let shell = Shell {
            command: &command,
            folder: &sandbox.folder,
            variables: settings.variables(&self.step, self.path.as_deref())?,
            timeout: self.step.timeout,
            cancel_limit: self.cancel_limit,
        };
        let print = |line| (self.report)(RunnerEvent::Printed(line));
        let (end, last_lines) = shell::run(&shell, &self.watch, &self.ticket, &print)?;
        match end {
            End::Exited(status) if status.success() => {}
            End::Exited(status) => return Err(ended::failed(status, last_lines)),
            End::TimedOut => return Err(ended::timed_out(self.step.timeout.unwrap_or_default(), last_lines)),
            End::Cancelled => return Err(ended::cancelled()),
        }
        let outputs = collect::take(&self.step, &sandbox)?;
        Ok(Outcome { outputs, facts: BTreeMap::new(), environment: BTreeMap::new() })
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
