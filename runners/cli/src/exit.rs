//! Exit codes: a contract with build servers, documented in `docs/json.md`.

use mlp_model::{ErrorClass, RunStatus};

/// How the process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    Done = 0,
    /// A step failed.
    StepFailed = 1,
    /// Wrong usage, pipeline or settings.
    Usage = 2,
    /// The machine lacks something.
    Environment = 3,
    /// A mistake of mlp.
    Bug = 4,
    /// A gate refused.
    Refused = 10,
    /// Waits for an approval.
    Waiting = 11,
    /// Data breaks its schema: trying again cannot help.
    Rejected = 12,
    /// Ended before everything was done: by a signal, or by its time budget.
    Interrupted = 130,
}

impl Exit {
    /// Returns the code of a finished run; `failures` are the classes of its failed steps.
    pub fn of_run(status: RunStatus, failures: impl IntoIterator<Item = ErrorClass>) -> Self {
        match status {
            RunStatus::Succeeded => Self::Done,
            RunStatus::Refused => Self::Refused,
            RunStatus::Waiting => Self::Waiting,
            RunStatus::Rejected => Self::Rejected,
            RunStatus::Cancelled | RunStatus::OverBudget => Self::Interrupted,
            // The worst failure decides: our bug before the machine, the machine before the step.
            RunStatus::Failed => failures.into_iter().map(Self::of_class).fold(Self::StepFailed, |worst, exit| {
                let weight = |exit| match exit {
                    Self::Bug => 2,
                    Self::Environment => 1,
                    _ => 0,
                };
                if weight(exit) > weight(worst) { exit } else { worst }
            }),
        }
    }

    fn of_class(class: ErrorClass) -> Self {
        match class {
            ErrorClass::User | ErrorClass::Step => Self::StepFailed,
            ErrorClass::Data => Self::Rejected,
            ErrorClass::Environment => Self::Environment,
            ErrorClass::Bug => Self::Bug,
            ErrorClass::Cancelled => Self::Interrupted,
        }
    }
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_failure_decides_the_code_of_a_failed_run() {
        let of = |classes: &[ErrorClass]| Exit::of_run(RunStatus::Failed, classes.iter().copied());
        assert_eq!(of(&[ErrorClass::Step]), Exit::StepFailed);
        assert_eq!(of(&[ErrorClass::Step, ErrorClass::Environment]), Exit::Environment);
        assert_eq!(of(&[ErrorClass::Bug, ErrorClass::Environment]), Exit::Bug);
    }
}
