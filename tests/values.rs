//! Values for parameters: command line, environment, profiles of `mlp.yaml`, and the file's own, in this order.

mod support;

use support::{Ran, Workspace};

const SETTINGS: &str = "owner_idle_seconds: 0
profile: dev
profiles:
  dev:
    params: { rounds: 1 }
  prod:
    params:
      lr: 0.01
      horizon: 28   # of another pipeline
    pipelines:
      small: { rounds: 200 }
      demand: { rounds: 7 }
";

/// A workspace with profiles and two pipelines; `small` prints its values.
fn workspace() -> Workspace {
    let workspace = Workspace::new();
    workspace.write("mlp.yaml", SETTINGS);
    workspace.write("demand.mlp", "pipeline demand\nparam horizon: int = 14\nparam rounds: int = 3\n");
    workspace.write(
        "small.mlp",
        r#"pipeline small

param rounds: int   = 30 in 1..=500
param lr:     float = 0.1
param seed:   int   = 7

step said = sh("echo " + rounds + " " + lr + " " + seed + " > {text}", outputs: { text: file })
"#,
    );
    workspace
}

/// Runs a command with variables of the environment.
fn with(workspace: &Workspace, variables: &[(&str, &str)], args: &[&str]) -> Ran {
    let mut command = workspace.command(args);
    command.envs(variables.iter().copied());
    Ran::of(args, command.output().expect("mlp starts"))
}

#[test]
fn every_value_is_shown_with_who_gives_it() {
    let workspace = workspace();
    let ran = with(&workspace, &[("MLP_PARAM_seed", "8")], &["plan", "small.mlp", "--values", "--profile", "prod"]);
    let expected = "values of small, profile prod
  rounds = 200   profile prod, mlp.yaml:11
  lr = 0.01      profile prod, mlp.yaml:8
  seed = 8       MLP_PARAM_seed
";
    assert_eq!(ran.exits(0).stdout, expected);
    let ran = with(&workspace, &[("MLP_PARAM_seed", "8")], &["plan", "small.mlp", "--values", "--param", "seed=9"]);
    let expected = "values of small, profile dev
  rounds = 1   profile dev, mlp.yaml:5
  lr = 0.1     default, small.mlp:4
  seed = 9     --param
";
    assert_eq!(ran.exits(0).stdout, expected);
    assert!(!workspace.path(".mlp").exists(), "values are shown without a store");

    let document = workspace.json(&["plan", "small.mlp", "--values", "--profile=prod", "--param", "seed=9"]);
    assert_eq!((&document["pipeline"], &document["profile"]), (&"small".into(), &"prod".into()));
    let values = document["values"].as_array().expect("a list");
    let by: Vec<_> = values.iter().map(|value| (value["name"].as_str(), value["by"].as_str())).collect();
    assert_eq!(
        by,
        [(Some("rounds"), Some("profile")), (Some("lr"), Some("profile")), (Some("seed"), Some("command line"))]
    );
    assert_eq!((&values[0]["value"], &values[0]["file"]), (&"200".into(), &"mlp.yaml".into()));
    assert_eq!((&values[0]["line"], &values[0]["column"]), (&11.into(), &24.into()));
}

#[test]
fn the_more_important_value_counts() {
    let workspace = workspace();
    let said = |variables: &[(&str, &str)], more: &[&str]| {
        let args = [&["run", "small.mlp"][..], more].concat();
        with(&workspace, variables, &args).exits(0);
        let shown = with(&workspace, variables, &[&["plan", "small.mlp", "--values", "--json"][..], more].concat());
        let document: serde_json::Value = serde_json::from_str(&shown.stdout).expect("JSON");
        document["values"][0]["value"].as_str().expect("a value").to_owned()
    };
    assert_eq!(said(&[], &[]), "1", "the default profile");
    assert_eq!(said(&[("MLP_PROFILE", "prod")], &[]), "200", "the profile of the environment");
    assert_eq!(said(&[("MLP_PROFILE", "prod")], &["--profile", "dev"]), "1", "the profile of the command line");
    assert_eq!(said(&[("MLP_PARAM_rounds", "60")], &["--profile", "prod"]), "60", "the environment before a profile");
    assert_eq!(said(&[("MLP_PARAM_rounds", "60")], &["--param", "rounds=61"]), "61", "the command line before all");
    workspace.write("mlp.yaml", "owner_idle_seconds: 0\n");
    assert_eq!(said(&[], &[]), "30", "the file's own");
}

/// Whether a run was answered from what is kept, without looking at the pipeline.
fn is_kept(ran: &Ran) -> bool {
    ran.events()[0]["recorded"] == false
}

#[test]
fn a_kept_answer_holds_for_its_values_only() {
    let workspace = workspace();
    let run = |variables: &[(&str, &str)], more: &[&str]| {
        with(&workspace, variables, &[&["run", "small.mlp", "--json"][..], more].concat()).exits(0)
    };
    run(&[], &[]);
    run(&[], &[]);
    assert!(is_kept(&run(&[], &[])));
    let prod = run(&[], &["--profile", "prod"]);
    assert_eq!((is_kept(&prod), prod.executed()), (false, vec!["said".to_owned()]));
    // A new result is a doubt; without one, going back and forth makes no answer stale.
    run(&[], &[]);
    run(&[], &["--profile", "prod"]);
    for _ in 0..2 {
        assert!(is_kept(&run(&[], &[])));
        assert!(is_kept(&run(&[], &["--profile", "prod"])));
    }
    assert_eq!(run(&[("MLP_PARAM_seed", "8")], &[]).executed(), ["said"]);
    assert_eq!(run(&[("MLP_PROFILE", "prod"), ("MLP_PARAM_seed", "8")], &[]).executed(), ["said"]);
    assert_eq!(run(&[], &[]).executed(), [""; 0]);

    // The same question, but other settings, or a pipeline that a value was for is gone.
    workspace.edit("mlp.yaml", "rounds: 1 ", "rounds: 2 ");
    assert_eq!(run(&[], &[]).executed(), ["said"]);
    std::fs::remove_file(workspace.path("demand.mlp")).expect("it was there");
    with(&workspace, &[], &["run", "small.mlp", "--profile", "prod"]).exits(2).says(&["horizon", "mlp.yaml:9"]);
}

#[test]
fn mistakes_in_a_profile_are_all_told_with_their_places() {
    let workspace = workspace();
    workspace.write(
        "mlp.yaml",
        "profiles:\n  prod:\n    params: { seed: often, horizont: 7 }\n    pipelines:\n      small: { rounds: 900, lrr: 0.1 }\n      smal: { lr: 1 }\n",
    );
    for command in ["check", "plan", "run", "graph", "verify", "lint"] {
        let ran = workspace.mlp(&[command, "small.mlp", "--profile", "prod"]).exits(2);
        ran.says(&[
            "`seed: \"often\"` of profile `prod`: `\"often\"` is not of type `int`",
            "mlp.yaml:3:21",
            "no pipeline of the workspace has a parameter `horizont`",
            "`rounds: 900` of profile `prod`: it must be `in 1..=500`",
            "mlp.yaml:5:24",
            "the pipeline has no parameter `lrr`",
            "no pipeline of the workspace is called `smal`",
            "did you mean `small`?",
        ]);
    }
    let ran = workspace.mlp(&["check", "small.mlp", "--profile", "prod", "--json"]).exits(2);
    let document: serde_json::Value = serde_json::from_str(&ran.stdout).expect("one document");
    assert_eq!(document["ok"], false);
    let places: Vec<_> = document["diagnostics"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|d| (d["file"].as_str().unwrap_or_default(), d["line"].as_u64().unwrap_or_default()))
        .collect();
    assert_eq!(places, [("mlp.yaml", 3), ("mlp.yaml", 3), ("mlp.yaml", 5), ("mlp.yaml", 5), ("mlp.yaml", 6)]);
}

#[test]
fn a_profile_that_there_is_not_is_refused() {
    let workspace = workspace();
    workspace.mlp(&["run", "small.mlp", "--profile", "prd"]).exits(2).says(&["`prd`", "did you mean `prod`?"]);
    with(&workspace, &[("MLP_PROFILE", "ci")], &["plan", "small.mlp"]).exits(2).says(&["MLP_PROFILE", "`ci`"]);
    workspace.write("mlp.yaml", "profile: dev\n");
    workspace.mlp(&["runs"]).exits(2).says(&["mlp.yaml:1:10: there is no profile `dev`"]);
    std::fs::remove_file(workspace.path("mlp.yaml")).expect("it was there");
    workspace.mlp(&["check", "small.mlp", "--profile", "dev"]).exits(2).says(&["has no mlp.yaml", "profiles:"]);
}

#[test]
fn the_environment_is_checked_like_the_command_line() {
    let workspace = workspace();
    let ran = with(&workspace, &[("MLP_PARAM_sed", "1"), ("MLP_PARAM_lr", "fast")], &["check", "small.mlp"]).exits(2);
    ran.says(&["`MLP_PARAM_lr=fast`: `fast` is not of type `float`", "`MLP_PARAM_sed`", "did you mean `seed`?"]);
    // It is no parameter here, but one of another pipeline.
    with(&workspace, &[("MLP_PARAM_horizon", "7")], &["check", "small.mlp"]).exits(0);
}

#[test]
fn two_versions_are_compared_with_the_values_of_a_profile() {
    let workspace = workspace();
    workspace.write("old.mlp", workspace.read("small.mlp").replace("param lr:     float = 0.1\n", "let lr = 0.02\n"));
    let document = workspace.json(&["diff", "old.mlp", "small.mlp", "--profile", "prod"]);
    let told = document.to_string();
    assert!(told.contains("0.02") && told.contains("0.01"), "{told}");
}
