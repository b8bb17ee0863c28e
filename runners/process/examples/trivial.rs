//! Measures what a trivial step costs: `cargo run -p mlp-process --example trivial -- [N] [JOBS]`.
//!
//! The command is `:`, through the runner alone: no engine, no store. Shown are median, 99th percentile and mean of a
//! step's time, and the time a step of all.

use std::collections::BTreeMap;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use mlp_model::{Named, RunId, Runner, RunnerEvent, StartStep, Value};
use mlp_process::ProcessRunner;

fn main() {
    let mut args = std::env::args().skip(1).filter_map(|arg| arg.parse::<usize>().ok());
    let (n_steps, n_jobs) = (args.next().unwrap_or(1000), args.next().unwrap_or(1));
    let runner = Arc::new(ProcessRunner::new(std::env::vars_os(), Arc::new(|_, _| {})));
    for round in 0..2 {
        for confine in ["off", "on"] {
            let params = [("command", ":"), ("confine", confine)];
            let params: Named<Value> = params.map(|(name, text)| (name.to_owned(), Value::Str(text.to_owned()))).into();
            let began = Instant::now();
            let workers: Vec<_> = (0..n_jobs)
                .map(|_| {
                    let (runner, params) = (Arc::clone(&runner), params.clone());
                    std::thread::spawn(move || {
                        (0..n_steps / n_jobs).map(|_| once(&runner, &params)).collect::<Vec<_>>()
                    })
                })
                .collect();
            let mut took: Vec<Duration> =
                workers.into_iter().flat_map(|worker| worker.join().expect("the worker ends")).collect();
            let all = began.elapsed();
            took.sort();
            let mean = took.iter().sum::<Duration>() / took.len() as u32;
            println!(
                "round {round}  confine: {confine:<3}  median {:?}  p99 {:?}  mean {mean:?}  all in {:?} a step",
                took[took.len() / 2],
                took[took.len() * 99 / 100],
                all / took.len() as u32
            );
        }
    }
}

fn once(runner: &ProcessRunner, params: &Named<Value>) -> Duration {
    let place = tempfile::tempdir().expect("a temporary folder");
    let step = StartStep {
        run: RunId("c0ffee".to_owned()),
        step: "trivial".to_owned(),
        attempt: 1,
        op: "sh".to_owned(),
        params: params.clone(),
        inputs: BTreeMap::new(),
        outputs: Vec::new(),
        environment: BTreeMap::new(),
        work_dir: place.path().to_owned(),
        timeout: None,
        gpus: Vec::new(),
        idempotency_key: None,
    };
    let (sender, events) = mpsc::channel();
    let began = Instant::now();
    let handle = runner.start(step, Box::new(move |event| sender.send(event).expect("somebody listens")));
    while let Ok(event) = events.recv() {
        if let RunnerEvent::Finished(result) = event {
            result.expect("the step succeeds");
        }
    }
    drop(handle);
    began.elapsed()
}
