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

/// The filesystem that holds a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Filesystem {
    /// The kernel's magic number of its kind.
    pub magic: u64,
    pub free_bytes: u64,
    pub total_bytes: u64,
}

impl Filesystem {
    /// Returns the kind's name, or `other`.
    pub fn name(&self) -> &'static str {
        KINDS.iter().find(|kind| kind.0 == self.magic).map_or("other", |kind| kind.1)
    }

    /// Whether other machines share it: locks, sockets and mapped files cannot be trusted there.
    pub fn is_network(&self) -> bool {
        KINDS.iter().any(|kind| kind.0 == self.magic && kind.2)
    }
}

/// Magic number, name, whether it is a network filesystem. The numbers are those of `statfs(2)`.
const KINDS: &[(u64, &str, bool)] = &[
    (0xEF53, "ext4", false),
    (0x5846_5342, "xfs", false),
    (0x9123_683E, "btrfs", false),
    (0x0102_1994, "tmpfs", false),
    (0x794C_7630, "overlay", false),
    (0x2FC1_2FC1, "zfs", false),
    (0xF2F5_2010, "f2fs", false),
    (0xCA45_1A4E, "bcachefs", false),
    (0x6573_5546, "fuse", false),
    (0x4D44, "vfat", false),
    (0x2011_BAB0, "exfat", false),
    (0x6969, "nfs", true),
    (0x517B, "smb", true),
    (0xFF53_4D42, "cifs", true),
    (0xFE53_4D42, "smb2", true),
    (0x0BD0_0BD0, "lustre", true),
    (0x00C3_6400, "ceph", true),
    (0x0102_1997, "9p", true),
    (0x5346_414F, "afs", true),
    (0x6B41_4653, "afs", true),
    (0x7375_7245, "coda", true),
    (0x4750_4653, "gpfs", true),
    (0x1983_0326, "beegfs", true),
    (0x2003_0528, "orangefs", true),
];

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
        let found = rustix::fs::statfs(path)?;
        let block = u64::try_from(found.f_bsize).unwrap_or(0);
        Ok(Filesystem {
            magic: u64::from(found.f_type as u32),
            free_bytes: found.f_bavail.saturating_mul(block),
            total_bytes: found.f_blocks.saturating_mul(block),
        })
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
    fn network_filesystems_are_told_from_local_ones() {
        let kind = |magic| Filesystem { magic, free_bytes: 0, total_bytes: 0 };
        for (magic, name, network) in
            [(0x6969, "nfs", true), (0xFF53_4D42, "cifs", true), (0xEF53, "ext4", false), (1, "other", false)]
        {
            assert_eq!((kind(magic).name(), kind(magic).is_network()), (name, network));
        }
        let here = RealFs.filesystem(&std::env::temp_dir()).unwrap();
        assert!(here.total_bytes > 0 && here.total_bytes >= here.free_bytes);
    }

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
