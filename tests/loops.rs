//! Loops and conditions through the binary: rounds are known by their value, and what is skipped says why.

mod support;

use support::{Workspace, small_pipeline};

/// The small pipeline with a loop over plans.
fn by_plan(plans: &str) -> Workspace {
    let workspace = small_pipeline();
    let text = workspace.read("small.mlp");
    let (head, _) = text.split_once("step stayed").expect("it has that step");
    workspace.write(
        "small.mlp",
        format!(
            "{head}param plans: list(str) = {plans}
for plan in plans as by_plan {{
  step rows  = sql(\"select id, tenure from raw where plan = '\" + plan + \"' and tenure >= \" + least + \" order by id\", {{ raw }})
  step table = csv.write(rows)
}}
step counted = sh(\"wc -l in/* > {{n}}\", inputs: by_plan.table, outputs: {{ n: file }})
"
        ),
    );
    workspace
}

#[test]
fn a_value_more_or_in_another_place_runs_nothing_of_the_others() {
    let workspace = by_plan("[\"basic\"]");
    let ran = workspace.run("small.mlp", &[]).exits(0);
    assert_eq!(ran.executed(), ["by_plan[basic].rows", "by_plan[basic].table", "counted", "raw"]);

    let ran = workspace.run("small.mlp", &["--param", "plans=[\"plus\", \"basic\"]"]).exits(0);
    assert_eq!(ran.executed(), ["by_plan[plus].rows", "by_plan[plus].table", "counted"]);
    assert_eq!(ran.steps_of("step_reused").len(), 3);

    let ran = workspace.run("small.mlp", &["--param", "plans=[\"basic\", \"plus\"]"]).exits(0);
    assert_eq!(ran.steps().0, 0, "{ran}");
    let ran = workspace.run("small.mlp", &["--param", "plans=[\"plus\"]"]).exits(0);
    assert_eq!(ran.executed(), ["counted"], "{ran}");
}

#[test]
fn one_node_one_round_and_the_whole_loop_are_targets() {
    let workspace = by_plan("[\"basic\", \"plus\"]");
    let ran = workspace.run("small.mlp", &["by_plan[plus].rows"]).exits(0);
    assert_eq!(ran.executed(), ["by_plan[plus].rows", "raw"]);
    let ran = workspace.run("small.mlp", &["by_plan[plus]"]).exits(0);
    assert_eq!(ran.executed(), ["by_plan[plus].table"]);
    let ran = workspace.run("small.mlp", &["by_plan"]).exits(0);
    assert_eq!(ran.executed(), ["by_plan[basic].rows", "by_plan[basic].table"]);
    workspace.mlp(&["why", "small.mlp", "by_plan[basic].rows"]).exits(0).says(&["by_plan[basic].rows"]);
    workspace.run("small.mlp", &["by_plan[other]"]).exits(2).says(&["by_plan[other]"]);
}

#[test]
fn a_step_whose_condition_is_false_is_skipped_with_what_needs_it_and_the_reason() {
    let workspace = small_pipeline();
    workspace.edit("small.mlp", "csv.write(parts.test)", "csv.write(parts.test) when least > 5");
    let reason = "when least > 5 is false";
    workspace.mlp(&["plan", "small.mlp"]).exits(0).says(&[reason]);
    let ran = workspace.run("small.mlp", &[]).exits(0);
    assert_eq!((ran.executed(), ran.steps().3), (["parts", "raw", "stayed"].map(str::to_owned).to_vec(), 2));
    let skipped: Vec<_> = ran.events().into_iter().filter(|event| event["event"] == "step_skipped").collect();
    assert!(skipped.iter().all(|event| event["because"] == reason), "{ran}");
    let ran = workspace.run("small.mlp", &["--param", "least=6"]).exits(0);
    assert_eq!(ran.executed(), ["counted", "exported"]);
}
