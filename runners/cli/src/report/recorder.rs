//! The run's own record: `events.jsonl`, and `STEP.log` with what each step printed. Any process can follow it while
//! the run writes. It tells a story; what must not be lost is in the journal.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use mlp_model::Event;

use super::Reporter;

pub const EVENTS_FILE: &str = "events.jsonl";

/// Returns where a step's output is kept in a run's folder.
pub fn step_log(run_dir: &Path, step: &str) -> PathBuf {
    run_dir.join(format!("{step}.log"))
}

pub struct Recorder {
    run_dir: PathBuf,
    events: File,
    logs: BTreeMap<String, File>,
}

impl Recorder {
    pub fn create(run_dir: PathBuf) -> std::io::Result<Self> {
        let events = File::options().create(true).append(true).open(run_dir.join(EVENTS_FILE))?;
        Ok(Self { run_dir, events, logs: BTreeMap::new() })
    }

    fn log(&mut self, step: &str) -> std::io::Result<&mut File> {
        if !self.logs.contains_key(step) {
            let file = File::options().create(true).append(true).open(step_log(&self.run_dir, step))?;
            self.logs.insert(step.to_owned(), file);
        }
        self.logs.get_mut(step).ok_or_else(|| std::io::Error::other("the log was just opened"))
    }
}

impl Reporter for Recorder {
    fn event(&mut self, event: &Event) {
        // A full disk must not end the run: the journal says what counts.
        if let Event::StepPrinted { step, line, .. } = event
            && let Ok(log) = self.log(step)
        {
            let _ = writeln!(log, "{line}");
        }
        if let Ok(mut line) = serde_json::to_string(event) {
            line.push('\n');
            let _ = self.events.write_all(line.as_bytes());
        }
    }
}
