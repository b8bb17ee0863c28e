//! The shell of one step: started, listened to, ended with everything that it started.
//!
//! All that can happen meanwhile (a line, its exit, a wish to cancel, a deadline) is waited for in one `poll`. Unaware
//! of inputs and outputs.

use std::collections::{BTreeMap, VecDeque};
use std::ffi::{CString, OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use mlp_model::{Cancel, ProcessWatch, StepError};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, WaitId, WaitIdOptions, WaitOptions, waitid, waitpid};

use crate::cgroup::{Cgroups, MAX_PROCESSES};
use crate::confine::Rules;
use crate::ended;
use crate::lines::Lines;
use crate::mask::Mask;
use crate::spawn::{Spawn, Spawned, spawn};
use crate::step::Ticket;
use crate::tag::Tag;
use crate::tree::Tree;
use crate::witness::{self, Denials, Witness};

/// How many lines are told when the command fails.
const LAST_LINES: usize = 20;
/// How often a step's memory is looked at. What takes less time than this is not measured.
const MEASURED_EVERY: Duration = Duration::from_millis(200);

/// What to run.
pub struct Shell<'a> {
    pub command: &'a str,
    pub folder: &'a Path,
    /// All variables but those that name the folder.
    pub variables: Vec<(OsString, OsString)>,
    pub timeout: Option<Duration>,
    pub cancel_limit: Duration,
    /// What it may use; `None`: everything.
    pub rules: Option<&'a Rules<'a>>,
    /// Where it can have a control group.
    pub cgroups: Option<&'a Cgroups>,
    /// What nobody is to read in its output.
    pub mask: &'a Mask,
}

/// How a shell ended.
pub struct End {
    pub how: How,
    /// What it printed last.
    pub last_lines: Vec<String>,
    /// What it was refused.
    pub denials: Denials,
    /// The most memory that was seen with its processes; `None`, if it was too short to look.
    pub peak_mem_bytes: Option<u64>,
    /// Surely none of its processes is left, not even one that hides.
    pub is_all_over: bool,
}

pub enum How {
    Exited(ExitStatus),
    TimedOut,
    Cancelled,
}

/// Runs the shell to its end. When this returns, none of its processes is left.
pub fn run(shell: &Shell<'_>, watch: &ProcessWatch, ticket: &Ticket, print: &dyn Fn(String)) -> Result<End, StepError> {
    if ticket.cancelled().is_some() {
        let (last_lines, denials) = (Vec::new(), Denials::default());
        return Ok(End { how: How::Cancelled, last_lines, denials, peak_mem_bytes: None, is_all_over: false });
    }
    let mut running = Running::start(shell, watch).map_err(|error| ended::no_shell(&error))?;
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
    let how = match why {
        Why::Exited => How::Exited(status),
        Why::TimedOut => How::TimedOut,
        Why::Cancelled => How::Cancelled,
    };
    let is_all_over = running.is_all_over;
    let denials = running.witness.take().map(Witness::into_denials).unwrap_or_default();
    let peak_mem_bytes = running.peak_mem_bytes;
    Ok(End { how, last_lines: last_lines.into(), denials, peak_mem_bytes, is_all_over })
}

enum Why {
    Exited,
    TimedOut,
    Cancelled,
}

struct Running<'a> {
    shell: Pid,
    tree: Tree,
    /// Becomes readable when the shell exits. Absent where the kernel has none; then we look often.
    pidfd: Option<OwnedFd>,
    witness: Option<Witness<'a>>,
    stdout: Lines,
    stderr: Lines,
    watch: ProcessWatch,
    cgroups: Option<&'a Cgroups>,
    is_all_over: bool,
    status: Option<ExitStatus>,
    peak_mem_bytes: Option<u64>,
    measured_at: Instant,
}

impl<'a> Running<'a> {
    fn start(shell: &Shell<'a>, watch: &ProcessWatch) -> io::Result<Self> {
        let (stdout, shells_stdout) = io::pipe()?;
        let (stderr, shells_stderr) = io::pipe()?;
        let (stdout, stderr) =
            (Lines::new(stdout.into(), shell.mask.stream())?, Lines::new(stderr.into(), shell.mask.stream())?);
        let stdin = File::open("/dev/null")?;
        let args = [c"sh", c"-e", c"-c"].map(CString::from);
        let args: Vec<CString> = args.into_iter().chain([CString::new(shell.command)?]).collect();
        let mut variables: BTreeMap<&OsStr, &OsStr> = BTreeMap::new();
        let tmp = shell.folder.join("tmp");
        variables.insert(OsStr::new("HOME"), shell.folder.as_os_str());
        variables.insert(OsStr::new("TMPDIR"), tmp.as_os_str());
        variables.extend(shell.variables.iter().map(|(name, value)| (name.as_os_str(), value.as_os_str())));
        let variable = |(name, value): (&OsStr, &OsStr)| {
            let mut text = name.to_owned();
            text.push("=");
            text.push(value);
            CString::new(text.into_vec())
        };
        let variables = variables.into_iter().map(variable).collect::<Result<Vec<_>, _>>()?;
        let tag = Tag::new();
        let mut cgroup = shell.cgroups.and_then(Cgroups::take);
        let order = Spawn {
            program: c"/bin/sh",
            args: &args,
            variables: &variables,
            folder: &CString::new(shell.folder.as_os_str().as_bytes())?,
            stdin: stdin.as_fd(),
            stdout: shells_stdout.as_fd(),
            stderr: shells_stderr.as_fd(),
            cgroup: cgroup.as_ref().map(|cgroup| cgroup.fd()),
            tag: tag.map(Tag::value),
            max_processes: max_processes(cgroup.is_some()),
            ruleset: shell.rules.and_then(Rules::ruleset),
            filter: shell.rules.and_then(|rules| rules.filter),
        };
        let spawned = match spawn(&order) {
            // The kernel may let us make a group, and yet start nothing in it.
            Err(_) if cgroup.is_some() => {
                let spawned = spawn(&Spawn { cgroup: None, ..order })?;
                shell.cgroups.inspect(|cgroups| cgroups.give_up());
                cgroup = None;
                spawned
            }
            spawned => spawned?,
        };
        let Spawned { pid, pidfd, listener } = spawned;
        watch(pid.as_raw_pid().unsigned_abs(), true);
        let witness = listener.zip(shell.rules).map(|(listener, rules)| Witness::new(listener, rules));
        Ok(Self {
            shell: pid,
            tree: Tree::new(pid, tag, cgroup),
            pidfd,
            witness,
            stdout,
            stderr,
            watch: watch.clone(),
            cgroups: shell.cgroups,
            is_all_over: false,
            status: None,
            peak_mem_bytes: None,
            measured_at: Instant::now(),
        })
    }

    /// Waits until the shell exits, time is up or somebody cancels.
    fn wait(&mut self, shell: &Shell<'_>, ticket: &Ticket, sink: &mut dyn FnMut(String)) -> Why {
        let deadline = shell.timeout.and_then(|limit| Instant::now().checked_add(limit));
        let mut force_at: Option<Instant> = None;
        let (mut exited, mut may_have_exited) = (false, true);
        loop {
            exited |= may_have_exited && self.has_exited();
            let now = Instant::now();
            match ticket.cancelled() {
                None if exited => return Why::Exited,
                None if deadline.is_some_and(|deadline| now >= deadline) => return Why::TimedOut,
                None => {}
                Some(Cancel::Now) => return Why::Cancelled,
                Some(Cancel::Gently) => match force_at {
                    None => {
                        force_at = now.checked_add(shell.cancel_limit);
                        self.tree.ask_to_end();
                    }
                    Some(force_at) if now >= force_at => return Why::Cancelled,
                    // The shell may end before the programs that it waits for have put their things in order.
                    Some(_) if exited && self.tree.is_empty() => return Why::Cancelled,
                    Some(_) => {}
                },
            }
            may_have_exited = self.turn(force_at.or(deadline), exited, ticket, sink);
        }
    }

    /// Waits until something happens, and looks after it. Returns whether the shell may have exited.
    fn turn(&mut self, deadline: Option<Instant>, exited: bool, ticket: &Ticket, sink: &mut dyn FnMut(String)) -> bool {
        let pidfd = self.pidfd.as_ref().filter(|_| !exited);
        let asks = self.witness.as_ref().and_then(Witness::fd);
        let sources = [asks, pidfd.map(AsFd::as_fd), Some(ticket.fd()), self.stdout.fd(), self.stderr.fd()];
        let mut fds: Vec<_> = sources.iter().flatten().map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN)).collect();
        // Rounded up, so that the deadline has passed when we wake.
        let left = |deadline: Instant| deadline.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
        let longest = if pidfd.is_none() { Duration::from_millis(20) } else { MEASURED_EVERY };
        let wait = Some(deadline.map_or(longest, |deadline| left(deadline).min(longest)));
        let has_pidfd = pidfd.is_some();
        let wait = wait.and_then(|wait| Timespec::try_from(wait).ok());
        // An interrupted wait is a turn in which nothing happened.
        let _ = poll(&mut fds, wait.as_ref());
        let mut happened = fds.iter().map(PollFd::revents);
        let happened = sources.map(|source| source.and_then(|_| happened.next()).unwrap_or(PollFlags::empty()));
        let asked = happened[0];
        let [_, ends, cancels, says, complains] = happened.map(|events| !events.is_empty());
        drop(fds);
        // A program asks dozens of questions when it starts, and waits for each answer: nothing else is looked after
        // unless it is there.
        if let Some(witness) = &mut self.witness {
            witness.on_polled(asked);
        }
        if cancels {
            ticket.hush();
        }
        if says {
            self.stdout.drain(false, sink);
        }
        if complains {
            self.stderr.drain(false, sink);
        }
        if self.measured_at.elapsed() >= MEASURED_EVERY {
            self.peak_mem_bytes = self.peak_mem_bytes.max(Some(self.tree.mem_bytes()));
            self.measured_at = Instant::now();
        }
        ends || !has_pidfd
    }

    /// Returns whether the shell has ended. It is left to be reaped: until then nobody else can get its number.
    fn has_exited(&self) -> bool {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        !matches!(waitid(WaitId::Pid(self.shell), options), Ok(None))
    }

    /// Ends every process of the step, takes in what was still said, and reaps the shell.
    fn end(&mut self, sink: &mut dyn FnMut(String)) -> io::Result<ExitStatus> {
        for pid in self.kill() {
            sink(format!("mlp: process {pid} of this step cannot be ended"));
        }
        self.stdout.drain(true, sink);
        self.stderr.drain(true, sink);
        self.reap()
    }

    /// Returns the processes that are left all the same.
    fn kill(&mut self) -> Vec<u32> {
        // The usual case: the shell has ended, and left nothing behind. What can tell so at once is asked first.
        if self.witness.as_ref().is_some_and(Witness::is_alone) {
            self.is_all_over = true;
            return Vec::new();
        }
        let witness = self.witness.as_ref().filter(|_| witness::knows_the_dead());
        let left = self.tree.kill(&|| witness.is_none_or(Witness::is_alone));
        self.is_all_over = left.is_empty() && (witness.is_some() || self.tree.has_cgroup());
        left
    }

    fn reap(&mut self) -> io::Result<ExitStatus> {
        if let Some(status) = self.status {
            return Ok(status);
        }
        loop {
            match waitpid(Some(self.shell), WaitOptions::empty()) {
                Ok(Some((_, status))) => return Ok(*self.status.insert(ExitStatus::from_raw(status.as_raw()))),
                Ok(None) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if self.status.is_none() {
            self.kill();
            let _ = self.reap();
        }
        if let Some((cgroups, cgroup)) = self.cgroups.zip(self.tree.take_cgroup()) {
            cgroups.give_back(cgroup);
        }
        (self.watch)(self.shell.as_raw_pid().unsigned_abs(), false);
    }
}

/// Returns how many processes the user may have while the step runs, so that one that forks without end leaves room to
/// end it. Root has no such limit, and a control group counts by itself.
fn max_processes(is_counted: bool) -> Option<u64> {
    if is_counted || rustix::process::geteuid().is_root() {
        return None;
    }
    let now = std::fs::read_to_string("/proc/loadavg").ok()?;
    let n_all = now.split_whitespace().nth(3)?.split('/').nth(1)?.parse::<u64>().ok()?;
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nproc);
    let own = [limit.current, limit.maximum].into_iter().flatten().min().unwrap_or(u64::MAX);
    Some(own.min(n_all + MAX_PROCESSES))
}
