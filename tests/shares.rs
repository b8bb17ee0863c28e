//! Several runs at once share what there is: cores, tokens. None gets what another one has, none waits for ever, and each has
//! its turn.

mod support;

use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use support::{Ran, Workspace};

/// A workspace with one licence, and pipelines of so many independent steps, each of which takes it or all cores, and marks its
/// beginning and its end.
fn workspace(pipelines: &[&str], n_steps: usize, options: &str) -> Workspace {
    let workspace = Workspace::new();
    workspace.write("mlp.yaml", "owner_idle_seconds: 0\nresources:\n  tokens: { licence: 1 }\n");
    workspace.write("marks", "");
    for name in pipelines {
        let step = |n| {
            let mark = |what| format!("echo {what} {name} >> '{}'", workspace.path("marks").display());
            format!(
                "step s{n} = sh(\"{}; sleep 0.1; {}; echo {n} > {{o}}\", outputs: {{ o: file }}, confine: off) with {options}\n",
                mark("begin"),
                mark("end")
            )
        };
        let text: String = (0..n_steps).map(step).collect();
        workspace.write(&format!("{name}.mlp"), format!("pipeline {name}\n{text}"));
    }
    workspace
}

fn start(workspace: &Workspace, file: &str) -> Child {
    workspace.command(&["run", file, "--json"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn finish(child: Child) -> Ran {
    Ran::of(&["run"], child.wait_with_output().unwrap()).exits(0)
}

fn wait_for_mark(workspace: &Workspace, mark: &str) {
    let started = Instant::now();
    while !workspace.read("marks").lines().any(|line| line == mark) {
        assert!(started.elapsed() < Duration::from_secs(60), "{mark} does not come: {}", workspace.read("marks"));
        thread::sleep(Duration::from_millis(5));
    }
}

/// Returns whose step ran when. There must never be two at once.
fn turns(workspace: &Workspace) -> Vec<String> {
    let marks = workspace.read("marks");
    let lines: Vec<&str> = marks.lines().collect();
    let is_turn = |pair: &[&str]| match pair {
        [begin, end] => begin.strip_prefix("begin ").is_some_and(|name| end.strip_prefix("end ") == Some(name)),
        _ => false,
    };
    assert!(lines.chunks(2).all(is_turn), "two at once:\n{marks}");
    lines.iter().filter_map(|line| line.strip_prefix("begin ")).map(str::to_owned).collect()
}

fn all_cores() -> String {
    format!("{{ cpu: {} }}", thread::available_parallelism().unwrap())
}

#[test]
fn two_runs_take_turns_and_never_have_more_than_there_is() {
    for options in ["{ tokens: { licence: 1 } }".to_owned(), all_cores()] {
        let workspace = workspace(&["a", "b"], 6, &options);
        let first = start(&workspace, "a.mlp");
        wait_for_mark(&workspace, "begin a");
        let second = start(&workspace, "b.mlp");
        wait_for_mark(&workspace, "begin b");
        for run in [first, second] {
            assert_eq!(finish(run).steps(), (6, 0, 0, 0));
        }
        let turns = turns(&workspace);
        assert_eq!(turns.len(), 12);
        // From the first turn of the second run on, they alternate as long as both have work.
        let from = turns.iter().position(|name| name == "b").unwrap();
        let both = &turns[from..from + 2 * (6 - from)];
        assert!(both.windows(2).all(|pair| pair[0] != pair[1]), "{options}: {turns:?}");
    }
}

#[test]
fn what_a_killed_run_had_goes_to_the_one_that_waits() {
    let workspace = workspace(&["a", "b"], 1, "{ tokens: { licence: 1 } }");
    workspace.edit("a.mlp", "sleep 0.1", "sleep 1000");
    let mut first = start(&workspace, "a.mlp");
    wait_for_mark(&workspace, "begin a");
    let second = start(&workspace, "b.mlp");
    first.kill().unwrap();
    first.wait().unwrap();
    assert_eq!(finish(second).steps(), (1, 0, 0, 0));
    assert_eq!(workspace.read("marks"), "begin a\nbegin b\nend b\n");
}

/// Runs `b.mlp` while a run of `a.mlp` does its work; returns the run of the latter and what the former told of waiting.
fn waits_of_b(workspace: &Workspace) -> (String, Vec<String>) {
    let first = start(workspace, "a.mlp");
    wait_for_mark(workspace, "begin a");
    let second = Ran::of(&["run"], workspace.command(&["run", "b.mlp"]).output().unwrap()).exits(0);
    let waits = second.stderr.lines().filter(|line| line.contains("waits for"));
    let waits = waits.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    (finish(first).events()[0]["run"].as_str().unwrap().to_owned(), waits)
}

#[test]
fn what_a_step_waits_for_is_told_once() {
    let workspace = workspace(&["a", "b"], 1, "{ tokens: { licence: 1 } }");
    workspace.edit("a.mlp", "sleep 0.1", "sleep 4");
    let (first, waits) = waits_of_b(&workspace);
    assert_eq!(waits, [format!("s0 waits for `licence` that run {first} has")]);
    // The same step in another pipeline: it is not executed twice.
    workspace.edit("a.mlp", "echo 0 >", "echo 1 >");
    workspace.write("b.mlp", workspace.read("a.mlp").replace("pipeline a", "pipeline b"));
    workspace.write("marks", "");
    let (first, waits) = waits_of_b(&workspace);
    assert_eq!(waits, [format!("s0 waits for run {first}, which executes the same step")]);
    assert_eq!(workspace.read("marks"), "begin a\nend a\n");
}

#[test]
fn a_step_that_runs_mlp_does_not_wait_for_itself() {
    let workspace = workspace(&["inner"], 2, &format!("{{ tokens: {{ licence: 1 }}, {}", &all_cores()[1..]));
    workspace.write(
        "outer.mlp",
        format!(
            "pipeline outer\nstep all = sh(\"(cd '{}' && '{}' run inner.mlp) && echo done > {{o}}\", outputs: {{ o: file }}, confine: off) with {}\n",
            workspace.root.display(),
            env!("CARGO_BIN_EXE_mlp"),
            all_cores()
        ),
    );
    assert_eq!(workspace.run("outer.mlp", &[]).exits(0).steps(), (1, 0, 0, 0));
    assert_eq!(turns(&workspace), ["inner", "inner"]);
}

#[test]
fn the_next_owner_knows_what_runs_have() {
    let workspace = workspace(&["a", "b"], 2, "{ tokens: { licence: 1 } }");
    let first = start(&workspace, "a.mlp");
    wait_for_mark(&workspace, "begin a");
    assert!(workspace.kill_owner());
    let second = start(&workspace, "b.mlp");
    for run in [first, second] {
        assert_eq!(finish(run).steps(), (2, 0, 0, 0));
    }
    assert_eq!(turns(&workspace).len(), 4);
}
