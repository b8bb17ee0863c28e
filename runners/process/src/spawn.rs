//! Starts the shell: the one place where a process is made.
//!
//! The child shares our memory until it executes the shell (`CLONE_VFORK`), so that a start costs the same however much
//! memory `mlp` holds; a copy of the page tables would cost a millisecond for each hundred megabytes. The price: until
//! then the child may make nothing but system calls, here in [`child`]. It also shares the table of open files until it
//! asks for its own, which is how the descriptor of its filter reaches us without a message.
//!
//! `PDEATHSIG` is not used: it follows the thread that started the child, and would end a step by force where whoever
//! cleans up behind a dead `mlp` asks it to end first. Unaware of what is run, and of rules.

use std::cell::UnsafeCell;
use std::ffi::{CStr, CString, c_char, c_int, c_long, c_void};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

use rustix::process::Pid;

use crate::filter::Filter;

/// Tells our own call from those of the step, which are told to the witness: the fourth argument of `execve`, which
/// the kernel does not look at.
pub const OWN_EXECVE: u64 = 0x6d6c_7021;

const STACK_BYTES: usize = 64 << 10;

/// `CHOWN`, `DAC_OVERRIDE`, `FOWNER`, `FSETID`, `KILL`, `SETGID`, `SETUID`, `NET_BIND_SERVICE`, by their numbers.
const KEPT_CAPABILITIES: u64 = 1 << 0 | 1 << 1 | 1 << 3 | 1 << 4 | 1 << 5 | 1 << 6 | 1 << 7 | 1 << 10;
const LAST_CAPABILITY: u32 = 40;

/// What to start. Ends with its parts: everything here is borrowed.
pub struct Spawn<'a> {
    pub program: &'a CStr,
    pub args: &'a [CString],
    /// `NAME=VALUE`.
    pub variables: &'a [CString],
    pub folder: &'a CStr,
    pub stdin: BorrowedFd<'a>,
    pub stdout: BorrowedFd<'a>,
    pub stderr: BorrowedFd<'a>,
    /// The control group to start in.
    pub cgroup: Option<BorrowedFd<'a>>,
    /// What tells the processes of this step from all others, see [`crate::tree`].
    pub tag: Option<u64>,
    /// How many processes the user may have in all.
    pub max_processes: Option<u64>,
    /// A Landlock ruleset to live under.
    pub ruleset: Option<BorrowedFd<'a>>,
    pub filter: Option<&'a Filter>,
}

/// A started process, not yet reaped.
pub struct Spawned {
    pub pid: Pid,
    /// Becomes readable when the process ends. Absent where the kernel has none.
    pub pidfd: Option<OwnedFd>,
    /// Where the filter's questions come in, if it asks any.
    pub listener: Option<OwnedFd>,
}

/// Starts a process in a session of its own. An error is the child's, if it could not come as far as executing.
pub fn spawn(spawn: &Spawn<'_>) -> io::Result<Spawned> {
    let pointers = |texts: &[CString]| -> Vec<*const c_char> {
        texts.iter().map(|text| text.as_ptr()).chain([ptr::null()]).collect()
    };
    let (args, variables) = (pointers(spawn.args), pointers(spawn.variables));
    let raw = |fd: Option<BorrowedFd<'_>>| fd.map_or(-1, |fd| fd.as_raw_fd());
    let order = Order {
        program: spawn.program.as_ptr(),
        args: args.as_ptr(),
        variables: variables.as_ptr(),
        folder: spawn.folder.as_ptr(),
        streams: [spawn.stdin.as_raw_fd(), spawn.stdout.as_raw_fd(), spawn.stderr.as_raw_fd()],
        tag: spawn.tag,
        max_processes: spawn.max_processes,
        ruleset: raw(spawn.ruleset),
        program_of_filter: spawn.filter.map_or(ptr::null(), |filter| ptr::from_ref(filter.program())),
        filter_flags: spawn.filter.map_or(0, Filter::flags),
        asks: spawn.filter.is_some_and(Filter::asks),
        listener: UnsafeCell::new(-1),
        error: UnsafeCell::new(0),
    };
    let mut stack: Vec<MaybeUninit<u8>> = Vec::with_capacity(STACK_BYTES);
    // SAFETY: the end of the allocation.
    let top = unsafe { stack.as_mut_ptr().add(STACK_BYTES) } as usize & !0xf;

    let mut pidfd: c_int = -1;
    let signals = BlockedSignals::all();
    // SAFETY: the child runs `child` on a stack of its own with an order that outlives it: we are stopped until it
    // executes or exits, and signal handlers, which would run in our memory, are kept out.
    let answer = unsafe { clone(stack.as_mut_ptr() as usize, top, &mut pidfd, raw(spawn.cgroup), &order) };
    drop(signals);

    // SAFETY: both are descriptors that the kernel has just made for us.
    let owned = |fd: RawFd| (fd >= 0).then(|| unsafe { OwnedFd::from_raw_fd(fd) });
    let (pidfd, listener) = (owned(pidfd), owned(order.listener.into_inner()));
    let pid = Pid::from_raw(i32::try_from(answer).unwrap_or(-1)).filter(|_| answer > 0);
    let pid = pid.ok_or_else(|| io::Error::from_raw_os_error(i32::try_from(-answer).unwrap_or(libc::EIO)))?;
    match order.error.into_inner() {
        0 => Ok(Spawned { pid, pidfd, listener }),
        error => {
            let _ = rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::empty());
            Err(io::Error::from_raw_os_error(error))
        }
    }
}

/// What the child is to do, as plain numbers and addresses.
#[repr(C)]
struct Order {
    program: *const c_char,
    args: *const *const c_char,
    variables: *const *const c_char,
    folder: *const c_char,
    streams: [RawFd; 3],
    tag: Option<u64>,
    max_processes: Option<u64>,
    ruleset: RawFd,
    program_of_filter: *const libc::sock_fprog,
    filter_flags: u64,
    asks: bool,
    /// The child's answers.
    listener: UnsafeCell<RawFd>,
    error: UnsafeCell<c_int>,
}

/// The child's life until it becomes the shell.
///
/// # Safety
/// Runs in a process that shares its parent's memory while the parent is stopped. Nothing here allocates, takes a lock
/// or panics.
unsafe extern "C" fn child(order: *const Order) -> ! {
    // SAFETY: as above; all pointers come from `spawn`, which holds what they point to.
    unsafe {
        let order = &*order;
        let failed = prepare(order).err().unwrap_or_else(|| {
            libc::syscall(libc::SYS_execve, order.program, order.args, order.variables, OWN_EXECVE);
            *libc::__errno_location()
        });
        *order.error.get() = failed;
        libc::syscall(libc::SYS_exit, 127);
        // The kernel does not come back.
        loop {
            std::hint::spin_loop();
        }
    }
}

/// # Safety
/// As [`child`].
unsafe fn prepare(order: &Order) -> Result<(), c_int> {
    // SAFETY: system calls with arguments that are valid or that the kernel checks.
    unsafe {
        let check = |answer: c_long| if answer < 0 { Err(*libc::__errno_location()) } else { Ok(answer) };
        check(libc::syscall(libc::SYS_setsid))?;
        limit(libc::RLIMIT_CORE, 0, 0)?;
        // The limit concerns real-time programs alone and is far beyond any: what counts is that every descendant has
        // it, whatever it forks, and that anybody can read it.
        if let Some(tag) = order.tag {
            limit(libc::RLIMIT_RTTIME, tag, tag)?;
        }
        if let Some(max) = order.max_processes {
            limit(libc::RLIMIT_NPROC, max, max)?;
        }
        libc::syscall(libc::SYS_umask, 0o022);
        check(libc::syscall(libc::SYS_chdir, order.folder))?;
        if order.ruleset >= 0 {
            // Root keeps its rights over files. The others (to mount, to look into any process, to command devices)
            // would lead around the rules. Whoever is not root has none to give up, and gets an error.
            for capability in (0..=LAST_CAPABILITY).filter(|bit| KEPT_CAPABILITIES & 1 << bit == 0) {
                libc::syscall(libc::SYS_prctl, libc::PR_CAPBSET_DROP, capability as u64, 0_u64, 0_u64, 0_u64);
            }
        }
        if order.ruleset >= 0 || !order.program_of_filter.is_null() {
            check(libc::syscall(libc::SYS_prctl, libc::PR_SET_NO_NEW_PRIVS, 1_u64, 0_u64, 0_u64, 0_u64))?;
        }
        if order.ruleset >= 0 {
            check(libc::syscall(libc::SYS_landlock_restrict_self, order.ruleset, 0_u64))?;
        }
        if !order.program_of_filter.is_null() {
            let listener = check(libc::syscall(
                libc::SYS_seccomp,
                u64::from(libc::SECCOMP_SET_MODE_FILTER),
                order.filter_flags,
                order.program_of_filter,
            ))?;
            if order.asks {
                *order.listener.get() = listener as RawFd;
            }
        }
        // From here on the table of open files is our own, and the shell gets three of it.
        let rest = libc::CLOSE_RANGE_UNSHARE | libc::CLOSE_RANGE_CLOEXEC;
        if libc::syscall(libc::SYS_close_range, 3_u64, u64::from(u32::MAX), rest as u64) < 0 {
            check(libc::syscall(libc::SYS_unshare, libc::CLONE_FILES))?;
        }
        for (target, stream) in (0..).zip(order.streams) {
            check(c_long::from(libc::dup2(stream, target)))?;
        }
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = libc::SIG_DFL;
        libc::sigaction(libc::SIGPIPE, &action, ptr::null_mut());
        let none: u64 = 0;
        let set = ptr::from_ref(&none);
        libc::syscall(libc::SYS_rt_sigprocmask, libc::SIG_SETMASK, set, ptr::null_mut::<c_void>(), 8_u64);
        Ok(())
    }
}

/// # Safety
/// As [`child`].
unsafe fn limit(what: libc::__rlimit_resource_t, soft: u64, hard: u64) -> Result<(), c_int> {
    let limit = libc::rlimit { rlim_cur: soft, rlim_max: hard };
    // SAFETY: the limit lives as long as the call.
    let answer = unsafe { libc::prlimit(0, what, &limit, ptr::null_mut()) };
    // SAFETY: the thread's own.
    if answer < 0 { Err(unsafe { *libc::__errno_location() }) } else { Ok(()) }
}

/// Keeps signals away from this thread until dropped.
struct BlockedSignals(libc::sigset_t);

impl BlockedSignals {
    fn all() -> Self {
        // SAFETY: the sets are the call's own.
        unsafe {
            let mut all: libc::sigset_t = std::mem::zeroed();
            let mut before: libc::sigset_t = std::mem::zeroed();
            libc::sigfillset(&mut all);
            libc::pthread_sigmask(libc::SIG_SETMASK, &all, &mut before);
            Self(before)
        }
    }
}

impl Drop for BlockedSignals {
    fn drop(&mut self) {
        // SAFETY: the set that was in force before.
        unsafe {
            libc::pthread_sigmask(libc::SIG_SETMASK, &self.0, ptr::null_mut());
        }
    }
}

/// Makes the child. Returns its number, or the negative number of an error.
///
/// # Safety
/// `stack..top` is memory that nobody else uses until the child has executed or exited.
unsafe fn clone(stack: usize, top: usize, pidfd: &mut c_int, cgroup: RawFd, order: &Order) -> i64 {
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_FILES | libc::CLONE_PIDFD;
    if cgroup < 0 {
        // The older call, which containers allow where they refuse the newer one.
        let args = [(flags | libc::SIGCHLD) as usize, top, ptr::from_mut(pidfd) as usize, 0, 0];
        // SAFETY: as above.
        return unsafe { call_on_stack(libc::SYS_clone, args, order) };
    }
    let args = CloneArgs {
        flags: flags as u64 | CLONE_INTO_CGROUP,
        pidfd: ptr::from_mut(pidfd) as u64,
        exit_signal: libc::SIGCHLD as u64,
        stack: stack as u64,
        stack_size: (top - stack) as u64,
        cgroup: cgroup as u64,
        ..CloneArgs::default()
    };
    let args = [ptr::from_ref(&args) as usize, size_of::<CloneArgs>(), 0, 0, 0];
    // SAFETY: as above.
    unsafe { call_on_stack(libc::SYS_clone3, args, order) }
}

const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// The kernel's `struct clone_args`.
#[repr(C, align(8))]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// Makes a system call that returns twice: here, and on the new stack, where it goes on to [`child`].
///
/// # Safety
/// The call is `clone` or `clone3` with that stack.
#[cfg(target_arch = "x86_64")]
unsafe fn call_on_stack(number: c_long, args: [usize; 5], order: &Order) -> i64 {
    let answer: i64;
    // SAFETY: the child never comes out of the block; for us it is an ordinary system call.
    unsafe {
        std::arch::asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "xor ebp, ebp",
            "mov rdi, r12",
            "call r13",
            "ud2",
            "2:",
            inlateout("rax") number as i64 => answer,
            in("rdi") args[0],
            in("rsi") args[1],
            in("rdx") args[2],
            in("r10") args[3],
            in("r8") args[4],
            in("r12") ptr::from_ref(order),
            in("r13") child as unsafe extern "C" fn(*const Order) -> !,
            lateout("rcx") _,
            lateout("r11") _,
        );
    }
    answer
}

/// Makes a system call that returns twice: here, and on the new stack, where it goes on to [`child`].
///
/// # Safety
/// The call is `clone` or `clone3` with that stack.
#[cfg(target_arch = "aarch64")]
unsafe fn call_on_stack(number: c_long, args: [usize; 5], order: &Order) -> i64 {
    let answer: i64;
    // SAFETY: the child never comes out of the block; for us it is an ordinary system call.
    unsafe {
        std::arch::asm!(
            "svc #0",
            "cbnz x0, 2f",
            "mov x29, xzr",
            "mov x0, x20",
            "blr x21",
            "brk #1",
            "2:",
            in("x8") number,
            inlateout("x0") args[0] as i64 => answer,
            in("x1") args[1],
            in("x2") args[2],
            in("x3") args[3],
            in("x4") args[4],
            in("x20") ptr::from_ref(order),
            in("x21") child as unsafe extern "C" fn(*const Order) -> !,
        );
    }
    answer
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
compile_error!(
    "steps of the shell are started by a few instructions of x86_64 or aarch64; add those of this processor"
);
