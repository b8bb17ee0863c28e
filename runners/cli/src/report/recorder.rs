//! The run's own record: `events.jsonl`, and `STEP.log` with what each step printed. Any process can follow it while
//! the run writes. It tells a story; what must not be lost is in the journal.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use mlp_model::{Digest, Event};

use super::{Behind, Reporter};

pub const EVENTS_FILE: &str = "events.jsonl";

/// Returns where a step's output is kept in a run's folder.
pub fn step_log(run_dir: &Path, step: &str) -> PathBuf {
    run_dir.join(format!("{}.log", file_name(step)))
}

/// Names of rounds hold values, which come from data: slashes and control characters are written as `%2f`, and a name that is too
/// long for a file is cut and told apart by its digest.
fn file_name(step: &str) -> String {
    const MOST_BYTES: usize = 200;
    let mut name = String::with_capacity(step.len());
    for c in step.chars() {
        match c {
            '/' | '%' | '\0'..='\x1f' | '\x7f' => name.push_str(&format!("%{:02x}", u32::from(c))),
            _ => name.push(c),
        }
    }
    if name.len() > MOST_BYTES {
        let end = (0..=MOST_BYTES - 20).rev().find(|end| name.is_char_boundary(*end)).unwrap_or(0);
        name.truncate(end);
        name.push_str(&format!("-{}", Digest::of(step.as_bytes()).short()));
    }
    name
}

pub struct Recorder {
    run_dir: PathBuf,
    events: Behind,
    logs: BTreeMap<String, File>,
}

impl Recorder {
    pub fn create(run_dir: PathBuf) -> std::io::Result<Self> {
        std::fs::create_dir_all(&run_dir)?;
        let events = File::options().create(true).append(true).open(run_dir.join(EVENTS_FILE))?;
        Ok(Self { run_dir, events: Behind::new(events)?, logs: BTreeMap::new() })
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
        if let Event::StepPrinted { step, line, .. } = event
            && let Ok(log) = self.log(step)
        {
            let _ = writeln!(log, "{line}");
        }
        if let Ok(mut line) = serde_json::to_vec(event) {
            line.push(b'\n');
            // A full disk must not end the run: the journal says what counts.
            let _ = self.events.write_all(&line);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::file_name;

    #[test]
    fn every_step_has_a_file_of_its_own_in_the_folder_of_the_run() {
        assert_eq!(file_name("network[117].fitted"), "network[117].fitted");
        assert_eq!(file_name("part[\"../a%\"].rows"), "part[\"..%2fa%25\"].rows");
        let (long, other) = (format!("{}x", "é".repeat(300)), format!("{}y", "é".repeat(300)));
        assert!(file_name(&long).len() <= 200);
        assert_ne!(file_name(&long), file_name(&other));
    }
}
