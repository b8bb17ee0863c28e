//! The filter of system calls of a confined step, as the kernel's small machine runs it.
//!
//! It refuses the network, which Landlock cannot do as a whole, and asks the [witness](crate::witness) about opened and
//! executed files, so that a refused one can be named. It decides nothing about files: Landlock does.

use crate::spawn::OWN_EXECVE;

use libc::{
    BPF_ABS, BPF_JEQ, BPF_JMP, BPF_JUMP, BPF_K, BPF_LD, BPF_RET, BPF_STMT, BPF_W, SECCOMP_RET_ALLOW, SECCOMP_RET_ERRNO,
    SECCOMP_RET_USER_NOTIF,
};

/// What the refused network looks like: as on a machine that was built without it. Programs that can do without it go
/// on.
pub const NO_NETWORK: i32 = libc::EAFNOSUPPORT;

/// The names under which the kernel knows a processor's system calls, and how its programs make them.
#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: u32 = 0xc000_00b7;

/// Offsets in `struct seccomp_data`, on processors that store the lower half first.
const NUMBER: u32 = 0;
const ARCH: u32 = 4;
const fn argument(idx: u32) -> u32 {
    16 + 8 * idx
}

/// Calls that open or execute a file by its name.
#[cfg(target_arch = "x86_64")]
pub const OPENING: &[libc::c_long] = &[libc::SYS_openat, libc::SYS_open, libc::SYS_openat2, libc::SYS_creat];
#[cfg(target_arch = "aarch64")]
pub const OPENING: &[libc::c_long] = &[libc::SYS_openat, libc::SYS_openat2];

pub struct Filter {
    steps: Box<[libc::sock_filter]>,
    program: libc::sock_fprog,
    flags: u64,
}

// SAFETY: the address in `program` is that of `steps`, which nobody changes.
unsafe impl Send for Filter {}
// SAFETY: as above.
unsafe impl Sync for Filter {}

impl Filter {
    /// Makes the filter of a step. `asks` is `None` where the kernel cannot ask us.
    pub fn new(network: bool, asks: Option<Asks>) -> Self {
        let asked = if asks.is_some() { SECCOMP_RET_USER_NOTIF } else { SECCOMP_RET_ALLOW };
        let refused = if asks.is_some() { SECCOMP_RET_USER_NOTIF } else { errno(NO_NETWORK) };
        let mut steps = vec![
            load(ARCH),
            // The calls of other processors have other numbers: their programs do not run.
            skip_if(ARCHITECTURE, 1, 0),
            answer(errno(libc::ENOSYS)),
            load(NUMBER),
        ];
        #[cfg(target_arch = "x86_64")]
        steps.extend([jump(libc::BPF_JGE, 0x4000_0000, 0, 1), answer(errno(libc::ENOSYS))]);
        for number in OPENING {
            steps.extend(on(*number, &[answer(asked)]));
        }
        let ours = OWN_EXECVE as u32;
        let execve = [load(argument(3)), skip_if(ours, 1, 0), answer(asked), answer(SECCOMP_RET_ALLOW)];
        steps.extend(on(libc::SYS_execve, &execve));
        if !network {
            let family = |family: i32| family as u32;
            let socket = [
                load(argument(0)),
                skip_if(family(libc::AF_UNIX), 0, 1),
                answer(SECCOMP_RET_ALLOW),
                // Asked for by name lookups, which then find no network.
                skip_if(family(libc::AF_NETLINK), 0, 1),
                answer(errno(NO_NETWORK)),
                answer(refused),
            ];
            steps.extend(on(libc::SYS_socket, &socket));
            steps.extend(on(libc::SYS_connect, &[answer(asked)]));
            // A ring makes sockets without a call that could be seen here.
            steps.extend(on(libc::SYS_io_uring_setup, &[answer(errno(libc::ENOSYS))]));
        }
        steps.push(answer(SECCOMP_RET_ALLOW));
        let mut steps = steps.into_boxed_slice();
        let program =
            libc::sock_fprog { len: u16::try_from(steps.len()).unwrap_or(u16::MAX), filter: steps.as_mut_ptr() };
        Self { steps, program, flags: asks.map_or(0, |asks| asks.flags) }
    }

    pub fn program(&self) -> &libc::sock_fprog {
        debug_assert_eq!(self.program.filter.cast_const(), self.steps.as_ptr());
        &self.program
    }

    pub fn flags(&self) -> u64 {
        self.flags
    }

    /// Returns whether the call that installs the filter gives a descriptor of its questions.
    pub fn asks(&self) -> bool {
        self.flags & libc::SECCOMP_FILTER_FLAG_NEW_LISTENER != 0
    }
}

/// The kernel can ask us about a call of the step.
#[derive(Debug, Clone, Copy)]
pub struct Asks {
    flags: u64,
}

impl Asks {
    /// Returns whether this kernel has filters, and whether they can ask.
    pub fn probe() -> (bool, Option<Self>) {
        let listener = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER;
        // Once asked, a call ends with our answer or with the program's death, not with some signal in between.
        let patient = listener | libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV;
        let flags = [patient, listener].into_iter().find(|flags| knows(*flags));
        (knows(0), flags.map(|flags| Self { flags }))
    }
}

/// A filter at an address that cannot be: the kernel looks at the flags first.
fn knows(flags: u64) -> bool {
    // SAFETY: nothing is installed.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            u64::from(libc::SECCOMP_SET_MODE_FILTER),
            flags,
            std::ptr::null::<libc::sock_fprog>(),
        )
    };
    answer < 0 && std::io::Error::last_os_error().raw_os_error() == Some(libc::EFAULT)
}

/// What happens at one system call. Does not come back.
fn on(number: libc::c_long, steps: &[libc::sock_filter]) -> Vec<libc::sock_filter> {
    let n_steps = u8::try_from(steps.len()).unwrap_or(u8::MAX);
    std::iter::once(skip_if(number as u32, 0, n_steps)).chain(steps.iter().copied()).collect()
}

fn load(offset: u32) -> libc::sock_filter {
    // SAFETY: plain arithmetic.
    unsafe { BPF_STMT((BPF_LD | BPF_W | BPF_ABS) as u16, offset) }
}

/// Skips `equal` steps if the loaded value is `value`, else `other`.
fn skip_if(value: u32, equal: u8, other: u8) -> libc::sock_filter {
    jump(BPF_JEQ, value, equal, other)
}

fn jump(how: u32, value: u32, yes: u8, no: u8) -> libc::sock_filter {
    // SAFETY: plain arithmetic.
    unsafe { BPF_JUMP((BPF_JMP | how | BPF_K) as u16, value, yes, no) }
}

fn answer(answer: u32) -> libc::sock_filter {
    // SAFETY: plain arithmetic.
    unsafe { BPF_STMT((BPF_RET | BPF_K) as u16, answer) }
}

fn errno(errno: i32) -> u32 {
    SECCOMP_RET_ERRNO | errno as u32
}
