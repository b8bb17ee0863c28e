//! What the journal keeps: facts that must survive anything. As JSON objects, tagged by `record`.
//!
//! A record holds digests, names, counts and statistics, never cell values of columns marked `personal`.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};

use crate::{
    ArtifactKind, CheckResult, Digest, GateCounts, KeyId, RunId, RunStatus, StepCounts, StepError, StepId, Timestamp,
};

/// Numbers about a result that people like to see: `rows`, `columns`, `epochs`, `loss`, `auc`.
///
/// JSON has no number for one that is not finite: such a figure is written as `null` and read back as NaN.
pub type Facts = BTreeMap<String, f64>;

/// How [`Facts`] are read: `null` is a figure that is not finite. A record that could not be read back would damage the
/// journal, and training may well end in NaN.
pub(crate) fn read_facts<'de, D: Deserializer<'de>>(from: D) -> Result<Facts, D::Error> {
    let read = BTreeMap::<String, Option<f64>>::deserialize(from)?;
    Ok(read.into_iter().map(|(name, figure)| (name, figure.unwrap_or(f64::NAN))).collect())
}

/// A fact, as it is written once and never changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "record", rename_all = "snake_case")]
pub enum Record {
    RunStarted {
        run: RunId,
        pipeline: String,
        /// The pipeline file, relative to the workspace.
        file: String,
        /// Parameters given by hand, as the language writes them.
        params: BTreeMap<String, String>,
        /// What started it: `by hand`.
        trigger: String,
        mlp_version: String,
        host: String,
        at: Timestamp,
    },
    StepFinished {
        run: RunId,
        step: StepId,
        result: StepResult,
    },
    StepReused {
        run: RunId,
        step: StepId,
        key: KeyId,
        at: Timestamp,
    },
    StepFailed {
        run: RunId,
        step: StepId,
        attempt: u32,
        key: KeyId,
        error: StepError,
        at: Timestamp,
    },
    GateDecided {
        run: RunId,
        gate: StepId,
        passed: bool,
        checks: Vec<CheckResult>,
        at: Timestamp,
    },
    /// Version `version` of `release` exists from now on and is live. `id` is globally unique.
    Released {
        id: String,
        release: String,
        version: u64,
        bundle: Digest,
        run: RunId,
        at: Timestamp,
    },
    /// `to` is live from now on; the bundle of `from` is held. Bundles tell versions apart where two stores that were
    /// merged had given the same number; records of older versions of mlp do not have them.
    RolledBack {
        id: String,
        release: String,
        from: u64,
        to: u64,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        from_bundle: Option<Digest>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        to_bundle: Option<Digest>,
        reason: String,
        at: Timestamp,
    },
    HoldLifted {
        id: String,
        release: String,
        version: u64,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        bundle: Option<Digest>,
        at: Timestamp,
    },
    /// Objects that no kept run or release needs were taken out of the store, or were about to be.
    Collected {
        /// Globally unique.
        id: String,
        /// Why these: the rules as the command line writes them.
        rules: String,
        n_objects: u64,
        size_bytes: u64,
        /// The object that lists them: their digests, 32 bytes each, sorted.
        objects: Digest,
        at: Timestamp,
    },
    /// A key was destroyed, or was about to be, so that what is encrypted with it can be read no more.
    Erased {
        /// Globally unique.
        id: String,
        partition: String,
        /// Names the key; it cannot be found from it.
        key: String,
        n_objects: u64,
        size_bytes: u64,
        /// The object that lists them: their digests, 32 bytes each, sorted.
        objects: Digest,
        at: Timestamp,
    },
    RunFinished {
        run: RunId,
        status: RunStatus,
        steps: StepCounts,
        gates: GateCounts,
        seconds: f64,
        at: Timestamp,
    },
}

impl Record {
    /// Returns the run that wrote the record; `None` for what no run writes.
    pub fn run(&self) -> Option<&RunId> {
        match self {
            Self::RunStarted { run, .. }
            | Self::StepFinished { run, .. }
            | Self::StepReused { run, .. }
            | Self::StepFailed { run, .. }
            | Self::GateDecided { run, .. }
            | Self::Released { run, .. }
            | Self::RunFinished { run, .. } => Some(run),
            Self::RolledBack { .. } | Self::HoldLifted { .. } | Self::Collected { .. } | Self::Erased { .. } => None,
        }
    }
}

/// What is known of a finished step under its cache key.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepResult {
    pub key: KeyId,
    /// The object that holds the key's fields (canonical JSON of [`crate::CacheKey`]).
    pub key_object: Digest,
    pub op: String,
    pub attempt: u32,
    /// In the order of the key: what it read, and what a person calls it.
    pub inputs: Vec<InputRecord>,
    pub outputs: Vec<OutputRecord>,
    #[serde(deserialize_with = "read_facts")]
    pub facts: Facts,
    /// What the runner found, whether or not it is in the key: `mlp`, `libtorch`, `device`, `threads`.
    pub environment: BTreeMap<String, String>,
    pub seconds: f64,
    /// The most memory that its processes had at once; `None` where nobody measured it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peak_mem_bytes: Option<u64>,
    pub at: Timestamp,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InputRecord {
    /// The argument.
    pub name: String,
    pub digest: Digest,
    /// A path as written, `NODE.OUTPUT`, or `RELEASE@VERSION.PART`.
    pub shown: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OutputRecord {
    pub name: String,
    pub digest: Digest,
    pub kind: ArtifactKind,
    pub size_bytes: u64,
}

/// A record as the journal returns it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Stored {
    /// Position in the journal, from 1, without gaps.
    pub seq: u64,
    pub record: Record,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_that_is_not_finite_survives_the_journal() {
        #[derive(Serialize, Deserialize)]
        struct Told {
            #[serde(deserialize_with = "read_facts")]
            facts: Facts,
        }
        let facts = [("auc", 0.5), ("loss", f64::NAN), ("norm", f64::INFINITY)];
        let told = Told { facts: facts.map(|(name, figure)| (name.to_owned(), figure)).into() };
        let text = serde_json::to_string(&told).unwrap();
        assert_eq!(text, r#"{"facts":{"auc":0.5,"loss":null,"norm":null}}"#);
        let read: Told = serde_json::from_str(&text).unwrap();
        assert_eq!(read.facts["auc"], 0.5);
        assert!(read.facts["loss"].is_nan() && read.facts["norm"].is_nan());
    }
}
