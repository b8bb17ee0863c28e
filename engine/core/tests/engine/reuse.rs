//! What runs, what is reused, and what a plan says about it.

use std::fs;
use std::sync::Mutex;
use std::sync::mpsc;

use mlp_engine::RunError;
use mlp_model::{ArtifactKind, Decision, Event, Outcome, Pipeline, Produced, RunStatus, Type, Value};
use tokio::sync::watch;

use crate::support::*;

/// raw -> parts (train, test) -> model -> scores (from model and test).
fn churn(desk: &Desk) -> Pipeline {
    desk.write("data/telco.csv", "a\nb\nc\nd\n");
    let mut parts = step("parts", "split", &[("data", out(0))], &[], table());
    let mlp_model::NodeKind::Call(call) = &mut parts.kind else { panic!() };
    call.outputs =
        ["train", "test"].map(|name| mlp_model::Output { name: name.into(), ty: table(), optional: false }).to_vec();
    pipeline(vec![
        step("raw", "read", &[("file", desk.file("data/telco.csv"))], &[], table()),
        parts,
        step("model", "train", &[("data", output(1, "train"))], &[("auc", Value::Float(0.8))], model()),
        step("scores", "join", &[("data", output(1, "test")), ("model", out(2))], &[], table()),
    ])
}

const ALL_EXECUTED: [&str; 4] = ["raw executed", "parts executed", "model executed", "scores executed"];

#[test]
fn nothing_runs_the_second_time() {
    let desk = Desk::new();
    let pipeline = churn(&desk);
    let first = desk.run(&pipeline);
    assert_eq!(first.story(), ALL_EXECUTED);
    assert_eq!(first.reason("model"), "first time");
    desk.runner.take_started();

    let second = desk.run(&pipeline);
    assert_eq!(second.story(), ["raw reused", "parts reused", "model reused", "scores reused"]);
    assert_eq!((second.outcome.steps.reused, second.outcome.status), (4, RunStatus::Succeeded));
    assert_eq!(desk.runner.take_started(), Vec::<String>::new());
    assert_eq!(second.digest("scores", "out"), first.digest("scores", "out"));
}

#[test]
fn the_events_of_a_run_begin_and_end_as_promised() {
    let desk = Desk::new();
    let told = desk.run(&churn(&desk));
    assert!(matches!(&told.events[0], Event::RunStarted { n_steps: 4, .. }));
    assert!(matches!(&told.events[1], Event::Planned { steps, .. } if steps.len() == 4));
    assert!(matches!(told.events.last(), Some(Event::RunFinished { status: RunStatus::Succeeded, .. })));
    assert_eq!(desk.store.scratch_left(), 0);
}

#[test]
fn what_changes_no_content_runs_nothing() {
    let desk = Desk::new();
    let mut pipeline = churn(&desk);
    desk.run(&pipeline);
    touch(&desk.path("data/telco.csv"));
    assert_eq!(desk.run(&pipeline).outcome.steps.executed, 0);

    // Renamed steps, and the file under another name.
    for node in &mut pipeline.nodes {
        node.name.push('2');
    }
    fs::rename(desk.path("data/telco.csv"), desk.path("moved.csv")).unwrap();
    edit_call(&mut pipeline, "raw2", |call| _ = call.inputs.insert("file", desk.file("moved.csv")));
    assert_eq!(desk.run(&pipeline).outcome.steps.executed, 0);
}

#[test]
fn equal_bytes_cut_off_what_follows() {
    let desk = Desk::new();
    let pipeline = churn(&desk);
    desk.run(&pipeline);
    desk.write("data/telco.csv", "a\nb\nc\nd\n\n");
    let told = desk.run(&pipeline);
    assert_eq!(told.sorted_story(), ["model reused", "parts cut off", "raw executed", "scores reused"]);
    assert_eq!(told.reason("raw"), "input `file` (data/telco.csv) changed");
}

#[test]
fn dependency_is_per_output() {
    let desk = Desk::new();
    let pipeline = churn(&desk);
    desk.run(&pipeline);
    // Line 2 is a test row.
    desk.write("data/telco.csv", "a\nB\nc\nd\n");
    let story = desk.run(&pipeline).sorted_story();
    assert_eq!(story, ["model cut off", "parts executed", "raw executed", "scores executed"]);
}

#[test]
fn a_changed_parameter_runs_its_step_and_what_follows() {
    let desk = Desk::new();
    let mut pipeline = churn(&desk);
    desk.run(&pipeline);
    edit_call(&mut pipeline, "model", |call| _ = call.params.insert("auc", Value::Float(0.9)));
    let told = desk.run(&pipeline);
    assert_eq!(told.story(), ["raw reused", "parts reused", "model executed", "scores executed"]);
    assert_eq!(told.reason("model"), "param auc: 0.8 -> 0.9");
    assert_eq!(told.reason("scores"), "input `model` (model.out) changed");
}

#[test]
fn a_changed_environment_or_salt_runs_again() {
    let desk = Desk::new();
    let pipeline = churn(&desk);
    desk.run(&pipeline);
    desk.runner.environment.lock().unwrap().insert("libtorch".into(), "2.11.0".into());
    assert_eq!(desk.run(&pipeline).reason("raw"), "libtorch: none -> 2.11.0");
    let salted = engine(&desk.store, &desk.runner).with_cache_salt("2026-11");
    let plan = salted.plan(&pipeline, &desk.request()).unwrap();
    assert_eq!(plan.steps[0].reason, r#"cache salt: "" -> "2026-11""#);
}

#[test]
fn a_forced_step_runs_alone_when_its_bytes_are_equal() {
    let desk = Desk::new();
    let pipeline = churn(&desk);
    desk.run(&pipeline);
    let told = desk.run_with(&pipeline, |request| request.force = vec!["model".into()]);
    assert_eq!(told.sorted_story(), ["model executed", "parts reused", "raw reused", "scores cut off"]);
    assert_eq!(told.reason("model"), "forced");
}

#[test]
fn a_missing_or_damaged_output_runs_that_step_alone() {
    let desk = Desk::new();
    let pipeline = churn(&desk);
    let digest = desk.run(&pipeline).digest("model", "out");
    desk.store.damage(&digest);
    let told = desk.run(&pipeline);
    assert_eq!(told.sorted_story(), ["model executed", "parts reused", "raw reused", "scores cut off"]);
    assert_eq!(told.reason("model"), "stored output `out` is missing or damaged");
    desk.store.remove(&digest);
    assert_eq!(desk.run(&pipeline).outcome.steps.executed, 1);
    assert_eq!(desk.run(&pipeline).outcome.steps.executed, 0);
}

#[test]
fn targets_bring_only_what_they_need() {
    let desk = Desk::new();
    let pipeline = churn(&desk);
    let told = desk.run_with(&pipeline, |request| request.targets = vec!["parts.test".into()]);
    assert_eq!(told.story(), ["raw executed", "parts executed"]);
}

#[test]
fn unknown_names_are_told_all_at_once() {
    let desk = Desk::new();
    let pipeline = churn(&desk);
    let mut request = desk.request();
    request.targets = vec!["modle".into(), "raw".into()];
    request.force = vec!["zzz".into()];
    let error = desk.try_run(&pipeline, request).err().unwrap();
    assert_eq!(error.to_string(), "pipeline `churn` has no steps `modle`, `zzz`");
    assert_eq!(error.help().as_deref(), Some("did you mean `model`?"));
    assert!(matches!(error, RunError::UnknownNames { .. }));
    assert!(desk.store.records().is_empty());
}

#[test]
fn the_plan_says_what_the_run_then_does() {
    let desk = Desk::new();
    let mut pipeline = churn(&desk);
    desk.run(&pipeline);
    edit_call(&mut pipeline, "parts", |call| _ = call.params.insert("seed", Value::Int(7)));
    let plan = desk.engine.plan(&pipeline, &desk.request()).unwrap();
    let told: Vec<(&str, &Decision, &str)> =
        plan.steps.iter().map(|step| (step.step.as_str(), &step.decision, step.reason.as_str())).collect();
    let until = "parts".to_owned();
    assert_eq!(
        told,
        [
            ("raw", &Decision::Reuse { from_run: "run1".into() }, "same key as in run run1"),
            ("parts", &Decision::Run, "param seed: none -> 7"),
            ("model", &Decision::Unknown { until: until.clone() }, "unknown until `parts` has run"),
            ("scores", &Decision::Unknown { until }, "unknown until `parts` has run"),
        ]
    );
    let run = desk.run(&pipeline);
    assert!(matches!(&run.events[1], Event::Planned { steps, .. } if *steps == plan.steps));
    assert_eq!(run.sorted_story(), ["model cut off", "parts executed", "raw reused", "scores cut off"]);
}

#[test]
fn a_plan_changes_nothing() {
    let desk = Desk::new();
    desk.engine.plan(&churn(&desk), &desk.request()).unwrap();
    assert_eq!((desk.store.records().len(), desk.store.n_objects()), (0, 0));
}

#[test]
fn two_steps_with_the_same_key_are_executed_once() {
    let desk = Desk::new();
    desk.write("a.csv", "a\n");
    let read = |name: &str| step(name, "read", &[("file", desk.file("a.csv"))], &[], table());
    let told = desk.run(&pipeline(vec![read("one"), read("two")]));
    assert_eq!((told.outcome.steps.executed, told.outcome.steps.reused), (1, 1));
}

#[test]
fn folders_go_in_and_out_whole() {
    let desk = Desk::new();
    desk.write("images/b/2.txt", "two");
    desk.write("images/1.txt", "one");
    desk.runner.add("copy", |step| {
        let target = step.work_dir.join("copied");
        copy_folder(&step.inputs["from"].path, &target);
        let produced = Produced { kind: ArtifactKind::Folder, path: "copied".into() };
        Ok(Outcome { outputs: [("out".to_owned(), produced)].into(), ..Outcome::default() })
    });
    let pipeline = pipeline(vec![
        step("one", "copy", &[("from", desk.folder("images"))], &[], Type::Folder),
        step("two", "copy", &[("from", out(0))], &[("nth", Value::Int(2))], Type::Folder),
    ]);
    let told = desk.run(&pipeline);
    assert_eq!(told.outcome.steps.executed, 2);
    assert_eq!(told.digest("one", "out"), told.digest("two", "out"));
    assert_eq!(desk.run(&pipeline).outcome.steps.executed, 0);

    // A file inside that is damaged makes the stored result a miss; the copy of it below is found again.
    desk.store.damage(&mlp_model::Digest::of(b"two"));
    assert_eq!(desk.run(&pipeline).sorted_story(), ["one executed", "two cut off"]);
    // A new empty folder is no content; a new file is.
    fs::create_dir(desk.path("images/empty")).unwrap();
    assert_eq!(desk.run(&pipeline).outcome.steps.executed, 0);
    desk.write("images/b/3.txt", "three");
    assert_eq!(desk.run(&pipeline).outcome.steps.executed, 2);
}

fn copy_folder(from: &std::path::Path, to: &std::path::Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            fs::write(target, fs::read(entry.path()).unwrap()).unwrap();
        }
    }
}

#[test]
fn tables_with_personal_columns_are_kept_as_such() {
    let desk = Desk::new();
    let mut column = mlp_model::Column::plain("customerID", mlp_model::Scalar::Str);
    column.marks.personal = true;
    let personal = Type::Table(mlp_model::TableType { columns: vec![column].into(), ..Default::default() });
    let told = desk.run(&pipeline(vec![
        step("raw", "join", &[], &[("of", Value::Int(1))], personal),
        step("counts", "join", &[], &[("of", Value::Int(2))], table()),
    ]));
    assert!(desk.store.is_personal(&told.digest("raw", "out")));
    assert!(!desk.store.is_personal(&told.digest("counts", "out")));
}

#[test]
fn two_runs_at_once_execute_each_key_once() {
    let desk = Desk::new();
    let mut pipeline = churn(&desk);
    edit_call(&mut pipeline, "parts", |call| call.op = "slow_split".into());
    // The split of the first run does not end before the second run waits for it.
    let (let_go, wait) = mpsc::channel::<()>();
    let wait = Mutex::new(wait);
    desk.runner.add("slow_split", move |step| {
        wait.lock().unwrap().recv().unwrap();
        ordinary("split")(step)
    });
    let run = |on_event: &mut (dyn FnMut(&Event) + Send)| {
        let (_cancel, never) = watch::channel(None);
        run_to_the_end(&desk.engine, &pipeline, desk.request(), never, on_event).unwrap()
    };
    let (first_is_at, at_split) = mpsc::channel();
    std::thread::scope(|scope| {
        let first = scope.spawn(|| {
            run(&mut |event| {
                if matches!(event, Event::StepStarted { step, .. } if step == "parts") {
                    first_is_at.send(()).unwrap();
                }
            })
        });
        at_split.recv().unwrap();
        let second = scope.spawn(|| {
            run(&mut |event| {
                // The reader's result is there; its split is being made by the other run.
                if matches!(event, Event::StepReused { step, .. } if step == "raw") {
                    let_go.send(()).unwrap();
                }
            })
        });
        let (first, second) = (first.join().unwrap(), second.join().unwrap());
        let executed = first.outcome.steps.executed + second.outcome.steps.executed;
        assert_eq!((executed, first.outcome.steps.reused + second.outcome.steps.reused), (4, 4));
    });
    let mut started = desk.runner.take_started();
    started.sort();
    assert_eq!(started, ["model", "parts", "raw", "scores"]);
}
