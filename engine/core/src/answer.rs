//! Callbacks for a store that are answered in any case, also when the store drops them.

use std::sync::mpsc;

use mlp_model::{CommitGuard, Done, Keep, Record, Store, StoreError};

/// Wraps `tell`, so that it hears of an error if the callback is dropped without being called.
pub(crate) fn answer<T: 'static>(tell: impl FnOnce(Result<T, StoreError>) + Send + 'static) -> Done<T> {
    let mut guard = Guard(Some(Box::new(tell)));
    Box::new(move |result| {
        if let Some(tell) = guard.0.take() {
            tell(result);
        }
    })
}

/// Commits and waits until the records are on the disk.
pub(crate) fn commit_and_wait(
    store: &dyn Store,
    records: Vec<Record>,
    guard: Option<CommitGuard>,
) -> Result<(), StoreError> {
    let (tell, hear) = mpsc::channel();
    store.commit(records, guard, answer(move |result| _ = tell.send(result)));
    hear.recv().unwrap_or_else(|_| Err(no_answer()))
}

/// Commits records of another store, named `from`, and waits until they are on the disk.
pub(crate) fn commit_of_and_wait(store: &dyn Keep, from: &str, records: Vec<Record>) -> Result<(), StoreError> {
    let (tell, hear) = mpsc::channel();
    store.commit_of(from, records, answer(move |result| _ = tell.send(result)));
    hear.recv().unwrap_or_else(|_| Err(no_answer()))
}

struct Guard<T>(Option<Done<T>>);

impl<T> Drop for Guard<T> {
    fn drop(&mut self) {
        if let Some(tell) = self.0.take() {
            tell(Err(no_answer()));
        }
    }
}

fn no_answer() -> StoreError {
    StoreError::Owner { message: "it gave no answer".to_owned() }
}
