//! One worker process as its thread sees it: started, greeted, given steps, killed and reaped.
//!
//! Everything that can happen meanwhile (a message, a line, its death, a wish to cancel, a deadline) is waited for in
//! one `poll`, so nothing ever blocks on a worker that hangs. Unaware of other workers and of the pool.

use std::collections::VecDeque;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use mlp_model::{Cancel, Outcome, ProcessWatch, RunnerEvent, StepError};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, FdFlags, fcntl_setfd};
use rustix::net::{RecvFlags, SendFlags, recv, send};
use rustix::process::{
    Pid, PidfdFlags, Resource, Rlimit, Signal, WaitId, WaitIdOptions, kill_process, kill_process_group, pidfd_open,
    setrlimit, waitid,
};

use crate::PoolConfig;
use crate::ended;
use crate::frame::{Decoder, FrameError, encode};
use crate::lines::Lines;
use crate::pool::Job;
use crate::protocol::{FD_VARIABLE, FromWorker, Hello, ToWorker, Word};
use crate::seat::Wake;

/// How long a worker may take to say hello. Loading libtorch from a cold disk takes a while.
const HELLO_LIMIT: Duration = Duration::from_secs(120);
/// How long a step has to end once it is asked to.
const CANCEL_LIMIT: Duration = Duration::from_secs(10);
/// How many lines of stderr are told when a worker dies.
const LAST_LINES: usize = 50;
/// So begin the variables that hold secrets of pipelines. No worker needs one.
const SECRETS: &[u8] = b"MLP_SECRET_";

pub struct Worker<'a> {
    config: &'a PoolConfig,
    process: Process,
    /// Does not block.
    socket: UnixStream,
    decoder: Decoder,
    /// Bytes that the socket did not take yet.
    unsent: VecDeque<u8>,
    stdout: Lines,
    stderr: Lines,
    last_lines: VecDeque<String>,
    /// Counts the steps, from 1.
    number: u64,
}

/// How a step ended, as far as the worker is concerned.
pub enum Ending {
    /// The worker can take another step.
    Alive(Result<Outcome, StepError>),
    /// The worker is dead, or must die.
    Dead(Result<Outcome, StepError>),
    /// The worker had died before it looked at the step: another one may take it.
    NeverBegun,
}

/// Why a greeting or a step came to its end before the worker's word.
enum Stop {
    Gone,
    Garbled(FrameError),
}

impl<'a> Worker<'a> {
    /// Starts a process and waits for its hello. What it prints meanwhile goes to the first job.
    pub fn start(config: &'a PoolConfig, job: &Job) -> Result<Self, StepError> {
        let mut worker = Self::spawn(config).map_err(|error| ended::cannot_start(config, &error))?;
        let deadline = Instant::now() + HELLO_LIMIT;
        loop {
            match worker.decoder.next::<Hello>() {
                Ok(Some(hello)) => return ended::mismatch(config, &hello).map_or(Ok(worker), Err),
                Ok(None) => {}
                Err(error) => return Err(ended::garbled(config, &error)),
            }
            if job.ticket.cancelled().is_some() {
                return Err(ended::cancelled());
            }
            if Instant::now() >= deadline {
                return Err(ended::silent(config, HELLO_LIMIT));
            }
            if worker.process.is_gone {
                let status = worker.process.settle();
                worker.drain(true, Some(job));
                return Err(ended::died_before_ready(config, status, worker.last_lines.into()));
            }
            worker.turn(Some(deadline), job.ticket.wake.as_ref(), Some(job));
        }
    }

    /// Lets the worker do one step, whatever happens.
    pub fn work(&mut self, job: &Job, is_new: bool) -> Ending {
        if !is_new {
            self.last_lines.clear();
        }
        self.number += 1;
        let number = self.number;
        match encode(&ToWorker::Start { number, step: Box::new(job.step.clone()) }) {
            Ok(frame) => self.unsent.extend(frame),
            Err(error) => return Ending::Alive(Err(ended::not_sent(self.config, &error))),
        }
        let deadline = job.step.timeout.and_then(|limit| Instant::now().checked_add(limit));
        let mut force_at = None;
        let mut accepted = false;
        loop {
            match self.hear(job, &mut accepted) {
                Ok(None) => {}
                Ok(Some(result)) => {
                    self.drain(true, Some(job));
                    let cancelled = job.ticket.cancelled().is_some();
                    return Ending::Alive(result.map_err(|error| if cancelled { ended::cancelled() } else { error }));
                }
                Err(Stop::Garbled(error)) => return Ending::Dead(Err(ended::garbled(self.config, &error))),
                Err(Stop::Gone) => return self.died(job, accepted || is_new),
            }
            let now = Instant::now();
            match job.ticket.cancelled() {
                None => {
                    if deadline.is_some_and(|deadline| now >= deadline) {
                        self.process.end();
                        self.drain(true, Some(job));
                        return Ending::Dead(Err(ended::timed_out(job.step.timeout.unwrap_or_default())));
                    }
                }
                Some(Cancel::Gently) if force_at.is_none() => {
                    force_at = Some(now + CANCEL_LIMIT);
                    if let Ok(frame) = encode(&ToWorker::Cancel { number }) {
                        self.unsent.extend(frame);
                    }
                }
                Some(Cancel::Gently) if force_at.is_some_and(|force_at| now < force_at) => {}
                Some(_) => {
                    self.process.end();
                    self.drain(true, Some(job));
                    return Ending::Dead(Err(ended::cancelled()));
                }
            }
            self.turn(force_at.or(deadline), job.ticket.wake.as_ref(), Some(job));
        }
    }

    /// Waits, idle, until `wake` rings. Returns false once the worker has died.
    pub fn rest(&mut self, wake: &Wake) -> bool {
        self.turn(None, Some(wake), None);
        // What comes now is of a step that is over.
        while let Ok(late) = self.decoder.next::<FromWorker>() {
            if late.is_none() {
                return !self.process.is_gone;
            }
        }
        false
    }

    /// Handles the messages that have come. Returns the outcome if it is among them.
    fn hear(&mut self, job: &Job, accepted: &mut bool) -> Result<Option<Result<Outcome, StepError>>, Stop> {
        while let Some(FromWorker { number, word }) = self.decoder.next().map_err(Stop::Garbled)? {
            match word {
                _ if number != self.number => {}
                Word::Accepted => *accepted = true,
                Word::Progressed { mut progress, odd } => {
                    odd.put_back(&mut progress.metrics);
                    (job.report)(RunnerEvent::Progressed(progress));
                }
                Word::Printed { line } => (job.report)(RunnerEvent::Printed(line)),
                Word::Finished { mut result, odd } => {
                    if let Ok(outcome) = &mut result {
                        odd.put_back(&mut outcome.facts);
                    }
                    return Ok(Some(result));
                }
            }
        }
        if self.process.is_gone { Err(Stop::Gone) } else { Ok(None) }
    }

    fn died(&mut self, job: &Job, begun: bool) -> Ending {
        let cancelled = job.ticket.cancelled().is_some();
        if !begun && !cancelled {
            return Ending::NeverBegun;
        }
        let status = self.process.settle();
        self.drain(true, Some(job));
        Ending::Dead(Err(if cancelled {
            ended::cancelled()
        } else {
            ended::died(self.config, status, std::mem::take(&mut self.last_lines).into())
        }))
    }

    /// Waits until something happens and takes in what did. When the worker is gone, everything it sent has been.
    fn turn(&mut self, deadline: Option<Instant>, wake: Option<&Wake>, job: Option<&Job>) {
        let out = if self.unsent.is_empty() { PollFlags::empty() } else { PollFlags::OUT };
        let mut fds = vec![PollFd::new(&self.socket, PollFlags::IN | out)];
        fds.extend(self.process.pidfd.as_ref().map(|fd| PollFd::new(fd, PollFlags::IN)));
        let n_vital = fds.len();
        fds.extend(wake.map(|wake| PollFd::from_borrowed_fd(wake.fd(), PollFlags::IN)));
        for fd in [self.stdout.fd(), self.stderr.fd()].into_iter().flatten() {
            fds.push(PollFd::from_borrowed_fd(fd, PollFlags::IN));
        }
        // Rounded up, so that the deadline has passed when we wake.
        let wait =
            deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()) + Duration::from_millis(1));
        let wait = wait.and_then(|wait| Timespec::try_from(wait).ok());
        // An interrupted wait is a turn in which nothing happened.
        let _ = poll(&mut fds, wait.as_ref());
        let exited = n_vital > 1 && fds.get(1).is_some_and(|fd| !fd.revents().is_empty());
        drop(fds);

        if let Some(wake) = wake {
            wake.hush();
        }
        self.flush();
        let closed = self.receive(exited);
        self.process.is_gone |= exited || closed;
        self.drain(false, job);
    }

    /// Reads what the socket holds. Returns whether the other end is closed.
    fn receive(&mut self, to_the_end: bool) -> bool {
        let mut bytes = [0; 16 << 10];
        let mut n_received = 0;
        // A worker that never stops talking does not keep us here.
        while to_the_end || n_received < 1 << 20 {
            match recv(&self.socket, &mut bytes, RecvFlags::empty()) {
                Ok((0, _)) => return true,
                Ok((n_bytes, _)) => {
                    n_received += n_bytes;
                    self.decoder.push(bytes.get(..n_bytes).unwrap_or_default());
                }
                Err(Errno::INTR) => {}
                Err(error) => return error != Errno::AGAIN,
            }
        }
        false
    }

    /// Sends what the socket takes now. That the other end is gone is found by reading.
    fn flush(&mut self) {
        while !self.unsent.is_empty() {
            match send(&self.socket, self.unsent.as_slices().0, SendFlags::NOSIGNAL) {
                Ok(n_bytes) => drop(self.unsent.drain(..n_bytes)),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return,
                Err(_) => self.unsent.clear(),
            }
        }
    }

    fn drain(&mut self, at_end: bool, job: Option<&Job>) {
        let print = |line| {
            if let Some(job) = job {
                (job.report)(RunnerEvent::Printed(line));
            }
        };
        let last_lines = &mut self.last_lines;
        self.stdout.drain(at_end, &mut |line| print(line));
        self.stderr.drain(at_end, &mut |line: String| {
            if last_lines.len() == LAST_LINES {
                last_lines.pop_front();
            }
            last_lines.push_back(line.clone());
            print(line);
        });
    }

    fn spawn(config: &'a PoolConfig) -> std::io::Result<Self> {
        let (socket, childs_end) = UnixStream::pair()?;
        socket.set_nonblocking(true)?;
        let memory_bytes = config.memory_bytes;
        let mut command = Command::new(&config.program);
        command
            .args(&config.args)
            .envs(config.env.iter().map(|(name, value)| (name, value)))
            .env(FD_VARIABLE, childs_end.as_raw_fd().to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.as_bytes().starts_with(SECRETS)) {
            command.env_remove(name);
        }
        // SAFETY: between fork and exec only system calls are made, on values that exist already; no memory is
        // allocated and no lock is taken.
        unsafe {
            command.pre_exec(move || {
                fcntl_setfd(&childs_end, FdFlags::empty())?;
                setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
                if memory_bytes.is_some() {
                    setrlimit(Resource::As, Rlimit { current: memory_bytes, maximum: memory_bytes })?;
                }
                Ok(())
            });
        }
        let mut child = command.spawn()?;
        // With it goes our copy of the child's end.
        drop(command);
        let pipes = (child.stdout.take().map(OwnedFd::from), child.stderr.take().map(OwnedFd::from));
        let process = Process::new(child, &config.watch);
        let (Some(stdout), Some(stderr)) = pipes else {
            return Err(std::io::Error::other("its output cannot be read"));
        };
        Ok(Self {
            config,
            process,
            socket,
            decoder: Decoder::default(),
            unsent: VecDeque::new(),
            stdout: Lines::new(stdout)?,
            stderr: Lines::new(stderr)?,
            last_lines: VecDeque::new(),
            number: 0,
        })
    }
}

/// A process that leads a group of its own; ended and reaped at the latest when dropped.
struct Process {
    child: Child,
    group: Pid,
    /// Becomes readable when the process exits. Absent where the kernel has none: then its socket tells.
    pidfd: Option<OwnedFd>,
    is_gone: bool,
    status: Option<ExitStatus>,
    watch: ProcessWatch,
}

impl Process {
    fn new(child: Child, watch: &ProcessWatch) -> Self {
        watch(child.id(), true);
        let group = Pid::from_child(&child);
        let pidfd = pidfd_open(group, PidfdFlags::empty()).ok();
        Self { child, group, pidfd, is_gone: false, status: None, watch: watch.clone() }
    }

    /// Ends a process that seems to be dead. Returns how it died, or `None` if it was alive after all.
    fn settle(&mut self) -> Option<ExitStatus> {
        // Its files are closed a little before it can be waited for.
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        let mut is_dead = false;
        for _ in 0..100 {
            is_dead = matches!(waitid(WaitId::Pid(self.group), options), Ok(Some(_)));
            if is_dead {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        self.end();
        self.status.filter(|_| is_dead)
    }

    /// Kills whatever is left of the group and reaps the process.
    fn end(&mut self) {
        if self.status.is_some() {
            return;
        }
        // The group is killed before its leader is reaped: until then nobody else can get the number.
        let _ = kill_process_group(self.group, Signal::KILL);
        let _ = kill_process(self.group, Signal::KILL);
        self.status = self.child.wait().ok();
        (self.watch)(self.child.id(), false);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}
