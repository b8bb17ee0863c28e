//! The settled rows of the index on the disk, kept by sled, thrown away at the slightest doubt.
//!
//! The home of sled's hazards: values stay small (larger ones go to files that sled never syncs or frees); left-over
//! snapshots are removed before opening (a torn one stops it); nothing relies on its `flush`; whatever it answers is
//! checked. A folder that was closed in order carries a seal over its bytes and is opened only if they are unchanged;
//! after a crash all that it holds is read and summed. Unaware of what rows mean.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use memmap2::Mmap;
use mlp_model::StoreError;

use super::meta::{Meta, VERSION};
use super::runs::Runs;
use super::{IndexError, Key, Order, Row, Span, Value};
use crate::failure::io_failure;

const MAX_VALUE_LEN: usize = 4096;
/// How long sled's threads may take to let go of a folder that has been closed.
const LOCK_PATIENCE: Duration = Duration::from_secs(2);
const CACHE_BYTES: u64 = 64 << 20;

pub(crate) struct Disk {
    db: sled::Db,
    rows: Runs,
    stats: Runs,
    path: PathBuf,
}

impl From<sled::Error> for IndexError {
    fn from(error: sled::Error) -> Self {
        match error {
            sled::Error::Io(error) => Self::Io(io_failure("write", Path::new("index.sled"), &error)),
            other => Self::Damaged(other.to_string()),
        }
    }
}

impl Disk {
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
        for version in 1..=VERSION {
            let path = path.with_file_name(format!("index.v{version}.sled"));
            for marker in [seal_path(&path), opening_path(&path)] {
                remove_if_there(&marker)?;
            }
            if path.is_dir() {
                fs::remove_dir_all(&path).map_err(io_error(&path))?;
            }
        }
        Ok((open_sled(path, true)?, Meta::default()))
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
            let index = open_sled(path, sealed.is_some())?;
            let position = index.rows.position();
            let meta = if position.is_empty() { Some(Meta::default()) } else { Meta::decode(&position) };
            let meta = meta.ok_or_else(|| damaged("its position is wrong"))?;
            Ok((index, meta))
        }));
        let result = opened.unwrap_or_else(|_| Err(damaged("sled panicked")));
        remove_if_there(&opening)?;
        result
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

    /// Returns at most `limit` rows from `first` on and before `end`, in the order of their keys or against it.
    pub fn range(&self, first: &[u8], end: &[u8], order: Order, limit: usize) -> Result<Vec<Row>, IndexError> {
        self.rows.range(first, end, order, limit)
    }

    /// Returns the last row of each span; their ends come in order.
    pub fn last_in(&self, spans: &[&Span]) -> Result<Vec<Option<Row>>, IndexError> {
        self.rows.last_in(spans)
    }

    /// Writes rows and the position that they belong to.
    pub fn write(&self, rows: &BTreeMap<Key, Value>, meta: &Meta) -> Result<(), IndexError> {
        rows.values().for_each(|value| presume_small(value));
        self.rows.add(rows, meta.encode())
    }

    /// As [`Disk::last_in`], of the stat cache.
    pub fn last_stats_in(&self, spans: &[&Span]) -> Result<Vec<Option<Row>>, IndexError> {
        self.stats.last_in(spans)
    }

    pub fn write_stats(&self, stats: &BTreeMap<Key, Value>) -> Result<(), IndexError> {
        stats.values().for_each(|value| presume_small(value));
        self.stats.add(stats, Vec::new())
    }

    /// Puts rows together that were written at different times, as far as it is worth it and until `stop` says so.
    pub fn tidy(&self, stop: &dyn Fn() -> bool) -> Result<(), IndexError> {
        while !stop() && (self.rows.merge(stop)? || self.stats.merge(stop)?) {}
        Ok(())
    }
}

/// `is_whole`: what it holds is surely as it was left.
fn open_sled(path: &Path, is_whole: bool) -> Result<Disk, IndexError> {
    remove_unfinished_snapshots(path);
    // Nothing is flushed in the background: what a crash loses is read again from the journal.
    let config = sled::Config::new().path(path).cache_capacity(CACHE_BYTES).flush_every_ms(None);
    let deadline = Instant::now() + LOCK_PATIENCE;
    let db = loop {
        match config.open() {
            // So it tells that its lock is taken: by threads of its own that have not ended yet, since we have the seat.
            Err(sled::Error::Io(error)) if error.kind() == ErrorKind::Other && Instant::now() < deadline => {
                thread::sleep(Duration::from_millis(10));
            }
            other => break other?,
        }
    };
    let (rows, stats) = (db.open_tree("rows")?, db.open_tree("stats")?);
    let (rows, stats) = (Runs::open(rows, is_whole)?, Runs::open(stats, is_whole)?);
    Ok(Disk { db, rows, stats, path: path.to_owned() })
}

fn presume_small(value: &[u8]) {
    assert!(
        value.len() <= MAX_VALUE_LEN,
        "an index row of {} bytes: it must refer to the journal instead",
        value.len()
    );
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
    let mut hasher = blake3::Hasher::new();
    for file in files {
        hasher.update(file.strip_prefix(path).unwrap_or(&file).as_os_str().as_encoded_bytes());
        let opened = File::open(&file)?;
        let len = opened.metadata()?.len();
        hasher.update(&len.to_le_bytes());
        if len > 0 {
            // SAFETY: only the owner writes here, and it has closed the index, or has not opened it yet. Somebody else who
            // cuts a file meanwhile could end this process by a signal, and the next owner makes the index afresh.
            let map = unsafe { Mmap::map(&opened) }?;
            hasher.update_rayon(&map);
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
