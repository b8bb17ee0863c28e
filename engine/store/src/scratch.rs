//! Scratch folders: where steps write before their outputs are adopted.
//!
//! A folder's name says which process made it, so that the owner can remove those whose process has ended.

use std::fs::{self, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use mlp_model::StoreError;

use crate::failure::OrFail;
use crate::fs::Fs;
use crate::layout::Layout;
use crate::process::ProcessMark;

/// Hands out names in the scratch folder that nobody else uses.
pub(crate) struct Scratch {
    folder: PathBuf,
    prefix: String,
    next: AtomicU64,
}

impl Scratch {
    pub fn new(layout: &Layout) -> Self {
        Self::within(layout.scratch())
    }

    /// Hands out names in another folder.
    pub fn within(folder: PathBuf) -> Self {
        let mut nonce = [0; 4];
        // Two clients in one process need different names; without randomness they would only collide and say so.
        _ = rustix::rand::getrandom(&mut nonce, rustix::rand::GetRandomFlags::empty());
        let prefix = format!("{}-{:08x}", ProcessMark::own().to_name(), u32::from_le_bytes(nonce));
        Self { folder, prefix, next: AtomicU64::new(0) }
    }

    /// Returns what all names begin with that are handed out here.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Returns a path at which nothing stands.
    pub fn name(&self) -> PathBuf {
        self.folder.join(self.unique())
    }

    /// Returns a text that no other process and no earlier call has.
    pub fn unique(&self) -> String {
        format!("{}-{}", self.prefix, self.next.fetch_add(1, Ordering::Relaxed))
    }

    pub fn make_folder(&self, fs: &dyn Fs) -> Result<PathBuf, StoreError> {
        let path = self.name();
        fs.create_dir(&path).or_fail("make the folder", &path)?;
        Ok(path)
    }

    /// Removes a folder that [`Scratch::make_folder`] made; other paths are left alone.
    pub fn discard(&self, path: &Path) {
        if path.parent() == Some(&self.folder) {
            _ = remove_tree(path);
        }
    }
}

/// Removes what processes that have ended left in the scratch folder. Names that are not ours stay.
pub(crate) fn clean(layout: &Layout) {
    clean_folder(&layout.scratch());
}

/// The same for any folder in which names are handed out.
pub(crate) fn clean_folder(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let mark = entry.file_name().to_str().and_then(ProcessMark::from_name);
        if mark.is_some_and(|mark| mark.is_gone()) {
            _ = remove_tree(&entry.path());
        }
    }
}

/// Removes a file or a folder with all it holds, also where a step took away its own right to write.
pub(crate) fn remove_tree(path: &Path) -> io::Result<()> {
    if !fs::symlink_metadata(path)?.is_dir() {
        return fs::remove_file(path);
    }
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            unlock_folders(path)?;
            fs::remove_dir_all(path)
        }
        other => other,
    }
}

fn unlock_folders(folder: &Path) -> io::Result<()> {
    fs::set_permissions(folder, Permissions::from_mode(0o700))?;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            unlock_folders(&entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::RealFs;

    #[test]
    fn only_folders_of_ended_processes_are_cleaned() {
        let workspace = tempfile::tempdir().unwrap();
        let layout = Layout::of(workspace.path()).unwrap();
        layout.prepare(&RealFs).unwrap();
        let alive = Scratch::new(&layout).make_folder(&RealFs).unwrap();
        let foreign = layout.scratch().join("notes");
        let mark = ProcessMark { boot: "0".into(), ..ProcessMark::own() };
        let dead = layout.scratch().join(format!("{}-1-1", mark.to_name()));
        for folder in [&foreign, &dead.join("locked/inner")] {
            fs::create_dir_all(folder).unwrap();
        }
        fs::set_permissions(dead.join("locked"), Permissions::from_mode(0o500)).unwrap();
        clean(&layout);
        assert!(alive.exists() && foreign.exists() && !dead.exists());
    }

    #[test]
    fn discard_removes_nothing_outside_the_scratch_folder() {
        let workspace = tempfile::tempdir().unwrap();
        let layout = Layout::of(workspace.path()).unwrap();
        layout.prepare(&RealFs).unwrap();
        let scratch = Scratch::new(&layout);
        let mine = scratch.make_folder(&RealFs).unwrap();
        scratch.discard(workspace.path());
        scratch.discard(&layout.scratch());
        scratch.discard(&mine);
        assert!(layout.scratch().exists() && !mine.exists());
    }
}
