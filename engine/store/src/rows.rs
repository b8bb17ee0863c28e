//! Which rows of the index a record makes, and how their keys are built.
//!
//! A key is a letter, what is asked for, and the record's position in the journal (big-endian, so that the order of keys
//! is the order of events). Records of other stores come before all that were written here: whoever asks for the newest is
//! told of them only where there is nothing of this store. A value says where the record stands; what it says is read from
//! the journal. Unaware of how rows are kept.

use std::collections::BTreeSet;
use std::ops::Range;

use mlp_model::{Digest, KeyId, Record, RunId, StepId, Timestamp};

use crate::index::{Change, IndexError};
use crate::journal::Place;
use crate::journal::group::{ClientId, Head};

/// Where bytes stand in the payload of a journal frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Slot {
    pub place: Place,
    pub start: u32,
    pub len: u32,
}

pub(crate) const SLOT_LEN: usize = 24;

impl Slot {
    /// Names the bytes in `range` of the payload of the frame at `place`.
    pub fn of(place: Place, range: &Range<usize>) -> Self {
        let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Self { place, start: number(range.start), len: number(range.len()) }
    }

    pub fn encode(&self) -> Vec<u8> {
        let mut out = self.place.offset.to_le_bytes().to_vec();
        for number in [self.place.segment, self.place.len, self.start, self.len] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        out
    }

    /// Reads a slot at the beginning of `bytes`.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; SLOT_LEN] = bytes.first_chunk()?;
        let short = |at: usize| u32::from_le_bytes(std::array::from_fn(|byte| bytes[8 + at * 4 + byte]));
        let offset = u64::from_le_bytes(std::array::from_fn(|byte| bytes[byte]));
        let place = Place { segment: short(0), offset, len: short(1) };
        Some(Self { place, start: short(2), len: short(3) })
    }
}

/// What happened to a step, kept beside the slot so that unfinished runs can be counted without reading records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Mark {
    Other = 0,
    Finished = 1,
    Reused = 2,
    Failed = 3,
}

impl Mark {
    pub fn decode(byte: u8) -> Self {
        match byte {
            1 => Self::Finished,
            2 => Self::Reused,
            3 => Self::Failed,
            _ => Self::Other,
        }
    }
}

pub(crate) fn result_prefix(key: &KeyId) -> Vec<u8> {
    [b"K", &key.0.0[..]].concat()
}

/// Returns the key of the row of a result.
pub(crate) fn result_row(key: &KeyId, seq: u64, is_ours: bool) -> Vec<u8> {
    [&result_prefix(key)[..], &in_order(seq, is_ours).to_be_bytes()].concat()
}

pub(crate) fn run_prefix(prefix: &str) -> Vec<u8> {
    [b"R", prefix.as_bytes()].concat()
}

/// Runs in the order in which they started.
pub(crate) const RUNS_IN_ORDER: &[u8] = b"T";

/// When a run started, for its place among all runs: by the clock, but for those of this store never before the one
/// before it. A clock that is set back does not change their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Started {
    pub at: Timestamp,
    pub seq: u64,
}

const STARTED_LEN: usize = 16;

impl Started {
    pub const NEVER: Self = Self { at: Timestamp(i64::MAX), seq: u64::MAX };

    pub fn key(&self) -> Vec<u8> {
        // With the sign turned over, the order of bytes is that of numbers.
        let at = self.at.0.cast_unsigned() ^ 1 << 63;
        [RUNS_IN_ORDER, &at.to_be_bytes(), &self.seq.to_be_bytes()].concat()
    }
}

/// The row of a run: where its first record stands, and where its last one, if it has ended.
pub(crate) struct RunRow {
    pub order: Started,
    /// Whether it was made in this store.
    pub is_ours: bool,
    pub started: Slot,
    pub finished: Option<Slot>,
}

impl RunRow {
    pub fn encode(&self) -> Vec<u8> {
        let mut row = [self.order.at.0.to_le_bytes(), self.order.seq.to_le_bytes()].concat();
        row.push(u8::from(self.is_ours));
        row.extend([Some(self.started), self.finished].into_iter().flatten().flat_map(|slot| slot.encode()));
        row
    }

    pub fn decode(row: &[u8]) -> Option<Self> {
        let (order, slots) = row.split_first_chunk::<STARTED_LEN>()?;
        let (is_ours, slots) = slots.split_first()?;
        let number = |at: usize| u64::from_le_bytes(std::array::from_fn(|byte| order[at + byte]));
        let order = Started { at: Timestamp(number(0).cast_signed()), seq: number(8) };
        Some(Self {
            order,
            is_ours: *is_ours != 0,
            started: Slot::decode(slots)?,
            finished: slots.get(SLOT_LEN..).and_then(Slot::decode),
        })
    }
}

/// One row: when the newest run of this store started.
const NEWEST_START: &[u8] = b"W";

/// Marks records of this store in the position at the end of a key.
const WRITTEN_HERE: u64 = 1 << 63;

pub(crate) fn run_records_prefix(run: &RunId) -> Vec<u8> {
    [b"I", &name_hash(&[&run.0])[..]].concat()
}

pub(crate) fn step_prefix(step: &StepId) -> Vec<u8> {
    [b"S", &name_hash(&[&step.pipeline, &step.step])[..]].concat()
}

pub(crate) fn op_prefix(op: &str) -> Vec<u8> {
    [b"O", &name_hash(&[op])[..]].concat()
}

pub(crate) const PRODUCED: u8 = b'P';
pub(crate) const CONSUMED: u8 = b'C';

pub(crate) fn artifact_prefix(role: u8, artifact: &Digest) -> Vec<u8> {
    [&[role], &artifact.0[..]].concat()
}

pub(crate) fn release_prefix(release: &str) -> Vec<u8> {
    [b"L", &name_hash(&[release])[..]].concat()
}

/// One row for each release, with the number of its records.
pub(crate) const RELEASES: &[u8] = b"N";

pub(crate) fn release_count(release: &str) -> Vec<u8> {
    [RELEASES, release.as_bytes()].concat()
}

/// One row for each collection.
pub(crate) const COLLECTIONS: &[u8] = b"G";

/// One row for each erasure.
pub(crate) const ERASURES: &[u8] = b"E";

pub(crate) fn blob(digest: &Digest) -> Vec<u8> {
    [b"B", &digest.0[..]].concat()
}

/// One row for each client: which of its commits are in the journal.
pub(crate) fn applied(client: &ClientId) -> Vec<u8> {
    [b"D", &name_hash(&[&client.0])[..]].concat()
}

fn in_order(seq: u64, is_ours: bool) -> u64 {
    if is_ours { seq | WRITTEN_HERE } else { seq }
}

/// Reads the position at the end of a key.
pub(crate) fn seq_of(key: &[u8]) -> u64 {
    key.last_chunk().map_or(0, |seq| u64::from_be_bytes(*seq) & !WRITTEN_HERE)
}

pub(crate) fn count_of(value: Option<&[u8]>) -> u64 {
    value.and_then(|value| value.try_into().ok()).map_or(0, u64::from_le_bytes)
}

/// Names may have any length and any character; their hash has neither problem.
fn name_hash(parts: &[&str]) -> [u8; 16] {
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        hasher.update(&(part.len() as u64).to_le_bytes()).update(part.as_bytes());
    }
    *hasher.finalize().as_bytes().first_chunk().expect("a hash has 32 bytes")
}

/// Adds the rows of one commit: those of its inline objects and of its records.
pub(crate) fn add_group(
    change: &mut Change<'_>,
    head: &Head,
    records: &[(Record, Slot)],
    blobs: &[(Digest, Slot)],
) -> Result<(), IndexError> {
    for (digest, slot) in blobs {
        change.set(&blob(digest), &slot.encode())?;
    }
    for (seq, (record, slot)) in (head.first..).zip(records) {
        add_record(change, (seq, head.from.is_none()), record, slot)?;
    }
    Ok(())
}

fn add_record(
    change: &mut Change<'_>,
    (seq, is_ours): (u64, bool),
    record: &Record,
    slot: &Slot,
) -> Result<(), IndexError> {
    let with_seq = |prefix: Vec<u8>| [&prefix[..], &in_order(seq, is_ours).to_be_bytes()].concat();
    let mut of_run = |run: &RunId, mark: Mark, step: Option<&StepId>| {
        let step = step.map_or([0; 16], |step| name_hash(&[&step.pipeline, &step.step]));
        let value = [&slot.encode()[..], &[mark as u8], &step].concat();
        change.add(&with_seq(run_records_prefix(run)), &value);
    };
    match record {
        Record::RunStarted { run, at, .. } => {
            of_run(run, Mark::Other, None);
            let key = run_prefix(&run.0);
            // Taken in twice, by two who merged at the same time, it stands once.
            if change.get(&key)?.is_none() {
                let at = if is_ours { not_before_the_last(change, *at)? } else { *at };
                let order = Started { at, seq };
                change.set(&key, &RunRow { order, is_ours, started: *slot, finished: None }.encode())?;
                change.add(&order.key(), run.0.as_bytes());
            }
        }
        Record::RunFinished { run, .. } => {
            of_run(run, Mark::Other, None);
            let key = run_prefix(&run.0);
            if let Some(row) = change.get(&key)?.as_deref().and_then(RunRow::decode) {
                change.set(&key, &RunRow { finished: Some(*slot), ..row }.encode())?;
            }
        }
        Record::StepFinished { run, step, result } => {
            of_run(run, Mark::Finished, Some(step));
            change.add(&result_row(&result.key, seq, is_ours), &slot.encode());
            change.add(&with_seq(step_prefix(step)), &slot.encode());
            change.add(&with_seq(op_prefix(&result.op)), &slot.encode());
            let inputs: BTreeSet<_> = result.inputs.iter().map(|input| (CONSUMED, input.digest)).collect();
            let outputs: BTreeSet<_> = result.outputs.iter().map(|output| (PRODUCED, output.digest)).collect();
            for (role, digest) in inputs.union(&outputs) {
                change.add(&with_seq(artifact_prefix(*role, digest)), &slot.encode());
            }
        }
        Record::StepReused { run, step, .. } => {
            of_run(run, Mark::Reused, Some(step));
            change.add(&with_seq(step_prefix(step)), &slot.encode());
        }
        Record::StepFailed { run, step, .. } => {
            of_run(run, Mark::Failed, Some(step));
            change.add(&with_seq(step_prefix(step)), &slot.encode());
        }
        Record::GateDecided { run, .. } => of_run(run, Mark::Other, None),
        Record::Released { release, run, .. } => {
            of_run(run, Mark::Other, None);
            add_release(change, release, with_seq(release_prefix(release)), slot)?;
        }
        Record::RolledBack { release, .. } | Record::HoldLifted { release, .. } => {
            add_release(change, release, with_seq(release_prefix(release)), slot)?;
        }
        Record::Collected { .. } => change.add(&with_seq(COLLECTIONS.to_vec()), &slot.encode()),
        Record::Erased { .. } => change.add(&with_seq(ERASURES.to_vec()), &slot.encode()),
    }
    Ok(())
}

/// Returns when a run of this store started that the clock says started at `at`.
fn not_before_the_last(change: &mut Change<'_>, at: Timestamp) -> Result<Timestamp, IndexError> {
    let newest = change.get(NEWEST_START)?;
    let newest = newest.as_deref().and_then(|row| row.try_into().ok()).map_or(i64::MIN, i64::from_le_bytes);
    let at = at.0.max(newest);
    change.set(NEWEST_START, &at.to_le_bytes())?;
    Ok(Timestamp(at))
}

fn add_release(change: &mut Change<'_>, release: &str, key: Vec<u8>, slot: &Slot) -> Result<(), IndexError> {
    change.add(&key, &slot.encode());
    let counter = release_count(release);
    let n_records = count_of(change.get(&counter)?.as_deref()) + 1;
    change.set(&counter, &n_records.to_le_bytes())
}

/// Names the release that a record is about.
pub(crate) fn release_of(record: &Record) -> Option<&str> {
    match record {
        Record::Released { release, .. } | Record::RolledBack { release, .. } | Record::HoldLifted { release, .. } => {
            Some(release)
        }
        _ => None,
    }
}
