//! Why a step ran: both values, and the chain down to the source.

use mlp_engine::{Cause, FieldChange, FieldName, HowItCame, Link, WhyError};
use mlp_model::{Decision, Digest, Pipeline, Value};

use crate::support::*;

/// raw -> clean -> model.
fn churn(desk: &Desk, epochs: i64) -> Pipeline {
    pipeline(vec![
        step("raw", "read", &[("file", desk.file("telco.csv"))], &[], table()),
        step("clean", "join", &[("data", out(0))], &[], table()),
        step("model", "join", &[("data", out(1))], &[("epochs", Value::Int(epochs))], table()),
    ])
}

fn new_desk() -> Desk {
    let desk = Desk::new();
    desk.write("telco.csv", "a\nb\n");
    desk
}

fn epochs(before: &str, after: &str) -> FieldChange {
    let field = FieldName::Param { name: "epochs".into() };
    FieldChange { field, before: Some(before.into()), after: Some(after.into()) }
}

#[test]
fn a_changed_parameter_is_named_with_both_values() {
    let desk = new_desk();
    desk.run(&churn(&desk, 30));
    desk.run(&churn(&desk, 60));
    let check = || {
        let why = desk.engine.why(&desk.id("model"), None).unwrap();
        let comparison = why.comparison.unwrap();
        assert_eq!(comparison.difference.changed, [epochs("30", "60")]);
        assert_eq!((comparison.with.run.0.as_str(), why.chain), ("run1", vec![]));
        why.latest.unwrap()
    };
    assert!(matches!(check().how, HowItCame::Executed { attempt: 1, .. }));
    // After a run that had nothing to do, the last change is still what is told.
    desk.run(&churn(&desk, 60));
    let latest = check();
    let from_step = Some(desk.id("model"));
    assert_eq!(latest.how, HowItCame::Reused { from_run: mlp_model::RunId("run2".into()), from_step });
    assert_eq!(latest.run.0, "run3");
}

#[test]
fn the_nearest_key_is_compared_and_among_equals_the_newest() {
    let desk = new_desk();
    for n in [30, 40, 60] {
        desk.run(&churn(&desk, n));
    }
    desk.write("telco.csv", "a\nc\n");
    // Differs from run1 in the data alone, from the newer runs in both.
    desk.run(&churn(&desk, 30));
    let why = desk.engine.why(&desk.id("model"), None).unwrap();
    assert_eq!(why.comparison.unwrap().with.run.0, "run1");
    desk.run(&churn(&desk, 50));
    let why = desk.engine.why(&desk.id("model"), None).unwrap();
    assert_eq!(why.comparison.unwrap().with.run.0, "run4");
}

#[test]
fn the_chain_goes_down_to_the_source_even_when_it_is_gone() {
    let desk = new_desk();
    desk.run(&churn(&desk, 30));
    desk.write("telco.csv", "a\nc\n");
    desk.run(&churn(&desk, 30));
    std::fs::remove_file(desk.path("telco.csv")).unwrap();
    let why = desk.engine.why(&desk.id("model"), None).unwrap();
    let told: Vec<(&str, &str, &str)> =
        why.chain.iter().map(|link| (link.reader.as_str(), link.argument.as_str(), link.shown.as_str())).collect();
    assert_eq!(told, [("model", "data", "clean.out"), ("clean", "data", "raw.out"), ("raw", "file", "telco.csv")]);
    let Link { before, after, cause, .. } = &why.chain[2];
    assert_eq!((*before, *after), (Some(Digest::of(b"a\nb\n")), Some(Digest::of(b"a\nc\n"))));
    assert_eq!(*cause, Cause::Content);
    assert!(matches!(&why.chain[0].cause, Cause::Step { before, after, changed }
        if before.run.0 == "run1" && after.run.0 == "run2" && changed.len() == 1));
}

#[test]
fn after_a_rename_the_nearest_key_of_the_operation_is_taken() {
    let desk = new_desk();
    desk.run(&churn(&desk, 30));
    let mut renamed = churn(&desk, 60);
    renamed.nodes[2].name = "network".into();
    desk.run(&renamed);
    for pipeline in [None, Some(&renamed)] {
        let why = desk.engine.why(&desk.id("network"), pipeline).unwrap();
        let comparison = why.comparison.unwrap();
        assert_eq!(comparison.with.step, desk.id("model"));
        assert_eq!(comparison.difference.changed, [epochs("30", "60")]);
    }
}

#[test]
fn a_rename_alone_differs_in_nothing() {
    let desk = new_desk();
    desk.run(&churn(&desk, 30));
    let mut renamed = churn(&desk, 30);
    renamed.nodes[2].name = "network".into();
    desk.run(&renamed);
    let why = desk.engine.why(&desk.id("network"), Some(&renamed)).unwrap();
    let (comparison, latest) = (why.comparison.unwrap(), why.latest.unwrap());
    assert_eq!((comparison.difference.changed, comparison.with.step), (vec![], desk.id("model")));
    let from_step = Some(desk.id("model"));
    assert_eq!(latest.how, HowItCame::Reused { from_run: mlp_model::RunId("run1".into()), from_step });
}

#[test]
fn a_first_step_is_not_compared_with_its_neighbours() {
    let desk = new_desk();
    let pipeline = churn(&desk, 30);
    desk.run(&pipeline);
    // `clean` has the same operation, but it is another step of the same pipeline.
    let why = desk.engine.why(&desk.id("model"), Some(&pipeline)).unwrap();
    assert_eq!(why.comparison, None);
}

#[test]
fn a_forced_step_ran_with_the_same_key() {
    let desk = new_desk();
    desk.run(&churn(&desk, 30));
    desk.run_with(&churn(&desk, 30), |request| request.force = vec!["model".into()]);
    let why = desk.engine.why(&desk.id("model"), None).unwrap();
    assert_eq!(why.comparison.unwrap().difference.changed, []);
}

#[test]
fn a_step_that_is_not_deterministic_is_found_out() {
    let desk = new_desk();
    let n_calls = std::sync::atomic::AtomicUsize::new(0);
    desk.runner.add("read", move |step| {
        write_out(step, &n_calls.fetch_add(1, std::sync::atomic::Ordering::SeqCst).to_string())
    });
    desk.run(&churn(&desk, 30));
    desk.run_with(&churn(&desk, 30), |request| request.force = vec!["raw".into()]);
    let why = desk.engine.why(&desk.id("clean"), None).unwrap();
    assert!(
        matches!(&why.chain[..], [Link { cause: Cause::NotDeterministic { before, after }, .. }]
        if before.run.0 == "run1" && after.run.0 == "run2"),
        "{:?}",
        why.chain
    );
}

#[test]
fn a_failure_since_the_last_result_is_told() {
    let desk = new_desk();
    let mut pipeline = churn(&desk, 30);
    desk.run(&pipeline);
    edit_call(&mut pipeline, "model", |call| call.op = "fail".into());
    edit_call(&mut pipeline, "model", |call| _ = call.params.insert("class", Value::Str("step".into())));
    desk.run(&pipeline);
    let why = desk.engine.why(&desk.id("model"), None).unwrap();
    assert_eq!(why.failed_since.unwrap().error.message, "step `model` failed");
    assert_eq!(why.latest.unwrap().run.0, "run1");
}

#[test]
fn with_the_pipeline_it_says_what_would_happen_now() {
    let desk = new_desk();
    desk.run(&churn(&desk, 30));
    let now = |pipeline: &Pipeline, step: &str| desk.engine.why(&desk.id(step), Some(pipeline)).unwrap().now.unwrap();
    let same = now(&churn(&desk, 30), "model");
    assert_eq!(
        (same.decision, same.difference.unwrap().changed),
        (Decision::Reuse { from_run: "run1".into() }, vec![])
    );
    let changed = now(&churn(&desk, 60), "model.out");
    assert_eq!((changed.decision, changed.reason.as_str()), (Decision::Run, "param epochs: 30 -> 60"));
    assert_eq!(changed.difference.unwrap().changed, [epochs("30", "60")]);
    desk.write("telco.csv", "new\n");
    let unknown = now(&churn(&desk, 60), "model");
    assert_eq!((unknown.decision, unknown.difference), (Decision::Unknown { until: "raw".into() }, None));
}

#[test]
fn a_step_without_a_result_is_planned_or_refused() {
    let desk = new_desk();
    let pipeline = churn(&desk, 30);
    let why = desk.engine.why(&desk.id("raw"), Some(&pipeline)).unwrap();
    assert_eq!((why.latest, why.now.unwrap().reason.as_str()), (None, "first time"));
    let error = desk.engine.why(&desk.id("modle"), Some(&pipeline)).unwrap_err();
    assert!(matches!(&error, WhyError::NeverSeen { .. }));
    assert_eq!(error.help().as_deref(), Some("did you mean `model`?"));
}
