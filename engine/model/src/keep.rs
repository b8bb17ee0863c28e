//! What looking after a store needs of it, beyond what a run needs: to see all object files, and to take some out while
//! other processes work.

use serde::{Deserialize, Serialize};

use crate::{Digest, Done, Record, RunId, Sensitivity, Store, StoreError};

/// A store that can be looked after.
///
/// Taking objects out is safe beside running runs. [`Keep::begin_collection`] comes first; what is recorded before its
/// answer can be read after it. From then on, whatever a client is handed or brings in is kept by [`Keep::remove`],
/// also after that client has left, until [`Keep::end_collection`] or until this process ends.
pub trait Keep: Store {
    /// Returns all object files. Objects that live in the journal have none, or one that can be made again.
    fn object_files(&self) -> Result<Vec<StoredObject>, StoreError>;

    /// Returns how an object was stored, if it has a file or stands in the journal. Its bytes are not verified.
    fn sensitivity(&self, digest: &Digest) -> Result<Option<Sensitivity>, StoreError>;

    /// Begins to collect. One process at a time can.
    fn begin_collection(&self) -> Result<(), StoreError>;

    /// Takes object files out of the store, in this order, but for those that another process may need.
    ///
    /// # Errors
    /// A file cannot be removed, or no collection of this process is open: the owner ended meanwhile. Those before it
    /// are gone, all others are there.
    fn remove(&self, objects: &[Digest]) -> Result<Removed, StoreError>;

    fn end_collection(&self);

    /// Removes the files that were found damaged and put aside. Returns how many, and their bytes.
    fn remove_damaged(&self) -> Result<(u64, u64), StoreError>;

    /// Returns all encrypted objects. Nothing is decrypted.
    fn sealed(&self) -> Result<Vec<SealedObject>, StoreError>;

    /// Returns the name of the key that a partition has now; `None`, if it has none.
    fn key_of(&self, partition: &str) -> Result<Option<String>, StoreError>;

    /// Destroys the key of a partition, for good. One that is gone already is no error.
    fn destroy_key(&self, partition: &str) -> Result<(), StoreError>;

    /// Tries to decrypt an object with the keys that can be had now. False: it cannot be read.
    fn can_read(&self, object: &Digest) -> Result<bool, StoreError>;

    /// Returns the runs whose folder ([`Store::run_dir`]) is there, and its bytes.
    fn run_dirs(&self) -> Result<Vec<(RunId, u64)>, StoreError>;

    /// As [`Store::commit`], for records of another store, named `from`: what they tell did not happen here. Their results
    /// count where this store has none under the key, and their runs stand where their instants put them.
    fn commit_of(&self, from: &str, records: Vec<Record>, done: Done<()>);

    /// Removes a run's folder with all it holds. One that is not there is no error.
    fn remove_run_dir(&self, run: &RunId) -> Result<(), StoreError>;
}

/// An object file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredObject {
    pub digest: Digest,
    /// Of the file: the payload and the store's footer.
    pub size_bytes: u64,
}

/// An encrypted object, and the keys that it takes to read it, all of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedObject {
    pub digest: Digest,
    /// Of the file.
    pub size_bytes: u64,
    pub keys: Vec<PartitionKey>,
}

/// Whether a partition may have this name: it becomes part of a file's name, and of a command's environment.
pub fn is_partition_name(name: &str) -> bool {
    name.len() <= 64
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

/// One of the keys that a partition has had, by name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PartitionKey {
    pub partition: String,
    pub key: String,
}

/// What became of objects that were to be removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Removed {
    pub n_objects: u64,
    pub size_bytes: u64,
    /// Those that a running process was handed or brought in.
    pub n_in_use: u64,
}
