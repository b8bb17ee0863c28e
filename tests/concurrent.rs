//! Several processes on one workspace at once.

mod support;

use std::time::Duration;

use support::{Ran, small_pipeline};

#[test]
fn two_runs_share_their_steps_while_why_and_log_answer() {
    let workspace = small_pipeline();
    workspace.run("small.mlp", &[]).exits(0);
    // Each execution of the program leaves a mark outside, so that executions can be counted.
    let marks = workspace.path("marks");
    let text = workspace.read("small.mlp");
    let slow = format!(
        "step slow = sh(\"echo ran >> '{}'; sleep 1; sort {{rows}} > {{sorted}}\", inputs: {{ rows: exported }}, outputs: {{ sorted: file }}, confine: off)\n",
        marks.display()
    );
    workspace.write("small.mlp", text + &slow);

    let args = ["run", "small.mlp", "--json"];
    let runs: Vec<_> = (0..2).map(|_| workspace.spawn(&args)).collect();
    std::thread::sleep(Duration::from_millis(300));
    workspace.mlp(&["why", "small.mlp", "parts"]).exits(0);
    workspace.mlp(&["log"]).exits(0);
    workspace.mlp(&["runs"]).exits(0).says(&["running"]);

    let runs: Vec<Ran> = runs.into_iter().map(|run| Ran::of(&args, run.wait_with_output().unwrap()).exits(0)).collect();
    let executed: Vec<String> = runs.iter().flat_map(Ran::executed).collect();
    assert_eq!(executed, ["slow"], "{}{}", runs[0], runs[1]);
    assert_eq!(std::fs::read_to_string(marks).unwrap(), "ran\n");
    assert_eq!(runs[0].digests(), runs[1].digests());
}

#[test]
fn an_interrupted_run_ends_its_programs_and_keeps_what_was_finished() {
    let workspace = small_pipeline();
    let text = workspace.read("small.mlp");
    workspace.write("small.mlp", text + "step long = sh(\"sleep 300 & sleep 300; cat {rows} > {o}\", inputs: { rows: counted }, outputs: { o: file })\n");
    let args = ["run", "small.mlp", "--json"];
    let run = workspace.spawn(&args);
    let pid = run.id();
    wait_until(|| !children_of_program("sleep 300").is_empty());
    std::process::Command::new("kill").args(["-INT", &pid.to_string()]).status().unwrap();
    let ran = Ran::of(&args, run.wait_with_output().unwrap()).exits(130);
    assert_eq!(ran.finished()["status"], "cancelled");
    wait_until(|| children_of_program("sleep 300").is_empty());
    let plan = workspace.json(&["plan", "small.mlp"]);
    let kept = plan["steps"].as_array().unwrap().iter().filter(|step| step["decision"] == "reuse").count();
    assert_eq!(kept, 5, "{plan}");
}

fn wait_until(condition: impl Fn() -> bool) {
    for _ in 0..400 {
        if condition() {
            return;
        }
        std::thread::sleep(Duration::from_millis(25));
    }
    panic!("it did not happen within 10 s");
}

/// Returns the processes whose command line is the given words.
fn children_of_program(command_line: &str) -> Vec<u32> {
    let wanted: Vec<u8> = command_line.split(' ').flat_map(|word| word.bytes().chain([0])).collect();
    std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|pid: &u32| std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line == wanted))
        .collect()
}
