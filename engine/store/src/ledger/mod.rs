//! The owner's core: journal and index together. Commits go in as batches, in order; each is applied once.
//!
//! The order of writing is journal, sync, index, answer. Unaware of sockets, threads and clients' connections.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

use mlp_model::{CommitGuard, Digest, KeyId, Record, RunId, StoreError, fail_point};

use crate::applied::Applied;
use crate::failure::OrFail;
use crate::fs::Fs;
use crate::index::{Change, Index, IndexError, Meta};
use crate::journal::group::{self, ClientId, Group, Head};
use crate::journal::{Journal, Opened, Tail};
use crate::layout::Layout;
use crate::questions::{Questions, Unanswered};
use crate::rows::{self, Slot};

/// While less is free than this, nothing is committed, so that journal and index do not get stuck halfway.
const MAX_FLOOR_BYTES: u64 = 16 << 20;
/// How many groups are put into the index at a time when it is made again.
const REPLAY_GROUPS: usize = 512;

pub(crate) struct Ledger {
    fs: Arc<dyn Fs>,
    layout: Layout,
    journal: Journal,
    index: Arc<Index>,
    /// What the index has of the clients that this process has met.
    applied: HashMap<ClientId, Applied>,
    /// Some inline objects that this process has written, or found whole.
    whole: HashSet<Digest>,
}

/// So many of them are remembered: to look one up, its frame would be read.
const MAX_WHOLE: usize = 1 << 16;

/// A commit as a client asks for it.
#[derive(Debug, Clone)]
pub(crate) struct Commit {
    pub client: ClientId,
    pub no: u64,
    pub acked_below: u64,
    /// Sent before, over a connection that broke: it may have been applied.
    pub resent: bool,
    pub guard: Option<CommitGuard>,
    /// The name of the store that the records come from, if it is not this one.
    pub from: Option<String>,
    /// Each record as JSON.
    pub records: Vec<Vec<u8>>,
    pub blobs: Vec<(Digest, Vec<u8>)>,
}

/// What became of a batch.
pub(crate) struct Outcome {
    /// One for each commit, in their order.
    pub replies: Vec<Result<(), StoreError>>,
    /// Keys that have a result now, and its position.
    pub finished: Vec<(KeyId, u64)>,
    pub started: Vec<(ClientId, RunId)>,
    pub ended: Vec<RunId>,
    /// The process must end after replying.
    pub fatal: Option<StoreError>,
}

impl Outcome {
    fn new(replies: Vec<Result<(), StoreError>>, fatal: Option<StoreError>) -> Self {
        Self { replies, finished: Vec::new(), started: Vec::new(), ended: Vec::new(), fatal }
    }

    fn note(&mut self, client: &ClientId, seq: u64, record: &Record) {
        match record {
            Record::StepFinished { result, .. } => self.finished.push((result.key, seq)),
            Record::RunStarted { run, .. } => self.started.push((client.clone(), run.clone())),
            Record::RunFinished { run, .. } => self.ended.push(run.clone()),
            _ => {}
        }
    }
}

/// A commit that will be in the journal.
struct Accepted {
    head: Head,
    records: Vec<Record>,
    payload: Vec<u8>,
}

impl Ledger {
    /// Opens the store, and brings the index up to date with the journal.
    pub fn open(fs: Arc<dyn Fs>, layout: Layout, warn: &mut dyn FnMut(String)) -> Result<Self, StoreError> {
        let of_index = |error| index_failure(&layout, error);
        let mut index = Index::open(&layout.root, warn).map_err(of_index)?;
        for _ in 0..2 {
            let mut replay =
                Replay { index: &index, change: Some(Change::new(&index)), n_groups: 0, applied: HashMap::new() };
            let seen = index.meta().tail;
            let mut visit = |tail: Tail, payload: &[u8]| replay.visit(tail, payload, &layout);
            let opened = Journal::open(fs.clone(), layout.journal(), seen.as_ref(), &mut visit, warn)?;
            if let Opened::Ready(journal) = opened {
                let applied = replay.finish().map_err(of_index)?;
                let index = Arc::new(index);
                return Ok(Self { fs, layout, journal: *journal, index, applied, whole: HashSet::new() });
            }
            warn("the index is ahead of the journal; it is made again from the journal".to_owned());
            drop(replay);
            index = index.replace().map_err(of_index)?;
        }
        Err(StoreError::Owner { message: "a new index claims to know the journal".to_owned() })
    }

    pub fn questions(&self) -> Questions {
        Questions { index: self.index.clone(), segments: self.journal.segments() }
    }

    pub fn n_records(&self) -> u64 {
        self.index.meta().n_records
    }

    /// Closes the index in order; nobody may hold [`Ledger::questions`] any more.
    pub fn close(self) {
        if let Some(index) = Arc::into_inner(self.index) {
            index.close();
        }
    }

    /// Writes the batch.
    ///
    /// # Errors
    /// The index failed after the journal has the batch, or cannot be asked: the process must end without replying; the
    /// clients will ask again.
    pub fn commit(&mut self, batch: Vec<Commit>) -> Result<Outcome, StoreError> {
        let mut replies: Vec<Result<(), StoreError>> = vec![Ok(()); batch.len()];
        if let Err(full) = self.check_space() {
            replies.fill(Err(full));
            return Ok(Outcome::new(replies, None));
        }
        let (mut accepted, mut places) = (Vec::new(), Vec::new());
        let mut n_records = self.index.meta().n_records;
        let mut in_batch = InBatch::default();
        for (place, commit) in batch.into_iter().enumerate() {
            match self.accept(commit, n_records, &mut in_batch) {
                Ok(Some(commit)) => {
                    n_records += commit.records.len() as u64;
                    accepted.push(commit);
                    places.push(place);
                }
                Ok(None) => {}
                Err(Unanswered::Index(error)) => return Err(index_failure(&self.layout, error)),
                Err(Unanswered::Store(error)) => replies[place] = Err(error),
            }
        }
        if accepted.is_empty() {
            return Ok(Outcome::new(replies, None));
        }
        let payloads: Vec<_> = accepted.iter_mut().map(|commit| std::mem::take(&mut commit.payload)).collect();
        let tails = match self.journal.append(&payloads) {
            Ok(tails) => tails,
            Err(failure) => {
                for place in places {
                    replies[place] = Err(failure.error.clone());
                }
                return Ok(Outcome::new(replies, failure.is_final.then_some(failure.error)));
            }
        };
        let mut change = Change::new(&self.index);
        let mut outcome = Outcome::new(replies, None);
        for ((tail, payload), commit) in tails.iter().zip(&payloads).zip(accepted) {
            // What happened elsewhere is no news to those who wait for something to happen here.
            if commit.head.from.is_none() {
                for (seq, record) in (commit.head.first..).zip(&commit.records) {
                    outcome.note(&commit.head.client, seq, record);
                }
            }
            let group = group::decode(payload).expect("the payload was just put together");
            remember_whole(&mut self.whole, group.blobs.iter().map(|(digest, _)| *digest));
            add(&mut self.applied, &mut change, *tail, group, commit.records)
                .map_err(|error| index_failure(&self.layout, error))?;
        }
        fail_point("index.changing");
        change.apply().map_err(|error| index_failure(&self.layout, error))?;
        fail_point("index.changed");
        Ok(outcome)
    }

    /// Decides on one commit; `None`: it was applied before.
    fn accept(
        &mut self,
        commit: Commit,
        n_records: u64,
        in_batch: &mut InBatch,
    ) -> Result<Option<Accepted>, Unanswered> {
        let Commit { client, no, acked_below, resent, guard, from, records: texts, mut blobs } = commit;
        let is_new = in_batch.commits.insert((client.clone(), no));
        if !is_new || resent && load_applied(&mut self.applied, Some(&self.index), &client)?.contains(no) {
            return Ok(None);
        }
        let records = texts
            .iter()
            .map(|text| serde_json::from_slice(text))
            .collect::<Result<Vec<Record>, _>>()
            .map_err(|error| StoreError::Owner { message: format!("a record cannot be read back: {error}") })?;
        if let Some(CommitGuard { release, n_records }) = guard {
            let stored = rows::count_of(self.index.get(&rows::release_count(&release))?.as_deref());
            let in_batch = in_batch.releases.get(&release).copied().unwrap_or(0);
            if stored + in_batch != n_records as u64 {
                return Err(StoreError::Conflict { release }.into());
            }
        }
        for release in records.iter().filter_map(rows::release_of) {
            *in_batch.releases.entry(release.to_owned()).or_default() += 1;
        }
        let questions = self.questions();
        let mut missing = Vec::new();
        for (digest, bytes) in blobs.drain(..) {
            if self.whole.contains(&digest) || !in_batch.blobs.insert(digest) {
                continue;
            }
            match questions.blob(&digest)? {
                Some(_) => remember_whole(&mut self.whole, [digest]),
                None => missing.push((digest, bytes)),
            }
        }
        let head = Head { client, no, acked_below, from, first: n_records + 1, records: Vec::new(), blobs: Vec::new() };
        let payload = group::encode(head.clone(), &texts, &missing);
        Ok(Some(Accepted { head, records, payload }))
    }

    fn check_space(&self) -> Result<(), StoreError> {
        let found = self.fs.filesystem(&self.layout.root).or_fail("look at", &self.layout.root)?;
        let floor = MAX_FLOOR_BYTES.min(found.total_bytes / 100);
        if found.free_bytes < floor {
            return Err(StoreError::DiskFull { path: self.layout.root.display().to_string() });
        }
        Ok(())
    }
}

fn remember_whole(whole: &mut HashSet<Digest>, digests: impl IntoIterator<Item = Digest>) {
    if whole.len() >= MAX_WHOLE {
        whole.clear();
    }
    whole.extend(digests);
}

/// What the commits before, in the same batch, will have changed.
#[derive(Default)]
struct InBatch {
    commits: HashSet<(ClientId, u64)>,
    releases: HashMap<String, u64>,
    blobs: HashSet<Digest>,
}

/// Brings the index up to date, some groups at a time.
struct Replay<'i> {
    index: &'i Index,
    change: Option<Change<'i>>,
    n_groups: usize,
    applied: HashMap<ClientId, Applied>,
}

impl Replay<'_> {
    fn visit(&mut self, tail: Tail, payload: &[u8], layout: &Layout) -> Result<(), StoreError> {
        let (group, records) = read_group(&tail, payload)?;
        let of_index = |error| index_failure(layout, error);
        if let Some(change) = &mut self.change {
            add(&mut self.applied, change, tail, group, records).map_err(of_index)?;
        }
        self.n_groups += 1;
        if self.n_groups.is_multiple_of(REPLAY_GROUPS)
            && let Some(change) = self.change.take()
        {
            change.apply().map_err(of_index)?;
            self.change = Some(Change::new(self.index));
        }
        Ok(())
    }

    fn finish(self) -> Result<HashMap<ClientId, Applied>, IndexError> {
        if let Some(change) = self.change
            && !self.n_groups.is_multiple_of(REPLAY_GROUPS)
        {
            change.apply()?;
        }
        Ok(self.applied)
    }
}

/// Takes the payload of a frame apart and reads its records.
pub(crate) fn read_group(tail: &Tail, payload: &[u8]) -> Result<(Group, Vec<Record>), StoreError> {
    let damaged = |what: &str| StoreError::JournalDamaged {
        segment: format!("{:08}.log", tail.place.segment),
        seq: tail.link.seq,
        what: what.to_owned(),
    };
    let group = group::decode(payload).ok_or_else(|| damaged("it cannot be taken apart"))?;
    let read = |range| payload.get::<Range<usize>>(range).unwrap_or_default();
    let records = group.records.iter().map(|range| serde_json::from_slice(read(range.clone())));
    let records = records.collect::<Result<_, _>>().map_err(|_| damaged("it holds a record that cannot be read"))?;
    Ok((group, records))
}

/// Reads the journal like an index would, but only counts and sums the rows: what an index must add up to.
pub(crate) struct Summing {
    change: Change<'static>,
    applied: HashMap<ClientId, Applied>,
}

impl Summing {
    pub fn new() -> Self {
        Self { change: Change::sum_only(), applied: HashMap::new() }
    }

    /// Adds a frame, and returns its group.
    pub fn visit(&mut self, tail: Tail, payload: &[u8]) -> Result<Group, StoreError> {
        let (group, records) = read_group(&tail, payload)?;
        add(&mut self.applied, &mut self.change, tail, group.clone(), records)
            .expect("an index that is not there cannot fail");
        Ok(group)
    }

    pub fn meta(&self) -> Meta {
        self.change.meta
    }
}

/// Puts one group of the journal into the index.
fn add(
    applied: &mut HashMap<ClientId, Applied>,
    change: &mut Change<'_>,
    tail: Tail,
    group: Group,
    records: Vec<Record>,
) -> Result<(), IndexError> {
    let slot = |range: &Range<usize>| Slot::of(tail.place, range);
    let records: Vec<_> = records.into_iter().zip(group.records.iter().map(slot)).collect();
    let blobs: Vec<_> = group.blobs.iter().map(|(digest, range)| (*digest, slot(range))).collect();
    let Head { client, no, acked_below, .. } = &group.head;
    let applied = load_applied(applied, change.index(), client)?;
    applied.insert(*no, *acked_below);
    change.set(&rows::applied(client), &applied.encode())?;
    rows::add_group(change, &group.head, &records, &blobs)?;
    change.meta.tail = Some(tail);
    change.meta.n_records += records.len() as u64;
    Ok(())
}

fn load_applied<'a>(
    all: &'a mut HashMap<ClientId, Applied>,
    index: Option<&Index>,
    client: &ClientId,
) -> Result<&'a mut Applied, IndexError> {
    match all.entry(client.clone()) {
        Entry::Occupied(known) => Ok(known.into_mut()),
        Entry::Vacant(new) => {
            let stored = index.map_or(Ok(None), |index| index.get(&rows::applied(client)))?;
            Ok(new.insert(stored.map_or_else(Applied::default, |bytes| Applied::decode(&bytes))))
        }
    }
}

fn index_failure(layout: &Layout, error: IndexError) -> StoreError {
    match error {
        IndexError::Io(StoreError::DiskFull { .. }) => StoreError::DiskFull { path: layout.root.display().to_string() },
        IndexError::Io(error) => error,
        IndexError::Damaged(message) => {
            StoreError::Io { action: "use the index in".to_owned(), path: layout.root.display().to_string(), message }
        }
    }
}

#[cfg(test)]
mod tests;
