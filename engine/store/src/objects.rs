//! Object files: immutable bytes under the name of their digest.
//!
//! A file gets its name when it is whole, and is on the disk after [`Objects::sync`], before anything is recorded that
//! relies on it. What is read back is verified, unless this process made or verified it and the stamps are unchanged. Files
//! may be encrypted ([`crate::seal`]); their names are the digests of the plain bytes all the same. Unaware of the journal,
//! and of objects that live inside it.

mod reading;

use std::collections::{BTreeSet, HashMap};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use mlp_model::{Digest, ObjectFile, Sensitivity, StoreError, fail_point};

use crate::failure::{OrFail, lock};
use crate::footer::{FOOTER_LEN, Footer};
use crate::fs::{Access, Fs, FsFile, Stamp};
use crate::layout::{Layout, make_folder};
use crate::scratch::Scratch;
use crate::seal::{self, Header, Key, Keys, PlainFolder};
pub(crate) use reading::{Checked, Sealed, check, hash, read_footer, read_sealed};

pub(crate) struct Objects {
    pub fs: Arc<dyn Fs>,
    pub layout: Layout,
    pub scratch: Scratch,
    unsynced: Mutex<Unsynced>,
    /// Folders of objects that this process has put something into; their own names are synced, or about to be.
    rooted: Mutex<BTreeSet<PathBuf>>,
    verified: Mutex<HashMap<Digest, Verified>>,
    pub keys: Keys,
    /// Where encrypted objects are read; made when the first one is.
    plain: Mutex<Option<Arc<PlainFolder>>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Verified {
    stamp: Stamp,
    is_sealed: bool,
}

/// What is not known to be on the disk.
#[derive(Default)]
struct Unsynced {
    files: BTreeSet<Digest>,
    /// Folders with new entries.
    folders: BTreeSet<PathBuf>,
}

/// So many objects wait for a commit at most; then they are synced without one.
const MAX_UNSYNCED: usize = 4096;
/// How many syncs are under way at once. The kernel answers many with one write to its journal and one flush of the
/// disk's cache: sixteen take hardly longer than one.
const MAX_SYNCS: usize = 16;

/// What must hold before anything is recorded that relies on an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Durability {
    /// Its bytes and its name are on the disk.
    Disk,
    /// Nothing: the journal has the bytes too.
    Cache,
}

/// What stands under an object's name.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found {
    Absent,
    /// Verified by this process; the bytes are unchanged since.
    Sound {
        stamp: Stamp,
        is_sealed: bool,
    },
    /// Not verified by this process; has this stamp.
    Unverified(Stamp),
}

impl Objects {
    pub fn new(fs: Arc<dyn Fs>, layout: Layout, keys: Keys) -> Self {
        let scratch = Scratch::new(&layout);
        Self {
            fs,
            layout,
            scratch,
            unsynced: Mutex::default(),
            rooted: Mutex::default(),
            verified: Mutex::default(),
            keys,
            plain: Mutex::default(),
        }
    }

    /// Returns the folder in which encrypted objects are read and made.
    pub fn plain(&self) -> Result<Arc<PlainFolder>, StoreError> {
        let mut plain = lock(&self.plain);
        if let Some(folder) = &*plain {
            return Ok(Arc::clone(folder));
        }
        let folder = Arc::new(PlainFolder::open(&*self.fs, &self.layout)?);
        *plain = Some(Arc::clone(&folder));
        Ok(folder)
    }

    /// Returns that folder if it has been used.
    pub fn opened_plain(&self) -> Option<Arc<PlainFolder>> {
        lock(&self.plain).clone()
    }

    /// Removes everything that this process has decrypted.
    pub fn close_plain(&self) {
        lock(&self.plain).take();
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
        let (folder, _) = self.layout.object(&digest);
        // What has once been personal stays so; a plain object with the same bytes gives way.
        let is_enough = sensitivity == Sensitivity::Plain || self.sensitivity(&digest)? == Some(sensitivity);
        if is_enough && self.is_sound(&digest)? {
            // Whoever put it there may not have synced it yet.
            self.fs.remove_file(file).or_fail("remove", file)?;
            return self.note_unsynced(digest, [folder]);
        }
        self.name(file, opened, (digest, size_bytes), Footer::plain(sensitivity), durability)
    }

    /// Encrypts `opened`, whose payload has `digest` and `size_bytes`, with the keys of all partitions, and keeps it under its
    /// name. The file itself stays. An object that is encrypted already stays as it is.
    pub fn seal(
        &self,
        opened: &dyn FsFile,
        (digest, size_bytes): (Digest, u64),
        partitions: &[&str],
        sensitivity: Sensitivity,
    ) -> Result<(), StoreError> {
        let keys = self.keys.all_for_writing(partitions)?;
        let before = self.footer(&digest)?;
        let is_enough = before.is_some_and(|before| {
            before.key_id.is_some() && (sensitivity == Sensitivity::Plain || before.sensitivity == sensitivity)
        });
        if is_enough && self.is_sound(&digest)? {
            return self.note_unsynced(digest, [self.layout.object(&digest).0]);
        }
        let sensitivity = match before {
            Some(Footer { sensitivity: Sensitivity::Personal, .. }) => Sensitivity::Personal,
            _ => sensitivity,
        };
        let file = self.scratch.name();
        let to = self.fs.create(&file, 0o600).or_fail("make", &file)?;
        let named: Vec<(&str, &Key)> = keys.iter().map(|(name, key)| (*name, &**key)).collect();
        let sealed = Header::new(&named, size_bytes, sensitivity)
            .and_then(|header| {
                fail_point("object.sealing");
                let len = seal::encrypt((&header, &digest, &header.in_order(&named)), opened, &*to)?;
                fail_point("object.sealed");
                Ok((len, Footer { sensitivity, key_id: Some(header.key_id()) }))
            })
            .or_fail("encrypt", &file)
            .and_then(|(len, footer)| self.name(&file, &*to, (digest, len), footer, Durability::Disk));
        if sealed.is_err() {
            _ = self.fs.remove_file(&file);
        }
        sealed
    }

    /// Ends `file` with a footer and moves it under its name.
    fn name(
        &self,
        file: &Path,
        opened: &dyn FsFile,
        (digest, size_bytes): (Digest, u64),
        footer: Footer,
        durability: Durability,
    ) -> Result<(), StoreError> {
        let (folder, place) = self.layout.object(&digest);
        let moved = (|| {
            fail_point("object.written");
            opened.write_all_at(&footer.encode(size_bytes), size_bytes).or_fail("write", file)?;
            self.fs.set_mode(file, 0o444).or_fail("protect", file)?;
            self.move_to(file, &folder, &place)
        })();
        if moved.is_err() {
            // The caller keeps its file as it was.
            _ = self.fs.set_mode(file, 0o600);
            _ = opened.set_len(size_bytes);
            return moved;
        }
        self.on_named(opened, digest, folder, footer.key_id.is_some(), durability)
    }

    fn move_to(&self, file: &Path, folder: &Path, place: &Path) -> Result<(), StoreError> {
        fail_point("object.complete");
        if lock(&self.rooted).contains(folder) && self.fs.rename(file, place).is_ok() {
            return Ok(());
        }
        make_folder(&*self.fs, folder)?;
        self.fs.rename(file, place).or_fail("move an object to", place)
    }

    /// An object has its name.
    fn on_named(
        &self,
        opened: &dyn FsFile,
        digest: Digest,
        folder: PathBuf,
        is_sealed: bool,
        durability: Durability,
    ) -> Result<(), StoreError> {
        fail_point("object.named");
        if let Ok(stat) = opened.stat() {
            self.trust(&digest, stat.stamp, is_sealed);
        }
        if durability == Durability::Cache {
            return Ok(());
        }
        // That the folder has a name matters once; who has made it is not known.
        let root = lock(&self.rooted).insert(folder.clone()).then(|| self.layout.objects());
        self.note_unsynced(digest, root.into_iter().chain([folder]))
    }

    fn note_unsynced(&self, digest: Digest, folders: impl IntoIterator<Item = PathBuf>) -> Result<(), StoreError> {
        let mut unsynced = lock(&self.unsynced);
        unsynced.files.insert(digest);
        unsynced.folders.extend(folders);
        let is_much = unsynced.files.len() >= MAX_UNSYNCED;
        drop(unsynced);
        if is_much { self.sync().map(|_| ()) } else { Ok(()) }
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
        if self.find(&digest)? == Found::Absent {
            // Nothing has to give way to it, and nobody has to decide: it is made as it stays.
            let (folder, place) = self.layout.object(&digest);
            let opened = self.fs.create(&file, 0o444).or_fail("make", &file)?;
            fail_point("object.written");
            let whole = [bytes, &Footer::plain(sensitivity).encode(bytes.len() as u64)].concat();
            let written = opened.write_all_at(&whole, 0).or_fail("write", &file);
            let named = written.and_then(|()| self.move_to(&file, &folder, &place));
            if named.is_err() {
                _ = self.fs.remove_file(&file);
            }
            return named.and_then(|()| self.on_named(&*opened, digest, folder, false, durability));
        }
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
        match lock(&self.verified).get(digest) {
            Some(verified) if verified.stamp == stamp => Ok(Found::Sound { stamp, is_sealed: verified.is_sealed }),
            _ => Ok(Found::Unverified(stamp)),
        }
    }

    /// Returns where the bytes of an object can be read that was found to be sound. `None`: a key for it was erased, or it
    /// has vanished or been damaged meanwhile.
    pub fn readable(&self, digest: &Digest, stamp: Stamp, is_sealed: bool) -> Result<Option<ObjectFile>, StoreError> {
        let (_, path) = self.layout.object(digest);
        if !is_sealed {
            return Ok(Some(ObjectFile { path, size_bytes: stamp.size_bytes.saturating_sub(FOOTER_LEN as u64) }));
        }
        let plain = self.plain()?;
        if let Some(opened) = plain.opened(digest) {
            return Ok(Some(opened));
        }
        let file = self.fs.open(&path, Access::Read).or_fail("open", &path)?;
        let Some(footer) = read_footer(&*file, &path)? else { return Ok(None) };
        let payload = stamp.size_bytes.saturating_sub(FOOTER_LEN as u64);
        let copy = plain.scratch.name();
        let to = self.fs.create(&copy, 0o600).or_fail("make", &copy)?;
        let mut size_bytes = 0;
        let opened = read_sealed(&*file, &path, (digest, payload, footer), &self.keys, &mut |chunk| {
            to.write_all_at(chunk, size_bytes)?;
            size_bytes += chunk.len() as u64;
            Ok(())
        });
        if opened == Ok(Sealed::Opened) {
            return plain.keep(*digest, &copy, size_bytes).map(Some);
        }
        _ = self.fs.remove_file(&copy);
        opened.map(|_| None)
    }

    /// Whether the keys of an encrypted object are there; not, if one was erased.
    ///
    /// # Errors
    /// [`StoreError::Key`], if one is missing, or another one.
    pub fn has_keys(&self, digest: &Digest) -> Result<bool, StoreError> {
        let (_, path) = self.layout.object(digest);
        let file = self.fs.open(&path, Access::Read).or_fail("open", &path)?;
        let header = Header::read(&*file).or_fail("read", &path)?;
        header.map_or(Ok(false), |(header, _)| Ok(self.keys.for_reading(&header)?.is_some()))
    }

    /// Takes somebody else's word that the bytes under this stamp are sound.
    pub fn trust(&self, digest: &Digest, stamp: Stamp, is_sealed: bool) {
        lock(&self.verified).insert(*digest, Verified { stamp, is_sealed });
    }

    /// Returns the objects whose files this process has made or verified, and the stamps that they had.
    pub fn all_verified(&self) -> Vec<(Digest, Stamp)> {
        lock(&self.verified).iter().map(|(digest, verified)| (*digest, verified.stamp)).collect()
    }

    /// Reads the object and compares. A damaged file is moved aside and counts as absent; so does one whose key was erased,
    /// but it stays. Returns the stamp under which it was verified, and whether it is encrypted.
    pub fn verify(&self, digest: &Digest) -> Result<Option<(Stamp, bool)>, StoreError> {
        let (_, path) = self.layout.object(digest);
        match check(&*self.fs, digest, &path, &self.keys)? {
            Checked::Absent | Checked::Erased => Ok(None),
            Checked::Damaged => {
                self.put_aside(digest, &path)?;
                Ok(None)
            }
            Checked::Sound { stamp, footer } => {
                let is_sealed = footer.key_id.is_some();
                self.trust(digest, stamp, is_sealed);
                Ok(Some((stamp, is_sealed)))
            }
        }
    }

    /// Returns how the object was stored, if it has a file. Its payload is not read.
    pub fn sensitivity(&self, digest: &Digest) -> Result<Option<Sensitivity>, StoreError> {
        Ok(self.footer(digest)?.map(|footer| footer.sensitivity))
    }

    fn footer(&self, digest: &Digest) -> Result<Option<Footer>, StoreError> {
        let (_, path) = self.layout.object(digest);
        let file = match self.fs.open(&path, Access::Read) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).or_fail("open", &path),
        };
        read_footer(&*file, &path)
    }

    /// Makes all objects so far durable, with their names. Returns how many there were.
    pub fn sync(&self) -> Result<usize, StoreError> {
        let Unsynced { files, folders } = std::mem::take(&mut *lock(&self.unsynced));
        let (files, folders): (Vec<_>, Vec<_>) = (files.into_iter().collect(), folders.into_iter().collect());
        let n_all = files.len() + folders.len();
        fail_point("objects.syncing");
        let next = AtomicUsize::new(0);
        let failed = Mutex::new(None);
        let sync_some = || {
            while let n = next.fetch_add(1, Ordering::Relaxed)
                && n < n_all
            {
                let synced = match files.get(n) {
                    Some(digest) => self.sync_file(digest),
                    None => self.sync_folder(&folders[n - files.len()]),
                };
                if let Err(error) = synced {
                    *lock(&failed) = Some(error);
                }
            }
        };
        let n_threads = (n_all / 2).min(MAX_SYNCS);
        thread::scope(|scope| {
            for _ in 1..n_threads {
                // Without another thread it only takes longer.
                _ = thread::Builder::new().spawn_scoped(scope, sync_some);
            }
            sync_some();
        });
        fail_point("objects.synced");
        let Some(error) = failed.into_inner().unwrap_or_else(PoisonError::into_inner) else {
            return Ok(files.len());
        };
        // What was synced is synced again with what was not: rare, and simpler than telling them apart. What lost its name
        // is not waited for: it is missing, and made again.
        let mut unsynced = lock(&self.unsynced);
        unsynced.files.extend(files.into_iter().filter(|digest| self.layout.object(digest).1.exists()));
        unsynced.folders.extend(folders);
        Err(error)
    }

    /// A file that could not be synced loses its name: the kernel may have dropped its bytes while still showing them.
    fn sync_file(&self, digest: &Digest) -> Result<(), StoreError> {
        let (_, path) = self.layout.object(digest);
        let synced = self.fs.open(&path, Access::Read).or_fail("open", &path).and_then(|file| {
            let synced = file.sync().or_fail("sync", &path);
            if synced.is_err() {
                _ = self.fs.remove_file(&path);
            }
            synced
        });
        if synced.is_err() {
            lock(&self.verified).remove(digest);
        }
        synced
    }

    fn sync_folder(&self, folder: &Path) -> Result<(), StoreError> {
        self.fs.sync_dir(folder).or_fail("sync", folder)
    }

    /// Whether [`Objects::sync`] has something to do.
    pub fn is_unsynced(&self) -> bool {
        let unsynced = lock(&self.unsynced);
        !unsynced.files.is_empty() || !unsynced.folders.is_empty()
    }

    fn is_sound(&self, digest: &Digest) -> Result<bool, StoreError> {
        match self.find(digest)? {
            Found::Absent => Ok(false),
            Found::Sound { is_sealed: true, .. } => self.has_keys(digest),
            Found::Sound { is_sealed: false, .. } => Ok(true),
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
