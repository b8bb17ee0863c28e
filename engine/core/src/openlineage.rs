//! A run as OpenLineage events, for catalogues that speak it: <https://openlineage.io/spec/2-0-2/OpenLineage.json>.
//!
//! Their *Run* is our attempt, their *Job* our step, their *Dataset* our artifact; our run is the parent of its attempts.
//! An attempt gives a `START` and a `COMPLETE`, or a `FAIL`; a step that was reused gives nothing, since nothing ran. Facets
//! carry digests, names, counts and figures, never a cell's value. Equal records give equal events: ids are drawn from what
//! they name.

use mlp_model::{
    Digest, Facts, InputRecord, OutputRecord, Record, RunId, RunStatus, StepId, StepResult, Stored, Timestamp,
};
use serde_json::{Value, json};

use crate::instant::instant;

const SCHEMA: &str = "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent";
const FACETS: &str = "https://openlineage.io/spec/facets";

/// Turns the records of one run into events, in their order. `namespace` names the workspace, `producer` this program.
pub fn events(records: &[Stored], namespace: &str, producer: &str) -> Vec<Value> {
    let mut teller = Teller { namespace, producer, pipeline: String::new(), events: Vec::new() };
    for stored in records {
        teller.tell(&stored.record);
    }
    teller.events
}

struct Teller<'a> {
    namespace: &'a str,
    producer: &'a str,
    pipeline: String,
    events: Vec<Value>,
}

impl Teller<'_> {
    fn tell(&mut self, record: &Record) {
        match record {
            Record::RunStarted { run, pipeline, mlp_version, at, .. } => {
                self.pipeline.clone_from(pipeline);
                let engine = json!({ "name": "mlp", "version": mlp_version });
                let facets = json!({ "processing_engine": self.facet("1-1-1/ProcessingEngineRunFacet", engine) });
                self.run_event("START", run, *at, facets);
            }
            Record::RunFinished { run, status, at, .. } => {
                let event_type = match status {
                    // A gate that refuses has done its work.
                    RunStatus::Succeeded | RunStatus::Refused | RunStatus::Waiting => "COMPLETE",
                    RunStatus::Failed | RunStatus::Rejected => "FAIL",
                    RunStatus::Cancelled | RunStatus::OverBudget => "ABORT",
                };
                self.run_event(event_type, run, *at, json!({}));
            }
            Record::StepFinished { run, step, result } => self.attempt(run, step, result),
            Record::StepFailed { run, step, attempt, error, at, .. } => {
                let message = json!({ "message": error.message, "programmingLanguage": "mlp" });
                let mut facets = self.attempt_facets(run);
                facets["errorMessage"] = self.facet("1-0-1/ErrorMessageRunFacet", message);
                let id = attempt_id(run, step, *attempt);
                self.push("FAIL", &id, *at, facets, self.job(&step.to_string(), "STEP"), json!([]), json!([]));
            }
            _ => {}
        }
    }

    fn run_event(&mut self, event_type: &str, run: &RunId, at: Timestamp, facets: Value) {
        let job = self.job(&self.pipeline, "PIPELINE");
        self.push(event_type, &run_id(run), at, facets, job, json!([]), json!([]));
    }

    fn attempt(&mut self, run: &RunId, step: &StepId, result: &StepResult) {
        let id = attempt_id(run, step, result.attempt);
        let job = self.job(&step.to_string(), "STEP");
        let inputs: Value = result.inputs.iter().map(|input| self.input(step, input)).collect();
        let started = Timestamp(result.at.0 - (result.seconds * 1000.0) as i64);
        self.push("START", &id, started, self.attempt_facets(run), job.clone(), inputs.clone(), json!([]));
        let outputs: Value = result.outputs.iter().map(|output| self.output(step, output, &result.facts)).collect();
        self.push("COMPLETE", &id, result.at, self.attempt_facets(run), job, inputs, outputs);
    }

    #[expect(clippy::too_many_arguments, reason = "the members of an event, each once")]
    fn push(
        &mut self,
        event_type: &str,
        id: &str,
        at: Timestamp,
        facets: Value,
        job: Value,
        inputs: Value,
        outputs: Value,
    ) {
        self.events.push(json!({
            "eventType": event_type,
            "eventTime": instant(at),
            "run": { "runId": id, "facets": facets },
            "job": job,
            "inputs": inputs,
            "outputs": outputs,
            "producer": self.producer,
            "schemaURL": SCHEMA,
        }));
    }

    fn attempt_facets(&self, run: &RunId) -> Value {
        let parent = json!({
            "run": { "runId": run_id(run) },
            "job": { "namespace": self.namespace, "name": self.pipeline },
        });
        json!({ "parent": self.facet("1-0-1/ParentRunFacet", parent) })
    }

    fn job(&self, name: &str, kind: &str) -> Value {
        let kind = json!({ "processingType": "BATCH", "integration": "MLP", "jobType": kind });
        let facets = json!({ "jobType": self.facet("2-0-3/JobTypeJobFacet", kind) });
        json!({ "namespace": self.namespace, "name": name, "facets": facets })
    }

    /// An input is known by what a person calls it: a node's output, a path, a part of a release.
    fn input(&self, step: &StepId, input: &InputRecord) -> Value {
        let is_output = input.shown.rsplit_once('.').is_some_and(|(node, _)| !node.contains(['/', '@', '.']))
            && !input.shown.contains('/');
        let name = if is_output { format!("{}.{}", step.pipeline, input.shown) } else { input.shown.clone() };
        json!({
            "namespace": self.namespace,
            "name": name,
            "facets": self.version(&input.digest),
            "inputFacets": {},
        })
    }

    fn output(&self, step: &StepId, output: &OutputRecord, facts: &Facts) -> Value {
        let mut statistics = json!({ "size": output.size_bytes });
        if let Some(rows) = facts.get("rows").filter(|rows| rows.fract() == 0.0 && **rows >= 0.0) {
            statistics["rowCount"] = json!(*rows as u64);
        }
        let statistics = self.facet("1-0-2/OutputStatisticsOutputDatasetFacet", statistics);
        json!({
            "namespace": self.namespace,
            "name": format!("{step}.{}", output.name),
            "facets": self.version(&output.digest),
            "outputFacets": { "outputStatistics": statistics },
        })
    }

    fn version(&self, digest: &Digest) -> Value {
        let version = json!({ "datasetVersion": digest.to_string() });
        json!({ "version": self.facet("1-0-1/DatasetVersionDatasetFacet", version) })
    }

    /// Adds what every facet has.
    fn facet(&self, schema: &str, mut members: Value) -> Value {
        let (version, name) = schema.split_once('/').unwrap_or(("1-0-0", schema));
        members["_producer"] = json!(self.producer);
        members["_schemaURL"] = json!(format!("{FACETS}/{version}/{name}.json#/$defs/{name}"));
        members
    }
}

fn run_id(run: &RunId) -> String {
    uuid(&format!("run {run}"))
}

fn attempt_id(run: &RunId, step: &StepId, attempt: u32) -> String {
    uuid(&format!("run {run} step {step} attempt {attempt}"))
}

/// Makes an id of the form that OpenLineage asks for (RFC 9562, version 8: our own way of filling it).
fn uuid(of: &str) -> String {
    let mut bytes: [u8; 16] = std::array::from_fn(|at| Digest::of(of.as_bytes()).0[at]);
    bytes[6] = bytes[6] & 0x0F | 0x80;
    bytes[8] = bytes[8] & 0x3F | 0x80;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use mlp_model::{ArtifactKind, GateCounts, KeyId, StepCounts};

    use super::*;

    fn stored(records: Vec<Record>) -> Vec<Stored> {
        records.into_iter().zip(1..).map(|(record, seq)| Stored { seq, record }).collect()
    }

    fn records() -> Vec<Stored> {
        let (run, step) = (RunId("0a1b".into()), StepId { pipeline: "churn".into(), step: "clean".into() });
        let input = |shown: &str| InputRecord { name: "data".into(), digest: Digest::of(b"raw"), shown: shown.into() };
        let result = StepResult {
            key: KeyId(Digest::of(b"key")),
            key_object: Digest::of(b"key"),
            op: "sql".into(),
            attempt: 1,
            inputs: vec![input("raw.out"), input("data/telco.csv")],
            outputs: vec![OutputRecord {
                name: "out".into(),
                digest: Digest::of(b"clean"),
                kind: ArtifactKind::Table,
                size_bytes: 1024,
            }],
            facts: BTreeMap::from([("rows".into(), 7043.0)]),
            environment: BTreeMap::new(),
            seconds: 1.5,
            peak_mem_bytes: None,
            at: Timestamp(1_795_338_180_250),
        };
        stored(vec![
            Record::RunStarted {
                run: run.clone(),
                pipeline: "churn".into(),
                file: "churn.mlp".into(),
                params: BTreeMap::new(),
                trigger: "by hand".into(),
                mlp_version: "0.1.0".into(),
                host: "here".into(),
                at: Timestamp(1_795_338_178_000),
            },
            Record::StepFinished { run: run.clone(), step, result },
            Record::RunFinished {
                run,
                status: RunStatus::Succeeded,
                steps: StepCounts::default(),
                gates: GateCounts::default(),
                seconds: 2.0,
                at: Timestamp(1_795_338_181_000),
            },
        ])
    }

    #[test]
    fn a_run_gives_a_start_and_an_end_for_itself_and_for_each_attempt() {
        let events = events(&records(), "file:///ws", "https://example.org/mlp");
        let told: Vec<_> = events
            .iter()
            .map(|event| format!("{} {}", event["eventType"].as_str().unwrap(), event["job"]["name"].as_str().unwrap()))
            .collect();
        assert_eq!(told, ["START churn", "START churn.clean", "COMPLETE churn.clean", "COMPLETE churn"]);
        let complete = &events[2];
        assert_eq!(complete["eventTime"], "2026-11-22T09:03:00.250Z");
        assert_eq!(events[1]["eventTime"], "2026-11-22T09:02:58.750Z");
        assert_eq!(complete["run"]["facets"]["parent"]["run"]["runId"], events[0]["run"]["runId"]);
        assert_eq!(complete["inputs"][0]["name"], "churn.raw.out");
        assert_eq!(complete["inputs"][1]["name"], "data/telco.csv");
        assert_eq!(complete["outputs"][0]["name"], "churn.clean.out");
        assert_eq!(complete["outputs"][0]["outputFacets"]["outputStatistics"]["rowCount"], 7043);
        assert_eq!(complete["outputs"][0]["facets"]["version"]["datasetVersion"], Digest::of(b"clean").to_string());
    }

    /// What the public schema requires of a RunEvent, of its members and of every facet.
    #[test]
    fn every_event_has_the_members_that_the_schema_requires() {
        for event in events(&records(), "file:///ws", "https://example.org/mlp") {
            for member in ["eventTime", "producer", "schemaURL"] {
                assert!(event[member].is_string(), "{member}");
            }
            let id = event["run"]["runId"].as_str().unwrap();
            let lens: Vec<usize> = id.split('-').map(str::len).collect();
            assert_eq!(lens, [8, 4, 4, 4, 12], "{id}");
            let datasets = ["inputs", "outputs"].into_iter().flat_map(|side| event[side].as_array().unwrap());
            for named in datasets.chain([&event["job"]]) {
                assert!(named["namespace"].is_string() && named["name"].is_string(), "{named}");
            }
            let mut open = vec![&event["run"]["facets"], &event["job"]["facets"]];
            for dataset in ["inputs", "outputs"].into_iter().flat_map(|side| event[side].as_array().unwrap()) {
                open.extend([&dataset["facets"], &dataset["inputFacets"], &dataset["outputFacets"]]);
            }
            for facet in open.iter().filter_map(|facets| facets.as_object()).flat_map(|facets| facets.values()) {
                assert!(facet["_producer"].is_string() && facet["_schemaURL"].is_string(), "{facet}");
            }
        }
    }
}
