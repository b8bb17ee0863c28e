//! Brings what another workspace's store knows into this one: objects, runs, results, releases, collections.
//!
//! What is known of a run, and of a release, is a set of records; merging makes the union of two such sets. So merging
//! again adds nothing, it does not matter which of two stores is merged into the other, and a merge that was killed is
//! completed by another one. Objects enter before the records that name them. Everything is checked as it comes in, as
//! strictly as an archive's content ([`crate::import`]); what does not hold is left out, and named.
//!
//! Nothing here gives way: results of this store are preferred to others under the same key, and what a number of a
//! version means does not change ([`crate::registry`]).

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::Path;

use mlp_model::{
    Copied, Digest, Keep, KeyId, OtherStore, Record, RunId, Sensitivity, StepId, StepResult, StoreError, Stored,
    fail_point,
};
use serde::{Deserialize, Serialize};

use crate::answer::commit_of_and_wait;
use crate::foreign;
use crate::registry::{Registry, in_order, place_of};

/// How many records, and how many objects, go with one commit at least.
const AT_A_TIME: usize = 1000;

/// What came in.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Merged {
    /// Runs that were not known here, the earliest first.
    pub runs: Vec<RunId>,
    pub n_records: usize,
    pub n_objects: usize,
    pub size_bytes: u64,
    /// Releases with news.
    pub releases: Vec<MergedRelease>,
    /// New results under keys that have another one here.
    pub differing: Vec<Differing>,
    pub left_out: Vec<LeftOut>,
}

impl Merged {
    /// Whether everything was here already.
    pub fn is_nothing(&self) -> bool {
        self.n_records == 0 && self.n_objects == 0 && self.left_out.is_empty()
    }
}

/// A release of which the other store knew more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MergedRelease {
    pub release: String,
    pub n_records: usize,
    /// What was live in this store before, in the other one, and what is live here now.
    pub live_here: Option<String>,
    pub live_there: Option<String>,
    pub live: Option<String>,
    /// The newest record of both, which decides.
    pub decided_by: String,
    /// Versions whose number another one has, too.
    pub shared: Vec<String>,
}

/// A key under which both stores have a result, and not the same: its step is not deterministic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Differing {
    pub step: StepId,
    pub key: KeyId,
    /// The runs that made them.
    pub here: RunId,
    pub there: RunId,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    pub what: String,
    pub why: String,
}

/// Brings the content of `other` into `store`.
///
/// # Errors
/// Of either store. What has come in until then stays, and is whole; merging again completes it.
pub fn merge(store: &dyn Keep, other: &dyn OtherStore) -> Result<Merged, StoreError> {
    // Two that merge at the same time would both take in what neither has; who collects would take it for nobody's.
    store.begin_collection()?;
    let mut merging = Merging { store, other, merged: Merged::default(), waiting: Vec::new() };
    let done = merging.take_all();
    store.end_collection();
    done.map(|()| merging.merged)
}

struct Merging<'a> {
    store: &'a dyn Keep,
    other: &'a dyn OtherStore,
    merged: Merged,
    /// Records that go with the next commit.
    waiting: Vec<Record>,
}

impl Merging<'_> {
    fn take_all(&mut self) -> Result<(), StoreError> {
        let scratch = self.store.scratch()?;
        let taken = self.take_objects(&scratch);
        self.store.discard(&scratch);
        taken?;
        fail_point("merge.objects_taken");
        for run in self.other.runs() {
            self.take_run(run)?;
        }
        fail_point("merge.runs_taken");
        self.take_shared()?;
        self.commit()?;
        fail_point("merge.done");
        Ok(())
    }

    fn take_objects(&mut self, scratch: &Path) -> Result<(), StoreError> {
        let mut n_waiting = 0;
        let descriptions = self.descriptions()?;
        for object in self.other.objects()? {
            if self.store.has_object(&object)? && !self.becomes_personal(&object)? {
                continue;
            }
            let copy = scratch.join("copy");
            match self.other.copy(&object, &copy)? {
                Copied::Sound { size_bytes, sensitivity, partitions } => {
                    fail_point("merge.copied");
                    let kept = (sensitivity, &partitions[..]);
                    foreign::adopt(self.store, &copy, kept, descriptions.contains(&object))?;
                    self.merged.n_objects += 1;
                    self.merged.size_bytes += size_bytes;
                    n_waiting += 1;
                }
                // Collected since it was listed.
                Copied::Absent => {}
                Copied::Damaged => self.leave_out(format!("object {}", object.short()), "it is damaged there"),
                Copied::Locked => {
                    let why = "it is encrypted there with a key that is not here";
                    self.leave_out(format!("object {}", object.short()), why);
                }
            }
            if n_waiting >= AT_A_TIME {
                commit_of_and_wait(self.store, self.other.name(), Vec::new())?;
                n_waiting = 0;
            }
        }
        // Before any record relies on them. Small objects are in the journal only with a commit.
        if n_waiting > 0 { commit_of_and_wait(self.store, self.other.name(), Vec::new()) } else { Ok(()) }
    }

    /// Returns the other store's objects that describe others.
    fn descriptions(&self) -> Result<BTreeSet<Digest>, StoreError> {
        let mut found = BTreeSet::new();
        for run in self.other.runs() {
            self.other.run_records(&run)?.iter().for_each(|record| foreign::descriptions(record, &mut found));
        }
        self.other.shared_records()?.iter().for_each(|record| foreign::descriptions(record, &mut found));
        Ok(found)
    }

    /// Whether the other store keeps as personal what is plain here.
    fn becomes_personal(&self, object: &Digest) -> Result<bool, StoreError> {
        let here = self.store.sensitivity(object)?;
        Ok(here == Some(Sensitivity::Plain) && self.other.sensitivity(object)? == Some(Sensitivity::Personal))
    }

    /// Takes in those records of a run that are not known here.
    fn take_run(&mut self, run: RunId) -> Result<(), StoreError> {
        let what = || format!("run {}", run.0.escape_debug());
        if let Err(why) = foreign::check_run(&run) {
            self.leave_out(what(), why);
            return Ok(());
        }
        let known: Vec<Record> = self.store.run_records(&run)?.into_iter().map(|stored| stored.record).collect();
        let records = self.other.run_records(&run)?;
        match (known.first(), records.first()) {
            (_, Some(Record::RunStarted { .. })) if known.is_empty() => self.merged.runs.push(run.clone()),
            (Some(here), Some(there)) if text(here) == text(there) => {}
            (Some(_), _) => {
                self.leave_out(what(), "another run has its name here");
                return Ok(());
            }
            (None, _) => {
                self.leave_out(what(), "it does not begin with its beginning");
                return Ok(());
            }
        }
        let known: HashSet<String> = known.iter().map(text).collect();
        for record in records {
            if known.contains(&text(&record)) {
                continue;
            }
            match self.check(&record)? {
                Ok(()) => self.waiting.push(record),
                Err(why) => self.leave_out(format!("a record of run {run}"), why),
            }
        }
        if self.waiting.len() >= AT_A_TIME { self.commit() } else { Ok(()) }
    }

    /// Checks a new record, and notes if it tells another result of a key than this store has.
    fn check(&mut self, record: &Record) -> Result<Result<(), String>, StoreError> {
        if let Err(why) = foreign::check_texts(record) {
            return Ok(Err(why));
        }
        let Record::StepFinished { run, step, result } = record else { return Ok(Ok(())) };
        let Some(fields) = self.store.read(&result.key_object)? else {
            return Ok(Err(format!("the fields of the key of `{step}` are missing")));
        };
        if let Err(why) = foreign::check_key(result, &fields) {
            return Ok(Err(why));
        }
        if let Some((here, ours)) = self.store.result(&result.key)?
            && outputs(&ours) != outputs(result)
        {
            let (step, key, there) = (step.clone(), result.key, run.clone());
            self.merged.differing.push(Differing { step, key, here, there });
        }
        Ok(Ok(()))
    }

    /// Takes in what is told of releases, collections and erasures.
    fn take_shared(&mut self) -> Result<(), StoreError> {
        let mut gone: BTreeSet<String> = BTreeSet::new();
        for stored in self.store.collections()?.into_iter().chain(self.store.erasures()?) {
            if let Record::Collected { id, .. } | Record::Erased { id, .. } = stored.record {
                gone.insert(id);
            }
        }
        let mut releases: BTreeMap<String, Vec<Stored>> = BTreeMap::new();
        for (record, seq) in self.other.shared_records()?.into_iter().zip(1..) {
            if let Err(why) = foreign::check_texts(&record) {
                self.leave_out("a record of a release or a collection".to_owned(), why);
                continue;
            }
            match &record {
                Record::Released { release, .. }
                | Record::RolledBack { release, .. }
                | Record::HoldLifted { release, .. } => {
                    releases.entry(release.clone()).or_default().push(Stored { seq, record });
                }
                // A key that was erased there must not be used here any more, either.
                Record::Collected { id, .. } | Record::Erased { id, .. } if gone.insert(id.clone()) => {
                    self.waiting.push(record);
                }
                _ => {}
            }
        }
        releases.into_iter().try_for_each(|(release, theirs)| self.take_release(release, &theirs))
    }

    fn take_release(&mut self, release: String, theirs: &[Stored]) -> Result<(), StoreError> {
        let ours = self.store.release_records(&release)?;
        let mut ids: BTreeSet<&str> = ours.iter().filter_map(id_of).collect();
        let news = theirs.iter().filter(|stored| id_of(stored).is_some_and(|id| ids.insert(id)));
        let news: Vec<Record> = news.map(|stored| stored.record.clone()).collect();
        if news.is_empty() {
            return Ok(());
        }
        let stored = |record: &Record| Stored { seq: 0, record: record.clone() };
        let all: Vec<Stored> = ours.iter().cloned().chain(news.iter().map(stored)).collect();
        let live = |records: &[Stored]| live_of(&Registry::fold(&release, records));
        let merged = Registry::fold(&release, &all);
        self.merged.releases.push(MergedRelease {
            n_records: news.len(),
            live_here: live(&ours),
            live_there: live(theirs),
            live: live_of(&merged),
            decided_by: in_order(&all).last().map(|(_, newest)| words(&newest.record)).unwrap_or_default(),
            shared: merged.versions.iter().filter(|one| one.shared).map(|one| one.name().to_string()).collect(),
            release,
        });
        self.waiting.extend(news);
        Ok(())
    }

    fn commit(&mut self) -> Result<(), StoreError> {
        let records = std::mem::take(&mut self.waiting);
        if records.is_empty() {
            return Ok(());
        }
        let n_records = records.len();
        commit_of_and_wait(self.store, self.other.name(), records)?;
        self.merged.n_records += n_records;
        Ok(())
    }

    fn leave_out(&mut self, what: String, why: impl Into<String>) {
        self.merged.left_out.push(LeftOut { what, why: why.into() });
    }
}

/// Tells records apart.
fn text(record: &Record) -> String {
    serde_json::to_string(record).expect("records have text keys")
}

fn outputs(result: &StepResult) -> BTreeMap<&str, Digest> {
    result.outputs.iter().map(|output| (output.name.as_str(), output.digest)).collect()
}

fn id_of(stored: &Stored) -> Option<&str> {
    place_of(&stored.record).map(|(_, id)| id)
}

fn live_of(registry: &Registry) -> Option<String> {
    registry.live_version().map(|version| version.name().to_string())
}

/// Says what a record of a release tells.
fn words(record: &Record) -> String {
    match record {
        Record::Released { version, run, .. } => format!("the release of version {version} by run {run}"),
        Record::RolledBack { from, to, .. } => format!("the rollback from version {from} to {to}"),
        Record::HoldLifted { version, .. } => format!("the lifting of the hold on version {version}"),
        _ => String::new(),
    }
}
