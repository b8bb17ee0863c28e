//! `mlp test`: tests run through the real engine, beside the workspace's store, and say what came out instead.

mod support;

use serde_json::Value;
use support::{Workspace, small_pipeline};

/// The small pipeline, with tests of it behind.
fn with_tests(tests: &str) -> Workspace {
    let workspace = small_pipeline();
    let text = format!("{}\n{tests}", workspace.read("small.mlp"));
    workspace.write("small.mlp", text);
    workspace
}

const STAYED: &str = r#"
test "customers of less than three months are left out" {
  given raw = """
    id, tenure
    b,  5
    a,  3
    c,  2
    """
  expect stayed == """
    id, tenure
    a,  3
    b,  5
    """
  expect rows(stayed) == 2
}
"#;

#[test]
fn tests_pass_without_a_trace_in_the_workspace() {
    let workspace = with_tests(STAYED);
    std::fs::remove_file(workspace.path("data/customers.csv")).unwrap();
    workspace.write("data/customers.csv", "not,what,the,pipeline,reads\n");
    let ran = workspace.mlp(&["test"]).exits(0);
    ran.says(&["small.mlp", "ok    customers of less than three months are left out", "1 test passed, 0 failed"]);
    assert!(!workspace.path(".mlp/journal").exists(), "the workspace has no store");
    assert_eq!(workspace.json(&["runs"]), serde_json::json!([]));
    workspace.mlp(&["test", "small.mlp"]).exits(0);
}

#[test]
fn a_table_that_differs_is_shown_with_its_cells_marked_and_personal_ones_masked() {
    let workspace = with_tests(
        r#"
test "what is wrong" {
  given raw = """
    id, tenure, plan
    a,  3,      plus
    b,  5,      basic
    c,  7,      plus
    """
  expect stayed == """
    id, tenure, plan
    a,  3,      plus
    b,  6,      basic
    d,  9,      plus
    e,  9,      plus
    """
}
"#,
    );
    let ran = workspace.mlp(&["test", "small.mlp"]).exits(1);
    let table = [
        "          4 rows expected, 3 came: 2 differ, 1 is missing",
        "            id        tenure  plan",
        "            personal  3       plus",
        "          - personal  6       basic",
        "          + personal  5       basic",
        "                      ^",
        "          - personal  9       plus",
        "          + personal  7       plus",
        "            ^^^^^^^^  ^",
        "          - personal  9       plus",
    ];
    let shown: Vec<&str> = ran.stdout.lines().skip_while(|line| !line.contains("rows expected")).take(10).collect();
    assert_eq!(shown, table, "{ran}");
    ran.says(&["FAIL  what is wrong", ": expect stayed == \"\"\"..\"\"\"", "0 tests passed, 1 failed"]);

    let told = workspace.json(&["test", "small.mlp"]);
    assert_eq!((&told["ok"], &told["failed"]), (&Value::Bool(false), &Value::from(1)));
    let missed = &told["files"][0]["tests"][0]["missed"][0];
    assert_eq!(missed["table"]["rows"][1]["differing"], serde_json::json!(["tenure"]));
    assert!(!told.to_string().contains("\"b\""), "personal values are masked: {told}");
}

#[test]
fn figures_counts_and_failures_are_expected_too() {
    let workspace = with_tests(
        r#"
def scored(data: table) {
  step rows   = sql("select \"left\" as actual, case when \"left\" then 0.9 else 0.1 end as score from data", { data })
  result = rows
}
schema Wrong { id: str key, tenure: int in 0..=120, plan: str, left: bool label }
test "counts" {
  given raw = """
    id, tenure
    a,  30
    b,  3
    """
  expect rows(stayed) == 3
  expect rows(stayed) < 2
  expect rows(stayed) > 0
}
test "a failure that is expected" {
  given raw = """
    id, tenure
    a,  121
    """
  expect raw fails D1104
}
test "another failure, and what it keeps from being told" {
  given raw = """
    id, tenure
    a,  121
    """
  expect raw fails D9999
  expect rows(stayed) == 1
}
test "no failure" {
  given raw = "id"
  expect raw fails D1104
}
test "a def" {
  given raw = """
    id, left
    a,  yes
    b,  no
    """
  step all = scored(raw)
  expect all == """
    actual, score
    true,   0.9
    false,  0.1
    """ in any order
  expect all == """
    score
    0.85
    0.12
    """ within 0.06
}
"#,
    );
    let ran = workspace.mlp(&["test"]).exits(1);
    ran.says(&[
        "FAIL  counts",
        "expect rows(stayed) == 3",
        "it has 2 rows",
        "expect rows(stayed) < 2",
        "ok    a failure that is expected",
        "FAIL  another failure, and what it keeps from being told",
        "it failed with D",
        "FAIL  no failure",
        "it did not fail",
        "ok    a def",
        "2 tests passed, 3 failed",
    ]);
}

#[test]
fn a_figure_is_compared_by_a_gate_of_the_engine() {
    let workspace = Workspace::new();
    workspace.write("data/pairs.csv", "not the rows of the test");
    workspace.write(
        "m.mlp",
        r#"pipeline m
schema Pair { id: int key, x: float, y: bool label }
source pairs = csv.read("data/pairs.csv", schema: Pair)
step parts   = table.split_rows(pairs, every: 2, at: 1)
step model   = torch.train(parts.train, target: y, net: torch.logistic())
step quality = eval.binary(model, parts.test)
gate good { floor quality.auc >= 0.9 }
release m = model when good
test "a model" {
  given pairs = """
    x, y
    1, yes
    2, yes
    3, no
    4, no
    """
  expect quality.rows == 2
  expect quality.auc == 1
  expect quality.rows > 1 + 1
  expect quality.rows == 3
}
"#,
    );
    let ran = workspace.mlp(&["test"]).exits(1);
    let ran =
        ran.says(&["m.mlp:19: expect quality.rows > 1 + 1", "m.mlp:20: expect quality.rows == 3", "quality.rows is 2"]);
    assert_eq!(ran.stdout.matches(": expect ").count(), 2, "{ran}");
}

#[test]
fn a_loop_over_the_values_of_given_rows_is_unfolded() {
    let workspace = with_tests(
        r#"
for plan in values(raw.plan) as by_plan {
  step chosen = table.where(raw, column: plan, equals: plan)
  step table  = csv.write(chosen)
}
step counted_all = sh("cat in/* | wc -l > {n}", inputs: by_plan.table, outputs: { n: file })
step again       = csv.read(counted_all, schema: Count)
schema Count closed { "4": int }
test "each plan has a table" {
  given raw = """
    id, plan
    a,  basic
    b,  plus
    """
  expect rows(again) == 0
}
"#,
    );
    workspace.mlp(&["test"]).exits(0);
}

#[test]
fn a_file_that_does_not_check_and_no_tests_at_all_are_told_apart() {
    let workspace = with_tests(&STAYED.replace("rows(stayed)", "rows(stayd)"));
    workspace.mlp(&["check", "small.mlp"]).exits(2).says(&["E0202", "did you mean `stayed`?"]);
    workspace.mlp(&["test"]).exits(2).says(&["E0202", "1 file does not check"]);
    let told = workspace.json(&["test"]);
    assert_eq!((&told["ok"], &told["files"][0]["checks"]), (&Value::Bool(false), &Value::Bool(false)));

    let workspace = small_pipeline();
    workspace.mlp(&["test"]).exits(2).says(&["there are no tests"]);
    let workspace = with_tests(STAYED);
    workspace.mlp(&["test", "--filter", "LESS THAN"]).exits(0);
    workspace.mlp(&["test", "--filter", "more than"]).exits(2).says(&["no test has a name with \"more than\" in it"]);
    workspace.mlp(&["test", "none.mlp"]).exits(2).says(&["cannot read `none.mlp`"]);
}

#[test]
fn a_module_has_tests_of_its_defs() {
    let workspace = Workspace::new();
    workspace.write(
        "lib/rows.mlp",
        r#"//! What is done with rows.
schema Row { id: str key, n: int }
def large(rows: table, least: int = 3) {
  step chosen = sql("select id, n from rows where n >= 3", { rows })
  result = chosen
}
test "small ones are left out" {
  given rows: Row = """
    id, n
    a,  2
    b,  3
    """
  step done = large(rows)
  expect done == """
    id, n
    b,  3
    """
}
"#,
    );
    workspace.mlp(&["test"]).exits(0).says(&["lib/rows.mlp", "1 test passed"]);
}

#[test]
fn the_tests_of_the_standard_modules_pass() {
    let workspace = Workspace::new();
    for (name, text) in mlp_stdlib::MODULES {
        workspace.write(&format!("std/{name}.mlp"), text);
    }
    workspace.mlp(&["test"]).exits(0).says(&["std/evaluation.mlp", " 0 failed"]);
}

#[test]
fn a_report_for_build_servers_is_junit_xml() {
    let workspace =
        with_tests(&format!("{STAYED}{}", STAYED.replace("\"customers of", "\"wrong <&> of").replace("== 2", "== 7")));
    workspace.mlp(&["test", "--junit", "out/report.xml"]).exits(1);
    let report = workspace.read("out/report.xml");
    for part in [
        "<testsuites name=\"mlp\" tests=\"2\" skipped=\"0\" failures=\"1\" errors=\"0\"",
        "<testsuite name=\"small.mlp\" tests=\"2\"",
        "name=\"wrong &lt;&amp;&gt; of less than three months are left out\"",
        "classname=\"small.mlp\"",
        "<failure message=\"expect rows(stayed) == 7: it has 2 rows\"",
    ] {
        assert!(report.contains(part), "{part}\n{report}");
    }
}

#[test]
fn the_tests_of_the_reference_pipelines_pass() {
    for name in ["churn", "demand"] {
        let workspace = Workspace::with_pipeline(name);
        workspace.mlp(&["test", name]).exits(0).says(&[" 0 failed"]);
    }
}
