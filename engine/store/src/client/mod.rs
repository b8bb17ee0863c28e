//! A process's view of the store: objects by its own hands, facts by asking the owner.
//!
//! Objects are written here, so that their bytes never pass the socket. Everything that must be in one order, or be
//! shared with other processes, goes to the owner.

mod ahead;
mod dial;
mod erase;
mod files;
mod journaled;
mod keep;
#[cfg(test)]
mod keep_tests;
mod link;
mod outgoing;
mod seen;
mod stats;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use mlp_model::{
    Claim, CommitGuard, Digest, Done, Holdup, KeyId, Lease, ObjectFile, OutputRecord, Record, RunId, RunSummary,
    Sensitivity, StepId, StepResult, Store, StoreError, Stored, Take,
};

use crate::clock::Clock;
use crate::failure::{OrFail, io_failure, lock};
use crate::fs::{Access, FileStat, Fs, RealFs, Stamp, open_outside, read_full};
use crate::layout::Layout;
use crate::objects::{Durability, Objects, hash};
use crate::owner::refuse_network;
use crate::protocol::{Answer, Request};
use crate::seal::{Encryption, Keys};
use crate::stat_cache::{Known, Subject, decode_all, is_settled};
use ahead::Ahead;
pub use dial::SpawnOwner;
use dial::{Dialer, owner};
use journaled::{leave_out_what_was_printed, make_finite};
pub(crate) use keep::object_files;
use link::Link;
use outgoing::Outgoing;
use seen::Learnt;
pub use stats::StoreStats;

/// Plain objects up to this size live in the journal.
const MAX_INLINE_BYTES: u64 = 4096;
/// How often a file that changes while it is hashed is tried again.
const MAX_HASHINGS: usize = 3;

/// The store of a workspace, as one process sees it. Shared by reference; closed when dropped.
pub struct Client {
    fs: Arc<dyn Fs>,
    layout: Layout,
    clock: Arc<dyn Clock>,
    link: Arc<Link>,
    objects: Arc<Objects>,
    outgoing: Arc<Outgoing>,
    /// The newest result of each key that this process has been told, by its position; 0 for none.
    seen: Mutex<HashMap<KeyId, u64>>,
    /// Outside files whose digests this process has learnt.
    files: Mutex<HashMap<PathBuf, Known>>,
    /// Everything that this process has learnt of outside files, for an answer that is kept.
    learnt: Mutex<Learnt>,
    /// Answers to questions that are about to be asked.
    foreseen: Mutex<Ahead>,
    /// How many records of this client are known to be in the journal.
    n_committed: Arc<AtomicU64>,
}

impl Client {
    /// Opens the store of `workspace`; `spawn` starts an owner process where there is none.
    ///
    /// # Errors
    /// [`StoreError::Owner`], if no owner can be reached within about 10 seconds; and what keeps the owner from opening
    /// the store: a full disk, a damaged journal, a newer format, a network filesystem.
    pub fn connect(workspace: &Path, spawn: SpawnOwner, clock: Arc<dyn Clock>) -> Result<Self, StoreError> {
        Self::connect_on(Arc::new(RealFs), workspace, spawn, clock)
    }

    /// Like [`Client::connect`], for a store that encrypts.
    pub fn connect_encrypted(
        workspace: &Path,
        spawn: SpawnOwner,
        clock: Arc<dyn Clock>,
        encryption: Option<Encryption>,
    ) -> Result<Self, StoreError> {
        Self::open(Arc::new(RealFs), workspace, spawn, clock, encryption)
    }

    /// Returns the folder that the store belongs to.
    pub fn workspace(&self) -> &Path {
        self.layout.root.parent().unwrap_or(&self.layout.root)
    }

    /// Like [`Client::connect`], over other file operations.
    pub fn connect_on(
        fs: Arc<dyn Fs>,
        workspace: &Path,
        spawn: SpawnOwner,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, StoreError> {
        Self::open(fs, workspace, spawn, clock, None)
    }

    fn open(
        fs: Arc<dyn Fs>,
        workspace: &Path,
        spawn: SpawnOwner,
        clock: Arc<dyn Clock>,
        encryption: Option<Encryption>,
    ) -> Result<Self, StoreError> {
        let layout = Layout::of(workspace)?;
        refuse_network(&*fs, &layout)?;
        layout.prepare(&*fs)?;
        let socket = layout.socket(&*fs)?;
        let link = Link::open(Dialer { layout: layout.clone(), socket, spawn })?;
        let keys = {
            let link = link.clone();
            Keys::new(encryption, Box::new(move || erase::erased_keys(&link)))
        };
        let objects = Arc::new(Objects::new(fs.clone(), layout.clone(), keys));
        let outgoing = Outgoing::open(link.clone(), objects.clone());
        Ok(Self {
            fs,
            layout,
            clock,
            link,
            objects,
            outgoing,
            seen: Mutex::default(),
            files: Mutex::default(),
            learnt: Mutex::default(),
            foreseen: Mutex::default(),
            n_committed: Arc::default(),
        })
    }

    fn ask(&self, request: Request) -> Result<Answer, StoreError> {
        self.link.ask_and_wait(request).map(|(answer, _)| answer)
    }

    fn ask_stored(&self, request: Request) -> Result<Vec<Stored>, StoreError> {
        match self.ask(request)? {
            Answer::Stored(records) => Ok(records),
            other => Err(misfit(&other)),
        }
    }

    fn ask_runs(&self, request: Request) -> Result<Vec<RunSummary>, StoreError> {
        match self.ask(request)? {
            Answer::Runs(runs) => Ok(runs),
            other => Err(misfit(&other)),
        }
    }

    /// Returns what the stat cache knows of each subject.
    fn ask_stats(&self, subjects: Vec<Subject>) -> Result<Vec<Option<Known>>, StoreError> {
        let n_subjects = subjects.len();
        match self.link.ask_and_wait(Request::Stats { subjects })? {
            (Answer::Stats, bytes) => {
                let known = decode_all(&bytes).filter(|known| known.len() == n_subjects);
                known.ok_or_else(|| misfit(&Answer::Stats))
            }
            (other, _) => Err(misfit(&other)),
        }
    }

    /// Tells the owner before the object's file is looked at or made: from then on it is not collected.
    fn rely_on(&self, digest: &Digest) -> Result<(), StoreError> {
        self.ask(Request::Use { digest: *digest }).map(|_| ())
    }

    /// Returns the bytes of an object that lives, or will live, in the journal.
    fn inline(&self, digest: &Digest) -> Result<Option<Arc<[u8]>>, StoreError> {
        if let Some(bytes) = self.outgoing.bytes(digest) {
            return Ok(Some(bytes));
        }
        match self.link.ask_and_wait(Request::Blob { digest: *digest, is_wanted: true })? {
            (Answer::Blob(is_there), bytes) => Ok(is_there.then(|| bytes.into())),
            (other, _) => Err(misfit(&other)),
        }
    }

    fn hash_outside(&self, path: &Path) -> Result<(Digest, FileStat), StoreError> {
        for _ in 0..MAX_HASHINGS {
            let file = open_outside(path).or_fail("read", path)?;
            let before = file.stat().or_fail("read", path)?;
            match hash(&*file, before.stamp.size_bytes) {
                Ok(digest) if file.stat().or_fail("read", path)?.stamp == before.stamp => return Ok((digest, before)),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => {}
                Err(error) => return Err(io_failure("read", path, &error)),
            }
        }
        Err(io_failure("read", path, &io::Error::other("it keeps changing while it is read")))
    }
}

/// An outside file on its way to its digest.
enum Outside {
    Known(Known),
    Unknown { path: PathBuf, stat: FileStat },
}

impl Client {
    fn look_at(&self, path: &Path) -> Result<Outside, StoreError> {
        let path = std::path::absolute(path).or_fail("read", path)?;
        let found = std::fs::metadata(&path).or_fail("read", &path)?;
        if !found.is_file() {
            return Err(io_failure("read", &path, &io::Error::other("it is not a file")));
        }
        let stat = FileStat::from(&found);
        let known = lock(&self.files).get(&path).copied().filter(|known| known.stamp == stat.stamp);
        Ok(known.map_or(Outside::Unknown { path, stat }, Outside::Known))
    }

    /// Hashes a file, and tells whether its stamp can be trusted from now on.
    fn hash_and_judge(&self, path: &Path) -> Result<(Known, bool), StoreError> {
        let hashed_at = self.clock.now();
        let (digest, stat) = self.hash_outside(path)?;
        Ok((Known { stamp: stat.stamp, digest }, is_settled(&stat.stamp, hashed_at)))
    }

    fn learn(&self, path: &Path, known: Known, is_settled: bool) {
        lock(&self.learnt).learn(path, known, is_settled);
        if is_settled {
            lock(&self.files).insert(path.to_owned(), known);
        }
    }
}

fn subject_of(path: &Path) -> Subject {
    Subject::Path(path.to_str().map_or_else(|| to_hex(path), str::to_owned))
}

impl Store for Client {
    fn scratch(&self) -> Result<PathBuf, StoreError> {
        match self.objects.keys.partition() {
            Some(_) => self.objects.plain()?.scratch.make_folder(&*self.fs),
            None => self.objects.scratch.make_folder(&*self.fs),
        }
    }

    fn discard(&self, scratch: &Path) {
        self.objects.scratch.discard(scratch);
        if let Some(plain) = self.objects.opened_plain() {
            plain.scratch.discard(scratch);
        }
    }

    fn adopt(&self, file: &Path, sensitivity: Sensitivity, partitions: &[String]) -> Result<(Digest, u64), StoreError> {
        let stat = self.fs.stat(file).or_fail("adopt", file)?;
        if !stat.is_file {
            return Err(io_failure("adopt", file, &io::Error::other("it is not a regular file")));
        }
        if stat.n_links > 1 {
            // Somebody who has another name for the file could still write it.
            let copy = match self.objects.keys.partition() {
                Some(_) => self.objects.plain()?.scratch.name(),
                None => self.objects.scratch.name(),
            };
            let adopted = std::fs::copy(file, &copy)
                .or_fail("copy", file)
                .and_then(|_| self.adopt(&copy, sensitivity, partitions))
                .and_then(|adopted| self.fs.remove_file(file).or_fail("adopt", file).map(|()| adopted));
            if adopted.is_err() {
                _ = self.fs.remove_file(&copy);
            }
            return adopted;
        }
        self.fs.set_mode(file, 0o600).or_fail("adopt", file)?;
        if let Some(partition) = self.objects.keys.partition() {
            return self.seal(file, &belonging(partition, partitions), sensitivity);
        }
        let opened = self.fs.open(file, Access::ReadWrite).or_fail("adopt", file)?;
        let size_bytes = opened.stat().or_fail("adopt", file)?.stamp.size_bytes;
        if size_bytes <= MAX_INLINE_BYTES && sensitivity == Sensitivity::Plain {
            let mut bytes = vec![0; usize::try_from(size_bytes).unwrap_or(usize::MAX)];
            let n_read = read_full(&*opened, &mut bytes, 0).or_fail("adopt", file)?;
            bytes.truncate(n_read);
            let digest = self.put(&bytes, sensitivity)?;
            self.fs.remove_file(file).or_fail("adopt", file)?;
            return Ok((digest, n_read as u64));
        }
        let digest = hash(&*opened, size_bytes).or_fail("adopt", file)?;
        self.rely_on(&digest)?;
        self.objects.install(file, &*opened, (digest, size_bytes), sensitivity, Durability::Disk)?;
        Ok((digest, size_bytes))
    }

    fn put(&self, bytes: &[u8], sensitivity: Sensitivity) -> Result<Digest, StoreError> {
        let digest = Digest::of(bytes);
        if bytes.len() as u64 <= MAX_INLINE_BYTES && sensitivity == Sensitivity::Plain {
            self.outgoing.put(digest, bytes.to_vec());
        } else {
            self.rely_on(&digest)?;
            self.objects.write(digest, bytes, sensitivity, Durability::Disk)?;
        }
        Ok(digest)
    }

    fn may_keep(&self, partition: &str) -> Result<(), StoreError> {
        self.objects.keys.for_writing(partition).map(|_| ())
    }

    fn put_data(&self, bytes: &[u8], sensitivity: Sensitivity, partitions: &[String]) -> Result<Digest, StoreError> {
        let Some(partition) = self.objects.keys.partition() else { return self.put(bytes, sensitivity) };
        let file = self.objects.plain()?.scratch.name();
        let made = self.fs.create(&file, 0o600).or_fail("make", &file)?;
        made.write_all_at(bytes, 0).or_fail("write", &file)?;
        self.seal(&file, &belonging(partition, partitions), sensitivity).map(|(digest, _)| digest)
    }

    fn adopt_figures(&self, file: &Path) -> Result<(Digest, u64), StoreError> {
        if self.objects.keys.partition().is_none() {
            return self.adopt(file, Sensitivity::Plain, &[]);
        }
        let bytes = std::fs::read(file).or_fail("adopt", file)?;
        let digest = self.put(&bytes, Sensitivity::Plain)?;
        self.fs.remove_file(file).or_fail("adopt", file)?;
        Ok((digest, bytes.len() as u64))
    }

    fn has_object(&self, digest: &Digest) -> Result<bool, StoreError> {
        self.have_objects(std::slice::from_ref(digest)).pop().unwrap_or(Ok(false))
    }

    fn have_objects(&self, digests: &[Digest]) -> Vec<Result<bool, StoreError>> {
        let is_foreseen: Vec<bool> = {
            let mut foreseen = lock(&self.foreseen);
            digests.iter().map(|digest| foreseen.present.remove(digest)).collect()
        };
        let others = digests.iter().zip(&is_foreseen).filter(|(_, is_foreseen)| !**is_foreseen);
        let asked: Vec<Digest> = others.map(|(digest, _)| *digest).collect();
        let mut sound = self.sound_files(&asked).into_iter();
        let is_there = |digest: &Digest, file: Result<Option<(Stamp, bool)>, StoreError>| {
            let is_readable = match file? {
                Some((_, true)) => self.objects.has_keys(digest)?,
                found => found.is_some(),
            };
            if is_readable || self.outgoing.bytes(digest).is_some() {
                return Ok(true);
            }
            match self.ask(Request::Blob { digest: *digest, is_wanted: false })? {
                Answer::Blob(is_there) => Ok(is_there),
                other => Err(misfit(&other)),
            }
        };
        let answer = |(digest, is_foreseen): (&Digest, &bool)| match is_foreseen {
            true => Ok(true),
            false => is_there(digest, sound.next().unwrap_or(Ok(None))),
        };
        digests.iter().zip(&is_foreseen).map(answer).collect()
    }

    fn object(&self, digest: &Digest) -> Result<Option<ObjectFile>, StoreError> {
        if let Some(file) = self.object_file(digest)? {
            return Ok(Some(file));
        }
        let Some(bytes) = self.inline(digest)? else { return Ok(None) };
        self.objects.write(*digest, &bytes, Sensitivity::Plain, Durability::Cache)?;
        self.object_file(digest)
    }

    fn objects(&self, digests: &[Digest]) -> Vec<Result<Option<ObjectFile>, StoreError>> {
        let sound = self.sound_files(digests).into_iter().zip(digests);
        let file = |(sound, digest): (Result<Option<(Stamp, bool)>, StoreError>, &Digest)| match sound? {
            Some((stamp, is_sealed)) => self.objects.readable(digest, stamp, is_sealed),
            None => self.object(digest),
        };
        sound.map(file).collect()
    }

    fn read_small(&self, digest: &Digest) -> Result<Option<Arc<[u8]>>, StoreError> {
        if self.objects.keys.partition().is_some() {
            return Ok(None);
        }
        match self.outgoing.recent(digest) {
            Some(bytes) => Ok(Some(bytes)),
            None => self.inline(digest),
        }
    }

    fn read(&self, digest: &Digest) -> Result<Option<Vec<u8>>, StoreError> {
        let Some(ObjectFile { path, size_bytes }) = self.object_file(digest)? else {
            return Ok(self.inline(digest)?.map(|bytes| bytes.to_vec()));
        };
        let file = self.fs.open(&path, Access::Read).or_fail("read", &path)?;
        let mut bytes = vec![0; usize::try_from(size_bytes).unwrap_or(usize::MAX)];
        let n_read = read_full(&*file, &mut bytes, 0).or_fail("read", &path)?;
        bytes.truncate(n_read);
        Ok(Some(bytes).filter(|bytes| Digest::of(bytes) == *digest))
    }

    fn digest_file(&self, path: &Path) -> Result<(Digest, u64), StoreError> {
        self.digest_files(&[path]).pop().unwrap_or_else(|| Err(owner("no file was asked for".to_owned())))
    }

    fn digest_files(&self, paths: &[&Path]) -> Vec<Result<(Digest, u64), StoreError>> {
        let mut digests: Vec<_> = paths.iter().map(|path| self.look_at(path)).collect();
        let asked: Vec<usize> =
            (0..digests.len()).filter(|n| matches!(digests[*n], Ok(Outside::Unknown { .. }))).collect();
        let subjects = asked.iter().filter_map(|n| match &digests[*n] {
            Ok(Outside::Unknown { path, .. }) => Some(subject_of(path)),
            _ => None,
        });
        let known = if asked.is_empty() { Ok(Vec::new()) } else { self.ask_stats(subjects.collect()) };
        let mut learnt = Vec::new();
        for (nth, n) in asked.into_iter().enumerate() {
            let Ok(Outside::Unknown { path, stat }) = &digests[n] else { continue };
            let known = known.as_ref().map(|known| known[nth].filter(|known| known.stamp == stat.stamp));
            let found = match known {
                Err(error) => Err(error.clone()),
                Ok(Some(known)) => Ok((known, true)),
                Ok(None) => self.hash_and_judge(path).inspect(|(known, is_settled)| {
                    if *is_settled {
                        learnt.push((subject_of(path), *known));
                    }
                }),
            };
            digests[n] = found.map(|(known, is_settled)| {
                self.learn(path, known, is_settled);
                Outside::Known(known)
            });
        }
        if !learnt.is_empty() {
            self.link.tell(Request::SetStats { known: learnt });
        }
        let finish = |found| match found {
            Ok(Outside::Known(Known { stamp, digest })) => Ok((digest, stamp.size_bytes)),
            Ok(Outside::Unknown { path, .. }) => Err(owner(format!("`{}` was not digested", path.display()))),
            Err(error) => Err(error),
        };
        digests.into_iter().map(finish).collect()
    }

    fn commit(&self, mut records: Vec<Record>, guard: Option<CommitGuard>, done: Done<()>) {
        let (mut started, mut finished) = (Vec::new(), Vec::new());
        make_finite(&mut records);
        if self.objects.keys.partition().is_some() {
            leave_out_what_was_printed(&mut records);
        }
        for record in &records {
            match record {
                Record::RunStarted { run, .. } => {
                    self.link.begin_run(run.clone());
                    started.push(run.clone());
                }
                Record::RunFinished { run, .. } => finished.push(run.clone()),
                _ => {}
            }
        }
        let link = self.link.clone();
        let (n_records, n_committed) = (records.len() as u64, self.n_committed.clone());
        let done: Done<()> = Box::new(move |result| {
            let mut ended = finished.clone();
            if result.is_ok() {
                n_committed.fetch_add(n_records, Ordering::Relaxed);
                started.into_iter().for_each(|run| link.on_run_started(run));
                finished.iter().for_each(|run| link.on_run_finished(run));
            } else {
                ended.extend(started);
            }
            ended.iter().for_each(|run| link.end_run(run));
            done(result);
        });
        self.outgoing.commit(&records, guard, None, done);
    }

    fn claim(&self, key: KeyId, takes: Vec<Take>, answer: Done<Claim>) {
        let seen = lock(&self.seen).get(&key).copied().unwrap_or(0);
        let link = self.link.clone();
        let sink = move |answered: link::Answered| {
            answer(match answered {
                Ok((Answer::Granted(portions), no)) => {
                    let claim = no.try_into().map_or(0, u64::from_le_bytes);
                    let freeing = link.clone();
                    let lease = Lease::new(portions, move || link.give_back(claim));
                    Ok(Claim::Granted(lease.with_free(move || freeing.free(claim))))
                }
                Ok((Answer::Finished, _)) => Ok(Claim::Finished),
                Ok((other, _)) => Err(misfit(&other)),
                Err(error) => Err(error),
            });
        };
        self.link.ask(Request::Claim { key, seen, takes }, Vec::new(), Box::new(sink));
    }

    fn holdups(&self, keys: &[KeyId]) -> Result<Vec<Option<Holdup>>, StoreError> {
        match self.ask(Request::Holdups { keys: keys.to_vec() })? {
            Answer::Holdups(holdups) => Ok(holdups),
            other => Err(misfit(&other)),
        }
    }

    fn track(&self, process_group: u32) -> Result<(), StoreError> {
        self.ask(Request::Track { group: process_group }).map(|_| ())
    }

    fn untrack(&self, process_group: u32) {
        self.link.untrack(process_group);
    }

    fn result(&self, key: &KeyId) -> Result<Option<(RunId, StepResult)>, StoreError> {
        if let Some(found) = lock(&self.foreseen).results.remove(key) {
            lock(&self.seen).insert(*key, found.as_ref().map_or(0, |found| found.0));
            return Ok(found.map(|(_, run, result)| (run, result)));
        }
        match self.ask(Request::Result { key: *key })? {
            Answer::Result(found) => {
                lock(&self.seen).insert(*key, found.as_ref().map_or(0, |found| found.0));
                Ok(found.map(|(_, run, result)| (run, result)))
            }
            other => Err(misfit(&other)),
        }
    }

    fn result_reused(&self, key: &KeyId, run: &RunId, seq: u64) -> Result<Option<(RunId, StepResult)>, StoreError> {
        match self.ask(Request::ResultReused { key: *key, run: run.clone(), seq })? {
            Answer::ResultReused(found) => Ok(found),
            other => Err(misfit(&other)),
        }
    }

    fn runs(&self, limit: usize, before: Option<&RunId>) -> Result<Vec<RunSummary>, StoreError> {
        self.ask_runs(Request::Runs { limit, before: before.cloned() })
    }

    fn find_runs(&self, prefix: &str) -> Result<Vec<RunSummary>, StoreError> {
        self.ask_runs(Request::FindRuns { prefix: prefix.to_owned() })
    }

    fn run_records(&self, run: &RunId) -> Result<Vec<Stored>, StoreError> {
        self.ask_stored(Request::RunRecords { run: run.clone() })
    }

    fn foresee(&self, asked: &[(KeyId, StepId)]) -> Vec<Option<Vec<OutputRecord>>> {
        self.ask_ahead(asked)
    }

    fn foresee_history(&self, steps: &[StepId]) {
        self.ask_histories(steps);
    }

    fn step_history(&self, step: &StepId, limit: usize) -> Result<Vec<Stored>, StoreError> {
        {
            let mut foreseen = lock(&self.foreseen);
            if foreseen.new_steps.remove(step) {
                return Ok(Vec::new());
            }
            if limit == 1
                && let Some(newest) = foreseen.newest.remove(step)
            {
                return Ok(newest.into_iter().collect());
            }
        }
        self.ask_stored(Request::StepHistory { step: step.clone(), limit })
    }

    fn op_history(&self, op: &str, limit: usize) -> Result<Vec<Stored>, StoreError> {
        self.ask_stored(Request::OpHistory { op: op.to_owned(), limit })
    }

    fn producers(&self, artifact: &Digest) -> Result<Vec<Stored>, StoreError> {
        self.ask_stored(Request::Producers { artifact: *artifact })
    }

    fn consumers(&self, artifact: &Digest) -> Result<Vec<Stored>, StoreError> {
        self.ask_stored(Request::Consumers { artifact: *artifact })
    }

    fn find_artifacts(&self, prefix: &str, limit: usize) -> Result<Vec<Digest>, StoreError> {
        match self.ask(Request::FindArtifacts { prefix: prefix.to_owned(), limit })? {
            Answer::Digests(digests) => Ok(digests),
            other => Err(misfit(&other)),
        }
    }

    fn release_records(&self, release: &str) -> Result<Vec<Stored>, StoreError> {
        self.ask_stored(Request::ReleaseRecords { release: release.to_owned() })
    }

    fn releases(&self) -> Result<Vec<String>, StoreError> {
        match self.ask(Request::Releases)? {
            Answer::Names(names) => Ok(names),
            other => Err(misfit(&other)),
        }
    }

    fn collections(&self) -> Result<Vec<Stored>, StoreError> {
        self.ask_stored(Request::Collections)
    }

    fn erasures(&self) -> Result<Vec<Stored>, StoreError> {
        self.ask_stored(Request::Erasures)
    }

    fn run_dir(&self, run: &RunId) -> Result<PathBuf, StoreError> {
        self.layout.run_dir(run)
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.objects.close_plain();
        self.outgoing.close();
        self.link.close();
    }
}

/// Returns what something belongs to in a store with this partition of its own.
fn belonging<'p>(own: &'p str, partitions: &'p [String]) -> Vec<&'p str> {
    if partitions.is_empty() { vec![own] } else { partitions.iter().map(String::as_str).collect() }
}

/// Our own mistake: the owner answered another question.
fn misfit(answer: &Answer) -> StoreError {
    owner(format!("it gave an answer to another question: {answer:?}"))
}

fn to_hex(path: &Path) -> String {
    let digits: String = path.as_os_str().as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("\0{digits}")
}
