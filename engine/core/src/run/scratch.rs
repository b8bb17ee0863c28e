//! The folders that attempts work in. Knows nothing of what stands in them.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mlp_model::{StepError, Store};

use crate::fault::{io_trouble, store_trouble};

/// Folders that serve one attempt after the other: for a small step, making and removing one is the larger part of the work.
pub(crate) struct Scratches {
    store: Arc<dyn Store>,
    free: Mutex<Vec<PathBuf>>,
    /// The same in memory.
    free_in_memory: Mutex<Vec<PathBuf>>,
}

/// More than that many folders are not kept.
const MAX_FREE: usize = 64;

impl Scratches {
    pub(crate) fn new(store: Arc<dyn Store>) -> Arc<Self> {
        Arc::new(Self { store, free: Mutex::default(), free_in_memory: Mutex::default() })
    }

    fn keep(&self, path: &Path, place: Place) -> bool {
        let mut free = self.free(place);
        let has_room = free.len() < MAX_FREE;
        if has_room {
            free.push(path.to_owned());
        }
        has_room
    }

    /// Removes those that nobody uses.
    pub(crate) fn clear(&self) {
        for place in [Place::Disk, Place::Memory] {
            let free = std::mem::take(&mut *self.free(place));
            free.iter().for_each(|path| self.store.discard(path));
        }
    }

    fn free(&self, place: Place) -> MutexGuard<'_, Vec<PathBuf>> {
        let free = match place {
            Place::Disk => &self.free,
            Place::Memory => &self.free_in_memory,
        };
        free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Scratches {
    fn drop(&mut self) {
        self.clear();
    }
}

/// Where an attempt works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Disk,
    /// For little: files that live as long as a small step cost the disk's filesystem more than everything else.
    Memory,
}

/// The attempt's folder, removed when dropped, or left to the next attempt.
pub(crate) struct Scratch {
    all: Arc<Scratches>,
    path: PathBuf,
    pub place: Place,
    /// Inputs that were laid out in it.
    laid_out: Vec<PathBuf>,
    /// Its outputs have been taken out, and nobody writes to it any more.
    is_spent: AtomicBool,
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let laid_out = std::mem::take(&mut self.laid_out);
        let is_clean = || laid_out.iter().all(|path| fs::remove_file(path).is_ok()) && self.is_as_new();
        if !self.is_spent.load(Ordering::Relaxed) || !is_clean() || !self.all.keep(&self.path, self.place) {
            self.all.store.discard(&self.path);
        }
    }
}

impl Scratch {
    /// In memory, as long as that has room.
    pub(crate) fn new(all: &Arc<Scratches>, wanted: Place) -> Result<Self, StepError> {
        let of = |path, place| {
            let (all, is_spent) = (Arc::clone(all), AtomicBool::new(false));
            Self { all, path, place, laid_out: Vec::new(), is_spent }
        };
        let free = all.free(wanted).pop();
        if let Some(path) = free {
            return Ok(of(path, wanted));
        }
        let in_memory = match wanted {
            Place::Disk => None,
            Place::Memory => all.store.scratch_in_memory().map_err(|error| store_trouble(&error))?,
        };
        let scratch = match in_memory {
            Some(path) => of(path, Place::Memory),
            None => of(all.store.scratch().map_err(|error| store_trouble(&error))?, Place::Disk),
        };
        let work_dir = scratch.work_dir();
        fs::create_dir(&work_dir).map_err(|error| store_trouble(&io_trouble("make", &work_dir, &error)))?;
        Ok(scratch)
    }

    /// Lets the next attempt have it: nobody writes to it any more.
    pub(crate) fn spend(&self) {
        self.is_spent.store(true, Ordering::Relaxed);
    }

    /// Whether there is nothing in it but an empty work folder.
    fn is_as_new(&self) -> bool {
        if self.place == Place::Memory {
            // Only code of this program works there, and in its work folder.
            return fs::remove_dir(self.work_dir()).and_then(|()| fs::create_dir(self.work_dir())).is_ok();
        }
        let is_all = |folder: &Path, name: Option<&str>| {
            let is_it = |entry: std::io::Result<fs::DirEntry>| {
                entry.is_ok_and(|entry| name.is_some_and(|name| entry.file_name() == name))
            };
            fs::read_dir(folder).is_ok_and(|mut entries| entries.all(is_it))
        };
        is_all(&self.path, Some("out")) && is_all(&self.work_dir(), None)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn work_dir(&self) -> PathBuf {
        self.path.join("out")
    }

    /// Writes an input of the attempt into a file of its own.
    pub(crate) fn lay_out(&mut self, bytes: &[u8]) -> Result<PathBuf, StepError> {
        let path = self.path.join(format!("in{}", self.laid_out.len()));
        self.laid_out.push(path.clone());
        fs::write(&path, bytes).map_err(|error| store_trouble(&io_trouble("write", &path, &error)))?;
        Ok(path)
    }
}
