//! An answer that was given once, kept for the case that nothing has changed since: one file, and everything that the
//! answer rests on in it.
//!
//! A client that finds one asks nobody: it looks at each path once, at the journal's end, and has its answer. Whatever
//! does not fit, for whatever reason, is no answer and no error: then it is found in the ordinary way. The file can be
//! deleted at any time, is never written over, and is read by the version that wrote it only.
//!
//! Unaware of what an answer says, and of what the request and its variables mean.

mod file;
mod journal;
mod paths;
#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use mlp_model::Digest;

use crate::bytes::{Reader, Writer};
use crate::client::Client;
use crate::clock::Clock;
use crate::fs::Stamp;
use crate::layout::Layout;
use crate::stat_cache::is_settled;
use file::Mapped;
use journal::JournalState;
use paths::Table;
pub use paths::{Kind, Seen};

/// What has to be as it was for an answer to hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Basis {
    /// Compared byte for byte with what is asked later: the question, and who answers.
    pub request: Vec<u8>,
    /// Variables of the environment; a value is kept as its digest.
    pub variables: Vec<(String, Option<Digest>)>,
    pub paths: Vec<(PathBuf, Seen)>,
    /// Where the journal ended when the answer was true.
    pub position: Position,
}

/// A place in the journal, with all facts before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Position {
    pub(crate) n_records: u64,
    pub(crate) segment: u32,
    pub(crate) end: u64,
    pub(crate) seq: u64,
    pub(crate) hash: Digest,
}

impl Position {
    /// Returns how many facts the journal has up to here.
    pub fn n_records(&self) -> u64 {
        self.n_records
    }
}

/// Returns what differs once facts have been written to a workspace's store, without asking anybody: the journal's newest file and
/// its length. Its times change also when an owner only looks through it. `None`: there is no store.
pub fn last_written(workspace: &Path) -> Option<(PathBuf, u64)> {
    let journal = Layout::of(workspace).ok()?.journal();
    let files = std::fs::read_dir(journal).ok()?.flatten().map(|entry| entry.path());
    let newest = files.filter(|file| file.extension().is_some_and(|end| end == "log")).max()?;
    let size_bytes = stamp_of(&newest)?.size_bytes;
    Some((newest, size_bytes))
}

/// Returns what stands at a path, to be compared later. To be called before the path is used: a change in between is then
/// noticed later. `None`: a folder that changed so recently that a further change might not show, or nothing readable.
pub fn look(path: &Path, clock: &dyn Clock) -> Option<Seen> {
    let now = clock.now();
    let found = match std::fs::metadata(path) {
        Ok(found) => crate::fs::FileStat::from(&found),
        Err(error) if is_absent(&error) => return Some(Seen::Missing),
        Err(_) => return None,
    };
    if is_settled(&found.stamp, now) {
        return Some(Seen::Unchanged(found.stamp));
    }
    let is_small = found.is_file && found.stamp.size_bytes <= paths::MAX_REREAD_BYTES;
    let bytes = is_small.then(|| std::fs::read(path).ok())??;
    let size_bytes = bytes.len() as u64;
    Some(Seen::Young { digest: Digest::of(&bytes), size_bytes, len: size_bytes })
}

/// Returns the stamp of a path, following links.
pub fn stamp_of(path: &Path) -> Option<Stamp> {
    std::fs::metadata(path).ok().map(|found| crate::fs::FileStat::from(&found).stamp)
}

fn is_absent(error: &std::io::Error) -> bool {
    use std::io::ErrorKind;
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

/// How many answers a store keeps; one for each way in which a pipeline is asked for.
const MAX_KEPT: usize = 64;

/// An answer whose file is whole. Whether it still holds is asked with [`Snapshot::holds`].
pub struct Snapshot {
    layout: Layout,
    mapped: Mapped,
}

/// Where things stand in the file. The answer's parts follow.
const REQUEST: usize = 0;
const VARIABLES: usize = 1;
const JOURNAL: usize = 2;
const PATHS: usize = 3;
const ANSWER: usize = 4;

impl Snapshot {
    /// Opens the answer that was kept under `name` in the store of `workspace`, the folder's real path.
    pub fn open(workspace: &Path, name: &Digest) -> Option<Self> {
        let layout = Layout { root: workspace.join(".mlp") };
        let mapped = Mapped::open(&layout.snapshots().join(name.to_string()))?;
        Some(Self { layout, mapped })
    }

    /// Whether everything that the answer rests on is as it was.
    pub fn holds(&self, request: &[u8], variable: &dyn Fn(&str) -> Option<OsString>) -> bool {
        self.check(request, variable).is_some()
    }

    /// Returns a part of the answer.
    pub fn part(&self, part: usize) -> Option<&[u8]> {
        self.mapped.section(ANSWER + part)
    }

    fn check(&self, request: &[u8], variable: &dyn Fn(&str) -> Option<OsString>) -> Option<()> {
        if self.mapped.section(REQUEST)? != request {
            return None;
        }
        let mut variables = Reader(self.mapped.section(VARIABLES)?);
        while !variables.is_empty() {
            let name = std::str::from_utf8(variables.text()?).ok()?;
            let digest = variables.option(Reader::digest)?;
            if variable(name).map(|value| digest_of(&value)) != digest {
                return None;
            }
        }
        let state = JournalState::decode(self.mapped.section(JOURNAL)?)?;
        if !state.is_current(&self.layout) {
            return None;
        }
        let root = self.layout.root.parent()?;
        Table(self.mapped.section(PATHS)?).is_unchanged(root).then_some(())
    }
}

/// Returns the digest by which a variable's value is compared.
pub fn digest_of(value: &std::ffi::OsStr) -> Digest {
    Digest::of(value.as_encoded_bytes())
}

impl Client {
    /// Keeps an answer for [`Snapshot::open`]. Returns whether it was kept: not, if the journal has moved on already,
    /// or where too much would have to be read again each time.
    ///
    /// # Errors
    /// The file could not be written. Nothing depends on it.
    pub fn keep_answer(&self, name: &Digest, basis: Basis, answer: &[&[u8]]) -> std::io::Result<bool> {
        let (layout, clock) = self.place();
        let Some(root) = layout.root.parent() else { return Ok(false) };
        let Some(journal) = JournalState::take(layout, &basis.position, clock)? else { return Ok(false) };
        let Some(paths) = paths::encode(root, basis.paths) else { return Ok(false) };
        let mut variables = Writer::default();
        for (name, value) in &basis.variables {
            variables.text(name.as_bytes());
            variables.option(value.as_ref(), Writer::digest);
        }
        let (variables, journal) = (variables.0, journal.encode());
        let mut sections: Vec<&[u8]> = vec![&basis.request, &variables, &journal, &paths];
        sections.extend(answer);
        file::write(&layout.snapshots(), name, &sections)?;
        file::prune(&layout.snapshots(), MAX_KEPT);
        Ok(true)
    }
}
