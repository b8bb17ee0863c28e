//! Turns what the operating system says into [`StoreError`].

use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use mlp_model::StoreError;

/// Tells that `action` on `path` failed; a full disk is told as such.
pub(crate) fn io_failure(action: &str, path: &Path, error: &io::Error) -> StoreError {
    if is_full(error) {
        return StoreError::DiskFull { path: path.display().to_string() };
    }
    StoreError::Io { action: action.to_owned(), path: path.display().to_string(), message: error.to_string() }
}

pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}

/// Names the operation once, so that call sites stay one line.
pub(crate) trait OrFail<T> {
    fn or_fail(self, action: &str, path: &Path) -> Result<T, StoreError>;
}

impl<T> OrFail<T> for io::Result<T> {
    fn or_fail(self, action: &str, path: &Path) -> Result<T, StoreError> {
        self.map_err(|error| io_failure(action, path, &error))
    }
}

impl<T> OrFail<T> for rustix::io::Result<T> {
    fn or_fail(self, action: &str, path: &Path) -> Result<T, StoreError> {
        self.map_err(|error| io_failure(action, path, &io::Error::from(error)))
    }
}

/// Locks `mutex`. What our locks guard is whole at every await of the lock, so a panic elsewhere does not spoil it.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
