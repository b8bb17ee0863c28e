//! The shell of one step: started, listened to, ended with everything that it started.
//!
//! All that can happen meanwhile (a line, its exit, a wish to cancel, a deadline) is waited for in one `poll`. Unaware
//! of inputs and outputs.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use mlp_model::{Cancel, ProcessWatch, StepError};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::Mode;
use rustix::process::{
    Pid, PidfdFlags, Resource, Rlimit, Signal, WaitId, WaitIdOptions, kill_process_group, pidfd_open, setrlimit,
    setsid, umask, waitid,
};

use crate::ended;
use crate::lines::Lines;
use crate::settings::MARKER;
use crate::step::Ticket;
use crate::tree::Tree;

/// How many lines are told when the command fails.
const LAST_LINES: usize = 20;

/// What to run.
pub struct Shell<'a> {
    pub command: &'a str,
    pub folder: &'a Path,
    /// All variables but those that name the folder.
    pub variables: Vec<(OsString, OsString)>,
    pub timeout: Option<Duration>,
    pub cancel_limit: Duration,
}

pub enum End {
    Exited(ExitStatus),
    TimedOut,
    Cancelled,
}

/// Runs the shell to its end. When this returns, none of its processes is left. Also returns the last lines it printed.
pub fn run(
    shell: &Shell<'_>,
    watch: &ProcessWatch,
    ticket: &Ticket,
    print: &dyn Fn(String),
) -> Result<(End, Vec<String>), StepError> {
    if ticket.cancelled().is_some() {
        return Ok((End::Cancelled, Vec::new()));
    }
    let mut running = Running::spawn(shell, watch).map_err(|error| ended::no_shell(&error))?;
    let mut last_lines = VecDeque::new();
    let mut sink = |line: String| {
        if last_lines.len() == LAST_LINES {
            last_lines.pop_front();
        }
        last_lines.push_back(line.clone());
        print(line);
    };
    let why = running.wait(shell, ticket, &mut sink);
    let status = running.end(&mut sink).map_err(|error| ended::no_shell(&error))?;
    let end = match why {
        Why::Exited => End::Exited(status),
        Why::TimedOut => End::TimedOut,
        Why::Cancelled => End::Cancelled,
    };
    Ok((end, last_lines.into()))
}

enum Why {
    Exited,
    TimedOut,
    Cancelled,
}

struct Running {
    child: Child,
    group: Pid,
    tree: Tree,
    /// Becomes readable when the shell exits. Absent where the kernel has none; then we look often.
    pidfd: Option<OwnedFd>,
    stdout: Lines,
    stderr: Lines,
    watch: ProcessWatch,
    is_ended: bool,
}

impl Running {
    fn spawn(shell: &Shell<'_>, watch: &ProcessWatch) -> std::io::Result<Self> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let marker = format!("{:x}-{count:x}-{:x}", std::process::id(), since.as_nanos());

        let (stdout, shells_stdout) = std::io::pipe()?;
        let (stderr, shells_stderr) = std::io::pipe()?;
        let (stdout, stderr) = (Lines::new(stdout.into())?, Lines::new(stderr.into())?);
        let mut command = Command::new("/bin/sh");
        command
            .args(["-e", "-c", shell.command])
            .current_dir(shell.folder)
            .env_clear()
            .env("HOME", shell.folder)
            .env("TMPDIR", shell.folder.join("tmp"))
            .envs(shell.variables.iter().map(|(name, value)| (name, value)))
            .env(MARKER, &marker)
            .stdin(Stdio::null())
            .stdout(shells_stdout)
            .stderr(shells_stderr);
        // SAFETY: between fork and exec only system calls are made; no memory is allocated and no lock is taken.
        unsafe {
            command.pre_exec(|| {
                setsid()?;
                setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
                umask(Mode::from_raw_mode(0o022));
                Ok(())
            });
        }
        let child = command.spawn()?;
        watch(child.id(), true);
        let group = Pid::from_child(&child);
        Ok(Self {
            child,
            group,
            tree: Tree::new(group, &marker),
            pidfd: pidfd_open(group, PidfdFlags::empty()).ok(),
            stdout,
            stderr,
            watch: watch.clone(),
            is_ended: false,
        })
    }

    /// Waits until the shell exits, time is up or somebody cancels.
    fn wait(&mut self, shell: &Shell<'_>, ticket: &Ticket, sink: &mut dyn FnMut(String)) -> Why {
        let deadline = shell.timeout.and_then(|limit| Instant::now().checked_add(limit));
        let mut force_at: Option<Instant> = None;
        loop {
            let exited = self.has_exited();
            let now = Instant::now();
            match ticket.cancelled() {
                None if exited => return Why::Exited,
                None if deadline.is_some_and(|deadline| now >= deadline) => return Why::TimedOut,
                None => {}
                Some(Cancel::Now) => return Why::Cancelled,
                Some(Cancel::Gently) => match force_at {
                    None => {
                        force_at = now.checked_add(shell.cancel_limit);
                        // Whatever dies of the signal leaves its children without a link to the step.
                        self.tree.remember();
                        let _ = kill_process_group(self.group, Signal::TERM);
                        let _ = kill_process_group(self.group, Signal::CONT);
                    }
                    Some(force_at) if now >= force_at => return Why::Cancelled,
                    // The shell may end before the programs that it waits for have put their things in order.
                    Some(_) if exited && self.tree.is_empty() => return Why::Cancelled,
                    Some(_) => {}
                },
            }
            self.turn(force_at.or(deadline), exited, ticket, sink);
        }
    }

    fn turn(&mut self, deadline: Option<Instant>, exited: bool, ticket: &Ticket, sink: &mut dyn FnMut(String)) {
        let mut fds = vec![PollFd::from_borrowed_fd(ticket.fd(), PollFlags::IN)];
        let pidfd = self.pidfd.as_ref().filter(|_| !exited);
        fds.extend(pidfd.map(|fd| PollFd::new(fd, PollFlags::IN)));
        for fd in [self.stdout.fd(), self.stderr.fd()].into_iter().flatten() {
            fds.push(PollFd::from_borrowed_fd(fd, PollFlags::IN));
        }
        // Rounded up, so that the deadline has passed when we wake.
        let left = |deadline: Instant| deadline.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
        let mut wait = deadline.map(left);
        if pidfd.is_none() {
            wait = Some(wait.unwrap_or(Duration::MAX).min(Duration::from_millis(20)));
        }
        let wait = wait.and_then(|wait| Timespec::try_from(wait).ok());
        // An interrupted wait is a turn in which nothing happened.
        let _ = poll(&mut fds, wait.as_ref());
        drop(fds);
        ticket.hush();
        self.stdout.drain(false, sink);
        self.stderr.drain(false, sink);
    }

    /// Returns whether the shell has ended. It is left to be reaped: until then nobody else can get its number.
    fn has_exited(&self) -> bool {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        !matches!(waitid(WaitId::Pid(self.group), options), Ok(None))
    }

    /// Ends every process of the step, takes in what was still said, and reaps the shell.
    fn end(mut self, sink: &mut dyn FnMut(String)) -> std::io::Result<ExitStatus> {
        for pid in self.kill() {
            sink(format!("mlp: process {pid} of this step cannot be ended"));
        }
        self.stdout.drain(true, sink);
        self.stderr.drain(true, sink);
        self.child.wait()
    }

    /// Returns the processes that are left all the same.
    fn kill(&mut self) -> Vec<u32> {
        if self.is_ended {
            return Vec::new();
        }
        self.is_ended = true;
        // First the tree, whose links are lost with the group.
        let left = self.tree.kill();
        let _ = kill_process_group(self.group, Signal::KILL);
        left
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
        let _ = self.child.wait();
        (self.watch)(self.child.id(), false);
    }
}
