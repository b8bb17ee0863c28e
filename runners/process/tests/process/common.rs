//! Runs `sh` steps as the engine does, in temporary folders.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use mlp_model::{
    Digest, Handle, InputFile, Named, Outcome, RunId, Runner, RunnerEvent, StartStep, StepError, Type, Value,
};
use mlp_process::ProcessRunner;
use tempfile::TempDir;

/// Far more than anything here takes; reaching it means that something hangs.
pub const HANG: Duration = Duration::from_secs(60);

/// A runner whose own environment holds more than a step may see.
pub fn runner() -> ProcessRunner {
    let path = std::env::var_os("PATH").expect("tests have a PATH");
    let variables = [("PATH", path), ("TOKEN", "t-0".into()), ("CANARY", "not for steps".into())];
    ProcessRunner::new(variables.map(|(name, value)| (OsString::from(name), value)), Arc::new(|_, _| {}))
}

/// A step under construction. Its files live as long as it does.
pub struct Step {
    pub start: StartStep,
    pub place: TempDir,
}

impl Step {
    /// A step whose outputs are files, or folders where the name ends in `/`.
    pub fn new(command: &str, outputs: &[&str]) -> Self {
        let place = tempfile::tempdir().unwrap();
        // As in a workspace, whose store holds the folders of steps.
        let work_dir = place.path().join(".mlp/work");
        std::fs::create_dir_all(&work_dir).unwrap();
        let output = |name: &&str| match name.strip_suffix('/') {
            Some(name) => (name.to_owned(), Type::Folder),
            None => ((*name).to_owned(), Type::File),
        };
        let start = StartStep {
            run: RunId("c0ffee".to_owned()),
            step: "shell".to_owned(),
            attempt: 1,
            op: "sh".to_owned(),
            params: Named::from([("command".to_owned(), Value::Str(command.to_owned()))]),
            inputs: BTreeMap::new(),
            outputs: outputs.iter().map(output).collect(),
            environment: BTreeMap::new(),
            work_dir,
            timeout: None,
            gpus: Vec::new(),
            idempotency_key: None,
        };
        Self { start, place }
    }

    /// Adds a file whose payload is followed by something of the store's.
    pub fn with_file(mut self, name: &str, bytes: &str) -> Self {
        let path = self.place.path().join(format!("object {}", self.start.inputs.len()));
        std::fs::write(&path, format!("{bytes}footer")).unwrap();
        let input = InputFile {
            digest: Digest::of(bytes.as_bytes()),
            ty: Type::File,
            path,
            size_bytes: bytes.len() as u64,
            shown: format!("data/{name}"),
        };
        self.start.inputs.insert(format!("inputs.{name}"), input);
        self
    }

    pub fn with_param(mut self, name: &str, value: Value) -> Self {
        self.start.params.insert(name.to_owned(), value);
        self
    }

    pub fn run(&self) -> Result<Outcome, StepError> {
        self.run_with(&runner()).0
    }

    /// Returns the result and what was printed.
    pub fn run_with(&self, runner: &ProcessRunner) -> (Result<Outcome, StepError>, Vec<String>) {
        Running::start(runner, self).finish()
    }

    pub fn error(&self) -> StepError {
        self.run().expect_err("the step fails")
    }

    /// Runs the step and reads its output file.
    pub fn output(&self, name: &str) -> String {
        let outcome = self.run().expect("the step succeeds");
        String::from_utf8(std::fs::read(&outcome.outputs[name].path).unwrap()).unwrap()
    }
}

/// A started step, whose folder must outlive it.
pub struct Running<'a> {
    step: PhantomData<&'a Step>,
    pub handle: Box<dyn Handle>,
    pub events: mpsc::Receiver<RunnerEvent>,
}

impl<'a> Running<'a> {
    pub fn start(runner: &ProcessRunner, step: &'a Step) -> Self {
        let (sender, events) = mpsc::channel();
        let report = Box::new(move |event| sender.send(event).expect("the test waits for the end"));
        Self { step: PhantomData, handle: runner.start(step.start.clone(), report), events }
    }

    pub fn next_line(&self) -> String {
        match self.events.recv_timeout(HANG).expect("a line") {
            RunnerEvent::Printed(line) => line,
            other => panic!("{other:?}"),
        }
    }

    /// Returns the result and the lines that came before it; `Finished` must be the last event and the only one.
    pub fn finish(self) -> (Result<Outcome, StepError>, Vec<String>) {
        let mut lines = Vec::new();
        loop {
            match self.events.recv_timeout(HANG).expect("the step ends") {
                RunnerEvent::Finished(result) => {
                    assert_eq!(self.events.recv_timeout(HANG), Err(mpsc::RecvTimeoutError::Disconnected));
                    return (result, lines);
                }
                RunnerEvent::Printed(line) => lines.push(line),
                other => panic!("{other:?}"),
            }
        }
    }
}

/// Running; a zombie has ended.
pub fn is_running(pid: &str) -> bool {
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())) else { return false };
    !stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('Z'))
}

pub fn wait_until(what: &str, fact: impl Fn() -> bool) {
    let start = Instant::now();
    while !fact() {
        assert!(start.elapsed() < HANG, "never: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Names of what is in a folder.
pub fn names(folder: &Path) -> Vec<PathBuf> {
    let mut names: Vec<_> =
        std::fs::read_dir(folder).unwrap().map(|entry| PathBuf::from(entry.unwrap().file_name())).collect();
    names.sort();
    names
}
