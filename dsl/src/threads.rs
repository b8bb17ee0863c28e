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
    let parts: Vec<_> = items.chunks(items.len().div_ceil(n_parts)).collect();
    let mut done: Vec<Option<R>> = parts.iter().map(|_| None).collect();
    let work = &work;
    rayon_core::scope(|scope| {
        for (part, place) in parts.into_iter().zip(&mut done) {
            scope.spawn(move |_| *place = Some(work(part)));
        }
    });
    done.into_iter().flatten().collect()
}
