//! What can go wrong in a step, as `T4xxx` errors that say what to do. Texts never hold cell values.

use mlp_artifact::model::ModelError;
use mlp_artifact::table::TableError;
use mlp_model::{ErrorClass, StartStep, StepError};
use tch::TchError;

/// A failed step, before it is told.
#[derive(Debug)]
pub enum Fault {
    /// Known, with its code and help.
    Step(Box<StepError>),
    /// A call of libtorch failed.
    Torch(TchError),
}

impl Fault {
    /// The user can change it: parameters, or the data that a step is given.
    pub fn user(code: &str, message: impl Into<String>) -> StepError {
        StepError::new(ErrorClass::User, code, message)
    }

    /// The checker should have refused it.
    pub fn bug(message: impl Into<String>) -> Self {
        StepError::new(ErrorClass::Bug, "T4003", message).into()
    }

    pub fn cancelled() -> Self {
        StepError::new(ErrorClass::Cancelled, "T4009", "the step was cancelled").into()
    }

    pub fn unreadable(what: &str, error: &TableError) -> Self {
        let message = format!("cannot read table `{what}`: {error}");
        StepError::new(ErrorClass::Environment, "T4001", message).into()
    }

    pub fn unreadable_model(what: &str, error: &ModelError) -> Self {
        let message = format!("cannot read model `{what}`: {error}");
        StepError::new(ErrorClass::Environment, "T4001", message).into()
    }

    pub fn unwritable(what: &str, error: impl std::fmt::Display) -> Self {
        let message = format!("cannot write {what}: {error}");
        StepError::new(ErrorClass::Environment, "T4002", message).with_help("make room on the disk").into()
    }

    pub fn into_step_error(self, step: &StartStep) -> StepError {
        match self {
            Self::Step(error) => *error,
            Self::Torch(error) => explain(&error.to_string(), step),
        }
    }
}

impl From<StepError> for Fault {
    fn from(error: StepError) -> Self {
        Self::Step(Box::new(error))
    }
}

impl From<TchError> for Fault {
    fn from(error: TchError) -> Self {
        Self::Torch(error)
    }
}

fn explain(text: &str, step: &StartStep) -> StepError {
    // What follows the first line is a C++ stack trace.
    let text = text.strip_prefix("Internal torch error: ").unwrap_or(text);
    let line = text.lines().next().unwrap_or_default().trim_end_matches('.');
    if ["can't allocate memory", "out of memory", "alloc_cpu"].iter().any(|sign| text.contains(sign)) {
        let help = match step.op.as_str() {
            "torch.train" => "use a smaller `batch`, a smaller net or fewer features, or allow the step more memory",
            _ => "allow the step more memory",
        };
        return StepError::new(ErrorClass::Step, "T4005", format!("libtorch ran out of memory: {line}"))
            .with_help(help);
    }
    let error = StepError::new(ErrorClass::Step, "T4004", format!("libtorch failed: {line}"));
    if is_device_error(text) {
        return error.with_help("run `mlp doctor`, and look for GPU errors with `nvidia-smi` and `dmesg`");
    }
    error
}

fn is_device_error(text: &str) -> bool {
    ["CUDA", "cuBLAS", "CUBLAS", "cuDNN", "CUDNN", "cuSOLVER", "CUSOLVER", "NCCL"]
        .iter()
        .any(|sign| text.contains(sign))
}
