//! Control groups, where this process may make some: whatever a step starts stays in its group, and ends with it.
//!
//! Groups are made below the group of this process and used again by later steps, because making one costs more than
//! starting a shell. Works with version 2 of the hierarchy, as root or where the group has been handed over to the user
//! (`systemd-run --user --scope`, most desktop sessions, most containers with a hierarchy of their own). Unaware of
//! what runs in a group.

use std::fs::{self, File};
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::proc;

/// How many processes and threads a step may have, where the hierarchy counts them.
pub const MAX_PROCESSES: u64 = 16 << 10;

/// The groups of this process.
pub struct Cgroups {
    /// Holds the groups, and no process.
    base: PathBuf,
    free: Mutex<Vec<Cgroup>>,
    n_made: AtomicUsize,
    is_usable: AtomicBool,
}

/// A group without processes, or with those of one step.
pub struct Cgroup {
    path: PathBuf,
    folder: File,
    events: File,
    was_ended: AtomicBool,
}

impl Cgroups {
    /// Returns `None` where no groups can be made.
    pub fn find() -> Option<Self> {
        let own = own_group()?;
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let base = own.join(format!("mlp-{}-{count}", proc::name_of(std::process::id())?));
        remove_leftovers(&own);
        fs::create_dir(&base).ok()?;
        let groups =
            Self { base, free: Mutex::default(), n_made: AtomicUsize::new(0), is_usable: AtomicBool::new(true) };
        // Only a kernel that can end a group at once is of use here.
        if !groups.base.join("cgroup.kill").exists() {
            return None;
        }
        let _ = fs::write(groups.base.join("cgroup.subtree_control"), "+pids");
        let group = groups.take()?;
        groups.give_back(group);
        Some(groups)
    }

    pub fn take(&self) -> Option<Cgroup> {
        if !self.is_usable.load(Ordering::Relaxed) {
            return None;
        }
        let free = self.free.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).pop();
        free.or_else(|| self.make().ok())
    }

    /// Takes a group back. One that still has processes is left alone, and one that has been ended is not used again:
    /// some kernels (6.18 is one) end whatever is later started in it.
    pub fn give_back(&self, group: Cgroup) {
        if group.was_ended.load(Ordering::Relaxed) {
            let _ = remove(&group.path);
        } else if group.is_empty() {
            self.free.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push(group);
        }
    }

    /// Makes no more groups: the kernel does not let us start processes in them.
    pub fn give_up(&self) {
        self.is_usable.store(false, Ordering::Relaxed);
    }

    fn make(&self) -> io::Result<Cgroup> {
        let path = self.base.join(self.n_made.fetch_add(1, Ordering::Relaxed).to_string());
        fs::create_dir(&path)?;
        // Not everywhere are processes counted.
        let _ = fs::write(path.join("pids.max"), MAX_PROCESSES.to_string());
        let events = File::open(path.join("cgroup.events"))?;
        Ok(Cgroup { folder: File::open(&path)?, events, was_ended: AtomicBool::new(false), path })
    }
}

impl Drop for Cgroups {
    fn drop(&mut self) {
        self.free.get_mut().unwrap_or_else(|poisoned| poisoned.into_inner()).clear();
        let _ = remove(&self.base);
    }
}

impl Cgroup {
    /// To start a process in.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.folder.as_fd()
    }

    /// Returns whether no process of the group runs any more; one that waits to be reaped has ended.
    pub fn is_empty(&self) -> bool {
        let mut text = [0; 128];
        let mut events = &self.events;
        let n_bytes = events.rewind().and_then(|()| events.read(&mut text)).unwrap_or(0);
        text.get(..n_bytes).is_some_and(|text| text.starts_with(b"populated 0"))
    }

    /// Returns the processes of the group.
    pub fn pids(&self) -> Vec<i32> {
        let text = fs::read_to_string(self.path.join("cgroup.procs")).unwrap_or_default();
        text.lines().filter_map(|line| line.parse().ok()).collect()
    }

    /// Ends every process of the group, also those that fork meanwhile. Returns whether all were gone in time.
    pub fn kill(&self, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        while !self.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            self.was_ended.store(true, Ordering::Relaxed);
            let is_asked = File::options()
                .write(true)
                .open(self.path.join("cgroup.kill"))
                .and_then(|mut file| file.write_all(b"1"));
            if is_asked.is_err() || left.is_zero() {
                return false;
            }
            // The kernel tells when the group becomes empty. A look now and then costs nothing.
            let wait = Timespec::try_from(left.min(Duration::from_millis(20))).unwrap_or_default();
            let _ = poll(&mut [PollFd::new(&self.events, PollFlags::PRI)], Some(&wait));
        }
        true
    }
}

/// Returns the folder of the group in which this process is, in version 2 of the hierarchy.
fn own_group() -> Option<PathBuf> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let group = groups.lines().find_map(|line| line.strip_prefix("0::"))?;
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    mounts.lines().find_map(|line| {
        let (place, kind) = line.split_once(" - ")?;
        let mut fields = place.split(' ').skip(3);
        let (root, mount) = (fields.next()?, fields.next()?);
        let inside = Path::new(group).strip_prefix(root).ok()?;
        (kind.starts_with("cgroup2 ")).then(|| Path::new(mount).join(inside))
    })
}

/// Ends and removes groups whose `mlp` is gone: nobody else will.
fn remove_leftovers(own: &Path) {
    for entry in fs::read_dir(own).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let is_left = name.to_str().and_then(|name| name.strip_prefix("mlp-")).is_some_and(proc::is_gone);
        if is_left {
            let _ = fs::write(entry.path().join("cgroup.kill"), "1");
            let _ = remove(&entry.path());
        }
    }
}

/// Removes a group and those in it. The kernel removes none that has processes.
fn remove(group: &Path) -> io::Result<()> {
    for entry in fs::read_dir(group)?.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove(&entry.path())?;
        }
    }
    fs::remove_dir(group)
}
