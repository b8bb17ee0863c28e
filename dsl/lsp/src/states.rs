//! What a run would do with the steps of each file, asked on a thread of its own: it may take long, and nothing waits for it.
//!
//! It is asked about texts that check without errors and stand on the disk as they are in the editor, and asked again when
//! a run has written something. Knows no store and no plan, which stand behind [`States`].

use std::collections::HashMap;
use std::fmt::Debug;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, unbounded};
use ls_types::Uri;
use mlp_dsl::analysis::{SymbolKind, View};

use crate::Setup;

/// How often it is looked whether a run has written something, while files are open. It has ended, or is at one long step,
/// when nothing is written for as long.
const PERIOD: Duration = Duration::from_secs(2);

/// So many nodes of one step are listed.
const MOST_LISTED: usize = 20;

/// Says what a run would do with the steps of a file, and runs nothing.
pub trait States: Send + Sync {
    /// Returns what a run would do with each node of a file as it is on the disk; `None` if that cannot be told.
    fn states(&self, file: &Path) -> Option<Vec<StepState>>;

    /// Returns what differs once a run has written something that concerns a file. Cheap.
    fn mark(&self, file: &Path) -> Option<Mark>;
}

/// Something to be compared with what it was before.
pub type Mark = String;

/// What a run would do with one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepState {
    /// As the checked pipeline calls it: `by_width[16].model`.
    pub node: String,
    /// Where its name is written in the file; `None` where that is another one.
    pub place: Option<Range<usize>>,
    /// In one word, for many nodes together: `stored`, `to run`.
    pub class: &'static str,
    /// `stored`, `runs: param lr: 0.1 -> 0.2`.
    pub text: String,
}

/// A text that checks.
pub struct Job {
    pub uri: Uri,
    pub path: PathBuf,
    pub version: i32,
    pub text: Arc<String>,
}

enum Wish {
    Tell(Job),
    Forget(Uri),
}

pub struct Told {
    pub uri: Uri,
    pub version: i32,
    pub states: Known,
}

/// The thread that asks. It ends when this is dropped.
pub struct Teller {
    wishes: Option<Sender<Wish>>,
    thread: Option<JoinHandle<()>>,
    pub told: Receiver<Told>,
}

impl Teller {
    /// Starts the thread; without states to tell there is none, and nothing is ever told.
    pub fn start(setup: Arc<Setup>) -> std::io::Result<Self> {
        if setup.states.is_none() {
            return Ok(Self { wishes: None, thread: None, told: crossbeam_channel::never() });
        }
        let (wishes, wished) = unbounded();
        let (sender, told) = unbounded();
        let thread =
            std::thread::Builder::new().name("states".to_owned()).spawn(move || work(&setup, &wished, &sender))?;
        Ok(Self { wishes: Some(wishes), thread: Some(thread), told })
    }

    pub fn add(&self, job: Job) {
        self.wish(Wish::Tell(job));
    }

    pub fn forget(&self, uri: Uri) {
        self.wish(Wish::Forget(uri));
    }

    fn wish(&self, wish: Wish) {
        if let Some(wishes) = &self.wishes {
            // A thread that is gone has panicked, which was told then.
            let _ = wishes.send(wish);
        }
    }
}

impl Drop for Teller {
    fn drop(&mut self) {
        drop(self.wishes.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A file with what was written when it was last told, and when it was last looked.
struct Kept {
    job: Job,
    told: Option<Mark>,
    seen: Option<Mark>,
}

fn work(setup: &Setup, wished: &Receiver<Wish>, sender: &Sender<Told>) {
    let Some(states) = setup.states.as_deref() else { return };
    let mut files: HashMap<String, Kept> = HashMap::new();
    let mut fresh: Vec<String> = Vec::new();
    loop {
        let first = match files.is_empty() {
            true => wished.recv().map_err(|_| RecvTimeoutError::Disconnected),
            false => wished.recv_timeout(PERIOD),
        };
        match first {
            Ok(first) => {
                // Of several texts of one file, the newest is meant.
                for wish in std::iter::once(first).chain(wished.try_iter()) {
                    match wish {
                        Wish::Tell(job) => {
                            let key = job.uri.as_str().to_owned();
                            files.insert(key.clone(), Kept { job, told: None, seen: None });
                            fresh.push(key);
                        }
                        Wish::Forget(uri) => _ = files.remove(uri.as_str()),
                    }
                }
            }
            Err(RecvTimeoutError::Timeout) => {
                for (key, kept) in &mut files {
                    let now = states.mark(&kept.job.path);
                    if now != kept.told && now == kept.seen {
                        fresh.push(key.clone());
                    }
                    kept.seen = now;
                }
            }
            Err(RecvTimeoutError::Disconnected) => return,
        }
        for key in fresh.drain(..) {
            let Some(kept) = files.get_mut(&key) else { continue };
            let job = &kept.job;
            let is_saved = || setup.world.read(&job.path).is_ok_and(|text| text == *job.text);
            if !is_saved() {
                files.remove(&key);
                continue;
            }
            kept.told = states.mark(&job.path);
            kept.seen.clone_from(&kept.told);
            // A panic is a bug of ours; it costs hints and not the editor's session.
            let found = catch_unwind(AssertUnwindSafe(|| states.states(&job.path))).ok().flatten();
            let told =
                Told { uri: job.uri.clone(), version: job.version, states: Known::new(found.unwrap_or_default()) };
            if sender.send(told).is_err() {
                return;
            }
        }
    }
}

/// What a run would do with the nodes of one file, ready to be asked about its text.
#[derive(Debug, Default)]
pub struct Known {
    states: Vec<StepState>,
    /// By where the name of a node is written.
    by_start: HashMap<usize, Vec<usize>>,
    /// By the calls of `def`s that made them: their places in the file.
    by_call: HashMap<String, Vec<usize>>,
}

impl Known {
    pub fn new(states: Vec<StepState>) -> Self {
        let mut known = Self::default();
        for (at, state) in states.iter().enumerate() {
            if let Some(place) = &state.place {
                known.by_start.entry(place.start).or_default().push(at);
            }
            let plain = mlp_dsl::without_keys(&state.node);
            for (end, _) in plain.match_indices('.') {
                known.by_call.entry(plain[..end].to_owned()).or_default().push(at);
            }
        }
        known.states = states;
        known
    }

    pub fn is_same(&self, other: &Self) -> bool {
        self.states == other.states
    }

    /// Returns what is told beside each declaration of a range: where, in a few words, and in full.
    pub fn beside(&self, view: &View<'_>, range: Range<usize>) -> Vec<(usize, String, String)> {
        if self.states.is_empty() {
            return Vec::new();
        }
        let symbols = view.index.symbols_from(view.document.piece_at(range.start));
        let symbols = symbols.take_while(|(_, symbol)| symbol.start <= range.end);
        let is_in = |end: usize| range.start <= end && end <= range.end;
        let told = symbols.filter(|(_, symbol)| symbol.kind.is_node() && is_in(symbol.end));
        let told = told.filter_map(|(_, symbol)| {
            let own = self.by_start.get(&symbol.name.start);
            let of_call = || self.by_call.get(&view.place(symbol)).filter(|_| symbol.kind == SymbolKind::Step);
            let nodes: Vec<&StepState> = own.or_else(of_call)?.iter().filter_map(|at| self.states.get(*at)).collect();
            let (text, doc) = together(&nodes);
            Some((symbol.end, text, doc))
        });
        told.collect()
    }
}

/// Says of several nodes in a few words, and in full, what a run would do with them.
fn together(states: &[&StepState]) -> (String, String) {
    let Some(first) = states.first() else { return (String::new(), String::new()) };
    let mut doc: Vec<String> =
        states.iter().take(MOST_LISTED).map(|state| format!("- `{}`: {}", state.node, state.text)).collect();
    if states.len() > MOST_LISTED {
        doc.push(format!("- and {} more", states.len() - MOST_LISTED));
    }
    let doc = doc.join("\n");
    if states.iter().all(|state| state.text == first.text) {
        return (first.text.clone(), doc);
    }
    let mut counts: Vec<(&str, usize)> = Vec::new();
    for state in states {
        match counts.iter_mut().find(|(class, _)| *class == state.class) {
            Some((_, n)) => *n += 1,
            None => counts.push((state.class, 1)),
        }
    }
    (counts.iter().map(|(class, n)| format!("{n} {class}")).collect::<Vec<_>>().join(", "), doc)
}
