//! Finds and ends every process that a step started, also those that hide from their process group.
//!
//! Where the step has a [control group](crate::cgroup), the kernel knows them and ends them all at once, even a
//! program that forks without end. Elsewhere we look: a process belongs to the step if it is in the step's session,
//! carries the step's [mark](crate::tag), or descends from such a process. What starts a session, outlives its parents
//! and lowers its own mark escapes; so may what forks away faster than we can look. Namespaces of process numbers would
//! hold these, too, but the shell would be the first process of one, on which signals act differently.
//!
//! Unaware of why the step has to end.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use rustix::process::{Pid, PidfdFlags, Signal, kill_process, kill_process_group, pidfd_open, pidfd_send_signal};

use crate::cgroup::Cgroup;
use crate::proc::{self, Process, Stat};
use crate::tag::Tag;

/// How long killed processes may take to vanish. Longer only when the kernel itself holds one up.
const VANISH_LIMIT: Duration = Duration::from_secs(5);

pub struct Tree {
    /// The number of the shell, of its group and of its session.
    shell: Pid,
    tag: Option<Tag>,
    cgroup: Option<Cgroup>,
    /// When the shell started, by the kernel's clock and by ours.
    started: u64,
    born: Instant,
    /// Found before. Their parents may have died since, and their links to the step with them.
    known: BTreeSet<Process>,
}

impl Tree {
    /// The tree of a shell that leads a session of its own and has just been started.
    pub fn new(shell: Pid, tag: Option<Tag>, cgroup: Option<Cgroup>) -> Self {
        // With a group nobody has to be looked for.
        let stat = if cgroup.is_some() { None } else { Stat::read(shell.as_raw_pid()) };
        let started = stat.map_or(0, |stat| stat.started);
        Self { shell, tag, cgroup, started, born: Instant::now(), known: BTreeSet::new() }
    }

    /// Returns whether nothing of the step runs any more.
    pub fn is_empty(&mut self) -> bool {
        if let Some(cgroup) = &self.cgroup {
            return cgroup.is_empty();
        }
        self.remember();
        self.known.is_empty()
    }

    /// Returns the memory of all processes of the step.
    pub fn mem_bytes(&mut self) -> u64 {
        let pids = match &self.cgroup {
            Some(cgroup) => cgroup.pids(),
            None => {
                self.remember();
                self.known.iter().map(|process| process.pid).collect()
            }
        };
        pids.into_iter().filter_map(proc::mem_bytes).sum()
    }

    /// Asks every process of the step to end.
    pub fn ask_to_end(&mut self) {
        let others: Vec<Process> = match &self.cgroup {
            Some(cgroup) => {
                let started = |pid| Some(Process { pid, started: Stat::read(pid)?.started });
                cgroup.pids().into_iter().filter_map(started).collect()
            }
            None => {
                // Whatever dies of the signal leaves its children without a link to the step.
                self.remember();
                self.known.iter().copied().collect()
            }
        };
        let is_outside = |process: &Process| {
            Stat::read(process.pid).is_some_and(|stat| stat.group != self.shell.as_raw_pid() && stat.is_alive())
        };
        let others: Vec<Process> = others.into_iter().filter(is_outside).collect();
        let _ = kill_process_group(self.shell, Signal::TERM);
        // `timeout` and job control put programs into groups of their own.
        others.iter().for_each(|process| signal(*process, Signal::TERM));
        // A stopped process gets the signal only once it goes on.
        let _ = kill_process_group(self.shell, Signal::CONT);
        others.iter().for_each(|process| signal(*process, Signal::CONT));
    }

    /// Ends everything by force. Returns the processes that are left all the same.
    ///
    /// `is_over` tells whether nobody is left, where somebody else knows it; where nobody does, `true`. What always
    /// forks and ends can slip through one look, and is found by a later one.
    pub fn kill(&mut self, is_over: &dyn Fn() -> bool) -> Vec<u32> {
        let number = |pid: i32| u32::try_from(pid).ok();
        if let Some(cgroup) = &self.cgroup {
            if cgroup.kill(VANISH_LIMIT) {
                return Vec::new();
            }
            return cgroup.pids().into_iter().filter_map(number).collect();
        }
        // What is stopped cannot fork: nothing is missed once a look finds nobody new.
        let mut stopped = BTreeSet::new();
        let deadline = Instant::now() + VANISH_LIMIT;
        loop {
            self.remember();
            let new: Vec<_> = self.known.difference(&stopped).copied().collect();
            if new.is_empty() || Instant::now() >= deadline {
                break;
            }
            new.iter().for_each(|process| signal(*process, Signal::STOP));
            stopped.extend(new);
        }
        if stopped.is_empty() && is_over() {
            return Vec::new();
        }
        loop {
            let left = self.find();
            for process in &left {
                signal(*process, Signal::KILL);
            }
            if left.is_empty() && is_over() || Instant::now() >= deadline {
                return left.iter().filter_map(|process| number(process.pid)).collect();
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Returns whether the kernel knows all processes of the step.
    pub fn has_cgroup(&self) -> bool {
        self.cgroup.is_some()
    }

    /// Gives back the step's group, once nothing runs in it.
    pub fn take_cgroup(&mut self) -> Option<Cgroup> {
        self.cgroup.take()
    }

    /// Keeps in mind who belongs to the step now.
    fn remember(&mut self) {
        self.known = self.find();
    }

    /// Returns the step's processes that are alive.
    fn find(&self) -> BTreeSet<Process> {
        let lowest = self.lowest_pid();
        let mut others = BTreeMap::new();
        let mut found = BTreeSet::new();
        for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
            let pid = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok());
            let Some(pid) = pid.filter(|pid| *pid >= lowest) else { continue };
            // What is older than the shell is not ours.
            let is_candidate = |stat: &Stat| stat.is_alive() && stat.started >= self.started;
            let Some(stat) = Stat::read(pid).filter(is_candidate) else { continue };
            let process = Process { pid, started: stat.started };
            let is_ours = || stat.session == self.shell.as_raw_pid() || self.is_marked(pid);
            if self.known.contains(&process) || is_ours() {
                found.insert(process);
            } else {
                others.insert(process, stat.parent);
            }
        }
        while !found.is_empty() {
            let parents: BTreeSet<i32> = found.iter().map(|process| process.pid).collect();
            let children: Vec<_> = others.extract_if(.., |_, parent| parents.contains(parent)).collect();
            if children.is_empty() {
                break;
            }
            found.extend(children.into_iter().map(|(process, _)| process));
        }
        found
    }

    /// Returns the least number that a process of the step can have. Numbers are given in rising order until they
    /// start anew, which they cannot do twice within a second.
    fn lowest_pid(&self) -> i32 {
        let newest = || std::fs::read_to_string("/proc/loadavg").ok()?.split_whitespace().last()?.parse::<i32>().ok();
        let is_young = self.born.elapsed() < Duration::from_secs(1);
        let shell = self.shell.as_raw_pid();
        if is_young && newest().is_some_and(|newest| newest >= shell) { shell } else { 1 }
    }

    fn is_marked(&self, pid: i32) -> bool {
        self.tag.is_some_and(|tag| proc::real_time_limit(pid).is_some_and(|limit| tag.is_on(limit)))
    }
}

fn signal(process: Process, signal: Signal) {
    let Some(pid) = Pid::from_raw(process.pid) else { return };
    let is_same = || Stat::read(process.pid).is_some_and(|stat| stat.started == process.started);
    // The number may have passed on to another process meanwhile; what the descriptor holds cannot.
    let pidfd = pidfd_open(pid, PidfdFlags::empty());
    if !is_same() {
        return;
    }
    let _ = match pidfd {
        Ok(pidfd) => pidfd_send_signal(&pidfd, signal),
        Err(_) => kill_process(pid, signal),
    };
}
