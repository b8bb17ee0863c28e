//! The runner with real worker processes, and the transform that ships with the churn pipeline.

mod support;

use std::path::Path;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use arrow::array::{ArrayRef, AsArray, Float64Array, Int64Array};
use arrow::datatypes::Float64Type;
use mlp_model::{Cancel, Column, ErrorClass, Handle, Outcome, Runner, RunnerEvent, Scalar, StepError};
use mlp_wasm::{WasmConfig, WasmRunner};
use support::{Bench, Told};

type Ended = mpsc::Receiver<Result<Outcome, StepError>>;

fn runner() -> WasmRunner {
    WasmRunner::new(WasmConfig {
        // With the cache of the tests, not the one of whoever runs them.
        program: "/usr/bin/env".into(),
        args: vec![
            concat!("XDG_CACHE_HOME=", env!("CARGO_TARGET_TMPDIR")).into(),
            env!("CARGO_BIN_EXE_mlp-wasm-sample").into(),
        ],
        max_idle: 1,
        watch: Arc::new(|_, _| {}),
    })
}

fn start(runner: &WasmRunner, bench: &Bench) -> (Box<dyn Handle>, Ended) {
    let (send, ended) = mpsc::channel();
    let report = Box::new(move |event| {
        if let RunnerEvent::Finished(result) = event {
            let _ = send.send(result);
        }
    });
    (runner.start(bench.step.clone(), report), ended)
}

fn clean(charges: Vec<Option<f64>>) -> Bench {
    let clean = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../pipelines/churn/transforms/clean.py");
    let n_rows = charges.len() as i64;
    let charge = |optional| Column { optional, ..Column::plain("TotalCharges", Scalar::Float) };
    let table: [(Column, ArrayRef); 3] = [
        (
            Column::plain("SeniorCitizen", Scalar::Int),
            Arc::new(Int64Array::from_iter_values((0..n_rows).map(|i| i % 2))),
        ),
        (Column::plain("tenure", Scalar::Int), Arc::new(Int64Array::from_iter_values(0..n_rows))),
        (charge(true), Arc::new(Float64Array::from(charges))),
    ];
    let adds = vec![charge(false), Column::plain("SeniorCitizen", Scalar::Bool)];
    Bench::new(&clean, &table, &["tenure", "TotalCharges", "SeniorCitizen"], adds)
}

#[test]
fn the_churn_transform_fills_bills_of_new_customers_alone() {
    let bench = clean(vec![None, Some(29.85), Some(1889.5)]);
    let runner = runner();
    let (_handle, ended) = start(&runner, &bench);
    ended.recv().unwrap().unwrap();
    let batch = bench.result().batches().next().unwrap().unwrap();
    let senior: Vec<_> = batch.column(0).as_boolean().values().iter().collect();
    assert_eq!(senior, [false, true, false]);
    assert_eq!(batch.column(2).as_primitive::<Float64Type>().values(), &[0.0, 29.85, 1889.5]);

    // The same worker, with what it has loaded.
    let bench = clean(vec![None, None]);
    let (_handle, ended) = start(&runner, &bench);
    let error = ended.recv().unwrap().unwrap_err();
    assert_eq!((error.class, error.row), (ErrorClass::Data, Some(2)), "{error:#?}");
    assert_eq!(error.message, "`clean.py` refuses row 2: `TotalCharges` is blank, but the customer is not new");
}

#[test]
fn a_transform_that_never_ends_can_be_interrupted_or_timed_out() {
    // Built here, so that the step below has only to run.
    let mut bench = Bench::modes("good", 3);
    bench.profile("fast");
    bench.execute(&Told::default()).unwrap();

    let mut bench = Bench::modes("loop", 3);
    bench.profile("fast");
    let runner = runner();
    let (handle, ended) = start(&runner, &bench);
    handle.cancel(Cancel::Now);
    assert_eq!(ended.recv().unwrap().unwrap_err().class, ErrorClass::Cancelled);

    bench.step.timeout = Some(Duration::from_secs(2));
    let (_handle, ended) = start(&runner, &bench);
    let error = ended.recv().unwrap().unwrap_err();
    assert_eq!(error.class, ErrorClass::Step, "{error:#?}");
}
