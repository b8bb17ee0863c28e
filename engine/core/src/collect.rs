//! Takes objects out of the store that no kept run, release or running run needs.
//!
//! Marks by reading all records, then has the store remove the rest. Journal and lineage stay as they are: a collected
//! object is a miss, and the journal tells that it was collected. First the fact is recorded, then objects go, and what
//! names others goes before them; killed at any point, nothing that is kept misses a part. What running processes rely
//! on beyond their records is the store's to know: see [`Keep`].

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt;

use mlp_model::{
    ArtifactKind, Digest, Keep, Record, Removed, RunId, Sensitivity, Store, StoreError, Timestamp, fail_point,
};
use serde::{Deserialize, Serialize};

use crate::answer::commit_and_wait;
use crate::names::unique_id;
use crate::registry::Registry;
use crate::survey::{Survey, is_complete, objects_of_bundle, parts};

/// How many complete runs of each pipeline are kept if nothing else is said.
pub const KEEP_RUNS: usize = 10;

/// What is kept. Each rule keeps more; none takes away what another one keeps.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KeepRules {
    /// The newest runs of each pipeline that came to their end, and all runs since. `None`: [`KEEP_RUNS`], or just the
    /// newest one where only a size is asked for.
    pub runs: Option<usize>,
    /// Runs that started at this instant or later.
    pub since: Option<Timestamp>,
    /// Of each release: its newest versions, beside the live one and those on hold. `None`: all versions.
    pub versions: Option<usize>,
    /// Objects go, oldest first, only until those that are left fit into this.
    pub max_bytes: Option<u64>,
    /// The rules as a person wrote them, for the record.
    pub shown: String,
}

/// What was, or would be, taken out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Collection {
    pub dry_run: bool,
    pub runs: Kept,
    pub versions: Kept,
    /// Object files there were, and their bytes.
    pub n_objects: u64,
    pub size_bytes: u64,
    /// Those that nothing kept needs.
    pub n_unneeded: u64,
    pub unneeded_bytes: u64,
    /// What went. Nothing in a dry run.
    pub removed: Removed,
    /// Damaged files that had been put aside.
    pub n_damaged: u64,
    pub damaged_bytes: u64,
    /// What runs told and printed that are not kept: it goes, or would go.
    pub logs: Logs,
    /// Whether what is left fits into the size that was asked for.
    pub fits: Option<bool>,
}

/// The folders of runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Logs {
    pub n_runs: u64,
    pub size_bytes: u64,
}

/// How many there are, and how many of them are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Kept {
    pub kept: usize,
    pub total: usize,
}

/// Takes out of the store what `rules` do not keep; with `dry_run`, only says what that is.
///
/// # Errors
/// The store; what is kept is whole then, too. Running it again goes on.
pub fn collect(store: &dyn Keep, rules: &KeepRules, now: Timestamp, dry_run: bool) -> Result<Collection, StoreError> {
    if dry_run {
        return Ok(Marked::mark(store, rules)?.report(true));
    }
    store.begin_collection()?;
    let collected = collect_in_earnest(store, rules, now);
    store.end_collection();
    collected
}

fn collect_in_earnest(store: &dyn Keep, rules: &KeepRules, now: Timestamp) -> Result<Collection, StoreError> {
    let marked = Marked::mark(store, rules)?;
    let mut collection = marked.report(false);
    if !marked.unneeded.is_empty() {
        fail_point("gc.marked");
        record(store, &marked.unneeded, collection.unneeded_bytes, rules, now)?;
        fail_point("gc.recorded");
        collection.removed = store.remove(&marked.unneeded)?;
        fail_point("gc.removed");
    }
    (collection.n_damaged, collection.damaged_bytes) = store.remove_damaged()?;
    for (run, _) in &marked.logs {
        store.remove_run_dir(run)?;
    }
    if let Some(max_bytes) = rules.max_bytes {
        collection.fits = Some(collection.size_bytes - collection.removed.size_bytes <= max_bytes);
    }
    Ok(collection)
}

/// Writes down what is about to go, so that a missing object can be told from a lost one.
fn record(
    store: &dyn Store,
    unneeded: &[Digest],
    size_bytes: u64,
    rules: &KeepRules,
    at: Timestamp,
) -> Result<(), StoreError> {
    let mut sorted = unneeded.to_vec();
    sorted.sort_unstable();
    let list: Vec<u8> = sorted.iter().flat_map(|digest| digest.0).collect();
    let objects = store.put(&list, Sensitivity::Plain)?;
    let mut earlier = store.collections()?;
    earlier.reverse();
    let record = Record::Collected {
        id: unique_id(&["collected", &objects.to_string()], sorted.len() as u64, at, &earlier),
        rules: rules.shown.clone(),
        n_objects: sorted.len() as u64,
        size_bytes,
        objects,
        at,
    };
    commit_and_wait(store, vec![record], None)
}

/// What is kept and what is not.
struct Marked {
    runs: Kept,
    versions: Kept,
    n_objects: u64,
    size_bytes: u64,
    /// In the order in which they may go.
    unneeded: Vec<Digest>,
    unneeded_bytes: u64,
    /// Runs that are not kept and whose folder is there, with its bytes.
    logs: Vec<(RunId, u64)>,
    fits: Option<bool>,
}

impl Marked {
    fn mark(store: &dyn Keep, rules: &KeepRules) -> Result<Self, StoreError> {
        let survey = Survey::read(store)?;
        let files = store.object_files()?;
        let mut runs_kept = runs_to_keep(&survey, rules);
        let (mut needed, mut versions) = (survey.records.clone(), Kept::default());
        let mut artifacts: HashSet<(Digest, ArtifactKind)> = HashSet::new();
        for registry in &survey.releases {
            versions.total += registry.versions.len();
            for version in versions_to_keep(registry, rules.versions) {
                versions.kept += 1;
                // All that its run used: a version can be traced and made again as long as it is kept.
                runs_kept.extend(survey.find(&version.run));
                artifacts.extend(objects_of_bundle(store, &version.bundle)?.into_iter().flatten());
            }
        }
        artifacts.extend(runs_kept.iter().flat_map(|&run| survey.runs[run].uses.iter().copied()));
        for (digest, kind) in artifacts {
            needed.extend(parts(store, kind, &digest)?);
        }
        let size_of: HashMap<Digest, u64> = files.iter().map(|file| (file.digest, file.size_bytes)).collect();
        let size_bytes = files.iter().map(|file| file.size_bytes).sum();
        let is_unneeded = |digest: &Digest| !needed.contains(digest);
        let mut unneeded = in_order(store, &survey, files.iter().map(|file| file.digest).filter(is_unneeded))?;
        let mut unneeded_bytes: u64 = unneeded.iter().map(|digest| size_of[digest]).sum();
        let mut fits = None;
        if let Some(max_bytes) = rules.max_bytes {
            let mut left: u64 = size_bytes;
            let n_to_go = unneeded.iter().take_while(|digest| {
                let is_too_much = left > max_bytes;
                if is_too_much {
                    left -= size_of[*digest];
                }
                is_too_much
            });
            let n_to_go = n_to_go.count();
            unneeded.truncate(n_to_go);
            unneeded_bytes = size_bytes - left;
            fits = Some(left <= max_bytes);
        }
        let mut logs = Vec::new();
        if rules.max_bytes.is_none_or(|max_bytes| size_bytes > max_bytes) {
            let forgotten: HashSet<&RunId> = survey
                .runs
                .iter()
                .enumerate()
                .filter(|(idx, _)| !runs_kept.contains(idx))
                .map(|(_, run)| &run.summary.run)
                .collect();
            // A folder whose run is not known may be that of a run that is about to begin.
            logs.extend(store.run_dirs()?.into_iter().filter(|(run, _)| forgotten.contains(run)));
        }
        Ok(Self {
            runs: Kept { kept: runs_kept.len(), total: survey.runs.len() },
            versions,
            n_objects: files.len() as u64,
            size_bytes,
            unneeded,
            unneeded_bytes,
            logs,
            fits,
        })
    }

    fn report(&self, dry_run: bool) -> Collection {
        Collection {
            dry_run,
            runs: self.runs,
            versions: self.versions,
            n_objects: self.n_objects,
            size_bytes: self.size_bytes,
            n_unneeded: self.unneeded.len() as u64,
            unneeded_bytes: self.unneeded_bytes,
            removed: Removed::default(),
            n_damaged: 0,
            damaged_bytes: 0,
            logs: Logs { n_runs: self.logs.len() as u64, size_bytes: self.logs.iter().map(|(_, bytes)| bytes).sum() },
            fits: self.fits,
        }
    }
}

fn runs_to_keep(survey: &Survey, rules: &KeepRules) -> BTreeSet<usize> {
    let n_complete =
        rules.runs.unwrap_or(if rules.max_bytes.is_some() && rules.since.is_none() { 1 } else { KEEP_RUNS });
    let mut complete: HashMap<&str, usize> = HashMap::new();
    let mut kept = BTreeSet::new();
    for (idx, run) in survey.runs.iter().enumerate() {
        let summary = &run.summary;
        let n_newer = complete.entry(&summary.pipeline).or_default();
        let is_young = rules.since.is_some_and(|since| summary.at >= since);
        // Runs that failed since the last complete ones are kept with them, and never push one out.
        if summary.alive || is_young || *n_newer < n_complete {
            kept.insert(idx);
        }
        *n_newer += usize::from(is_complete(summary));
    }
    kept
}

fn versions_to_keep(registry: &Registry, newest: Option<usize>) -> impl Iterator<Item = &crate::Version> {
    let n_versions = registry.versions.len();
    let n_older = n_versions.saturating_sub(newest.unwrap_or(n_versions));
    registry
        .versions
        .iter()
        .enumerate()
        .filter(move |(idx, version)| *idx >= n_older || version.held || registry.is_live(version))
        .map(|(_, version)| version)
}

/// Puts objects into the order in which they go: what no record names, then what was used longest ago; a folder's list
/// of files before the files.
fn in_order(
    store: &dyn Store,
    survey: &Survey,
    objects: impl Iterator<Item = Digest>,
) -> Result<Vec<Digest>, StoreError> {
    let mut last_run: BTreeMap<Digest, usize> = BTreeMap::new();
    for (digest, named) in &survey.objects {
        let mut use_by = |object: Digest| {
            let last = last_run.entry(object).or_insert(named.last_run);
            *last = (*last).min(named.last_run);
        };
        use_by(*digest);
        if named.kind == ArtifactKind::Folder {
            parts(store, named.kind, digest)?.into_iter().for_each(use_by);
        }
    }
    let age = |digest: &Digest| last_run.get(digest).copied().unwrap_or(usize::MAX);
    let is_list = |digest: &Digest| survey.objects.get(digest).is_some_and(|named| named.kind == ArtifactKind::Folder);
    let mut ordered: Vec<Digest> = objects.collect();
    ordered.sort_by_cached_key(|digest| (std::cmp::Reverse(age(digest)), !is_list(digest), *digest));
    Ok(ordered)
}

/// The objects that are gone on purpose, as the journal tells. One that has come back since is among them, too.
#[derive(Debug, Default)]
pub(crate) struct GoneObjects(BTreeMap<Digest, Gone>);

/// Why an object is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Gone {
    Collected,
    /// The key of the partition was destroyed.
    Erased {
        partition: String,
    },
}

impl fmt::Display for Gone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Collected => f.write_str("was collected by `mlp gc`"),
            Self::Erased { partition } => write!(f, "was erased with partition `{partition}`"),
        }
    }
}

impl GoneObjects {
    pub(crate) fn read(store: &dyn Store) -> Result<Self, StoreError> {
        let mut all = BTreeMap::new();
        // An erasure is the last word.
        for stored in store.collections()?.into_iter().chain(store.erasures()?) {
            let (objects, why) = match stored.record {
                Record::Collected { objects, .. } => (objects, Gone::Collected),
                Record::Erased { objects, partition, .. } => (objects, Gone::Erased { partition }),
                _ => continue,
            };
            let list = store.read(&objects)?.unwrap_or_default();
            all.extend(list.as_chunks::<32>().0.iter().map(|bytes| (Digest(*bytes), why.clone())));
        }
        Ok(Self(all))
    }

    pub(crate) fn why(&self, digest: &Digest) -> Option<&Gone> {
        self.0.get(digest)
    }
}
