//! The same against the real store, whose owner runs on a thread here.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use mlp_engine::{Direction, Engine, LineageStart, ReleaseOutcome};
use mlp_model::{NodeKind, Part, Pipeline, Release, Runner, Value};
use mlp_store::{Client, Clock, SystemClock};
use tokio::sync::watch;

use crate::support::*;

pub fn connect(workspace: &Path) -> Arc<Client> {
    let root = workspace.to_owned();
    let spawn = move || {
        let root = root.clone();
        std::thread::spawn(move || mlp_store::serve_owner(&root, Duration::ZERO, Arc::new(SystemClock)));
        Ok(())
    };
    Arc::new(Client::connect(workspace, Box::new(spawn), Arc::new(SystemClock)).unwrap())
}

pub fn engine_on(store: Arc<Client>, runner: &Arc<TestRunner>) -> Engine {
    let runners: BTreeMap<String, Arc<dyn Runner>> = BTreeMap::from([("test".to_owned(), runner.clone() as _)]);
    Engine::new(store, runners, Arc::new(|| SystemClock.now()))
}

fn churn(desk: &Desk, auc: f64) -> Pipeline {
    desk.write("telco.csv", "a\nb\n");
    let parts = BTreeMap::from([("model".to_owned(), Part::Output { node: 1, output: "out".into() })]);
    let release = Release { name: "churn".into(), parts, gates: vec![] };
    pipeline(vec![
        step("raw", "read", &[("file", desk.file("telco.csv"))], &[], table()),
        step("model", "train", &[("data", out(0))], &[("auc", Value::Float(auc))], model()),
        node("churn", NodeKind::Release(release)),
    ])
}

fn run(engine: &Engine, desk: &Desk, pipeline: &Pipeline) -> Told {
    let (_cancel, never) = watch::channel(None);
    run_to_the_end(engine, pipeline, desk.request(), never, |_| {}).unwrap()
}

#[test]
fn results_releases_and_answers_outlive_the_process() {
    let desk = Desk::new();
    let workspace = tempfile::tempdir().unwrap();
    let engine = engine_on(connect(workspace.path()), &desk.runner);
    assert_eq!(run(&engine, &desk, &churn(&desk, 0.8)).story(), ["raw executed", "model executed"]);
    let second = run(&engine, &desk, &churn(&desk, 0.9));
    assert_eq!(second.story(), ["raw reused", "model executed"]);
    drop(engine);

    let engine = engine_on(connect(workspace.path()), &desk.runner);
    let third = run(&engine, &desk, &churn(&desk, 0.9));
    assert_eq!(third.story(), ["raw reused", "model reused"]);
    assert_eq!(third.outcome.releases[0].outcome, ReleaseOutcome::Kept { version: 2 });
    let back = engine.rollback("churn", None, "declines").unwrap();
    assert_eq!((back.from.version, back.to.version), (2, 1));
    let held = run(&engine, &desk, &churn(&desk, 0.9));
    assert_eq!(held.outcome.releases[0].outcome, ReleaseOutcome::Held { version: 2, live: Some(1) });

    let why = engine.why(&desk.id("model"), None).unwrap();
    let changed = why.comparison.unwrap().difference.changed;
    assert_eq!((changed[0].before.as_deref(), changed[0].after.as_deref()), (Some("0.8"), Some("0.9")));
    let start = LineageStart::Model { release: "churn".into(), version: Some(1.into()) };
    let lineage = engine.lineage(start, Direction::Up).unwrap();
    assert_eq!((lineage.objects.present, lineage.objects.total, lineage.nodes.len()), (3, 3, 6));
}

#[test]
fn two_clients_execute_each_key_once() {
    let desk = Desk::new();
    let workspace = tempfile::tempdir().unwrap();
    let pipeline = churn(&desk, 0.8);
    let told: Vec<Told> = std::thread::scope(|scope| {
        let runs = [(); 2]
            .map(|()| scope.spawn(|| run(&engine_on(connect(workspace.path()), &desk.runner), &desk, &pipeline)));
        runs.map(|run| run.join().unwrap()).into()
    });
    let executed: usize = told.iter().map(|told| told.outcome.steps.executed).sum();
    let mut started = desk.runner.take_started();
    started.sort();
    assert_eq!((executed, started), (2, vec!["model".to_owned(), "raw".to_owned()]));
}
