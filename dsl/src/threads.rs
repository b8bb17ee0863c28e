//! Work on many things at once, of which none needs another.

/// More than so many gain nothing: they wait for the same memory.
const MOST_THREADS: usize = 4;

/// Hands parts of `items` to threads and returns what comes of them, in the order of the parts. `worth` is how many items take
/// longer than a thread takes to start, by far.
pub fn in_parts<'i, T: Sync, R: Send>(items: &'i [T], worth: usize, work: impl Fn(&'i [T]) -> R + Sync) -> Vec<R> {
    let n_parts = (items.len() / worth).clamp(1, MOST_THREADS);
    let mut parts = items.chunks(items.len().div_ceil(n_parts).max(1));
    let first = parts.next().unwrap_or_default();
    std::thread::scope(|scope| {
        let work = &work;
        let others: Vec<_> = parts.map(|part| (part, scope.spawn(move || work(part)))).collect();
        let mut done = vec![work(first)];
        // A thread that panicked met a bug of ours; doing its part here shows it with its own message.
        done.extend(others.into_iter().map(|(part, other)| other.join().unwrap_or_else(|_| work(part))));
        done
    })
}
