//! Worker processes that die, transforms that misbehave: one failed step with a message, and the store stays whole.

mod support;

use std::time::Duration;

use support::{Ran, Workspace};

const FILE: &str = "churn/churn.mlp";

#[test]
fn a_killed_training_worker_is_one_failed_step_and_the_next_run_goes_on() {
    let workspace = Workspace::with_pipeline("churn");
    let args = ["run", FILE, "--json", "--param", "epochs=500", "--param", "lr=0.0001"];
    let run = workspace.spawn(&args);
    let worker = wait_for_child(run.id(), "mlp-torch");
    // Once it has libtorch loaded it trains for many seconds.
    std::thread::sleep(Duration::from_secs(2));
    std::process::Command::new("kill").args(["-ABRT", &worker.to_string()]).status().unwrap();
    let ran = Ran::of(&args, run.wait_with_output().unwrap()).exits(1).says(&["step `model`", "SIGABRT"]);
    assert_eq!(ran.steps_of("step_failed"), ["model"], "{ran}");
    let resumed = workspace.run(FILE, &["--param", "epochs=2"]);
    assert!(!resumed.executed().contains(&"clean".to_owned()), "finished work is kept: {resumed}");
}

#[test]
fn a_transform_that_raises_or_returns_other_columns_is_told_in_its_own_words() {
    let workspace = Workspace::new();
    workspace.write("t.csv", "x\n1\n2\n-3\n");
    workspace.write(
        "t.mlp",
        "pipeline t\nschema In { x: int }\nschema Out { y: float }\nsource raw = csv.read(\"t.csv\", schema: In)\n\
         step out = wasm.map(raw, source: \"t.py\", columns: [x], adds: Out)\n",
    );
    let body = |body: &str| {
        format!("from mlp import Batch, RowError, transform\n\n\n@transform\ndef change(t: Batch):\n{body}\n")
    };
    let cases: [(&str, i32, &[&str]); 4] = [
        (
            "    return {\"y\": [1.0 / (x + 3) for x in t[\"x\"]]}",
            1,
            &["step `out`", "ZeroDivisionError", "t.py", "line 6"],
        ),
        ("    return {\"z\": [1.0 for x in t[\"x\"]]}", 1, &["step `out`", "`y`", "`z`"]),
        ("    return {\"y\": [1.0]}", 1, &["step `out`", "`y`", "1", "3"]),
        ("    raise RowError(2, \"negative\")", 12, &["step `out`", "row 3", "negative"]),
    ];
    for (text, code, says) in cases {
        workspace.write("t.py", body(text));
        let ran = workspace.mlp(&["run", "t.mlp"]).exits(code);
        assert!(!ran.stderr.contains("wasm backtrace"), "{ran}");
        ran.says(says);
    }
    workspace.write("t.py", body("    return {\"y\": [x / 2 for x in t[\"x\"]]}"));
    workspace.run("t.mlp", &[]).exits(0);
    assert_eq!(workspace.json(&["show", "t.mlp", "out"])["rows"][2]["y"], -1.5);
}

fn wait_for_child(parent: u32, name: &str) -> u32 {
    for _ in 0..2400 {
        for entry in std::fs::read_dir("/proc").unwrap().flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
            let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            let is = |field: &str, value: &str| {
                status.lines().any(|line| line.strip_prefix(field).is_some_and(|rest| rest.trim() == value))
            };
            if is("PPid:", &parent.to_string()) && is("Name:", name) {
                return pid;
            }
        }
        std::thread::sleep(Duration::from_millis(25));
    }
    panic!("no `{name}` was started by {parent} within a minute");
}
