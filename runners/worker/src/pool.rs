//! The parent's pool: gives each step to an idle worker, or to a new one. One step per worker at a time.
//!
//! Unaware of how a worker is started and talked to (`worker`), and of what a step is.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mlp_model::{Cancel, ErrorClass, Handle, Outcome, ProcessWatch, RunnerEvent, StartStep, StepError};

use crate::seat::{Seat, Wake, attend};

/// How to start the workers of a pool.
pub struct PoolConfig {
    /// What the worker calls itself in [`crate::serve`]; shown in messages.
    pub name: &'static str,
    pub program: PathBuf,
    pub args: Vec<OsString>,
    /// In addition to the environment of this process.
    pub env: Vec<(OsString, OsString)>,
    /// The most address space that a worker may have. Not for workers that use a GPU: its driver reserves far more
    /// than it uses.
    pub memory_bytes: Option<u64>,
    /// How many idle workers are kept for further steps; with 0, each step has a process of its own.
    pub max_idle: usize,
    pub watch: ProcessWatch,
}

/// Worker processes of one program.
pub struct Pool {
    shared: Arc<Shared>,
}

impl Pool {
    /// Makes a pool. No process is started before the first step.
    pub fn new(config: PoolConfig) -> Arc<Self> {
        let idle = Mutex::new(Idle { seats: Vec::new(), closed: false });
        Arc::new(Self { shared: Arc::new(Shared { config, idle }) })
    }

    /// Starts the step on a worker and returns at once; the contract is that of [`mlp_model::Runner::start`].
    pub fn start(self: &Arc<Self>, step: StartStep, report: Box<dyn Fn(RunnerEvent) + Send + Sync>) -> Box<dyn Handle> {
        let ticket = match Wake::new() {
            Ok(wake) => Arc::new(Ticket { how: AtomicU8::new(0), wake: Some(wake) }),
            Err(error) => {
                report(RunnerEvent::Finished(Err(no_resources(&error))));
                return Box::new(StepHandle(Arc::new(Ticket { how: AtomicU8::new(0), wake: None })));
            }
        };
        self.shared.dispatch(Job { step, report, ticket: Arc::clone(&ticket) });
        Box::new(StepHandle(ticket))
    }
}

impl Drop for Pool {
    /// Ends the idle workers. Those that work finish their step first.
    fn drop(&mut self) {
        let seats = {
            let mut idle = lock(&self.shared.idle);
            idle.closed = true;
            std::mem::take(&mut idle.seats)
        };
        for seat in &seats {
            seat.close();
        }
        for seat in &seats {
            seat.join();
        }
    }
}

/// What the pool and the threads of its workers share.
pub struct Shared {
    pub config: PoolConfig,
    idle: Mutex<Idle>,
}

struct Idle {
    /// The one used last is last.
    seats: Vec<Arc<Seat>>,
    closed: bool,
}

impl Shared {
    /// Gives the job to an idle worker, else to a new one.
    pub fn dispatch(self: &Arc<Self>, mut job: Job) {
        loop {
            let Some(seat) = lock(&self.idle).seats.pop() else { break };
            match seat.offer(job) {
                Ok(()) => return,
                // It died while idle.
                Err(refused) => job = refused,
            }
        }
        let seat = match Seat::new(job) {
            Ok(seat) => Arc::new(seat),
            Err((error, job)) => return job.finish(Err(no_resources(&error))),
        };
        let (shared, own_seat) = (Arc::clone(self), Arc::clone(&seat));
        let thread = std::thread::Builder::new().name(format!("{} worker", self.config.name));
        match thread.spawn(move || attend(&shared, &own_seat)) {
            Ok(thread) => seat.set_thread(thread),
            Err(error) => {
                if let Some(job) = seat.take_job() {
                    job.finish(Err(no_resources(&error)));
                }
            }
        }
    }

    /// Keeps the seat for a further step. Returns false if there are enough, or the pool is gone.
    pub fn keep(&self, seat: &Arc<Seat>) -> bool {
        let mut idle = lock(&self.idle);
        let room = !idle.closed && idle.seats.len() < self.config.max_idle;
        if room {
            idle.seats.push(Arc::clone(seat));
        }
        room
    }

    /// Takes back a seat that died while idle.
    pub fn forget(&self, seat: &Arc<Seat>) {
        lock(&self.idle).seats.retain(|other| !Arc::ptr_eq(other, seat));
    }
}

/// A step, whom to tell about it, and whether it shall go on.
pub struct Job {
    pub step: StartStep,
    pub report: Box<dyn Fn(RunnerEvent) + Send + Sync>,
    pub ticket: Arc<Ticket>,
}

impl Job {
    /// Reports the end; nothing may be reported after it.
    pub fn finish(self, result: Result<Outcome, StepError>) {
        (self.report)(RunnerEvent::Finished(result));
    }
}

/// Carries a wish to cancel from the handle to the worker's thread.
pub struct Ticket {
    /// 0: none, 1: gently, 2: now.
    how: AtomicU8,
    /// Wakes the thread; `None` if the step never started.
    pub wake: Option<Wake>,
}

impl Ticket {
    pub fn cancelled(&self) -> Option<Cancel> {
        match self.how.load(Ordering::Acquire) {
            0 => None,
            1 => Some(Cancel::Gently),
            _ => Some(Cancel::Now),
        }
    }
}

struct StepHandle(Arc<Ticket>);

impl Handle for StepHandle {
    fn cancel(&self, how: Cancel) {
        let how = if how == Cancel::Now { 2 } else { 1 };
        self.0.how.fetch_max(how, Ordering::AcqRel);
        if let Some(wake) = &self.0.wake {
            wake.ring();
        }
    }
}

fn no_resources(error: &std::io::Error) -> StepError {
    StepError::new(ErrorClass::Environment, "P2102", format!("cannot prepare a worker: {error}"))
        .with_help("end other programs, or raise the limits of open files and processes (`ulimit -a`)")
}

pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
