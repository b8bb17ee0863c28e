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

/// A pipeline over one file a month.
fn by_month(months: &[&str]) -> Workspace {
    let workspace = Workspace::new();
    for month in months {
        add_month(&workspace, month);
    }
    workspace.write(
        "months.mlp",
        r#"pipeline months

schema Sale { id: str key, amount: int }

for file in files("sales/*.csv") as month {
  source rows = csv.read(file, schema: Sale)
  step large  = sql("select id, amount from rows where amount > 10 order by id", { rows })
  step table  = csv.write(large)
}
step counted = sh("cat in/* > {n}", inputs: month.table, outputs: { n: file })
"#,
    );
    workspace
}

fn add_month(workspace: &Workspace, month: &str) {
    workspace.write(&format!("sales/{month}.csv"), format!("id,amount\n{month}a,5\n{month}b,50\n"));
}

#[test]
fn a_new_or_changed_file_runs_its_own_round_alone() {
    let workspace = by_month(&["2026-01", "2026-02"]);
    let ran = workspace.run("months.mlp", &[]).exits(0);
    assert_eq!(ran.steps().0, 7, "{ran}");
    assert!(ran.executed().contains(&"month[2026-01].rows".to_owned()), "{ran}");

    add_month(&workspace, "2026-03");
    let ran = workspace.run("months.mlp", &[]).exits(0);
    assert_eq!(ran.executed(), ["counted", "month[2026-03].large", "month[2026-03].rows", "month[2026-03].table"]);

    workspace.write("sales/2026-01.csv", "id,amount\n2026-01a,50\n");
    let ran = workspace.run("months.mlp", &["month[2026-01]"]).exits(0);
    assert_eq!(ran.executed(), ["month[2026-01].large", "month[2026-01].rows", "month[2026-01].table"]);
}

#[test]
fn a_kept_answer_notices_a_new_file() {
    let workspace = by_month(&["2026-01", "2026-02"]);
    workspace.run("months.mlp", &[]).exits(0);
    // A folder must have been left alone for a while before its time stamp can be trusted.
    let mut n_tries = 0;
    loop {
        std::thread::sleep(std::time::Duration::from_millis(100));
        let ran = workspace.run("months.mlp", &[]).exits(0);
        assert_eq!(ran.steps().0, 0, "{ran}");
        if ran.events()[0]["recorded"] == false {
            break;
        }
        n_tries += 1;
        assert!(n_tries < 200, "no answer is kept: {ran}");
    }
    add_month(&workspace, "2026-03");
    let ran = workspace.run("months.mlp", &[]).exits(0);
    assert_eq!(ran.steps().0, 4, "{ran}");
    std::fs::remove_file(workspace.path("sales/2026-03.csv")).expect("a file less");
    let ran = workspace.run("months.mlp", &[]).exits(0);
    assert_eq!((ran.executed(), ran.steps().1), (Vec::new(), 7), "{ran}");
}

#[test]
fn a_pattern_without_files_is_refused_before_anything_runs() {
    let workspace = by_month(&[]);
    let told = workspace.mlp(&["check", "months.mlp"]).exits(2);
    told.says(&["E0220", "no file matches `sales/*.csv`", "`months.mlp`"]);
}
