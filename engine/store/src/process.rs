//! Which process is which: a process id alone is not enough, since ids are used again.

use std::fs;

use serde::{Deserialize, Serialize};

/// Nobody runs so deep within others.
const MAX_ANCESTORS: usize = 100;

/// Names a process for good: ids are unique only with the start time, and only in one boot and one id namespace.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct ProcessMark {
    pub boot: String,
    pub namespace: u64,
    pub pid: u32,
    pub started: u64,
}

impl ProcessMark {
    /// Describes process `pid` of this machine, if it is running.
    pub fn of(pid: u32) -> Option<Self> {
        Some(Self { boot: boot_id(), namespace: namespace(), pid, started: start_time(pid)? })
    }

    /// Describes this process.
    pub fn own() -> Self {
        let pid = std::process::id();
        Self { boot: boot_id(), namespace: namespace(), pid, started: start_time(pid).unwrap_or(0) }
    }

    /// Whether the process has surely ended. One of another id namespace cannot be seen from here: unknown is no.
    pub fn is_gone(&self) -> bool {
        if self.boot != boot_id() {
            return true;
        }
        self.namespace == namespace() && start_time(self.pid) != Some(self.started)
    }

    /// As part of a file name.
    pub fn to_name(&self) -> String {
        format!("{}-{}-{}-{}", self.boot, self.namespace, self.pid, self.started)
    }

    /// Reads a name that begins as [`ProcessMark::to_name`] writes it.
    pub fn from_name(name: &str) -> Option<Self> {
        let mut parts = name.split('-');
        Some(Self {
            boot: parts.next()?.to_owned(),
            namespace: parts.next()?.parse().ok()?,
            pid: parts.next()?.parse().ok()?,
            started: parts.next()?.parse().ok()?,
        })
    }
}

/// Returns the processes around a process, nearest first: its parent, the parent of that, and so on.
pub(crate) fn ancestors(pid: u32) -> Vec<u32> {
    let parent_of = |pid: u32| {
        let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        text.rsplit_once(')')?.1.split_ascii_whitespace().nth(1)?.parse().ok().filter(|parent| *parent > 1)
    };
    let mut around = Vec::new();
    let mut pid = pid;
    // Ids change hands while we look: an end that does not depend on them.
    while around.len() < MAX_ANCESTORS
        && let Some(parent) = parent_of(pid)
    {
        around.push(parent);
        pid = parent;
    }
    around
}

/// Returns when a process started, in the kernel's ticks since boot. A zombie has ended.
pub(crate) fn start_time(pid: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the program's name in parentheses and may hold anything.
    let mut fields = text.rsplit_once(')')?.1.split_ascii_whitespace();
    let state = fields.next()?;
    if matches!(state, "Z" | "X") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

fn boot_id() -> String {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    text.chars().filter(char::is_ascii_hexdigit).take(12).collect()
}

fn namespace() -> u64 {
    use std::os::unix::fs::MetadataExt;
    fs::metadata("/proc/self/ns/pid").map_or(0, |found| found.ino())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_known_by_more_than_its_id() {
        let own = ProcessMark::own();
        assert!(!own.is_gone());
        assert_eq!(ProcessMark::from_name(&format!("{}-7", own.to_name())), Some(own.clone()));
        assert!(ProcessMark { started: own.started + 1, ..own.clone() }.is_gone());
        assert!(ProcessMark { boot: "another".into(), ..own.clone() }.is_gone());
        assert!(!ProcessMark { namespace: own.namespace + 1, pid: u32::MAX, ..own }.is_gone());
        assert_eq!(ProcessMark::from_name("leftover"), None);
    }

    #[test]
    fn an_ended_child_is_gone_even_before_it_is_waited_for() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = child.id();
        while start_time(pid).is_some() {
            std::thread::yield_now();
        }
        child.wait().unwrap();
        assert_eq!(start_time(pid), None);
    }
}
