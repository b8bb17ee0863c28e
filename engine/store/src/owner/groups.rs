//! Ends the process groups of a client that died: asked first, then by force.

use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};

use crate::process::start_time;

/// How long a group may take to end itself.
pub(crate) const KILL_AFTER: Duration = Duration::from_secs(2);

/// A process group, and when the process that gave it its number started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Group {
    pub id: u32,
    pub leader_started: Option<u64>,
}

impl Group {
    pub fn new(id: u32) -> Self {
        Self { id, leader_started: start_time(id) }
    }

    /// Returns the group's number as long as it is the same group: the number may have been given to another since.
    fn target(&self) -> Option<Pid> {
        // 0 and 1 mean "my own group" and "everybody" to kill(2).
        let id = i32::try_from(self.id).ok().filter(|id| *id > 1)?;
        let is_same = start_time(self.id).is_none_or(|started| self.leader_started == Some(started));
        let pid = Pid::from_raw(id).filter(|_| is_same)?;
        test_kill_process_group(pid).is_ok().then_some(pid)
    }
}

/// Ends all groups, and returns when no process of theirs is left or all have been killed.
pub(crate) fn end(groups: &[Group]) {
    let signal = |signal: Signal| {
        for pid in groups.iter().filter_map(Group::target) {
            _ = kill_process_group(pid, signal);
        }
    };
    signal(Signal::TERM);
    // A stopped process gets the signal only once it goes on.
    signal(Signal::CONT);
    let deadline = Instant::now() + KILL_AFTER;
    while groups.iter().any(|group| group.target().is_some()) {
        if Instant::now() >= deadline {
            signal(Signal::KILL);
            return;
        }
        thread::sleep(Duration::from_millis(10));
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::CommandExt;
    use std::process::Command;

    use super::*;

    #[test]
    fn a_group_that_ignores_the_request_is_killed_and_a_reused_number_is_left_alone() {
        let mut stubborn = Command::new("sh");
        let mut child =
            stubborn.args(["-c", "trap '' TERM; sleep 1000 & wait; wait"]).process_group(0).spawn().unwrap();
        let group = Group::new(child.id());
        let other = Group { leader_started: group.leader_started.map(|started| started + 1), ..group };
        assert_eq!(other.target(), None);
        end(&[other, Group { id: 0, leader_started: None }, Group { id: 1, leader_started: None }]);
        assert_eq!(child.try_wait().unwrap(), None);
        end(&[group]);
        assert!(!child.wait().unwrap().success());
    }
}
