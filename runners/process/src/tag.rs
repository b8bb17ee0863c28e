//! The mark by which the processes of a step are told from all others.
//!
//! It is their hard limit of real time: a number that every child inherits however often it forks, starts sessions or
//! clears its environment, that anybody can read, and that concerns only real-time programs, for which it is
//! [centuries](FIRST) long. A program can lower it on purpose, and no program does so by accident.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::process::{Resource, getrlimit};

/// Lower than any mark, and 146 years in microseconds.
const FIRST: u64 = 1 << 62;
/// A mark begins with what is the same for a step and for the steps of an `mlp` that runs inside it.
const INNER_BITS: u32 = 20;

/// The mark of one step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tag {
    value: u64,
    /// Bits that do not count.
    inner: u32,
}

impl Tag {
    /// Returns a mark that no other step has. `None` where this process has a lower limit itself, and none is to be had.
    pub fn new() -> Option<Self> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        static START: OnceLock<u64> = OnceLock::new();
        let start = *START.get_or_init(random);
        let count = start.wrapping_add(COUNT.fetch_add(1, Ordering::Relaxed));
        Self::under(getrlimit(Resource::Rttime).maximum, count)
    }

    /// A limit can only be lowered: inside another step, its mark is the highest that there is.
    fn under(limit: Option<u64>, count: u64) -> Option<Self> {
        let inner_mask = (1 << INNER_BITS) - 1;
        match limit {
            None => Some(Self { value: FIRST | (count << INNER_BITS) & (FIRST - 1) | inner_mask, inner: INNER_BITS }),
            Some(limit) if limit >= FIRST => {
                let value = limit & !inner_mask | (limit & inner_mask).checked_sub(1 + count % (1 << 15))?;
                Some(Self { value, inner: 0 })
            }
            Some(_) => None,
        }
    }

    pub fn value(self) -> u64 {
        self.value
    }

    /// Returns whether a process with that limit belongs to the step.
    pub fn is_on(self, limit: u64) -> bool {
        limit >> self.inner == self.value >> self.inner
    }
}

fn random() -> u64 {
    let mut bytes = [0; 8];
    if rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty()).is_ok() {
        return u64::from_ne_bytes(bytes);
    }
    // Early in the life of a machine. Numbers of processes are different, too.
    u64::from(std::process::id()) << 24
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_differ_and_those_of_inner_steps_count_as_the_outer_ones() {
        let (outer, other) = (Tag::under(None, u64::MAX).unwrap(), Tag::under(None, 0).unwrap());
        assert!(outer.is_on(outer.value()) && !outer.is_on(other.value()) && !other.is_on(outer.value()));
        let inner = Tag::under(Some(outer.value()), 7).unwrap();
        let sibling = Tag::under(Some(outer.value()), 8).unwrap();
        assert!(inner.value() < outer.value() && outer.is_on(inner.value()));
        assert!(inner.is_on(inner.value()) && !inner.is_on(outer.value()) && !inner.is_on(sibling.value()));
        assert!(Tag::under(Some(inner.value()), 0).is_some_and(|tag| outer.is_on(tag.value())));
        assert!(Tag::under(Some(1_000_000), 0).is_none(), "the limit of somebody else");
        assert!(Tag::new().unwrap() != Tag::new().unwrap());
    }
}
