//! What an owner process was just doing when it was killed: it notes that in memory shared through a file.

use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use memmap2::MmapRaw;
use mlp_store::{Access, FileStat, Filesystem, Fs, FsFile, RealFs};
use rustix::process::{Pid, test_kill_process};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Opening the store, waiting, answering.
    Other,
    /// The journal is being written.
    Writing,
    /// What was written is not known to be on the disk.
    Syncing,
    /// On the disk, and not marked so, not in the index, nobody told.
    Synced,
}

impl Phase {
    pub fn is_within_commit(self) -> bool {
        self != Self::Other
    }

    fn of(byte: u8) -> Self {
        [Self::Other, Self::Writing, Self::Syncing, Self::Synced][usize::from(byte)]
    }
}

/// The real file operations, noting each phase of a commit.
pub struct WatchedFs(Arc<Shared>);

struct Shared(MmapRaw);

impl Shared {
    fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        file.set_len(1)?;
        Ok(Self(MmapRaw::map_raw(&file)?))
    }

    fn byte(&self) -> &AtomicU8 {
        // SAFETY: the map has one byte, lives as long as `self`, and every process treats the byte as an atomic.
        unsafe { AtomicU8::from_ptr(self.0.as_mut_ptr()) }
    }

    fn set(&self, phase: Phase) {
        self.byte().store(phase as u8, Ordering::SeqCst);
    }

    fn get(&self) -> Phase {
        Phase::of(self.byte().load(Ordering::SeqCst))
    }
}

fn file_of(workspace: &Path, owner: Pid) -> PathBuf {
    workspace.join(format!("phase-{}", owner.as_raw_nonzero()))
}

/// Waits until the owner is in the midst of a commit, at most `limit`.
pub fn wait_for_commit(workspace: &Path, owner: Pid, limit: Duration) {
    let deadline = Instant::now() + limit;
    let Ok(shared) = Shared::open(&file_of(workspace, owner)) else { return };
    while !shared.get().is_within_commit() && Instant::now() < deadline {
        thread::sleep(Duration::from_micros(20));
    }
}

/// Waits until the owner, which was killed, is gone, and returns what it was doing.
pub fn when_dead(workspace: &Path, owner: Pid) -> Phase {
    let is_gone = || {
        let stat = fs::read_to_string(format!("/proc/{}/stat", owner.as_raw_nonzero())).unwrap_or_default();
        test_kill_process(owner).is_err() || stat.rsplit_once(')').is_none_or(|rest| rest.1.starts_with(" Z"))
    };
    while !is_gone() {
        thread::sleep(Duration::from_micros(200));
    }
    let path = file_of(workspace, owner);
    let phase = Shared::open(&path).map_or(Phase::Other, |shared| shared.get());
    _ = fs::remove_file(path);
    phase
}

impl WatchedFs {
    pub fn new(workspace: &Path) -> Self {
        let path = file_of(workspace, rustix::process::getpid());
        Self(Arc::new(Shared::open(&path).expect("a byte that is shared")))
    }

    fn watch(&self, path: &Path, file: Box<dyn FsFile>) -> Box<dyn FsFile> {
        let is_journal = path.parent().is_some_and(|folder| folder.ends_with(".mlp/journal"));
        if is_journal { Box::new(WatchedFile(file, self.0.clone())) } else { file }
    }
}

impl Fs for WatchedFs {
    fn create(&self, path: &Path, mode: u32) -> io::Result<Box<dyn FsFile>> {
        Ok(self.watch(path, RealFs.create(path, mode)?))
    }
    fn open(&self, path: &Path, access: Access) -> io::Result<Box<dyn FsFile>> {
        Ok(self.watch(path, RealFs.open(path, access)?))
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        RealFs.rename(from, to)
    }
    fn remove_file(&self, path: &Path) -> io::Result<()> {
        RealFs.remove_file(path)
    }
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        RealFs.create_dir(path)
    }
    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        RealFs.sync_dir(path)
    }
    fn set_mode(&self, path: &Path, mode: u32) -> io::Result<()> {
        RealFs.set_mode(path, mode)
    }
    fn stat(&self, path: &Path) -> io::Result<FileStat> {
        RealFs.stat(path)
    }
    fn filesystem(&self, path: &Path) -> io::Result<Filesystem> {
        RealFs.filesystem(path)
    }
}

struct WatchedFile(Box<dyn FsFile>, Arc<Shared>);

impl FsFile for WatchedFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(buffer, offset)
    }
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        if bytes.starts_with(b"mlp-sync") {
            let marked = self.0.write_all_at(bytes, offset);
            self.1.set(Phase::Other);
            return marked;
        }
        self.1.set(Phase::Writing);
        self.0.write_all_at(bytes, offset)
    }
    fn sync(&self) -> io::Result<()> {
        let is_commit = self.1.get() == Phase::Writing;
        if is_commit {
            self.1.set(Phase::Syncing);
        }
        self.0.sync()?;
        if is_commit {
            self.1.set(Phase::Synced);
        }
        Ok(())
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }
    fn stat(&self) -> io::Result<FileStat> {
        self.0.stat()
    }
}
