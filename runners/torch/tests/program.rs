//! The program as `mlp` runs it: found, started, fed with steps, described.

use std::process::Command;
use std::sync::Arc;
use std::sync::mpsc;

use mlp_model::{Outcome, Progress, Runner, RunnerEvent, StartStep, StepError, Value};
use mlp_torch_client::{TorchRunner, locate};
use tempfile::TempDir;

use crate::data::*;

fn runner() -> TorchRunner {
    TorchRunner::new(Arc::new(|_, _| {}), 1)
}

/// Runs a step in the worker program.
fn run_in(runner: &TorchRunner, step: StartStep) -> (Result<Outcome, StepError>, Vec<Progress>) {
    let (events, inbox) = mpsc::channel();
    let _handle = runner.start(step, Box::new(move |event| _ = events.send(event)));
    let mut told = Vec::new();
    for event in inbox {
        match event {
            RunnerEvent::Progressed(progress) => told.push(progress),
            RunnerEvent::Printed(_) => {}
            RunnerEvent::Finished(result) => return (result, told),
        }
    }
    panic!("the step never finished");
}

#[test]
fn the_worker_trains_and_predicts_what_the_library_does() {
    let [here, there, elsewhere] = [(); 3].map(|()| TempDir::new().unwrap());
    let data = write_table(here.path(), "data", &table());
    let runner = runner();

    let step = |folder: &TempDir| train_step(folder.path(), data.clone(), "churned", perceptron(&[16], 0.2));
    let (result, progress) = run_in(&runner, step(&there));
    let outcome = result.unwrap();
    assert_eq!(progress.last().map(|progress| progress.done), Some(30));
    assert_eq!(outcome.environment["device"], "cpu");
    assert_eq!(outcome.environment["libtorch"], mlp_torch_client::LIBTORCH);
    let model = outcome.outputs["out"].path.clone();
    let (again, _) = run_in(&self::runner(), step(&elsewhere));
    assert!(std::fs::read(&model).unwrap() == std::fs::read(&again.unwrap().outputs["out"].path).unwrap());
    // Bytes differ: the worker also fixes which of its kernels the library may choose, this process does not.
    let ours = make(&step(&here));

    let step = |folder: &TempDir| predict_step(folder.path(), model.clone(), data.clone(), &[], None);
    let (result, _) = run_in(&runner, step(&there));
    let predictions = read_table(&result.unwrap().outputs["out"].path);
    let step = predict_step(here.path(), ours, data.clone(), &[], None);
    assert_close(&column(&predictions, "score"), &column(&read_table(&make(&step)), "score"), 1e-5);
}

#[test]
fn an_error_in_the_worker_arrives_whole_and_the_next_step_works() {
    let folder = TempDir::new().unwrap();
    let data = write_table(folder.path(), "customers", &table());
    let runner = runner();
    let step = train_step(folder.path(), data, "churned", logistic(1.0));
    let bad = set(step.clone(), "features", names(&["size"]));
    let (result, _) = run_in(&runner, bad.clone());
    assert_eq!(result.unwrap_err(), run(&bad).unwrap_err());
    run_in(&runner, step).0.unwrap();
}

#[test]
fn threads_are_part_of_the_environment_and_fixed_for_the_worker() {
    let folder = TempDir::new().unwrap();
    let data = write_table(folder.path(), "data", &table());
    let mut step = set(train_step(folder.path(), data, "churned", perceptron(&[16], 0.0)), "threads", Value::Int(2));
    step.environment.insert("threads".into(), "2".into());
    let (result, _) = run_in(&runner(), step);
    assert_eq!(result.unwrap().environment["threads"], "2");
}

#[test]
fn the_program_describes_the_libtorch_it_runs_with() {
    let located = locate().unwrap();
    let path = std::env::join_paths(&located.library_folders).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_mlp-torch")).arg("--describe").env("LD_LIBRARY_PATH", path).output();
    let described: serde_json::Value = serde_json::from_slice(&output.unwrap().stdout).unwrap();
    assert_eq!(described["libtorch"], mlp_torch_client::LIBTORCH);
    assert_eq!(described["cuda_built"], located.has_cuda);
    assert_eq!(described["cuda_available"].as_bool(), Some(described["why_no_cuda"].is_null()));
}
