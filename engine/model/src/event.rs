//! Everything a run tells: one enum that the terminal, `--json`, the recorder and later a web page all read.
//!
//! As JSON: one object a line, `event` names the variant. Adding fields and variants is compatible; changing or
//! removing them raises [`Event::VERSION`], which `run_started` carries.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Facts, OutputRecord, PlannedStep, Progress, RunId, StepError, Timestamp};

/// Something that happened in a run, in the past tense.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    RunStarted {
        version: u32,
        run: RunId,
        pipeline: String,
        file: String,
        at: Timestamp,
        n_steps: usize,
    },
    /// What the run expects to do, before it does it.
    Planned {
        run: RunId,
        steps: Vec<PlannedStep>,
    },
    /// The values of a loop became known: it is so many rounds, and the run so many steps.
    LoopUnfolded {
        run: RunId,
        name: String,
        n_rounds: usize,
        n_steps: usize,
    },
    /// It could start, but other runs have what it needs, and have had it for a while. Told again when that changes.
    StepWaits {
        run: RunId,
        step: String,
        /// The other runs.
        runs: Vec<RunId>,
        /// Of what too little is left: `cpu`, `mem`, `token licence`, `gpu GPU-1234`; none: another run executes the same step.
        lacks: Vec<String>,
    },
    StepStarted {
        run: RunId,
        step: String,
        op: String,
        attempt: u32,
        reason: String,
    },
    StepProgressed {
        run: RunId,
        step: String,
        progress: Progress,
    },
    /// A line that the step's program printed.
    StepPrinted {
        run: RunId,
        step: String,
        line: String,
    },
    /// Executed, and durably recorded.
    StepFinished {
        run: RunId,
        step: String,
        outputs: Vec<OutputRecord>,
        #[serde(deserialize_with = "crate::record::read_facts")]
        facts: Facts,
        seconds: f64,
        /// More than 1: it failed before, and is flaky.
        #[serde(default = "first")]
        attempt: u32,
        /// Of an effect: what its command was given to be known by.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        idempotency_key: Option<String>,
    },
    StepReused {
        run: RunId,
        step: String,
        from_run: RunId,
        outputs: Vec<OutputRecord>,
        #[serde(deserialize_with = "crate::record::read_facts")]
        facts: Facts,
        early_cutoff: bool,
        /// Of an effect, which was done then and is not done again.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        idempotency_key: Option<String>,
    },
    /// The attempt failed; `will_retry` tells whether another follows. Told again, with `will_retry` false, when the run
    /// ends before the next attempt could start.
    StepFailed {
        run: RunId,
        step: String,
        attempt: u32,
        error: StepError,
        will_retry: bool,
        /// How long the next attempt waits.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retry_in_seconds: Option<f64>,
        /// The run does not fail for it, as things stand: its loop tolerates so many failed rounds.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        tolerated: bool,
    },
    /// Rounds of a loop that tolerates some failed ones failed. Told at the end of the run.
    RoundsFailed {
        run: RunId,
        #[serde(flatten)]
        failed: FailedRounds,
    },
    StepSkipped {
        run: RunId,
        step: String,
        because: String,
    },
    /// The step was executed and its outputs have the bytes of an earlier result: this many steps after it, which might
    /// have had to run, are reused.
    CutOff {
        run: RunId,
        step: String,
        n_saved: usize,
    },
    GatePassed {
        run: RunId,
        gate: String,
        checks: Vec<CheckResult>,
    },
    GateRefused {
        run: RunId,
        gate: String,
        checks: Vec<CheckResult>,
    },
    /// A new version.
    Released {
        run: RunId,
        release: String,
        version: u64,
        bundle: crate::Digest,
    },
    /// The bundle is already live as this version.
    ReleaseKept {
        run: RunId,
        release: String,
        version: u64,
    },
    /// A gate refused or a needed step is missing; what was live stays so.
    ReleaseRefused {
        run: RunId,
        release: String,
        because: String,
        live: Option<u64>,
    },
    /// The bundle was rolled back from; it is not released again until the hold is lifted.
    ReleaseHeld {
        run: RunId,
        release: String,
        version: u64,
        live: Option<u64>,
    },
    RunFinished {
        run: RunId,
        status: RunStatus,
        steps: StepCounts,
        gates: GateCounts,
        seconds: f64,
    },
}

impl Event {
    pub const VERSION: u32 = 1;
}

fn first() -> u32 {
    1
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunStatus {
    Succeeded,
    /// A step failed (exit 1; 3 when the environment is to blame, 4 when we are).
    Failed,
    /// A gate refused (exit 10).
    Refused,
    /// Waits for an approval (exit 11).
    Waiting,
    /// Data breaks its schema (exit 12).
    Rejected,
    /// Interrupted (exit 130).
    Cancelled,
    /// Steps were left for another run, since they would have ended after the run's time budget (exit 130).
    OverBudget,
}

/// Rounds of a loop that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedRounds {
    /// The loop, with the rounds that it is in.
    pub name: String,
    /// As they stand in the names of nodes, in the order of the pipeline.
    pub rounds: Vec<String>,
    pub n_rounds: usize,
    /// What the loop tolerates.
    pub most: u32,
    /// Whether the run goes on without them.
    pub tolerated: bool,
}

/// Sources and steps, implicit ones included. Gates and releases are not counted here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct StepCounts {
    pub executed: usize,
    pub reused: usize,
    pub failed: usize,
    pub skipped: usize,
    /// Of the executed ones, those that failed before they succeeded.
    #[serde(default)]
    pub flaky: usize,
    /// Of the reused ones, those that might have had to run until early cutoff decided.
    #[serde(default)]
    pub cut_off: usize,
    /// Of the executed ones, those that wrote outside.
    #[serde(default)]
    pub effects: usize,
    /// Of the failed ones, those for which the run does not fail.
    #[serde(default)]
    pub tolerated: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct GateCounts {
    pub passed: usize,
    pub refused: usize,
}

/// How one check of a gate came out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CheckResult {
    pub name: String,
    pub verdict: Verdict,
    /// As written in the pipeline.
    pub text: String,
    /// Both sides, where they could be measured.
    pub left: Option<f64>,
    pub right: Option<f64>,
    /// Every metric that the check reads, as `report.metric`.
    pub metrics: BTreeMap<String, Option<f64>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    Passed,
    Failed,
    /// A metric is absent or no finite number; counts as refused.
    NotMeasurable,
    /// Needs a champion, there is none, and the gate's `first` rule leaves this check out.
    LeftOut,
}
