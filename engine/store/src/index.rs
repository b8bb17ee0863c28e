//! The index: sorted rows made from the journal, kept by sled, thrown away and made again at the slightest doubt.
//!
//! The only module that names sled, and so the home of its hazards: values stay below 4 KiB (larger ones go to files
//! that sled never syncs or frees); left-over snapshots are removed before opening (a torn one stops it); nothing relies
//! on its `flush`; whatever it answers is checked. A folder that was closed in order carries a seal over its bytes and
//! is opened only if they are unchanged; after a crash all rows are counted and summed. Unaware of what rows mean.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use mlp_model::StoreError;

use crate::failure::io_failure;
use crate::journal::{Link, Place, Tail};

/// Part of the folder's name: another number, and the index is made afresh.
const VERSION: u32 = 1;
const MAX_VALUE_LEN: usize = 4096;
const CACHE_BYTES: u64 = 64 << 20;
const META: &[u8] = b"\0meta";
const META_LEN: usize = 88;

/// How far the index has read the journal, and what its rows add up to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Meta {
    pub tail: Option<Tail>,
    /// Records of the journal so far.
    pub n_records: u64,
    n_rows: u64,
    sum: u64,
}

pub(crate) struct Index {
    db: sled::Db,
    rows: sled::Tree,
    stats: sled::Tree,
    path: PathBuf,
}

/// Why the index cannot answer. The journal has everything all the same.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub(crate) enum IndexError {
    #[error("the index is damaged: {0}")]
    Damaged(String),
    #[error("{0}")]
    Io(StoreError),
}

impl From<sled::Error> for IndexError {
    fn from(error: sled::Error) -> Self {
        match error {
            sled::Error::Io(error) => Self::Io(io_failure("write", Path::new("index.sled"), &error)),
            other => Self::Damaged(other.to_string()),
        }
    }
}

impl Index {
    /// Opens the index in `root`; an unusable one is put aside (`index.bad`, one is kept) and an empty one is returned.
    pub fn open(root: &Path, warn: &mut dyn FnMut(String)) -> Result<(Self, Meta), IndexError> {
        let path = root.join(format!("index.v{VERSION}.sled"));
        if path.exists() {
            match Self::open_checked(&path) {
                Ok(opened) => return Ok(opened),
                Err(IndexError::Io(StoreError::DiskFull { path })) => {
                    return Err(IndexError::Io(StoreError::DiskFull { path }));
                }
                Err(error) => {
                    warn(format!("{error}; it is made again from the journal"));
                    put_aside(&path)?;
                }
            }
        }
        Self::create(&path)
    }

    /// Throws this index away and returns an empty one.
    pub fn replace(self) -> Result<(Self, Meta), IndexError> {
        let path = self.path.clone();
        drop(self);
        put_aside(&path)?;
        Self::create(&path)
    }

    fn create(path: &Path) -> Result<(Self, Meta), IndexError> {
        for marker in [seal_path(path), opening_path(path)] {
            remove_if_there(&marker)?;
        }
        Ok((open_sled(path)?, Meta::default()))
    }

    fn open_checked(path: &Path) -> Result<(Self, Meta), IndexError> {
        let damaged = |what: &str| IndexError::Damaged(what.to_owned());
        let (seal, opening) = (seal_path(path), opening_path(path));
        if opening.exists() {
            return Err(damaged("opening it did not succeed the last time"));
        }
        let sealed = fs::read_to_string(&seal).ok();
        if let Some(sealed) = &sealed
            && *sealed != hash_folder(path).map_err(io_error(path))?
        {
            return Err(damaged("its files have changed since it was closed"));
        }
        // sled may abort or never return on damaged files: then the marker stays.
        File::create(&opening).map_err(io_error(&opening))?;
        remove_if_there(&seal)?;
        if let Some(root) = path.parent() {
            File::open(root).and_then(|root| root.sync_all()).map_err(io_error(root))?;
        }
        let opened = catch_unwind(AssertUnwindSafe(|| {
            let index = open_sled(path)?;
            let meta = index.read_meta()?;
            if sealed.is_none() {
                index.check(&meta)?;
            }
            Ok((index, meta))
        }));
        let result = opened.unwrap_or_else(|_| Err(damaged("sled panicked")));
        remove_if_there(&opening)?;
        result
    }

    pub fn read_meta(&self) -> Result<Meta, IndexError> {
        match self.rows.get(META)? {
            Some(bytes) => Meta::decode(&bytes).ok_or_else(|| IndexError::Damaged("its position is wrong".to_owned())),
            None => Ok(Meta::default()),
        }
    }

    /// Counts and sums all rows.
    fn check(&self, meta: &Meta) -> Result<(), IndexError> {
        let (mut n_rows, mut sum) = (0, 0_u64);
        for row in self.rows.iter() {
            let (key, value) = row?;
            if key != META {
                n_rows += 1;
                sum = sum.wrapping_add(row_sum(&key, &value));
            }
        }
        if (n_rows, sum) == (meta.n_rows, meta.sum) {
            return Ok(());
        }
        Err(IndexError::Damaged(format!("it has {n_rows} rows where {} were written", meta.n_rows)))
    }

    /// Closes it in order and seals it. Without this call the next open counts all rows.
    pub fn close(self) {
        let path = self.path.clone();
        let flushed = catch_unwind(AssertUnwindSafe(|| self.db.flush().is_ok())).unwrap_or(false);
        drop(self);
        if flushed && let Ok(hash) = hash_folder(&path) {
            _ = fs::write(seal_path(&path), hash);
        }
    }

    pub fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, IndexError> {
        Ok(self.rows.get(key)?.map(|value| value.to_vec()))
    }

    /// Rows whose keys begin with `prefix`, in the order of their keys; both ends can be taken.
    pub fn scan(&self, prefix: &[u8]) -> impl DoubleEndedIterator<Item = Result<Row, IndexError>> + use<> {
        self.rows.scan_prefix(prefix).map(to_row)
    }

    /// Rows from `first` on and before `end`.
    pub fn range(&self, first: &[u8], end: &[u8]) -> impl DoubleEndedIterator<Item = Result<Row, IndexError>> + use<> {
        self.rows.range(first..end).map(to_row)
    }

    /// Returns a row of the stat cache.
    pub fn stat(&self, key: &[u8]) -> Result<Option<Vec<u8>>, IndexError> {
        Ok(self.stats.get(key)?.map(|value| value.to_vec()))
    }

    pub fn set_stat(&self, key: &[u8], value: Vec<u8>) -> Result<(), IndexError> {
        presume_small(&value);
        self.stats.insert(key, value)?;
        Ok(())
    }
}

/// A key and its value.
pub(crate) type Row = (Vec<u8>, Vec<u8>);

/// Rows to be written together, with the new position: all of them are there, or none.
pub(crate) struct Change<'i> {
    index: &'i Index,
    batch: sled::Batch,
    /// Rows of this change that may be read again.
    changed: HashMap<Vec<u8>, Option<Vec<u8>>>,
    pub meta: Meta,
}

impl<'i> Change<'i> {
    pub fn new(index: &'i Index, meta: Meta) -> Self {
        Self { index, batch: sled::Batch::default(), changed: HashMap::new(), meta }
    }

    /// Adds a row whose key is surely new.
    pub fn add(&mut self, key: &[u8], value: Vec<u8>) {
        presume_small(&value);
        self.meta.n_rows += 1;
        self.meta.sum = self.meta.sum.wrapping_add(row_sum(key, &value));
        self.batch.insert(key, value);
    }

    /// Returns a row that was written before, or with [`Change::set`].
    pub fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, IndexError> {
        match self.changed.get(key) {
            Some(value) => Ok(value.clone()),
            None => self.index.get(key),
        }
    }

    /// Adds or replaces a row.
    pub fn set(&mut self, key: &[u8], value: Vec<u8>) -> Result<(), IndexError> {
        if let Some(old) = self.get(key)? {
            self.forget(key, &old);
        }
        self.add(key, value.clone());
        self.changed.insert(key.to_vec(), Some(value));
        Ok(())
    }

    /// Removes a row that was written before this change; a second time does nothing.
    pub fn remove(&mut self, key: &[u8], value: &[u8]) {
        if self.changed.insert(key.to_vec(), None) != Some(None) {
            self.forget(key, value);
            self.batch.remove(key);
        }
    }

    fn forget(&mut self, key: &[u8], value: &[u8]) {
        self.meta.n_rows -= 1;
        self.meta.sum = self.meta.sum.wrapping_sub(row_sum(key, value));
    }

    /// Writes the rows, and returns the position for the next change.
    pub fn apply(mut self) -> Result<Meta, IndexError> {
        self.batch.insert(META, self.meta.encode());
        self.index.rows.apply_batch(self.batch)?;
        Ok(self.meta)
    }
}

impl Meta {
    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(META_LEN);
        let (link, place) = match self.tail {
            Some(Tail { link, place }) => (link, place),
            None => (Link { seq: 0, hash: [0; 32] }, Place { segment: 0, offset: 0, len: 0 }),
        };
        for number in [link.seq, place.offset, self.n_records, self.n_rows, self.sum] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        for number in [place.segment, place.len, VERSION] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        out.extend_from_slice(&link.hash);
        let crc = crc32c::crc32c(&out);
        out.extend_from_slice(&crc.to_le_bytes());
        out
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; META_LEN] = bytes.try_into().ok()?;
        if crc32c::crc32c(&bytes[..META_LEN - 4]).to_le_bytes() != bytes[META_LEN - 4..] {
            return None;
        }
        let long = |at: usize| u64::from_le_bytes(std::array::from_fn(|byte| bytes[at * 8 + byte]));
        let short = |at: usize| u32::from_le_bytes(std::array::from_fn(|byte| bytes[40 + at * 4 + byte]));
        let link = Link { seq: long(0), hash: std::array::from_fn(|byte| bytes[52 + byte]) };
        let place = Place { segment: short(0), offset: long(1), len: short(1) };
        let tail = (link.seq > 0).then_some(Tail { link, place });
        Some(Self { tail, n_records: long(2), n_rows: long(3), sum: long(4) })
    }
}

fn open_sled(path: &Path) -> Result<Index, IndexError> {
    remove_unfinished_snapshots(path);
    // Nothing is flushed in the background: what a crash loses is read again from the journal.
    let db = sled::Config::new().path(path).cache_capacity(CACHE_BYTES).flush_every_ms(None).open()?;
    let (rows, stats) = (db.open_tree("rows")?, db.open_tree("stats")?);
    Ok(Index { db, rows, stats, path: path.to_owned() })
}

fn to_row(found: sled::Result<(sled::IVec, sled::IVec)>) -> Result<Row, IndexError> {
    let (key, value) = found?;
    Ok((key.to_vec(), value.to_vec()))
}

/// What a row adds to the sum, whatever the order.
fn row_sum(key: &[u8], value: &[u8]) -> u64 {
    let of_key = crc32c::crc32c(key);
    u64::from(of_key) << 32 | u64::from(crc32c::crc32c_append(of_key, value))
}

fn presume_small(value: &[u8]) {
    assert!(value.len() <= MAX_VALUE_LEN, "an index row of {} bytes: it must refer to the journal instead", value.len());
}

/// sled takes a torn snapshot for a good one, and then does not open.
fn remove_unfinished_snapshots(path: &Path) {
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with("snap.") && name.ends_with(".generating") {
            _ = fs::remove_file(entry.path());
        }
    }
}

fn put_aside(path: &Path) -> Result<(), IndexError> {
    let bad = path.with_file_name("index.bad");
    if bad.is_dir() {
        fs::remove_dir_all(&bad).map_err(io_error(&bad))?;
    } else {
        remove_if_there(&bad)?;
    }
    fs::rename(path, &bad).map_err(io_error(path))
}

/// Hashes names, lengths and contents of all files in the folder.
fn hash_folder(path: &Path) -> io::Result<String> {
    let (mut files, mut folders) = (Vec::new(), vec![path.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() { folders.push(entry.path()) } else { files.push(entry.path()) }
        }
    }
    files.sort();
    let (mut hasher, mut buffer) = (blake3::Hasher::new(), vec![0; 1 << 20]);
    for file in files {
        hasher.update(file.strip_prefix(path).unwrap_or(&file).as_os_str().as_encoded_bytes());
        let mut opened = File::open(&file)?;
        hasher.update(&opened.metadata()?.len().to_le_bytes());
        loop {
            let n_read = opened.read(&mut buffer)?;
            match buffer.get(..n_read) {
                Some(chunk) if n_read > 0 => _ = hasher.update_rayon(chunk),
                _ => break,
            }
        }
    }
    Ok(hasher.finalize().to_hex().to_string())
}

fn remove_if_there(path: &Path) -> Result<(), IndexError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(io_error(path)(error)),
        _ => Ok(()),
    }
}

fn io_error(path: &Path) -> impl FnOnce(io::Error) -> IndexError {
    let path = path.to_owned();
    move |error| IndexError::Io(io_failure("use", &path, &error))
}

fn seal_path(path: &Path) -> PathBuf {
    path.with_extension("seal")
}

fn opening_path(path: &Path) -> PathBuf {
    path.with_extension("opening")
}
