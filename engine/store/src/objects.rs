//! Object files: immutable bytes under the name of their digest.
//!
//! A file gets its name only when it is whole and on the disk. What is read back is verified, unless this process made
//! or verified it and the stamps are unchanged. Unaware of the journal, and of objects that live inside it.

use std::collections::{BTreeSet, HashMap};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use mlp_model::{Digest, ObjectFile, Sensitivity, StoreError};

use crate::failure::{OrFail, lock};
use crate::footer::{self, FOOTER_LEN};
use crate::fs::{Access, Fs, FsFile, Stamp, read_full};
use crate::layout::{Layout, make_folder};
use crate::scratch::Scratch;

/// How many bytes are hashed at a time; from here on several threads help.
const CHUNK: usize = 1 << 22;

pub(crate) struct Objects {
    pub fs: Arc<dyn Fs>,
    pub layout: Layout,
    pub scratch: Scratch,
    /// Folders with new entries that are not known to be on the disk.
    unsynced: Mutex<BTreeSet<PathBuf>>,
    verified: Mutex<HashMap<Digest, Stamp>>,
}

/// What must hold before an object has its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Durability {
    /// Its bytes are on the disk; its name is after [`Objects::sync`].
    Disk,
    /// Nothing: the journal has the bytes too.
    Cache,
}

/// What stands under an object's name.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found {
    Absent,
    /// Verified by this process; the bytes are unchanged since.
    Sound(ObjectFile),
    /// Not verified by this process; has this stamp.
    Unverified(Stamp),
}

impl Objects {
    pub fn new(fs: Arc<dyn Fs>, layout: Layout) -> Self {
        let scratch = Scratch::new(&layout);
        Self { fs, layout, scratch, unsynced: Mutex::default(), verified: Mutex::default() }
    }

    /// Moves `file`, whose payload has `digest` and `size_bytes`, under its name. `opened` is that file.
    pub fn install(
        &self,
        file: &Path,
        opened: &dyn FsFile,
        (digest, size_bytes): (Digest, u64),
        sensitivity: Sensitivity,
        durability: Durability,
    ) -> Result<(), StoreError> {
        let (folder, place) = self.layout.object(&digest);
        // What has once been personal stays so; a plain object with the same bytes gives way.
        let is_enough = sensitivity == Sensitivity::Plain || self.sensitivity(&digest)? == Some(sensitivity);
        if is_enough && self.is_sound(&digest)? {
            // Whoever put it there may not have synced the folder yet.
            lock(&self.unsynced).insert(folder);
            return self.fs.remove_file(file).or_fail("remove", file);
        }
        let moved = (|| {
            opened.write_all_at(&footer::encode(size_bytes, sensitivity), size_bytes).or_fail("write", file)?;
            self.fs.set_mode(file, 0o444).or_fail("protect", file)?;
            if durability == Durability::Disk {
                opened.sync().or_fail("sync", file)?;
            }
            make_folder(&*self.fs, &folder)?;
            self.fs.rename(file, &place).or_fail("move an object to", &place)
        })();
        if moved.is_err() {
            // The caller keeps its file as it was.
            _ = self.fs.set_mode(file, 0o600);
            _ = opened.set_len(size_bytes);
            return moved;
        }
        if durability == Durability::Disk {
            lock(&self.unsynced).extend([self.layout.objects(), folder]);
        }
        if let Ok(stat) = opened.stat() {
            lock(&self.verified).insert(digest, stat.stamp);
        }
        Ok(())
    }

    /// Writes `bytes` as an object file.
    pub fn write(
        &self,
        digest: Digest,
        bytes: &[u8],
        sensitivity: Sensitivity,
        durability: Durability,
    ) -> Result<(), StoreError> {
        let file = self.scratch.name();
        let opened = self.fs.create(&file, 0o600).or_fail("make", &file)?;
        let written = opened
            .write_all_at(bytes, 0)
            .or_fail("write", &file)
            .and_then(|()| self.install(&file, &*opened, (digest, bytes.len() as u64), sensitivity, durability));
        if written.is_err() {
            _ = self.fs.remove_file(&file);
        }
        written
    }

    /// Says what stands under the object's name, without reading it.
    pub fn find(&self, digest: &Digest) -> Result<Found, StoreError> {
        let (_, path) = self.layout.object(digest);
        let stamp = match self.fs.stat(&path) {
            Ok(stat) => stat.stamp,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Found::Absent),
            Err(error) => return Err(error).or_fail("look at", &path),
        };
        if lock(&self.verified).get(digest) != Some(&stamp) {
            return Ok(Found::Unverified(stamp));
        }
        Ok(Found::Sound(ObjectFile { path, size_bytes: stamp.size_bytes.saturating_sub(FOOTER_LEN as u64) }))
    }

    /// Takes somebody else's word that the bytes under this stamp are sound.
    pub fn trust(&self, digest: &Digest, stamp: Stamp) {
        lock(&self.verified).insert(*digest, stamp);
    }

    /// Returns the objects whose files this process has made or verified, and the stamps that they had.
    pub fn all_verified(&self) -> Vec<(Digest, Stamp)> {
        lock(&self.verified).iter().map(|(digest, stamp)| (*digest, *stamp)).collect()
    }

    /// Reads the object and compares. A damaged file is moved aside and counts as absent. Returns the stamp under
    /// which it was verified.
    pub fn verify(&self, digest: &Digest) -> Result<Option<Stamp>, StoreError> {
        let (_, path) = self.layout.object(digest);
        match check(&*self.fs, digest, &path)? {
            Checked::Absent => Ok(None),
            Checked::Damaged => {
                self.put_aside(digest, &path)?;
                Ok(None)
            }
            Checked::Sound { stamp, .. } => {
                lock(&self.verified).insert(*digest, stamp);
                Ok(Some(stamp))
            }
        }
    }

    /// Returns how the object was stored, if it has a file. Its payload is not read.
    pub fn sensitivity(&self, digest: &Digest) -> Result<Option<Sensitivity>, StoreError> {
        let (_, path) = self.layout.object(digest);
        let file = match self.fs.open(&path, Access::Read) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).or_fail("open", &path),
        };
        read_footer(&*file, &path)
    }

    /// Makes the names of all objects so far durable.
    pub fn sync(&self) -> Result<(), StoreError> {
        let folders = std::mem::take(&mut *lock(&self.unsynced));
        for folder in &folders {
            if let Err(error) = self.fs.sync_dir(folder).or_fail("sync", folder) {
                lock(&self.unsynced).extend(folders);
                return Err(error);
            }
        }
        Ok(())
    }

    /// Whether [`Objects::sync`] has something to do.
    pub fn is_unsynced(&self) -> bool {
        !lock(&self.unsynced).is_empty()
    }

    fn is_sound(&self, digest: &Digest) -> Result<bool, StoreError> {
        match self.find(digest)? {
            Found::Absent => Ok(false),
            Found::Sound(_) => Ok(true),
            Found::Unverified(_) => Ok(self.verify(digest)?.is_some()),
        }
    }

    fn put_aside(&self, digest: &Digest, path: &Path) -> Result<(), StoreError> {
        let aside = self.layout.damaged().join(format!("{digest}-{}", self.scratch.unique()));
        match self.fs.rename(path, &aside) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            other => other.or_fail("move aside", path),
        }
    }
}

/// What a look at an object's bytes comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Checked {
    Absent,
    Damaged,
    Sound { stamp: Stamp, sensitivity: Sensitivity },
}

/// Reads the object file at `path` and compares it with its digest.
pub(crate) fn check(fs: &dyn Fs, digest: &Digest, path: &Path) -> Result<Checked, StoreError> {
    let file = match fs.open(path, Access::Read) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Checked::Absent),
        Err(error) => return Err(error).or_fail("open", path),
    };
    let stat = file.stat().or_fail("look at", path)?;
    let Some(payload) = stat.stamp.size_bytes.checked_sub(FOOTER_LEN as u64).filter(|_| stat.is_file) else {
        return Ok(Checked::Damaged);
    };
    let Some(sensitivity) = read_footer(&*file, path)? else { return Ok(Checked::Damaged) };
    let is_sound = hash(&*file, payload).or_fail("read", path)? == *digest;
    Ok(if is_sound { Checked::Sound { stamp: stat.stamp, sensitivity } } else { Checked::Damaged })
}

/// Returns what the footer says, if there is a whole one.
fn read_footer(file: &dyn FsFile, path: &Path) -> Result<Option<Sensitivity>, StoreError> {
    let size_bytes = file.stat().or_fail("look at", path)?.stamp.size_bytes;
    let Some(payload) = size_bytes.checked_sub(FOOTER_LEN as u64) else { return Ok(None) };
    let mut end = [0; FOOTER_LEN];
    read_full(file, &mut end, payload).or_fail("read", path)?;
    footer::decode(&end, size_bytes)
}

/// Hashes the first `size_bytes` bytes of an open file. A shorter file is an error.
pub(crate) fn hash(file: &dyn FsFile, size_bytes: u64) -> std::io::Result<Digest> {
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; CHUNK.min(usize::try_from(size_bytes).unwrap_or(CHUNK))];
    let mut offset = 0;
    while offset < size_bytes {
        let wanted = usize::try_from(size_bytes - offset).unwrap_or(CHUNK).min(CHUNK);
        let Some(chunk) = buffer.get_mut(..wanted) else { break };
        if read_full(file, chunk, offset)? != wanted {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        if wanted < CHUNK / 4 {
            hasher.update(chunk);
        } else {
            hasher.update_rayon(chunk);
        }
        offset += wanted as u64;
    }
    Ok(Digest(*hasher.finalize().as_bytes()))
}
