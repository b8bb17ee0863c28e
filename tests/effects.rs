//! Effects: done once for their key over runs, gates, gc, forced repetitions and kills.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use serde_json::Value;
use support::{Ran, Workspace};

/// A pipeline whose effect appends its idempotency key and what it read to a file outside.
fn publishing(more: &str) -> Workspace {
    publishing_then("", more)
}

/// The same, with a command behind, in which `OUTSIDE` is that file.
fn publishing_then(then: &str, more: &str) -> Workspace {
    let workspace = Workspace::new();
    let outside = workspace.path("outside.txt");
    workspace.write("in.txt", "one\n");
    workspace.write(
        "p.mlp",
        format!(
            r#"pipeline p
source raw  = file("in.txt")
step upper  = sh("tr a-z A-Z < {{raw}} > {{out}}", inputs: {{ raw }}, outputs: {{ out: file }})
effect told = sh("echo $MLP_IDEMPOTENCY_KEY $(cat {{upper}}) >> OUTSIDE{then}", inputs: {{ upper }}, confine: off){more}
"#
        )
        .replace("OUTSIDE", &outside.display().to_string()),
    );
    workspace
}

/// Returns what was written outside: a key and a text each.
fn outside(workspace: &Workspace) -> Vec<(String, String)> {
    let text = std::fs::read_to_string(workspace.path("outside.txt")).unwrap_or_default();
    let lines = text.lines().filter_map(|line| line.split_once(' '));
    lines.map(|(key, text)| (key.to_owned(), text.to_owned())).collect()
}

fn audit(workspace: &Workspace) -> Vec<Value> {
    workspace.json(&["log", "--effects"]).as_array().expect("a list").clone()
}

fn planned(workspace: &Workspace, step: &str) -> Value {
    let plan = workspace.json(&["plan", "p.mlp"]);
    let steps = plan["steps"].as_array().expect("steps");
    steps.iter().find(|planned| planned["step"] == step).unwrap_or_else(|| panic!("{plan}")).clone()
}

#[test]
fn an_effect_is_done_once_for_its_inputs_and_said_to_be_done() {
    let workspace = publishing("");
    let plan = planned(&workspace, "told");
    assert_eq!(plan["decision"], "unknown", "{plan}");
    workspace.mlp(&["run", "p.mlp", "--dry-run"]).exits(0);
    assert!(outside(&workspace).is_empty(), "a dry run does nothing");

    let ran = workspace.run("p.mlp", &[]).exits(0);
    let events = ran.events();
    let finished = events.iter().find(|event| event["event"] == "step_finished" && event["step"] == "told");
    let key = finished.expect("it was done")["idempotency_key"].as_str().expect("a key").to_owned();
    assert_eq!(outside(&workspace), [(key.clone(), "ONE".to_owned())]);
    let done = audit(&workspace);
    assert_eq!((done.len(), &done[0]["idempotency_key"]), (1, &Value::from(key.clone())));
    assert_eq!(
        (&done[0]["pipeline"], &done[0]["effect"], &done[0]["attempt"]),
        (&"p".into(), &"told".into(), &1.into())
    );
    workspace.mlp(&["log", "--effects"]).exits(0).says(&["idempotency key", "p.told", &key]);

    workspace.mlp(&["runs"]).exits(0).says(&["3 run (1 effect), 0 reused"]);
    let plan = planned(&workspace, "told");
    let reason = plan["reason"].as_str().expect("a reason");
    let run = done[0]["run"].as_str().expect("a run");
    assert!(reason.starts_with("effect: done on 20") && reason.ends_with(&format!("UTC, run {run}")), "{reason}");

    // Neither another run nor a kept answer nor a collected store does it again.
    for _ in 0..2 {
        workspace.run("p.mlp", &[]).exits(0);
    }
    workspace.mlp(&["gc", "--keep-runs", "1"]).exits(0);
    std::fs::remove_dir_all(workspace.path(".mlp/snapshot")).ok();
    workspace.run("p.mlp", &[]).exits(0);
    assert_eq!(outside(&workspace).len(), 1);

    // Other inputs are another wish; the old ones are done.
    workspace.write("in.txt", "two\n");
    workspace.run("p.mlp", &[]).exits(0);
    workspace.write("in.txt", "one\n");
    workspace.run("p.mlp", &[]).exits(0);
    let texts: Vec<String> = outside(&workspace).into_iter().map(|(_, text)| text).collect();
    assert_eq!(texts, ["ONE", "TWO"]);
    assert_eq!(audit(&workspace).len(), 2);
}

#[test]
fn a_forced_effect_is_another_wish_and_verify_never_does_one() {
    let workspace = publishing("");
    workspace.run("p.mlp", &[]).exits(0);
    workspace.mlp(&["verify", "p.mlp"]).exits(0).says(&["changes the world outside"]);
    workspace.run("p.mlp", &["--force", "told"]).exits(0);
    workspace.run("p.mlp", &[]).exits(0);
    // What counts is what was done, under whatever name.
    workspace.edit("p.mlp", "effect told", "effect said");
    workspace.run("p.mlp", &[]).exits(0);
    workspace.run("p.mlp", &["--force", "said"]).exits(0);
    let keys: BTreeSet<String> = outside(&workspace).into_iter().map(|(key, _)| key).collect();
    assert_eq!((outside(&workspace).len(), keys.len()), (3, 3));
}

#[test]
fn a_failed_effect_is_tried_again_with_the_same_key() {
    // Fails after it has written, twice.
    let workspace = publishing_then("; test $(wc -l < OUTSIDE) -ge 3", " with { retries: 2 }");
    workspace.run("p.mlp", &[]).exits(0);
    let written = outside(&workspace);
    let keys: BTreeSet<&String> = written.iter().map(|(key, _)| key).collect();
    assert_eq!((written.len(), keys.len()), (3, 1), "{written:?}");
    assert_eq!(audit(&workspace)[0]["attempt"], 3);
}

#[test]
fn two_runs_at_once_do_an_effect_once() {
    let workspace = publishing_then("; sleep 0.4", "");
    workspace.run("p.mlp", &["upper"]).exits(0);
    let mut runs = [0, 1].map(|_| workspace.spawn(&["run", "p.mlp", "--json"]));
    for run in &mut runs {
        assert!(run.wait().expect("it ends").success());
    }
    assert_eq!((outside(&workspace).len(), audit(&workspace).len()), (1, 1));
}

#[test]
fn an_effect_waits_for_its_gates() {
    let workspace = publishing(" when good and \"a\" in [\"a\", \"b\"]");
    let text = workspace.read("p.mlp");
    let gated = format!(
        "{text}
param least: float = 0.5
schema Pair {{ id: int key, x: float, y: bool label }}
source pairs = csv.read(\"pairs.csv\", schema: Pair)
step parts   = table.split_rows(pairs, every: 2, at: 1)
step model   = torch.train(parts.train, target: y, net: torch.logistic())
step quality = eval.binary(model, parts.test)
gate good {{ floor quality.auc >= least }}
test \"what a run would do\" {{
  source raw = file(\"in.txt\")
  given pairs = \"\"\"
    x, y
    1, yes
    2, yes
    3, no
    4, no
    \"\"\"
  expect quality.auc >= 0.5
}}
"
    );
    workspace.write("p.mlp", gated);
    workspace.write("pairs.csv", "id,x,y\n1,1,yes\n2,2,yes\n3,3,no\n4,4,no\n");
    let refused = workspace.run("p.mlp", &["--param", "least=1.5"]).exits(10);
    let skipped = refused.events().into_iter().find(|event| event["event"] == "step_skipped").expect("skipped");
    assert_eq!((&skipped["step"], &skipped["because"]), (&"told".into(), &"gate `good` refused".into()));
    assert!(outside(&workspace).is_empty() && audit(&workspace).is_empty());
    assert_eq!(planned(&workspace, "told")["reason"], "effect: to do if gate `good` passes: first time");

    workspace.mlp(&["test"]).exits(0);
    assert!(outside(&workspace).is_empty(), "a test does nothing outside");
    workspace.run("p.mlp", &[]).exits(0);
    assert_eq!(outside(&workspace).len(), 1);
    // Done is done, whatever the gate says later.
    workspace.run("p.mlp", &["--param", "least=1.5"]).exits(10);
    assert_eq!(outside(&workspace).len(), 1);
}

#[test]
fn a_test_tells_which_effects_a_run_would_do() {
    let workspace = Workspace::new();
    workspace.write("rows.csv", "id\n1\n");
    workspace.write(
        "p.mlp",
        r#"pipeline p
schema Row { id: int key }
source rows = csv.read("rows.csv", schema: Row)
step sheet  = csv.write(rows)
effect told = sh("curl -T {sheet} https://models.example", inputs: { sheet }, network: true)
test "rows" {
  given rows = "id"
  step again = csv.read(sheet, schema: Row)
  expect rows(again) == 0
}
"#,
    );
    workspace.mlp(&["test"]).exits(0).says(&["effect `told` is not done in a test; a run would do it"]);
}

/// Small and fast, so that the same numbers come from the same seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}

/// Runs of several effects are killed uniformly over the time that one takes; then one is left to end. Whatever was written outside,
/// each key is recorded once, and each wish was written at least once under its one key.
#[test]
fn killed_runs_record_each_effect_exactly_once() {
    let seed = std::env::var("MLP_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(|| {
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(1, |now| now.as_nanos() as u64)
    });
    let n_kills: u64 = std::env::var("MLP_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(25);
    println!("MLP_SEED={seed} MLP_KILLS={n_kills}");
    let mut dice = Dice(seed);
    let workspace = Workspace::new();
    workspace.write("mlp.yaml", "owner_idle_seconds: 2\n");
    let outside_path = workspace.path("outside.txt");
    let mut text = String::from("pipeline p\nsource raw = file(\"in.txt\")\n");
    for n in 0..6 {
        text.push_str(&format!(
            "step s{n} = sh(\"echo {n} | cat {{raw}} - > {{out}}\", inputs: {{ raw }}, outputs: {{ out: file }})
effect e{n} = sh(\"echo $MLP_IDEMPOTENCY_KEY $(cat {{s{n}}}) >> {}\", inputs: {{ s{n} }}, confine: off)\n",
            outside_path.display()
        ));
    }
    workspace.write("p.mlp", text);

    let mut wishes = BTreeSet::new();
    let mut n_killed = 0;
    let mut took = Duration::from_millis(400);
    for round in 0..n_kills {
        // Each round wishes for something else, so that there is always work to be killed in.
        workspace.write("in.txt", format!("{round}\n"));
        wishes.extend((0..6).map(|n| format!("{round} {n}")));
        let started = Instant::now();
        let mut run = workspace.spawn(&["run", "p.mlp", "--jobs", "2"]);
        let until = Duration::from_micros(dice.below(took.as_micros() as u64 + 1));
        while started.elapsed() < until && run.try_wait().expect("it is ours").is_none() {
            std::thread::sleep(Duration::from_millis(1));
        }
        if run.try_wait().expect("it is ours").is_none() {
            n_killed += 1;
            run.kill().expect("killed");
        }
        run.wait().expect("it ends");
        let started = Instant::now();
        workspace.mlp(&["run", "p.mlp"]).exits(0);
        took = (took + started.elapsed()) / 2;
    }
    assert!(n_killed * 3 >= n_kills, "only {n_killed} of {n_kills} runs were there to be killed");

    let mut texts: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (key, text) in outside(&workspace) {
        texts.entry(text).or_default().insert(key);
    }
    assert_eq!(texts.keys().cloned().collect::<BTreeSet<_>>(), wishes, "each wish was written");
    assert!(texts.values().all(|keys| keys.len() == 1), "under one key each: {texts:?}");
    let done = audit(&workspace);
    let keys: Vec<&str> = done.iter().filter_map(|done| done["idempotency_key"].as_str()).collect();
    let distinct: BTreeSet<&str> = keys.iter().copied().collect();
    assert_eq!(keys.len(), distinct.len(), "each key is recorded once");
    let written: BTreeSet<&str> = texts.values().flatten().map(String::as_str).collect();
    assert_eq!(distinct, written, "what was written is recorded, and nothing else");
    println!("{n_killed} runs killed, {} effects, {} writes", keys.len(), outside(&workspace).len());
}

#[test]
fn an_archive_does_not_say_that_effects_are_done() {
    let workspace = publishing("");
    let ran: Ran = workspace.run("p.mlp", &[]).exits(0);
    let run = ran.finished()["run"].as_str().expect("a run").to_owned();
    workspace.mlp(&["export", &run, "-o", "run.mlpx"]).exits(0);
    let other = publishing("");
    std::fs::copy(workspace.path("run.mlpx"), other.path("run.mlpx")).expect("copied");
    other.mlp(&["import-bundle", "run.mlpx"]).exits(0);
    assert!(audit(&other).is_empty());
}
