//! Answers to questions: rows of the index say where, the journal says what. Newest first unless said otherwise.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use mlp_model::{Digest, KeyId, Record, RunId, RunSummary, StepCounts, StepId, StepResult, StoreError, Stored};

use crate::foreseen::{self, Found, Kept};
use crate::index::{Index, IndexError, Order, Row, Span};
use crate::journal::{Link, Place, Segments};
use crate::rows::{self, CONSUMED, Mark, PRODUCED, RunRow, SLOT_LEN, Slot, Started};
use crate::snapshot::Position;
use crate::stat_cache::{Known, Subject};

/// Reads index and journal; shared by all who ask.
#[derive(Clone)]
pub(crate) struct Questions {
    pub index: Arc<Index>,
    pub segments: Arc<Segments>,
}

/// Why a question has no answer.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub(crate) enum Unanswered {
    #[error(transparent)]
    Index(#[from] IndexError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

type Answer<T> = Result<T, Unanswered>;

impl Questions {
    pub fn result(&self, key: &KeyId) -> Answer<Option<(u64, RunId, StepResult)>> {
        let newest = self.index.scan(&rows::result_prefix(key), Order::Backward, 1)?;
        let Some(row) = newest.first() else { return Ok(None) };
        let (seq, record) = self.record(row)?;
        Ok(match record {
            Record::StepFinished { run, result, .. } => Some((seq, run, result)),
            _ => None,
        })
    }

    /// Returns the newest result under `key` that stood before record `seq`, of the store that `run` belongs to if it has
    /// one.
    pub fn result_reused(&self, key: &KeyId, run: &RunId, seq: u64) -> Answer<Option<(RunId, StepResult)>> {
        let row = self.index.get(&rows::run_prefix(&run.0))?;
        let is_ours = row.as_deref().and_then(RunRow::decode).is_none_or(|row| row.is_ours);
        for of_ours in [is_ours, !is_ours] {
            let [first, end] = [0, seq].map(|seq| rows::result_row(key, seq, of_ours));
            if let Some(row) = self.index.range(&first, &end, Order::Backward, 1)?.first()
                && let (_, Record::StepFinished { run, result, .. }) = self.record(row)?
            {
                return Ok(Some((run, result)));
            }
        }
        Ok(self.result(key)?.map(|(_, run, result)| (run, result)))
    }

    /// Answers for many steps at once. Facts that stand in one frame of the journal cost one reading, and rows that stand in
    /// one block of the index as well. `rely_on` hears of the outputs before they are looked for.
    pub fn foresee(
        &self,
        asked: &[(KeyId, StepId)],
        rely_on: &dyn Fn(&mut dyn Iterator<Item = Digest>),
    ) -> Answer<Vec<Found>> {
        let mut answers: Vec<Found> = Vec::with_capacity(asked.len());
        let (mut results, mut new) = (Vec::new(), Vec::new());
        let keys: Vec<Span> = asked.iter().map(|(key, _)| Span::of(&rows::result_prefix(key))).collect();
        for (n, newest) in self.index.last_in(&keys)?.into_iter().enumerate() {
            match newest {
                Some((key, value)) => results.push((n, rows::seq_of(&key), slot_of(&key, &value)?)),
                None => new.push(n),
            }
            answers.push(Found { has_history: true, ..Found::default() });
        }
        let steps: Vec<Span> = new.iter().map(|n| Span::of(&rows::step_prefix(&asked[*n].1))).collect();
        for (n, newest) in new.into_iter().zip(self.index.last_in(&steps)?) {
            answers[n].has_history = newest.is_some();
        }
        let in_journal = |slot: &Slot| (slot.place.segment, slot.place.offset, slot.start);
        results.sort_unstable_by_key(|(_, _, slot)| in_journal(slot));
        let mut frames = Frames::new(&self.segments);
        let mut outputs = Vec::new();
        for (n, seq, slot) in results {
            let record = frames.bytes(&slot)?.ok_or_else(behind)?.to_vec();
            let made = foreseen::outputs_of(&record).map_err(|_| self.unreadable(&slot))?;
            answers[n].kept = vec![Kept::Unknown; made.len()];
            answers[n].result = Some((seq, record));
            outputs.extend(made.into_iter().enumerate().map(|(nth, digest)| (n, nth, digest)));
        }
        rely_on(&mut outputs.iter().map(|(_, _, digest)| *digest));
        let blobs: Vec<Vec<u8>> = outputs.iter().map(|(_, _, digest)| rows::blob(digest)).collect();
        let files: Vec<Vec<u8>> = outputs.iter().map(|(_, _, digest)| Subject::Object(*digest).key()).collect();
        let found = self.index.get_all(&blobs)?.into_iter().zip(self.index.stats(&files)?);
        let mut inline = Vec::new();
        for (((n, nth, digest), key), (blob, file)) in outputs.into_iter().zip(&files).zip(found) {
            if let Some(slot) = blob.as_deref().and_then(Slot::decode) {
                inline.push((n, nth, digest, slot));
            } else if let Some(known) = file.and_then(|bytes| Known::decode(key, &bytes))
                && known.digest == digest
            {
                answers[n].kept[nth] = Kept::File(known.stamp);
            }
        }
        inline.sort_unstable_by_key(|(_, _, _, slot)| in_journal(slot));
        for (n, nth, digest, slot) in inline {
            if matches!(frames.bytes(&slot), Ok(Some(bytes)) if Digest::of(bytes) == digest) {
                answers[n].kept[nth] = Kept::Inline;
            }
        }
        Ok(answers)
    }

    /// Returns the position of the newest result under `key`, 0 if there is none.
    pub fn newest_result(&self, key: &KeyId) -> Answer<u64> {
        let newest = self.index.scan(&rows::result_prefix(key), Order::Backward, 1)?;
        Ok(newest.first().map_or(0, |(key, _)| rows::seq_of(key)))
    }

    pub fn runs(&self, limit: usize, before: Option<&RunId>) -> Answer<Vec<RunSummary>> {
        let end = match before {
            None => Started::NEVER,
            Some(run) => match self.index.get(&rows::run_prefix(&run.0))?.as_deref().and_then(RunRow::decode) {
                Some(row) => row.order,
                None => return Ok(Vec::new()),
            },
        };
        let older = self.index.range(rows::RUNS_IN_ORDER, &end.key(), Order::Backward, limit)?;
        let mut summaries = Vec::new();
        for row in older {
            let run = RunId(String::from_utf8_lossy(&row.1).into_owned());
            if let Some(row) = self.index.get(&rows::run_prefix(&run.0))? {
                summaries.push(self.summary(&run, &row)?);
            }
        }
        Ok(summaries)
    }

    pub fn find_runs(&self, prefix: &str) -> Answer<Vec<RunSummary>> {
        let mut summaries = Vec::new();
        for (key, row) in self.index.scan(&rows::run_prefix(prefix), Order::Forward, usize::MAX)? {
            let run = RunId(String::from_utf8_lossy(key.get(1..).unwrap_or_default()).into_owned());
            summaries.push(self.summary(&run, &row)?);
        }
        Ok(summaries)
    }

    pub fn run_records(&self, run: &RunId) -> Answer<Vec<Stored>> {
        self.all(&rows::run_records_prefix(run), Order::Forward, usize::MAX)
    }

    pub fn step_history(&self, step: &StepId, limit: usize) -> Answer<Vec<Stored>> {
        self.all(&rows::step_prefix(step), Order::Backward, limit)
    }

    /// Returns the newest record of each step.
    pub fn newest_records(&self, steps: &[StepId]) -> Answer<Vec<Option<Stored>>> {
        steps.iter().map(|step| Ok(self.step_history(step, 1)?.pop())).collect()
    }

    pub fn op_history(&self, op: &str, limit: usize) -> Answer<Vec<Stored>> {
        self.all(&rows::op_prefix(op), Order::Backward, limit)
    }

    pub fn producers(&self, artifact: &Digest) -> Answer<Vec<Stored>> {
        self.all(&rows::artifact_prefix(PRODUCED, artifact), Order::Backward, usize::MAX)
    }

    pub fn consumers(&self, artifact: &Digest) -> Answer<Vec<Stored>> {
        self.all(&rows::artifact_prefix(CONSUMED, artifact), Order::Backward, usize::MAX)
    }

    /// Returns digests in their order.
    pub fn find_artifacts(&self, prefix: &str, limit: usize) -> Answer<Vec<Digest>> {
        let prefix = prefix.to_ascii_lowercase();
        let Some((first, last)) = digests_with(&prefix) else { return Ok(Vec::new()) };
        let mut found = BTreeSet::new();
        for role in [PRODUCED, CONSUMED] {
            let mut from = rows::artifact_prefix(role, &first);
            // Every row of one artifact is stepped over at once: an artifact may have been used a million times.
            let end = [&rows::artifact_prefix(role, &last)[..], &[0xFF; 9]].concat();
            for _ in 0..limit {
                let next = self.index.range(&from, &end, Order::Forward, 1)?;
                let Some(digest) = next.first().and_then(|row| row.0.get(1..33)?.try_into().ok()) else { break };
                found.insert(Digest(digest));
                from = [&rows::artifact_prefix(role, &Digest(digest))[..], &[0xFF; 9]].concat();
            }
        }
        Ok(found.into_iter().take(limit).collect())
    }

    /// Returns records, oldest first.
    pub fn release_records(&self, release: &str) -> Answer<Vec<Stored>> {
        self.all(&rows::release_prefix(release), Order::Forward, usize::MAX)
    }

    pub fn releases(&self) -> Answer<Vec<String>> {
        let name = |row: Row| String::from_utf8_lossy(row.0.get(1..).unwrap_or_default()).into_owned();
        Ok(self.index.scan(rows::RELEASES, Order::Forward, usize::MAX)?.into_iter().map(name).collect())
    }

    pub fn collections(&self) -> Answer<Vec<Stored>> {
        self.all(rows::COLLECTIONS, Order::Backward, usize::MAX)
    }

    pub fn erasures(&self) -> Answer<Vec<Stored>> {
        self.all(rows::ERASURES, Order::Backward, usize::MAX)
    }

    pub fn count_records(&self) -> Answer<u64> {
        Ok(self.index.meta().n_records)
    }

    /// Returns how far the journal goes, as far as answers know it.
    pub fn position(&self) -> Position {
        let meta = self.index.meta();
        let (segment, end) = meta.tail.map_or((0, 0), |tail| (tail.place.segment, tail.end()));
        let link = meta.tail.map_or(Link { seq: 0, hash: [0; 32] }, |tail| tail.link);
        Position { n_records: meta.n_records, segment, end, seq: link.seq, hash: Digest(link.hash) }
    }

    /// Returns the bytes of an inline object, verified.
    pub fn blob(&self, digest: &Digest) -> Answer<Option<Vec<u8>>> {
        let Some(slot) = self.index.get(&rows::blob(digest))?.as_deref().and_then(Slot::decode) else {
            return Ok(None);
        };
        let bytes = match self.bytes(&slot) {
            // As with a damaged file: the object is absent, and can be put again.
            Err(Unanswered::Store(StoreError::JournalDamaged { .. })) => return Ok(None),
            other => other?,
        };
        Ok(Some(bytes).filter(|bytes| Digest::of(bytes) == *digest))
    }

    fn all(&self, prefix: &[u8], order: Order, limit: usize) -> Answer<Vec<Stored>> {
        let record = |row: &Row| {
            let (seq, record) = self.record(row)?;
            Ok(Stored { seq, record })
        };
        self.index.scan(prefix, order, limit)?.iter().map(record).collect()
    }

    fn record(&self, (key, value): &Row) -> Answer<(u64, Record)> {
        Ok((rows::seq_of(key), self.record_at(&slot_of(key, value)?)?))
    }

    fn record_at(&self, slot: &Slot) -> Answer<Record> {
        self.parse(slot, &self.bytes(slot)?)
    }

    fn parse(&self, slot: &Slot, bytes: &[u8]) -> Answer<Record> {
        Ok(serde_json::from_slice(bytes).map_err(|_| self.unreadable(slot))?)
    }

    fn unreadable(&self, slot: &Slot) -> StoreError {
        self.segments.damaged(slot.place.segment, 0, "it holds a record that cannot be read")
    }

    fn bytes(&self, slot: &Slot) -> Answer<Vec<u8>> {
        let mut payload = self.segments.read(&slot.place)?;
        let end = slot.start as usize + slot.len as usize;
        if end > payload.len() {
            return Err(behind());
        }
        payload.truncate(end);
        payload.drain(..slot.start as usize);
        Ok(payload)
    }

    fn summary(&self, run: &RunId, row: &[u8]) -> Answer<RunSummary> {
        let short = || IndexError::Damaged(format!("the row of run {run} is short"));
        let RunRow { started, finished, is_ours, .. } = RunRow::decode(row).ok_or_else(short)?;
        let Record::RunStarted { pipeline, file, params, trigger, at, .. } = self.record_at(&started)? else {
            return Err(IndexError::Damaged(format!("the row of run {run} points elsewhere")).into());
        };
        let (status, steps, seconds) = match finished.map(|slot| self.record_at(&slot)).transpose()? {
            Some(Record::RunFinished { status, steps, seconds, .. }) => (Some(status), steps, Some(seconds)),
            _ => (None, self.count_steps(run)?, None),
        };
        let (run, elsewhere) = (run.clone(), !is_ours);
        Ok(RunSummary { run, pipeline, file, params, trigger, at, status, alive: false, elsewhere, steps, seconds })
    }

    /// Counts the steps of a run that has not finished. A step counts by what happened to it last.
    fn count_steps(&self, run: &RunId) -> Answer<StepCounts> {
        let mut last = HashMap::new();
        for (_, row) in self.index.scan(&rows::run_records_prefix(run), Order::Forward, usize::MAX)? {
            if let Some((mark, step)) = row.get(SLOT_LEN..).and_then(<[u8]>::split_first) {
                last.insert(step.to_vec(), Mark::decode(*mark));
            }
        }
        let mut counts = StepCounts::default();
        for mark in last.into_values() {
            match mark {
                Mark::Finished => counts.executed += 1,
                Mark::Reused => counts.reused += 1,
                Mark::Failed => counts.failed += 1,
                Mark::Other => {}
            }
        }
        Ok(counts)
    }
}

fn slot_of(key: &[u8], value: &[u8]) -> Answer<Slot> {
    let short = || IndexError::Damaged(format!("the row of record {} is short", rows::seq_of(key)));
    Ok(Slot::decode(value).ok_or_else(short)?)
}

/// Reads slots and keeps the frame that it read last.
pub(crate) struct Frames<'a> {
    segments: &'a Segments,
    last: Option<(Place, Vec<u8>)>,
}

impl<'a> Frames<'a> {
    pub fn new(segments: &'a Segments) -> Self {
        Self { segments, last: None }
    }

    /// Returns the bytes of a slot; `None`, if its frame is shorter than the slot says.
    pub fn bytes(&mut self, slot: &Slot) -> Result<Option<&[u8]>, StoreError> {
        let payload = match self.last.take() {
            Some((place, payload)) if place == slot.place => payload,
            _ => self.segments.read(&slot.place)?,
        };
        let payload = &self.last.insert((slot.place, payload)).1;
        let start = slot.start as usize;
        Ok(payload.get(start..start + slot.len as usize))
    }
}

fn behind() -> Unanswered {
    IndexError::Damaged("a row points behind its record".to_owned()).into()
}

/// Returns the lowest and the highest digest whose text begins with `prefix`, if there can be any.
fn digests_with(prefix: &str) -> Option<(Digest, Digest)> {
    let n_missing = 64_usize.checked_sub(prefix.len())?;
    let padded = |fill: &str| format!("{prefix}{}", fill.repeat(n_missing)).parse().ok();
    Some((padded("0")?, padded("f")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_of_any_length_bounds_its_digests() {
        let digest = Digest::of(b"telco");
        let text = digest.to_string();
        for len in 0..=64 {
            let (first, last) = digests_with(&text[..len]).unwrap();
            assert!(first <= digest && digest <= last);
            assert!(first.to_string().starts_with(&text[..len]) && last.to_string().starts_with(&text[..len]));
        }
        for wrong in ["x", "é", &format!("{text}0")] {
            assert_eq!(digests_with(wrong), None);
        }
    }
}
