//! Measures a store with many artifacts: how long its owner takes to open, how long the index takes to be made anew, and
//! how long questions of lineage take.
//!
//! `cargo run -p mlp-store --example many_artifacts [ARTIFACTS]` (100,000 if left out)

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use mlp_model::{
    ArtifactKind, Digest, GateCounts, InputRecord, KeyId, OutputRecord, Record, RunId, RunStatus, StepCounts, StepId,
    StepResult, Store, Timestamp,
};
use mlp_store::{Client, LostRecords, SystemClock, repair, serve_owner};

/// Steps of one run.
const STEPS: u64 = 1000;
/// Records of one commit, as a busy run sends them.
const GROUP: usize = 64;
/// Until an owner without clients has left.
const LEAVE: Duration = Duration::from_secs(3);

fn main() {
    let n_artifacts = std::env::args().nth(1).map_or(100_000, |text| text.parse().expect("a number of artifacts"));
    let folder = std::env::temp_dir().join(format!("mlp-many-artifacts-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a temporary folder");
    measure(&folder, n_artifacts);
    std::fs::remove_dir_all(&folder).expect("it is ours");
}

fn measure(folder: &Path, n_artifacts: u64) {
    let client = connect(folder);
    let started = Instant::now();
    for run in 0..n_artifacts.div_ceil(STEPS) {
        let records: Vec<Record> = records(run, n_artifacts).collect();
        records.chunks(GROUP).for_each(|group| commit(&client, group.to_vec()));
    }
    println!("{n_artifacts} artifacts written in {:.1} s", started.elapsed().as_secs_f64());
    // Rows settle while nothing comes in.
    std::thread::sleep(Duration::from_secs(n_artifacts / 20_000 + 2));
    drop(client);
    std::thread::sleep(LEAVE);

    let started = Instant::now();
    let client = connect(folder);
    println!("owner opens in {:.0} ms", started.elapsed().as_secs_f64() * 1e3);

    let mut took: Vec<f64> = (0..2000_u64)
        .map(|n| {
            let at = n * 7919 % n_artifacts;
            let started = Instant::now();
            let made = client.producers(&artifact(at)).expect("an answer");
            let used = client.consumers(&artifact(at)).expect("an answer");
            assert!(made.len() == 1 && used.len() <= 1);
            started.elapsed().as_secs_f64() * 1e3
        })
        .collect();
    took.sort_by(f64::total_cmp);
    println!("lineage of an artifact, one step up and down: median {:.2} ms, p99 {:.2} ms", took[1000], took[1980]);
    drop(client);
    std::thread::sleep(LEAVE);

    let started = Instant::now();
    let done = repair(folder, LostRecords::Refuse, Arc::new(SystemClock)).expect("a sound store");
    println!("index made anew from {} records in {:.1} s", done.n_records, started.elapsed().as_secs_f64());
}

fn connect(folder: &Path) -> Client {
    let workspace = folder.to_owned();
    let spawn = move || {
        let workspace = workspace.clone();
        std::thread::spawn(move || serve_owner(&workspace, Duration::ZERO, Arc::new(SystemClock)));
        Ok(())
    };
    Client::connect(folder, Box::new(spawn), Arc::new(SystemClock)).expect("a store")
}

fn commit(client: &Client, records: Vec<Record>) {
    let (tell, hear) = channel();
    client.commit(records, None, Box::new(move |result| _ = tell.send(result)));
    hear.recv().expect("an answer").expect("a durable commit");
}

fn artifact(n: u64) -> Digest {
    Digest::of(&n.to_le_bytes())
}

/// A run whose steps form a chain.
fn records(run_no: u64, n_artifacts: u64) -> impl Iterator<Item = Record> {
    let run = RunId(format!("{run_no:012x}"));
    let first = run_no * STEPS;
    let n_steps = STEPS.min(n_artifacts - first);
    let started = Record::RunStarted {
        run: run.clone(),
        pipeline: "chain".into(),
        file: "chain.mlp".into(),
        params: BTreeMap::new(),
        trigger: "by hand".into(),
        mlp_version: "0.1.0".into(),
        host: "here".into(),
        at: Timestamp(0),
    };
    let finished = Record::RunFinished {
        run: run.clone(),
        status: RunStatus::Succeeded,
        steps: StepCounts::default(),
        gates: GateCounts::default(),
        seconds: 1.0,
        at: Timestamp(1),
    };
    let steps = (first..first + n_steps).map(move |n| {
        let input =
            InputRecord { name: "data".into(), digest: artifact(n.wrapping_sub(1)), shown: "before.out".into() };
        let output = OutputRecord { name: "out".into(), digest: artifact(n), kind: ArtifactKind::Table, size_bytes: 9 };
        let result = StepResult {
            key: KeyId(Digest::of(format!("key {n}").as_bytes())),
            key_object: Digest::of(format!("fields {n}").as_bytes()),
            op: "sql".into(),
            attempt: 1,
            inputs: vec![input],
            outputs: vec![output],
            facts: BTreeMap::from([("rows".into(), 7043.0), ("columns".into(), 21.0)]),
            environment: BTreeMap::from([("mlp".into(), "0.1.0".into())]),
            seconds: 0.25,
            peak_mem_bytes: None,
            at: Timestamp(0),
        };
        let step = StepId { pipeline: "chain".into(), step: format!("step{}", n % STEPS) };
        Record::StepFinished { run: run.clone(), step, result }
    });
    [started].into_iter().chain(steps).chain([finished])
}
