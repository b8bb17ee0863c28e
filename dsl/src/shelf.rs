//! A place for values that are added while the earlier ones are borrowed.

use std::cell::{Cell, OnceCell};

/// A list that only grows, and whose items stay where they are. They stand in rows, each twice as long as the one before.
pub struct Shelf<T> {
    n_items: Cell<usize>,
    rows: [OnceCell<Box<[OnceCell<T>]>>; ROWS],
}

/// More items than these rows hold fit into no memory.
const ROWS: usize = 40;

impl<T> Default for Shelf<T> {
    fn default() -> Self {
        Self { n_items: Cell::new(0), rows: std::array::from_fn(|_| OnceCell::new()) }
    }
}

impl<T> Shelf<T> {
    pub fn put(&self, item: T) -> &T {
        let n_items = self.n_items.get() + 1;
        self.n_items.set(n_items);
        let row = n_items.ilog2() as usize;
        let places = self.rows[row].get_or_init(|| (0..1_usize << row).map(|_| OnceCell::new()).collect());
        places[n_items - (1 << row)].get_or_init(|| item)
    }

    pub fn len(&self) -> usize {
        self.n_items.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_stay_where_they_are() {
        let shelf = Shelf::default();
        let items: Vec<&String> = (0..100).map(|n| shelf.put(n.to_string())).collect();
        assert_eq!(shelf.len(), 100);
        assert!(items.iter().enumerate().all(|(n, item)| **item == n.to_string()));
    }
}
