//! A store in memory and a temporary folder, with a thread of its own that acknowledges commits in order.
//!
//! Objects are files with a footer behind the payload, as the trait allows. Tests can damage objects, hold
//! acknowledgements back, and let commits fail.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, mpsc};

use mlp_model::{
    Claim, CommitGuard, Digest, Done, KeyId, Lease, ObjectFile, Record, RunId, RunSummary, Sensitivity, StepId,
    StepResult, Store, StoreError, Stored, Take,
};
use tempfile::TempDir;

const FOOTER: &[u8] = b"-- the store's own footer --";

pub struct MemoryStore {
    folder: TempDir,
    state: Arc<State>,
    work: Mutex<mpsc::Sender<Box<dyn FnOnce() + Send>>>,
}

#[derive(Default)]
struct State {
    records: Mutex<Vec<Stored>>,
    claims: Mutex<HashMap<KeyId, VecDeque<Waiting>>>,
    /// How many records there were when somebody last asked for the key's result.
    asked: Mutex<HashMap<KeyId, usize>>,
    /// Acknowledgements wait while this is true.
    is_held: Mutex<bool>,
    let_go: Condvar,
    /// Decides whether a group of records cannot be written.
    refuses: Mutex<Option<Refuses>>,
    n_scratch: Mutex<u64>,
    personal: Mutex<BTreeSet<Digest>>,
}

type Refuses = fn(&Record) -> bool;

struct Waiting {
    since: usize,
    takes: Vec<Take>,
    answer: Done<Claim>,
}

impl MemoryStore {
    pub fn new() -> Arc<Self> {
        let folder = tempfile::tempdir().unwrap();
        for name in ["objects", "scratch", "runs"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        let (work, jobs) = mpsc::channel::<Box<dyn FnOnce() + Send>>();
        std::thread::spawn(move || jobs.into_iter().for_each(|job| job()));
        Arc::new(Self { folder, state: Arc::default(), work: Mutex::new(work) })
    }

    pub fn records(&self) -> Vec<Record> {
        self.stored().into_iter().map(|stored| stored.record).collect()
    }

    /// Names of scratch folders that were not discarded.
    pub fn scratch_left(&self) -> usize {
        fs::read_dir(self.folder.path().join("scratch")).unwrap().count()
    }

    /// Returns whether the object was ever kept as personal.
    pub fn is_personal(&self, digest: &Digest) -> bool {
        self.state.personal.lock().unwrap().contains(digest)
    }

    pub fn has(&self, digest: &Digest) -> bool {
        self.object_path(digest).exists()
    }

    pub fn n_objects(&self) -> usize {
        fs::read_dir(self.folder.path().join("objects")).unwrap().count()
    }

    /// Changes one byte of an object's payload.
    pub fn damage(&self, digest: &Digest) {
        let path = self.object_path(digest);
        let mut bytes = fs::read(&path).unwrap();
        bytes[0] ^= 1;
        fs::write(&path, bytes).unwrap();
    }

    pub fn remove(&self, digest: &Digest) {
        fs::remove_file(self.object_path(digest)).unwrap();
    }

    /// Stops acknowledging, or goes on.
    pub fn hold_acknowledgements(&self, is_held: bool) {
        *self.state.is_held.lock().unwrap() = is_held;
        self.state.let_go.notify_all();
    }

    /// Lets every group fail that has such a record.
    pub fn refuse(&self, refuses: Refuses) {
        *self.state.refuses.lock().unwrap() = Some(refuses);
    }

    fn object_path(&self, digest: &Digest) -> PathBuf {
        self.folder.path().join("objects").join(digest.to_string())
    }

    fn stored(&self) -> Vec<Stored> {
        self.state.records.lock().unwrap().clone()
    }

    fn on_own_thread(&self, job: impl FnOnce() + Send + 'static) {
        self.work.lock().unwrap().send(Box::new(job)).unwrap();
    }

    fn newest_first(&self, wanted: impl Fn(&Record) -> bool, limit: usize) -> Vec<Stored> {
        self.stored().into_iter().rev().filter(|stored| wanted(&stored.record)).take(limit).collect()
    }
}

impl State {
    fn has_finished(&self, key: &KeyId, since: usize) -> bool {
        let records = self.records.lock().unwrap();
        records[since..].iter().any(|stored| finished(&stored.record).is_some_and(|(_, result)| result.key == *key))
    }

    fn grant(self: &Arc<Self>, key: KeyId, takes: &[Take], answer: Done<Claim>) {
        let state = Arc::clone(self);
        answer(Ok(Claim::Granted(Lease::new(Take::best(takes), move || state.give_back(key)))));
    }

    fn give_back(self: &Arc<Self>, key: KeyId) {
        loop {
            let mut claims = self.claims.lock().unwrap();
            let queue = claims.get_mut(&key).expect("a lease is given back once");
            let Some(next) = queue.pop_front() else {
                claims.remove(&key);
                return;
            };
            drop(claims);
            if !self.has_finished(&key, next.since) {
                return self.grant(key, &next.takes, next.answer);
            }
            (next.answer)(Ok(Claim::Finished));
        }
    }
}

impl Store for MemoryStore {
    fn scratch(&self) -> Result<PathBuf, StoreError> {
        let mut n_scratch = self.state.n_scratch.lock().unwrap();
        *n_scratch += 1;
        let path = self.folder.path().join("scratch").join(n_scratch.to_string());
        fs::create_dir(&path).unwrap();
        Ok(path)
    }

    fn discard(&self, scratch: &Path) {
        let _ = fs::remove_dir_all(scratch);
    }

    fn adopt(&self, file: &Path, sensitivity: Sensitivity, _: &[String]) -> Result<(Digest, u64), StoreError> {
        let bytes = fs::read(file).unwrap();
        fs::remove_file(file).unwrap();
        Ok((self.put(&bytes, sensitivity)?, bytes.len() as u64))
    }

    fn put(&self, bytes: &[u8], sensitivity: Sensitivity) -> Result<Digest, StoreError> {
        let digest = Digest::of(bytes);
        if sensitivity == Sensitivity::Personal {
            self.state.personal.lock().unwrap().insert(digest);
        }
        // Whoever reads the object meanwhile sees all of it or nothing.
        let scratch = self.scratch()?;
        fs::write(scratch.join("object"), [bytes, FOOTER].concat()).unwrap();
        fs::rename(scratch.join("object"), self.object_path(&digest)).unwrap();
        self.discard(&scratch);
        Ok(digest)
    }

    fn object(&self, digest: &Digest) -> Result<Option<ObjectFile>, StoreError> {
        let bytes = self.read(digest)?;
        Ok(bytes.map(|bytes| ObjectFile { path: self.object_path(digest), size_bytes: bytes.len() as u64 }))
    }

    fn read(&self, digest: &Digest) -> Result<Option<Vec<u8>>, StoreError> {
        let Ok(mut bytes) = fs::read(self.object_path(digest)) else { return Ok(None) };
        bytes.truncate(bytes.len() - FOOTER.len());
        Ok((Digest::of(&bytes) == *digest).then_some(bytes))
    }

    fn digest_file(&self, path: &Path) -> Result<(Digest, u64), StoreError> {
        match fs::read(path) {
            Ok(bytes) => Ok((Digest::of(&bytes), bytes.len() as u64)),
            Err(error) => Err(StoreError::Io {
                action: "read".into(),
                path: path.display().to_string(),
                message: error.to_string(),
            }),
        }
    }

    fn commit(&self, records: Vec<Record>, guard: Option<CommitGuard>, done: Done<()>) {
        let state = Arc::clone(&self.state);
        self.on_own_thread(move || {
            let is_held = state.is_held.lock().unwrap();
            drop(state.let_go.wait_while(is_held, |is_held| *is_held).unwrap());
            let mut stored = state.records.lock().unwrap();
            let refuses = *state.refuses.lock().unwrap();
            let answer = if let Some(guard) = guard.filter(|guard| {
                stored.iter().filter(|stored| release_of(&stored.record) == Some(&guard.release)).count()
                    != guard.n_records
            }) {
                Err(StoreError::Conflict { release: guard.release })
            } else if refuses.is_some_and(|refuses| records.iter().any(refuses)) {
                Err(StoreError::DiskFull { path: "/store".into() })
            } else {
                for record in records {
                    let seq = stored.len() as u64 + 1;
                    stored.push(Stored { seq, record });
                }
                Ok(())
            };
            drop(stored);
            done(answer);
        });
    }

    fn claim(&self, key: KeyId, takes: Vec<Take>, answer: Done<Claim>) {
        let since = self.state.asked.lock().unwrap().get(&key).copied().unwrap_or(0);
        let mut claims = self.state.claims.lock().unwrap();
        if self.state.has_finished(&key, since) {
            drop(claims);
            return answer(Ok(Claim::Finished));
        }
        match claims.get_mut(&key) {
            Some(queue) => queue.push_back(Waiting { since, takes, answer }),
            None => {
                claims.insert(key, VecDeque::new());
                drop(claims);
                self.state.grant(key, &takes, answer);
            }
        }
    }

    fn track(&self, _: u32) -> Result<(), StoreError> {
        Ok(())
    }

    fn untrack(&self, _: u32) {}

    fn result(&self, key: &KeyId) -> Result<Option<(RunId, StepResult)>, StoreError> {
        let stored = self.stored();
        self.state.asked.lock().unwrap().insert(*key, stored.len());
        let mut results = stored.iter().rev().filter_map(|stored| finished(&stored.record));
        Ok(results.find(|(_, result)| result.key == *key).map(|(run, result)| (run.clone(), result.clone())))
    }

    fn runs(&self, _: usize, _: Option<&RunId>) -> Result<Vec<RunSummary>, StoreError> {
        unreachable!("the engine does not list runs")
    }

    fn find_runs(&self, _: &str) -> Result<Vec<RunSummary>, StoreError> {
        unreachable!("the engine does not list runs")
    }

    fn run_records(&self, wanted: &RunId) -> Result<Vec<Stored>, StoreError> {
        let mut records = self.newest_first(|record| step_of(record).is_some_and(|(run, _)| run == wanted), usize::MAX);
        records.reverse();
        Ok(records)
    }

    fn step_history(&self, wanted: &StepId, limit: usize) -> Result<Vec<Stored>, StoreError> {
        Ok(self.newest_first(|record| step_of(record).is_some_and(|(_, step)| step == wanted), limit))
    }

    fn op_history(&self, op: &str, limit: usize) -> Result<Vec<Stored>, StoreError> {
        Ok(self.newest_first(|record| finished(record).is_some_and(|(_, result)| result.op == op), limit))
    }

    fn producers(&self, artifact: &Digest) -> Result<Vec<Stored>, StoreError> {
        let makes = |result: &StepResult| result.outputs.iter().any(|output| output.digest == *artifact);
        Ok(self.newest_first(|record| finished(record).is_some_and(|(_, result)| makes(result)), usize::MAX))
    }

    fn consumers(&self, artifact: &Digest) -> Result<Vec<Stored>, StoreError> {
        let reads = |result: &StepResult| result.inputs.iter().any(|input| input.digest == *artifact);
        Ok(self.newest_first(|record| finished(record).is_some_and(|(_, result)| reads(result)), usize::MAX))
    }

    fn find_artifacts(&self, _: &str, _: usize) -> Result<Vec<Digest>, StoreError> {
        unreachable!("the engine takes whole digests")
    }

    fn release_records(&self, release: &str) -> Result<Vec<Stored>, StoreError> {
        Ok(self
            .stored()
            .into_iter()
            .filter(|stored| release_of(&stored.record).is_some_and(|r| r == release))
            .collect())
    }

    fn releases(&self) -> Result<Vec<String>, StoreError> {
        let names: BTreeSet<String> = self.records().iter().filter_map(release_of).cloned().collect();
        Ok(names.into_iter().collect())
    }

    fn run_dir(&self, run: &RunId) -> Result<PathBuf, StoreError> {
        Ok(self.folder.path().join("runs").join(&run.0))
    }
}

fn finished(record: &Record) -> Option<(&RunId, &StepResult)> {
    match record {
        Record::StepFinished { run, result, .. } => Some((run, result)),
        _ => None,
    }
}

fn step_of(record: &Record) -> Option<(&RunId, &StepId)> {
    match record {
        Record::StepFinished { run, step, .. }
        | Record::StepReused { run, step, .. }
        | Record::StepFailed { run, step, .. } => Some((run, step)),
        _ => None,
    }
}

fn release_of(record: &Record) -> Option<&String> {
    match record {
        Record::Released { release, .. } | Record::RolledBack { release, .. } | Record::HoldLifted { release, .. } => {
            Some(release)
        }
        _ => None,
    }
}
