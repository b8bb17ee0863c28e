//! Threads for blocking work: reading, hashing and moving files, asking the store. Knows nothing of what it runs.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::runtime::Handle;

type Job = Box<dyn FnOnce() + Send>;

/// Runs jobs in the order in which they come, a bounded number at once.
pub(crate) struct Pool {
    queue: Mutex<Queue>,
    max_threads: usize,
    runtime: Handle,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    n_threads: usize,
}

impl Pool {
    /// Must be called inside a tokio runtime.
    pub(crate) fn new(max_threads: usize) -> Arc<Self> {
        Arc::new(Self { queue: Mutex::default(), max_threads: max_threads.max(1), runtime: Handle::current() })
    }

    pub(crate) fn max_threads(&self) -> usize {
        self.max_threads
    }

    /// A panic of `job` stays inside: whoever waits for its answer must be told by the job itself.
    pub(crate) fn submit(self: &Arc<Self>, job: impl FnOnce() + Send + 'static) {
        let mut queue = self.queue();
        queue.jobs.push_back(Box::new(job));
        if queue.n_threads < self.max_threads {
            queue.n_threads += 1;
            let pool = Arc::clone(self);
            self.runtime.spawn_blocking(move || pool.work());
        }
    }

    fn work(&self) {
        loop {
            let job = {
                let mut queue = self.queue();
                match queue.jobs.pop_front() {
                    Some(job) => job,
                    None => {
                        queue.n_threads -= 1;
                        return;
                    }
                }
            };
            let _ = catch_unwind(AssertUnwindSafe(job));
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}
