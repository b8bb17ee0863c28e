//! How large the store is and what it stands on: for people who look after it.

use std::fs;
use std::path::Path;

use mlp_model::StoreError;
use serde::{Deserialize, Serialize};

use super::{Answer, Client, Request, misfit};
use crate::failure::OrFail;

/// The store in figures.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreStats {
    /// Facts in the journal.
    pub n_records: u64,
    pub journal_bytes: u64,
    pub index_bytes: u64,
    /// Object files; objects that live in the journal are not counted.
    pub n_objects: u64,
    pub objects_bytes: u64,
    /// Files that were found damaged and put aside.
    pub n_damaged: u64,
    /// Outputs of steps that are running, or were left by processes that died.
    pub scratch_bytes: u64,
    /// The kind of the filesystem: `ext4`.
    pub filesystem: String,
    pub free_bytes: u64,
    pub total_bytes: u64,
}

impl Client {
    /// Measures the store. Walks its folders.
    pub fn stats(&self) -> Result<StoreStats, StoreError> {
        let n_records = match self.ask(Request::CountRecords)? {
            Answer::Count(n_records) => n_records,
            other => return Err(misfit(&other)),
        };
        let layout = &self.layout;
        let (n_all, bytes_all) = measure(&layout.objects());
        let (n_scratch, scratch_bytes) = measure(&layout.scratch());
        let (n_damaged, damaged_bytes) = measure(&layout.damaged());
        let mut index_bytes = 0;
        for entry in fs::read_dir(&layout.root).or_fail("list", &layout.root)?.flatten() {
            if entry.file_name().to_string_lossy().starts_with("index.") && entry.path().is_dir() {
                index_bytes += measure(&entry.path()).1;
            }
        }
        let found = self.fs.filesystem(&layout.root).or_fail("look at", &layout.root)?;
        Ok(StoreStats {
            n_records,
            journal_bytes: measure(&layout.journal()).1,
            index_bytes,
            n_objects: n_all.saturating_sub(n_scratch + n_damaged),
            objects_bytes: bytes_all.saturating_sub(scratch_bytes + damaged_bytes),
            n_damaged,
            scratch_bytes,
            filesystem: found.name().to_owned(),
            free_bytes: found.free_bytes,
            total_bytes: found.total_bytes,
        })
    }
}

/// Counts the files under `folder` and their bytes. What vanishes meanwhile is not counted.
fn measure(folder: &Path) -> (u64, u64) {
    let (mut n_files, mut n_bytes) = (0, 0);
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        let Ok(entries) = fs::read_dir(&next) else { continue };
        for entry in entries.flatten() {
            match entry.metadata() {
                Ok(found) if found.is_dir() => folders.push(entry.path()),
                Ok(found) => {
                    n_files += 1;
                    n_bytes += found.len();
                }
                Err(_) => {}
            }
        }
    }
    (n_files, n_bytes)
}
