//! What `/proc` tells about processes. Unaware of steps.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;

/// A process at one moment. The start time tells it from a later one with the same number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Process {
    pub pid: i32,
    pub started: u64,
}

pub struct Stat {
    pub state: u8,
    pub parent: i32,
    pub group: i32,
    pub session: i32,
    pub started: u64,
}

impl Stat {
    pub fn read(pid: i32) -> Option<Self> {
        // Read in one go: the name is short, and so are the numbers.
        let mut bytes = [0; 1024];
        let n_bytes = File::open(format!("/proc/{pid}/stat")).ok()?.read(&mut bytes).ok()?;
        Self::parse(bytes.get(..n_bytes)?)
    }

    /// Reads `PID (NAME) STATE PPID PGRP SESSION ..`; the name may hold anything, brackets and blanks included.
    fn parse(stat: &[u8]) -> Option<Self> {
        let end_of_name = stat.iter().rposition(|byte| *byte == b')')?;
        let text = std::str::from_utf8(stat.get(end_of_name + 1..)?).ok()?;
        let fields: Vec<&str> = text.split_ascii_whitespace().collect();
        let number = |idx: usize| fields.get(idx)?.parse::<i32>().ok();
        Some(Self {
            state: *fields.first()?.as_bytes().first()?,
            parent: number(1)?,
            group: number(2)?,
            session: number(3)?,
            started: fields.get(19)?.parse().ok()?,
        })
    }

    /// What waits to be reaped has ended.
    pub fn is_alive(&self) -> bool {
        !matches!(self.state, b'Z' | b'X')
    }
}

/// Returns a process's hard limit of real time, which children inherit. Anybody can read it.
pub fn real_time_limit(pid: i32) -> Option<u64> {
    let mut bytes = [0; 2048];
    let n_bytes = File::open(format!("/proc/{pid}/limits")).ok()?.read(&mut bytes).ok()?;
    let text = std::str::from_utf8(bytes.get(..n_bytes)?).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("Max realtime timeout"))?;
    line.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// Returns the memory of a process: what it has made, not the files that it has mapped.
pub fn mem_bytes(pid: i32) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let kibibytes = |line: &str| line.split_ascii_whitespace().nth(1)?.parse::<u64>().ok();
    let lines = text.lines().filter(|line| line.starts_with("RssAnon:") || line.starts_with("RssShmem:"));
    Some(lines.filter_map(kibibytes).sum::<u64>() * 1024)
}

/// Names a running process for good: numbers are unique only with the start time, and in one namespace.
pub fn name_of(pid: u32) -> Option<String> {
    let started = Stat::read(i32::try_from(pid).ok()?)?.started;
    Some(format!("{}-{pid}-{started}", namespace()))
}

/// Returns whether the process that a name begins with has surely ended. One of another namespace cannot be seen.
pub fn is_gone(name: &str) -> bool {
    let mut parts = name.split('-');
    let mut number = || parts.next()?.parse::<u64>().ok();
    let (Some(space), Some(pid), Some(started)) = (number(), number(), number()) else { return false };
    let stat = i32::try_from(pid).ok().and_then(Stat::read);
    space == namespace() && stat.is_none_or(|stat| stat.started != started || !stat.is_alive())
}

fn namespace() -> u64 {
    std::fs::metadata("/proc/self/ns/pid").map_or(0, |found| found.ino())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_programs_cannot_confuse_the_reading() {
        let line = b"42 (a) R 1 ) \xff() S 7 8 9 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 123456 0 0\n";
        let stat = Stat::parse(line).unwrap();
        assert_eq!((stat.state, stat.parent, stat.group, stat.session, stat.started), (b'S', 7, 8, 9, 123456));
        assert!(Stat::parse(b"42 (cut").is_none());
    }

    #[test]
    fn a_process_is_gone_once_its_number_is_anothers() {
        let own = name_of(std::process::id()).unwrap();
        assert!(!is_gone(&own) && !is_gone(&format!("{own}-3")));
        let (rest, started) = own.rsplit_once('-').unwrap();
        assert!(is_gone(&format!("{rest}-{}", started.parse::<u64>().unwrap() + 1)));
        assert!(!is_gone(&format!("1-{}-{started}", i32::MAX)), "of another namespace");
        assert!(!is_gone("something else"));
    }

    #[test]
    fn a_limit_is_read_of_any_process() {
        let own = i32::try_from(std::process::id()).unwrap();
        let limit = rustix::process::getrlimit(rustix::process::Resource::Rttime).maximum;
        assert_eq!(real_time_limit(own), limit);
    }
}
