//! Answers the questions of a step's filter: lets the step go on, and keeps in mind what it will be refused.
//!
//! Whether a file may be used is decided by the kernel, at the moment of use. The witness only works out beforehand how
//! that will be decided, so that a person can be told which file it was. Where there is no Landlock, it refuses itself.
//! Unaware of why a file is wanted.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::confine::Rules;
use crate::filter::{NO_NETWORK, OPENING};

/// How many refused files are kept in mind.
const MAX_DENIALS: usize = 20;

/// What a step was refused.
#[derive(Debug, Default)]
pub struct Denials {
    pub files: BTreeSet<Denial>,
    /// It asked for the network.
    pub network: bool,
}

/// A file or folder that is there, by its real path.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Denial {
    pub wish: Wish,
    pub path: PathBuf,
    /// It was looked for in the step's folder, and is beside the pipeline.
    pub is_elsewhere: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wish {
    Read,
    List,
    Execute,
    Write,
}

pub struct Witness<'a> {
    listener: OwnedFd,
    rules: &'a Rules<'a>,
    denials: Denials,
    /// Nobody has the filter any more.
    has_hung_up: bool,
}

enum Answer {
    GoOn,
    Refuse(i32),
}

impl<'a> Witness<'a> {
    pub fn new(listener: OwnedFd, rules: &'a Rules<'a>) -> Self {
        // A hint that whoever asks waits for us alone; kernels before 6.6 do not know it.
        // SAFETY: a number is passed.
        unsafe { libc::ioctl(listener.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_SET_FLAGS, 1_u64) };
        Self { listener, rules, denials: Denials::default(), has_hung_up: false }
    }

    /// Becomes readable when there is a question; nothing, once nobody is left to ask.
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        (!self.has_hung_up).then(|| self.listener.as_fd())
    }

    /// Looks after what a poll has found.
    pub fn on_polled(&mut self, events: PollFlags) {
        if events.contains(PollFlags::IN) {
            self.answer();
        } else if !events.is_empty() {
            // For good: it would wake us over and over until the shell has been seen to end.
            self.has_hung_up = true;
        }
    }

    /// Returns whether no process of the step is left: nobody has the filter any more. `false` can also mean that the
    /// last one has not been reaped yet.
    pub fn is_alone(&self) -> bool {
        self.look().contains(PollFlags::HUP)
    }

    pub fn into_denials(self) -> Denials {
        self.denials
    }

    fn look(&self) -> PollFlags {
        let mut fds = [PollFd::new(&self.listener, PollFlags::IN)];
        let _ = poll(&mut fds, Some(&Timespec::default()));
        fds[0].revents()
    }

    /// Answers a question. There must be one.
    fn answer(&mut self) {
        // SAFETY: plain numbers; the kernel wants to find zeros.
        let mut question: libc::seccomp_notif = unsafe { std::mem::zeroed() };
        // SAFETY: the kernel fills the question in.
        let heard =
            unsafe { libc::ioctl(self.listener.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_RECV, &raw mut question) };
        if heard < 0 {
            // Whoever asked has died meanwhile.
            return;
        }
        let (error, flags) = match self.judge(&question) {
            Answer::GoOn => (0, libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE as u32),
            Answer::Refuse(errno) => (-errno, 0),
        };
        // SAFETY: plain numbers.
        let mut reply: libc::seccomp_notif_resp = unsafe { std::mem::zeroed() };
        (reply.id, reply.error, reply.flags) = (question.id, error, flags);
        // SAFETY: the kernel reads the reply. It refuses one that comes too late.
        unsafe { libc::ioctl(self.listener.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_SEND, &raw mut reply) };
    }

    fn judge(&mut self, question: &libc::seccomp_notif) -> Answer {
        let (call, args) = (libc::c_long::from(question.data.nr), question.data.args);
        match call {
            libc::SYS_socket => {
                self.denials.network |= matches!(args[0] as i32, libc::AF_INET | libc::AF_INET6);
                Answer::Refuse(NO_NETWORK)
            }
            libc::SYS_connect => self.judge_connection(question.pid, args[1], args[2]),
            libc::SYS_execve => self.judge_file(question.pid, libc::AT_FDCWD, args[0], Some(Wish::Execute), false),
            _ => {
                debug_assert!(OPENING.contains(&call));
                let (folder, name, flags) = self.opening(question.pid, call, args);
                if flags & libc::O_PATH as u64 != 0 {
                    return Answer::GoOn;
                }
                let writes = flags & libc::O_ACCMODE as u64 != 0 || flags & (libc::O_TRUNC | libc::O_CREAT) as u64 != 0;
                let wish = if writes { Some(Wish::Write) } else { None };
                self.judge_file(question.pid, folder, name, wish, flags & libc::O_CREAT as u64 != 0)
            }
        }
    }

    /// Returns the folder, the address of the name, and the flags of a call that opens.
    fn opening(&self, pid: u32, call: libc::c_long, args: [u64; 6]) -> (i32, u64, u64) {
        #[cfg(target_arch = "x86_64")]
        match call {
            libc::SYS_open => return (libc::AT_FDCWD, args[0], args[1]),
            libc::SYS_creat => return (libc::AT_FDCWD, args[0], (libc::O_CREAT | libc::O_WRONLY) as u64),
            _ => {}
        }
        let flags = match call {
            // The first field of what the third argument points to.
            libc::SYS_openat2 => {
                let mut flags = [0; 8];
                let n_bytes = read_memory(pid, args[2], &mut flags).unwrap_or(0);
                if n_bytes == flags.len() { u64::from_ne_bytes(flags) } else { 0 }
            }
            _ => args[2],
        };
        (args[0] as i32, args[1], flags)
    }

    fn judge_file(&mut self, pid: u32, folder: i32, name: u64, wish: Option<Wish>, makes: bool) -> Answer {
        let Some(name) = read_name(pid, name) else { return Answer::GoOn };
        if wish != Some(Wish::Write) && self.rules.surely_allow_reading(&name) || name.starts_with("/dev") {
            return Answer::GoOn;
        }
        let (path, is_folder) = match real_path(pid, folder, &name, makes) {
            Ok(found) => found,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.look_elsewhere(pid, folder, &name, wish);
                return Answer::GoOn;
            }
            Err(_) => return Answer::GoOn,
        };
        if self.rules.allow(&path, wish == Some(Wish::Write)) {
            return Answer::GoOn;
        }
        let wish = wish.unwrap_or(if is_folder { Wish::List } else { Wish::Read });
        self.keep(Denial { wish, path, is_elsewhere: false });
        if self.rules.are_the_kernels() { Answer::GoOn } else { Answer::Refuse(libc::EACCES) }
    }

    /// A step that names a file as the pipeline would, `data/x.csv`, looks for it in its own folder, and does not find
    /// it.
    fn look_elsewhere(&mut self, pid: u32, folder: i32, name: &Path, wish: Option<Wish>) {
        if wish == Some(Wish::Write) {
            return;
        }
        let Ok(path) = full_path(pid, folder, name) else { return };
        let Some((path, is_folder)) = self.rules.beside_the_pipeline(&path) else { return };
        let wish = wish.unwrap_or(if is_folder { Wish::List } else { Wish::Read });
        self.keep(Denial { wish, path, is_elsewhere: true });
    }

    fn keep(&mut self, denial: Denial) {
        if self.denials.files.len() < MAX_DENIALS {
            self.denials.files.insert(denial);
        }
    }

    /// A step without network reaches only Unix sockets of its own: behind others, programs wait that have one.
    fn judge_connection(&self, pid: u32, address: u64, n_bytes: u64) -> Answer {
        let mut bytes = [0_u8; size_of::<libc::sockaddr_un>()];
        let wanted = bytes.len().min(usize::try_from(n_bytes).unwrap_or(usize::MAX));
        let n_bytes = read_memory(pid, address, &mut bytes[..wanted]).unwrap_or(0);
        let Some((family, name)) = bytes.get(..n_bytes).and_then(<[u8]>::split_first_chunk::<2>) else {
            return Answer::GoOn;
        };
        let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
        if i32::from(u16::from_ne_bytes(*family)) != libc::AF_UNIX || name.is_empty() {
            return Answer::GoOn;
        }
        match real_path(pid, libc::AT_FDCWD, Path::new(OsStr::from_bytes(name)), false) {
            Ok((path, _)) if !self.rules.is_own(&path) => Answer::Refuse(libc::ECONNREFUSED),
            _ => Answer::GoOn,
        }
    }
}

/// Returns whether a process that has ended, but not been reaped, no longer counts for [`Witness::is_alone`]: since
/// Linux 6.11.
pub fn knows_the_dead() -> bool {
    static KNOWS: OnceLock<bool> = OnceLock::new();
    *KNOWS.get_or_init(|| {
        let release = rustix::system::uname().release().to_string_lossy().into_owned();
        let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map_while(|number| number.parse::<u32>().ok());
        (numbers.next(), numbers.next()) >= (Some(6), Some(11))
    })
}

/// Returns the path of a file as another process means it.
fn full_path(pid: u32, folder: i32, name: &Path) -> io::Result<PathBuf> {
    if name.is_absolute() {
        return Ok(name.to_owned());
    }
    let place = if folder == libc::AT_FDCWD { "cwd".to_owned() } else { format!("fd/{folder}") };
    Ok(std::fs::read_link(format!("/proc/{pid}/{place}"))?.join(name))
}

/// Returns the path of a file as it is without links, and whether it is a folder. With `makes`, the last part of the
/// path need not exist.
fn real_path(pid: u32, folder: i32, name: &Path, makes: bool) -> io::Result<(PathBuf, bool)> {
    let path = full_path(pid, folder, name)?;
    match found(&path) {
        Err(error) if makes && error.kind() == io::ErrorKind::NotFound => {
            let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else { return Err(error) };
            Ok((found(folder)?.0.join(name), false))
        }
        other => other,
    }
}

/// Lets the kernel follow the path: it is asked often, and asking for each part of it takes longer.
fn found(path: &Path) -> io::Result<(PathBuf, bool)> {
    let file = File::options().read(true).custom_flags(libc::O_PATH).open(path)?;
    let is_folder = file.metadata()?.is_dir();
    Ok((std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd()))?, is_folder))
}

/// Reads a name out of another process. `None` if it is not there, too long, or not ours to read.
fn read_name(pid: u32, address: u64) -> Option<PathBuf> {
    const PAGE: u64 = 4096;
    let mut name = Vec::new();
    let mut bytes = [0; PAGE as usize];
    while name.len() < libc::PATH_MAX as usize {
        // What lies behind the end of the page may not be there.
        let from = address.checked_add(name.len() as u64)?;
        let room = (PAGE - from % PAGE) as usize;
        let n_bytes = read_memory(pid, from, &mut bytes[..room]).filter(|n_bytes| *n_bytes > 0)?;
        let piece = &bytes[..n_bytes];
        match piece.iter().position(|byte| *byte == 0) {
            Some(end) => {
                name.extend_from_slice(&piece[..end]);
                return Some(OsString::from_vec(name).into()).filter(|name: &PathBuf| !name.as_os_str().is_empty());
            }
            None => name.extend_from_slice(piece),
        }
    }
    None
}

fn read_memory(pid: u32, address: u64, into: &mut [u8]) -> Option<usize> {
    let local = libc::iovec { iov_base: into.as_mut_ptr().cast(), iov_len: into.len() };
    let remote = libc::iovec { iov_base: address as *mut libc::c_void, iov_len: into.len() };
    // SAFETY: the kernel writes no further than `into` is long.
    let n_bytes = unsafe { libc::process_vm_readv(pid as libc::pid_t, &local, 1, &remote, 1, 0) };
    usize::try_from(n_bytes).ok()
}
