//! What is not there: rounds of loops that failed and may, steps that the run can do without, outputs that are left out.

mod support;

use serde_json::json;
use support::{Ran, Workspace};

/// One round a store; the stores in `bad` fail in the second of three steps.
fn stores(bad: &str, tolerated: &str) -> Workspace {
    let workspace = Workspace::new();
    workspace.write("sales.csv", "id,store,amount\na,1,5\nb,2,7\nc,3,9\nd,1,4\n");
    workspace.write("bad.txt", bad);
    workspace.write(
        "stores.mlp",
        format!(
            r#"pipeline stores

schema Sale {{ id: str key, store: int in 1..=9, amount: int }}

source sales = csv.read("sales.csv", schema: Sale)
for store in values(sales.store) limit 2 tolerate {tolerated} as network {{
  step rows   = table.where(sales, column: store, equals: store)
  step table  = csv.write(rows)
  step fitted = sh("! grep -qx " + store + " {{bad}} && wc -l < {{table}} > {{o}}", inputs: {{ table, bad: file("bad.txt") }}, outputs: {{ o: file }})
  step judged = sh("cat {{fitted}} > {{o}}", inputs: {{ fitted }}, outputs: {{ o: file }})
}}
step all = sh("ls in > {{o}}", inputs: {{ f: network.fitted, j: network.judged, t: network.table }}, outputs: {{ o: file }})
"#
        ),
    );
    workspace
}

/// What a file holds that a step gave.
fn held(workspace: &Workspace, file: &str, step: &str) -> String {
    let shown = workspace.mlp(&["show", file, step]).exits(0);
    let path = shown.stdout.lines().nth(1).unwrap_or_else(|| panic!("no path: {shown}"));
    let bytes = std::fs::read(path).expect("an object");
    String::from_utf8_lossy(&bytes[..bytes.len() - OBJECT_FOOTER_BYTES]).into_owned()
}

/// What stands behind the content of an object.
const OBJECT_FOOTER_BYTES: usize = 64;

fn rounds_failed(ran: &Ran) -> Vec<serde_json::Value> {
    let events = ran.events().into_iter().filter(|event| event["event"] == "rounds_failed");
    events
        .map(|event| json!([event["name"], event["rounds"], event["n_rounds"], event["most"], event["tolerated"]]))
        .collect()
}

#[test]
fn a_run_goes_on_without_failed_rounds_says_so_and_tries_them_again() {
    let workspace = stores("2\n", "1");
    let ran = workspace.run("stores.mlp", &[]).exits(0);
    // The table, three rounds of which one stops at its third step, and what collects them.
    assert_eq!(ran.steps(), (1 + 4 + 2 + 4 + 1, 0, 1, 1), "{ran}");
    assert_eq!(rounds_failed(&ran), [json!(["network", ["2"], 3, 1, true])]);
    assert_eq!(ran.finished()["steps"]["tolerated"], 1);
    let skipped = ran.events().into_iter().find(|event| event["event"] == "step_skipped").expect("one was skipped");
    assert_eq!(
        (&skipped["step"], &skipped["because"]),
        (&json!("network[2].judged"), &json!("`network[2].fitted` failed"))
    );
    // The table of the failed round was made, and is left out all the same.
    assert_eq!(held(&workspace, "stores.mlp", "all"), "f_1\nf_3\nj_1\nj_3\nt_1\nt_3\n");
    workspace.mlp(&["runs"]).exits(0).says(&["succeeded", "1 failed (1 tolerated)"]);
    let log = workspace.mlp(&["log"]).exits(0);
    let log = log.says(&["failed, which is tolerated: ", "1 of 3 rounds of `network`, which tolerates 1: 2"]);
    assert!(log.stdout.contains("1 failed (1 tolerated)"), "{log}");
    let why = workspace.mlp(&["why", "stores.mlp", "all"]).exits(0);
    why.says(&["It went on without `network[2].fitted.o`, `network[2].judged.o`, `network[2].table.out`"]);

    // A failure is not kept: the round is tried again, and nothing else is done.
    let again = workspace.mlp(&["run", "stores.mlp"]).exits(0);
    again.says(&[
        "warning[P2006]",
        "0 steps run, 12 reused, 1 failed and tolerated",
        "went on without 1 of 3 rounds of `network`, which tolerates 1: 2",
    ]);

    workspace.write("bad.txt", "");
    let ran = workspace.run("stores.mlp", &[]).exits(0);
    assert_eq!((rounds_failed(&ran).len(), ran.steps().2), (0, 0), "{ran}");
    assert!(held(&workspace, "stores.mlp", "all").contains("t_2"), "{ran}");
    let why = workspace.mlp(&["why", "stores.mlp", "all"]).exits(0);
    why.says(&["input inputs.f_2", "(none)"]);
}

#[test]
fn more_failed_rounds_than_tolerated_or_all_of_them_fail_the_run() {
    for (bad, tolerated, said) in [
        ("2\n3\n", "1", "2 of 3 rounds of `network`, more than the 1 that it tolerates: 2, 3"),
        ("1\n2\n3\n", "9", "3 of 3 rounds of `network`, so that none is left to go on with: 1, 2, 3"),
    ] {
        let workspace = stores(bad, tolerated);
        let ran = workspace.mlp(&["run", "stores.mlp", "--keep-going"]).exits(1);
        ran.says(&[said, "error[P2006]"]);
        let step = workspace.mlp(&["show", "stores.mlp", "all"]);
        assert_ne!(step.code, 0, "{step}");
    }
    // Another number runs nothing again.
    let workspace = stores("2\n3\n", "1");
    workspace.mlp(&["run", "stores.mlp", "--keep-going"]).exits(1);
    workspace.edit("stores.mlp", "tolerate 1", "tolerate 2");
    let ran = workspace.run("stores.mlp", &[]).exits(0);
    assert_eq!((ran.executed(), ran.steps().2), (vec!["all".to_owned()], 2), "{ran}");
}

#[test]
fn a_command_that_names_a_member_needs_it_and_a_loop_over_what_was_collected_goes_on() {
    let workspace = Workspace::new();
    workspace.write("days/1.csv", "id,kind\na,x\nb,y\n");
    workspace.write("days/2.csv", "id,kind\nc,much too long\n");
    workspace.write("days/3.csv", "id,kind\nd,z\n");
    workspace.write(
        "parts.mlp",
        r#"pipeline parts

schema Row { id: str key, kind: str in ["x", "y", "z"] }

for day in [1, 2, 3] tolerate 1 as part {
  source rows = csv.read("days/" + day + ".csv", schema: Row)
  step table  = csv.write(rows)
}
step all = table.concat(part.rows)
for kind in values(all.kind) as by_kind {
  step some = table.where(all, column: kind, equals: kind)
  step text = csv.write(some)
}
step kinds = sh("ls in > {o}", inputs: by_kind.text, outputs: { o: file })
step third = sh("cat {table_3} > {o}", inputs: part.table, outputs: { o: file })
step second = sh("cat {table_2} > {o}", inputs: part.table, outputs: { o: file })
"#,
    );
    let ran = workspace.run("parts.mlp", &[]).exits(0);
    assert_eq!(rounds_failed(&ran), [json!(["part", ["2"], 3, 1, true])]);
    let skipped: Vec<_> = ran.steps_of("step_skipped");
    assert_eq!(skipped, ["part[2].table", "second"], "{ran}");
    assert!(ran.executed().contains(&"third".to_owned()), "{ran}");
    assert_eq!(held(&workspace, "parts.mlp", "kinds"), "text_x\ntext_y\ntext_z\n");
    // Whether the failed round is there the next time decides what the loop goes over.
    let plan = workspace.mlp(&["plan", "parts.mlp"]).exits(0);
    plan.says(&["part[2].rows", "by_kind[..].some  maybe   unknown until `part[2].rows` has run"]);
}

#[test]
fn loops_over_what_loops_over_columns_give_know_their_rounds_one_after_the_other() {
    let workspace = Workspace::new();
    workspace.write("rows.csv", "id,day\na,1\nb,2\nc,3\nd,3\n");
    workspace.write(
        "chain.mlp",
        r#"pipeline chain

schema Row { id: str key, day: int in 1..=9 }

source raw = csv.read("rows.csv", schema: Row)
for day in values(raw.day) tolerate 1 as part {
  step rows    = table.where(raw, column: day, equals: day)
  step text    = csv.write(rows)
  step checked = sh("test " + day + " != 2; cp {text} {o}", inputs: { text }, outputs: { o: file })
}
step all = table.concat(part.rows)
for id in values(all.id) as each {
  step out = sh("echo " + id + " > {o}", outputs: { o: file })
}
step ends = sh("ls in > {o}", inputs: each.out, outputs: { o: file })
"#,
    );
    let ran = workspace.run("chain.mlp", &[]).exits(0);
    assert_eq!(rounds_failed(&ran), [json!(["part", ["2"], 3, 1, true])]);
    let unfolded: Vec<_> = ran.events().into_iter().filter(|event| event["event"] == "loop_unfolded").collect();
    assert_eq!(unfolded.iter().map(|event| &event["name"]).collect::<Vec<_>>(), ["part", "each"], "{ran}");
    // A step of the second round failed that `all` does not read: its rows are left out all the same.
    assert_eq!(held(&workspace, "chain.mlp", "ends"), "out_a\nout_c\nout_d\n");
}

#[test]
fn a_run_goes_on_without_a_step_that_may_fail_and_says_so() {
    let workspace = Workspace::new();
    workspace.write(
        "wiki.mlp",
        r#"pipeline wiki

step plotted = sh("echo no ink; exit 3; echo > {o}", outputs: { o: file }) with { on_failure: skip }
step page    = sh("cat {plotted} > {o}", inputs: { plotted }, outputs: { o: file })
step rest    = sh("sleep 0; echo rest > {o}", outputs: { o: file })
"#,
    );
    let ran = workspace.run("wiki.mlp", &["--jobs", "1"]).exits(0);
    assert_eq!(
        (ran.executed(), ran.steps_of("step_skipped")),
        (vec!["rest".to_owned()], vec!["page".to_owned()]),
        "{ran}"
    );
    let failed = ran.events().into_iter().find(|event| event["event"] == "step_failed").expect("it failed");
    assert_eq!((&failed["step"], &failed["tolerated"]), (&json!("plotted"), &json!(true)), "{ran}");
    let ran = workspace.mlp(&["run", "wiki.mlp"]).exits(0);
    ran.says(&[
        "warning[P2006]",
        "0 steps run, 1 reused, 1 failed and tolerated",
        "went on without `plotted`, which may fail",
    ]);
    workspace.edit("wiki.mlp", "on_failure: skip", "on_failure: stop");
    workspace.mlp(&["run", "wiki.mlp"]).exits(1).says(&["error[P2006]"]);
}

#[test]
fn an_output_may_be_left_out_and_everything_copes() {
    let workspace = Workspace::new();
    workspace.write(
        "notes.mlp",
        r#"pipeline notes

param noted: int = 0

step fitted = sh("echo model > {model}; if [ " + noted + " = 1 ]; then echo hm > {notes}; mkdir {extra}; fi", outputs: { model: file, notes: file?, extra: folder? })
step page   = sh("cat {notes} > {o}", inputs: { notes: fitted.notes }, outputs: { o: file })
step rest   = sh("cat {model} > {o}", inputs: { model: fitted.model }, outputs: { o: file })
"#,
    );
    let ran = workspace.run("notes.mlp", &[]).exits(0);
    assert_eq!(
        (ran.executed(), ran.steps_of("step_skipped")),
        (vec!["fitted".to_owned(), "rest".to_owned()], vec!["page".to_owned()]),
        "{ran}"
    );
    let because = "`fitted` left out its output `notes`";
    let skipped = ran.events().into_iter().find(|event| event["event"] == "step_skipped").expect("one was skipped");
    assert_eq!(skipped["because"], because);
    let run = ran.finished()["run"].as_str().expect("an id").to_owned();

    // Reused, it stays left out; so it does in plans and in what looks at the store.
    workspace.mlp(&["plan", "notes.mlp"]).exits(0).says(&[because]);
    let again = workspace.run("notes.mlp", &[]).exits(0);
    assert_eq!((again.steps(), again.steps_of("step_skipped")), ((0, 2, 0, 1), vec!["page".to_owned()]), "{again}");
    assert_eq!(held(&workspace, "notes.mlp", "fitted.model"), "model\n");
    let shown = workspace.mlp(&["show", "notes.mlp", "fitted.notes"]);
    assert_eq!(shown.code, 2, "{shown}");
    shown.says(&["step `fitted` left out its output `notes`"]);
    workspace.mlp(&["verify", "notes.mlp"]).exits(0);
    workspace.mlp(&["store", "verify"]).exits(0);
    workspace.mlp(&["gc", "--keep-runs", "1"]).exits(0);
    assert_eq!(workspace.run("notes.mlp", &[]).exits(0).steps(), (0, 2, 0, 1));

    // Another workspace takes it in as it is.
    workspace.mlp(&["export", &run, "--output", "notes.mlpx", "--with-personal"]).exits(0);
    let other = Workspace::new();
    other.write("notes.mlp", workspace.read("notes.mlp"));
    std::fs::copy(workspace.path("notes.mlpx"), other.path("notes.mlpx")).expect("a copy");
    other.mlp(&["import-bundle", "notes.mlpx"]).exits(0);
    let taken = other.run("notes.mlp", &[]).exits(0);
    assert_eq!(taken.steps(), (0, 2, 0, 1), "{taken}");

    let made = workspace.run("notes.mlp", &["--param", "noted=1"]).exits(0);
    assert_eq!(made.executed(), ["fitted", "page"], "the model has the same bytes: {made}");
    workspace.mlp(&["verify", "notes.mlp", "--param", "noted=1"]).exits(0);
}
