//! Checks everything that the store keeps: each object against its digest, the journal's chain, the index against the
//! journal. Changes nothing, and works beside running runs, and on a store that cannot be opened.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use mlp_model::{Digest, StoreError, StoredObject};
use serde::{Deserialize, Serialize};

use crate::client::{Client, object_files};
use crate::failure::{OrFail, lock};
use crate::fs::{Fs, RealFs};
use crate::journal::{self, Fault};
use crate::layout::Layout;
use crate::ledger::Summing;
use crate::objects::{self, Checked};
use crate::protocol::IndexState;
use crate::seal::Keys;

/// How often a journal that others write is looked at again before its end counts as torn.
const LOOKS: usize = 5;

/// What was found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Inspection {
    pub journal: JournalCheck,
    pub index: IndexCheck,
    pub objects: ObjectsCheck,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JournalCheck {
    pub n_segments: usize,
    pub size_bytes: u64,
    /// Commits, and the records in them, up to the first fault.
    pub n_commits: u64,
    pub n_records: u64,
    /// What had been acknowledged and is not there as it was written.
    pub damaged: Option<String>,
    /// An incomplete write at the end, which nobody was told of; it is cut off when the store is next opened.
    pub torn: Option<String>,
    /// Objects in the journal whose bytes are not those of their digest.
    pub damaged_objects: Vec<Digest>,
    /// Objects that live in the journal.
    pub n_inline: usize,
    #[serde(skip)]
    pub inline: BTreeSet<Digest>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum IndexCheck {
    /// Its rows are those that the journal makes.
    Sound { n_rows: u64 },
    /// It is not what the journal makes.
    Differs { what: String },
    /// It could not be looked at.
    Unknown { why: String },
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ObjectsCheck {
    pub n_files: u64,
    pub size_bytes: u64,
    /// Their bytes are not those of their digest.
    pub damaged: Vec<Digest>,
    /// They cannot be read, and why.
    pub unreadable: Vec<String>,
    /// Encrypted ones whose key was erased: nobody can read them any more.
    pub erased: Vec<Digest>,
    /// Encrypted ones whose keys are not there, and what is wrong with the keys: they were not checked.
    pub locked: Vec<Digest>,
    pub keys: Vec<String>,
}

impl Inspection {
    /// Whether nothing has to be repaired. A torn end is no damage: nobody was told of what it would have been.
    pub fn is_sound(&self) -> bool {
        self.journal.damaged.is_none()
            && self.journal.damaged_objects.is_empty()
            && !matches!(self.index, IndexCheck::Differs { .. })
            && self.objects.damaged.is_empty()
            && self.objects.unreadable.is_empty()
    }
}

/// Checks the store of `workspace`. `client` is a connection to it, or why there is none.
///
/// # Errors
/// A newer format, or the folders cannot be listed.
pub fn inspect(workspace: &Path, client: Result<&Client, &StoreError>) -> Result<Inspection, StoreError> {
    let layout = Layout::of(workspace)?;
    let state = match client {
        Ok(client) => client.index_state(true).map(Some),
        Err(_) => Ok(None),
    };
    let mut look = look_at_journal(&layout, state.as_ref().ok().copied().flatten())?;
    for _ in 1..LOOKS {
        // With an owner at work, an incomplete write is one that is just being made.
        if client.is_err() || look.0.torn.is_none() {
            break;
        }
        thread::sleep(Duration::from_millis(100));
        look = look_at_journal(&layout, state.as_ref().ok().copied().flatten())?;
    }
    let (mut journal, expected) = look;
    if client.is_ok() {
        journal.torn = None;
    }
    let index = match (state, client) {
        (Err(error), _) => IndexCheck::Unknown { why: error.to_string() },
        (Ok(None), Err(error)) => IndexCheck::Unknown { why: format!("the store cannot be opened: {error}") },
        (Ok(None), Ok(_)) => IndexCheck::Unknown { why: "nobody answered".to_owned() },
        (Ok(Some(state)), _) => compare(&state, expected),
    };
    let no_keys = Keys::new(None, Box::new(|| Ok(BTreeSet::new())));
    let keys = client.map_or(&no_keys, |client| client.keys());
    Ok(Inspection { journal, index, objects: check_objects(&layout, keys)? })
}

/// Walks the journal. Returns what an index adds up to that has read as far as `until`.
fn look_at_journal(
    layout: &Layout,
    until: Option<IndexState>,
) -> Result<(JournalCheck, Option<IndexState>), StoreError> {
    let (mut summing, mut expected) = (Summing::new(), None);
    let (mut n_commits, mut inline, mut damaged_objects) = (0, BTreeSet::new(), Vec::new());
    let wanted = until.map(|state| state.frame);
    if wanted == Some(0) {
        expected = Some(summing.meta().state(true));
    }
    let mut unreadable = None;
    let found = journal::inspect(Arc::new(RealFs), &layout.journal(), &mut |tail, payload| {
        let group = match summing.visit(tail, payload) {
            Ok(group) => group,
            // Whole, but not to be understood: as bad as damage, and the rest is still worth a look.
            Err(error) => {
                unreadable.get_or_insert(error.to_string());
                return Ok(());
            }
        };
        n_commits += 1;
        for (digest, range) in &group.blobs {
            inline.insert(*digest);
            if payload.get(range.clone()).is_none_or(|bytes| Digest::of(bytes) != *digest) {
                damaged_objects.push(*digest);
            }
        }
        if wanted == Some(tail.link.seq) {
            expected = Some(summing.meta().state(true));
        }
        Ok(())
    })?;
    let (mut damaged, mut torn) = (unreadable, None);
    match found.fault {
        Some(Fault::Damaged { what }) => damaged = damaged.or(Some(what)),
        Some(Fault::Torn { n_bytes, what }) => torn = Some(format!("{n_bytes} bytes at the end: {what}")),
        None => {}
    }
    let check = JournalCheck {
        n_segments: found.n_segments,
        size_bytes: found.size_bytes,
        n_commits,
        n_records: summing.meta().n_records,
        damaged,
        torn,
        damaged_objects,
        n_inline: inline.len(),
        inline,
    };
    Ok((check, expected))
}

fn compare(state: &IndexState, expected: Option<IndexState>) -> IndexCheck {
    let differs = |what: String| IndexCheck::Differs { what };
    match expected {
        _ if !state.is_counted => {
            IndexCheck::Unknown { why: "new rows kept coming in while they were counted".to_owned() }
        }
        None => differs(format!("it has read up to commit {}, which the journal does not hold", state.frame)),
        Some(expected) if expected == *state => IndexCheck::Sound { n_rows: state.n_rows },
        Some(expected) if (expected.n_rows, expected.sum) == (state.n_rows, state.sum) => {
            differs("it places a commit elsewhere than the journal".to_owned())
        }
        Some(expected) if expected.n_rows == state.n_rows => {
            differs(format!("it has {} rows as it should, but not those that the journal makes", state.n_rows))
        }
        Some(expected) => differs(format!("it has {} rows where the journal makes {}", state.n_rows, expected.n_rows)),
    }
}

/// Reads every object file, on as many threads as the machine has.
pub(crate) fn check_objects(layout: &Layout, keys: &Keys) -> Result<ObjectsCheck, StoreError> {
    let files = object_files(layout)?;
    let found = Mutex::new(ObjectsCheck::default());
    let next = AtomicUsize::new(0);
    let work = || {
        while let Some(StoredObject { digest, size_bytes }) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
            let (_, path) = layout.object(digest);
            let checked = objects::check(&RealFs as &dyn Fs, digest, &path, keys);
            let mut found = lock(&found);
            match checked {
                // It was collected, or put aside, meanwhile.
                Ok(Checked::Absent) => continue,
                Ok(Checked::Sound { .. }) => {}
                Ok(Checked::Damaged) => found.damaged.push(*digest),
                Ok(Checked::Erased) => found.erased.push(*digest),
                Err(error @ StoreError::Key { .. }) => {
                    found.locked.push(*digest);
                    let error = error.to_string();
                    if !found.keys.contains(&error) {
                        found.keys.push(error);
                    }
                }
                Err(error @ StoreError::NewerFormat { .. }) => found.unreadable.push(format!("{digest}: {error}")),
                Err(error) => found.unreadable.push(error.to_string()),
            }
            found.n_files += 1;
            found.size_bytes += size_bytes;
        }
    };
    let n_threads = thread::available_parallelism().map_or(1, |n| n.get()).min(files.len().max(1));
    thread::scope(|scope| (0..n_threads).for_each(|_| _ = scope.spawn(work)));
    let mut found = found.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    found.damaged.sort_unstable();
    found.unreadable.sort_unstable();
    found.erased.sort_unstable();
    found.locked.sort_unstable();
    Ok(found)
}

/// Moves an object file to where damaged ones are kept.
pub(crate) fn put_aside(fs: &dyn Fs, layout: &Layout, digest: &Digest, unique: &str) -> Result<(), StoreError> {
    let (_, path) = layout.object(digest);
    fs.rename(&path, &layout.damaged().join(format!("{digest}-{unique}"))).or_fail("move aside", &path)
}
