//! Work on many like things, shared out among threads.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

/// How many items a thread takes at a time.
const SHARE: usize = 128;

/// Does `work` with all items, in shares of neighbours, on as many threads as the machine has. Each thread begins in a part of its
/// own: two that work in one folder wait for each other. Returns what it returns for each item, in order.
pub(crate) fn by_shares<T: Sync, R: Send>(items: &[T], work: impl Fn(&[T]) -> Vec<R> + Sync) -> Vec<R> {
    let shares: Vec<&[T]> = items.chunks(SHARE).collect();
    let n_threads = thread::available_parallelism().map_or(1, |n| n.get()).min(shares.len());
    if n_threads <= 1 {
        return work(items);
    }
    let part_len = shares.len().div_ceil(n_threads);
    let parts: Vec<(&[&[T]], AtomicUsize)> = shares.chunks(part_len).map(|part| (part, AtomicUsize::new(0))).collect();
    let done = Mutex::new(BTreeMap::new());
    let work_from = |first: usize| {
        for nth in (0..parts.len()).map(|n| (first + n) % parts.len()) {
            let (part, next) = &parts[nth];
            while let n = next.fetch_add(1, Ordering::Relaxed)
                && let Some(share) = part.get(n)
            {
                let results = work(share);
                done.lock().unwrap_or_else(PoisonError::into_inner).insert((nth, n), results);
            }
        }
    };
    thread::scope(|scope| {
        for first in 1..parts.len() {
            // Without another thread it only takes longer.
            let work_from = &work_from;
            _ = thread::Builder::new().spawn_scoped(scope, move || work_from(first));
        }
        work_from(0);
    });
    done.into_inner().unwrap_or_else(PoisonError::into_inner).into_values().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_item_is_worked_on_once_and_results_keep_their_order() {
        for n_items in [0, 1, SHARE, SHARE + 1, 5 * SHARE, 100 * SHARE - 1] {
            let items: Vec<usize> = (0..n_items).collect();
            let n_worked = AtomicUsize::new(0);
            let squares = by_shares(&items, |share| {
                n_worked.fetch_add(share.len(), Ordering::Relaxed);
                share.iter().map(|item| item * item).collect()
            });
            assert_eq!(squares, items.iter().map(|item| item * item).collect::<Vec<_>>());
            assert_eq!(n_worked.into_inner(), n_items);
        }
    }
}
