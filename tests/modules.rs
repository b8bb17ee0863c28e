//! Defs and modules through the binary: where steps are written is no part of what they do.

mod support;

use support::{Workspace, small_pipeline};

const BODY: &str = "(rows: table, least: int = 3) {
  step stayed   = sql(\"select id, tenure, plan, \\\"left\\\" from rows where tenure >= 3 order by id\", { rows })
  step parts    = table.split_rows(stayed, every: 5, at: 4)
  step exported = csv.write(parts.test)
  result { parts, exported }
}
";

/// The small pipeline with its middle in a def.
fn with_def() -> Workspace {
    let workspace = small_pipeline();
    let text = workspace.read("small.mlp");
    let (head, _) = text.split_once("step stayed").expect("it has that step");
    let text = format!(
        "{head}def prepare{BODY}
step ready   = prepare(raw)
step counted = sh(\"wc -l < {{rows}} > {{n}}\", inputs: {{ rows: ready.exported }}, outputs: {{ n: file }})
"
    );
    workspace.write("small.mlp", text);
    workspace
}

#[test]
fn what_is_moved_renamed_or_written_out_by_hand_runs_nothing_again() {
    let workspace = with_def();
    let first = workspace.run("small.mlp", &[]).exits(0);
    assert_eq!(first.executed(), ["counted", "raw", "ready.exported", "ready.parts", "ready.stayed"]);

    workspace.edit("small.mlp", "def prepare", "def tidy").edit("small.mlp", "= prepare(raw)", "= tidy(rows: raw)");
    assert_eq!(workspace.run("small.mlp", &[]).exits(0).steps(), (0, 5, 0, 0), "renamed");

    workspace.edit("small.mlp", &format!("def tidy{BODY}"), "use \"lib/rows.mlp\" as rows\n");
    workspace.edit("small.mlp", "= tidy(", "= rows.prepare(");
    workspace.write("lib/rows.mlp", format!("//! What is done with rows.\ndef prepare{BODY}"));
    assert_eq!(workspace.run("small.mlp", &[]).exits(0).steps(), (0, 5, 0, 0), "moved into a module");

    std::fs::create_dir(workspace.path("shared")).unwrap();
    std::fs::rename(workspace.path("lib/rows.mlp"), workspace.path("shared/r.mlp")).unwrap();
    workspace.edit("small.mlp", "lib/rows.mlp", "shared/r.mlp");
    assert_eq!(workspace.run("small.mlp", &[]).exits(0).steps(), (0, 5, 0, 0), "moved module");

    workspace.edit("small.mlp", "use \"shared/r.mlp\" as rows\n", "");
    workspace.edit(
        "small.mlp",
        "step ready   = rows.prepare(rows: raw)",
        "step stayed   = sql(\"select id, tenure, plan, \\\"left\\\" from rows where tenure >= 3 order by id\", { rows: raw })
step parts    = table.split_rows(stayed, every: 5, at: 4)
step exported = csv.write(parts.test)",
    );
    workspace.edit("small.mlp", "ready.exported", "exported");
    assert_eq!(workspace.run("small.mlp", &[]).exits(0).steps(), (0, 5, 0, 0), "written out by hand");
}

#[test]
fn a_call_of_a_def_is_a_target_as_a_whole_and_in_its_steps() {
    let workspace = with_def();
    let ran = workspace.run("small.mlp", &["ready.stayed"]).exits(0);
    assert_eq!(ran.executed(), ["raw", "ready.stayed"]);
    let ran = workspace.run("small.mlp", &["ready"]).exits(0);
    assert_eq!(ran.executed(), ["ready.exported", "ready.parts"]);
    let ran = workspace.run("small.mlp", &["--force", "ready"]).exits(0);
    assert_eq!(ran.executed(), ["counted", "ready.exported", "ready.parts", "ready.stayed"]);
    workspace.mlp(&["why", "small.mlp", "ready.parts"]).exits(0);
    workspace.mlp(&["plan", "small.mlp", "read"]).exits(2).says(&["has no step `read`"]);
}

#[test]
fn a_mistake_in_a_module_is_shown_in_both_files() {
    let workspace = with_def();
    workspace.edit("small.mlp", &format!("def prepare{BODY}"), "use \"lib/rows.mlp\" as lib\n");
    workspace.edit("small.mlp", "= prepare(", "= lib.prepare(");
    workspace.write("lib/rows.mlp", format!("def prepare{}", BODY.replace("tenure >= 3", "tenur >= 3")));
    let ran = workspace.mlp(&["check", "small.mlp"]).exits(2);
    ran.says(&["tenur", "lib/rows.mlp:2:", "small.mlp:", "called here"]);
    workspace.edit("small.mlp", "lib/rows.mlp", "lib/none.mlp");
    workspace.mlp(&["check", "small.mlp"]).exits(2).says(&["cannot read module `lib/none.mlp`: file not found"]);
}
