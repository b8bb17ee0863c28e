//! Checks files on a thread of its own. Of several texts of one file that wait, only the newest is checked.

use std::collections::{HashMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, unbounded};
use ls_types::Uri;
use mlp_dsl::analysis::Document;
use mlp_dsl::{
    Assignments, CheckInput, Diagnostic, Facts, Inspector, Listed, PathKind, World, WorldError, inspect_many,
};
use mlp_model::SourceText;

use crate::Setup;

/// A text to be checked.
pub struct Job {
    pub uri: Uri,
    pub path: PathBuf,
    pub version: i32,
    pub document: Document,
    /// All files that are open, as they are in the editor.
    pub open: HashMap<PathBuf, Arc<String>>,
    /// What was known before.
    pub facts: Arc<Facts>,
}

pub struct Outcome {
    pub uri: Uri,
    pub version: i32,
    pub facts: Facts,
    pub diagnostics: Vec<Diagnostic>,
    pub sources: Vec<SourceText>,
    pub modules: Vec<(String, PathBuf, Document)>,
}

#[derive(Default)]
struct Waiting {
    /// In the order in which they are checked.
    jobs: Vec<Job>,
    is_closed: bool,
}

/// The thread that checks. It ends when this is dropped.
pub struct Checker {
    waiting: Arc<(Mutex<Waiting>, Condvar)>,
    thread: Option<JoinHandle<()>>,
    pub outcomes: Receiver<Outcome>,
}

impl Checker {
    pub fn start(setup: Arc<Setup>) -> std::io::Result<Self> {
        let waiting = Arc::new((Mutex::new(Waiting::default()), Condvar::new()));
        let (sender, outcomes) = unbounded();
        let shared = Arc::clone(&waiting);
        let thread =
            std::thread::Builder::new().name("check".to_owned()).spawn(move || work(&setup, &shared, &sender))?;
        Ok(Self { waiting, thread: Some(thread), outcomes })
    }

    /// Has a text checked; one of the same file that still waits is forgotten.
    pub fn add(&self, job: Job) {
        let (waiting, wake) = &*self.waiting;
        let mut waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.jobs.retain(|other| other.uri != job.uri);
        waiting.jobs.push(job);
        wake.notify_one();
    }
}

impl Drop for Checker {
    fn drop(&mut self) {
        let (waiting, wake) = &*self.waiting;
        waiting.lock().unwrap_or_else(PoisonError::into_inner).is_closed = true;
        wake.notify_one();
        if let Some(thread) = self.thread.take() {
            // A check that panicked was told about by the panic itself.
            let _ = thread.join();
        }
    }
}

fn work(setup: &Setup, shared: &(Mutex<Waiting>, Condvar), sender: &Sender<Outcome>) {
    while inspect_many(|inspector| work_with(setup, shared, sender, inspector)) {}
}

/// Returns whether there may be more to do.
fn work_with(
    setup: &Setup,
    (waiting, wake): &(Mutex<Waiting>, Condvar),
    sender: &Sender<Outcome>,
    inspector: &mut Inspector<'_>,
) -> bool {
    while !inspector.is_worn() {
        let job = {
            let mut waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner);
            loop {
                if waiting.is_closed {
                    return false;
                }
                if !waiting.jobs.is_empty() {
                    break waiting.jobs.remove(0);
                }
                waiting = wake.wait(waiting).unwrap_or_else(PoisonError::into_inner);
            }
        };
        // A panic is a bug of ours; it must not take the editor's other files with it.
        if let Ok(outcome) = catch_unwind(AssertUnwindSafe(|| check(setup, job, inspector)))
            && sender.send(outcome).is_err()
        {
            return false;
        }
    }
    true
}

fn check(setup: &Setup, job: Job, inspector: &mut Inspector<'_>) -> Outcome {
    let world = Open { files: &job.open, below: &*setup.world };
    let mut facts = Facts::default();
    let input =
        CheckInput { file: &job.path, params: &Assignments::default(), catalogue: &setup.catalogue, world: &world };
    let checked = inspector.inspect(&input, &mut facts);
    let declared: HashSet<&str> = job.document.declared().collect();
    facts.remember(&job.facts, |name| declared.contains(name));
    let folder = job.path.parent().unwrap_or(Path::new(""));
    let modules = job.document.uses().into_iter().filter_map(|(alias, written)| {
        let path = folder.join(written);
        let text = world.read(&path).ok()?;
        Some((alias, path, Document::new(text)))
    });
    Outcome {
        modules: modules.collect(),
        uri: job.uri,
        version: job.version,
        facts,
        diagnostics: checked.diagnostics,
        sources: checked.sources,
    }
}

/// Files as they are in the editor, and all others as they are below.
struct Open<'a> {
    files: &'a HashMap<PathBuf, Arc<String>>,
    below: &'a (dyn World + Send),
}

impl World for Open<'_> {
    fn read(&self, path: &Path) -> Result<String, WorldError> {
        self.files.get(path).map_or_else(|| self.below.read(path), |text| Ok(text.as_str().to_owned()))
    }

    fn kind(&self, path: &Path) -> PathKind {
        if self.files.contains_key(path) { PathKind::File } else { self.below.kind(path) }
    }

    fn list(&self, path: &Path) -> Result<Vec<Listed>, WorldError> {
        self.below.list(path)
    }

    fn line_of(&self, path: &Path, offset: usize) -> Option<usize> {
        self.below.line_of(path, offset)
    }
}
