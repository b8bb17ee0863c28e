//! From a released model back to the bytes of its sources, and forward from them.

use mlp_engine::{Direction, Fact, Lineage, LineageError, LineageStart, ObjectCount, ReleaseOutcome};
use mlp_model::{Digest, NodeKind, Part, Pipeline, Release, Type, Value};

use crate::support::*;

/// raw -> clean (same bytes) -> model, released as `churn` with a threshold.
fn churn(desk: &Desk, epochs: i64) -> Pipeline {
    desk.write("telco.csv", "a\nb\n");
    let parts = [
        ("model".to_owned(), Part::Output { node: 2, output: "out".into() }),
        ("cut".to_owned(), Part::Value(Value::Float(0.5))),
    ];
    let release = Release { name: "churn".into(), parts: parts.into(), gates: vec![] };
    pipeline(vec![
        step("raw", "read", &[("file", desk.file("telco.csv"))], &[], table()),
        step("clean", "join", &[("data", out(0))], &[], table()),
        step("model", "join", &[("data", out(1)), ("first", out(0))], &[("epochs", Value::Int(epochs))], model()),
        node("churn", NodeKind::Release(release)),
    ])
}

/// Prints a lineage as an indented tree.
fn tree(lineage: &Lineage) -> Vec<String> {
    fn add(lineage: &Lineage, label: &str, node: usize, depth: usize, lines: &mut Vec<String>) {
        let fact = match &lineage.nodes[node].fact {
            Fact::Release { release, version, .. } => format!("{release}@{version}"),
            Fact::Artifact { artifact, present, .. } => {
                let kind = artifact.map_or("?".to_owned(), |kind| format!("{kind:?}").to_lowercase());
                format!("{kind}{}", if *present { "" } else { " (missing)" })
            }
            Fact::Attempt { step, run, params, .. } => {
                let params: Vec<String> = params.iter().map(|(name, value)| format!(" {name}={value}")).collect();
                format!("{} in {run}{}", step.step, params.concat())
            }
            Fact::Transform { op, .. } => op.clone(),
            Fact::Value { value } => value.clone(),
            Fact::Source { shown, .. } => shown.clone(),
        };
        lines.push(format!("{}{label}: {fact}", "  ".repeat(depth)));
        for edge in &lineage.nodes[node].edges {
            add(lineage, &edge.label, edge.node, depth + 1, lines);
        }
    }
    let mut lines = Vec::new();
    add(lineage, "start", 0, 0, &mut lines);
    lines
}

#[test]
fn a_released_model_leads_back_to_its_sources() {
    let desk = Desk::new();
    desk.run(&churn(&desk, 30));
    let start = LineageStart::Model { release: "churn".into(), version: None };
    let lineage = desk.engine.lineage(start, Direction::Up).unwrap();
    let expected = "
start: churn@1
  cut: 0.5
  model: model
    out: model in run1 epochs=30
      data: table
        out: clean in run1
          data: table
            out: raw in run1
              file: telco.csv
      first: table
        out: raw in run1
          file: telco.csv";
    assert_eq!(tree(&lineage), expected.trim().lines().collect::<Vec<_>>());
    // The bundle, the model, and one object for the two equal tables.
    assert_eq!(lineage.objects, ObjectCount { present: 3, total: 3, missing: vec![], collected: 0, erased: 0 });
    let source = lineage.nodes.iter().find_map(|node| match &node.fact {
        Fact::Source { digest, .. } => Some(*digest),
        _ => None,
    });
    assert_eq!(source, Some(Digest::of(b"a\nb\n")));
    let mlp = lineage.nodes.iter().find_map(|node| match &node.fact {
        Fact::Attempt { environment, .. } => environment.get("mlp").cloned(),
        _ => None,
    });
    assert_eq!(mlp.as_deref(), Some("0.1.0"));
}

#[test]
fn reused_steps_lead_to_the_run_that_executed_them() {
    let desk = Desk::new();
    desk.run(&churn(&desk, 30));
    let mut renamed = churn(&desk, 60);
    renamed.nodes[0].name = "rows".into();
    desk.run(&renamed);
    let start = LineageStart::Model { release: "churn".into(), version: Some(2.into()) };
    let lines = tree(&desk.engine.lineage(start, Direction::Up).unwrap());
    assert!(lines.contains(&"    out: model in run2 epochs=60".to_owned()), "{lines:#?}");
    assert!(lines.contains(&"        out: raw in run1".to_owned()), "{lines:#?}");
}

#[test]
fn a_missing_object_is_counted_and_shown() {
    let desk = Desk::new();
    let told = desk.run(&churn(&desk, 30));
    let table = told.digest("clean", "out");
    desk.store.remove(&table);
    let lineage = desk.engine.lineage(LineageStart::Artifact(told.digest("model", "out")), Direction::Up).unwrap();
    assert_eq!(lineage.objects, ObjectCount { present: 1, total: 2, missing: vec![table], collected: 0, erased: 0 });
    assert!(tree(&lineage).iter().any(|line| line.ends_with("table (missing)")));
}

#[test]
fn a_source_leads_forward_to_the_release() {
    let desk = Desk::new();
    let told = desk.run(&churn(&desk, 30));
    assert!(matches!(told.outcome.releases[0].outcome, ReleaseOutcome::Released { version: 1, .. }));
    let start = LineageStart::Artifact(Digest::of(b"a\nb\n"));
    let lineage = desk.engine.lineage(start, Direction::Down).unwrap();
    let expected = "
start: telco.csv
  file: raw in run1
    out: table
      data: model in run1 epochs=30
        out: model
          model: churn@1
      data: clean in run1";
    assert_eq!(tree(&lineage), expected.trim().lines().collect::<Vec<_>>());
}

#[test]
fn copies_of_copies_lead_in_no_circle() {
    let desk = Desk::new();
    desk.write("a.txt", "rows");
    desk.runner.add("copy", |step| write_out(step, &read(step, "from")));
    let copy =
        |name: &str, from, nth: i64| step(name, "copy", &[("from", from)], &[("nth", Value::Int(nth))], Type::File);
    let told =
        desk.run(&pipeline(vec![copy("one", desk.file("a.txt"), 1), copy("two", out(0), 2), copy("three", out(1), 3)]));
    let start = || LineageStart::Artifact(told.digest("three", "out"));
    let up = tree(&desk.engine.lineage(start(), Direction::Up).unwrap());
    let steps: Vec<&str> = up.iter().map(|line| line.trim()).filter(|line| line.contains(" in ")).collect();
    assert_eq!(steps, ["out: three in run1 nth=3", "out: two in run1 nth=2", "out: one in run1 nth=1"]);
    let down = tree(&desk.engine.lineage(start(), Direction::Down).unwrap());
    assert_eq!(down.iter().filter(|line| line.contains(" in run1")).count(), 3);
}

#[test]
fn what_nobody_recorded_is_refused() {
    let desk = Desk::new();
    desk.run(&churn(&desk, 30));
    let nothing = desk.engine.lineage(LineageStart::Artifact(Digest::of(b"nothing")), Direction::Up);
    assert!(matches!(nothing, Err(LineageError::UnknownArtifact(_))));
    let start = LineageStart::Model { release: "churn".into(), version: Some(7.into()) };
    let error = desk.engine.lineage(start, Direction::Up).unwrap_err();
    assert_eq!(error.to_string(), "release `churn` has no version 7; it has 1 to 1");
}
