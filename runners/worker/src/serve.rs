//! The worker's side: says hello, works on steps one after another, never outlives its parent.
//!
//! Unaware of what the work is.

use std::io::{Read, Write};
use std::os::fd::{BorrowedFd, FromRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};

use mlp_model::{Outcome, Progress, StartStep, StepError};
use rustix::io::{Errno, FdFlags, fcntl_setfd};
use rustix::net::sockopt::socket_type;
use rustix::net::{SendFlags, SocketType, send};
use rustix::process::{Signal, getpgrp, getpid, kill_process, kill_process_group};

use crate::frame::{Decoder, encode};
use crate::protocol::{FD_VARIABLE, FromWorker, Hello, MLP_VERSION, OddNumbers, PROTOCOL, ToWorker, Word};
use crate::{ended, peak};

/// Makes this process a worker: calls `work` for each step that the parent sends.
///
/// `program` is the worker's name, which the parent's [`crate::PoolConfig::name`] must equal. A panic in `work`
/// becomes a `StepError` of class `Bug`, and the process ends, as nobody knows what it left behind. When the parent
/// goes away, the process kills its own process group at once, also while `work` is working.
pub fn serve(program: &str, mut work: impl FnMut(StartStep, &Reporter) -> Result<Outcome, StepError>) -> ExitCode {
    let Some(socket) = inherited_socket() else {
        eprintln!("error: `{program}` is started by `mlp` itself; it does nothing when called by hand");
        return ExitCode::from(2);
    };
    let reader = match socket.try_clone() {
        Ok(reader) => reader,
        Err(error) => {
            eprintln!("error: cannot use the connection to mlp: {error}");
            return ExitCode::from(3);
        }
    };
    let reporter = Reporter(Arc::new(Line { socket: Mutex::new(socket), cancelled: AtomicU64::new(0) }), 0);
    let hello = Hello { program: program.to_owned(), mlp: MLP_VERSION.to_owned(), protocol: PROTOCOL };
    if let Ok(frame) = encode(&hello) {
        reporter.send(&frame);
    }
    let (steps, inbox) = mpsc::channel();
    let line = Arc::clone(&reporter.0);
    let listener =
        std::thread::Builder::new().name("mlp parent".to_owned()).spawn(move || listen(reader, &line, &steps));
    if let Err(error) = listener {
        eprintln!("error: cannot start a thread: {error}");
        return ExitCode::from(3);
    }
    let place = remember_panics();

    for (number, step) in inbox {
        let reporter = Reporter(Arc::clone(&reporter.0), number);
        reporter.tell(Word::Accepted);
        let is_measured = peak::begin();
        let result = catch_unwind(AssertUnwindSafe(|| work(step, &reporter)));
        let panicked = result.is_err();
        let result = result.unwrap_or_else(|payload| {
            let message = payload
                .downcast_ref::<String>()
                .map(String::as_str)
                .or_else(|| payload.downcast_ref::<&str>().copied())
                .unwrap_or("no message");
            Err(ended::panicked(program, message, lock(&place).take()))
        });
        let result = result.map(|outcome| Outcome { peak_mem_bytes: peak::bytes().filter(|_| is_measured), ..outcome });
        // What was printed belongs to the step.
        let _ = std::io::stdout().flush();
        reporter.finish(program, result);
        if panicked {
            return ExitCode::from(101);
        }
    }
    ExitCode::SUCCESS
}

/// Tells the parent how the step goes; may be used from several threads.
pub struct Reporter(Arc<Line>, u64);

impl Reporter {
    pub fn progress(&self, mut progress: Progress) {
        let odd = OddNumbers::take_from(&mut progress.metrics);
        self.tell(Word::Progressed { progress, odd });
    }

    /// Shows a line, as if the worker had printed it.
    pub fn print(&self, line: &str) {
        self.tell(Word::Printed { line: line.to_owned() });
    }

    /// Returns whether the step is asked to end. It then has 10 seconds; what it returns does not matter.
    pub fn is_cancelled(&self) -> bool {
        self.0.cancelled.load(Ordering::Relaxed) == self.1
    }

    fn finish(&self, program: &str, result: Result<Outcome, StepError>) {
        let mut result = result;
        let odd = result.as_mut().map(|outcome| OddNumbers::take_from(&mut outcome.facts)).unwrap_or_default();
        match encode(&FromWorker { number: self.1, word: Word::Finished { result, odd } }) {
            Ok(frame) => self.send(&frame),
            Err(error) => {
                let result = Err(ended::not_answered(program, &error));
                self.tell(Word::Finished { result, odd: OddNumbers::default() });
            }
        }
    }

    fn tell(&self, word: Word) {
        // What is over the limit of a frame is no line and no progress that anybody could read.
        if let Ok(frame) = encode(&FromWorker { number: self.1, word }) {
            self.send(&frame);
        }
    }

    fn send(&self, frame: &[u8]) {
        let socket = lock(&self.0.socket);
        let mut rest = frame;
        while !rest.is_empty() {
            match send(&*socket, rest, SendFlags::NOSIGNAL) {
                Ok(n_bytes) => rest = rest.get(n_bytes..).unwrap_or_default(),
                Err(Errno::INTR) => {}
                // The parent is gone: the listener ends this process.
                Err(_) => return,
            }
        }
    }
}

struct Line {
    socket: Mutex<UnixStream>,
    /// The number of the step that was last asked to end; steps count from 1.
    cancelled: AtomicU64,
}

fn listen(mut socket: UnixStream, line: &Line, steps: &mpsc::Sender<(u64, StartStep)>) {
    let mut decoder = Decoder::default();
    let mut bytes = [0; 16 << 10];
    loop {
        loop {
            match decoder.next() {
                Ok(None) => break,
                Ok(Some(ToWorker::Start { number, step })) => _ = steps.send((number, *step)),
                Ok(Some(ToWorker::Cancel { number })) => line.cancelled.store(number, Ordering::Relaxed),
                Err(error) => {
                    eprintln!("error: cannot read what mlp sent: {error}");
                    end_now();
                }
            }
        }
        match socket.read(&mut bytes) {
            Ok(0) => end_now(),
            Ok(n_bytes) => decoder.push(bytes.get(..n_bytes).unwrap_or_default()),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(_) => end_now(),
        }
    }
}

/// Ends this process and its group by force: no destructor or exit handler of a library may delay it.
fn end_now() {
    let own = getpid();
    if getpgrp() == own {
        let _ = kill_process_group(own, Signal::KILL);
    }
    let _ = kill_process(own, Signal::KILL);
}

fn inherited_socket() -> Option<UnixStream> {
    let number: RawFd = std::env::var(FD_VARIABLE).ok()?.parse().ok().filter(|number| *number > 2)?;
    // SAFETY: only looked at; that nothing is open under the number comes back as an error.
    let fd = unsafe { BorrowedFd::borrow_raw(number) };
    if socket_type(fd).ok()? != SocketType::STREAM {
        return None;
    }
    // Programs that the worker starts must not hold the connection open.
    fcntl_setfd(fd, FdFlags::CLOEXEC).ok()?;
    // SAFETY: the parent opened this socket for us alone; `serve` is called once, before anything else opens files.
    Some(unsafe { UnixStream::from_raw_fd(number) })
}

/// Keeps the place of the last panic, which its payload does not tell.
fn remember_panics() -> Arc<Mutex<Option<String>>> {
    let place = Arc::new(Mutex::new(None));
    let remembered = Arc::clone(&place);
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        *lock(&remembered) = panic.location().map(ToString::to_string);
        print(panic);
    }));
    place
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
