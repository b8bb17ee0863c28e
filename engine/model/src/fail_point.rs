//! Named places at which a process can be made to end, to show that nothing is lost whoever dies there.
//!
//! A place costs a look at one flag. What happens at it is the caller's matter: this crate does nothing by itself.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

static IS_ARMED: AtomicBool = AtomicBool::new(false);
static PLAN: OnceLock<Plan> = OnceLock::new();

struct Plan {
    name: String,
    /// How many more times the place is passed.
    n_left: AtomicU64,
    act: Box<dyn Fn() + Send + Sync>,
}

/// Calls `act` when the place `name` is reached for the `nth` time, from 1. Only the first call of a process counts.
pub fn arm_fail_point(name: &str, nth: u64, act: impl Fn() + Send + Sync + 'static) {
    let plan = Plan { name: name.to_owned(), n_left: AtomicU64::new(nth), act: Box::new(act) };
    if PLAN.set(plan).is_ok() {
        IS_ARMED.store(true, Ordering::Release);
    }
}

/// A place with this name.
#[inline]
pub fn fail_point(name: &str) {
    if IS_ARMED.load(Ordering::Relaxed) {
        reach(name);
    }
}

#[cold]
fn reach(name: &str) {
    let Some(plan) = PLAN.get().filter(|plan| plan.name == name) else { return };
    if plan.n_left.fetch_sub(1, Ordering::Relaxed) == 1 {
        (plan.act)();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn the_nth_time_at_the_named_place_counts_and_no_other() {
        let n_acts = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&n_acts);
        fail_point("journal.synced");
        arm_fail_point("journal.synced", 3, move || _ = counted.fetch_add(1, Ordering::Relaxed));
        let mut after = Vec::new();
        for name in ["journal.synced", "journal.written", "journal.synced", "journal.synced", "journal.synced"] {
            fail_point(name);
            after.push(n_acts.load(Ordering::Relaxed));
        }
        assert_eq!(after, [0, 0, 0, 1, 1]);
    }
}
