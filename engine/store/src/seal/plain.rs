//! Where the bytes of encrypted objects stand while somebody works with them: a folder that only this user may enter, in
//! memory where the machine has such a filesystem.
//!
//! Its entries bear the name of the process that made them. It removes them when it is done; after a kill the owner does, or
//! the next process that needs the folder.

use std::collections::HashMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use mlp_model::{Digest, ObjectFile, StoreError};

use crate::failure::{OrFail, lock};
use crate::fs::Fs;
use crate::layout::{Layout, private_folder};
use crate::scratch::{Scratch, clean_folder, remove_tree};

/// The kernel's magic numbers of filesystems in memory: tmpfs, ramfs.
const IN_MEMORY: [u64; 2] = [0x0102_1994, 0x8584_58F6];

pub(crate) struct PlainFolder {
    folder: PathBuf,
    pub scratch: Scratch,
    /// Objects whose bytes stand here.
    opened: Mutex<HashMap<Digest, ObjectFile>>,
    /// Whether the folder is in memory, and nothing of it reaches a disk but by swapping.
    pub is_in_memory: bool,
}

impl PlainFolder {
    /// Makes the folder unless it is there, and removes what processes have left that were killed.
    pub fn open(fs: &dyn Fs, layout: &Layout) -> Result<Self, StoreError> {
        let folder = place_in_memory(fs);
        let is_in_memory = folder.is_some();
        let folder = match folder {
            Some(folder) => {
                private_folder(fs, &folder)?;
                let folder = folder.join(name(layout));
                private_folder(fs, &folder)?;
                folder
            }
            None => {
                let folder = on_disk(layout);
                private_folder(fs, &folder)?;
                folder
            }
        };
        clean_folder(&folder);
        let scratch = Scratch::within(folder.clone());
        Ok(Self { folder, scratch, opened: Mutex::default(), is_in_memory })
    }

    pub fn path(&self) -> &Path {
        &self.folder
    }

    pub fn opened(&self, digest: &Digest) -> Option<ObjectFile> {
        lock(&self.opened).get(digest).filter(|file| file.path.exists()).cloned()
    }

    /// Keeps `file`, a file of this folder, as the bytes of an object.
    pub fn keep(&self, digest: Digest, file: &Path, size_bytes: u64) -> Result<ObjectFile, StoreError> {
        let place = self.scratch.name();
        fs::rename(file, &place).or_fail("keep", file)?;
        fs::set_permissions(&place, fs::Permissions::from_mode(0o444)).or_fail("protect", &place)?;
        let opened = ObjectFile { path: place, size_bytes };
        let before = lock(&self.opened).insert(digest, opened.clone());
        // Whoever was given the other file may be reading it; it goes with the folder.
        drop(before);
        Ok(opened)
    }
}

impl Drop for PlainFolder {
    fn drop(&mut self) {
        let prefix = self.scratch.prefix();
        for entry in fs::read_dir(&self.folder).into_iter().flatten().flatten() {
            if entry.file_name().as_bytes().starts_with(prefix.as_bytes()) {
                _ = remove_tree(&entry.path());
            }
        }
    }
}

/// Removes what processes have left in a workspace's folders that were killed.
pub(crate) fn sweep(layout: &Layout) {
    places().into_iter().map(|place| place.join(name(layout))).chain([on_disk(layout)]).for_each(|folder| {
        clean_folder(&folder);
    });
}

fn place_in_memory(fs: &dyn Fs) -> Option<PathBuf> {
    places().into_iter().find(|place| {
        let filesystem = fs.filesystem(place.parent().unwrap_or(place));
        filesystem.is_ok_and(|found| IN_MEMORY.contains(&found.magic))
    })
}

/// Removes a workspace's folder in memory, which nobody uses any more; one that holds something stays.
pub(crate) fn leave(layout: &Layout) {
    places().into_iter().for_each(|place| _ = fs::remove_dir(place.join(name(layout))));
}

/// Where a folder of this user for all workspaces may be in memory.
fn places() -> Vec<PathBuf> {
    let uid = rustix::process::getuid().as_raw();
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(|folder| PathBuf::from(folder).join("mlp-plain"));
    [Some(PathBuf::from(format!("/dev/shm/mlp-{uid}"))), runtime].into_iter().flatten().collect()
}

fn name(layout: &Layout) -> String {
    Digest::of(layout.root.as_os_str().as_bytes()).short()
}

fn on_disk(layout: &Layout) -> PathBuf {
    layout.root.join("plain")
}
