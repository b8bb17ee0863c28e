//! The forecast: a split in time, a regression, and columns that are the answer itself.

mod support;

use support::Workspace;

const FILE: &str = "demand/demand.mlp";

#[test]
fn the_forecast_beats_its_floor_on_the_last_fifth_of_the_time() {
    let workspace = Workspace::with_pipeline("demand");
    let ran = workspace.run(FILE, &[]).exits(0);
    assert!(ran.events().iter().any(|event| event["event"] == "released"), "{ran}");
    let quality = workspace.json(&["show", FILE, "judged.quality"]);
    assert!(quality["mae"].as_f64().unwrap() <= 55.0, "{quality}");
}

#[test]
fn columns_that_are_the_answer_are_refused_as_features_all_at_once() {
    let workspace = Workspace::with_pipeline("demand");
    workspace.edit(FILE, "target: cnt,", "target: cnt, features: [hr, casual, registered, instant, temp],");
    workspace.mlp(&["check", FILE]).exits(2).says(&[
        "`casual`",
        "`registered`",
        "`instant`",
        "part of the answer",
        "the row number",
        "E0403",
    ]);
}
