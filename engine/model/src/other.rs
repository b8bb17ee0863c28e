//! What merging needs of another workspace's store, which is only read.

use std::path::Path;

use crate::{Digest, Record, RunId, Sensitivity, StoreError};

/// The store of another workspace, as it was when it was opened. Its owner may be at work meanwhile.
pub trait OtherStore: Send + Sync {
    /// Names the store: no two stores that were begun have the same name, but for copies of one.
    fn name(&self) -> &str;

    /// Returns the runs in the order in which they started.
    fn runs(&self) -> Vec<RunId>;

    /// Returns all records of a run in order.
    fn run_records(&self, run: &RunId) -> Result<Vec<Record>, StoreError>;

    /// Returns the records that belong to no run alone, in order: those of releases and collections.
    fn shared_records(&self) -> Result<Vec<Record>, StoreError>;

    /// Returns the digests of all objects, sorted.
    fn objects(&self) -> Result<Vec<Digest>, StoreError>;

    /// Returns how an object is kept, if it is there. Its bytes are not verified.
    fn sensitivity(&self, object: &Digest) -> Result<Option<Sensitivity>, StoreError>;

    /// Writes an object's bytes to `target`, a new file. What is not sound is not left there.
    fn copy(&self, object: &Digest, target: &Path) -> Result<Copied, StoreError>;
}

/// What became of an object that was to be copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Copied {
    Sound {
        size_bytes: u64,
        sensitivity: Sensitivity,
        /// Whose keys it is encrypted with there.
        partitions: Vec<String>,
    },
    /// It is not there, or not any more.
    Absent,
    /// Its bytes are not those of its digest, or it cannot be read.
    Damaged,
    /// It is encrypted with a key that is not here.
    Locked,
}
