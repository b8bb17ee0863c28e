//! What the engine needs of a store. Blocking calls may wait for the owner process; none waits for another run.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{
    Digest, KeyId, OutputRecord, Portion, Record, RunId, RunStatus, StepCounts, StepId, StepResult, Stored, Take,
    Timestamp,
};

/// Called once, from a thread of the store.
pub type Done<T> = Box<dyn FnOnce(Result<T, StoreError>) + Send>;

/// Objects, the journal and what can be asked of its index.
pub trait Store: Send + Sync {
    // Objects.

    /// Makes an empty folder on the store's filesystem. It is removed when the store next starts, or by
    /// [`Store::discard`].
    fn scratch(&self) -> Result<PathBuf, StoreError>;

    /// Removes a scratch folder.
    fn discard(&self, scratch: &Path);

    /// Moves a finished file of a scratch folder into the store and returns its digest and size. The file must not be
    /// written any more. Durable when the next commit is acknowledged. A store that encrypts keeps its bytes encrypted, under the
    /// keys of all these partitions; of none: under that of its own.
    fn adopt(&self, file: &Path, sensitivity: Sensitivity, partitions: &[String]) -> Result<(Digest, u64), StoreError>;

    /// Whether something could be kept that belongs to the partition; the error says why not.
    fn may_keep(&self, _partition: &str) -> Result<(), StoreError> {
        Ok(())
    }

    /// Stores bytes that describe others and hold none of their values: the fields of a key, a bundle, a list. They are
    /// never encrypted; else as [`Store::adopt`].
    fn put(&self, bytes: &[u8], sensitivity: Sensitivity) -> Result<Digest, StoreError>;

    /// As [`Store::adopt`], for bytes.
    fn put_data(&self, bytes: &[u8], sensitivity: Sensitivity, _partitions: &[String]) -> Result<Digest, StoreError> {
        self.put(bytes, sensitivity)
    }

    /// As [`Store::adopt`], for a file that holds figures, as reports do. It is never encrypted.
    fn adopt_figures(&self, file: &Path) -> Result<(Digest, u64), StoreError> {
        self.adopt(file, Sensitivity::Plain, &[])
    }

    /// Returns the object's file if it is there and its bytes have the digest; else `None`, and a damaged file is put
    /// aside. Bytes verified before are not read again while the file's stamps are unchanged.
    fn object(&self, digest: &Digest) -> Result<Option<ObjectFile>, StoreError>;

    /// As [`Store::object`] for each, with fewer questions to the owner.
    fn objects(&self, digests: &[Digest]) -> Vec<Result<Option<ObjectFile>, StoreError>> {
        digests.iter().map(|digest| self.object(digest)).collect()
    }

    /// Whether [`Store::object`] would return a file; nothing is made for that.
    fn has_object(&self, digest: &Digest) -> Result<bool, StoreError> {
        Ok(self.object(digest)?.is_some())
    }

    /// As [`Store::has_object`] for each, with fewer questions to the owner.
    fn have_objects(&self, digests: &[Digest]) -> Vec<Result<bool, StoreError>> {
        digests.iter().map(|digest| self.has_object(digest)).collect()
    }

    /// Returns the object's bytes, verified.
    fn read(&self, digest: &Digest) -> Result<Option<Vec<u8>>, StoreError>;

    /// Returns the object's bytes if it is so small that it stands among the records.
    fn read_small(&self, _digest: &Digest) -> Result<Option<Arc<[u8]>>, StoreError> {
        Ok(None)
    }

    /// Returns the digest of a file outside the store; known ones are not read again (stat cache).
    fn digest_file(&self, path: &Path) -> Result<(Digest, u64), StoreError>;

    /// As [`Store::digest_file`] for each path, with fewer questions to the owner.
    fn digest_files(&self, paths: &[&Path]) -> Vec<Result<(Digest, u64), StoreError>> {
        paths.iter().map(|path| self.digest_file(path)).collect()
    }

    // Facts.

    /// Appends records as one atomic group; `done` is called when it is on the disk. Groups of one store become durable
    /// in the order of the calls. With a `guard`, the group is refused with [`StoreError::Conflict`] if the guarded
    /// release has changed since.
    fn commit(&self, records: Vec<Record>, guard: Option<CommitGuard>, done: Done<()>);

    /// Asks for the right to execute `key`, taking so much of what runs share. Answered when it is granted, or when there is a
    /// newer result than the one that [`Store::result`] has told last ([`Claim::Finished`]); while another run has the key, or
    /// what would have to be taken, nothing is answered. `answer` neither waits nor asks the store. A lease ends when dropped,
    /// or with this process.
    fn claim(&self, key: KeyId, takes: Vec<Take>, answer: Done<Claim>);

    /// Returns for each key that was claimed, and is not granted, what the claim waits for, where that are other runs.
    fn holdups(&self, _keys: &[KeyId]) -> Result<Vec<Option<Holdup>>, StoreError> {
        Ok(Vec::new())
    }

    /// Tells the owner of a process group of this run, to be killed should this process die.
    fn track(&self, process_group: u32) -> Result<(), StoreError>;

    fn untrack(&self, process_group: u32);

    // Questions. Answers reflect every acknowledged commit.

    /// Returns the newest result stored under `key`, and the run that made it.
    fn result(&self, key: &KeyId) -> Result<Option<(RunId, StepResult)>, StoreError>;

    /// Returns the result that a run reused which says so in record `seq`: the newest one then, in the store that the run
    /// belongs to.
    fn result_reused(&self, key: &KeyId, _run: &RunId, _seq: u64) -> Result<Option<(RunId, StepResult)>, StoreError> {
        self.result(key)
    }

    /// Asks at once what [`Store::result`], [`Store::has_object`] and [`Store::step_history`] will be asked for these
    /// keys next; each answer is then given once. Returns the outputs of each key that has a result. Returns nothing
    /// where asking at once gains nothing.
    fn foresee(&self, _asked: &[(KeyId, StepId)]) -> Vec<Option<Vec<OutputRecord>>> {
        Vec::new()
    }

    /// The same for [`Store::step_history`] with a limit of 1.
    fn foresee_history(&self, _steps: &[StepId]) {}

    /// Runs, newest first; at most `limit`, older than `before` if given.
    fn runs(&self, limit: usize, before: Option<&RunId>) -> Result<Vec<RunSummary>, StoreError>;

    /// Returns the runs whose id begins with `prefix`.
    fn find_runs(&self, prefix: &str) -> Result<Vec<RunSummary>, StoreError>;

    /// Returns all records of a run in order.
    fn run_records(&self, run: &RunId) -> Result<Vec<Stored>, StoreError>;

    /// `StepFinished`, `StepReused` and `StepFailed` records of a step, newest first, at most `limit`.
    fn step_history(&self, step: &StepId, limit: usize) -> Result<Vec<Stored>, StoreError>;

    /// `StepFinished` records of an operation, newest first, at most `limit`.
    fn op_history(&self, op: &str, limit: usize) -> Result<Vec<Stored>, StoreError>;

    /// `StepFinished` records whose outputs include the artifact, newest first.
    fn producers(&self, artifact: &Digest) -> Result<Vec<Stored>, StoreError>;

    /// `StepFinished` records whose key has the artifact among its inputs, newest first.
    fn consumers(&self, artifact: &Digest) -> Result<Vec<Stored>, StoreError>;

    /// Returns the artifacts that have been recorded and whose digest begins with `prefix`, at most `limit`.
    fn find_artifacts(&self, prefix: &str, limit: usize) -> Result<Vec<Digest>, StoreError>;

    /// `Released`, `RolledBack` and `HoldLifted` records of a release, oldest first.
    fn release_records(&self, release: &str) -> Result<Vec<Stored>, StoreError>;

    /// Names of all releases, sorted.
    fn releases(&self) -> Result<Vec<String>, StoreError>;

    /// `Collected` records, newest first. A store that is never collected has none.
    fn collections(&self) -> Result<Vec<Stored>, StoreError> {
        Ok(Vec::new())
    }

    /// `Erased` records, newest first.
    fn erasures(&self) -> Result<Vec<Stored>, StoreError> {
        Ok(Vec::new())
    }

    // Places.

    /// The folder of a run's own record: `events.jsonl` and one `STEP.log` a step. Whoever writes it makes it.
    fn run_dir(&self, run: &RunId) -> Result<PathBuf, StoreError>;
}

/// Whether bytes may be copied into the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sensitivity {
    Plain,
    /// Only ever stands in an object file of its own.
    Personal,
}

/// A verified object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectFile {
    /// Read-only. The payload is its first `size_bytes` bytes; the store's own footer follows.
    pub path: PathBuf,
    pub size_bytes: u64,
}

/// Refuses a commit if the registry has moved on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommitGuard {
    pub release: String,
    /// How many records [`Store::release_records`] had when the decision was taken.
    pub n_records: usize,
}

/// The answer to a claim.
pub enum Claim {
    Granted(Lease),
    /// Another run executed the key meanwhile: look it up.
    Finished,
}

/// What keeps a claim waiting: these runs have what it needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holdup {
    pub runs: Vec<RunId>,
    /// Names of the portions of which too little is left; none: one of the runs executes the key.
    pub lacks: Vec<String>,
}

/// The right to execute a key, and what it may take meanwhile; given back when dropped.
pub struct Lease {
    pub portions: Vec<Portion>,
    give_back: Option<Box<dyn FnOnce() + Send>>,
    free: Option<Box<dyn FnOnce() + Send>>,
}

impl Lease {
    /// `give_back` is called once.
    pub fn new(portions: Vec<Portion>, give_back: impl FnOnce() + Send + 'static) -> Self {
        Self { portions, give_back: Some(Box::new(give_back)), free: None }
    }

    /// `free` is called at most once, before it is given back.
    pub fn with_free(mut self, free: impl FnOnce() + Send + 'static) -> Self {
        self.free = Some(Box::new(free));
        self
    }

    /// Gives back what it takes, and keeps the key: the step has ended, and its record is on the way.
    pub fn free(&mut self) {
        self.portions.clear();
        if let Some(free) = self.free.take() {
            free();
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(give_back) = self.give_back.take() {
            give_back();
        }
    }
}

/// One line of `mlp runs`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunSummary {
    pub run: RunId,
    pub pipeline: String,
    pub file: String,
    pub params: BTreeMap<String, String>,
    pub trigger: String,
    pub at: Timestamp,
    /// `None`: still running, or its process died.
    pub status: Option<RunStatus>,
    /// Whether the process that started it is still connected.
    pub alive: bool,
    /// It was made in another store, and is known here since the two were merged.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub elsewhere: bool,
    pub steps: StepCounts,
    pub seconds: Option<f64>,
}

/// Why the store could not do it. The store is whole all the same.
#[derive(Debug, Clone, PartialEq, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StoreError {
    #[error("cannot {action} `{path}`: {message}")]
    Io { action: String, path: String, message: String },
    #[error("no space left on the disk that holds `{path}`")]
    DiskFull { path: String },
    #[error("journal record {seq} in `{segment}` is damaged: {what}")]
    JournalDamaged { segment: String, seq: u64, what: String },
    #[error("this store was written by a newer mlp (format {found}, this one knows {known})")]
    NewerFormat { found: u32, known: u32 },
    /// What is encrypted cannot be read, or nothing can be encrypted.
    #[error("the key of partition `{partition}`{} {what}", in_parentheses(.place))]
    Key {
        partition: String,
        /// Never the key itself.
        what: String,
        /// Where the key is or would be; `None`, if nothing says so.
        place: Option<String>,
    },
    #[error("cannot reach the store's owner process: {message}")]
    Owner { message: String },
    #[error("release `{release}` has been changed by another run")]
    Conflict { release: String },
    #[error("{0} is on a network filesystem, where locks and sockets cannot be trusted")]
    NetworkFilesystem(String),
}

fn in_parentheses(place: &Option<String>) -> String {
    place.as_ref().map(|place| format!(" ({place})")).unwrap_or_default()
}
