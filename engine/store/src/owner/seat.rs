//! The right to be the workspace's owner: a lock on `lock`, and one on the journal's folder.
//!
//! The lock file may be deleted or replaced under us; then we are no longer the owner. The second lock keeps a new owner
//! from appending while the old one still does.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use mlp_model::StoreError;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::failure::OrFail;
use crate::layout::Layout;

/// How long an owner that is leaving may take.
const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) struct Seat {
    path: PathBuf,
    lock: File,
    _journal: File,
}

impl Seat {
    /// Waits for the seat; `None`, if another owner is serving.
    pub fn take(layout: &Layout, socket: &Path) -> Result<Option<Self>, StoreError> {
        let path = layout.lock();
        let folder = File::open(layout.journal()).or_fail("open", &layout.journal())?;
        let deadline = Instant::now() + PATIENCE;
        let mut lock = None;
        loop {
            let held = match lock.take() {
                Some(held) => Some(held),
                None => try_lock(&path)?,
            };
            if let Some(held) = held {
                if is_locked(&folder, &layout.journal())? {
                    return Ok(Some(Self { path, lock: held, _journal: folder }));
                }
                lock = Some(held);
            } else if UnixStream::connect(socket).is_ok() {
                return Ok(None);
            }
            if Instant::now() >= deadline {
                return Err(StoreError::Owner {
                    message: "another owner holds the store and does not answer".to_owned(),
                });
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Whether the lock file is still the one that we hold.
    pub fn is_ours(&self) -> bool {
        is_same(&self.lock, &self.path)
    }
}

/// Locks the file at `path`; `None`, if somebody else has it.
fn try_lock(path: &Path) -> Result<Option<File>, StoreError> {
    let mut options = OpenOptions::new();
    let file =
        options.read(true).write(true).create(true).truncate(false).mode(0o600).open(path).or_fail("open", path)?;
    // Between opening and locking the owner before may have removed it.
    Ok((is_locked(&file, path)? && is_same(&file, path)).then_some(file))
}

fn is_locked(file: &File, path: &Path) -> Result<bool, StoreError> {
    match flock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(true),
        Err(Errno::WOULDBLOCK | Errno::INTR) => Ok(false),
        Err(error) => Err(error).or_fail("lock", path),
    }
}

fn is_same(file: &File, path: &Path) -> bool {
    let (Ok(held), Ok(found)) = (file.metadata(), fs::symlink_metadata(path)) else { return false };
    (held.dev(), held.ino()) == (found.dev(), found.ino())
}
