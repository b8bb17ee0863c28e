//! One connection: greets the client, answers its questions, passes its commits on, and cleans up after it.

use std::io::{BufReader, Write};
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use mlp_model::{Digest, StoreError};
use rustix::net::sockopt::socket_peercred;
use rustix::net::{SendFlags, send};

use super::claims::Ticket;
use super::desk::Outbox;
use super::{End, Order, Owner};
use crate::failure::lock;
use crate::foreseen;
use crate::journal::group::ClientId;
use crate::ledger::Commit;
use crate::process::ProcessMark;
use crate::protocol::{self, Answer, Hello, Numbered, PROTOCOL, Reply, Request, Welcome};
use crate::questions::Unanswered;
use crate::stat_cache::{Known, Subject, encode_all};

/// An answer of up to this size is written by the thread that found it.
const MAX_AT_ONCE: usize = 8192;

/// A client that connects and then says nothing is not waited for.
const GREETING: Duration = Duration::from_secs(10);

/// Serves the client at the other end of `stream` until it closes or the owner ends.
pub(super) fn serve(owner: &Arc<Owner>, stream: UnixStream) {
    let Some((mut reader, hello, process)) = greet(owner, &stream) else { return };
    let (outbox, to_write) = channel();
    let Ok(copy) = stream.try_clone() else { return };
    let copy = Arc::new(Mutex::new(copy));
    let writer = {
        let copy = copy.clone();
        thread::spawn(move || write_all(&copy, &to_write))
    };
    let client = hello.client.clone();
    // The welcome goes first, whatever the desk has to tell.
    _ = outbox.send(protocol::encode(&Welcome::Ready, &[]));
    let serial = lock(&owner.desk).on_hello(hello, process, outbox.clone());
    let session = Session { owner, client, outbox, stream: copy };
    while let Ok(Some((request, attached))) = protocol::read::<Numbered<Request>>(&mut reader) {
        if !session.take(request, &attached) {
            break;
        }
    }
    // An owner that ends leaves leases and groups to the next one; the client will come back.
    if !owner.is_over.load(Ordering::Acquire) {
        let left = lock(&owner.desk).on_leave(&session.client, serial);
        if let Some(groups) = left {
            owner.end_groups(session.client.clone(), groups);
        }
    }
    // Others may still have the outbox: an empty frame tells the writer that this was all.
    _ = session.outbox.send(Vec::new());
    _ = writer.join();
    _ = stream.shutdown(std::net::Shutdown::Both);
    owner.wake.wake();
}

/// Reads the first frame. `None`: the client is not served.
fn greet(owner: &Owner, stream: &UnixStream) -> Option<(BufReader<UnixStream>, Hello, ProcessMark)> {
    stream.set_nonblocking(false).ok()?;
    let peer = socket_peercred(stream).ok()?;
    if peer.uid != rustix::process::getuid() {
        return None;
    }
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    stream.set_read_timeout(Some(GREETING)).ok()?;
    let (hello, _) = protocol::read::<serde_json::Value>(&mut reader).ok()??;
    stream.set_read_timeout(None).ok()?;
    if hello.get("protocol").and_then(serde_json::Value::as_u64) != Some(u64::from(PROTOCOL)) {
        let mut stream = stream;
        _ = stream.write_all(&protocol::encode(&Welcome::OtherProtocol(PROTOCOL), &[]));
        if lock(&owner.desk).n_connected() == 0 {
            // Makes room for an owner that the client understands.
            owner.end(End::Idle);
        }
        return None;
    }
    let pid = u32::try_from(peer.pid.as_raw_nonzero().get()).ok()?;
    let process = ProcessMark::of(pid).unwrap_or(ProcessMark { pid, started: 0, ..ProcessMark::own() });
    Some((reader, serde_json::from_value(hello).ok()?, process))
}

fn write_all(stream: &Mutex<UnixStream>, frames: &Receiver<Vec<u8>>) {
    let mut is_over = false;
    while !is_over && let Ok(mut frame) = frames.recv() {
        is_over = frame.is_empty();
        // Many small answers make one write.
        while !is_over
            && frame.len() < 1 << 16
            && let Ok(next) = frames.try_recv()
        {
            is_over = next.is_empty();
            frame.extend_from_slice(&next);
        }
        let mut stream = lock(stream);
        if protocol::write(&mut *stream, &frame).is_err() {
            // The reading side notices, too.
            _ = stream.shutdown(std::net::Shutdown::Both);
            return;
        }
    }
}

struct Session<'o> {
    owner: &'o Arc<Owner>,
    client: ClientId,
    outbox: Outbox,
    /// The same connection as the outbox is written to, a frame at a time.
    stream: Arc<Mutex<UnixStream>>,
}

impl Session<'_> {
    /// Takes one request; false: do not go on.
    fn take(&self, request: Numbered<Request>, attached: &[u8]) -> bool {
        let Numbered { no, resent, body } = request;
        if let Request::Commit { commit: commit_no, guard, from, acked_below, records, blobs } = body {
            let lens = records.iter().copied().chain(blobs.iter().map(|blob| blob.1));
            let Some(mut records_and_blobs) = protocol::split(attached, lens) else { return false };
            let contents = records_and_blobs.split_off(records.len());
            let blobs = blobs.iter().map(|blob| blob.0).zip(contents).collect();
            let client = self.client.clone();
            let records = records_and_blobs;
            let commit = Commit { client, no: commit_no, acked_below, resent, guard, from, records, blobs };
            return self.owner.orders.send(Order::Commit { commit, no, outbox: self.outbox.clone() }).is_ok();
        }
        if matches!(body, Request::Remove) {
            let removed = self.owner.collector.remove(&self.owner.desk, &self.client, attached);
            self.reply(no, removed.map(Answer::Removed), &[]);
            return true;
        }
        // sled may panic on files that were damaged while it was running.
        let answered = catch_unwind(AssertUnwindSafe(|| self.answer(no, body)));
        match answered {
            Ok(Ok(())) => true,
            Ok(Err(Unanswered::Store(error))) => {
                self.reply(no, Err(error), &[]);
                true
            }
            Ok(Err(Unanswered::Index(error))) => {
                self.owner.fail(StoreError::Owner { message: error.to_string() });
                false
            }
            Err(_) => {
                self.owner.fail(StoreError::Owner { message: "a question made the owner panic".to_owned() });
                false
            }
        }
    }

    fn answer(&self, no: u64, request: Request) -> Result<(), Unanswered> {
        let questions = &self.owner.questions;
        let answer = match request {
            Request::Commit { .. } | Request::Remove => return Ok(()),
            Request::Claim { key, seen, takes } => {
                let mut desk = lock(&self.owner.desk);
                // Under the lock, so that a result which comes in now is either seen here or told to the waiter.
                let newest = questions.newest_result(&key)?;
                match desk.claim(Ticket { client: self.client.clone(), no }, key, (seen, newest), takes) {
                    Some(answer) => answer,
                    None => return Ok(()),
                }
            }
            Request::Holdups { keys } => {
                let desk = lock(&self.owner.desk);
                Answer::Holdups(keys.iter().map(|key| desk.holdup(&self.client, key)).collect())
            }
            Request::GiveBack { claims, freed } => {
                lock(&self.owner.desk).give_back(&self.client, &claims, &freed);
                return Ok(());
            }
            Request::SetStats { known } => {
                questions.index.set_stats(known.into_iter().map(|(subject, known)| {
                    let key = subject.key();
                    (key[..].into(), known.encode(&key).into())
                }));
                return Ok(());
            }
            Request::Use { digest } => {
                lock(&self.owner.desk).use_object(&self.client, digest);
                Answer::Done
            }
            Request::ReleaseUses => {
                lock(&self.owner.desk).release_uses(&self.client);
                return Ok(());
            }
            Request::BeginCollection => {
                self.begin_collection(no)?;
                return Ok(());
            }
            Request::EndCollection => {
                lock(&self.owner.desk).end_collection(&self.client);
                return Ok(());
            }
            Request::RemoveDamaged => {
                let (n_files, size_bytes) = self.owner.collector.remove_damaged()?;
                Answer::Damaged { n_files, size_bytes }
            }
            Request::Collections => Answer::Stored(questions.collections()?),
            Request::Erasures => Answer::Stored(questions.erasures()?),
            Request::IndexState { recount } => {
                let counted = if recount { questions.index.recount()? } else { None };
                let is_counted = counted.is_some();
                Answer::IndexState(counted.unwrap_or_else(|| questions.index.meta()).state(is_counted))
            }
            Request::MakeRoom => {
                let n_others = lock(&self.owner.desk).n_connected().saturating_sub(1);
                if n_others == 0 {
                    self.owner.end(End::Idle);
                }
                Answer::Count(n_others as u64)
            }
            Request::Blob { digest, is_wanted } => {
                lock(&self.owner.desk).use_object(&self.client, digest);
                let bytes = questions.blob(&digest)?;
                let attached = bytes.as_deref().filter(|_| is_wanted).unwrap_or_default();
                self.reply(no, Ok(Answer::Blob(bytes.is_some())), attached);
                return Ok(());
            }
            Request::Track { group } => {
                lock(&self.owner.desk).track(&self.client, group);
                Answer::Done
            }
            Request::Untrack { group } => {
                lock(&self.owner.desk).untrack(&self.client, group);
                return Ok(());
            }
            Request::Stats { subjects } => {
                let mut desk = lock(&self.owner.desk);
                for subject in &subjects {
                    if let Subject::Object(digest) | Subject::Sealed(digest) = subject {
                        desk.use_object(&self.client, *digest);
                    }
                }
                drop(desk);
                let keys: Vec<Vec<u8>> = subjects.iter().map(Subject::key).collect();
                let found = questions.index.stats(&keys)?.into_iter().zip(&keys);
                let known: Vec<_> = found.map(|(found, key)| Known::decode(key, &found?)).collect();
                self.reply(no, Ok(Answer::Stats), &encode_all(&known));
                return Ok(());
            }
            Request::Result { key } => Answer::Result(questions.result(&key)?),
            Request::ResultReused { key, run, seq } => Answer::ResultReused(questions.result_reused(&key, &run, seq)?),
            Request::Foresee { asked } => {
                let rely_on = |outputs: &mut dyn Iterator<Item = Digest>| {
                    let mut desk = lock(&self.owner.desk);
                    outputs.for_each(|digest| desk.use_object(&self.client, digest));
                };
                let found = foreseen::encode(&questions.foresee(&asked, &rely_on)?);
                self.reply(no, Ok(Answer::Foreseen), &found);
                return Ok(());
            }
            Request::NewestRecords { steps } => Answer::NewestRecords(questions.newest_records(&steps)?),
            Request::Runs { limit, before } => {
                let mut runs = questions.runs(limit, before.as_ref())?;
                lock(&self.owner.desk).mark_alive(&mut runs);
                Answer::Runs(runs)
            }
            Request::FindRuns { prefix } => {
                let mut runs = questions.find_runs(&prefix)?;
                lock(&self.owner.desk).mark_alive(&mut runs);
                Answer::Runs(runs)
            }
            Request::RunRecords { run } => Answer::Stored(questions.run_records(&run)?),
            Request::StepHistory { step, limit } => Answer::Stored(questions.step_history(&step, limit)?),
            Request::OpHistory { op, limit } => Answer::Stored(questions.op_history(&op, limit)?),
            Request::Producers { artifact } => Answer::Stored(questions.producers(&artifact)?),
            Request::Consumers { artifact } => Answer::Stored(questions.consumers(&artifact)?),
            Request::FindArtifacts { prefix, limit } => Answer::Digests(questions.find_artifacts(&prefix, limit)?),
            Request::ReleaseRecords { release } => Answer::Stored(questions.release_records(&release)?),
            Request::Releases => Answer::Names(questions.releases()?),
            Request::CountRecords => Answer::Count(questions.count_records()?),
            Request::Position => Answer::Position(questions.position()),
        };
        self.reply(no, Ok(answer), &[]);
        Ok(())
    }

    /// Begins a collection once all clients of the owner before have come back, with what they rely on, or are given up.
    fn begin_collection(&self, no: u64) -> Result<(), StoreError> {
        while lock(&self.owner.desk).is_expecting() && !self.owner.is_over.load(Ordering::Acquire) {
            thread::sleep(Duration::from_millis(20));
        }
        if !lock(&self.owner.desk).begin_collection(&self.client) {
            return Err(StoreError::Owner { message: "another process is collecting or merging just now".to_owned() });
        }
        // A client that has left may have commits that are still on their way to the journal.
        _ = self.owner.orders.send(Order::Barrier { no, outbox: self.outbox.clone() });
        Ok(())
    }

    /// Answers from this thread: waking another one takes longer than most answers do. Never waits, or else a client
    /// that writes and does not read yet would wait for us, and we for it.
    fn reply_at_once(&self, frame: &[u8]) -> bool {
        let Ok(mut stream) = self.stream.try_lock() else { return false };
        if frame.len() > MAX_AT_ONCE {
            return false;
        }
        match send(&*stream, frame, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
            Ok(n_sent) if n_sent == frame.len() => true,
            // The kernel takes so little in one piece; a frame must not be cut all the same.
            Ok(n_sent) => {
                _ = protocol::write(&mut *stream, frame.get(n_sent..).unwrap_or_default());
                true
            }
            Err(_) => false,
        }
    }

    fn reply(&self, no: u64, answer: Result<Answer, StoreError>, attached: &[u8]) {
        let frame = protocol::encode(&Reply { no, answer }, &[attached]);
        if !self.reply_at_once(&frame) {
            // The writer is gone only when the connection is.
            _ = self.outbox.send(frame);
        }
    }
}
