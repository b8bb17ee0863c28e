//! Where the checks put what they find. Every phase adds to it; nothing is ever taken back.

use std::cell::{Cell, RefCell};

use crate::diagnostic::Diagnostic;
use crate::suggest;

pub struct Report {
    diagnostics: RefCell<Vec<Diagnostic>>,
    /// How many more names may be compared for suggestions: a long file of wrong names is not compared with itself.
    budget: Cell<usize>,
}

impl Report {
    pub fn new(diagnostics: Vec<Diagnostic>) -> Self {
        Self { diagnostics: RefCell::new(diagnostics), budget: Cell::new(100_000) }
    }

    pub fn add(&self, diagnostic: Diagnostic) {
        self.diagnostics.borrow_mut().push(diagnostic);
    }

    /// Returns ``did you mean `x`?`` when one of the candidates is like `word`.
    pub fn suggest<'c>(&self, word: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<String> {
        let budget = self.budget.get();
        let mut n_seen = 0;
        let help = suggest::help(word, candidates.into_iter().take(budget).inspect(|_| n_seen += 1));
        self.budget.set(budget - n_seen);
        help
    }

    pub fn into_diagnostics(self) -> Vec<Diagnostic> {
        self.diagnostics.into_inner()
    }
}
