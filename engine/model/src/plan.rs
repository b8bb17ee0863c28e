//! A plan as it is shown: what a run would do with each node, as far as can be known before it.

use serde::{Deserialize, Serialize};

/// The answer of `mlp plan`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    pub pipeline: String,
    /// In an order in which they can run.
    pub steps: Vec<PlannedStep>,
    /// How long the run takes, from what its steps took before, if no uncertain step has to run. Steps without a past
    /// count as nothing; `n_without_past` says how many.
    #[serde(default)]
    pub seconds: f64,
    /// The same if every uncertain step has to run.
    #[serde(default)]
    pub seconds_at_most: f64,
    #[serde(default)]
    pub n_without_past: usize,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlannedStep {
    pub step: String,
    pub op: String,
    #[serde(flatten)]
    pub decision: Decision,
    /// One line for a person: `epochs changed from 30 to 60`, `first time`, `data/telco.csv changed`.
    pub reason: String,
    /// How long it takes if it runs, from its past. `None`: it will not run, or has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
    /// How much memory it takes if it runs, from its past.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mem_bytes: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "decision", rename_all = "snake_case")]
pub enum Decision {
    /// Its inputs are known and no stored result fits.
    Run,
    /// A stored result fits.
    Reuse { from_run: String },
    /// Depends on what `until` gives: its result may be the same bytes as before.
    Unknown { until: String },
    /// Will not run: an input is absent.
    Skip,
    /// Fails before it starts: what it reads from outside cannot be read.
    Fail,
    /// A gate or release: decided in every run.
    Decide,
}
