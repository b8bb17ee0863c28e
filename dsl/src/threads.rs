//! Work on many things at once, of which none needs another.

/// More than so many parts gain nothing: they wait for the same memory.
const MOST_PARTS: usize = 4;

/// Hands parts of `items` to threads and returns what comes of them, in the order of the parts. `worth` is how many items take
/// longer than a thread takes to wake, by far. The threads stay from one call to the next, and what they freed with them.
pub fn in_parts<'i, T: Sync, R: Send>(items: &'i [T], worth: usize, work: impl Fn(&'i [T]) -> R + Sync) -> Vec<R> {
    let n_parts = (items.len() / worth).clamp(1, MOST_PARTS);
    if n_parts == 1 {
        return vec![work(items)];
    }
    let (first, others) = items.split_at(items.len() / n_parts);
    let others: Vec<_> = others.chunks(others.len().div_ceil(n_parts - 1)).collect();
    let mut done: Vec<Option<R>> = others.iter().map(|_| None).collect();
    let work = &work;
    let first = rayon_core::in_place_scope(|scope| {
        for (part, place) in others.into_iter().zip(&mut done) {
            scope.spawn(move |_| *place = Some(work(part)));
        }
        work(first)
    });
    [first].into_iter().chain(done.into_iter().flatten()).collect()
}
