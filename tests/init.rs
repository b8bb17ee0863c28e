//! `mlp init`: each template runs as it is created, a second time reuses all, and nothing that is there is touched.

mod support;

use support::Workspace;

/// Runs a template end to end, twice.
fn runs_as_created(name: &str) {
    let workspace = Workspace::new();
    workspace.mlp(&["init", name]).exits(0).says(&[&format!("mlp run {name}/{name}.mlp")]);
    let file = format!("{name}/{name}.mlp");
    workspace.mlp(&["fmt", "--check", &file]).exits(0);
    workspace.mlp(&["lint", &file]).exits(0).says(&["no doubts"]);
    let first = workspace.run(&file, &[]).exits(0);
    let (executed, _, failed, _) = first.steps();
    assert!(executed >= 4 && failed == 0, "{first}");
    assert!(first.events().iter().any(|event| event["event"] == "released"), "{first}");
    // Before the first release nothing was judged as a champion; from then on nothing changes.
    workspace.run(&file, &[]).exits(0);
    let again = workspace.run(&file, &[]).exits(0);
    let (executed, reused, failed, skipped) = again.steps();
    assert!(executed == 0 && reused >= 5 && failed == 0 && skipped == 0, "{again}");
}

#[test]
fn the_churn_template_runs_as_created() {
    runs_as_created("churn");
}

#[test]
fn the_demand_template_runs_as_created() {
    runs_as_created("demand");
}

#[test]
fn the_fraud_template_runs_as_created() {
    runs_as_created("fraud");
}

#[test]
fn the_image_template_runs_as_created() {
    runs_as_created("image");
}

#[test]
fn the_templates_keep_what_must_not_be_learned_from_out_of_their_models() {
    for (name, from, to, said) in [
        ("churn", "target: left,", "target: left, features: [win_back_call],", "E0312"),
        ("demand", "target: sold,", "target: sold, features: [takings],", "the answer times the price"),
        ("fraud", "target: fraud,", "target: fraud, features: [refunded],", "known weeks later"),
        (
            "image",
            "table.split_groups(pictures, by: part, test: 0.25, seed: 7)",
            "table.split(pictures, test: 0.25, seed: 7)",
            "`part`",
        ),
    ] {
        let workspace = Workspace::new();
        workspace.mlp(&["init", name]).exits(0);
        let file = format!("{name}/{name}.mlp");
        workspace.edit(&file, from, to);
        workspace.mlp(&["check", &file]).exits(2).says(&[said]);
    }
    // A rating that is joined without looking at the time may be there because of the fraud.
    let workspace = Workspace::new();
    workspace.mlp(&["init", "fraud"]).exits(0);
    workspace
        .edit("fraud/fraud.mlp", "as_of: at, time: received, unmatched: refuse", "cardinality: many_to_many")
        .edit("fraud/fraud.mlp", "target: fraud,", "target: fraud, features: [amount, trust],");
    workspace.mlp(&["check", "fraud/fraud.mlp"]).exits(2).says(&["`trust`", "is known only at `received`"]);
}

#[test]
fn init_lists_templates_and_overwrites_nothing() {
    let workspace = Workspace::new();
    workspace.mlp(&["init", "--list"]).exits(0).says(&["churn", "demand", "fraud", "image"]);
    assert_eq!(workspace.json(&["init", "--list"])["templates"].as_array().expect("a list").len(), 4);
    workspace.mlp(&["init", "fruad"]).exits(2).says(&["no template `fruad`", "did you mean `fraud`?"]);

    workspace.write("churn/data/customers.csv", "mine");
    let refused = workspace.mlp(&["init", "churn"]).exits(2);
    refused.says(&["`churn/data/customers.csv` is there already", "nothing was written", "--dir"]);
    assert_eq!(workspace.read("churn/data/customers.csv"), "mine");
    assert!(!workspace.path("churn/churn.mlp").exists());
    workspace.mlp(&["init", "churn", "--dir", "teams/a b"]).exits(0);
    workspace.mlp(&["check", "teams/a b/churn.mlp"]).exits(0);
    workspace.mlp(&["init", "churn", "--dir", "teams/a b"]).exits(2);
    workspace.write("plain", "a file");
    workspace.mlp(&["init", "churn", "--dir", "plain"]).exits(2).says(&["plain"]);
    assert_eq!(workspace.read("mlp.yaml"), "owner_idle_seconds: 0\n", "a workspace keeps its settings");

    // Alone it marks a workspace.
    workspace.mlp(&["init"]).exits(2).says(&["a workspace already"]);
    std::fs::remove_file(workspace.path("mlp.yaml")).expect("there");
    workspace.mlp(&["init"]).exits(0).says(&["made mlp.yaml", "churn"]);
    workspace.mlp(&["check", "teams/a b/churn.mlp"]).exits(0);
    std::fs::remove_file(workspace.path("mlp.yaml")).expect("there");
    let told = workspace.json(&["init", "image"]);
    assert_eq!(told["files"].as_array().expect("a list").last(), Some(&"mlp.yaml".into()), "{told}");
}
