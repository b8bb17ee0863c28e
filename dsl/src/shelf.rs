//! A place for values that are added while the earlier ones are borrowed.

use std::cell::OnceCell;

/// A list that only grows, and whose items stay where they are. Meant for few items.
pub struct Shelf<T> {
    first: OnceCell<T>,
    rest: OnceCell<Box<Shelf<T>>>,
}

impl<T> Default for Shelf<T> {
    fn default() -> Self {
        Self { first: OnceCell::new(), rest: OnceCell::new() }
    }
}

impl<T> Shelf<T> {
    pub fn put(&self, item: T) -> &T {
        let mut shelf = self;
        while shelf.first.get().is_some() {
            shelf = shelf.rest.get_or_init(Box::default);
        }
        shelf.first.get_or_init(|| item)
    }
}
