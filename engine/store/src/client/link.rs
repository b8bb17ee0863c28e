//! The connection to the owner, kept up: what is not answered is asked again of the next owner.
//!
//! Requests are numbered; what is pending stays here until it is answered. When the owner dies, a new one is reached and
//! told what this client holds, and pending requests are sent again in their order. Unaware of what requests mean, but
//! for the few that change what the client holds.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Sender, channel, sync_channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;

use mlp_model::{Digest, RunId, StoreError};

use super::dial::{Dialed, Dialer, owner};
use crate::failure::lock;
use crate::journal::group::ClientId;
use crate::protocol::{self, Answer, Held, Hello, Numbered, PROTOCOL, Reply, Request};
use crate::stat_cache::Subject;

/// A request that this many owners have taken with them is not sent again.
const MAX_SENDS: u32 = 5;

/// So many leases are told of at once.
const MAX_GIVEN_BACK: usize = 64;

/// An answer and the bytes attached to it.
pub(crate) type Answered = Result<(Answer, Vec<u8>), StoreError>;
/// Takes an answer, on the thread for callbacks.
pub(crate) type Sink = Box<dyn FnOnce(Answered) + Send>;

pub(crate) struct Link {
    dialer: Dialer,
    client: ClientId,
    state: Mutex<State>,
    changed: Condvar,
    /// To the thread for callbacks: they may ask questions themselves.
    calls: Mutex<Sender<Box<dyn FnOnce() + Send>>>,
}

#[derive(Default)]
struct State {
    /// `None` while there is no owner.
    stream: Option<UnixStream>,
    is_closed: bool,
    next_no: u64,
    pending: BTreeMap<u64, Pending>,
    n_commits: u64,
    /// The numbers of pending commits.
    commits: BTreeSet<u64>,
    held: BTreeMap<u64, Held>,
    /// Leases that are over, of which the owner has not been told.
    given_back: Vec<u64>,
    /// Leases that take nothing any more, of which the owner has not been told.
    freed: Vec<u64>,
    groups: BTreeSet<u32>,
    runs: BTreeSet<RunId>,
    /// Runs that have begun, perhaps without the owner's answer, and have not ended.
    active: BTreeSet<RunId>,
    /// Objects that it was handed or brought in since a run of it began.
    uses: HashSet<Digest>,
}

struct Pending {
    request: Request,
    attached: Vec<u8>,
    n_sent: u32,
    sink: Sink,
}

impl Pending {
    /// Whether its sink may do anything: such sinks have a thread of their own.
    fn is_callback(&self) -> bool {
        matches!(self.request, Request::Commit { .. })
    }

    /// Whether nothing but the owner is waited for.
    fn is_answered_soon(&self) -> bool {
        !matches!(self.request, Request::Claim { .. })
    }
}

impl Link {
    /// Reaches the owner for the first time.
    pub fn open(dialer: Dialer) -> Result<Arc<Self>, StoreError> {
        let mut id = [0; 16];
        rustix::rand::getrandom(&mut id, rustix::rand::GetRandomFlags::empty())
            .map_err(|error| owner(format!("no random number can be drawn: {error}")))?;
        let client = ClientId(format!("{:032x}", u128::from_le_bytes(id)));
        let (calls, to_call) = channel::<Box<dyn FnOnce() + Send>>();
        let state = Mutex::new(State { next_no: 1, ..State::default() });
        let link = Arc::new(Self { dialer, client, state, changed: Condvar::new(), calls: Mutex::new(calls) });
        let hello = link.hello(&lock(&link.state));
        let dialed = link.dialer.dial(&hello)?;
        let reader = link.take_up(dialed, &hello);
        thread::spawn(move || to_call.into_iter().for_each(|call| call()));
        let kept = link.clone();
        thread::spawn(move || kept.keep_up(reader));
        Ok(link)
    }

    /// Asks, and gives the answer to `sink` later.
    pub fn ask(&self, request: Request, attached: Vec<u8>, sink: Sink) {
        let mut state = lock(&self.state);
        if state.is_closed {
            drop(state);
            self.call(sink, Err(owner("this client has been closed".to_owned())));
            return;
        }
        let no = state.next_no;
        state.next_no += 1;
        let mut request = request;
        match &mut request {
            Request::Commit { commit, acked_below, .. } => {
                state.n_commits += 1;
                *commit = state.n_commits;
                state.commits.insert(*commit);
                *acked_below = state.commits.first().copied().unwrap_or(*commit);
            }
            Request::Track { group } => _ = state.groups.insert(*group),
            _ => {}
        }
        state.pending.insert(no, Pending { request, attached, n_sent: 0, sink });
        state.send_pending(no);
        drop(state);
        self.changed.notify_all();
    }

    /// Asks and waits.
    pub fn ask_and_wait(&self, request: Request) -> Answered {
        self.ask_and_wait_with(request, Vec::new())
    }

    pub fn ask_and_wait_with(&self, request: Request, attached: Vec<u8>) -> Answered {
        let (sender, receiver) = sync_channel(1);
        // The answer is handed over without the thread for callbacks: a callback may be what waits.
        self.ask(request, attached, Box::new(move |answered| _ = sender.send(answered)));
        receiver.recv().unwrap_or_else(|_| Err(owner("this client has been closed".to_owned())))
    }

    /// Tells something that needs no answer. Forgotten if there is no owner.
    pub fn tell(&self, request: Request) {
        lock(&self.state).tell(request);
    }

    /// A lease takes nothing any more. The owner is told with the next request: that of the lease's record follows soon.
    pub fn free(&self, claim: u64) {
        let mut state = lock(&self.state);
        if let Some(held) = state.held.get_mut(&claim)
            && !held.portions.is_empty()
        {
            held.portions.clear();
            state.freed.push(claim);
        }
    }

    /// Ends a lease. The owner is told at once, or with others when the next answer comes.
    pub fn give_back(&self, claim: u64) {
        let mut state = lock(&self.state);
        if state.held.remove(&claim).is_some() {
            state.given_back.push(claim);
            if state.given_back.len() >= MAX_GIVEN_BACK || !state.pending.values().any(Pending::is_answered_soon) {
                state.tell_given_back();
            }
        }
    }

    pub fn untrack(&self, group: u32) {
        let mut state = lock(&self.state);
        if state.groups.remove(&group) {
            state.tell(Request::Untrack { group });
        }
    }

    /// A run is about to begin.
    pub fn begin_run(&self, run: RunId) {
        lock(&self.state).active.insert(run);
    }

    /// A run is over, or did not begin. When no other is active, no object is relied on any more.
    pub fn end_run(&self, run: &RunId) {
        let mut state = lock(&self.state);
        if state.active.remove(run) && state.active.is_empty() {
            state.uses.clear();
            state.tell(Request::ReleaseUses);
        }
    }

    /// The owner has heard that this client relies on the objects.
    pub fn rely_on(&self, digests: impl IntoIterator<Item = Digest>) {
        lock(&self.state).uses.extend(digests);
    }

    /// Whether the owner knows that this client relies on the object.
    pub fn relies_on(&self, digest: &Digest) -> bool {
        lock(&self.state).uses.contains(digest)
    }

    pub fn on_run_started(&self, run: RunId) {
        lock(&self.state).runs.insert(run);
    }

    pub fn on_run_finished(&self, run: &RunId) {
        lock(&self.state).runs.remove(run);
    }

    /// Ends the connection; whoever still waits gets an error.
    pub fn close(&self) {
        let mut state = lock(&self.state);
        state.is_closed = true;
        if let Some(stream) = state.stream.take() {
            _ = stream.shutdown(std::net::Shutdown::Both);
        }
        drop(state);
        self.fail_pending(&owner("this client has been closed".to_owned()));
        self.changed.notify_all();
    }

    /// Reads answers and reaches the next owner, until the client is closed.
    fn keep_up(&self, mut reader: impl std::io::Read) {
        self.read_all(&mut reader);
        let mut is_unreachable = false;
        loop {
            let mut state = lock(&self.state);
            state.stream = None;
            // Without anything to ask or to keep, no owner is needed; and where there was none, only a new question
            // is a reason to try again.
            while !state.is_closed && state.pending.is_empty() && (is_unreachable || state.has_nothing()) {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            if state.is_closed {
                return;
            }
            self.give_up_hopeless(&mut state);
            let hello = self.hello(&state);
            drop(state);
            match self.dialer.dial(&hello) {
                Ok(dialed) => {
                    is_unreachable = false;
                    let mut reader = self.take_up(dialed, &hello);
                    self.read_all(&mut reader);
                }
                Err(error) => {
                    is_unreachable = true;
                    self.fail_pending(&error);
                }
            }
        }
    }

    /// Uses the connection: what changed since the hello was made is told, what is pending is sent.
    fn take_up(&self, dialed: Dialed, hello: &Hello) -> std::io::BufReader<UnixStream> {
        let mut state = lock(&self.state);
        if state.is_closed {
            _ = dialed.writer.shutdown(std::net::Shutdown::Both);
        }
        state.stream = Some(dialed.writer);
        let is_over = |lease: &&Held| !state.held.contains_key(&lease.claim);
        // What they take was said in the hello, or is said now.
        state.given_back = hello.held.iter().filter(is_over).map(|lease| lease.claim).collect();
        state.tell_given_back();
        for group in hello.groups.iter().filter(|group| !state.groups.contains(group)).copied().collect::<Vec<_>>() {
            state.tell(Request::Untrack { group });
        }
        let pending: Vec<u64> = state.pending.keys().copied().collect();
        for no in pending {
            state.send_pending(no);
        }
        dialed.reader
    }

    fn read_all(&self, reader: &mut impl std::io::Read) {
        while let Ok(Some((reply, attached))) = protocol::read::<Reply>(reader) {
            self.on_reply(reply, attached);
        }
    }

    fn on_reply(&self, reply: Reply, attached: Vec<u8>) {
        let mut state = lock(&self.state);
        let Some(pending) = state.pending.remove(&reply.no) else { return };
        state.forget_commit(&pending.request);
        if let (Request::Claim { key, .. }, Ok(Answer::Granted(portions))) = (&pending.request, &reply.answer) {
            state.held.insert(reply.no, Held { claim: reply.no, key: *key, portions: portions.clone() });
        }
        match &pending.request {
            // From its answer on, the owner is known to have heard.
            Request::Use { digest } | Request::Blob { digest, .. } => _ = state.uses.insert(*digest),
            Request::Stats { subjects } => {
                state.uses.extend(subjects.iter().filter_map(|subject| match subject {
                    Subject::Object(digest) | Subject::Sealed(digest) => Some(*digest),
                    Subject::Path(_) => None,
                }));
            }
            _ => {}
        }
        if pending.is_answered_soon() {
            state.tell_given_back();
        }
        drop(state);
        let answered = reply.answer.map(|answer| (answer, attached));
        // The number of a claim is its lease's name.
        let answered = match answered {
            Ok((granted @ Answer::Granted(_), _)) => Ok((granted, reply.no.to_le_bytes().to_vec())),
            other => other,
        };
        if pending.is_callback() { self.call(pending.sink, answered) } else { (pending.sink)(answered) }
    }

    fn hello(&self, state: &State) -> Hello {
        let is_claim = |pending: &Pending| matches!(pending.request, Request::Claim { .. });
        Hello {
            protocol: PROTOCOL,
            client: self.client.clone(),
            runs: state.runs.iter().cloned().collect(),
            held: state.held.values().cloned().collect(),
            waiting: state.pending.iter().filter(|found| is_claim(found.1)).map(|found| *found.0).collect(),
            groups: state.groups.iter().copied().collect(),
            uses: state.uses.iter().copied().collect(),
        }
    }

    /// Fails what several owners have died with, so that one poisonous request does not go on for ever.
    fn give_up_hopeless(&self, state: &mut State) {
        let hopeless = state.pending.extract_if(.., |_, pending| pending.n_sent >= MAX_SENDS);
        let hopeless: Vec<_> = hopeless.collect();
        for (_, pending) in hopeless {
            state.forget_commit(&pending.request);
            let message = format!("it has ended {MAX_SENDS} times without answering{}", self.dialer.last_words());
            self.call(pending.sink, Err(owner(message)));
        }
    }

    fn fail_pending(&self, error: &StoreError) {
        let mut state = lock(&self.state);
        let pending = std::mem::take(&mut state.pending);
        state.commits.clear();
        drop(state);
        for pending in pending.into_values() {
            let answered = Err(error.clone());
            if pending.is_callback() { self.call(pending.sink, answered) } else { (pending.sink)(answered) }
        }
    }

    fn call(&self, sink: Sink, answered: Answered) {
        // The thread for callbacks lives as long as this sender.
        _ = lock(&self.calls).send(Box::new(move || sink(answered)));
    }
}

impl State {
    fn has_nothing(&self) -> bool {
        self.held.is_empty() && self.groups.is_empty() && self.runs.is_empty() && self.uses.is_empty()
    }

    fn forget_commit(&mut self, request: &Request) {
        if let Request::Commit { commit, .. } = request {
            self.commits.remove(commit);
        }
    }

    /// Sends a pending request if there is an owner. A broken connection is noticed by its reader.
    fn send_pending(&mut self, no: u64) {
        let before = if self.freed.is_empty() { None } else { self.given_back() };
        let (Some(stream), Some(pending)) = (&mut self.stream, self.pending.get_mut(&no)) else { return };
        let request = Numbered { no, resent: pending.n_sent > 0, body: &pending.request };
        pending.n_sent += 1;
        let mut frames = before.map(|body| encode_unanswered(&body)).unwrap_or_default();
        frames.extend(protocol::encode(&request, &[&pending.attached]));
        _ = stream.write_all(&frames);
    }

    fn tell_given_back(&mut self) {
        if let Some(request) = self.given_back() {
            self.tell(request);
        }
    }

    /// Returns what the owner has not been told of leases.
    fn given_back(&mut self) -> Option<Request> {
        let (claims, mut freed) = (std::mem::take(&mut self.given_back), std::mem::take(&mut self.freed));
        freed.retain(|claim| !claims.contains(claim));
        (!claims.is_empty() || !freed.is_empty()).then_some(Request::GiveBack { claims, freed })
    }

    fn tell(&mut self, request: Request) {
        if let Some(stream) = &mut self.stream {
            _ = stream.write_all(&encode_unanswered(&request));
        }
    }
}

fn encode_unanswered(request: &Request) -> Vec<u8> {
    protocol::encode(&Numbered { no: 0, resent: false, body: request }, &[])
}
