//! Outputs that a step may leave out: what needs them is skipped, and they stay out when the step is reused.

use std::collections::BTreeMap;

use mlp_engine::{CheckedResult, ReleaseOutcome, VerifyRequest};
use mlp_model::{
    ArtifactKind, Check, Comparison, Decision, Gate, NodeKind, NumExpr, Outcome, Output, Part, Pipeline, Release,
    RunStatus, Span, Type, Value, Verdict,
};

use crate::support::*;

/// A step with the outputs `model` and `notes`, which it may leave out; one step reads each, and another the result of the second.
/// A gate reads a report about the notes; a release is of them.
fn noted(notes: bool) -> Pipeline {
    let params = [("notes", Value::Bool(notes))];
    let mut nodes = vec![
        step("fitted", "fit", &[], &params, Type::File),
        step("used", "join", &[("model", output(0, "model"))], &[], table()),
        step("page", "join", &[("notes", output(0, "notes"))], &[], table()),
        step("site", "join", &[("page", out(2))], &[], table()),
        step("quality", "join", &[("page", out(2))], &[], report()),
    ];
    let NodeKind::Call(call) = &mut nodes[0].kind else { panic!("a step is a call") };
    let made = |name: &str, optional| Output { name: name.to_owned().into(), ty: Type::File, optional };
    call.outputs = vec![made("model", false), made("notes", true)];
    let parts = BTreeMap::from([("notes".to_owned(), Part::Output { node: 0, output: "notes".into() })]);
    nodes.push(node("wiki", NodeKind::Release(Release { name: "wiki".into(), parts, gates: vec![] })));
    pipeline(nodes)
}

fn desk() -> Desk {
    let desk = Desk::new();
    desk.runner.add("fit", |step| {
        let mut outputs = BTreeMap::from([("model".to_owned(), write(step, "model", ArtifactKind::File, "m"))]);
        if step.params["notes"] == Value::Bool(true) {
            outputs.insert("notes".to_owned(), write(step, "notes", ArtifactKind::File, "n"));
        }
        Ok(Outcome { outputs, ..Outcome::default() })
    });
    desk
}

const SKIPPED: [&str; 3] = ["page", "quality", "site"];

#[test]
fn what_needs_an_output_that_was_left_out_is_skipped_with_the_reason() {
    let desk = desk();
    let told = desk.run(&noted(false));
    let because = "`fitted` left out its output `notes`";
    let skipped = SKIPPED.map(|name| format!("{name} skipped: {because}"));
    let mut expected = vec!["fitted executed".to_owned(), "used executed".to_owned()];
    expected.extend(skipped.clone());
    expected.sort();
    assert_eq!(told.sorted_story(), expected);
    assert_eq!((told.outcome.status, told.outcome.failures.len()), (RunStatus::Succeeded, 0));
    let refused = ReleaseOutcome::Refused { because: because.to_owned(), live: None };
    assert_eq!(told.outcome.releases[0].outcome, refused);

    // It stays out, in the plan as well.
    let plan = desk.engine.plan(&noted(false), &desk.request()).unwrap();
    let of = |name: &str| plan.steps.iter().find(|step| step.step == name).unwrap();
    assert!(matches!(of("fitted").decision, Decision::Reuse { .. }));
    assert_eq!((&of("page").decision, of("page").reason.as_str()), (&Decision::Skip, because));
    assert_eq!(of("site").decision, Decision::Skip);
    let told = desk.run(&noted(false));
    let mut expected = vec!["fitted reused".to_owned(), "used reused".to_owned()];
    expected.extend(skipped);
    expected.sort();
    assert_eq!(told.sorted_story(), expected);

    // Made, it is like any other.
    let told = desk.run(&noted(true));
    assert_eq!(told.outcome.steps.skipped, 0);
    assert!(matches!(told.outcome.releases[0].outcome, ReleaseOutcome::Released { version: 1, .. }));
}

#[test]
fn a_gate_cannot_measure_what_was_left_out() {
    let desk = desk();
    let mut pipeline = noted(false);
    let check = Check {
        name: "floor".into(),
        left: NumExpr::Metric { node: 4, metric: "auc".into() },
        comparison: Comparison::Greater,
        right: NumExpr::Number(0.5),
        text: "quality.auc > 0.5".into(),
        span: Span::default(),
    };
    pipeline.nodes.push(node("good", NodeKind::Gate(Gate { checks: vec![check], first: None })));
    let told = desk.run(&pipeline);
    assert_eq!(told.outcome.gate_results[0].checks[0].verdict, Verdict::NotMeasurable);
    assert_eq!(told.outcome.status, RunStatus::Refused);
}

#[test]
fn an_output_that_must_be_there_is_an_error_and_a_collected_one_is_made_again() {
    let desk = desk();
    let mut pipeline = noted(false);
    edit_call(&mut pipeline, "fitted", |call| call.outputs[1].optional = false);
    assert_eq!(desk.run(&pipeline).only_failure().code, "N6303");

    let told = desk.run(&noted(true));
    desk.store.damage(&told.digest("fitted", "notes"));
    let told = desk.run(&noted(true));
    assert!(told.reason("fitted").contains("stored output `notes` is missing or damaged"), "{:?}", told.story());
}

#[test]
fn verifying_compares_what_is_there() {
    let desk = desk();
    let verify = |pipeline: &Pipeline| {
        let request = VerifyRequest { steps: vec!["fitted".into()], sample: None };
        desk.engine.verify(pipeline, &request, &mut |_| {}).unwrap().checked.remove(0).result
    };
    for notes in [false, true] {
        desk.run(&noted(notes));
        assert_eq!(verify(&noted(notes)), CheckedResult::Same);
    }
    // Executed again, it makes what it left out, and leaves out what it made.
    desk.runner.add("fit", |step| {
        let mut outputs = BTreeMap::from([("model".to_owned(), write(step, "model", ArtifactKind::File, "m"))]);
        if step.params["notes"] == Value::Bool(false) {
            outputs.insert("notes".to_owned(), write(step, "notes", ArtifactKind::File, "n"));
        }
        Ok(Outcome { outputs, ..Outcome::default() })
    });
    for notes in [false, true] {
        let CheckedResult::Differs(how) = verify(&noted(notes)) else { panic!("it does not differ") };
        assert_eq!((how.output.as_str(), how.stored.is_some(), how.made.is_some()), ("notes", notes, !notes));
    }
}
