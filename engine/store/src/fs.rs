//! The file operations on which nothing may be lost, as a trait, so that a test can make the Nth one fail.
//!
//! Commits, objects and the restoring of inline objects go through here. sled's own files do not: they can be made
//! again. Unaware of what the files mean.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};

use crate::filesystem::Filesystem;

/// Operations on names. Paths are absolute.
pub trait Fs: Send + Sync {
    /// Makes a new file for reading and writing; fails if the name is taken.
    fn create(&self, path: &Path, mode: u32) -> io::Result<Box<dyn FsFile>>;
    /// Opens an existing file. A symbolic link is refused.
    fn open(&self, path: &Path, access: Access) -> io::Result<Box<dyn FsFile>>;
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    fn remove_file(&self, path: &Path) -> io::Result<()>;
    /// Makes a folder that only its owner may enter.
    fn create_dir(&self, path: &Path) -> io::Result<()>;
    /// Makes the folder's entries durable.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
    fn set_mode(&self, path: &Path, mode: u32) -> io::Result<()>;
    /// Describes what stands at `path`, without following a symbolic link.
    fn stat(&self, path: &Path) -> io::Result<FileStat>;
    /// Describes the filesystem under `path`.
    fn filesystem(&self, path: &Path) -> io::Result<Filesystem>;
}

/// Operations on an open file.
pub trait FsFile: Send + Sync {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Makes content and length durable.
    fn sync(&self) -> io::Result<()>;
    fn set_len(&self, len: u64) -> io::Result<()>;
    fn stat(&self) -> io::Result<FileStat>;
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    Read,
    ReadWrite,
}

/// What tells whether a file has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Stamp {
    pub size_bytes: u64,
    pub mtime_ns: i64,
    pub ctime_ns: i64,
    pub inode: u64,
    pub device: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileStat {
    pub stamp: Stamp,
    pub is_file: bool,
    pub n_links: u64,
}

impl From<&fs::Metadata> for FileStat {
    fn from(found: &fs::Metadata) -> Self {
        let nanoseconds = |seconds: i64, rest: i64| seconds.saturating_mul(1_000_000_000).saturating_add(rest);
        Self {
            stamp: Stamp {
                size_bytes: found.size(),
                mtime_ns: nanoseconds(found.mtime(), found.mtime_nsec()),
                ctime_ns: nanoseconds(found.ctime(), found.ctime_nsec()),
                inode: found.ino(),
                device: found.dev(),
            },
            is_file: found.is_file(),
            n_links: found.nlink(),
        }
    }
}

/// The operating system.
#[derive(Debug, Clone, Copy, Default)]
pub struct RealFs;

impl Fs for RealFs {
    fn create(&self, path: &Path, mode: u32) -> io::Result<Box<dyn FsFile>> {
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(mode).open(path)?;
        Ok(Box::new(RealFile(file)))
    }

    fn open(&self, path: &Path, access: Access) -> io::Result<Box<dyn FsFile>> {
        // Non-blocking, so that a fifo put in a file's place cannot hold us.
        let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
        let file = OpenOptions::new().read(true).write(access == Access::ReadWrite).custom_flags(flags).open(path)?;
        Ok(Box::new(RealFile(file)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        DirBuilder::new().mode(0o700).create(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    fn set_mode(&self, path: &Path, mode: u32) -> io::Result<()> {
        fs::set_permissions(path, Permissions::from_mode(mode))
    }

    fn stat(&self, path: &Path) -> io::Result<FileStat> {
        fs::symlink_metadata(path).map(|found| FileStat::from(&found))
    }

    fn filesystem(&self, path: &Path) -> io::Result<Filesystem> {
        Filesystem::of(path)
    }
}

/// Opens a file outside the store for reading; symbolic links are followed.
pub(crate) fn open_outside(path: &Path) -> io::Result<Box<dyn FsFile>> {
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    Ok(Box::new(RealFile(OpenOptions::new().read(true).custom_flags(flags).open(path)?)))
}

struct RealFile(File);

impl FsFile for RealFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        loop {
            match self.0.read_at(buffer, offset) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => return other,
            }
        }
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn stat(&self) -> io::Result<FileStat> {
        self.0.metadata().map(|found| FileStat::from(&found))
    }
}

/// Fills as much of `buffer` as the file has from `offset` on.
pub(crate) fn read_full(file: &dyn FsFile, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, offset + filled as u64)? {
            0 => break,
            n => filled += n,
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_symbolic_link_is_not_opened() {
        let folder = tempfile::tempdir().unwrap();
        let (target, link) = (folder.path().join("target"), folder.path().join("link"));
        fs::write(&target, "x").unwrap();
        std::os::unix::fs::symlink(&target, &link).unwrap();
        assert!(RealFs.open(&link, Access::Read).is_err());
        assert!(RealFs.open(&target, Access::Read).is_ok());
    }
}
