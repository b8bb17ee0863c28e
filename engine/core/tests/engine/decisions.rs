//! Gates, champions, releases, rollbacks.

use mlp_engine::{BundlePart, RegistryError, ReleaseOutcome, VersionName};
use mlp_model::{
    Check, Comparison, ErrorClass, Event, FirstRelease, Gate, GateCounts, Input, Node, NodeKind, NumExpr, Part,
    Pipeline, Record, Release, RunStatus, Scalar, Schema, Span, Value, Verdict,
};

use crate::support::*;

const QUALITY: usize = 3;
const BEFORE: usize = 4;

/// raw, clean (code), model, quality, before (the champion on the same rows), gate `good_enough`, release `churn`.
fn churn(desk: &Desk, auc: f64) -> Pipeline {
    desk.write("telco.csv", "a\nb\n");
    desk.write("clean.py", "def clean(): ..\n");
    let champion = Input::Champion { release: "churn".into(), part: "model".into() };
    let mut pipeline = pipeline(vec![
        step("raw", "read", &[("file", desk.file("telco.csv"))], &[], table()),
        step("clean", "join", &[("data", out(0)), ("source", desk.file("clean.py"))], &[], table()),
        step("model", "train", &[("data", out(1))], &[("auc", Value::Float(auc))], model()),
        step("quality", "eval", &[("model", out(2)), ("data", out(1))], &[], report()),
        // The parameter keeps it from being the stored evaluation of the run that released the champion.
        step(
            "before",
            "eval",
            &[("data", out(1)), ("model", champion)],
            &[("of", Value::Str("champion".into()))],
            report(),
        ),
        node("good_enough", NodeKind::Gate(gate(Some(FirstRelease::Only(vec!["floor".into()]))))),
    ]);
    pipeline.nodes.push(release(vec![
        ("model", Part::Output { node: 2, output: "out".into() }),
        ("clean", Part::Transform { node: 1 }),
        ("cut", Part::Value(Value::Float(0.5))),
        ("rows", Part::Value(Value::Schema(Box::new(schema())))),
    ]));
    pipeline
}

fn schema() -> Schema {
    let columns = vec![mlp_model::Column::plain("tenure", Scalar::Int)];
    Schema { name: "Customer".into(), open: false, columns }
}

fn gate(first: Option<FirstRelease>) -> Gate {
    let auc = |node: usize| NumExpr::Metric { node, metric: "auc".into() };
    let check = |name: &str, right: NumExpr| Check {
        name: name.into(),
        left: auc(QUALITY),
        comparison: Comparison::GreaterOrEqual,
        right,
        text: name.into(),
        span: Span::default(),
    };
    let checks = vec![check("floor", NumExpr::Number(0.7)), check("better", auc(BEFORE))];
    Gate { checks, first }
}

fn release(parts: Vec<(&str, Part)>) -> Node {
    let parts = parts.into_iter().map(|(name, part)| (name.to_owned(), part)).collect();
    node("churn", NodeKind::Release(Release { name: "churn".into(), parts, gates: vec![5] }))
}

fn released(told: &Told) -> &ReleaseOutcome {
    assert_eq!(told.outcome.releases.len(), 1);
    &told.outcome.releases[0].outcome
}

fn verdicts(told: &Told) -> Vec<Verdict> {
    told.outcome.gate_results[0].checks.iter().map(|check| check.verdict).collect()
}

fn version_of(told: &Told) -> u64 {
    match released(told) {
        ReleaseOutcome::Released { version, .. } => *version,
        other => panic!("not released: {other:?}"),
    }
}

#[test]
fn the_first_release_skips_the_champion_and_is_no_failure() {
    let desk = Desk::new();
    let told = desk.run(&churn(&desk, 0.8));
    assert!(told.story().contains(&"before skipped: no champion of release `churn` yet".to_owned()));
    assert_eq!(verdicts(&told), [Verdict::Passed, Verdict::LeftOut]);
    assert_eq!(version_of(&told), 1);
    assert_eq!((told.outcome.status, told.outcome.steps.skipped), (RunStatus::Succeeded, 1));
    assert_eq!(told.outcome.gates, GateCounts { passed: 1, refused: 0 });
}

#[test]
fn the_champion_is_scored_by_the_next_run() {
    let desk = Desk::new();
    desk.run(&churn(&desk, 0.8));
    let told = desk.run(&churn(&desk, 0.9));
    assert_eq!(verdicts(&told), [Verdict::Passed, Verdict::Passed]);
    let better = &told.outcome.gate_results[0].checks[1];
    assert_eq!((better.left, better.right), (Some(0.9), Some(0.8)));
    assert_eq!(version_of(&told), 2);
    let shown = desk.store.records().into_iter().rev().find_map(|record| match record {
        Record::StepFinished { step, result, .. } if step.step == "before" => Some(result.inputs[1].shown.clone()),
        _ => None,
    });
    assert_eq!(shown.as_deref(), Some("churn@1.model"));
}

#[test]
fn an_unchanged_bundle_is_kept() {
    let desk = Desk::new();
    desk.run(&churn(&desk, 0.8));
    // Scores the champion for the first time.
    assert_eq!(*released(&desk.run(&churn(&desk, 0.8))), ReleaseOutcome::Kept { version: 1 });
    let again = desk.run(&churn(&desk, 0.8));
    assert_eq!((again.outcome.steps.executed, again.outcome.gates.passed), (0, 1));
    assert!(again.events.iter().any(|event| matches!(event, Event::ReleaseKept { version: 1, .. })));
    assert_eq!(desk.engine.versions("churn").unwrap().versions.len(), 1);
}

#[test]
fn a_worse_model_is_refused_and_the_live_one_stays() {
    let desk = Desk::new();
    desk.run(&churn(&desk, 0.8));
    let told = desk.run(&churn(&desk, 0.75));
    assert_eq!(verdicts(&told), [Verdict::Passed, Verdict::Failed]);
    let because = "gate `good_enough` refused".to_owned();
    assert_eq!(*released(&told), ReleaseOutcome::Refused { because, live: Some(1) });
    assert_eq!(told.outcome.status, RunStatus::Refused);
    assert_eq!(told.outcome.failures, []);
    assert_eq!(desk.engine.versions("churn").unwrap().live, Some(1));
}

#[test]
fn a_gate_may_refuse_until_there_is_a_champion() {
    let desk = Desk::new();
    let mut pipeline = churn(&desk, 0.8);
    pipeline.nodes[5].kind = NodeKind::Gate(gate(Some(FirstRelease::Refuse)));
    let told = desk.run(&pipeline);
    assert_eq!((told.outcome.status, told.outcome.gates.refused), (RunStatus::Refused, 1));
}

#[test]
fn a_failure_before_the_gate_skips_it_and_keeps_what_is_live() {
    let desk = Desk::new();
    desk.run(&churn(&desk, 0.8));
    let mut pipeline = churn(&desk, 0.9);
    edit_call(&mut pipeline, "model", |call| {
        call.op = "fail".into();
        call.params.insert("class", Value::Str("data".into()));
    });
    let told = desk.run(&pipeline);
    let because = "`model` failed".to_owned();
    assert_eq!(*released(&told), ReleaseOutcome::Refused { because, live: Some(1) });
    assert!(told.story().contains(&"good_enough skipped: `model` failed".to_owned()));
    assert_eq!((told.outcome.status, told.outcome.gates), (RunStatus::Rejected, GateCounts::default()));
}

#[test]
fn the_bundle_holds_all_that_the_decision_needs() {
    let desk = Desk::new();
    let told = desk.run(&churn(&desk, 0.8));
    let ReleaseOutcome::Released { bundle, .. } = released(&told) else { panic!() };
    let bundle = desk.engine.bundle(bundle).unwrap();
    assert_eq!(bundle.parts.keys().collect::<Vec<_>>(), ["clean", "cut", "model", "rows"]);
    assert_eq!(bundle.parts["cut"], BundlePart::Value { value: Value::Float(0.5) });
    let BundlePart::Transform { op, inputs, .. } = &bundle.parts["clean"] else { panic!() };
    // The code is kept, so that it can run when its file is gone; the table it was fitted on is not part of it.
    assert_eq!(op, "join");
    assert_eq!(inputs.keys().collect::<Vec<_>>(), ["source"]);
    let code = mlp_model::Store::read(&*desk.store, &inputs["source"].digest).unwrap();
    assert_eq!(code.as_deref(), Some(b"def clean(): ..\n".as_slice()));
    assert_eq!(bundle.missing_objects(&*desk.store), Ok(vec![]));
    assert_eq!(desk.store.scratch_left(), 0);
}

#[test]
fn names_and_docs_do_not_make_a_new_version() {
    let desk = Desk::new();
    desk.run(&churn(&desk, 0.8));
    let mut pipeline = churn(&desk, 0.8);
    for node in pipeline.nodes.iter_mut().filter(|node| !matches!(node.kind, NodeKind::Release(_))) {
        node.name.push_str("_renamed");
        node.doc = "documented".into();
    }
    assert_eq!(*released(&desk.run(&pipeline)), ReleaseOutcome::Kept { version: 1 });
}

#[test]
fn a_rolled_back_version_is_held_until_the_hold_is_lifted() {
    let desk = Desk::new();
    desk.run(&churn(&desk, 0.8));
    desk.run(&churn(&desk, 0.9));
    let back = desk.engine.rollback("churn", None, "declines").unwrap();
    assert_eq!((back.from.version, back.to.version), (2, 1));
    let registry = desk.engine.versions("churn").unwrap();
    assert_eq!((registry.live, registry.numbered(2)[0].held), (Some(1), true));

    let held = desk.run(&churn(&desk, 0.9));
    assert_eq!(*released(&held), ReleaseOutcome::Held { version: 2, live: Some(1) });
    assert_eq!(held.outcome.status, RunStatus::Succeeded);

    desk.engine.unhold("churn", &2.into()).unwrap();
    assert_eq!(version_of(&desk.run(&churn(&desk, 0.9))), 2);
    let ids: Vec<String> = desk
        .store
        .records()
        .into_iter()
        .filter_map(|record| match record {
            Record::Released { id, .. } | Record::RolledBack { id, .. } | Record::HoldLifted { id, .. } => Some(id),
            _ => None,
        })
        .collect();
    let distinct: std::collections::BTreeSet<&String> = ids.iter().collect();
    assert_eq!((ids.len(), distinct.len()), (5, 5));
}

#[test]
fn a_rollback_that_cannot_be_says_why_and_changes_nothing() {
    let desk = Desk::new();
    desk.run(&churn(&desk, 0.8));
    desk.run(&churn(&desk, 0.9));
    desk.engine.rollback("churn", Some(&1.into()), "declines").unwrap();
    let cases: [(&str, Option<u64>, &str); 5] = [
        ("chrun", None, "there is no release `chrun`"),
        ("churn", Some(1), "version 1 of release `churn` is live already"),
        ("churn", Some(2), "version 2 of release `churn` is held: declines"),
        ("churn", Some(3), "release `churn` has no version 3; it has 1 to 2"),
        (
            "churn",
            None,
            "release `churn` has no version to go back to: nothing that nobody holds was live before version 1",
        ),
    ];
    let n_records = desk.store.records().len();
    for (release, to, message) in cases {
        assert_eq!(
            desk.engine.rollback(release, to.map(VersionName::from).as_ref(), "again").unwrap_err().to_string(),
            message
        );
    }
    assert_eq!(desk.engine.rollback("chrun", None, "").unwrap_err().help().as_deref(), Some("did you mean `churn`?"));
    assert!(matches!(desk.engine.unhold("churn", &1.into()), Err(RegistryError::NotHeld { .. })));
    assert_eq!(desk.store.records().len(), n_records);
}

#[test]
fn a_rollback_goes_only_to_a_whole_version() {
    let desk = Desk::new();
    let model = desk.run(&churn(&desk, 0.8)).digest("model", "out");
    desk.run(&churn(&desk, 0.9));
    desk.store.damage(&model);
    let error = desk.engine.rollback("churn", None, "declines").unwrap_err();
    let expected = format!("version 1 of release `churn` is not whole: object {} missing or damaged", model.short());
    assert_eq!(error.to_string(), expected);
    assert_eq!(desk.engine.versions("churn").unwrap().live, Some(2));
}

#[test]
fn two_runs_that_release_at_once_make_one_version_each() {
    let desk = Desk::new();
    let without_champion = |auc: f64| {
        let mut pipeline = churn(&desk, auc);
        let NodeKind::Gate(gate) = &mut pipeline.nodes[5].kind else { panic!() };
        gate.checks.truncate(1);
        pipeline.nodes.remove(BEFORE);
        let NodeKind::Release(release) = &mut pipeline.nodes[5].kind else { panic!() };
        release.gates = vec![BEFORE];
        pipeline
    };
    let pipelines = [without_champion(0.8), without_champion(0.9)];
    let told: Vec<Told> = std::thread::scope(|scope| {
        let runs = pipelines.each_ref().map(|pipeline| scope.spawn(|| desk.run(pipeline)));
        runs.map(|run| run.join().unwrap()).into()
    });
    let mut versions: Vec<u64> = told.iter().map(version_of).collect();
    versions.sort();
    assert_eq!(versions, [1, 2]);
}

#[test]
fn a_champion_that_changes_during_the_run_is_not_replaced_unseen() {
    let desk = Desk::new();
    desk.run(&churn(&desk, 0.8));
    let mut slow = churn(&desk, 0.85);
    edit_call(&mut slow, "model", |call| call.op = "slow_train".into());
    // While the model is trained, another run releases a better one.
    let (let_go, wait) = std::sync::mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    desk.runner.add("slow_train", move |step| {
        wait.lock().unwrap().recv().unwrap();
        ordinary("train")(step)
    });
    // With one job, no key that the other run needs is held meanwhile.
    let request = mlp_engine::RunRequest { jobs: 1, ..desk.request() };
    let (_cancel, never) = tokio::sync::watch::channel(None);
    let told = run_to_the_end(&desk.engine, &slow, request, never, |event| {
        if matches!(event, Event::StepStarted { step, .. } if step == "model") {
            let other = std::thread::scope(|scope| scope.spawn(|| desk.run(&churn(&desk, 0.9))).join().unwrap());
            assert_eq!(version_of(&other), 2);
            let_go.send(()).unwrap();
        }
    });
    let because = "version 2 went live during the run, and this was not compared with it".to_owned();
    assert_eq!(*released(&told.unwrap()), ReleaseOutcome::Refused { because, live: Some(2) });
}

#[test]
fn a_live_version_that_cannot_be_read_is_the_environments_fault() {
    let desk = Desk::new();
    let told = desk.run(&churn(&desk, 0.8));
    let ReleaseOutcome::Released { bundle, .. } = released(&told) else { panic!() };
    desk.store.damage(bundle);
    let told = desk.run_with(&churn(&desk, 0.8), |request| request.keep_going = true);
    assert_eq!((told.only_failure().code.as_str(), told.only_failure().class), ("N6201", ErrorClass::Environment));
}
