//! Commits on their way out: in the order of the calls, each after the objects that came before it are on the disk.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use mlp_model::{CommitGuard, Digest, Done, Record, fail_point};

use super::link::{Link, Sink};
use crate::failure::lock;
use crate::objects::Objects;
use crate::protocol::Request;

pub(crate) struct Outgoing {
    link: Arc<Link>,
    objects: Arc<Objects>,
    queue: Mutex<Queue>,
    changed: Condvar,
    inline: Mutex<InlineObjects>,
}

#[derive(Default)]
struct Queue {
    commits: VecDeque<Prepared>,
    /// The thread has taken some and is syncing objects for them.
    is_busy: bool,
    is_closed: bool,
}

struct Prepared {
    request: Request,
    attached: Vec<u8>,
    sink: Sink,
}

/// Objects that will live in the journal.
#[derive(Default)]
struct InlineObjects {
    all: HashMap<Digest, Inline>,
    /// Those that go with the next commit.
    waiting: Vec<Digest>,
    /// Some that went with a commit not long ago, and the order in which they did: the next step mostly reads what the last one
    /// made.
    recent: HashMap<Digest, Arc<[u8]>>,
    order: VecDeque<Digest>,
}

/// How long after the beginning of a sync of many objects the next one may begin.
const GATHER: Duration = Duration::from_millis(20);
const MANY_OBJECTS: usize = 16;
/// How many objects are remembered that are in the journal.
const MAX_RECENT: usize = 4096;

struct Inline {
    bytes: Arc<[u8]>,
    is_waiting: bool,
    n_in_flight: usize,
}

impl InlineObjects {
    fn remember(&mut self, digest: Digest, bytes: Arc<[u8]>) {
        if self.recent.insert(digest, bytes).is_none() {
            self.order.push_back(digest);
        }
        if self.order.len() > MAX_RECENT
            && let Some(oldest) = self.order.pop_front()
        {
            self.recent.remove(&oldest);
        }
    }

    fn wait(&mut self, digest: Digest) {
        if let Some(inline) = self.all.get_mut(&digest)
            && !inline.is_waiting
        {
            inline.is_waiting = true;
            self.waiting.push(digest);
        }
    }
}

impl Outgoing {
    pub fn open(link: Arc<Link>, objects: Arc<Objects>) -> Arc<Self> {
        let outgoing = Arc::new(Self {
            link,
            objects,
            queue: Mutex::default(),
            changed: Condvar::new(),
            inline: Mutex::default(),
        });
        let kept = outgoing.clone();
        thread::spawn(move || kept.sync_and_send());
        outgoing
    }

    /// Lets the object go with the next commit.
    pub fn put(&self, digest: Digest, bytes: Vec<u8>) {
        let mut inline = lock(&self.inline);
        // It is in the journal.
        if inline.recent.contains_key(&digest) {
            return;
        }
        let new = || Inline { bytes: bytes.into(), is_waiting: false, n_in_flight: 0 };
        inline.all.entry(digest).or_insert_with(new);
        inline.wait(digest);
    }

    /// Returns the bytes of an object that is not known to be in the journal yet.
    pub fn bytes(&self, digest: &Digest) -> Option<Arc<[u8]>> {
        lock(&self.inline).all.get(digest).map(|inline| inline.bytes.clone())
    }

    /// Returns the bytes of an object that was put not long ago.
    pub fn recent(&self, digest: &Digest) -> Option<Arc<[u8]>> {
        let inline = lock(&self.inline);
        inline.all.get(digest).map(|inline| &inline.bytes).or_else(|| inline.recent.get(digest)).cloned()
    }

    /// Sends a commit, now or when objects are on the disk. `from` names the store that the records were written in, if
    /// it is another one.
    pub fn commit(
        self: &Arc<Self>,
        records: &[Record],
        guard: Option<CommitGuard>,
        from: Option<String>,
        done: Done<()>,
    ) {
        let mut attached = Vec::new();
        let mut lens = Vec::with_capacity(records.len());
        for record in records {
            let start = attached.len();
            serde_json::to_writer(&mut attached, record).expect("records have text keys");
            lens.push(u32::try_from(attached.len() - start).unwrap_or(u32::MAX));
        }
        // The queue's lock keeps the order of the calls.
        let mut queue = lock(&self.queue);
        let blobs = self.take_waiting(&mut attached);
        let digests: Vec<Digest> = blobs.iter().map(|blob| blob.0).collect();
        let this = self.clone();
        let sink: Sink = Box::new(move |answered| {
            this.settle(&digests, answered.is_ok());
            done(answered.map(|_| ()));
        });
        let prepared = Prepared {
            request: Request::Commit { commit: 0, guard, from, acked_below: 0, records: lens, blobs },
            attached,
            sink,
        };
        if queue.commits.is_empty() && !queue.is_busy && !self.objects.is_unsynced() {
            self.send(prepared);
            return;
        }
        queue.commits.push_back(prepared);
        drop(queue);
        self.changed.notify_all();
    }

    pub fn close(&self) {
        lock(&self.queue).is_closed = true;
        self.changed.notify_all();
    }

    fn take_waiting(&self, attached: &mut Vec<u8>) -> Vec<(Digest, u32)> {
        let mut blobs = Vec::new();
        let mut inline = lock(&self.inline);
        for digest in std::mem::take(&mut inline.waiting) {
            if let Some(inline) = inline.all.get_mut(&digest) {
                inline.is_waiting = false;
                inline.n_in_flight += 1;
                attached.extend_from_slice(&inline.bytes);
                blobs.push((digest, u32::try_from(inline.bytes.len()).unwrap_or(u32::MAX)));
            }
        }
        blobs
    }

    /// A commit with these objects was answered. Those of a refused one go with the next.
    fn settle(&self, digests: &[Digest], is_committed: bool) {
        fail_point("commit.answered");
        let mut inline = lock(&self.inline);
        for digest in digests {
            if let Some(found) = inline.all.get_mut(digest) {
                found.n_in_flight -= 1;
                if !is_committed {
                    inline.wait(*digest);
                } else if found.n_in_flight == 0
                    && !found.is_waiting
                    && let Some(Inline { bytes, .. }) = inline.all.remove(digest)
                {
                    inline.remember(*digest, bytes);
                }
            }
        }
    }

    fn send(&self, Prepared { request, attached, sink }: Prepared) {
        fail_point("commit.sending");
        self.link.ask(request, attached, sink);
        fail_point("commit.sent");
    }

    fn sync_and_send(&self) {
        let mut may_begin = Instant::now();
        loop {
            let mut queue = lock(&self.queue);
            queue.is_busy = false;
            while queue.commits.is_empty() && !queue.is_closed {
                queue = self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
            }
            // What comes soon goes with it: twenty objects take hardly longer than two, and share their folders.
            while let rest = may_begin.saturating_duration_since(Instant::now())
                && !rest.is_zero()
                && !queue.is_closed
            {
                queue = self.changed.wait_timeout(queue, rest).unwrap_or_else(PoisonError::into_inner).0;
            }
            if queue.commits.is_empty() {
                return;
            }
            let commits = std::mem::take(&mut queue.commits);
            queue.is_busy = true;
            drop(queue);
            let began_at = Instant::now();
            let synced = self.objects.sync();
            // Where many came meanwhile, more will come; nobody else is made to wait.
            if synced.as_ref().is_ok_and(|n_objects| *n_objects >= MANY_OBJECTS) {
                may_begin = began_at + GATHER;
            }
            for prepared in commits {
                match &synced {
                    Ok(_) => self.send(prepared),
                    Err(error) => (prepared.sink)(Err(error.clone())),
                }
            }
        }
    }
}
