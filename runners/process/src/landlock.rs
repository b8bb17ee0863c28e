//! Landlock, as the kernel offers it: rules about which files a process may use, for it and all that it starts.
//!
//! Every kernel since 5.13 knows some kinds of use; later ones know more. What a kernel does not know it cannot refuse,
//! so rules are cut down to what it knows. Unaware of which files a step may use.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// Kinds of use. Bits 6 and 11 are to make devices, which no rule allows.
pub const EXECUTE: u64 = 1 << 0;
pub const WRITE_FILE: u64 = 1 << 1;
pub const READ_FILE: u64 = 1 << 2;
pub const READ_DIR: u64 = 1 << 3;
pub const REMOVE_DIR: u64 = 1 << 4;
pub const REMOVE_FILE: u64 = 1 << 5;
pub const MAKE_DIR: u64 = 1 << 7;
pub const MAKE_REG: u64 = 1 << 8;
pub const MAKE_SOCK: u64 = 1 << 9;
pub const MAKE_FIFO: u64 = 1 << 10;
pub const MAKE_SYM: u64 = 1 << 12;
/// To rename or link from one folder to another.
pub const REFER: u64 = 1 << 13;
pub const TRUNCATE: u64 = 1 << 14;
/// To command a device, beyond reading and writing it.
pub const IOCTL_DEV: u64 = 1 << 15;

/// To read and execute.
pub const READ: u64 = EXECUTE | READ_FILE | READ_DIR;
/// Everything but making devices.
pub const ALL: u64 = READ
    | WRITE_FILE
    | REMOVE_DIR
    | REMOVE_FILE
    | MAKE_DIR
    | MAKE_REG
    | MAKE_SOCK
    | MAKE_FIFO
    | MAKE_SYM
    | REFER
    | TRUNCATE;
/// What a rule about a file, not a folder, may say.
const OF_FILES: u64 = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV;

const NET_TCP: u64 = 0b11;
/// Abstract Unix sockets, and signals, stay among the step's own processes.
const SCOPES: u64 = 0b11;

/// The version of Landlock that the kernel has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Landlock {
    pub abi: u32,
}

impl Landlock {
    /// Asks the kernel. An error says why it has none: not built in (`ENOSYS`), or switched off (`EOPNOTSUPP`).
    pub fn probe() -> io::Result<Self> {
        // SAFETY: a question that takes no memory.
        let abi = unsafe {
            libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::null::<u8>(), 0_usize, VERSION_QUESTION)
        };
        u32::try_from(abi).map(|abi| Self { abi }).map_err(|_| io::Error::last_os_error())
    }

    /// Returns the kinds of use of files that the kernel can refuse.
    fn known(self) -> u64 {
        let n_kinds = match self.abi {
            0 | 1 => 13,
            2 => 14,
            3 | 4 => 15,
            _ => 16,
        };
        (1 << n_kinds) - 1
    }

    /// Returns whether the kernel can refuse TCP connections.
    pub fn knows_tcp(self) -> bool {
        self.abi >= 4
    }

    /// Makes rules under which nothing may be used, and unless `network` no TCP.
    pub fn ruleset(self, network: bool) -> io::Result<Ruleset> {
        let attributes = Attributes {
            fs: self.known(),
            net: if self.knows_tcp() && !network { NET_TCP } else { 0 },
            scoped: if self.abi >= 6 { SCOPES } else { 0 },
        };
        // SAFETY: the kernel reads the attributes, of the size that is told.
        let fd = unsafe {
            libc::syscall(libc::SYS_landlock_create_ruleset, &raw const attributes, size_of::<Attributes>(), 0_u32)
        };
        match i32::try_from(fd) {
            // SAFETY: a descriptor that the kernel has just made for us.
            Ok(fd) if fd >= 0 => Ok(Ruleset { fd: unsafe { OwnedFd::from_raw_fd(fd) }, known: self.known() }),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

const VERSION_QUESTION: u32 = 1;
const RULE_PATH_BENEATH: u32 = 1;

/// The kernel's `struct landlock_ruleset_attr`. Older kernels know a shorter one, and accept zeros behind it.
#[repr(C)]
struct Attributes {
    fs: u64,
    net: u64,
    scoped: u64,
}

/// The kernel's `struct landlock_path_beneath_attr`.
#[repr(C, packed)]
struct PathBeneath {
    allowed: u64,
    parent: i32,
}

pub struct Ruleset {
    fd: OwnedFd,
    known: u64,
}

impl Ruleset {
    /// Allows some use of a file, or of a folder with all that is in it.
    pub fn allow(&self, place: BorrowedFd<'_>, is_folder: bool, uses: u64) -> io::Result<()> {
        let uses = if is_folder { uses } else { uses & OF_FILES };
        let rule = PathBeneath { allowed: uses & self.known, parent: place.as_raw_fd() };
        // SAFETY: the kernel reads the rule.
        let answer = unsafe {
            libc::syscall(libc::SYS_landlock_add_rule, self.fd.as_raw_fd(), RULE_PATH_BENEATH, &raw const rule, 0_u32)
        };
        if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

impl AsFd for Ruleset {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
