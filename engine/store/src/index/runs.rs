//! Sorted runs of rows in one tree of sled: a log-structured merge tree whose blocks are sled's values.
//!
//! sled takes 2 KiB of memory and a third of a KiB of disk for each small row, and reads its table of pages whenever it
//! opens, so rows come to it many at a time. What settles together becomes a run; when several of about one size have
//! come together, they become one. A newer row hides an older one with the same key, and nothing is ever removed. Which
//! runs there are stands in one value, written last, together with the position of the caller: blocks that no run names
//! are left-overs of a crash. Unaware of what rows mean.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use super::block::{self, Block, Builder, Reading, Rows};
use super::{IndexError, Key, Order, Row, Span, Value, behind};
use crate::bytes::{Reader, Writer};
use crate::failure::lock;

/// The value that says which runs there are. Its key is shorter than that of any block, and never taken for one.
const LIST: &[u8] = b"list";
/// So many runs of about one size become one.
const MERGED: usize = 8;
/// So many blocks are written at a time.
const BATCH: usize = 256;

pub(super) struct Runs {
    tree: sled::Tree,
    state: RwLock<State>,
    /// Merged into others, or never completed: their blocks are to be removed, once nobody reads them any more.
    merged: Mutex<Vec<Arc<Run>>>,
    /// Held while runs are merged: no run is merged twice.
    merging: Mutex<()>,
}

struct State {
    /// Oldest first.
    runs: Arc<Vec<Arc<Run>>>,
    position: Vec<u8>,
    next_id: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Run {
    id: u64,
    n_rows: u64,
    n_blocks: u64,
    /// Of the checksums of its blocks.
    sum: u64,
    /// Which letters its keys begin with, a bit each.
    letters: u64,
}

impl Runs {
    /// Takes up what the tree holds; `is_whole`: it is surely as it was left, and not looked through.
    pub fn open(tree: sled::Tree, is_whole: bool) -> Result<Self, IndexError> {
        let (runs, position) = match tree.get(LIST)? {
            Some(list) => decode_list(&list).ok_or_else(|| damaged("its list of runs is wrong"))?,
            None => (Vec::new(), Vec::new()),
        };
        let next_id = runs.iter().map(|run| run.id + 1).max().unwrap_or(0);
        let runs = Arc::new(runs.into_iter().map(Arc::new).collect());
        let opened = Self {
            tree,
            state: RwLock::new(State { runs, position, next_id }),
            merged: Mutex::default(),
            merging: Mutex::default(),
        };
        if !is_whole {
            opened.check()?;
        }
        opened.find_left_overs()?;
        Ok(opened)
    }

    /// Returns what was handed in with the newest run.
    pub fn position(&self) -> Vec<u8> {
        self.state.read().unwrap_or_else(PoisonError::into_inner).position.clone()
    }

    /// Returns at most `limit` rows from `first` on and before `end`, in the order of their keys or against it.
    pub fn range(&self, first: &[u8], end: &[u8], order: Order, limit: usize) -> Result<Vec<Row>, IndexError> {
        let mut found = BTreeMap::new();
        let is_one_letter = behind(&first[..first.len().min(1)])[..] >= *end;
        for run in self.runs().iter().filter(|run| !is_one_letter || run.may_have(first)) {
            found.extend(self.range_of(run, first, end, order, limit)?);
        }
        let found = found.into_iter();
        Ok(match order {
            Order::Forward => found.take(limit).collect(),
            Order::Backward => found.rev().take(limit).collect(),
        })
    }

    /// Returns the last row of each span. Their ends come in order: a block that has rows for several is taken apart once.
    pub fn last_in(&self, spans: &[&Span]) -> Result<Vec<Option<Row>>, IndexError> {
        let mut found: Vec<Option<Row>> = vec![None; spans.len()];
        let (mut block, mut rows) = (sled::IVec::default(), Rows::default());
        for run in self.runs().iter() {
            let mut is_read = false;
            for (Span { first, end }, found) in
                spans.iter().zip(&mut found).filter(|(span, _)| run.may_have(&span.first))
            {
                // What comes before the last row of this block is in this block, if anywhere: ends come in order.
                if !is_read || rows.last_key().is_none_or(|last| *last < end[..]) {
                    let Some(next) = self.tree.range(run.first()..run.at(end)).next_back() else { continue };
                    block = next?.1;
                    rows.read(&block).ok_or_else(damaged_block)?;
                    is_read = true;
                }
                if let Some((key, value)) = rows.last_before(end, &block)
                    && *key >= first[..]
                    && found.as_ref().is_none_or(|(newest, _)| newest[..] <= *key)
                {
                    *found = Some((key.into(), value.into()));
                }
            }
        }
        Ok(found)
    }

    fn range_of(
        &self,
        run: &Run,
        first: &[u8],
        end: &[u8],
        order: Order,
        limit: usize,
    ) -> Result<Vec<Row>, IndexError> {
        let mut rows = Vec::new();
        let mut rows_in = |block: &[u8]| {
            block::checksum(block).ok_or_else(damaged_block)?;
            let (mut reading, mut found) = (Reading::default(), Vec::new());
            while reading.advance(block).ok_or_else(damaged_block)? && reading.key[..] < *end {
                if reading.key[..] >= *first {
                    found.push((Key::from(&reading.key[..]), Value::from(reading.value(block))));
                }
            }
            match order {
                Order::Forward => rows.extend(found),
                Order::Backward => rows.extend(found.into_iter().rev()),
            }
            Ok::<_, IndexError>(rows.len() >= limit)
        };
        match order {
            Order::Forward => {
                let from = match self.tree.range(run.first()..=run.at(first)).next_back() {
                    Some(found) => found?.0.to_vec(),
                    None => run.first(),
                };
                for found in self.tree.range(from..run.at(end)) {
                    if rows_in(&found?.1)? {
                        break;
                    }
                }
            }
            Order::Backward => {
                let from = run.at(first);
                for found in self.tree.range(run.first()..run.at(end)).rev() {
                    let (at, block) = found?;
                    if rows_in(&block)? || at[..] <= from[..] {
                        break;
                    }
                }
            }
        }
        rows.truncate(limit);
        Ok(rows)
    }

    /// Adds a run of these rows, newer than all others, and the position that they belong to.
    pub fn add(&self, rows: &BTreeMap<Key, Value>, position: Vec<u8>) -> Result<(), IndexError> {
        let id = self.new_id();
        let mut writing = Writing::new(&self.tree, id);
        for (key, value) in rows {
            writing.push(key, value)?;
        }
        let run = writing.finish()?;
        self.switch(|runs| runs.extend((run.n_rows > 0).then(|| Arc::new(run))), Some(position))
    }

    /// Makes one run of several, if there are enough of about one size. `stop` is asked now and then.
    pub fn merge(&self, stop: &dyn Fn() -> bool) -> Result<bool, IndexError> {
        let _alone = lock(&self.merging);
        self.remove_merged()?;
        let runs = self.runs();
        let Some(from) = to_merge(&runs.iter().map(|run| run.n_rows).collect::<Vec<_>>()) else { return Ok(false) };
        let before = &runs[from..];
        let id = self.new_id();
        let mut writing = Writing::new(&self.tree, id);
        let mut cursors = Vec::new();
        for run in before {
            let mut cursor = Cursor::new(&self.tree, run);
            if cursor.advance()? {
                cursors.push(cursor);
            }
        }
        // Of rows with the same key, the last one in the order of the runs is the newest.
        while let Some(newest) = (0..cursors.len())
            .min_by(|one, other| cursors[*one].reading.key.cmp(&cursors[*other].reading.key).then(other.cmp(one)))
        {
            let is_full = writing.push(&cursors[newest].reading.key, cursors[newest].value())?;
            if is_full && stop() {
                // Its blocks go later: somebody waits for the end of this owner.
                lock(&self.merged).push(Arc::new(writing.run));
                return Ok(false);
            }
            let key = cursors[newest].reading.key.clone();
            let mut at = 0;
            while at < cursors.len() {
                if cursors[at].reading.key == key && !cursors[at].advance()? {
                    cursors.remove(at);
                } else {
                    at += 1;
                }
            }
        }
        let made = Arc::new(writing.finish()?);
        self.switch(|runs| _ = runs.splice(from..from + before.len(), [made]), None)?;
        lock(&self.merged).extend(before.iter().cloned());
        drop(runs);
        self.remove_merged()?;
        Ok(true)
    }

    fn runs(&self) -> Arc<Vec<Arc<Run>>> {
        self.state.read().unwrap_or_else(PoisonError::into_inner).runs.clone()
    }

    fn new_id(&self) -> u64 {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        state.next_id += 1;
        state.next_id - 1
    }

    /// Changes the list of runs, on the disk and for those who read from now on.
    fn switch(&self, change: impl FnOnce(&mut Vec<Arc<Run>>), position: Option<Vec<u8>>) -> Result<(), IndexError> {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let mut runs = state.runs.to_vec();
        change(&mut runs);
        let position = position.unwrap_or_else(|| state.position.clone());
        self.tree.insert(LIST, encode_list(&runs, &position))?;
        state.runs = Arc::new(runs);
        state.position = position;
        Ok(())
    }

    /// Removes the blocks of merged runs that nobody reads any more.
    fn remove_merged(&self) -> Result<(), IndexError> {
        let unread: Vec<Arc<Run>> = lock(&self.merged).extract_if(.., |run| Arc::strong_count(run) == 1).collect();
        unread.iter().try_for_each(|run| self.remove_blocks(run.id))
    }

    fn remove_blocks(&self, id: u64) -> Result<(), IndexError> {
        loop {
            let keys = self.tree.scan_prefix(id.to_be_bytes()).keys().take(BATCH).collect::<Result<Vec<_>, _>>()?;
            if keys.is_empty() {
                return Ok(());
            }
            let mut batch = sled::Batch::default();
            keys.into_iter().for_each(|key| batch.remove(key));
            self.tree.apply_batch(batch)?;
        }
    }

    /// Finds what an unfinished merge has left; it goes with the next one.
    fn find_left_overs(&self) -> Result<(), IndexError> {
        let mut known: Vec<u64> = self.runs().iter().map(|run| run.id).collect();
        known.sort_unstable();
        let mut next = 0_u64;
        while let Some(found) = self.tree.range(next.to_be_bytes()..).next() {
            let (key, _) = found?;
            let Some(id) = key.first_chunk().map(|id| u64::from_be_bytes(*id)) else { break };
            if known.binary_search(&id).is_err() {
                lock(&self.merged).push(Arc::new(Run::new(id)));
            }
            next = id + 1;
        }
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        state.next_id = state.next_id.max(next);
        Ok(())
    }

    /// Reads all blocks of all runs.
    fn check(&self) -> Result<(), IndexError> {
        for run in self.runs().iter() {
            let (mut n_blocks, mut sum) = (0, 0_u64);
            for found in self.tree.scan_prefix(run.first()) {
                n_blocks += 1;
                sum = sum.wrapping_add(block::checksum(&found?.1).ok_or_else(damaged_block)?.into());
            }
            if (n_blocks, sum) != (run.n_blocks, run.sum) {
                return Err(damaged("rows are missing or have changed"));
            }
        }
        Ok(())
    }
}

impl Run {
    /// Without rows yet.
    fn new(id: u64) -> Self {
        Self { id, n_rows: 0, n_blocks: 0, sum: 0, letters: 0 }
    }

    /// The least key that a block of it can have.
    fn first(&self) -> Vec<u8> {
        self.id.to_be_bytes().to_vec()
    }

    /// Whether keys of it may begin as this one does.
    fn may_have(&self, key: &[u8]) -> bool {
        key.first().is_none_or(|letter| self.letters & letter_bit(*letter) != 0)
    }

    /// The key of a block that begins with the row at `key`.
    fn at(&self, key: &[u8]) -> Vec<u8> {
        [&self.id.to_be_bytes()[..], key].concat()
    }
}

fn letter_bit(letter: u8) -> u64 {
    1 << (letter & 63)
}

/// Returns from which run on all are to be merged, if at all: from the oldest that is not larger than all newer ones
/// together. So a row is copied about once while the number of rows doubles, and there are never many runs.
fn to_merge(sizes: &[u64]) -> Option<usize> {
    let (mut newer, mut from) = (0, sizes.len());
    for (at, size) in sizes.iter().enumerate().rev() {
        if *size <= newer || at + 1 == sizes.len() {
            from = at;
        }
        newer += size;
    }
    (sizes.len() - from >= MERGED).then_some(from)
}

/// Writes the blocks of a run, a batch at a time.
struct Writing<'t> {
    tree: &'t sled::Tree,
    run: Run,
    builder: Builder,
    batch: sled::Batch,
    n_in_batch: usize,
}

impl<'t> Writing<'t> {
    fn new(tree: &'t sled::Tree, id: u64) -> Self {
        let run = Run::new(id);
        Self { tree, run, builder: Builder::default(), batch: sled::Batch::default(), n_in_batch: 0 }
    }

    /// Adds the next row; true, if a batch has been written.
    fn push(&mut self, key: &[u8], value: &[u8]) -> Result<bool, IndexError> {
        self.run.n_rows += 1;
        self.run.letters |= key.first().map_or(0, |letter| letter_bit(*letter));
        match self.builder.push(key, value) {
            Some(block) => self.put(&block),
            None => Ok(false),
        }
    }

    fn put(&mut self, Block { first_key, bytes }: &Block) -> Result<bool, IndexError> {
        let crc = block::checksum(bytes).ok_or_else(damaged_block)?;
        self.run.n_blocks += 1;
        self.run.sum = self.run.sum.wrapping_add(crc.into());
        self.batch.insert(self.run.at(first_key), &bytes[..]);
        self.n_in_batch += 1;
        if self.n_in_batch < BATCH {
            return Ok(false);
        }
        self.flush()?;
        Ok(true)
    }

    fn flush(&mut self) -> Result<(), IndexError> {
        self.n_in_batch = 0;
        Ok(self.tree.apply_batch(std::mem::take(&mut self.batch))?)
    }

    fn finish(mut self) -> Result<Run, IndexError> {
        if let Some(block) = self.builder.finish() {
            self.put(&block)?;
        }
        self.flush()?;
        Ok(self.run)
    }
}

/// Goes through the rows of a run.
struct Cursor {
    blocks: sled::Iter,
    block: sled::IVec,
    reading: Reading,
}

impl Cursor {
    fn new(tree: &sled::Tree, run: &Run) -> Self {
        Self { blocks: tree.scan_prefix(run.first()), block: sled::IVec::default(), reading: Reading::default() }
    }

    /// Goes to the next row; false, if there is none.
    fn advance(&mut self) -> Result<bool, IndexError> {
        while self.block.is_empty() || !self.reading.advance(&self.block).ok_or_else(damaged_block)? {
            let Some(found) = self.blocks.next() else { return Ok(false) };
            self.block = found?.1;
            block::checksum(&self.block).ok_or_else(damaged_block)?;
            self.reading = Reading::default();
        }
        Ok(true)
    }

    fn value(&self) -> &[u8] {
        self.reading.value(&self.block)
    }
}

fn encode_list(runs: &[Arc<Run>], position: &[u8]) -> Vec<u8> {
    let mut out = Writer::default();
    out.text(position);
    for run in runs {
        for number in [run.id, run.n_rows, run.n_blocks, run.sum, run.letters] {
            out.long(number);
        }
    }
    let crc = crc32c::crc32c(&out.0);
    out.short(crc);
    out.0
}

fn decode_list(bytes: &[u8]) -> Option<(Vec<Run>, Vec<u8>)> {
    let (body, crc) = bytes.split_last_chunk::<4>()?;
    if crc32c::crc32c(body).to_le_bytes() != *crc {
        return None;
    }
    let mut body = Reader(body);
    let (position, mut runs) = (body.text()?.to_vec(), Vec::new());
    while !body.is_empty() {
        runs.push(Run {
            id: body.long()?,
            n_rows: body.long()?,
            n_blocks: body.long()?,
            sum: body.long()?,
            letters: body.long()?,
        });
    }
    Some((runs, position))
}

fn damaged(what: &str) -> IndexError {
    IndexError::Damaged(what.to_owned())
}

fn damaged_block() -> IndexError {
    damaged("rows that are kept together have changed")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_merged_when_several_of_about_one_size_have_come_together() {
        for (sizes, from) in [
            (&[][..], None),
            (&[5; 7], None),
            (&[5; 8], Some(0)),
            (&[100, 5, 5, 5, 5, 5, 5, 5, 5], Some(1)),
            (&[40, 5, 5, 5, 5, 5, 5, 5, 5], Some(0)),
            (&[3200, 1600, 800, 400, 200, 100, 50, 25, 12, 6, 3], None),
            (&[1000, 400, 100, 50, 20, 5, 4, 11, 3, 2, 1, 1, 1], Some(4)),
        ] {
            assert_eq!(to_merge(sizes), from, "{sizes:?}");
        }
    }

    #[test]
    fn a_list_of_runs_reads_back_or_is_refused() {
        let runs = [
            Run { id: 3, n_rows: 70, n_blocks: 2, sum: 9, letters: 5 },
            Run { id: 1, n_rows: 1, n_blocks: 1, sum: 4, letters: 1 },
        ];
        let bytes = encode_list(&runs.map(Arc::new), b"here");
        assert_eq!(decode_list(&bytes), Some((runs.to_vec(), b"here".to_vec())));
        for bit in 0..bytes.len() * 8 {
            let mut bytes = bytes.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode_list(&bytes), None, "bit {bit}");
        }
    }

    fn rows(from: u32, to: u32, value: &[u8]) -> BTreeMap<Key, Value> {
        (from..to)
            .map(|row| (Key::from(&row.to_be_bytes()[..]), Value::from([&row.to_le_bytes(), value].concat())))
            .collect()
    }

    fn all(runs: &Runs) -> Vec<Row> {
        runs.range(b"", &[0xFF; 5], Order::Forward, usize::MAX).unwrap()
    }

    #[test]
    fn a_merge_that_is_stopped_changes_nothing_and_one_that_ends_leaves_one_run() {
        let db = sled::Config::new().temporary(true).open().unwrap();
        let runs = Runs::open(db.open_tree("rows").unwrap(), true).unwrap();
        let mut expected = BTreeMap::new();
        for (n, from) in [0, 20_000, 10_000, 30_000, 5_000, 45_000, 15_000, 0].into_iter().enumerate() {
            let rows = rows(from, from + 20_000, &[n as u8; 60]);
            runs.add(&rows, vec![n as u8]).unwrap();
            expected.extend(rows);
        }
        let expected: Vec<Row> = expected.into_iter().collect();
        let n_values = runs.tree.len();
        assert!(!runs.merge(&|| true).unwrap());
        assert!(all(&runs) == expected && runs.runs().len() == MERGED);
        assert!(runs.tree.len() > n_values, "what it had written goes with the next one");
        let reader = runs.runs();
        assert!(runs.merge(&|| false).unwrap());
        assert!(runs.tree.len() > n_values, "what somebody reads stays");
        drop(reader);
        assert!(!runs.merge(&|| false).unwrap());
        assert_eq!((runs.runs().len(), runs.position()), (1, vec![7]));
        assert!(runs.tree.len() < n_values);
        assert!(all(&runs) == expected);
    }

    #[test]
    fn after_a_crash_blocks_of_no_run_go_and_a_missing_one_is_noticed() {
        let db = sled::Config::new().temporary(true).open().unwrap();
        let tree = db.open_tree("rows").unwrap();
        let open = || Runs::open(tree.clone(), false);
        let runs = open().unwrap();
        runs.add(&rows(0, 500, b"old"), b"one".to_vec()).unwrap();
        runs.add(&rows(400, 600, b"new"), b"two".to_vec()).unwrap();
        let (before, n_values) = (all(&runs), tree.len());
        let mut unfinished = Writing::new(&tree, 7);
        unfinished.push(b"left over", b"by a merge").unwrap();
        unfinished.finish().unwrap();
        drop(runs);
        let runs = open().unwrap();
        assert_eq!((all(&runs) == before, runs.position()), (true, b"two".to_vec()));
        assert!(!runs.merge(&|| false).unwrap());
        assert_eq!(tree.len(), n_values);
        runs.add(&rows(0, 1, b"newest"), b"three".to_vec()).unwrap();
        let newest = runs.last_in(&[&Span::only(&0_u32.to_be_bytes())]).unwrap();
        assert_eq!(newest[0].as_ref().map(|row| &row.1[..]), Some(&b"\0\0\0\0newest"[..]));
        drop(runs);
        let (block, _) = tree.scan_prefix(0_u64.to_be_bytes()).nth(1).unwrap().unwrap();
        tree.remove(block).unwrap();
        assert!(matches!(open(), Err(IndexError::Damaged(_))));
    }
}
