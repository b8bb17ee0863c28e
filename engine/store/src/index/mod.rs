//! The index: sorted rows made from the journal, and made again from it whenever in doubt.
//!
//! New rows stay in memory until the owner has nothing better to do, or until there are many; then they settle on the
//! disk, in their order. A crash loses rows that have not settled, and the next owner reads them from the journal: a
//! commit costs no work of the database below. Entries of the stat cache settle along with them; what a crash takes of
//! those is found out again. Unaware of what rows mean.

mod block;
mod disk;
mod meta;
mod runs;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, PoisonError, RwLock, RwLockReadGuard};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use mlp_model::StoreError;

use crate::failure::lock;
use disk::Disk;
pub(crate) use meta::Meta;

/// Rows settle in the background, busy or not, when there are more than this in memory.
const MANY_ROWS: usize = 200_000;
/// Rows settle when nothing has been written for this long.
const QUIET: Duration = Duration::from_millis(200);
/// How long closing may take: somebody may wait to be the next owner, which reads the rest from the journal.
const LAST_MOMENT: Duration = Duration::from_secs(1);
/// About how many rows settle at a time.
const SETTLE_ROWS: usize = 100_000;

pub(crate) type Key = Arc<[u8]>;
pub(crate) type Value = Arc<[u8]>;
pub(crate) type Row = (Key, Value);

/// Why the index cannot answer. The journal has everything all the same.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub(crate) enum IndexError {
    #[error("the index is damaged: {0}")]
    Damaged(String),
    #[error("{0}")]
    Io(StoreError),
}

pub(crate) struct Index {
    shared: Arc<Shared>,
    settler: Settler,
}

struct Shared {
    disk: Disk,
    fresh: RwLock<Fresh>,
    queue: Mutex<Queue>,
    changed: Condvar,
    /// Held while rows settle: they must do so in their order.
    settling: Mutex<()>,
}

/// Rows that are not known to be on the disk.
struct Fresh {
    rows: BTreeMap<Key, (Value, u64)>,
    /// Number of the newest change.
    change: u64,
    meta: Meta,
    /// Entries of the stat cache.
    stats: BTreeMap<Key, Value>,
}

#[derive(Default)]
struct Queue {
    /// Changes in their order: number, rows, and the position after them.
    changes: VecDeque<(u64, Vec<Row>, Meta)>,
    n_rows: usize,
    /// How often entries of the stat cache have come.
    n_stats: u64,
    /// How often they had come when they settled.
    n_settled_stats: u64,
    /// It has been quiet, and nothing has come since.
    is_settling: bool,
    is_closed: bool,
    failure: Option<IndexError>,
}

impl Index {
    /// Opens the index in `root`; an unusable one is put aside (`index.bad`, one is kept) and an empty one is returned.
    pub fn open(root: &Path, warn: &mut dyn FnMut(String)) -> Result<Self, IndexError> {
        Disk::open(root, warn).map(Self::over)
    }

    fn over((disk, meta): (Disk, Meta)) -> Self {
        let fresh = RwLock::new(Fresh { rows: BTreeMap::new(), change: 0, meta, stats: BTreeMap::new() });
        let queue = Mutex::default();
        let shared = Arc::new(Shared { disk, fresh, queue, changed: Condvar::new(), settling: Mutex::default() });
        Self { settler: Settler::start(shared.clone()), shared }
    }

    /// Throws this index away and returns an empty one.
    pub fn replace(self) -> Result<Self, IndexError> {
        let Self { shared, settler } = self;
        drop(settler);
        let shared = Arc::into_inner(shared).ok_or_else(|| IndexError::Damaged("it is still in use".to_owned()))?;
        shared.disk.replace().map(Self::over)
    }

    /// Settles rows, as many as fit into a moment, and closes the index in order.
    pub fn close(self) {
        let Self { shared, settler } = self;
        drop(settler);
        let deadline = Instant::now() + LAST_MOMENT;
        while Instant::now() < deadline && (shared.settle_some() || shared.settle_stats()) {}
        if let Some(Shared { disk, queue, .. }) = Arc::into_inner(shared)
            && queue.into_inner().is_ok_and(|queue| queue.failure.is_none())
        {
            disk.close();
        }
    }

    /// Returns how far the journal has been read.
    pub fn meta(&self) -> Meta {
        self.shared.read().meta
    }

    pub fn get(&self, key: &[u8]) -> Result<Option<Value>, IndexError> {
        let fresh = self.shared.read().rows.get(key).map(|found| found.0.clone());
        match fresh {
            Some(value) => Ok(Some(value)),
            None => Ok(self.shared.disk.last_in(&[&Span::only(key)])?.pop().flatten().map(|row| row.1)),
        }
    }

    /// Returns the rows whose keys begin with `prefix`; at most `limit`, from the one end or the other.
    pub fn scan(&self, prefix: &[u8], order: Order, limit: usize) -> Result<Vec<Row>, IndexError> {
        self.range(prefix, &behind(prefix), order, limit)
    }

    /// Returns the last row of each span.
    pub fn last_in(&self, spans: &[Span]) -> Result<Vec<Option<Row>>, IndexError> {
        let fresh: Vec<Option<Row>> = {
            let fresh = self.shared.read();
            let last = |Span { first, end }: &Span| {
                let mut found = fresh.rows.range::<[u8], _>((Bound::Included(&first[..]), Bound::Excluded(&end[..])));
                found.next_back().map(|(key, found)| (key.clone(), found.0.clone()))
            };
            spans.iter().map(last).collect()
        };
        let mut last = by_end(spans, |spans| self.shared.disk.last_in(spans))?;
        for (last, fresh) in last.iter_mut().zip(fresh) {
            if fresh.as_ref().map(|row| &row.0) >= last.as_ref().map(|row| &row.0) {
                *last = fresh;
            }
        }
        Ok(last)
    }

    /// Returns the values at these keys.
    pub fn get_all(&self, keys: &[Vec<u8>]) -> Result<Vec<Option<Value>>, IndexError> {
        let spans: Vec<Span> = keys.iter().map(|key| Span::only(key)).collect();
        Ok(self.last_in(&spans)?.into_iter().map(|found| found.map(|row| row.1)).collect())
    }

    /// Returns at most `limit` rows from `first` on and before `end`.
    pub fn range(&self, first: &[u8], end: &[u8], order: Order, limit: usize) -> Result<Vec<Row>, IndexError> {
        if first >= end {
            return Ok(Vec::new());
        }
        // A row settles first and is fresh no longer then: asked in this order, none slips through.
        let fresh: Vec<Row> = {
            let fresh = self.shared.read();
            let found = fresh.rows.range::<[u8], _>((Bound::Included(first), Bound::Excluded(end)));
            let row = |(key, found): (&Key, &(Value, u64))| (key.clone(), found.0.clone());
            match order {
                Order::Forward => found.take(limit).map(row).collect(),
                Order::Backward => found.rev().take(limit).map(row).collect(),
            }
        };
        let settled = self.shared.disk.range(first, end, order, limit)?;
        if fresh.is_empty() {
            return Ok(settled);
        }
        let mut rows: BTreeMap<Key, Value> = settled.into_iter().collect();
        rows.extend(fresh);
        let rows = rows.into_iter();
        Ok(match order {
            Order::Forward => rows.take(limit).collect(),
            Order::Backward => rows.rev().take(limit).collect(),
        })
    }

    /// Counts and sums all rows. `None`, if rows kept coming in meanwhile.
    pub fn recount(&self) -> Result<Option<Meta>, IndexError> {
        const TRIES: usize = 5;
        const AT_A_TIME: usize = 4096;
        for _ in 0..TRIES {
            let before = self.meta();
            let mut counted = Meta { n_rows: 0, sum: 0, ..before };
            // Keys begin with a letter.
            let mut next: Key = b"A"[..].into();
            loop {
                let rows = self.range(&next, b"\x7F", Order::Forward, AT_A_TIME)?;
                rows.iter().for_each(|(key, value)| counted.add(key, value));
                let Some((last, _)) = rows.last().filter(|_| rows.len() == AT_A_TIME) else { break };
                next = [&last[..], b"\0"].concat().into();
            }
            if self.meta() == before {
                return Ok(Some(counted));
            }
        }
        Ok(None)
    }

    /// Returns entries of the stat cache.
    pub fn stats(&self, keys: &[Vec<u8>]) -> Result<Vec<Option<Value>>, IndexError> {
        let fresh: Vec<Option<Value>> = {
            let fresh = self.shared.read();
            keys.iter().map(|key| fresh.stats.get(&key[..]).cloned()).collect()
        };
        let spans: Vec<Span> = keys.iter().map(|key| Span::only(key)).collect();
        let settled = by_end(&spans, |spans| self.shared.disk.last_stats_in(spans))?;
        Ok(fresh.into_iter().zip(settled).map(|(fresh, settled)| fresh.or(settled.map(|row| row.1))).collect())
    }

    pub fn set_stats(&self, stats: impl IntoIterator<Item = Row>) {
        self.shared.fresh.write().unwrap_or_else(PoisonError::into_inner).stats.extend(stats);
        let mut queue = lock(&self.shared.queue);
        queue.n_stats += 1;
        let is_first = queue.n_stats == queue.n_settled_stats + 1 && queue.changes.is_empty();
        drop(queue);
        if is_first {
            self.shared.changed.notify_all();
        }
    }
}

/// Returns the first key behind all those that begin with `prefix`, which begins with a letter.
fn behind(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while end.last() == Some(&u8::MAX) {
        end.pop();
    }
    if let Some(last) = end.last_mut() {
        *last += 1;
    }
    end
}

/// The keys from `first` on and before `end`.
pub(crate) struct Span {
    first: Vec<u8>,
    end: Vec<u8>,
}

impl Span {
    /// All keys that begin so.
    pub fn of(prefix: &[u8]) -> Self {
        Self { first: prefix.to_vec(), end: behind(prefix) }
    }

    /// This key alone.
    pub fn only(key: &[u8]) -> Self {
        Self { first: key.to_vec(), end: [key, b"\0"].concat() }
    }
}

/// Asks for spans by their ends, and returns the answers in the order in which the spans were given.
fn by_end<T: Clone>(
    spans: &[Span],
    ask: impl FnOnce(&[&Span]) -> Result<Vec<Option<T>>, IndexError>,
) -> Result<Vec<Option<T>>, IndexError> {
    let mut order: Vec<usize> = (0..spans.len()).collect();
    order.sort_unstable_by_key(|at| &spans[*at].end);
    let sorted: Vec<&Span> = order.iter().map(|at| &spans[*at]).collect();
    let mut answers = vec![None; spans.len()];
    for (at, answer) in order.into_iter().zip(ask(&sorted)?) {
        answers[at] = answer;
    }
    Ok(answers)
}

/// From which end rows are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    Forward,
    Backward,
}

/// Rows to be written together, with the new position.
pub(crate) struct Change<'i> {
    /// `None`: the rows are only summed.
    index: Option<&'i Index>,
    rows: HashMap<Key, Value>,
    pub meta: Meta,
}

impl<'i> Change<'i> {
    pub fn new(index: &'i Index) -> Self {
        Self { index: Some(index), rows: HashMap::new(), meta: index.meta() }
    }

    /// Returns a change to nothing: it counts and sums what it is given, and remembers only rows that may be replaced.
    pub fn sum_only() -> Self {
        Self { index: None, rows: HashMap::new(), meta: Meta::default() }
    }

    pub fn index(&self) -> Option<&'i Index> {
        self.index
    }

    /// Adds a row whose key is surely new.
    pub fn add(&mut self, key: &[u8], value: &[u8]) {
        self.meta.add(key, value);
        if self.index.is_some() {
            self.rows.insert(key.into(), value.into());
        }
    }

    /// Returns a row that was written before, by this change or an earlier one.
    pub fn get(&self, key: &[u8]) -> Result<Option<Value>, IndexError> {
        match self.rows.get(key) {
            Some(value) => Ok(Some(value.clone())),
            None => self.index.map_or(Ok(None), |index| index.get(key)),
        }
    }

    /// Adds or replaces a row.
    pub fn set(&mut self, key: &[u8], value: &[u8]) -> Result<(), IndexError> {
        if let Some(old) = self.get(key)? {
            self.meta.subtract(key, &old);
        }
        self.meta.add(key, value);
        self.rows.insert(key.into(), value.into());
        Ok(())
    }

    /// Makes the rows visible, all at once; they settle later.
    pub fn apply(self) -> Result<(), IndexError> {
        let Self { index, rows, meta } = self;
        let Some(index) = index else { return Ok(()) };
        let shared = &index.shared;
        let rows: Vec<Row> = rows.into_iter().collect();
        let mut fresh = shared.fresh.write().unwrap_or_else(PoisonError::into_inner);
        fresh.change += 1;
        fresh.meta = meta;
        let change = fresh.change;
        fresh.rows.extend(rows.iter().map(|(key, value)| (key.clone(), (value.clone(), change))));
        drop(fresh);
        let mut queue = lock(&shared.queue);
        if let Some(failure) = &queue.failure {
            return Err(failure.clone());
        }
        let was_empty = queue.changes.is_empty() && queue.n_stats == queue.n_settled_stats;
        queue.n_rows += rows.len();
        queue.changes.push_back((change, rows, meta));
        let (is_much, is_far_behind) = (queue.n_rows > MANY_ROWS, queue.n_rows > 2 * MANY_ROWS);
        drop(queue);
        if was_empty || is_much {
            shared.changed.notify_all();
        }
        if is_far_behind {
            shared.settle_some();
        }
        Ok(())
    }
}

impl Shared {
    fn read(&self) -> RwLockReadGuard<'_, Fresh> {
        self.fresh.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Settles the oldest changes; false, if there is nothing to do or it does not work.
    fn settle_some(&self) -> bool {
        let _in_order = lock(&self.settling);
        let mut queue = lock(&self.queue);
        let (mut rows, mut last) = (BTreeMap::new(), None);
        while rows.len() < SETTLE_ROWS
            && let Some((change, more, meta)) = queue.changes.pop_front()
        {
            queue.n_rows -= more.len();
            rows.extend(more);
            last = Some((change, meta));
        }
        drop(queue);
        let Some((change, meta)) = last else { return false };
        if !self.succeeds(|| self.disk.write(&rows, &meta)) {
            return false;
        }
        let mut fresh = self.fresh.write().unwrap_or_else(PoisonError::into_inner);
        for key in rows.keys() {
            if fresh.rows.get(key).is_some_and(|found| found.1 <= change) {
                fresh.rows.remove(key);
            }
        }
        true
    }

    /// Settles the entries of the stat cache; false, if there are none or it does not work.
    fn settle_stats(&self) -> bool {
        let n_stats = lock(&self.queue).n_stats;
        let stats = self.read().stats.clone();
        if stats.is_empty() || !self.succeeds(|| self.disk.write_stats(&stats)) {
            return false;
        }
        lock(&self.queue).n_settled_stats = n_stats;
        let mut fresh = self.fresh.write().unwrap_or_else(PoisonError::into_inner);
        fresh.stats.retain(|key, value| !stats.get(key).is_some_and(|settled| Arc::ptr_eq(settled, value)));
        true
    }

    /// Does something with the database. If it fails, nothing settles any more: what comes later must not be there without
    /// what came before, and the next owner reads it from the journal.
    fn succeeds(&self, work: impl FnOnce() -> Result<(), IndexError>) -> bool {
        let done = catch_unwind(AssertUnwindSafe(work));
        let Err(failure) = done.unwrap_or_else(|_| Err(IndexError::Damaged("sled panicked".to_owned()))) else {
            return true;
        };
        let mut queue = lock(&self.queue);
        queue.changes.clear();
        queue.n_settled_stats = queue.n_stats;
        queue.failure.get_or_insert(failure);
        false
    }

    /// Settles rows until closed: at once while there are many, else when nothing new has come for a while.
    fn settle_when_quiet(&self) {
        let newest = |queue: &Queue| (queue.changes.back().map(|change| change.0), queue.n_stats);
        let mut queue = lock(&self.queue);
        while !queue.is_closed {
            if queue.changes.is_empty() && queue.n_stats == queue.n_settled_stats {
                queue = self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let before = newest(&queue);
            if queue.n_rows <= MANY_ROWS && !queue.is_settling {
                queue = self.changed.wait_timeout(queue, QUIET).unwrap_or_else(PoisonError::into_inner).0;
                if newest(&queue) != before || queue.is_closed {
                    continue;
                }
            }
            queue.is_settling = true;
            let is_failed = queue.failure.is_some();
            drop(queue);
            if !is_failed && (self.settle_some() || self.settle_stats()) {
                self.succeeds(|| self.disk.tidy(&|| lock(&self.queue).is_closed));
            }
            queue = lock(&self.queue);
            queue.is_settling = queue.n_rows > MANY_ROWS || newest(&queue) == before;
        }
    }
}

/// The thread that settles rows; ends when dropped.
struct Settler {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Settler {
    fn start(shared: Arc<Shared>) -> Self {
        let thread = {
            let shared = shared.clone();
            thread::spawn(move || shared.settle_when_quiet())
        };
        Self { shared, thread: Some(thread) }
    }
}

impl Drop for Settler {
    fn drop(&mut self) {
        lock(&self.shared.queue).is_closed = true;
        self.shared.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            // It never panics: what could is caught.
            _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Random;

    /// All rows from `first` on and before `end`, as an ordinary map has them.
    fn expected(model: &BTreeMap<Vec<u8>, Vec<u8>>, first: &[u8], end: &[u8], order: Order, limit: usize) -> Vec<Row> {
        let found = model.range(first.to_vec()..end.to_vec()).map(|(key, value)| (key[..].into(), value[..].into()));
        match order {
            Order::Forward => found.take(limit).collect(),
            Order::Backward => found.rev().take(limit).collect(),
        }
    }

    #[test]
    fn rows_are_the_same_whether_they_have_settled_or_not() {
        let mut random = Random::new("rows_are_the_same");
        let folder = tempfile::tempdir().unwrap();
        let warn = &mut |warning: String| panic!("{warning}");
        let (mut index, mut model) = (Index::open(folder.path(), warn).unwrap(), BTreeMap::new());
        for round in 0..400 {
            let mut change = Change::new(&index);
            for _ in 0..random.below(12) {
                let key = [b"K", &random.below(300).to_be_bytes()[..]].concat();
                let value = random.below(u64::MAX).to_le_bytes().to_vec();
                assert_eq!(change.get(&key).unwrap().as_deref(), model.get(&key).map(Vec::as_slice));
                change.set(&key, &value).unwrap();
                model.insert(key, value);
            }
            change.meta.n_records += 1;
            change.apply().unwrap();
            if random.below(3) == 0 {
                index.shared.settle_some();
            }
            if random.below(5) == 0 {
                index.shared.disk.tidy(&|| false).unwrap();
            }
            let [first, end] = [0, 0].map(|_| [b"K", &random.below(320).to_be_bytes()[..]].concat());
            for (order, limit) in [(Order::Forward, 7), (Order::Backward, 3), (Order::Backward, usize::MAX)] {
                let wanted = if first < end { expected(&model, &first, &end, order, limit) } else { Vec::new() };
                assert_eq!(index.range(&first, &end, order, limit).unwrap(), wanted, "round {round}");
                assert_eq!(index.scan(b"K", order, limit).unwrap(), expected(&model, b"K", b"L", order, limit));
            }
            let keys: Vec<Vec<u8>> =
                (0..random.below(40)).map(|_| [b"K", &random.below(320).to_be_bytes()[..]].concat()).collect();
            let wanted: Vec<_> = keys.iter().map(|key| model.get(key).map(|value| Value::from(&value[..]))).collect();
            assert_eq!(index.get_all(&keys).unwrap(), wanted);
            for key in &keys {
                // Of all rows whose keys differ in the last byte alone.
                let last = expected(&model, &key[..8], &behind(&key[..8]), Order::Backward, 1).pop();
                assert_eq!(index.last_in(&[Span::of(&key[..8])]).unwrap(), [last]);
            }
            if random.below(40) == 0 {
                let meta = index.meta();
                index.close();
                let (disk, sealed) = (folder.path().join("index.v3.sled"), folder.path().join("index.v3.seal"));
                assert!(disk.exists() && sealed.exists());
                if random.below(2) == 0 {
                    // As after a crash: all rows are counted.
                    std::fs::remove_file(sealed).unwrap();
                }
                index = Index::open(folder.path(), warn).unwrap();
                assert_eq!(index.meta(), meta);
            }
        }
    }

    #[test]
    fn a_file_is_known_though_the_name_of_another_begins_with_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let warn = &mut |warning: String| panic!("{warning}");
        let index = Index::open(folder.path(), warn).unwrap();
        let keys = [b"f/data/x".to_vec(), b"f/data/x.csv".to_vec(), b"f/data/w".to_vec()];
        index.set_stats(keys[..2].iter().map(|key| (key[..].into(), key[1..].into())));
        for _ in 0..2 {
            let found = index.stats(&keys).unwrap();
            let found: Vec<_> = found.iter().map(Option::as_deref).collect();
            assert_eq!(found, [Some(&b"/data/x"[..]), Some(b"/data/x.csv"), None]);
            index.shared.settle_stats();
        }
    }
}
