//! The whole thread on real customers: from the CSV file to a released model, a worse one refused, and the way back.

mod support;

use support::{Ran, Workspace};

const FILE: &str = "churn/churn.mlp";

fn metrics(workspace: &Workspace, file: &str, step: &str) -> serde_json::Value {
    workspace.json(&["show", file, step])
}

#[track_caller]
fn assert_near(metrics: &serde_json::Value, name: &str, expected: f64, tolerance: f64) {
    let value = metrics[name].as_f64().unwrap_or_else(|| panic!("no `{name}` in {metrics}"));
    assert!((value - expected).abs() <= tolerance, "{name} is {value}, expected {expected} +- {tolerance}");
}

fn event<'a>(events: &'a [serde_json::Value], name: &str) -> Option<&'a serde_json::Value> {
    events.iter().find(|event| event["event"] == name)
}

/// The reference figures are scikit-learn's: `LogisticRegression(C=1)` on scaled numbers and one-hot categories.
#[test]
fn logistic_regression_reaches_the_figures_of_scikit_learn() {
    let workspace = Workspace::with_pipeline("churn");
    workspace.run("churn/logistic.mlp", &[]).exits(0);
    let quality = metrics(&workspace, "churn/logistic.mlp", "quality");
    assert_near(&quality, "auc", 0.8374, 0.001);
    assert_near(&quality, "log_loss", 0.4307, 0.001);
    assert_near(&quality, "rows", 1408.0, 0.0);
}

#[test]
fn a_model_is_released_a_worse_one_is_refused_and_a_rollback_holds() {
    let workspace = Workspace::with_pipeline("churn");

    let first = workspace.run(FILE, &[]).exits(0);
    let released = first.events();
    let released = event(&released, "released").unwrap_or_else(|| panic!("{first}"));
    assert_eq!(released["version"], 1);
    let quality = metrics(&workspace, FILE, "quality");
    assert!(quality["auc"].as_f64().unwrap() >= 0.835, "{quality}");

    let again = workspace.run(FILE, &[]).exits(0);
    assert_eq!(event(&again.events(), "release_kept").map(|e| e["version"].clone()), Some(1.into()), "{again}");

    // A worse model: refused, with both figures on the same rows, and v1 untouched.
    let worse = workspace.run(FILE, &["--param", "epochs=1"]).exits(10);
    assert_eq!(worse.finished()["status"], "refused");
    let events = worse.events();
    let checks = &event(&events, "gate_refused").unwrap()["checks"];
    let better = checks.as_array().unwrap().iter().find(|check| check["name"] == "better").unwrap();
    let (new, champion) = (&better["metrics"]["quality.auc"], &better["metrics"]["before.auc"]);
    assert!(new.as_f64().unwrap() < champion.as_f64().unwrap() - 0.005, "{better}");
    assert_eq!(champion.as_f64(), quality["auc"].as_f64(), "the champion is scored on the same rows");
    assert_eq!(live_version(&workspace), 1);
    let shown = workspace.mlp(&["run", FILE, "--param", "epochs=1"]).exits(10);
    let figure = |x: &serde_json::Value| format!("{:.4}", x.as_f64().unwrap());
    shown.says(&["refused", "quality.auc", "before.auc", &figure(new), &figure(champion)]);

    // `why` names the parameter with both values.
    workspace.mlp(&["why", FILE, "model", "--param", "epochs=1"]).exits(0).says(&["epochs", "30", "1"]);

    // Another model that passes becomes v2; the way back is v1, and v2 is held.
    let second = workspace.run(FILE, &["--param", "epochs=31"]).exits(0);
    let events = second.events();
    assert_eq!(event(&events, "released").map(|e| e["version"].clone()), Some(2.into()), "{second}");
    workspace.mlp(&["models", "rollback", "churn", "--reason", "a drill"]).exits(0);
    assert_eq!(live_version(&workspace), 1);
    let held = workspace.run(FILE, &["--param", "epochs=31"]).exits(0);
    assert_eq!(event(&held.events(), "release_held").map(|e| e["version"].clone()), Some(2.into()), "{held}");
    assert_eq!(live_version(&workspace), 1);
    workspace.mlp(&["models", "unhold", "churn@2"]).exits(0);
    workspace.run(FILE, &["--param", "epochs=31"]).exits(0);
    assert_eq!(live_version(&workspace), 2);
}

fn live_version(workspace: &Workspace) -> u64 {
    let models = workspace.json(&["models"]);
    models[0]["live"].as_u64().unwrap_or_else(|| panic!("{models}"))
}

#[test]
fn a_changed_tenure_runs_what_depends_on_it_and_epochs_only_the_training() {
    let workspace = Workspace::with_pipeline("churn");
    workspace.run(FILE, &[]).exits(0);

    let ran = workspace.run(FILE, &["--param", "epochs=29"]).exits(0);
    let executed = ran.executed();
    assert!(executed.contains(&"model".to_owned()) && executed.contains(&"quality".to_owned()), "{ran}");
    assert!(!executed.iter().any(|step| ["raw", "clean", "parts"].contains(&step.as_str())), "{ran}");

    // Line 3 of the file is row 1: it goes to train. The test part keeps its bytes, so the champion is not scored again.
    workspace.edit("churn/data/telco.csv", "5575-GNVDE,Male,0,No,No,34,", "5575-GNVDE,Male,0,No,No,35,");
    let ran = workspace.run(FILE, &["--param", "epochs=29"]).exits(0);
    let executed = ran.executed();
    for step in ["raw", "clean", "parts", "model", "quality"] {
        assert!(executed.contains(&step.to_owned()), "{step}: {ran}");
    }
    assert!(!executed.contains(&"before.predictions".to_owned()), "{ran}");
}

#[test]
fn lineage_leads_from_the_released_model_to_the_bytes_of_its_source() {
    let workspace = Workspace::with_pipeline("churn");
    let ran: Ran = workspace.run(FILE, &[]).exits(0);
    let run = ran.finished()["run"].as_str().unwrap().to_owned();
    let told = workspace.mlp(&["lineage", "churn"]).exits(0);
    told.says(&[
        "data/telco.csv",
        "wasm.map",
        "transforms/clean.py",
        "torch.train",
        "epochs",
        "libtorch",
        "threads",
        &run,
    ]);
    let lineage = workspace.json(&["lineage", "churn@1"]).to_string();
    let bytes = blake3_of(&workspace, "churn/data/telco.csv");
    assert!(lineage.contains(&bytes), "the digest of the source is not in {lineage}");
}

fn blake3_of(workspace: &Workspace, name: &str) -> String {
    mlp_model::Digest::of(workspace.read(name).as_bytes()).to_string()
}

/// A customer id may stand in objects only: not in the journal, the index, a log, an event or a message.
#[test]
fn no_customer_id_leaves_the_objects() {
    let planted = "9999-PLANTED";
    let workspace = Workspace::with_pipeline("churn");
    workspace.edit("churn/data/telco.csv", "5575-GNVDE", planted);
    let mut told = String::new();
    let mut keep = |ran: Ran| told.push_str(&format!("{}{}", ran.stdout, ran.stderr));
    keep(workspace.run(FILE, &[]).exits(0));
    keep(workspace.mlp(&["show", FILE, "raw", "-n", "5"]).exits(0));
    keep(workspace.mlp(&["log"]).exits(0));
    keep(workspace.mlp(&["lineage", "churn"]).exits(0));
    // Its row breaks the schema twice, and its id comes twice.
    let row = workspace.read("churn/data/telco.csv").lines().find(|l| l.starts_with(planted)).unwrap().to_owned();
    let broken = row.replace(",34,", ",-34,").replace("One year", "Forever");
    workspace.edit("churn/data/telco.csv", &row, &format!("{broken}\n{row}"));
    keep(workspace.run(FILE, &[]).exits(12));
    keep(workspace.mlp(&["log"]).exits(0));
    assert!(told.contains("tenure"), "the violations are told");
    assert!(!told.contains(planted), "an output tells the id: {told}");
    let mut n_files = 0;
    each_file(&workspace.path(".mlp"), &mut |path, bytes| {
        n_files += 1;
        let inside_objects = path.strip_prefix(workspace.path(".mlp/objects")).is_ok();
        let found = bytes.windows(planted.len()).any(|window| window == planted.as_bytes());
        assert!(inside_objects || !found, "{} holds the id", path.display());
    });
    assert!(n_files > 10);
}

fn each_file(folder: &std::path::Path, visit: &mut dyn FnMut(&std::path::Path, &[u8])) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            each_file(&path, visit);
        } else if path.is_file() {
            visit(&path, &std::fs::read(&path).unwrap());
        }
    }
}
