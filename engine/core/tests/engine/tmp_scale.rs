use crate::support::*;
use mlp_engine::Engine;
use mlp_model::*;
use mlp_store::{Client, Clock, SystemClock};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;
struct Quick;
struct Nothing;
impl Handle for Nothing {
    fn cancel(&self, _: Cancel) {}
}
impl Runner for Quick {
    fn environment(&self, _: &Call) -> Result<BTreeMap<String, String>, StepError> {
        Ok(BTreeMap::new())
    }
    fn start(&self, step: StartStep, report: Box<dyn Fn(RunnerEvent) + Send + Sync>) -> Box<dyn Handle> {
        report(RunnerEvent::Finished(write_out(&step, &step.step)));
        Box::new(Nothing)
    }
}
#[test]
fn scale() {
    let n: usize = std::env::var("N").unwrap().parse().unwrap();
    let chain = std::env::var("CHAIN").is_ok();
    let desk = Desk::new();
    let workspace = tempfile::tempdir_in("/tmp").unwrap();
    let root = workspace.path().to_owned();
    let spawn = move || {
        let root = root.clone();
        std::thread::spawn(move || mlp_store::serve_owner(&root, Duration::ZERO, Arc::new(SystemClock)));
        Ok(())
    };
    let client = Arc::new(Client::connect(workspace.path(), Box::new(spawn), Arc::new(SystemClock)).unwrap());
    let runners: BTreeMap<String, Arc<dyn Runner>> = BTreeMap::from([("test".to_owned(), Arc::new(Quick) as _)]);
    let engine = Engine::new(client, runners, Arc::new(|| SystemClock.now()));
    let nodes = (0..n)
        .map(|i| {
            let inputs: Vec<(&str, Input)> = if chain && i > 0 { vec![("data", out(i - 1))] } else { vec![] };
            step(&format!("s{i}"), "q", &inputs, &[("i", Value::Int(i as i64))], report())
        })
        .collect();
    let p = pipeline(nodes);
    for round in 0..3 {
        let t = Instant::now();
        let plan = engine.plan(&p, &[], &[]).unwrap();
        eprintln!("plan {} {:?}", plan.steps.len(), t.elapsed());
        let t = Instant::now();
        let (_c, never) = watch::channel(None);
        let told = run_to_the_end(&engine, &p, desk.request(), never, |_| {}).unwrap();
        eprintln!("round {round} {:?} {:?} per step {:?}", told.outcome.steps, t.elapsed(), t.elapsed() / n as u32);
    }
}
