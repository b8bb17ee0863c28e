//! Threads that do jobs, one after the other: starting one costs as much as a small step does otherwise. Unaware of what the
//! jobs are.

use std::io;
use std::sync::mpsc::{SendError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// More than that many do not wait for work.
const MAX_IDLE: usize = 64;

type Job = Box<dyn FnOnce() + Send>;

/// A job, and the way in which its thread is given the next one: the thread holds none itself, and so hears when nobody does.
struct Order(Job, Sender<Order>);

/// Threads end when this is dropped and their job is done.
#[derive(Default)]
pub struct Hands {
    idle: Mutex<Vec<Sender<Order>>>,
}

impl Hands {
    /// Lets a thread do the job, at once.
    pub fn give(self: &Arc<Self>, mut job: Job) -> io::Result<()> {
        while let Some(sender) = self.next_idle() {
            match sender.send(Order(job, sender.clone())) {
                Ok(()) => return Ok(()),
                Err(SendError(Order(returned, _))) => job = returned,
            }
        }
        let hands = Arc::downgrade(self);
        let (sender, receiver) = channel();
        let work = move || {
            let mut order = Order(job, sender);
            loop {
                let Order(job, sender) = order;
                job();
                let Some(hands) = hands.upgrade() else { return };
                if !hands.rest(sender) {
                    return;
                }
                drop(hands);
                match receiver.recv() {
                    Ok(next) => order = next,
                    Err(_) => return,
                }
            }
        };
        thread::Builder::new().name("sh step".to_owned()).spawn(work).map(|_| ())
    }

    fn next_idle(&self) -> Option<Sender<Order>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    /// Returns false, if enough others are waiting.
    fn rest(&self, sender: Sender<Order>) -> bool {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let is_needed = idle.len() < MAX_IDLE;
        if is_needed {
            idle.push(sender);
        }
        is_needed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn a_thread_that_has_done_its_job_does_the_next() {
        let hands = Arc::new(Hands::default());
        let mut threads = HashSet::new();
        for _ in 0..50 {
            let (tell, hear) = channel();
            hands.give(Box::new(move || tell.send(thread::current().id()).unwrap())).unwrap();
            threads.insert(hear.recv().unwrap());
            // It has told before it is ready for the next.
            while hands.idle.lock().unwrap().is_empty() {
                thread::yield_now();
            }
        }
        assert_eq!(threads.len(), 1);
    }

    #[test]
    fn jobs_do_not_wait_for_each_other() {
        let hands = Arc::new(Hands::default());
        let (tell, hear) = channel();
        let (tell_first, hear_first) = channel::<()>();
        let told = tell.clone();
        hands
            .give(Box::new(move || {
                hear_first.recv().unwrap();
                told.send(1).unwrap();
            }))
            .unwrap();
        hands.give(Box::new(move || tell.send(2).unwrap())).unwrap();
        assert_eq!(hear.recv(), Ok(2));
        tell_first.send(()).unwrap();
        assert_eq!(hear.recv(), Ok(1));
    }
}
