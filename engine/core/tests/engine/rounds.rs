//! Loops that go on without failed rounds: what collects them, what decides over them, what is tried again.

use std::collections::BTreeSet;

use mlp_model::{
    Check, Comparison, Decision, ErrorClass, Event, FailedRounds, Fold, Gate, NodeKind, NumExpr, Pipeline, Record,
    Round, RunStatus, Span, Value, Verdict,
};

use crate::support::*;

const KEYS: [&str; 3] = ["a", "b", "c"];
const COLLECTED: usize = 6;

/// A loop of three rounds, each a model and the report about it, and a step that collects both. The models of the keys in
/// `failing` fail as `class` says.
fn network(tolerated: u32, failing: &[&str], class: &str) -> Pipeline {
    let mut nodes = Vec::new();
    let mut collected = Vec::new();
    for (at, key) in KEYS.iter().enumerate() {
        let mut round = vec![
            match failing.contains(key) {
                true => step(&format!("l[{key}].model"), "fail", &[], &[("class", Value::Str(class.into()))], model()),
                false => {
                    let params = [("auc", Value::Float(0.5 + 0.1 * at as f64))];
                    step(&format!("l[{key}].model"), "model", &[], &params, model())
                }
            },
            step(&format!("l[{key}].quality"), "eval", &[("model", out(2 * at))], &[], report()),
        ];
        for node in &mut round {
            let NodeKind::Call(call) = &mut node.kind else { panic!("a step is a call") };
            call.options.rounds = vec![Round { of: "l".into(), key: (*key).into(), tolerated }];
        }
        nodes.extend(round);
        collected.push((format!("in.model_{key}"), out(2 * at)));
        collected.push((format!("in.quality_{key}"), out(2 * at + 1)));
    }
    let inputs: Vec<_> = collected.iter().map(|(name, input)| (name.as_str(), input.clone())).collect();
    nodes.push(step("all", "join", &inputs, &[], table()));
    let mut pipeline = pipeline(nodes);
    edit_call(&mut pipeline, "all", |call| call.options.collects = call.inputs.keys().map(str::to_owned).collect());
    pipeline
}

fn desk() -> Desk {
    let desk = Desk::new();
    desk.runner.add("model", |step| write_out(step, &step.params["auc"].as_float().unwrap().to_string()));
    desk
}

fn failed(rounds: &[&str], most: u32, tolerated: bool) -> FailedRounds {
    let rounds = rounds.iter().map(|&round| round.to_owned()).collect();
    FailedRounds { name: "l".into(), rounds, n_rounds: 3, most, tolerated }
}

/// What the step `all` read when it was executed last.
fn read_by_all(desk: &Desk) -> Vec<String> {
    let read = desk.store.records().into_iter().rev().find_map(|record| match record {
        Record::StepFinished { step, result, .. } if step.step == "all" => Some(result.inputs),
        _ => None,
    });
    read.unwrap().into_iter().map(|input| input.name).collect()
}

#[test]
fn lists_are_made_of_whole_rounds_that_did_not_fail() {
    let desk = desk();
    let told = desk.run(&network(1, &["b"], "step"));
    assert_eq!((told.outcome.status, told.outcome.steps.failed), (RunStatus::Succeeded, 1));
    assert_eq!((told.outcome.steps.tolerated, told.outcome.steps.skipped), (1, 1));
    assert!(told.story().contains(&"l[b].quality skipped: `l[b].model` failed".to_owned()), "{:?}", told.story());
    assert_eq!(told.outcome.failed_rounds, [failed(&["b"], 1, true)]);
    assert!(told.outcome.failures.iter().all(|failure| failure.is_tolerated));
    assert!(told.events.iter().any(|event| matches!(event, Event::StepFailed { tolerated: true, .. })));
    let n_told = told.events.iter().filter(|event| matches!(event, Event::RoundsFailed { .. })).count();
    assert_eq!(n_told, 1);
    assert_eq!(read_by_all(&desk), ["in.model_a", "in.model_c", "in.quality_a", "in.quality_c"]);

    // The next run tries the round again, and has nothing else to do.
    let told = desk.run(&network(1, &["b"], "step"));
    assert_eq!(told.outcome.steps.executed, 0);
    assert!(told.story().contains(&"all reused".to_owned()), "{:?}", told.story());

    // The report alone fails: the model of the round is left out, too.
    let mut pipeline = network(1, &[], "step");
    edit_call(&mut pipeline, "l[b].quality", |call| call.op = "fail".into());
    let told = desk.run(&pipeline);
    assert_eq!(told.outcome.failed_rounds, [failed(&["b"], 1, true)]);
    assert!(told.story().contains(&"all reused".to_owned()), "{:?}", told.story());
    let why = desk.engine.why(&desk.id("all"), Some(&pipeline)).unwrap();
    assert_eq!(why.without, ["l[b].model.out", "l[b].quality.out"]);

    // It has been repaired: the list is whole, and nothing stale is in it.
    let told = desk.run(&network(1, &[], "step"));
    assert_eq!((told.outcome.steps.failed, told.outcome.failed_rounds.len()), (0, 0));
    assert_eq!(read_by_all(&desk).len(), 6);
    let why = desk.engine.why(&desk.id("all"), Some(&network(1, &[], "step"))).unwrap();
    let changed: BTreeSet<String> =
        why.comparison.unwrap().difference.changed.iter().map(|change| change.field.to_string()).collect();
    assert_eq!(changed, ["input in.model_b", "input in.quality_b"].map(str::to_owned).into());
    assert_eq!(why.without, Vec::<String>::new());
}

#[test]
fn more_than_is_tolerated_and_all_rounds_fail_the_run() {
    for (tolerated, failing, keep_going) in
        [(1, &KEYS[..2], true), (0, &KEYS[1..2], false), (9, &KEYS[..], true), (9, &KEYS[..], false)]
    {
        let desk = desk();
        let told = desk.run_with(&network(tolerated, failing, "step"), |request| request.keep_going = keep_going);
        assert_eq!(told.outcome.status, RunStatus::Failed, "{tolerated} {failing:?}");
        assert!(told.outcome.failures.iter().all(|failure| !failure.is_tolerated));
        assert_eq!(told.outcome.steps.tolerated, 0);
        let story = told.story();
        assert!(story.iter().any(|line| line.starts_with("all skipped: ")), "{story:?}");
        if keep_going || failing.len() == KEYS.len() {
            assert_eq!(told.outcome.failed_rounds, [failed(failing, tolerated, false)]);
        }
    }
}

#[test]
fn a_round_that_was_asked_for_alone_is_all_there_is() {
    let desk = desk();
    let told = desk.run_with(&network(2, &["b"], "step"), |request| request.targets = vec!["l[b].model".into()]);
    assert_eq!(told.outcome.status, RunStatus::Failed);
}

#[test]
fn data_that_breaks_its_schema_is_tolerated_and_a_full_disk_is_not() {
    for (class, status) in
        [("data", RunStatus::Succeeded), ("step", RunStatus::Succeeded), ("environment", RunStatus::Failed)]
    {
        let told = desk().run(&network(2, &["a"], class));
        assert_eq!(told.outcome.status, status, "{class}");
        let is_tolerated = told.outcome.failures.iter().all(|failure| failure.is_tolerated);
        assert_eq!(is_tolerated, status == RunStatus::Succeeded);
    }
}

#[test]
fn what_names_one_member_is_skipped_with_it() {
    let desk = desk();
    let mut pipeline = network(1, &["b"], "step");
    edit_call(&mut pipeline, "all", |call| _ = call.options.collects.remove("in.model_b"));
    let told = desk.run(&pipeline);
    assert!(told.story().contains(&"all skipped: `l[b].model` failed".to_owned()), "{:?}", told.story());
    assert_eq!(told.outcome.status, RunStatus::Succeeded);
}

#[test]
fn a_gate_makes_one_figure_of_the_rounds_that_there_are() {
    let desk = desk();
    let mut pipeline = network(2, &["a"], "step");
    let metric = |key: usize| NumExpr::Metric { node: 2 * key + 1, metric: "auc".into() };
    let fold = |fold| NumExpr::Fold { fold, of: (0..KEYS.len()).map(metric).collect() };
    let check = |name: &str, of: Fold, at_least: f64| Check {
        name: name.into(),
        left: fold(of),
        comparison: Comparison::GreaterOrEqual,
        right: NumExpr::Number(at_least),
        text: name.into(),
        span: Span::default(),
    };
    let checks = vec![check("worst", Fold::Min, 0.6), check("n", Fold::Count, 3.0)];
    pipeline.nodes.push(node("good", NodeKind::Gate(Gate { checks, first: None })));
    let told = desk.run(&pipeline);
    let checks = &told.outcome.gate_results[0].checks;
    assert_eq!((checks[0].verdict, checks[0].left), (Verdict::Passed, Some(0.6)));
    assert_eq!((checks[1].verdict, checks[1].left), (Verdict::Failed, Some(2.0)));
    assert_eq!(told.outcome.status, RunStatus::Refused);
}

#[test]
fn a_plan_knows_which_rounds_cannot_be_read() {
    let desk = desk();
    for key in KEYS {
        desk.write(&format!("{key}.csv"), key);
    }
    let mut pipeline = network(1, &[], "step");
    for key in KEYS {
        let file = desk.file(&format!("{key}.csv"));
        edit_call(&mut pipeline, &format!("l[{key}].model"), |call| _ = call.inputs.insert("file", file));
    }
    desk.run(&pipeline);
    std::fs::remove_file(desk.path("b.csv")).unwrap();
    let plan = desk.engine.plan(&pipeline, &desk.request()).unwrap();
    let decisions: Vec<&Decision> = plan.steps.iter().map(|step| &step.decision).collect();
    assert!(matches!(decisions[2..4], [Decision::Fail, Decision::Skip]), "{decisions:?}");
    assert!(matches!(decisions[COLLECTED], Decision::Run), "{decisions:?}");
    let told = desk.run(&pipeline);
    assert_eq!((told.outcome.status, told.outcome.steps.executed), (RunStatus::Succeeded, 1));
    assert_eq!(told.outcome.failures[0].error.class, ErrorClass::User);
    assert_eq!(read_by_all(&desk).len(), 4);
    assert_eq!(told.reason("all"), plan.steps[COLLECTED].reason);
}
