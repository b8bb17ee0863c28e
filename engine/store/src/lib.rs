//! Where mlp keeps what must not be lost: objects, the journal of facts, an index over it, and the process that owns
//! them.
//!
//! Truth is plain files: an append-only, checksummed, hash-chained journal and a folder of objects named by the digest of
//! their bytes. The index (sled) is made from the journal and is made again whenever in doubt. One owner process per
//! workspace writes the journal; everybody else, `mlp run` included, is a [`Client`] over a Unix socket. Killing any of
//! them at any time loses nothing that was acknowledged.
//!
//! Unaware of pipelines, plans and steps: it keeps [`mlp_model::Record`]s and bytes.

mod applied;
mod bytes;
mod client;
mod clock;
#[cfg(test)]
mod damage_tests;
mod failure;
mod filesystem;
mod footer;
mod foreseen;
mod fs;
mod index;
mod journal;
mod layout;
mod ledger;
mod objects;
mod other;
#[cfg(test)]
mod other_tests;
mod owner;
mod process;
mod protocol;
mod questions;
mod repair;
mod rows;
mod scratch;
mod seal;
pub mod snapshot;
mod spawn;
mod stat_cache;
#[cfg(test)]
mod testing;
mod verify;

pub use client::{Client, SpawnOwner, StoreStats};
pub use clock::{Clock, SystemClock};
pub use filesystem::Filesystem;
pub use fs::{Access, FileStat, Fs, FsFile, RealFs, Stamp};
pub use other::Other;
pub use owner::{serve_owner, serve_owner_on};
pub use repair::{JournalRepair, LostRecords, Repair, repair, repair_on};
pub use seal::{Encryption, Key, Keyring};
pub use snapshot::{Basis, Position, Snapshot};
pub use spawn::spawn_detached;
pub use verify::{IndexCheck, Inspection, JournalCheck, ObjectsCheck, inspect};
