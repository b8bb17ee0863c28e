//! Trains and applies models with libtorch: the work of the program `mlp-torch`.
//!
//! A step comes in as data (parameters, paths of input files, a folder to write to) and goes out as one file in its
//! canonical form. Encoding, shuffling, initial weights, optimisers and losses are ours and depend on nothing but the
//! parameters, so that on a CPU the same inputs give the same bytes; libtorch does the tensor work.
//!
//! Unaware of pipelines, of the store, and of how steps arrive (`mlp-worker` brings them). The only crate that names
//! `tch`: `mlp` itself never links libtorch, it starts this program (crate `mlp-torch-client`).

pub mod adam;
pub mod convex;
pub mod device;
pub mod encoding;
pub mod fault;
pub mod matrix;
pub mod mlp;
pub mod net;
pub mod params;
pub mod predict;
pub mod random;
pub mod target;
pub mod train;

use mlp_model::{ErrorClass, Outcome, Progress, StartStep, StepError};

/// What a step tells while it works.
pub trait Report {
    fn progress(&self, progress: Progress);
    fn print(&self, line: &str);
    fn is_cancelled(&self) -> bool;
}

impl Report for mlp_worker::Reporter {
    fn progress(&self, progress: Progress) {
        self.progress(progress);
    }
    fn print(&self, line: &str) {
        self.print(line);
    }
    fn is_cancelled(&self) -> bool {
        self.is_cancelled()
    }
}

/// Executes one step.
pub fn execute(step: &StartStep, report: &dyn Report) -> Result<Outcome, StepError> {
    let done = match step.op.as_str() {
        "torch.train" => train::train(step, report),
        "torch.predict" => predict::predict(step, report),
        other => {
            let message = format!("the torch worker knows no operation `{other}`");
            return Err(StepError::new(ErrorClass::Bug, "T4003", message));
        }
    };
    done.map_err(|fault| fault.into_step_error(step))
}
