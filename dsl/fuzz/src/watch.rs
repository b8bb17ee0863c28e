//! How long something takes, in time of the processor: a machine that is busy with other things is no hang.

use std::time::Duration;

/// No answer may take longer.
const LIMIT: Duration = Duration::from_secs(1);

/// Does something, and panics if the process has worked for over a second at it.
pub fn in_time<T>(what: &str, work: impl FnOnce() -> T) -> T {
    let before = used();
    let result = work();
    let taken = used() - before;
    assert!(taken <= LIMIT, "{what} took {taken:?}");
    result
}

fn used() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.cast_unsigned(), time.tv_nsec.cast_unsigned().try_into().unwrap_or(0))
}
