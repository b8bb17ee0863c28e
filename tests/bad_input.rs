//! Every kind of bad input ends with a message that names the thing, and with its exit code; the store stays whole.

mod support;

use support::{Workspace, small_pipeline};

/// Checks that after a refusal the pipeline, mended, runs to its end and then is up to date.
fn recovers(workspace: &Workspace) {
    workspace.run("small.mlp", &[]).exits(0);
    assert_eq!(workspace.run("small.mlp", &[]).exits(0).steps().0, 0);
}

#[test]
fn mistakes_in_the_file_are_all_told_at_once_and_nothing_runs() {
    let workspace = small_pipeline();
    let good = workspace.read("small.mlp");
    workspace
        .edit("small.mlp", "data/customers.csv", "data/custmers.csv")
        .edit("small.mlp", "every: 5", "evry: 5")
        .edit("small.mlp", "= 3 in 0..=72", "= 99 in 0..=72");
    workspace.mlp(&["run", "small.mlp"]).exits(2).says(&[
        "cannot read `data/custmers.csv`",
        "file not found",
        "did you mean `every`?",
        "99",
        "small.mlp:",
    ]);
    assert!(!workspace.path(".mlp/journal").exists(), "nothing was started");
    workspace.write("small.mlp", good);
    recovers(&workspace);
}

#[test]
fn a_file_that_is_missing_or_not_text_is_named() {
    let workspace = Workspace::new();
    workspace.mlp(&["check", "nowhere.mlp"]).exits(2).says(&["nowhere.mlp", "not found"]);
    workspace.write("latin.mlp", b"pipeline caf\xe9\n");
    workspace.mlp(&["check", "latin.mlp"]).exits(2).says(&["latin.mlp", "UTF-8"]);
}

#[test]
fn wrong_columns_cycles_duplicates_and_parameters_are_refused_by_check() {
    let workspace = small_pipeline();
    let good = workspace.read("small.mlp");
    let cases: &[(&str, &str, &[&str])] = &[
        ("select id, tenure", "select id, tenur", &["tenur", "did you mean", "tenure"]),
        ("csv.write(parts.test)", "csv.write(exported)", &["exported"]),
        (
            "{ raw })",
            "{ raw: looped })\nstep looped = sql(\"select * from raw\", { raw: stayed })",
            &["depend on each other", "stayed", "looped"],
        ),
        ("step counted ", "step raw ", &["`raw` is declared twice"]),
        ("= 3 in 0..=72", "= 99 in 0..=72", &["least", "99", "72"]),
    ];
    for (from, to, texts) in cases {
        workspace.write("small.mlp", &good).edit("small.mlp", from, to);
        workspace.mlp(&["check", "small.mlp"]).exits(2).says(texts);
    }
    workspace.write("small.mlp", &good);
    workspace.mlp(&["check", "small.mlp", "--param", "least=73"]).exits(2).says(&["least", "73", "72"]);
    workspace.mlp(&["check", "small.mlp", "--param", "lest=7"]).exits(2).says(&["lest", "did you mean `least`?"]);
    workspace.mlp(&["check", "small.mlp"]).exits(0);
}

#[test]
fn data_that_breaks_its_schema_is_refused_at_the_door_with_rows_and_rules() {
    let workspace = small_pipeline();
    let good = workspace.read("data/customers.csv");
    let mut bad = good.clone();
    for i in 10..40 {
        bad = bad.replace(&format!("\nc{i:03},"), &format!("\nc{i:03},9"));
    }
    workspace.write("data/customers.csv", &bad);
    let ran = workspace.mlp(&["run", "small.mlp"]).exits(12);
    assert!(!ran.stderr.contains("c010"), "a personal value is told: {ran}");
    ran.says(&["tenure", "D1", "910", "30", "12"]);
    assert_eq!(workspace.run("small.mlp", &[]).exits(12).finished()["status"], "rejected");

    workspace
        .write("data/customers.csv", good.replace("c050,50,basic", "c050,50,basic,extra").replace("c060,60", "c060"));
    workspace.mlp(&["run", "small.mlp"]).exits(12).says(&["52", "62", "4 cells"]);

    workspace.write("data/customers.csv", good.replace("id,tenure", "id,tenor"));
    workspace.mlp(&["run", "small.mlp"]).exits(12).says(&["tenor", "tenure"]);

    let mut latin = good.clone().into_bytes();
    latin.extend(b"c999,5,b\xe4sic,Yes\n");
    workspace.write("data/customers.csv", latin);
    workspace.mlp(&["run", "small.mlp"]).exits(12).says(&["UTF-8", "line 202"]);

    workspace.write("data/customers.csv", good);
    recovers(&workspace);
}

#[test]
fn a_program_that_fails_or_delivers_nothing_is_told_with_its_last_words() {
    let workspace = small_pipeline();
    let good = workspace.read("small.mlp");
    workspace.edit("small.mlp", "wc -l < {rows} > {n}", "echo cannot go on >&2; cat {rows} > {n}; exit 3");
    workspace.mlp(&["run", "small.mlp"]).exits(1).says(&["step `counted`", "exit code 3", "cannot go on"]);
    workspace.write("small.mlp", &good).edit("small.mlp", "wc -l < {rows} > {n}", "echo {rows} {n}");
    workspace.mlp(&["run", "small.mlp"]).exits(1).says(&["step `counted`", "`n`"]);
    workspace.write("small.mlp", &good).edit("small.mlp", "wc -l < {rows} > {n}", "kill -SEGV $$; echo {rows} {n}");
    workspace.mlp(&["run", "small.mlp"]).exits(1).says(&["step `counted`", "SIGSEGV"]);
    let failed = workspace.run("small.mlp", &[]).exits(1);
    assert_eq!(failed.steps(), (0, 4, 1, 0), "finished work is kept: {failed}");
    workspace.write("small.mlp", good);
    recovers(&workspace);
}

#[test]
fn unknown_targets_runs_and_models_are_named_with_what_there_is() {
    let workspace = small_pipeline();
    workspace.mlp(&["run", "small.mlp", "part"]).exits(2).says(&["part", "did you mean `parts`?"]);
    workspace.run("small.mlp", &[]).exits(0);
    workspace.mlp(&["log", "zzz"]).exits(2).says(&["no run begins with `zzz`"]);
    workspace.mlp(&["show", "nosuch"]).exits(2).says(&["nosuch"]);
    workspace.mlp(&["models", "rollback", "nosuch"]).exits(2).says(&["nosuch"]);
    workspace.mlp(&["why", "small.mlp", "part"]).exits(2).says(&["part", "did you mean `parts`?"]);
}

#[test]
fn a_broken_settings_file_is_refused() {
    let workspace = small_pipeline();
    workspace.write("mlp.yaml", "jbs: 3\n");
    workspace.mlp(&["run", "small.mlp"]).exits(2).says(&["mlp.yaml", "jbs"]);
}
