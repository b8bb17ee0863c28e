//! Where an artifact comes from and what came of it: artifacts, the attempts that made or read them, source files,
//! releases.
//!
//! Answers from records and stored keys. A flat list of nodes with edges, so that what two branches share stands once
//! and no depth is too great.

use std::collections::BTreeMap;

use mlp_model::{ArtifactKind, Digest, Facts, KeyId, RunId, StepId, StoreError, Timestamp};
use serde::{Deserialize, Serialize};

use crate::bundle::BundleError;
use crate::{Engine, RegistryError, VersionName};
use walk::Walk;

mod walk;

#[derive(Debug, Clone, PartialEq)]
pub enum LineageStart {
    Artifact(Digest),
    /// Without a version: the live one.
    Model {
        release: String,
        version: Option<VersionName>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// To what it was made of.
    Up,
    /// To what was made of it. Each thing stands once, where it was met first.
    Down,
}

/// The answer of `mlp lineage`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Lineage {
    pub direction: Direction,
    /// The first is the start. Edges never lead in a circle.
    pub nodes: Vec<LineageNode>,
    pub objects: ObjectCount,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LineageNode {
    pub fact: Fact,
    pub edges: Vec<Edge>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Edge {
    /// The argument, output or part.
    pub label: String,
    pub node: usize,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Fact {
    Release {
        release: String,
        version: u64,
        bundle: Digest,
        run: RunId,
        at: Timestamp,
        live: bool,
        held: bool,
    },
    Artifact {
        digest: Digest,
        /// `None` if no record tells.
        artifact: Option<ArtifactKind>,
        size_bytes: Option<u64>,
        /// Whether all its objects are in the store, whole.
        present: bool,
        /// Some of its objects were taken out of the store by `mlp gc`.
        #[serde(default)]
        collected: bool,
        /// The partition with whose key some of its objects were erased.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        erased: Option<String>,
    },
    Attempt {
        step: StepId,
        op: String,
        run: RunId,
        at: Timestamp,
        attempt: u32,
        seconds: f64,
        key: KeyId,
        /// As the language writes them, from the stored key.
        params: BTreeMap<String, String>,
        environment: BTreeMap<String, String>,
        facts: Facts,
    },
    /// A call that a release keeps, with its code.
    Transform {
        op: String,
        op_version: u32,
        params: BTreeMap<String, String>,
    },
    Value {
        value: String,
    },
    /// A file or folder from outside, as it was when it was read.
    Source {
        shown: String,
        digest: Digest,
    },
}

/// How many of the objects that were met are in the store and whole.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ObjectCount {
    pub present: usize,
    pub total: usize,
    pub missing: Vec<Digest>,
    /// How many of the missing ones were taken out by `mlp gc`.
    #[serde(default)]
    pub collected: usize,
    /// How many of them were erased.
    #[serde(default)]
    pub erased: usize,
}

#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum LineageError {
    #[error("no record tells of an artifact {}", .0.short())]
    UnknownArtifact(Digest),
    #[error("version {version} of release `{release}` cannot be read: {error}")]
    Bundle { release: String, version: VersionName, error: BundleError },
    #[error(transparent)]
    Registry(#[from] RegistryError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Engine {
    /// Returns what an artifact or a released version was made of, or what was made of it.
    pub fn lineage(&self, start: LineageStart, direction: Direction) -> Result<Lineage, LineageError> {
        let mut walk = Walk::new(self);
        match &start {
            LineageStart::Artifact(digest) => walk.start_at_artifact(digest)?,
            LineageStart::Model { release, version } => walk.start_at_release(release, version.as_ref())?,
        }
        match direction {
            Direction::Up => walk.go_up()?,
            Direction::Down => walk.go_down()?,
        }
        Ok(walk.into_lineage(direction))
    }
}
