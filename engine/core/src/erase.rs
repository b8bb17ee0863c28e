//! Destroys the key of a partition, so that all that was computed from its data can be read no more, and proves it.
//!
//! First the fact is recorded, then the key goes: killed in between, erasing again completes it, and nothing is read or
//! written with the key from the moment of the record on. Records stay as they are: lineage, history and figures tell as
//! before what there was. Where keys are is the store's to know.

use std::collections::{BTreeSet, HashSet};

use mlp_model::{
    ArtifactKind, Digest, Keep, Record, RunId, SealedObject, Sensitivity, StoreError, Timestamp, fail_point,
};
use serde::{Deserialize, Serialize};

use crate::answer::commit_and_wait;
use crate::names::unique_id;
use crate::survey::{Survey, objects_of_bundle, parts};

/// What is, or would be, unreadable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Erasure {
    pub partition: String,
    pub dry_run: bool,
    /// Names of the keys that objects were encrypted with and that have not been erased before.
    pub keys: Vec<String>,
    pub n_objects: usize,
    pub size_bytes: u64,
    pub artifacts: Vec<ErasedArtifact>,
    /// Released versions that hold some of it: `churn@2`.
    pub versions: Vec<ErasedVersion>,
    /// Runs whose logs go with it.
    pub n_logs: usize,
    /// Objects that were tried after the key was destroyed, and can still be read: none, unless the key has a copy that
    /// is told in its place.
    pub still_readable: Vec<Digest>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErasedArtifact {
    pub digest: Digest,
    /// `None`: no record tells of it.
    pub kind: Option<ArtifactKind>,
    /// The steps that made it.
    pub steps: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErasedVersion {
    pub release: String,
    pub version: String,
    pub live: bool,
}

/// Why nothing was erased.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum EraseError {
    #[error("run {0} is running, and may be reading what is to be erased")]
    Running(RunId),
    #[error("nothing is encrypted for partition `{0}`, and it has no key")]
    UnknownPartition(String),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl EraseError {
    /// Returns what to do about it.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Running(_) => Some("wait for its end, or interrupt it".to_owned()),
            Self::UnknownPartition(_) => Some("`encryption` in mlp.yaml names the partition".to_owned()),
            Self::Store(error) => crate::fault::store_trouble(error).help,
        }
    }
}

/// Erases a partition; with `dry_run`, only says what that comes to.
pub fn erase(store: &dyn Keep, partition: &str, now: Timestamp, dry_run: bool) -> Result<Erasure, EraseError> {
    if dry_run {
        return Ok(Found::find(store, partition)?.report(true));
    }
    // Nobody collects or merges meanwhile.
    store.begin_collection()?;
    let erased = erase_in_earnest(store, partition, now);
    store.end_collection();
    erased
}

fn erase_in_earnest(store: &dyn Keep, partition: &str, now: Timestamp) -> Result<Erasure, EraseError> {
    let found = Found::find(store, partition)?;
    if let Some(run) = found.running.first() {
        return Err(EraseError::Running(run.clone()));
    }
    for key in &found.keys {
        found.record(store, key, now)?;
    }
    fail_point("erase.recorded");
    store.destroy_key(partition)?;
    fail_point("erase.destroyed");
    let mut erasure = found.report(false);
    for object in &found.objects {
        if store.can_read(&object.digest)? {
            erasure.still_readable.push(object.digest);
        }
    }
    for run in &found.logs {
        store.remove_run_dir(run)?;
    }
    Ok(erasure)
}

/// What an erasure is about.
struct Found {
    partition: String,
    /// All that the partition's keys, those of before included, are needed for.
    objects: Vec<SealedObject>,
    /// Keys that are not known to be erased.
    keys: BTreeSet<String>,
    artifacts: Vec<ErasedArtifact>,
    versions: Vec<ErasedVersion>,
    logs: Vec<RunId>,
    running: Vec<RunId>,
}

impl Found {
    fn find(store: &dyn Keep, partition: &str) -> Result<Self, EraseError> {
        let is_of = |object: &SealedObject| object.keys.iter().any(|key| key.partition == partition);
        let objects: Vec<SealedObject> = store.sealed()?.into_iter().filter(is_of).collect();
        let mut keys: BTreeSet<String> = objects
            .iter()
            .flat_map(|object| &object.keys)
            .filter(|key| key.partition == partition)
            .map(|key| key.key.clone())
            .collect();
        keys.extend(store.key_of(partition)?);
        if keys.is_empty() {
            return Err(EraseError::UnknownPartition(partition.to_owned()));
        }
        for stored in store.erasures()? {
            if let Record::Erased { key, .. } = stored.record {
                keys.remove(&key);
            }
        }
        let survey = Survey::read(store)?;
        let sealed: HashSet<Digest> = objects.iter().map(|object| object.digest).collect();
        let mut found = Self {
            partition: partition.to_owned(),
            artifacts: Vec::new(),
            versions: versions(store, &survey, &sealed)?,
            logs: Vec::new(),
            running: Vec::new(),
            keys,
            objects,
        };
        for object in &found.objects {
            let kind = survey.objects.get(&object.digest).map(|named| named.kind);
            found.artifacts.push(ErasedArtifact { digest: object.digest, kind, steps: makers(store, &object.digest)? });
        }
        let with_log: HashSet<RunId> = store.run_dirs()?.into_iter().map(|(run, _)| run).collect();
        for run in &survey.runs {
            let name = &run.summary.run;
            if run.summary.alive && run.summary.status.is_none() {
                found.running.push(name.clone());
            }
            if with_log.contains(name) && run.uses.iter().any(|(digest, _)| sealed.contains(digest)) {
                found.logs.push(name.clone());
            }
        }
        Ok(found)
    }

    /// Writes down what is about to become unreadable.
    fn record(&self, store: &dyn Keep, key: &str, at: Timestamp) -> Result<(), StoreError> {
        let needs_it = |object: &&SealedObject| object.keys.iter().any(|needed| needed.key == *key);
        let objects: Vec<&SealedObject> = self.objects.iter().filter(needs_it).collect();
        let mut sorted: Vec<Digest> = objects.iter().map(|object| object.digest).collect();
        sorted.sort_unstable();
        let list: Vec<u8> = sorted.iter().flat_map(|digest| digest.0).collect();
        let mut earlier = store.erasures()?;
        earlier.reverse();
        let record = Record::Erased {
            id: unique_id(&["erased", &self.partition, key], sorted.len() as u64, at, &earlier),
            partition: self.partition.clone(),
            key: key.to_owned(),
            n_objects: sorted.len() as u64,
            size_bytes: objects.iter().map(|object| object.size_bytes).sum(),
            objects: store.put(&list, Sensitivity::Plain)?,
            at,
        };
        commit_and_wait(store, vec![record], None)
    }

    fn report(&self, dry_run: bool) -> Erasure {
        Erasure {
            partition: self.partition.clone(),
            dry_run,
            keys: self.keys.iter().cloned().collect(),
            n_objects: self.objects.len(),
            size_bytes: self.objects.iter().map(|object| object.size_bytes).sum(),
            artifacts: self.artifacts.clone(),
            versions: self.versions.clone(),
            n_logs: self.logs.len(),
            still_readable: Vec::new(),
        }
    }
}

/// Returns the released versions that hold one of the objects.
fn versions(store: &dyn Keep, survey: &Survey, sealed: &HashSet<Digest>) -> Result<Vec<ErasedVersion>, StoreError> {
    let mut found = Vec::new();
    for registry in &survey.releases {
        for version in &registry.versions {
            let mut held = Vec::new();
            for (digest, kind) in objects_of_bundle(store, &version.bundle)?.unwrap_or_default() {
                match parts(store, kind, &digest) {
                    Ok(objects) => held.extend(objects),
                    // Its key is missing: what a folder holds cannot be told, but the folder can.
                    Err(StoreError::Key { .. }) => held.push(digest),
                    Err(error) => return Err(error),
                }
            }
            if held.iter().any(|digest| sealed.contains(digest)) {
                let (release, name) = (registry.release.clone(), version.name().to_string());
                found.push(ErasedVersion { release, version: name, live: registry.is_live(version) });
            }
        }
    }
    Ok(found)
}

/// Returns the steps that made an artifact.
fn makers(store: &dyn Keep, artifact: &Digest) -> Result<Vec<String>, StoreError> {
    let mut steps = BTreeSet::new();
    for stored in store.producers(artifact)? {
        if let Record::StepFinished { step, .. } = stored.record {
            steps.insert(step.to_string());
        }
    }
    Ok(steps.into_iter().collect())
}
