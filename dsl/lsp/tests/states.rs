//! What a run would do, told beside the steps: of what is saved, and again when a run has written something.

mod support;

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use ls_types::{Position, Range};
use mlp_dsl::{PathKind, World, WorldError};
use mlp_lsp::{Mark, States, StepState};
use support::{CHURN, Customers, Editor, place};

/// A disk with the pipeline, and a store that counts runs.
#[derive(Clone)]
struct Desk {
    saved: Arc<Mutex<String>>,
    n_runs: Arc<AtomicUsize>,
}

impl World for Desk {
    fn read(&self, path: &Path) -> Result<String, WorldError> {
        if path.ends_with("churn.mlp") { Ok(self.saved.lock().expect("sound").clone()) } else { Customers.read(path) }
    }

    fn kind(&self, path: &Path) -> PathKind {
        Customers.kind(path)
    }
}

impl States for Desk {
    fn states(&self, file: &Path) -> Option<Vec<StepState>> {
        let text = self.read(file).ok()?;
        let n_runs = self.n_runs.load(Ordering::SeqCst);
        let state = |name: &str, class, told: &str| {
            let start = text.find(&format!("{name} "))?;
            let place = Some(start..start + name.len());
            Some(StepState { node: name.to_owned(), place, class, text: told.to_owned() })
        };
        let model = match (text.contains("= 60"), n_runs) {
            (true, 1) => ("to run", "runs: param epochs: 30 -> 60"),
            _ => ("stored", "stored"),
        };
        Some(vec![state("parts", "stored", "stored")?, state("model", model.0, model.1)?])
    }

    fn mark(&self, _: &Path) -> Option<Mark> {
        Some(self.n_runs.load(Ordering::SeqCst).to_string())
    }
}

fn desk(text: &str) -> Desk {
    Desk { saved: Arc::new(Mutex::new(text.to_owned())), n_runs: Arc::new(AtomicUsize::new(1)) }
}

#[test]
fn states_follow_what_is_saved_and_what_has_run() {
    let desk = desk(CHURN);
    let mut editor = Editor::start_with(Box::new(desk.clone()), Some(Box::new(desk.clone())));
    editor.open(CHURN);
    let line = |needle: &str| place(CHURN, needle, 0).line;
    let stored = "stored".to_owned();
    let all = [(line("parts   ="), stored.clone()), (line("model   ="), stored)];
    assert_eq!(editor.await_states(|states| !states.is_empty()), all);

    // What is typed and not saved is no run's yet.
    let from = place(CHURN, "30 in", 0);
    let to = Position { line: from.line, character: from.character + 2 };
    editor.change(Range { start: from, end: to }, "60");
    assert_eq!(editor.diagnostics().diagnostics, []);
    assert_eq!(editor.states(), []);

    *desk.saved.lock().expect("sound") = editor.text.clone();
    editor.save();
    let states = editor.await_states(|states| !states.is_empty());
    assert_eq!(states[1], (line("model   ="), "runs: param epochs: 30 -> 60".to_owned()));

    // A run ends elsewhere, and nobody tells.
    desk.n_runs.store(2, Ordering::SeqCst);
    let states = editor.await_states(|states| states[1].1 != "runs: param epochs: 30 -> 60");
    assert_eq!(states[1].1, "stored");
}

#[test]
fn nothing_is_told_of_a_text_with_errors_and_without_a_store() {
    let wrong = CHURN.replace("target: Churn", "target: Chrun");
    let desk = desk(&wrong);
    let mut editor = Editor::start_with(Box::new(desk.clone()), Some(Box::new(desk)));
    editor.open(&wrong);
    assert_eq!(editor.diagnostics().diagnostics.len(), 1);
    assert_eq!(editor.states(), []);
    let mut editor = Editor::start();
    editor.open(CHURN);
    assert_eq!(editor.diagnostics().diagnostics, []);
    assert_eq!(editor.states(), []);
}
