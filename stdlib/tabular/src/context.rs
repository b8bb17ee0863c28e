//! What a running step can ask and tell: whether to stop, and how far it is.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use mlp_model::{ErrorClass, Progress, RunnerEvent, StepError, Value};

/// How the runner's caller hears of a step.
pub(crate) type Report = Box<dyn Fn(RunnerEvent) + Send + Sync>;

pub(crate) struct Context {
    pub report: Report,
    pub cancelled: Arc<AtomicBool>,
    started: Instant,
    timeout: Option<Duration>,
}

impl Context {
    pub(crate) fn new(report: Report, cancelled: Arc<AtomicBool>, timeout: Option<Duration>) -> Self {
        Self { report, cancelled, started: Instant::now(), timeout }
    }

    /// Fails once somebody has cancelled the step or its time is over. Called between pieces of work.
    pub(crate) fn check(&self) -> Result<(), StepError> {
        if self.cancelled.load(Ordering::Relaxed) {
            return Err(StepError::new(ErrorClass::Cancelled, "D1190", "cancelled"));
        }
        match self.timeout {
            Some(timeout) if self.started.elapsed() > timeout => {
                let timeout = Value::DurationMs(u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX));
                let message = format!("took longer than its `timeout` of {timeout}");
                Err(StepError::new(ErrorClass::Step, "D1191", message).with_help("raise it: `with { timeout: .. }`"))
            }
            _ => Ok(()),
        }
    }

    /// Tells how many rows are done, then checks as [`Context::check`] does.
    pub(crate) fn rows(&self, done: u64, total: Option<u64>) -> Result<(), StepError> {
        let progress = Progress { unit: "rows".into(), done, total, ..Progress::default() };
        (self.report)(RunnerEvent::Progressed(progress));
        self.check()
    }
}
