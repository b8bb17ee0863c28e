//! What the records tell of all objects: what each one is, who used it last, who cannot do without it.
//!
//! Read once, for collecting and for figures. Knows nothing of which objects are to go.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use mlp_model::{ArtifactKind, Digest, KeyId, Record, RunStatus, RunSummary, Store, StoreError, Stored, Timestamp};

use crate::bundle::{Bundle, BundleError};
use crate::objects;
use crate::registry::Registry;

/// How many runs are asked for at a time.
const RUNS_AT_A_TIME: usize = 500;

/// All runs and releases, and every object that they name.
pub struct Survey {
    /// Newest first.
    pub runs: Vec<SurveyedRun>,
    pub releases: Vec<Registry>,
    /// Every object that a record names, but not what folders consist of.
    pub objects: BTreeMap<Digest, KnownObject>,
    /// Objects without which no record can be understood: fields of keys, bundles, lists of objects that are gone.
    pub records: BTreeSet<Digest>,
}

pub struct SurveyedRun {
    pub summary: RunSummary,
    /// What its steps made or reused.
    pub uses: Vec<(Digest, ArtifactKind)>,
}

/// What is known of an artifact.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KnownObject {
    pub kind: ArtifactKind,
    /// When it was first made.
    pub first_at: Timestamp,
    /// The newest run that made or reused it, as an index into [`Survey::runs`].
    pub last_run: usize,
}

impl Survey {
    /// Reads all records.
    pub fn read(store: &dyn Store) -> Result<Self, StoreError> {
        let summaries = all_runs(store)?;
        let mut survey = Self {
            runs: Vec::with_capacity(summaries.len()),
            releases: Vec::new(),
            objects: BTreeMap::new(),
            records: BTreeSet::new(),
        };
        let (mut results, mut reused) = (Results::default(), Vec::new());
        for (idx, summary) in summaries.into_iter().enumerate() {
            let mut uses = Vec::new();
            for Stored { seq, record } in store.run_records(&summary.run)? {
                match record {
                    Record::StepFinished { result, .. } => {
                        survey.records.insert(result.key_object);
                        let outputs: Vec<_> =
                            result.outputs.iter().map(|output| (output.digest, output.kind)).collect();
                        for &(digest, kind) in &outputs {
                            survey.meet(digest, kind, result.at, idx);
                        }
                        uses.extend(&outputs);
                        results.add((result.key, summary.elsewhere), seq, outputs);
                    }
                    Record::StepReused { key, at, .. } => reused.push((idx, (key, summary.elsewhere), seq, at)),
                    _ => {}
                }
            }
            survey.runs.push(SurveyedRun { summary, uses });
        }
        for (idx, of, seq, at) in reused {
            let outputs = results.before(of, seq);
            for &(digest, kind) in outputs {
                survey.meet(digest, kind, at, idx);
            }
            survey.runs[idx].uses.extend(outputs);
        }
        for name in store.releases()? {
            let registry = Registry::fold(&name, &store.release_records(&name)?);
            survey.records.extend(registry.versions.iter().map(|version| version.bundle));
            survey.releases.push(registry);
        }
        for stored in store.collections()?.into_iter().chain(store.erasures()?) {
            if let Record::Collected { objects, .. } | Record::Erased { objects, .. } = stored.record {
                survey.records.insert(objects);
            }
        }
        Ok(survey)
    }

    fn meet(&mut self, digest: Digest, kind: ArtifactKind, at: Timestamp, run: usize) {
        let named = self.objects.entry(digest).or_insert(KnownObject { kind, first_at: at, last_run: run });
        named.first_at = named.first_at.min(at);
        named.last_run = named.last_run.min(run);
    }

    /// Returns the run's index.
    pub fn find(&self, run: &mlp_model::RunId) -> Option<usize> {
        self.runs.iter().position(|surveyed| surveyed.summary.run == *run)
    }
}

/// A key, and whether its result was made in another store.
type KeyThere = (KeyId, bool);

/// The outputs of all results, to find those that a record of a reuse means; as [`Store::result_reused`] does.
#[derive(Default)]
struct Results(HashMap<KeyThere, BTreeMap<u64, Vec<(Digest, ArtifactKind)>>>);

impl Results {
    fn add(&mut self, key: KeyThere, seq: u64, outputs: Vec<(Digest, ArtifactKind)>) {
        self.0.entry(key).or_default().insert(seq, outputs);
    }

    fn before(&self, (key, elsewhere): KeyThere, seq: u64) -> &[(Digest, ArtifactKind)] {
        let all = [elsewhere, !elsewhere].map(|elsewhere| self.0.get(&(key, elsewhere)));
        let found = all.into_iter().flatten().find_map(|results| results.range(..seq).next_back());
        let newest = || all.into_iter().flatten().find_map(|results| results.iter().next_back());
        found.or_else(newest).map(|(_, outputs)| outputs.as_slice()).unwrap_or_default()
    }
}

/// Whether a run came to its end: what it used is worth keeping as a whole.
pub(crate) fn is_complete(summary: &RunSummary) -> bool {
    matches!(summary.status, Some(RunStatus::Succeeded | RunStatus::Refused | RunStatus::Waiting))
}

/// Returns what a bundle consists of: all objects of its parts. `None` if it cannot be read.
pub(crate) fn objects_of_bundle(
    store: &dyn Store,
    bundle: &Digest,
) -> Result<Option<Vec<(Digest, ArtifactKind)>>, StoreError> {
    match Bundle::read(store, bundle) {
        Ok(bundle) => Ok(Some(bundle.pinned().into_iter().map(|pinned| (pinned.digest, pinned.kind)).collect())),
        Err(BundleError::Store(error)) => Err(error),
        Err(BundleError::Missing(_) | BundleError::Malformed { .. } | BundleError::Newer { .. }) => Ok(None),
    }
}

/// Returns the artifact's objects, itself first; those of a folder that cannot be read are unknown.
pub(crate) fn parts(store: &dyn Store, kind: ArtifactKind, digest: &Digest) -> Result<Vec<Digest>, StoreError> {
    objects::all(store, kind, digest)
}

fn all_runs(store: &dyn Store) -> Result<Vec<RunSummary>, StoreError> {
    let mut all: Vec<RunSummary> = Vec::new();
    loop {
        let more = store.runs(RUNS_AT_A_TIME, all.last().map(|last| &last.run))?;
        let is_last = more.len() < RUNS_AT_A_TIME;
        all.extend(more);
        if is_last {
            return Ok(all);
        }
    }
}
