//! Where the checks put what they find. Every phase adds to it; nothing is ever taken back.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use mlp_model::Span;

use crate::diagnostic::{Diagnostic, Severity};
use crate::suggest;

/// At most so many calls of a `def` are shown with a mistake in its body.
const MOST_SITES: usize = 4;

const IN_ROUND: &str = "in the round with ";

/// All that was found. Threads may share it, but what they add would stand in any order.
pub struct Findings {
    found: Mutex<Found>,
    /// How many more names may be compared for suggestions: a long file of wrong names is not compared with itself.
    budget: AtomicUsize,
}

#[derive(Default)]
struct Found {
    diagnostics: Vec<Diagnostic>,
    sites: Vec<Site>,
    /// Where the mistakes of bodies that are checked more than once are found again.
    seen: HashMap<(Span, String), Seen>,
}

/// Why a body is checked: the call of its `def`, or a value of its loop.
struct Site {
    /// The site within whose body this one is.
    outer: Option<usize>,
    kind: SiteKind,
}

enum SiteKind {
    /// Nobody's call: what is wrong here is wrong in every call.
    Itself,
    Call(Span),
    /// A round of a loop: `lr = 0.1`.
    Round(String),
    /// The round that stands for all of a loop whose values are not known, checked with a value that is shown so. What is wrong
    /// with it need not be wrong with any other.
    Sample(String),
}

/// What depends on values, not on their types.
const OF_VALUES: [&str; 7] = ["E0207", "E0219", "E0220", "E0229", "E0302", "E0303", "E0306"];
/// The codes with which operations say that their arguments do not fit each other.
const OF_ARGUMENTS: &str = "E035";

struct Seen {
    place: usize,
    n_sites: usize,
}

impl Findings {
    pub fn new(diagnostics: Vec<Diagnostic>) -> Self {
        let found = Found { diagnostics, ..Found::default() };
        Self { found: Mutex::new(found), budget: AtomicUsize::new(100_000) }
    }

    pub fn into_diagnostics(self) -> Vec<Diagnostic> {
        self.found.into_inner().unwrap_or_else(PoisonError::into_inner).diagnostics
    }

    fn found(&self) -> MutexGuard<'_, Found> {
        // A thread that panicked met a bug of ours, which is told where the thread ends.
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Does something on a thread, where what it finds would have no order: returns `None` if it finds anything, so that it is done
/// once more.
pub fn apart<R>(work: impl FnOnce(Report<'_>) -> R) -> Option<R> {
    // Nothing is suggested to nobody.
    let findings = Findings { found: Mutex::default(), budget: AtomicUsize::new(0) };
    let done = work(Report::new(&findings));
    findings.found().diagnostics.is_empty().then_some(done)
}

/// The findings, as the checks of one body see them.
#[derive(Clone, Copy)]
pub struct Report<'r> {
    findings: &'r Findings,
    site: Option<usize>,
}

impl<'r> Report<'r> {
    pub fn new(findings: &'r Findings) -> Self {
        Self { findings, site: None }
    }

    /// Returns the report for the body of a `def` that is checked by itself.
    pub fn for_itself(self) -> Self {
        self.within(SiteKind::Itself)
    }

    /// Returns the report for the body of a `def` that is called at `span`.
    pub fn for_call(self, span: Span) -> Self {
        self.within(SiteKind::Call(span))
    }

    /// Returns the report for one round of a loop.
    pub fn for_round(self, shown: String) -> Self {
        self.within(SiteKind::Round(shown))
    }

    /// Returns the report for the round that stands for all, checked with a value that is shown so.
    pub fn for_sample(self, shown: String) -> Self {
        self.within(SiteKind::Sample(shown))
    }

    /// Returns whether a finding may be due to a value that no round needs to have.
    fn is_about_sample(&self, diagnostic: &Diagnostic) -> bool {
        let sites = &self.findings.found().sites;
        let mut at = self.site.and_then(|site| sites.get(site));
        while let Some(site) = at {
            if let SiteKind::Sample(shown) = &site.kind {
                let code = &*diagnostic.code;
                // A short value stands in many messages by chance.
                let names_it = shown.len() > 3 && diagnostic.message.contains(shown.as_str());
                if OF_VALUES.contains(&code) || code.starts_with(OF_ARGUMENTS) || names_it {
                    return true;
                }
            }
            at = site.outer.and_then(|outer| sites.get(outer));
        }
        false
    }

    fn within(self, kind: SiteKind) -> Self {
        let sites = &mut self.findings.found().sites;
        sites.push(Site { outer: self.site, kind });
        Self { site: Some(sites.len() - 1), ..self }
    }

    /// Adds a finding. One about a body that is checked again is told once, with the calls that lead to it.
    pub fn add(&self, diagnostic: Diagnostic) {
        if self.site.is_some() && self.is_about_sample(&diagnostic) {
            return;
        }
        let Found { diagnostics, sites, seen } = &mut *self.findings.found();
        let (Some(site), Some(label)) = (self.site, diagnostic.primary()) else {
            diagnostics.push(diagnostic);
            return;
        };
        let key = (label.span, diagnostic.message.clone());
        match seen.get_mut(&key) {
            Some(seen) if seen.n_sites > 0 && seen.n_sites < MOST_SITES => {
                seen.n_sites += 1;
                let told = &mut diagnostics[seen.place];
                if let Some(note) = told.notes.iter_mut().find(|note| note.starts_with(IN_ROUND)) {
                    *note = format!("{}, and in others", note.trim_end_matches(", and in others"));
                }
                *told = with_site(told.clone(), sites, site, "and called here");
            }
            Some(_) => {}
            None => {
                let diagnostic = with_site(diagnostic, sites, site, "called here");
                let n_sites = usize::from(!matches!(sites[site].kind, SiteKind::Itself));
                seen.insert(key, Seen { place: diagnostics.len(), n_sites });
                diagnostics.push(diagnostic);
            }
        }
    }

    pub fn n_findings(&self) -> usize {
        self.findings.found().diagnostics.len()
    }

    pub fn has_errors(&self) -> bool {
        self.findings.found().diagnostics.iter().any(|diagnostic| diagnostic.severity == Severity::Error)
    }

    /// Returns ``did you mean `x`?`` when one of the candidates is like `word`.
    pub fn suggest<'c>(&self, word: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<String> {
        let budget = self.findings.budget.load(Ordering::Relaxed);
        let mut n_seen = 0;
        let help = suggest::help(word, candidates.into_iter().take(budget).inspect(|_| n_seen += 1));
        self.findings.budget.store(budget - n_seen, Ordering::Relaxed);
        help
    }
}

fn with_site(mut diagnostic: Diagnostic, sites: &[Site], site: usize, text: &str) -> Diagnostic {
    let mut at = Some(site);
    for _ in 0..MOST_SITES {
        let Some(site) = at.and_then(|at| sites.get(at)) else { break };
        match &site.kind {
            SiteKind::Call(span) if diagnostic.labels.iter().all(|label| label.span != *span) => {
                diagnostic = diagnostic.and(*span, text);
            }
            SiteKind::Round(shown) if diagnostic.notes.is_empty() => {
                diagnostic = diagnostic.note(format!("{IN_ROUND}{shown}"));
            }
            SiteKind::Itself | SiteKind::Call(_) | SiteKind::Round(_) | SiteKind::Sample(_) => {}
        }
        at = site.outer;
    }
    diagnostic
}
