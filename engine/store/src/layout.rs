//! Where things stand in a workspace's `.mlp` folder, and where its socket is.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use mlp_model::{Digest, RunId, StoreError};

use crate::failure::{OrFail, io_failure};
use crate::fs::Fs;

/// The longest path that fits into a Unix socket's address.
const MAX_SOCKET_PATH: usize = 107;

/// The paths of one store.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    pub root: PathBuf,
}

impl Layout {
    /// Names the store of `workspace`, which must exist.
    pub fn of(workspace: &Path) -> Result<Self, StoreError> {
        let workspace = fs::canonicalize(workspace).or_fail("open the workspace", workspace)?;
        Ok(Self { root: workspace.join(".mlp") })
    }

    /// Makes the folders that are missing.
    pub fn prepare(&self, fs: &dyn Fs) -> Result<(), StoreError> {
        for folder in [self.root.clone(), self.journal(), self.objects(), self.scratch(), self.damaged(), self.runs()] {
            make_folder(fs, &folder)?;
        }
        let ignore = self.root.join(".gitignore");
        if !ignore.exists() {
            fs::write(&ignore, "*\n").or_fail("write", &ignore)?;
        }
        Ok(())
    }

    pub fn lock(&self) -> PathBuf {
        self.root.join("lock")
    }

    pub fn journal(&self) -> PathBuf {
        self.root.join("journal")
    }

    /// Returns the file of segment `number` of the journal.
    pub fn segment(&self, number: u32) -> PathBuf {
        self.journal().join(format!("{number:08}.log"))
    }

    pub fn objects(&self) -> PathBuf {
        self.root.join("objects")
    }

    pub fn scratch(&self) -> PathBuf {
        self.root.join("objects/tmp")
    }

    pub fn damaged(&self) -> PathBuf {
        self.root.join("objects/damaged")
    }

    pub fn runs(&self) -> PathBuf {
        self.root.join("runs")
    }

    /// Names the folder of one run.
    ///
    /// # Errors
    /// A run's name that could lead elsewhere.
    pub fn run_dir(&self, run: &RunId) -> Result<PathBuf, StoreError> {
        let folder = self.runs().join(&run.0);
        if run.0.is_empty() || !run.0.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
            let reason = io::Error::other("a run is named by letters and digits");
            return Err(io_failure("name the folder", &folder, &reason));
        }
        Ok(folder)
    }

    /// Answers that are given again while nothing changes.
    pub fn snapshots(&self) -> PathBuf {
        self.root.join("snapshot")
    }

    pub fn sessions(&self) -> PathBuf {
        self.root.join("sessions.log")
    }

    pub fn owner_log(&self) -> PathBuf {
        self.root.join("owner.log")
    }

    /// Returns the folder and the file of an object.
    pub fn object(&self, digest: &Digest) -> (PathBuf, PathBuf) {
        let text = digest.to_string();
        let (head, tail) = text.split_at(2);
        let folder = self.objects().join(head);
        let file = folder.join(tail);
        (folder, file)
    }

    /// Returns the socket's path: in the store, or, where that is too long, in a folder of this user alone.
    pub fn socket(&self, fs: &dyn Fs) -> Result<PathBuf, StoreError> {
        let here = self.root.join("sock");
        if fits(&here) {
            return Ok(here);
        }
        let name = Digest::of(self.root.as_os_str().as_bytes()).short();
        let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(|folder| PathBuf::from(folder).join("mlp"));
        let uid = rustix::process::getuid().as_raw();
        let candidates = [runtime, Some(std::env::temp_dir().join(format!("mlp-{uid}")))];
        let folder = candidates
            .into_iter()
            .flatten()
            .find(|folder| fits(&folder.join(&name)) && folder.parent().is_some_and(Path::is_dir))
            .unwrap_or_else(|| PathBuf::from(format!("/tmp/mlp-{uid}")));
        private_folder(fs, &folder)?;
        Ok(folder.join(name))
    }
}

/// Makes a folder unless it is there.
pub(crate) fn make_folder(fs: &dyn Fs, folder: &Path) -> Result<(), StoreError> {
    match fs.create_dir(folder) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        other => other.or_fail("make the folder", folder),
    }
}

/// Makes a folder that only this user may enter, unless it is there.
///
/// # Errors
/// Something else stands there: others may have put it where everybody may write.
pub(crate) fn private_folder(fs: &dyn Fs, folder: &Path) -> Result<(), StoreError> {
    make_folder(fs, folder)?;
    let found = std::fs::symlink_metadata(folder).or_fail("open", folder)?;
    let is_ours = found.uid() == rustix::process::getuid().as_raw();
    if !found.is_dir() || !is_ours || found.mode() & 0o077 != 0 {
        return Err(StoreError::Io {
            action: "use".to_owned(),
            path: folder.display().to_string(),
            message: "it must be a folder that only you may enter".to_owned(),
        });
    }
    Ok(())
}

fn fits(path: &Path) -> bool {
    path.as_os_str().len() <= MAX_SOCKET_PATH
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::RealFs;

    #[test]
    fn a_socket_path_that_is_too_long_falls_back_to_a_private_folder() {
        let folder = tempfile::tempdir().unwrap();
        let deep = folder.path().join("d".repeat(120));
        for (workspace, inside) in [(folder.path().to_owned(), true), (deep, false)] {
            fs::create_dir_all(&workspace).unwrap();
            let layout = Layout::of(&workspace).unwrap();
            layout.prepare(&RealFs).unwrap();
            let socket = layout.socket(&RealFs).unwrap();
            assert!(fits(&socket), "{}", socket.display());
            assert_eq!(socket.starts_with(&layout.root), inside);
            assert_eq!(socket, layout.socket(&RealFs).unwrap());
        }
    }
}
