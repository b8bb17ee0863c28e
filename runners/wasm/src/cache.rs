//! The user's own cache folder: private, so that nobody else can put code into it.
//!
//! Unaware of what is kept.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use mlp_model::StepError;
use rustix::fs::{FlockOperation, flock};

use crate::fail;

/// Returns folder `name` of the cache, made if it is missing; only the user may look into it.
pub fn private_folder(cache: &Path, name: &str) -> Result<PathBuf, StepError> {
    let folder = cache.join(name);
    let make = DirBuilder::new().recursive(true).mode(0o700).create(&folder);
    make.map_err(|error| fail::cache(&folder, "make", &error))?;
    let found = folder.symlink_metadata().map_err(|error| fail::cache(&folder, "look at", &error))?;
    let own = found.uid() == rustix::process::geteuid().as_raw();
    if !found.is_dir() || !own || found.mode() & 0o077 != 0 {
        return Err(fail::cache_not_private(&folder));
    }
    Ok(folder)
}

/// Holds the lock of `path` until dropped; waits for other processes that have it.
pub struct Lock(#[expect(dead_code, reason = "held, never read")] File);

pub fn lock(path: &Path) -> io::Result<Lock> {
    let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path)?;
    loop {
        match flock(&file, FlockOperation::LockExclusive) {
            Ok(()) => return Ok(Lock(file)),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Reads a file, but not one of more than `max_bytes`. `None`: there is none, or it is too large to be ours.
pub fn read(path: &Path, max_bytes: u64) -> io::Result<Option<Vec<u8>>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let n_bytes = file.metadata()?.len();
    if n_bytes > max_bytes {
        return Ok(None);
    }
    let mut bytes = Vec::with_capacity(usize::try_from(n_bytes).unwrap_or_default());
    file.take(max_bytes).read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}

/// Writes a file so that it appears whole or not at all.
pub fn write(path: &Path, parts: &[&[u8]]) -> io::Result<()> {
    let folder = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    let mut file = tempfile::Builder::new().prefix(".new-").tempfile_in(folder)?;
    for part in parts {
        file.write_all(part)?;
    }
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}

/// Notes that `path` was used, for [`prune`]. That it cannot be noted harms nobody.
pub fn touch(path: &Path) {
    let _ = File::open(path).and_then(|file| file.set_modified(SystemTime::now()));
}

/// Removes the entries of `folder` that end in `suffix` and were used longest ago, save `n_kept`, and what killed
/// processes left behind more than a day ago. Whoever still needs an entry makes it again.
pub fn prune(folder: &Path, suffix: &str, n_kept: usize) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    let mut kept = Vec::new();
    for entry in entries.flatten() {
        let Ok(modified) = entry.metadata().and_then(|metadata| metadata.modified()) else { continue };
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with(".new-") {
            if modified.elapsed().is_ok_and(|age| age.as_secs() > 86_400) {
                let _ = std::fs::remove_dir_all(entry.path()).or_else(|_| std::fs::remove_file(entry.path()));
            }
        } else if name.ends_with(suffix) {
            kept.push((modified, entry.path()));
        }
    }
    kept.sort();
    let n_surplus = kept.len().saturating_sub(n_kept);
    for (_, path) in kept.drain(..n_surplus) {
        let _ = std::fs::remove_file(path);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_folder_that_others_may_enter_is_refused() {
        let cache = tempfile::tempdir().unwrap();
        let folder = private_folder(cache.path(), "compiled").unwrap();
        assert_eq!(folder.metadata().unwrap().mode() & 0o777, 0o700);
        std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o750)).unwrap();
        let error = private_folder(cache.path(), "compiled").unwrap_err();
        assert!(error.message.contains("not private"), "{error}");
        assert!(error.help.unwrap().contains("chmod 700"));
    }

    #[test]
    fn pruning_removes_what_was_used_longest_ago() {
        let folder = tempfile::tempdir().unwrap();
        for (name, age) in [("a.wasm", 30), ("b.wasm", 10), ("c.wasm", 20), ("d.lock", 40)] {
            let file = File::create(folder.path().join(name)).unwrap();
            file.set_modified(SystemTime::now() - Duration::from_secs(age)).unwrap();
        }
        prune(folder.path(), ".wasm", 2);
        let mut left: Vec<_> = folder.path().read_dir().unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["b.wasm", "c.wasm", "d.lock"]);
    }
}
