//! The paths that an answer rests on, and what stood there.
//!
//! Each path takes one look. They are looked at by several threads where there are many.

use std::ffi::CStr;
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use mlp_model::Digest;
use rustix::fs::{AtFlags, CWD, Mode, OFlags, Stat};
use rustix::io::Errno;

use crate::bytes::{Reader, Writer};
use crate::fs::Stamp;

/// How many bytes may have to be read again for files that were young.
pub const MAX_REREAD_BYTES: u64 = 16 << 20;
/// From this many paths on several threads look.
const MANY_PATHS: usize = 8_192;
const MAX_THREADS: usize = 4;

/// What stood at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    Missing,
    /// Only what it is matters.
    Kind(Kind),
    /// A file with these bytes, or a folder with these entries.
    Unchanged(Stamp),
    /// A file that was so young when it was read that its stamp cannot be trusted: its first bytes are compared.
    Young {
        digest: Digest,
        size_bytes: u64,
        len: u64,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    File,
    Folder,
}

const MISSING: u8 = 0;
const FILE: u8 = 1;
const FOLDER: u8 = 2;
const UNCHANGED: u8 = 3;
const YOUNG: u8 = 4;

/// Encodes the paths in equal shares, those in `root` relative to it. `None`: one of them cannot be written, or too
/// much would have to be read again.
pub fn encode(root: &Path, mut paths: Vec<(PathBuf, Seen)>) -> Option<Vec<u8>> {
    // Neighbours share folders, which the kernel then has at hand.
    paths.sort_unstable_by(|a, b| a.0.as_os_str().cmp(b.0.as_os_str()));
    paths.dedup();
    let mut n_reread = 0;
    let n_shares = if paths.len() < MANY_PATHS { 1 } else { MAX_THREADS };
    let mut all = Writer::default();
    for share in paths.chunks(paths.len().div_ceil(n_shares).max(1)) {
        let mut entries = Writer::default();
        for (path, seen) in share {
            match seen {
                Seen::Missing => entries.byte(MISSING),
                Seen::Kind(Kind::File) => entries.byte(FILE),
                Seen::Kind(Kind::Folder) => entries.byte(FOLDER),
                Seen::Unchanged(stamp) => {
                    entries.byte(UNCHANGED);
                    entries.stamp(stamp);
                }
                Seen::Young { digest, size_bytes, len } => {
                    n_reread += len;
                    entries.byte(YOUNG);
                    entries.digest(digest);
                    entries.long(*size_bytes);
                    entries.long(*len);
                }
            }
            let name = path.strip_prefix(root).ok().filter(|inside| !inside.as_os_str().is_empty()).unwrap_or(path);
            let name = name.as_os_str().as_bytes();
            if name.contains(&0) || (name[0] != b'/' && name.len() == path.as_os_str().len()) {
                return None;
            }
            // With a zero behind it, so that it can be handed to the kernel as it is.
            entries.text(&[name, b"\0"].concat());
        }
        all.text(&entries.0);
    }
    (n_reread <= MAX_REREAD_BYTES).then_some(all.0)
}

/// Encoded paths.
pub struct Table<'a>(pub &'a [u8]);

impl Table<'_> {
    /// Looks at every path. False as soon as one is not as it was.
    pub fn is_unchanged(&self, root: &Path) -> bool {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let Ok(root) = rustix::fs::openat(CWD, root, flags, Mode::empty()) else { return false };
        let mut shares = Vec::new();
        let mut rest = Reader(self.0);
        while !rest.is_empty() {
            let Some(share) = rest.text() else { return false };
            shares.push(share);
        }
        let is_changed = AtomicBool::new(false);
        let look = |share| {
            if look_at_all(share, &root, &is_changed).is_none() {
                is_changed.store(true, Ordering::Relaxed);
            }
        };
        let n_threads = std::thread::available_parallelism().map_or(1, |n| n.get());
        if let [share] = shares[..] {
            look(share);
        } else if n_threads == 1 {
            shares.iter().for_each(|share| look(share));
        } else {
            // The calling thread takes its share, too.
            let (mine, others) = shares.split_at(shares.len().div_ceil(n_threads).min(shares.len()));
            std::thread::scope(|scope| {
                for share in others.chunks(mine.len().max(1)) {
                    scope.spawn(move || share.iter().for_each(|share| look(share)));
                }
                mine.iter().for_each(|share| look(share));
            });
        }
        !is_changed.into_inner()
    }
}

fn look_at_all(share: &[u8], root: &impl std::os::fd::AsFd, is_changed: &AtomicBool) -> Option<()> {
    let mut entries = Reader(share);
    while !entries.is_empty() {
        if is_changed.load(Ordering::Relaxed) {
            return None;
        }
        let tag = entries.byte()?;
        let stamp = if tag == UNCHANGED { Some(entries.stamp()?) } else { None };
        let young = if tag == YOUNG { Some((entries.digest()?, entries.long()?, entries.long()?)) } else { None };
        let path = CStr::from_bytes_with_nul(entries.text()?).ok()?;
        let found = match rustix::fs::statat(root, path, AtFlags::empty()) {
            Ok(found) => Some(found),
            Err(Errno::NOENT | Errno::NOTDIR) => None,
            Err(_) => return None,
        };
        let is_as_it_was = match (tag, &found) {
            (MISSING, found) => found.is_none(),
            (FILE, Some(found)) => !is_folder(found),
            (FOLDER, Some(found)) => is_folder(found),
            (UNCHANGED, Some(found)) => stamp == Some(to_stamp(found)),
            (YOUNG, Some(found)) => {
                let (digest, size_bytes, len) = young?;
                u64::try_from(found.st_size) == Ok(len) && has_bytes(root, path, digest, size_bytes)?
            }
            _ => false,
        };
        is_as_it_was.then_some(())?;
    }
    Some(())
}

fn is_folder(found: &Stat) -> bool {
    rustix::fs::FileType::from_raw_mode(found.st_mode) == rustix::fs::FileType::Directory
}

fn to_stamp(found: &Stat) -> Stamp {
    let nanoseconds = |seconds: i64, rest: i64| seconds.saturating_mul(1_000_000_000).saturating_add(rest);
    Stamp {
        size_bytes: found.st_size.cast_unsigned(),
        mtime_ns: nanoseconds(found.st_mtime, found.st_mtime_nsec as i64),
        ctime_ns: nanoseconds(found.st_ctime, found.st_ctime_nsec as i64),
        inode: found.st_ino,
        device: found.st_dev,
    }
}

fn has_bytes(root: &impl std::os::fd::AsFd, path: &CStr, digest: Digest, size_bytes: u64) -> Option<bool> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::openat(root, path, flags, Mode::empty()).ok()?);
    let mut bytes = Vec::new();
    file.take(size_bytes.min(MAX_REREAD_BYTES)).read_to_end(&mut bytes).ok()?;
    Some(bytes.len() as u64 == size_bytes && Digest::of(&bytes) == digest)
}
