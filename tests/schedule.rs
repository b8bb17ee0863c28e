//! What runs, when and on what, through the binary: plans against the runs that follow, cancels with real programs,
//! demands, GPUs, flaky steps, budgets.

mod support;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use serde_json::Value;
use support::{Ran, Workspace};

/// Numbers that look random and are the same each time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }
}

const N_FILES: u64 = 3;

/// One `sh` step of a random pipeline: it joins a file and earlier steps, and may forget blank lines.
struct Made {
    name: String,
    file: u64,
    inputs: Vec<usize>,
    forgets: bool,
    salt: u64,
}

fn random_steps(dice: &mut Dice) -> Vec<Made> {
    let n_steps = 4 + dice.below(4) as usize;
    let made = |at: usize, dice: &mut Dice| {
        let inputs = (0..at).filter(|_| dice.below(3) == 0).collect();
        Made { name: format!("s{at}"), file: dice.below(N_FILES), inputs, forgets: dice.below(2) == 0, salt: 0 }
    };
    (0..n_steps).map(|at| made(at, dice)).collect()
}

fn written(steps: &[Made]) -> String {
    let mut text = "pipeline random\n\n".to_owned();
    for step in steps {
        let inputs: Vec<String> = step.inputs.iter().map(|&input| format!("i{input}: {}", steps[input].name)).collect();
        let inputs = [vec![format!("file: file(\"data/{}.txt\")", step.file)], inputs].concat().join(", ");
        let names: Vec<String> = step.inputs.iter().map(|input| format!("{{i{input}}}")).collect();
        let filter = if step.forgets { "grep -v '^$' || true" } else { "cat" };
        text.push_str(&format!(
            "step {} = sh(\"cat {{file}} {} | ({filter}) > {{o}}; : {}\", inputs: {{ {inputs} }}, outputs: {{ o: file }})\n",
            step.name,
            names.join(" "),
            step.salt
        ));
    }
    text
}

#[test]
fn a_run_does_what_its_dry_run_said_on_random_pipelines_with_random_edits() {
    let mut dice = Dice(0x5EED_2026);
    for _ in 0..4 {
        let workspace = Workspace::new();
        (0..N_FILES).for_each(|file| _ = workspace.write(&format!("data/{file}.txt"), format!("{file}\n")));
        let mut steps = random_steps(&mut dice);
        for round in 0..4 {
            let mut force = Vec::new();
            if round > 0 {
                let at = dice.below(steps.len() as u64) as usize;
                let file = format!("data/{}.txt", dice.below(N_FILES));
                match dice.below(5) {
                    0 => _ = workspace.write(&file, format!("other {round}\n")),
                    1 => _ = workspace.write(&file, workspace.read(&file) + "\n"),
                    2 => steps[at].salt += 1,
                    3 => steps[at].name = format!("r{round}_{at}"),
                    _ => force = vec!["--force", steps[at].name.as_str()],
                }
            }
            workspace.write("random.mlp", written(&steps));
            let plan = workspace.json(&[&["run", "random.mlp", "--dry-run"][..], &force].concat());
            assert_eq!(plan, workspace.json(&[&["plan", "random.mlp"][..], &force].concat()));
            let ran = workspace.run("random.mlp", &force).exits(0);
            agree(&plan, &ran);
        }
    }
}

/// Asserts that each step of a plan came out as it was planned.
fn agree(plan: &Value, ran: &Ran) {
    let mut happened: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for event in ran.events() {
        if let Some(step) = event["step"].as_str() {
            happened.entry(step.to_owned()).or_default().push(event.clone());
        }
    }
    for planned in plan["steps"].as_array().expect("steps") {
        let step = planned["step"].as_str().expect("a name");
        let events = &happened[step];
        let is = |name: &str| events.iter().find(|event| event["event"] == name);
        let fits = match planned["decision"].as_str().expect("a decision") {
            "run" => {
                is("step_finished").is_some() && is("step_started").is_some_and(|e| e["reason"] == planned["reason"])
            }
            "reuse" => {
                is("step_started").is_none() && is("step_reused").is_some_and(|e| e["from_run"] == planned["from_run"])
            }
            "unknown" => is("step_finished").is_some() != is("step_reused").is_some(),
            _ => false,
        };
        assert!(fits, "planned {planned}, and then {events:?}{ran}");
    }
}

#[test]
fn a_plan_tells_reasons_and_times_and_a_run_tells_what_a_cut_off_saved() {
    let workspace = Workspace::new();
    workspace.write("in.txt", "a\n");
    workspace.write(
        "p.mlp",
        r#"pipeline p
step first  = sh("grep -v '^$' {i} > {o}; sleep 0.2", inputs: { i: file("in.txt") }, outputs: { o: file })
step second = sh("cat {i} > {o}", inputs: { i: first }, outputs: { o: file })
step third  = sh("cat {i} > {o}", inputs: { i: second }, outputs: { o: file })
"#,
    );
    workspace.mlp(&["plan", "p.mlp"]).exits(0).says(&["first   run     first time", "1 step to run, 2 that depend"]);
    workspace.mlp(&["run", "p.mlp"]).exits(0);
    workspace.write("in.txt", "a\n\n");
    workspace.mlp(&["run", "p.mlp", "-n"]).exits(0).says(&[
        "first   run     input `inputs.i` (in.txt) changed, took ",
        "second  maybe   unknown until `first` has run, took ",
        "It takes about ",
        " if all that depends has to run.",
    ]);
    workspace.mlp(&["run", "p.mlp"]).exits(0).says(&[
        "cut off here, 2 steps saved: the same bytes as before",
        "1 step run, 2 reused (2 saved by early cutoff)",
    ]);
}

#[test]
fn parts_of_a_pipeline_are_run_alone() {
    let workspace = Workspace::new();
    workspace.write(
        "p.mlp",
        r#"pipeline p
step a = sh("echo a > {o}", outputs: { o: file })
step b = sh("cat {i} > {o}", inputs: { i: a }, outputs: { o: file })
step c = sh("cat {i} > {o}; echo c >> {o}", inputs: { i: b }, outputs: { o: file })
step d = sh("cat {i} > {o}; echo d >> {o}", inputs: { i: a }, outputs: { o: file })
"#,
    );
    assert_eq!(workspace.run("p.mlp", &["--until", "b"]).exits(0).executed(), ["a", "b"]);
    assert_eq!(workspace.run("p.mlp", &["--from", "b"]).exits(0).executed(), ["c"]);
    workspace.mlp(&["run", "p.mlp", "d", "--from", "b"]).exits(2).says(&["nothing that was asked for needs `b`"]);
    workspace.mlp(&["run", "p.mlp", "--until", "bb"]).exits(2).says(&["no step `bb`", "did you mean `b`?"]);
    workspace.mlp(&["run", "p.mlp", "--budget", "2"]).exits(2).says(&["write a duration such as 30d"]);
}

/// A running `mlp run --json`, heard line by line.
struct Heard {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
    told: Vec<String>,
}

impl Heard {
    fn start(workspace: &Workspace, args: &[&str]) -> Self {
        let mut child = workspace.spawn(&[&["run", "p.mlp", "--json"][..], args].concat());
        let lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        Self { child, lines, told: Vec::new() }
    }

    fn until(&mut self, text: &str) {
        while let Some(line) = self.lines.next() {
            self.told.push(line.expect("lines"));
            if self.told.last().is_some_and(|line| line.contains(text)) {
                return;
            }
        }
        panic!("never told {text:?}: {:#?}", self.told);
    }

    fn interrupt(&self) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-INT", &pid]).status().expect("kill runs").success());
    }

    /// Returns the exit code and everything that was told.
    fn end(mut self) -> (i32, String) {
        self.told.extend(self.lines.by_ref().map(|line| line.expect("lines")));
        let status = self.child.wait().expect("it ends");
        (status.code().unwrap_or(-1), self.told.join("\n"))
    }
}

#[test]
fn the_first_ctrl_c_lets_a_program_put_its_things_in_order_and_starts_nothing_new() {
    let workspace = Workspace::new();
    workspace.write(
        "p.mlp",
        r#"pipeline p
step slow  = sh("trap 'echo in order; exit 3' TERM; echo begun; while :; do sleep 0.05; done; : > {o}", outputs: { o: file })
step other = sh("echo other > {o}", outputs: { o: file })
step next  = sh("cat {i} > {o}", inputs: { i: slow }, outputs: { o: file })
"#,
    );
    let mut run = Heard::start(&workspace, &["--jobs", "1"]);
    run.until("\"line\":\"begun\"");
    run.interrupt();
    let (code, told) = run.end();
    assert_eq!(code, 130, "{told}");
    assert!(told.contains("\"line\":\"in order\"") && told.contains("\"class\":\"cancelled\""), "{told}");
    assert_eq!(told.matches("\"event\":\"step_started\"").count(), 1, "{told}");
    assert!(told.lines().last().is_some_and(|last| last.contains("\"status\":\"cancelled\"")), "{told}");
}

#[test]
fn the_second_ctrl_c_kills_a_program_that_will_not_listen() {
    let workspace = Workspace::new();
    workspace.write(
        "p.mlp",
        r#"pipeline p
step deaf = sh("trap '' TERM INT; echo begun; while :; do sleep 0.05; done; : > {o}", outputs: { o: file })
"#,
    );
    let mut run = Heard::start(&workspace, &[]);
    run.until("\"line\":\"begun\"");
    run.interrupt();
    std::thread::sleep(Duration::from_millis(400));
    assert!(run.child.try_wait().expect("it can be asked").is_none(), "it still waits for the program");
    let second = Instant::now();
    run.interrupt();
    let (code, told) = run.end();
    assert_eq!(code, 130, "{told}");
    assert!(second.elapsed() < Duration::from_secs(4), "killed only after {:?}", second.elapsed());
}

#[test]
fn a_flaky_step_is_called_so_by_run_log_and_why() {
    let workspace = Workspace::new();
    let marks = workspace.path("marks");
    workspace.write(
        "p.mlp",
        format!(
            r#"pipeline p
step fetch = sh("echo x >> '{}'; test $(wc -l < '{0}') -ge 3; echo done > {{o}}", outputs: {{ o: file }}, confine: off)
             with {{ retries: 3, backoff: 50ms }}
"#,
            marks.display()
        ),
    );
    let ran = workspace.run("p.mlp", &[]).exits(0);
    assert_eq!(ran.finished()["steps"]["flaky"], 1, "{ran}");
    let failed: Vec<f64> = ran.events().iter().filter_map(|event| event["retry_in_seconds"].as_f64()).collect();
    assert!(failed.len() == 2 && failed[0] <= 0.05 && failed[1] > failed[0], "{failed:?}");
    workspace.mlp(&["log"]).exits(0).says(&["attempt 1; trying again in ", "at attempt 3", "1 run (1 flaky)"]);
    workspace.mlp(&["why", "p.mlp", "fetch"]).exits(0).says(&["at attempt 3", "It is flaky: attempt 1 failed in run"]);
    std::fs::remove_file(&marks).expect("the marks");
    workspace.mlp(&["run", "p.mlp", "--force", "fetch"]).exits(0).says(&["1 step run (1 flaky: `fetch` at attempt 3)"]);
}

#[test]
fn what_the_machine_does_not_have_is_refused_with_its_place() {
    let workspace = Workspace::new();
    workspace.write(
        "p.mlp",
        r#"pipeline p
step a = sh("echo > {o}", outputs: { o: file }) with { cpu: 2000, tokens: { license: 1 } }
step b = sh("echo > {o}", outputs: { o: file }) with { gpu: 1 }
step c = sh("echo > {o}", outputs: { o: file })
"#,
    );
    workspace.write("mlp.yaml", "owner_idle_seconds: 0\nresources: { tokens: { licence: 1 } }\n");
    let mut run = workspace.command(&["run", "p.mlp"]);
    let ran = Ran::of(&["run", "p.mlp"], run.env("LD_LIBRARY_PATH", "/nowhere").output().expect("mlp starts"));
    ran.exits(3).says(&[
        "step `a`: needs 2000 cores, this run may use",
        "needs 1 of token `license`, which mlp.yaml does not name",
        "did you mean `licence`?",
        "step `b`: needs a GPU, and none was found",
        "3 demands cannot be met here; nothing was run",
    ]);
    // What can be had is run.
    assert_eq!(workspace.run("p.mlp", &["c"]).exits(0).executed(), ["c"]);
}

/// A library that stands in for the NVIDIA driver's, with two GPUs.
const DRIVER: &str = r#"
#include <string.h>
typedef struct { unsigned version; unsigned long long total, reserved, free, used; } memory;
static int devices[2];
int nvmlInit_v2(void) { return 0; }
int nvmlShutdown(void) { return 0; }
int nvmlDeviceGetCount_v2(unsigned *n) { *n = 2; return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **device) { *device = &devices[index]; return 0; }
static int of(void *device) { return (int *)device == &devices[1]; }
int nvmlDeviceGetUUID(void *device, char *text, unsigned n) { strncpy(text, of(device) ? "GPU-bb" : "GPU-aa", n); return 0; }
int nvmlDeviceGetName(void *device, char *text, unsigned n) { strncpy(text, "Card", n); return 0; }
int nvmlDeviceGetMemoryInfo_v2(void *device, memory *m) { m->total = of(device) ? 16ull << 30 : 8ull << 30; return 0; }
"#;

#[test]
fn gpus_are_found_through_the_driver_and_a_step_sees_its_own_only() {
    let workspace = Workspace::new();
    workspace.write("driver.c", DRIVER);
    let mut compiler = Command::new("cc");
    compiler.args(["-shared", "-fPIC", "-o", "libnvidia-ml.so.1", "driver.c"]).current_dir(&workspace.root);
    assert!(compiler.status().expect("a C compiler, which Rust needs as well").success());
    let show = r#"sh("echo \"sees <$CUDA_VISIBLE_DEVICES>\" | tee {o}", outputs: { o: file })"#;
    let mut text = "pipeline p\n".to_owned();
    for (name, demand) in [
        ("large", "gpu_mem: 12 GiB"),
        ("named", "gpu: \"GPU-aa\""),
        ("both", "gpu: 2"),
        ("plain", "cpu: 1"),
        ("three", "gpu: 3"),
    ] {
        // Each prints its name: steps that do the same work would be done once.
        text.push_str(&format!(
            "step {name} = {} with {{ {demand} }}\n",
            show.replace("sees", &format!("{name} sees"))
        ));
    }
    workspace.write("p.mlp", text);
    let run = |args: &[&str]| {
        let mut command = workspace.command(args);
        command.env("LD_LIBRARY_PATH", &workspace.root).env_remove("CUDA_VISIBLE_DEVICES");
        Ran::of(args, command.output().expect("mlp starts"))
    };
    run(&["run", "p.mlp"]).exits(3).says(&["needs 3 GPUs, this run may use 2", "`GPU-bb` (Card, 16 GiB)"]);
    run(&["run", "p.mlp", "large", "named", "both", "plain"]).exits(0).says(&[
        "large sees <GPU-bb>",
        "named sees <GPU-aa>",
        "both sees <GPU-aa,GPU-bb>",
        "plain sees <>",
    ]);
    run(&["doctor"]).says(&["`GPU-aa` (Card, 8 GiB)"]);
    workspace.write("mlp.yaml", "owner_idle_seconds: 0\nresources: { gpus: [GPU-bb] }\n");
    run(&["run", "p.mlp", "both", "--force", "both"]).exits(3).says(&["needs 2 GPUs, this run may use 1"]);
    workspace.write("mlp.yaml", "owner_idle_seconds: 0\nresources: { gpus: [GPU-cc] }\n");
    run(&["run", "p.mlp", "large"]).exits(3).says(&["mlp.yaml names GPU `GPU-cc`", "`GPU-aa` (Card)"]);
}

#[test]
fn a_budget_leaves_long_steps_for_later() {
    let workspace = Workspace::new();
    let text = r#"pipeline p
step long  = sh("sleep 1.2; echo SALT > {o}", outputs: { o: file })
step after = sh("cat {i} > {o}", inputs: { i: long }, outputs: { o: file })
step short = sh("echo short SALT > {o}", outputs: { o: file })
"#;
    workspace.write("p.mlp", text.replace("SALT", "1"));
    workspace.run("p.mlp", &[]).exits(0);
    workspace.write("p.mlp", text.replace("SALT", "2"));
    let ran = workspace.run("p.mlp", &["--budget", "900ms", "--jobs", "1"]).exits(130);
    assert_eq!((ran.executed(), ran.finished()["status"].as_str()), (vec!["short".to_owned()], Some("over_budget")));
    workspace.mlp(&["runs"]).says(&["over budget"]);
    workspace.mlp(&["run", "p.mlp", "--budget", "1h"]).exits(0).says(&["2 steps run, 1 reused"]);
}
