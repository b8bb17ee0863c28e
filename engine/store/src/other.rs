//! The store of another workspace, which is only read: beside its owner, if it has one, and on a folder that nobody may
//! write.
//!
//! Reads the journal as far as it is whole when it is opened; what is being written meanwhile is not seen. Object files
//! never change under their names, and may be collected at any time: then they are absent. Needs no lock, no socket and no
//! index, and leaves nothing behind.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mlp_model::{Copied, Digest, OtherStore, Record, RunId, Sensitivity, StoreError};

use crate::client::object_files;
use crate::failure::OrFail;
use crate::footer::FOOTER_LEN;
use crate::fs::{Access, Fs, FsFile, RealFs, read_full};
use crate::journal::{self, Fault, Segments};
use crate::layout::Layout;
use crate::objects::{self, Sealed};
use crate::questions::Frames;
use crate::rows::Slot;
use crate::seal::{Encryption, Header, Keys};

/// How many bytes of an object are copied at a time.
const CHUNK: usize = 1 << 20;

/// Another workspace's store.
pub struct Other {
    layout: Layout,
    segments: Segments,
    name: String,
    /// In the order in which they started.
    runs: Vec<RunId>,
    /// Where the records of each run stand.
    of_run: HashMap<RunId, Vec<Slot>>,
    shared: Vec<Slot>,
    inline: HashMap<Digest, Slot>,
    keys: Keys,
}

impl Other {
    /// Opens the store at `path`: a workspace, or its `.mlp` folder.
    ///
    /// # Errors
    /// There is no store, its journal is damaged, or it was written by a newer mlp.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        Self::open_with(path, None)
    }

    /// The same, with keys to read what is encrypted there.
    pub fn open_with(path: &Path, encryption: Option<Encryption>) -> Result<Self, StoreError> {
        let layout = Layout { root: find(path)? };
        let fs: Arc<dyn Fs> = Arc::new(RealFs);
        let mut other = Self {
            segments: Segments::new(fs.clone(), layout.journal()),
            layout,
            name: String::new(),
            runs: Vec::new(),
            of_run: HashMap::new(),
            shared: Vec::new(),
            inline: HashMap::new(),
            // Objects whose key was erased there are as good as collected; without the key they are locked.
            keys: Keys::new(encryption, Box::new(|| Ok(BTreeSet::new()))),
        };
        let found = journal::inspect(fs, &other.layout.journal(), &mut |tail, payload| {
            let (group, records) = crate::ledger::read_group(&tail, payload)?;
            for (record, range) in records.iter().zip(&group.records) {
                let slot = Slot::of(tail.place, range);
                match run_of(record) {
                    Some(run) => {
                        let slots = other.of_run.entry(run.clone()).or_insert_with(|| {
                            other.runs.push(run.clone());
                            Vec::new()
                        });
                        slots.push(slot);
                    }
                    None => other.shared.push(slot),
                }
            }
            other.inline.extend(group.blobs.iter().map(|(digest, range)| (*digest, Slot::of(tail.place, range))));
            Ok(())
        })?;
        if let Some(Fault::Damaged { what }) = found.fault {
            let (segment, seq) = (format!("{:08}.log", found.segment), found.link.map_or(1, |link| link.seq + 1));
            return Err(StoreError::JournalDamaged { segment, seq, what });
        }
        other.name = found.genesis.map(|hash| Digest(hash).to_string()[..32].to_owned()).unwrap_or_default();
        Ok(other)
    }

    /// Returns the `.mlp` folder.
    pub fn folder(&self) -> &Path {
        &self.layout.root
    }

    fn read(&self, slots: &[Slot]) -> Result<Vec<Record>, StoreError> {
        let mut frames = Frames::new(&self.segments);
        let record = |slot: &Slot| {
            let unread = || self.segments.damaged(slot.place.segment, 0, "it holds a record that cannot be read");
            let bytes = frames.bytes(slot)?.ok_or_else(unread)?;
            serde_json::from_slice(bytes).map_err(|_| unread())
        };
        slots.iter().map(record).collect()
    }

    /// Copies an object that lives in the journal.
    fn copy_inline(&self, object: &Digest, slot: &Slot, target: &Path) -> Result<Copied, StoreError> {
        let mut frames = Frames::new(&self.segments);
        let bytes = match frames.bytes(slot) {
            Ok(Some(bytes)) if Digest::of(bytes) == *object => bytes,
            Ok(_) | Err(StoreError::JournalDamaged { .. }) => return Ok(Copied::Damaged),
            Err(error) => return Err(error),
        };
        RealFs.create(target, 0o600).and_then(|file| file.write_all_at(bytes, 0)).or_fail("write", target)?;
        Ok(Copied::Sound { size_bytes: bytes.len() as u64, sensitivity: Sensitivity::Plain, partitions: Vec::new() })
    }

    fn copy_file(&self, object: &Digest, target: &Path) -> Result<Copied, StoreError> {
        let (_, path) = self.layout.object(object);
        let file = match RealFs.open(&path, Access::Read) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Copied::Absent),
            // A link, a folder, a file that nobody may read: no object that could be used.
            Err(_) => return Ok(Copied::Damaged),
        };
        let Ok(Some(footer)) = objects::read_footer(&*file, &path) else { return Ok(Copied::Damaged) };
        let sensitivity = footer.sensitivity;
        let size_bytes = file.stat().or_fail("look at", &path)?.stamp.size_bytes - FOOTER_LEN as u64;
        let made = RealFs.create(target, 0o600).or_fail("make", target)?;
        if footer.key_id.is_some() {
            let mut written = 0;
            let opened = objects::read_sealed(&*file, &path, (object, size_bytes, footer), &self.keys, &mut |chunk| {
                made.write_all_at(chunk, written)?;
                written += chunk.len() as u64;
                Ok(())
            });
            return match opened {
                Ok(Sealed::Opened) => {
                    let header = Header::read(&*file).or_fail("read", &path)?;
                    let partitions = header.map_or_else(Vec::new, |(header, _)| header.names());
                    Ok(Copied::Sound { size_bytes: written, sensitivity, partitions })
                }
                Ok(Sealed::Erased) | Err(StoreError::Key { .. }) => Ok(Copied::Locked),
                Ok(Sealed::Damaged) => Ok(Copied::Damaged),
                Err(error) => Err(error),
            };
        }
        let Some(digest) = copy_hashed(&*file, size_bytes, &*made).or_fail("write", target)? else {
            return Ok(Copied::Damaged);
        };
        let partitions = Vec::new();
        let sound = Copied::Sound { size_bytes, sensitivity, partitions };
        Ok(if digest == *object { sound } else { Copied::Damaged })
    }
}

impl OtherStore for Other {
    fn name(&self) -> &str {
        &self.name
    }

    fn runs(&self) -> Vec<RunId> {
        self.runs.clone()
    }

    fn run_records(&self, run: &RunId) -> Result<Vec<Record>, StoreError> {
        self.read(self.of_run.get(run).map(Vec::as_slice).unwrap_or_default())
    }

    fn shared_records(&self) -> Result<Vec<Record>, StoreError> {
        self.read(&self.shared)
    }

    fn objects(&self) -> Result<Vec<Digest>, StoreError> {
        let files = match object_files(&self.layout) {
            Ok(files) => files,
            Err(_) if !self.layout.objects().exists() => Vec::new(),
            Err(error) => return Err(error),
        };
        let all: BTreeSet<Digest> =
            files.into_iter().map(|file| file.digest).chain(self.inline.keys().copied()).collect();
        Ok(all.into_iter().collect())
    }

    fn sensitivity(&self, object: &Digest) -> Result<Option<Sensitivity>, StoreError> {
        let (_, path) = self.layout.object(object);
        let inline = self.inline.get(object).map(|_| Sensitivity::Plain);
        let Ok(file) = RealFs.open(&path, Access::Read) else { return Ok(inline) };
        Ok(objects::read_footer(&*file, &path)?.map(|footer| footer.sensitivity).or(inline))
    }

    fn copy(&self, object: &Digest, target: &Path) -> Result<Copied, StoreError> {
        let copied = match self.copy_file(object, target)? {
            sound @ Copied::Sound { .. } => return Ok(sound),
            unsound => {
                _ = fs::remove_file(target);
                unsound
            }
        };
        // A file of an object that lives in the journal is a copy, and may be worse than it.
        match self.inline.get(object) {
            Some(slot) => self.copy_inline(object, slot, target),
            None => Ok(copied),
        }
    }
}

/// Finds the `.mlp` folder that `path` means.
fn find(path: &Path) -> Result<PathBuf, StoreError> {
    let path = fs::canonicalize(path).or_fail("open", path)?;
    let is_store = |folder: &Path| folder.join("journal").is_dir();
    let inner = path.join(".mlp");
    if is_store(&inner) {
        return Ok(inner);
    }
    if is_store(&path) {
        return Ok(path);
    }
    let missing = std::io::Error::new(ErrorKind::NotFound, "there is no store in it, no `.mlp` folder with a journal");
    Err(missing).or_fail("merge", &path)
}

/// Names the run that a record is part of. A release is an event of its own: other workspaces have their say in it.
fn run_of(record: &Record) -> Option<&RunId> {
    record.run().filter(|_| !matches!(record, Record::Released { .. }))
}

/// Copies the first bytes of `from` and returns their digest; `None`, if there are not so many that can be read.
fn copy_hashed(from: &dyn FsFile, size_bytes: u64, to: &dyn FsFile) -> std::io::Result<Option<Digest>> {
    let (mut hasher, mut offset) = (blake3::Hasher::new(), 0);
    let mut buffer = vec![0; CHUNK.min(usize::try_from(size_bytes).unwrap_or(CHUNK))];
    while offset < size_bytes {
        let wanted = usize::try_from(size_bytes - offset).unwrap_or(CHUNK).min(CHUNK);
        let Some(chunk) = buffer.get_mut(..wanted) else { break };
        // What cannot be read any more is as good as damaged.
        if !read_full(from, chunk, offset).is_ok_and(|n_read| n_read == wanted) {
            return Ok(None);
        }
        hasher.update(chunk);
        to.write_all_at(chunk, offset)?;
        offset += wanted as u64;
    }
    Ok(Some(Digest(*hasher.finalize().as_bytes())))
}
