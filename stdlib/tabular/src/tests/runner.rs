use std::fs;
use std::sync::mpsc;
use std::time::Duration;

use mlp_model::{Cancel, ErrorClass, Runner, RunnerEvent, Scalar, Type};
use tempfile::TempDir;

use super::support::{Fixture, column, run, schema};
use crate::TabularRunner;

/// A step that reads `n_rows` rows.
fn reading(n_rows: usize) -> Fixture {
    let text = format!("a\n{}", "1\n".repeat(n_rows));
    let fixture = Fixture::new("csv.read").file("file", "a.csv", text.as_bytes());
    fixture.param("schema", schema(false, &[column("a", Scalar::Int)]))
}

#[test]
fn progress_counts_rows_and_the_end_comes_last_and_once() {
    let fixture = reading(200_000);
    let (sender, events) = mpsc::channel();
    TabularRunner::new(1).start(fixture.step.clone(), Box::new(move |event| _ = sender.send(event)));
    let all: Vec<_> = events.iter().collect();
    assert_eq!(all.iter().filter(|event| matches!(event, RunnerEvent::Finished(_))).count(), 1);
    assert!(matches!(all.last(), Some(RunnerEvent::Finished(Ok(_)))));
    let rows: Vec<_> = all
        .iter()
        .filter_map(|event| if let RunnerEvent::Progressed(progress) = event { Some(progress.done) } else { None })
        .collect();
    assert_eq!(rows, [65_536, 131_072, 196_608, 200_000]);
}

#[test]
fn a_cancelled_step_ends_as_cancelled() {
    let fixture = reading(1_000_000);
    let (sender, events) = mpsc::channel();
    let (first, began) = mpsc::channel();
    let (go, may_go_on) = mpsc::channel::<()>();
    let may_go_on = std::sync::Mutex::new(may_go_on);
    let handle = TabularRunner::new(1).start(
        fixture.step.clone(),
        Box::new(move |event| {
            if let RunnerEvent::Progressed(_) = event {
                let _ = first.send(());
                let _ = may_go_on.lock().unwrap().recv();
            }
            let _ = sender.send(event);
        }),
    );
    began.recv_timeout(Duration::from_secs(60)).unwrap();
    handle.cancel(Cancel::Gently);
    drop(go);
    let all: Vec<_> = events.iter().collect();
    let Some(RunnerEvent::Finished(Err(error))) = all.last() else { panic!("{all:?}") };
    assert_eq!((error.class, all.len()), (ErrorClass::Cancelled, 2));
}

#[test]
fn a_step_past_its_timeout_fails() {
    let mut fixture = reading(10);
    fixture.step.timeout = Some(Duration::ZERO);
    let error = fixture.error();
    assert_eq!((error.class, error.message.as_str()), (ErrorClass::Step, "took longer than its `timeout` of 0s"));
}

#[test]
fn more_steps_than_threads_all_end() {
    let runner = TabularRunner::new(1);
    let fixtures: Vec<_> = (0..6).map(|_| reading(100)).collect();
    std::thread::scope(|scope| {
        let steps: Vec<_> = fixtures.iter().map(|fixture| scope.spawn(|| run(&runner, fixture.step.clone()))).collect();
        for step in steps {
            step.join().unwrap().unwrap();
        }
    });
}

#[test]
fn an_unknown_operation_and_a_missing_input_are_bugs_of_ours() {
    assert_eq!(Fixture::new("csv.reed").error().class, ErrorClass::Bug);
    assert_eq!(Fixture::new("csv.read").error().class, ErrorClass::Bug);
    for op in TabularRunner::OPS {
        let error = Fixture::new(op).error();
        assert!(!error.message.contains("no operation"), "{op}: {error}");
    }
}

#[test]
fn a_result_that_cannot_be_written_is_a_matter_of_the_environment() {
    let mut fixture = reading(10);
    let folder = TempDir::new().unwrap();
    fs::create_dir(folder.path().join("out")).unwrap();
    fixture.step.work_dir = folder.path().to_owned();
    fixture.step.outputs = vec![("out".into(), Type::File)];
    let error = fixture.error();
    assert_eq!(
        (error.class, error.message.as_str()),
        (ErrorClass::Environment, "cannot write the result: it is a folder")
    );
}
