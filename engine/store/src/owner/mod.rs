//! The owner process of a workspace: the only one that writes the journal and opens the index.
//!
//! Elected by a file lock, reached over a Unix socket. A thread for each client answers questions; one thread commits.
//! It leaves when nobody needs it, when its lock file is gone, and when it can no longer vouch for its files: the next
//! owner then looks afresh.

mod claims;
mod collect;
mod desk;
mod groups;
mod log;
mod seat;
mod session;
mod sessions;
mod shares;

use std::collections::HashMap;
use std::fs;
use std::io;
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use mlp_model::{StoreError, fail_point};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

use crate::clock::Clock;
use crate::failure::{OrFail, lock};
use crate::fs::{Fs, RealFs};
use crate::journal::group::ClientId;
use crate::layout::Layout;
use crate::ledger::{Commit, Ledger, Outcome};
use crate::protocol::{self, Answer, Reply, Welcome};
use crate::questions::Questions;
use crate::scratch;
use crate::seal;
use collect::Collector;
use desk::{Desk, Outbox};
use groups::Group;
pub(crate) use log::Log;
pub(crate) use seat::Seat;
use sessions::Sessions;

/// How many commits one sync may carry.
const MAX_BATCH: usize = 256;
/// How often the owner looks at its lock file and for dead clients when nothing happens.
const WATCH: Duration = Duration::from_millis(500);
/// How long a new owner waits for its first client.
const FIRST_CLIENT: Duration = Duration::from_secs(10);
/// How long an owner that cannot open the store stays to tell clients why.
const LAST_WORDS: Duration = Duration::from_millis(500);
/// How long the clients of the owner before may take to come back for their leases.
const RETURN: Duration = Duration::from_secs(60);

/// Owns the workspace's store until nobody has been connected for `idle`. Returns at once if another process does.
///
/// # Errors
/// The store cannot be opened, or its files can no longer be relied on. Clients have been told; starting again is safe.
pub fn serve_owner(workspace: &Path, idle: Duration, clock: Arc<dyn Clock>) -> Result<(), StoreError> {
    serve_owner_on(Arc::new(RealFs), workspace, idle, clock)
}

/// Like [`serve_owner`], over other file operations.
pub fn serve_owner_on(
    fs: Arc<dyn Fs>,
    workspace: &Path,
    idle: Duration,
    clock: Arc<dyn Clock>,
) -> Result<(), StoreError> {
    let layout = Layout::of(workspace)?;
    refuse_network(&*fs, &layout)?;
    layout.prepare(&*fs)?;
    let socket = layout.socket(&*fs)?;
    let Some(seat) = Seat::take(&layout, &socket)? else { return Ok(()) };
    fail_point("owner.elected");
    let log = Log::open(&layout.owner_log(), clock);
    let (listener, socket) = Socket::bind(socket)?;
    let opened = Ledger::open(fs.clone(), layout.clone(), &mut |text| log.write(&text));
    let collector = Collector::new(fs.clone(), &layout);
    let ledger = match opened {
        Ok(ledger) => ledger,
        Err(error) => {
            log.write(&format!("the store cannot be opened: {error}"));
            tell_failure(&listener, &error);
            return Err(error);
        }
    };
    fail_point("owner.opened");
    scratch::clean(&layout);
    seal::sweep(&layout);
    let (orders, to_commit) = channel();
    let owner = Arc::new(Owner {
        desk: Mutex::new(Desk::new(Sessions::open(layout.sessions()))),
        questions: ledger.questions(),
        orders,
        collector,
        layout: layout.clone(),
        seat,
        log,
        wake: Wake::new().or_fail("wait for", &layout.root)?,
        end: Mutex::new(None),
        is_over: AtomicBool::new(false),
    });
    let committer = {
        let owner = owner.clone();
        thread::spawn(move || owner.commit_all(ledger, &to_commit))
    };
    owner.log.write("serving");
    let threads = owner.accept_all(&listener, idle);
    drop((listener, socket));
    owner.shut_down(threads, committer)
}

/// Tells whether the store is where locks and sockets can be trusted: in its workspace, or where a link leads.
pub(crate) fn refuse_network(fs: &dyn Fs, layout: &Layout) -> Result<(), StoreError> {
    let workspace = layout.root.parent().unwrap_or(&layout.root);
    let place = if layout.root.exists() { &layout.root } else { workspace };
    if fs.filesystem(place).or_fail("look at", place)?.is_network() {
        return Err(StoreError::NetworkFilesystem(place.display().to_string()));
    }
    Ok(())
}

/// What all threads of the owner share.
struct Owner {
    desk: Mutex<Desk>,
    questions: Questions,
    orders: Sender<Order>,
    collector: Collector,
    layout: Layout,
    seat: Seat,
    log: Log,
    wake: Wake,
    /// Why it ends; only the first reason counts.
    end: Mutex<Option<End>>,
    is_over: AtomicBool,
}

/// Why an owner leaves.
#[derive(Debug, Clone)]
enum End {
    Idle,
    /// The lock file is gone or another's.
    Replaced,
    Failed(StoreError),
}

/// For the committing thread.
enum Order {
    Commit {
        commit: Commit,
        no: u64,
        outbox: Outbox,
    },
    /// Answer once all commits before it are applied.
    Barrier {
        no: u64,
        outbox: Outbox,
    },
    Stop,
}

/// A connection's thread and the stream that ends it.
type Connection = (UnixStream, JoinHandle<()>);

impl Owner {
    fn end(&self, why: End) {
        lock(&self.end).get_or_insert(why);
        self.is_over.store(true, Ordering::Release);
        self.wake.wake();
    }

    /// The store cannot be relied on: leave without answering. Clients ask the next owner.
    fn fail(&self, error: StoreError) {
        self.log.write(&format!("leaving: {error}"));
        self.end(End::Failed(error));
    }

    /// Accepts clients until the owner ends.
    fn accept_all(self: &Arc<Self>, listener: &UnixListener, idle: Duration) -> HashMap<u64, Connection> {
        let (mut threads, mut next): (HashMap<u64, Connection>, u64) = (HashMap::new(), 0);
        let started = Instant::now();
        let mut idle_since = started;
        let mut allowed = idle.max(FIRST_CLIENT);
        while !self.is_over.load(Ordering::Acquire) {
            while let Ok((stream, _)) = listener.accept() {
                let (owner, copy) = (self.clone(), stream.try_clone());
                let thread = thread::spawn(move || session::serve(&owner, stream));
                if let Ok(copy) = copy {
                    threads.insert(next, (copy, thread));
                    next += 1;
                }
                (idle_since, allowed) = (Instant::now(), idle);
            }
            threads.retain(|_, (_, thread)| !thread.is_finished());
            if !self.seat.is_ours() {
                self.end(End::Replaced);
                break;
            }
            for (client, groups) in lock(&self.desk).find_lost(started.elapsed() > RETURN) {
                self.end_groups(client, groups);
            }
            let is_idle = threads.is_empty() && lock(&self.desk).is_idle();
            if !is_idle {
                idle_since = Instant::now();
            } else if idle_since.elapsed() >= allowed {
                self.end(End::Idle);
                break;
            }
            let rest = allowed.saturating_sub(idle_since.elapsed());
            self.wake.wait(listener, if is_idle { rest.min(WATCH) } else { WATCH });
        }
        threads
    }

    /// Ends the groups of a client that left; in a thread of its own, since it may take a while.
    fn end_groups(self: &Arc<Self>, client: ClientId, groups: Vec<Group>) {
        let owner = self.clone();
        thread::spawn(move || {
            groups::end(&groups);
            // What it had decrypted goes with it.
            seal::sweep(&owner.layout);
            lock(&owner.desk).on_ended(&client);
            owner.wake.wake();
        });
    }

    fn shut_down(
        self: Arc<Self>,
        threads: HashMap<u64, Connection>,
        committer: JoinHandle<Ledger>,
    ) -> Result<(), StoreError> {
        let end = lock(&self.end).clone().unwrap_or(End::Idle);
        for (stream, _) in threads.values() {
            _ = stream.shutdown(Shutdown::Read);
        }
        // Answers that are on their way still go out, unless a client does not take them.
        let deadline = Instant::now() + LAST_WORDS;
        for (stream, thread) in threads.into_values() {
            while !thread.is_finished() && Instant::now() < deadline {
                thread::sleep(Duration::from_millis(1));
            }
            _ = stream.shutdown(Shutdown::Both);
            _ = thread.join();
        }
        _ = self.orders.send(Order::Stop);
        let ledger = committer.join();
        match end {
            End::Idle => {
                self.log.write("leaving: nobody is connected");
                // We still hold the seat: whoever comes waits for the next owner, and makes the folder again.
                seal::leave(&self.layout);
                // Our questions hold the index. The seat is kept until it is closed: the next owner looks at its files.
                if let Some(Self { seat, questions, .. }) = self.into_last()
                    && let Ok(ledger) = ledger
                {
                    drop(questions);
                    fail_point("owner.closing");
                    ledger.close();
                    fail_point("owner.closed");
                    drop(seat);
                }
                Ok(())
            }
            End::Replaced => {
                self.log.write("leaving: the lock file is gone or belongs to another owner");
                Ok(())
            }
            End::Failed(error) => Err(error),
        }
    }

    /// Waits a moment for threads that have done their work and are about to let go. `None`: one does not.
    fn into_last(mut self: Arc<Self>) -> Option<Self> {
        let deadline = Instant::now() + LAST_WORDS;
        loop {
            match Arc::try_unwrap(self) {
                Ok(owner) => return Some(owner),
                Err(_) if Instant::now() >= deadline => return None,
                Err(shared) => self = shared,
            }
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Commits what clients order, as many at once as have come in meanwhile.
    fn commit_all(&self, mut ledger: Ledger, orders: &Receiver<Order>) -> Ledger {
        let mut is_stopping = false;
        while !is_stopping && !self.is_over.load(Ordering::Acquire) {
            let Ok(first) = orders.recv() else { break };
            let (mut commits, mut replies, mut barriers) = (Vec::new(), Vec::new(), Vec::new());
            for order in std::iter::once(first).chain(orders.try_iter().take(MAX_BATCH - 1)) {
                match order {
                    Order::Commit { commit, no, outbox } => {
                        replies.push((outbox, no));
                        commits.push(commit);
                    }
                    Order::Barrier { no, outbox } => barriers.push((outbox, no)),
                    Order::Stop => is_stopping = true,
                }
            }
            if !commits.is_empty() {
                if !self.seat.is_ours() {
                    self.end(End::Replaced);
                    break;
                }
                match catch_unwind(AssertUnwindSafe(|| ledger.commit(commits))) {
                    Ok(Ok(outcome)) => self.answer(outcome, replies),
                    Ok(Err(error)) => self.fail(error),
                    Err(_) => self.fail(StoreError::Owner { message: "a commit made the owner panic".to_owned() }),
                }
            }
            // After a failure nobody is answered: clients ask the next owner.
            if !self.is_over.load(Ordering::Acquire) {
                for (outbox, no) in barriers {
                    _ = outbox.send(protocol::encode(&Reply { no, answer: Ok(Answer::Done) }, &[]));
                }
            }
        }
        ledger
    }

    fn answer(&self, outcome: Outcome, replies: Vec<(Outbox, u64)>) {
        fail_point("owner.answering");
        let mut desk = lock(&self.desk);
        for (client, run) in outcome.started {
            desk.on_run_started(&client, run);
        }
        for run in &outcome.ended {
            desk.on_run_finished(run);
        }
        for (key, seq) in &outcome.finished {
            desk.on_finished(key, *seq);
        }
        drop(desk);
        for ((outbox, no), reply) in replies.into_iter().zip(outcome.replies) {
            let reply = Reply { no, answer: reply.map(|()| Answer::Done) };
            _ = outbox.send(protocol::encode(&reply, &[]));
        }
        if let Some(error) = outcome.fatal {
            self.fail(error);
        }
    }
}

/// The socket's file; removed when dropped, unless another owner has put its own there.
struct Socket {
    path: PathBuf,
    inode: u64,
}

impl Socket {
    fn bind(path: PathBuf) -> Result<(UnixListener, Self), StoreError> {
        // We hold the seat: whoever bound it is gone.
        _ = fs::remove_file(&path);
        let listener = UnixListener::bind(&path).or_fail("listen on", &path)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).or_fail("protect", &path)?;
        listener.set_nonblocking(true).or_fail("listen on", &path)?;
        let inode = fs::symlink_metadata(&path).or_fail("look at", &path)?.ino();
        Ok((listener, Self { path, inode }))
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if fs::symlink_metadata(&self.path).is_ok_and(|found| found.ino() == self.inode) {
            _ = fs::remove_file(&self.path);
        }
    }
}

/// Wakes the accepting thread.
struct Wake(OwnedFd);

impl Wake {
    fn new() -> io::Result<Self> {
        Ok(Self(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?))
    }

    fn wake(&self) {
        _ = rustix::io::write(&self.0, &1_u64.to_ne_bytes());
    }

    /// Waits for a client or a wake-up, at most `limit`.
    fn wait(&self, listener: &UnixListener, limit: Duration) {
        let mut fds = [PollFd::new(listener, PollFlags::IN), PollFd::new(&self.0, PollFlags::IN)];
        let limit = Timespec::try_from(limit.max(Duration::from_millis(1))).unwrap_or_default();
        _ = poll(&mut fds, Some(&limit));
        _ = rustix::io::read(&self.0, &mut [0; 8]);
    }
}

/// Tells the clients that have connected, or do so in a moment, why there is no store.
fn tell_failure(listener: &UnixListener, error: &StoreError) {
    let frame = protocol::encode(&Welcome::Failed(error.clone()), &[]);
    let deadline = Instant::now() + LAST_WORDS;
    while Instant::now() < deadline {
        match listener.accept() {
            Ok((mut stream, _)) => {
                _ = stream.set_nonblocking(false);
                _ = stream.set_read_timeout(Some(LAST_WORDS));
                _ = protocol::read::<serde_json::Value>(&mut stream);
                _ = protocol::write(&mut stream, &frame);
            }
            Err(_) => thread::sleep(Duration::from_millis(5)),
        }
    }
}
