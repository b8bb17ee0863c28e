//! The thread that attends one worker all its life: gives it jobs, watches it while idle, reaps it.
//!
//! Unaware of which job comes next; the pool decides that.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::event::{EventfdFlags, eventfd};

use crate::pool::{Job, Shared, lock};
use crate::worker::{Ending, Worker};

/// Where a worker's thread gets its next job.
pub struct Seat {
    mailbox: Mutex<Mailbox>,
    wake: Wake,
    thread: Mutex<Option<JoinHandle<()>>>,
    /// The thread is in a call of somebody else's code.
    reporting: AtomicBool,
}

enum Mailbox {
    Empty,
    Job(Box<Job>),
    /// The worker shall end.
    Close,
    /// The worker has ended, and the thread with it.
    Gone,
}

impl Seat {
    pub fn new(job: Job) -> Result<Self, (std::io::Error, Job)> {
        match Wake::new() {
            Ok(wake) => Ok(Self {
                mailbox: Mutex::new(Mailbox::Job(Box::new(job))),
                wake,
                thread: Mutex::new(None),
                reporting: AtomicBool::new(false),
            }),
            Err(error) => Err((error, job)),
        }
    }

    /// Gives an idle worker a job; refused if it has died.
    pub fn offer(&self, job: Job) -> Result<(), Job> {
        let mut mailbox = lock(&self.mailbox);
        if matches!(*mailbox, Mailbox::Gone) {
            return Err(job);
        }
        *mailbox = Mailbox::Job(Box::new(job));
        self.wake.ring();
        Ok(())
    }

    pub fn close(&self) {
        let mut mailbox = lock(&self.mailbox);
        if matches!(*mailbox, Mailbox::Empty) {
            *mailbox = Mailbox::Close;
            self.wake.ring();
        }
    }

    pub fn take_job(&self) -> Option<Job> {
        let mut mailbox = lock(&self.mailbox);
        match std::mem::replace(&mut *mailbox, Mailbox::Empty) {
            Mailbox::Job(job) => Some(*job),
            other => {
                *mailbox = other;
                None
            }
        }
    }

    pub fn set_thread(&self, thread: JoinHandle<()>) {
        *lock(&self.thread) = Some(thread);
    }

    /// Waits for the thread of a closed seat. One that reports may be waiting for the caller, or be the caller: it is
    /// given a second, then left to end the worker by itself.
    pub fn join(&self) {
        let Some(thread) = lock(&self.thread).take() else { return };
        let is_caller = thread.thread().id() == std::thread::current().id();
        for _ in 0..1000 {
            if is_caller || !self.reporting.load(Ordering::SeqCst) {
                break;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        if !is_caller && !self.reporting.load(Ordering::SeqCst) {
            // Its panic has been shown where it happened.
            let _ = thread.join();
        }
    }

    fn is_closing(&self) -> bool {
        matches!(*lock(&self.mailbox), Mailbox::Close)
    }

    /// Marks the worker as ended. Returns a job that came too late.
    fn retire(&self) -> Option<Job> {
        match std::mem::replace(&mut *lock(&self.mailbox), Mailbox::Gone) {
            Mailbox::Job(job) => Some(*job),
            _ => None,
        }
    }
}

/// The thread's story: one worker, any number of jobs.
pub fn attend(shared: &Arc<Shared>, seat: &Arc<Seat>) {
    let Some(mut job) = seat.take_job() else { return };
    let mut worker = match Worker::start(&shared.config, &job) {
        Ok(worker) => worker,
        Err(error) => return job.finish(Err(error)),
    };
    let mut is_new = true;
    loop {
        match worker.work(&job, is_new) {
            Ending::Alive(result) => {
                // Idle before the report, so that a step that starts upon it finds this worker.
                seat.reporting.store(true, Ordering::SeqCst);
                if !shared.keep(seat) {
                    drop(worker);
                    return job.finish(result);
                }
                job.finish(result);
                seat.reporting.store(false, Ordering::SeqCst);
            }
            Ending::Dead(result) => {
                drop(worker);
                return job.finish(result);
            }
            Ending::NeverBegun => {
                drop(worker);
                return shared.dispatch(job);
            }
        }
        is_new = false;
        job = loop {
            if let Some(next) = seat.take_job() {
                break next;
            }
            if !seat.is_closing() && worker.rest(&seat.wake) {
                continue;
            }
            shared.forget(seat);
            let late = seat.retire();
            drop(worker);
            return late.into_iter().for_each(|job| shared.dispatch(job));
        };
    }
}

/// Something to poll that another thread can ring.
pub struct Wake(OwnedFd);

impl Wake {
    pub fn new() -> std::io::Result<Self> {
        Ok(Self(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?))
    }

    pub fn ring(&self) {
        // It can only fail when it is rung already.
        let _ = rustix::io::write(&self.0, &1_u64.to_ne_bytes());
    }

    pub fn hush(&self) {
        let _ = rustix::io::read(&self.0, &mut [0; 8]);
    }

    pub fn fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
