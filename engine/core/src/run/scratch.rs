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
}

/// More than that many folders are not kept.
const MAX_FREE: usize = 64;

impl Scratches {
    pub(crate) fn new(store: Arc<dyn Store>) -> Arc<Self> {
        Arc::new(Self { store, free: Mutex::default() })
    }

    fn keep(&self, path: &Path) -> bool {
        let mut free = self.free();
        let has_room = free.len() < MAX_FREE;
        if has_room {
            free.push(path.to_owned());
        }
        has_room
    }

    /// Removes those that nobody uses.
    pub(crate) fn clear(&self) {
        let free = std::mem::take(&mut *self.free());
        free.iter().for_each(|path| self.store.discard(path));
    }

    fn free(&self) -> MutexGuard<'_, Vec<PathBuf>> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Scratches {
    fn drop(&mut self) {
        self.clear();
    }
}

/// The attempt's folder, removed when dropped, or left to the next attempt.
pub(crate) struct Scratch {
    all: Arc<Scratches>,
    path: PathBuf,
    /// Its outputs have been taken out, and nobody writes to it any more.
    is_spent: AtomicBool,
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if !self.is_spent.load(Ordering::Relaxed) || !self.is_as_new() || !self.all.keep(&self.path) {
            self.all.store.discard(&self.path);
        }
    }
}

impl Scratch {
    pub(crate) fn new(all: &Arc<Scratches>) -> Result<Self, StepError> {
        let of = |path| Self { all: Arc::clone(all), path, is_spent: AtomicBool::new(false) };
        let free = all.free().pop();
        if let Some(path) = free {
            return Ok(of(path));
        }
        let scratch = of(all.store.scratch().map_err(|error| store_trouble(&error))?);
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
}
