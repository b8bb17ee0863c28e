//! The worker process: what `mlp __wasm-worker` does.

use std::process::ExitCode;

use mlp_model::Progress;
use mlp_worker::Reporter;

use crate::settings::Settings;
use crate::step::{Watch, Workshop};

/// What the worker calls itself.
pub const NAME: &str = "wasm";

/// Works on steps until the parent goes away.
pub fn worker_main() -> ExitCode {
    let mut workshop = None;
    mlp_worker::serve(NAME, move |step, reporter| {
        let workshop = match &mut workshop {
            Some(workshop) => workshop,
            None => workshop.insert(Workshop::new(Settings::from_env()?)),
        };
        workshop.execute(&step, reporter)
    })
}

impl Watch for Reporter {
    fn progress(&self, progress: Progress) {
        Reporter::progress(self, progress);
    }

    fn print(&self, line: &str) {
        Reporter::print(self, line);
    }

    fn is_cancelled(&self) -> bool {
        Reporter::is_cancelled(self)
    }
}
