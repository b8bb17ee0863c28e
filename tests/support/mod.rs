//! A throw-away workspace and the real `mlp` binary.
#![allow(dead_code)] // each test program uses a part of it

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

/// A workspace in a temporary folder, with a store of its own.
pub struct Workspace {
    pub root: PathBuf,
    _dir: TempDir,
}

impl Workspace {
    /// An empty workspace whose owner process leaves as soon as nobody needs it.
    pub fn new() -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let root = dir.path().canonicalize().expect("it exists").join("ws");
        std::fs::create_dir(&root).expect("a new folder");
        let workspace = Self { root, _dir: dir };
        workspace.write("mlp.yaml", "owner_idle_seconds: 0\n");
        workspace
    }

    /// A workspace with a copy of a reference pipeline's folder, say `churn`.
    pub fn with_pipeline(name: &str) -> Self {
        let workspace = Self::new();
        copy_tree(&repository().join("pipelines").join(name), &workspace.root.join(name));
        workspace
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    pub fn write(&self, name: &str, text: impl AsRef<[u8]>) -> &Self {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().expect("inside the workspace")).expect("folders");
        std::fs::write(path, text).expect("a written file");
        self
    }

    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
    }

    /// Replaces text in a file; it must be there.
    pub fn edit(&self, name: &str, from: &str, to: &str) -> &Self {
        let text = self.read(name);
        assert!(text.contains(from), "{name} does not hold {from:?}");
        self.write(name, text.replacen(from, to, 1))
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mlp"));
        command.args(args).current_dir(&self.root).env("NO_COLOR", "1").env("COLUMNS", "120").stdin(Stdio::null());
        command
    }

    pub fn mlp(&self, args: &[&str]) -> Ran {
        Ran::of(args, self.command(args).output().expect("mlp starts"))
    }

    /// Runs `mlp run --json` with further arguments.
    pub fn run(&self, file: &str, more: &[&str]) -> Ran {
        let mut args = vec!["run", file, "--json"];
        args.extend(more);
        self.mlp(&args)
    }

    pub fn spawn(&self, args: &[&str]) -> Child {
        self.command(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("mlp starts")
    }

    /// Kills the process that owns the store; false, if there is none at the moment.
    pub fn kill_owner(&self) -> bool {
        let kill = |pid: String| Command::new("kill").args(["-KILL", &pid]).stderr(Stdio::null()).status();
        self.owner().is_some_and(|pid| kill(pid).is_ok_and(|status| status.success()))
    }

    /// Returns the number of the process that owns the store.
    pub fn owner(&self) -> Option<String> {
        let root = self.root.to_str().expect("a name");
        let is_owner = |line: &str| {
            let words: Vec<&str> = line.split('\0').collect();
            words.contains(&"__owner") && words.contains(&root)
        };
        std::fs::read_dir("/proc").expect("processes").flatten().find_map(|entry| {
            let line = std::fs::read_to_string(entry.path().join("cmdline")).ok()?;
            is_owner(&line).then(|| entry.file_name().to_string_lossy().into_owned())
        })
    }

    /// Returns the JSON document that a command prints.
    pub fn json(&self, args: &[&str]) -> Value {
        let mut args = args.to_vec();
        args.push("--json");
        let ran = self.mlp(&args);
        serde_json::from_str(&ran.stdout).unwrap_or_else(|e| panic!("no JSON ({e}): {ran}"))
    }
}

/// How a command ended.
pub struct Ran {
    pub args: String,
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    pub fn of(args: &[&str], output: Output) -> Self {
        Self {
            args: args.join(" "),
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self}");
        self
    }

    /// Asserts that standard error holds each text.
    #[track_caller]
    pub fn says(self, texts: &[&str]) -> Self {
        for text in texts {
            assert!(self.stderr.contains(text) || self.stdout.contains(text), "does not say {text:?}: {self}");
        }
        self
    }

    pub fn events(&self) -> Vec<Value> {
        self.stdout
            .lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{line:?} is no event ({e}): {self}")))
            .collect()
    }

    /// Returns the last event, which must be `run_finished`.
    #[track_caller]
    pub fn finished(&self) -> Value {
        let last = self.events().pop().unwrap_or_else(|| panic!("no event: {self}"));
        assert_eq!(last["event"], "run_finished", "{self}");
        last
    }

    /// Returns `(executed, reused, failed, skipped)`.
    #[track_caller]
    pub fn steps(&self) -> (u64, u64, u64, u64) {
        let steps = &self.finished()["steps"];
        let count = |name: &str| steps[name].as_u64().unwrap_or_else(|| panic!("{name}: {self}"));
        (count("executed"), count("reused"), count("failed"), count("skipped"))
    }

    /// Returns the names of the steps that were executed, sorted.
    pub fn executed(&self) -> Vec<String> {
        let mut names: Vec<String> = self.steps_of("step_finished");
        names.sort();
        names
    }

    pub fn steps_of(&self, event: &str) -> Vec<String> {
        let events = self.events();
        events.iter().filter(|e| e["event"] == event).map(|e| e["step"].as_str().unwrap_or("?").to_owned()).collect()
    }

    /// Returns the digests of all outputs, by `step.output`.
    pub fn digests(&self) -> BTreeMap<String, String> {
        let mut digests = BTreeMap::new();
        for event in self.events() {
            if event["event"] == "step_finished" || event["event"] == "step_reused" {
                for output in event["outputs"].as_array().expect("outputs") {
                    let name = format!(
                        "{}.{}",
                        event["step"].as_str().expect("a name"),
                        output["name"].as_str().expect("a name")
                    );
                    digests.insert(name, output["digest"].as_str().expect("a digest").to_owned());
                }
            }
        }
        digests
    }
}

impl fmt::Display for Ran {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\n$ mlp {}\nexit {}\n--- stdout\n{}\n--- stderr\n{}", self.args, self.code, self.stdout, self.stderr)
    }
}

pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn copy_tree(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).unwrap_or_else(|e| panic!("{}: {e}", from.display())) {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_tree(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).expect("a copy");
        }
    }
}

/// A small table and a pipeline over it that needs neither libtorch nor WebAssembly: read, query, split, and a program.
pub fn small_pipeline() -> Workspace {
    let workspace = Workspace::new();
    let mut csv = String::from("id,tenure,plan,left\n");
    for i in 0..200 {
        csv.push_str(&format!(
            "c{i:03},{},{},{}\n",
            i % 72,
            ["basic", "plus"][i % 2],
            ["Yes", "No"][usize::from(i % 3 == 0)]
        ));
    }
    workspace.write("data/customers.csv", csv);
    workspace.write(
        "small.mlp",
        r#"pipeline small

param least: int = 3 in 0..=72

schema Customer {
  id:     str  key personal
  tenure: int  in 0..=120
  plan:   str  in ["basic", "plus"]
  left:   bool label
}

source raw    = csv.read("data/customers.csv", schema: Customer)
step stayed   = sql("select id, tenure, plan, \"left\" from raw where tenure >= 3 order by id", { raw })
step parts    = table.split_rows(stayed, every: 5, at: 4)
step exported = csv.write(parts.test)
step counted  = sh("wc -l < {rows} > {n}", inputs: { rows: exported }, outputs: { n: file })
"#,
    );
    workspace
}
