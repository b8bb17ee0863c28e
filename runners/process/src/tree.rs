//! Finds and ends every process that a step started, also those that hide from their process group.
//!
//! A process belongs to the step if it is in the step's session, carries the step's marker in its environment (which
//! children inherit however often they fork and start sessions), or descends from such a process. What clears its
//! environment, starts a session and outlives its parents escapes; so does what forks away faster than we can look.
//! To hold these takes a control group. Unaware of why the step has to end.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::time::{Duration, Instant};

use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open, pidfd_send_signal};

use crate::settings::MARKER;

/// How long killed processes may take to vanish. Longer only when the kernel itself holds one up.
const VANISH_LIMIT: Duration = Duration::from_secs(5);

pub struct Tree {
    session: i32,
    /// `NAME=VALUE`, as it stands in an environment.
    marker: Vec<u8>,
    /// When the shell started, by the kernel's clock and by ours.
    started: u64,
    born: Instant,
    /// Found before. Their parents may have died since, and their links to the step with them.
    known: BTreeSet<Process>,
}

/// A process at one moment. The start time tells it from a later one with the same number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Process {
    pid: i32,
    started: u64,
}

struct Stat {
    state: u8,
    parent: i32,
    session: i32,
    started: u64,
}

impl Tree {
    /// The tree of a shell that leads a session of its own and has just been started.
    pub fn new(shell: Pid, marker: &str) -> Self {
        let session = shell.as_raw_pid();
        Self {
            session,
            marker: format!("{MARKER}={marker}").into_bytes(),
            started: read_stat(session).map_or(0, |stat| stat.started),
            born: Instant::now(),
            known: BTreeSet::new(),
        }
    }

    /// Keeps in mind who belongs to the step now.
    pub fn remember(&mut self) {
        self.known = self.find();
    }

    /// Returns whether nothing of the step runs any more.
    pub fn is_empty(&mut self) -> bool {
        self.remember();
        self.known.is_empty()
    }

    /// Ends everything by force. Returns the processes that are left all the same.
    pub fn kill(&mut self) -> Vec<u32> {
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
        if stopped.is_empty() {
            return Vec::new();
        }
        loop {
            let left = self.find();
            for process in &left {
                signal(*process, Signal::KILL);
            }
            if left.is_empty() || Instant::now() >= deadline {
                return left.iter().filter_map(|process| u32::try_from(process.pid).ok()).collect();
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Returns the step's processes that are alive.
    fn find(&self) -> BTreeSet<Process> {
        let lowest = self.lowest_pid();
        let mut others = BTreeMap::new();
        let mut found = BTreeSet::new();
        for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
            let pid = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok());
            let Some(pid) = pid.filter(|pid| *pid >= lowest) else { continue };
            // What has ended meanwhile, or waits to be reaped, is nobody; what is older than the shell is not ours.
            let is_candidate = |stat: &Stat| !matches!(stat.state, b'Z' | b'X') && stat.started >= self.started;
            let Some(stat) = read_stat(pid).filter(is_candidate) else { continue };
            let process = Process { pid, started: stat.started };
            if self.known.contains(&process) || stat.session == self.session || self.is_marked(pid) {
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
        if is_young && newest().is_some_and(|newest| newest >= self.session) { self.session } else { 1 }
    }

    /// Processes of other users and of the kernel cannot be read, and are not ours.
    fn is_marked(&self, pid: i32) -> bool {
        let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|variable| variable == self.marker)
    }
}

fn signal(process: Process, signal: Signal) {
    let Some(pid) = Pid::from_raw(process.pid) else { return };
    // The number may have passed on to another process meanwhile; what the descriptor holds cannot.
    let Ok(pidfd) = pidfd_open(pid, PidfdFlags::empty()) else {
        if read_stat(process.pid).is_some_and(|stat| stat.started == process.started) {
            let _ = kill_process(pid, signal);
        }
        return;
    };
    if read_stat(process.pid).is_some_and(|stat| stat.started == process.started) {
        let _ = pidfd_send_signal(&pidfd, signal);
    }
}

fn read_stat(pid: i32) -> Option<Stat> {
    // Read in one go: the name is short, and so are the numbers.
    let mut bytes = [0; 1024];
    let n_bytes = std::fs::File::open(format!("/proc/{pid}/stat")).ok()?.read(&mut bytes).ok()?;
    parse_stat(bytes.get(..n_bytes)?)
}

/// Reads `PID (NAME) STATE PPID PGRP SESSION ..`; the name may hold anything, brackets and blanks included.
fn parse_stat(stat: &[u8]) -> Option<Stat> {
    let end_of_name = stat.iter().rposition(|byte| *byte == b')')?;
    let text = std::str::from_utf8(stat.get(end_of_name + 1..)?).ok()?;
    let fields: Vec<&str> = text.split_ascii_whitespace().collect();
    Some(Stat {
        state: *fields.first()?.as_bytes().first()?,
        parent: fields.get(1)?.parse().ok()?,
        session: fields.get(3)?.parse().ok()?,
        started: fields.get(19)?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_programs_cannot_confuse_the_reading() {
        let line = b"42 (a) R 1 ) \xff() S 7 8 9 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 123456 0 0\n";
        let stat = parse_stat(line).unwrap();
        assert_eq!((stat.state, stat.parent, stat.session, stat.started), (b'S', 7, 9, 123456));
        assert!(parse_stat(b"42 (cut").is_none());
    }
}
