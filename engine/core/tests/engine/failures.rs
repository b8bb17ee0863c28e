//! What goes wrong in a run: what is told, what is kept, what is not started.

use std::fs;
use std::sync::mpsc;

use mlp_engine::RunError;
use mlp_model::{
    ArtifactKind, Cancel, ErrorClass, Event, NodeKind, OnFailure, Outcome, Pipeline, Produced, Record, RunStatus,
    RunnerEvent, StartStep, StepError, StoreError, Value,
};
use tokio::sync::watch;

use crate::support::*;

fn failing(name: &str, class: &str) -> mlp_model::Node {
    step(name, "fail", &[], &[("class", Value::Str(class.into()))], table())
}

fn one(op: &str) -> Pipeline {
    pipeline(vec![step("raw", op, &[], &[], table())])
}

#[test]
fn the_worst_failure_gives_the_status() {
    for (class, expected) in
        [("step", RunStatus::Failed), ("environment", RunStatus::Failed), ("data", RunStatus::Rejected)]
    {
        let desk = Desk::new();
        let told =
            desk.run(&pipeline(vec![failing("raw", class), step("next", "join", &[("data", out(0))], &[], table())]));
        assert_eq!(told.outcome.status, expected);
        assert_eq!(told.story(), ["raw failed", "next skipped: `raw` failed"]);
        assert_eq!((told.outcome.steps.failed, told.outcome.steps.skipped), (1, 1));
        assert_eq!(desk.store.scratch_left(), 0);
    }
}

#[test]
fn keep_going_finishes_what_does_not_need_the_failed_step() {
    let desk = Desk::new();
    let pipeline = pipeline(vec![
        failing("bad", "step"),
        step("good", "join", &[], &[], table()),
        step("both", "join", &[("a", out(0)), ("b", out(1))], &[], table()),
    ]);
    let told = desk.run_with(&pipeline, |request| request.keep_going = true);
    assert_eq!(told.sorted_story(), ["bad failed", "both skipped: `bad` failed", "good executed"]);
}

#[test]
fn every_attempt_is_recorded_and_a_late_success_counts() {
    let desk = Desk::new();
    let mut pipeline = pipeline(vec![step("flaky", "fail", &[], &[("times", Value::Int(2))], table())]);
    edit_call(&mut pipeline, "flaky", |call| call.options.retries = 2);
    let told = desk.run(&pipeline);
    assert_eq!(told.story(), ["flaky failed attempt 1", "flaky failed attempt 2", "flaky executed"]);
    assert_eq!((told.outcome.status, told.outcome.failures.len()), (RunStatus::Succeeded, 0));
    let records = desk.store.records();
    let failed: Vec<u32> = records
        .iter()
        .filter_map(|record| match record {
            Record::StepFailed { attempt, .. } => Some(*attempt),
            _ => None,
        })
        .collect();
    assert_eq!(failed, [1, 2]);
    assert!(records.iter().any(|record| matches!(record, Record::StepFinished { result, .. } if result.attempt == 3)));
}

#[test]
fn an_input_that_cannot_be_read_is_named_with_its_step() {
    let desk = Desk::new();
    fs::create_dir(desk.path("folder")).unwrap();
    desk.write("file.csv", "a");
    let cases = [
        (desk.file("nowhere.csv"), "cannot read `nowhere.csv`, input `file` of step `raw`: file not found"),
        (desk.file("folder"), "`folder` is a folder, input `file` of step `raw`"),
        (desk.folder("file.csv"), "`file.csv` is no folder, input `file` of step `raw`"),
    ];
    for (input, message) in cases {
        let pipeline = pipeline(vec![
            step("raw", "read", &[("file", input)], &[], table()),
            step("next", "join", &[("data", out(0))], &[], table()),
        ]);
        let plan = desk.engine.plan(&pipeline, &desk.request()).unwrap();
        assert_eq!((plan.steps[0].reason.as_str(), plan.steps[1].reason.as_str()), (message, "`raw` cannot run"));
        let told = desk.run(&pipeline);
        let error = told.only_failure();
        assert_eq!((error.message.as_str(), error.class), (message, ErrorClass::User));
        assert_eq!(error.argument.as_deref(), Some("file"));
    }
}

#[test]
fn a_source_that_changes_while_its_step_runs_is_not_kept() {
    let desk = Desk::new();
    desk.write("a.csv", "a\n");
    let path = desk.path("a.csv");
    desk.runner.add("read", move |step| {
        fs::write(&path, "b\n").unwrap();
        ordinary("read")(step)
    });
    let pipeline = pipeline(vec![
        step("raw", "read", &[("file", desk.file("a.csv"))], &[], table()),
        step("next", "join", &[("data", out(0))], &[], table()),
    ]);
    let told = desk.run(&pipeline);
    assert_eq!(told.story(), ["raw failed", "next skipped: `raw` failed"]);
    assert_eq!(told.only_failure().message, "`a.csv`, input `file` of step `raw`, changed while the step ran");
    assert!(!desk.store.records().iter().any(|record| matches!(record, Record::StepFinished { .. })));
    // Nobody writes any more: the same key as the changed file has runs once.
    assert_eq!(desk.run(&pipeline).outcome.status, RunStatus::Succeeded);
}

#[test]
fn a_misbehaving_runner_is_our_bug_and_no_hang() {
    type Work = fn(&StartStep) -> Result<Outcome, StepError>;
    fn outcome(kind: ArtifactKind, path: std::path::PathBuf) -> Result<Outcome, StepError> {
        Ok(Outcome { outputs: [("out".to_owned(), Produced { kind, path })].into(), ..Outcome::default() })
    }
    let cases: [(Work, &str); 6] = [
        (|_| Ok(Outcome::default()), "step `raw` ended without its output `out`"),
        (|_| panic!("a secret value"), "the runner of step `raw` went away without saying how it ended"),
        (
            |step| outcome(ArtifactKind::Table, step.work_dir.join("no")),
            "output `out` of step `raw` was announced, but is not there",
        ),
        (
            |step| outcome(ArtifactKind::Model, step.work_dir.join("no")),
            "output `out` of step `raw` is a model, not a table",
        ),
        (
            |_| outcome(ArtifactKind::Table, "../../elsewhere".into()),
            "output `out` of step `raw` is outside its work folder",
        ),
        (
            |step| {
                let mut made = write_out(step, "rows")?;
                made.outputs.insert("more".into(), made.outputs["out"].clone());
                Ok(made)
            },
            "step `raw` made an output `more` that nobody declared",
        ),
    ];
    for (work, message) in cases {
        let desk = Desk::new();
        desk.runner.add("odd", work);
        let told = desk.run(&one("odd"));
        let error = told.only_failure();
        assert_eq!((error.message.as_str(), error.class), (message, ErrorClass::Bug));
        assert_eq!(desk.store.scratch_left(), 0);
    }
}

#[test]
fn outputs_that_point_out_of_the_work_folder_are_refused() {
    let desk = Desk::new();
    desk.runner.add("link", |step| {
        std::os::unix::fs::symlink("/etc/hostname", step.work_dir.join("out")).unwrap();
        let produced = Produced { kind: ArtifactKind::File, path: "out".into() };
        Ok(Outcome { outputs: [("out".to_owned(), produced)].into(), ..Outcome::default() })
    });
    desk.runner.add("folder_with_link", |step| {
        fs::create_dir(step.work_dir.join("out")).unwrap();
        std::os::unix::fs::symlink("/etc/hostname", step.work_dir.join("out/name")).unwrap();
        let produced = Produced { kind: ArtifactKind::Folder, path: "out".into() };
        Ok(Outcome { outputs: [("out".to_owned(), produced)].into(), ..Outcome::default() })
    });
    for (op, ty) in [("link", mlp_model::Type::File), ("folder_with_link", mlp_model::Type::Folder)] {
        let told = desk.run(&pipeline(vec![step("raw", op, &[], &[], ty)]));
        assert_eq!((told.only_failure().code.as_str(), told.only_failure().class), ("N6304", ErrorClass::Step));
    }
}

#[test]
fn a_step_is_told_finished_only_when_it_is_on_the_disk() {
    let desk = Desk::new();
    let pipeline =
        pipeline(vec![step("raw", "join", &[], &[], table()), step("next", "join", &[("data", out(0))], &[], table())]);
    desk.store.hold_acknowledgements(true);
    let (_cancel, never) = watch::channel(None);
    let mut finished_early = false;
    let told = run_to_the_end(&desk.engine, &pipeline, desk.request(), never, |event| match event {
        // The dependent starts all the same; with its start, the disk goes on.
        Event::StepStarted { step, .. } if step == "next" => {
            finished_early = desk.store.records().iter().any(|record| matches!(record, Record::StepFinished { .. }));
            desk.store.hold_acknowledgements(false);
        }
        _ => {}
    });
    let told = told.unwrap();
    assert!(!finished_early);
    let position = |wanted: &dyn Fn(&Event) -> bool| told.events.iter().position(wanted).unwrap();
    let started = position(&|event| matches!(event, Event::StepStarted { step, .. } if step == "next"));
    let finished = position(&|event| matches!(event, Event::StepFinished { step, .. } if step == "raw"));
    assert!(started < finished);
}

#[test]
fn a_full_disk_fails_the_step_and_the_next_run_goes_on() {
    let desk = Desk::new();
    let pipeline =
        pipeline(vec![step("raw", "join", &[], &[], table()), step("next", "join", &[("data", out(0))], &[], table())]);
    desk.store.refuse(|record| matches!(record, Record::StepFinished { step, .. } if step.step == "next"));
    let told = desk.run(&pipeline);
    let error = told.only_failure();
    assert_eq!((error.class, error.code.as_str()), (ErrorClass::Environment, "N6501"));
    assert_eq!((told.outcome.status, told.outcome.steps.executed), (RunStatus::Failed, 1));
    desk.store.refuse(|_| false);
    assert_eq!(desk.run(&pipeline).sorted_story(), ["next executed", "raw reused"]);
}

#[test]
fn a_store_that_keeps_nothing_ends_the_run_with_its_error() {
    let desk = Desk::new();
    desk.run(&one("join"));
    desk.store.refuse(|record| matches!(record, Record::StepReused { .. } | Record::RunFinished { .. }));
    let error = desk.try_run(&one("join"), desk.request()).err().unwrap();
    assert!(matches!(error, RunError::Store(StoreError::DiskFull { .. })), "{error}");
}

#[test]
fn cancel_reaches_the_running_step_and_starts_nothing_new() {
    for how in [Cancel::Gently, Cancel::Now] {
        let desk = Desk::new();
        let cancelled = desk.runner.cancelled();
        desk.runner.add("wait", move |step| {
            while cancelled.lock().unwrap().is_empty() {
                std::thread::yield_now();
            }
            Err(StepError::new(ErrorClass::Cancelled, "P2002", format!("step `{}` was interrupted", step.step)))
        });
        let pipeline = pipeline(vec![
            step("raw", "wait", &[], &[], table()),
            step("next", "join", &[("data", out(0))], &[], table()),
        ]);
        let (cancel, hear) = watch::channel(None);
        let told = run_to_the_end(&desk.engine, &pipeline, desk.request(), hear, |event| {
            if matches!(event, Event::StepStarted { .. }) {
                cancel.send(Some(how)).unwrap();
            }
        });
        let told = told.unwrap();
        assert_eq!(told.outcome.status, RunStatus::Cancelled);
        assert_eq!(told.sorted_story(), ["next skipped: the run was interrupted", "raw failed"]);
        assert_eq!(*desk.runner.cancelled().lock().unwrap(), [("raw".to_owned(), how)]);
    }
}

#[test]
fn a_step_that_finishes_in_spite_of_a_cancel_is_kept() {
    let desk = Desk::new();
    let (let_go, wait) = mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    desk.runner.add("wait", move |step| {
        wait.lock().unwrap().recv().unwrap();
        write_out(step, "rows")
    });
    let pipeline = one("wait");
    let (cancel, hear) = watch::channel(None);
    let told = run_to_the_end(&desk.engine, &pipeline, desk.request(), hear, |event| {
        if matches!(event, Event::StepStarted { .. }) {
            cancel.send(Some(Cancel::Gently)).unwrap();
            let_go.send(()).unwrap();
        }
    });
    // Everything that was asked for is there: there was nothing left to interrupt.
    let told = told.unwrap();
    assert_eq!((told.story(), told.outcome.status), (vec!["raw executed".to_owned()], RunStatus::Succeeded));
    assert_eq!(desk.run(&pipeline).outcome.steps.reused, 1);
}

#[test]
fn progress_and_printed_lines_are_passed_on_until_the_step_ends() {
    struct Talkative;
    impl mlp_model::Handle for Talkative {
        fn cancel(&self, _: Cancel) {}
    }
    impl mlp_model::Runner for Talkative {
        fn environment(&self, _: &mlp_model::Call) -> Result<std::collections::BTreeMap<String, String>, StepError> {
            Ok(Default::default())
        }
        fn start(&self, step: StartStep, report: Box<dyn Fn(RunnerEvent) + Send + Sync>) -> Box<dyn mlp_model::Handle> {
            report(RunnerEvent::Printed("epoch 1".into()));
            let error = || StepError::new(ErrorClass::Step, "P2001", format!("step `{}` failed", step.step));
            report(RunnerEvent::Finished(Err(error())));
            report(RunnerEvent::Printed("too late".into()));
            report(RunnerEvent::Finished(Err(error())));
            Box::new(Talkative)
        }
    }
    let desk = Desk::new();
    let runners = [("test".to_owned(), std::sync::Arc::new(Talkative) as _)].into();
    let clock = std::sync::Arc::new(|| mlp_model::Timestamp(0));
    let engine = mlp_engine::Engine::new(desk.store.clone(), runners, clock);
    let (_cancel, never) = watch::channel(None);
    let told = run_to_the_end(&engine, &one("talk"), desk.request(), never, |_| {}).unwrap();
    let lines: Vec<&str> = told
        .events
        .iter()
        .filter_map(|event| match event {
            Event::StepPrinted { line, .. } => Some(line.as_str()),
            _ => None,
        })
        .collect();
    assert_eq!((lines, told.outcome.steps.failed), (vec!["epoch 1"], 1));
}

#[test]
fn the_run_goes_on_without_a_step_that_may_fail() {
    let desk = Desk::new();
    let of_class = |class: &str| {
        let params = [("class", Value::Str(class.into()))];
        let mut pipeline = pipeline(vec![
            step("plot", "fail", &[], &params, table()),
            step("page", "join", &[("plot", out(0))], &[], table()),
            step("rest", "join", &[], &[("n", Value::Int(1))], table()),
        ]);
        edit_call(&mut pipeline, "plot", |call| call.options.on_failure = OnFailure::Skip);
        pipeline
    };
    for n_executed in [1, 0] {
        let told = desk.run_with(&of_class("step"), |request| request.jobs = 1);
        assert_eq!((told.outcome.status, told.outcome.steps.executed), (RunStatus::Succeeded, n_executed));
        assert_eq!((told.outcome.steps.failed, told.outcome.steps.tolerated), (1, 1));
        assert!(told.story().contains(&"page skipped: `plot` failed".to_owned()), "{:?}", told.story());
        assert!(told.only_failure().class == ErrorClass::Step && told.outcome.failures[0].is_tolerated);
    }
    let told = desk.run(&of_class("environment"));
    assert_eq!((told.outcome.status, told.outcome.steps.tolerated), (RunStatus::Failed, 0));
}

#[test]
fn a_gate_cannot_measure_a_report_that_the_run_goes_on_without() {
    let desk = Desk::new();
    let check = mlp_model::Check {
        name: "floor".into(),
        left: mlp_model::NumExpr::Metric { node: 1, metric: "auc".into() },
        comparison: mlp_model::Comparison::Greater,
        right: mlp_model::NumExpr::Number(0.5),
        text: "quality.auc > 0.5".into(),
        span: mlp_model::Span::default(),
    };
    let gate = mlp_model::Gate { checks: vec![check], first: None };
    for may_fail in [0, 1] {
        let ops = [["fail", "eval"], ["join", "fail"]][may_fail];
        let mut pipeline = pipeline(vec![
            step("model", ops[0], &[], &[], model()),
            step("quality", ops[1], &[("model", out(0))], &[], report()),
            node("good", NodeKind::Gate(gate.clone())),
        ]);
        edit_call(&mut pipeline, ["model", "quality"][may_fail], |call| call.options.on_failure = OnFailure::Skip);
        let told = desk.run(&pipeline);
        assert_eq!(told.outcome.status, RunStatus::Refused, "{:?}", told.story());
        assert_eq!(told.outcome.gate_results[0].checks[0].verdict, mlp_model::Verdict::NotMeasurable);
    }
}
