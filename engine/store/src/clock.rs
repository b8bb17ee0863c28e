//! The time of day, as an argument, so that tests can set it.

use std::time::{SystemTime, UNIX_EPOCH};

use mlp_model::Timestamp;

/// Tells the time of day. Nothing in the store is ordered by it: the journal's positions order everything.
pub trait Clock: Send + Sync {
    fn now(&self) -> Timestamp;
}

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }
}
