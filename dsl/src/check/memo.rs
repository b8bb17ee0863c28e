//! What the last check of a text has found out about each call. While one declaration is being typed, all others mean what
//! they meant before, unless they read from it.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use mlp_model::{Input, Word};

use super::calls::{CallResult, Results};
use super::facts::NodeFacts;
use super::load::Unit;
use super::names::{CallInst, Names};
use super::{PIPELINE, Scope};
use crate::ast::{DeclKind, Moved};

/// The calls of one check, for the next.
#[derive(Default)]
pub struct Memo {
    /// What the calls rest on.
    rests_on: u64,
    calls: Vec<Option<Remembered>>,
}

/// A call that was right.
struct Remembered {
    note: Note,
    result: CallResult,
}

/// The calls of a check that is under way.
pub struct Recall {
    rests_on: u64,
    before: Vec<Option<Remembered>>,
    /// By index: it gives something else than before, or that is not known.
    is_changed: Vec<bool>,
    /// By index: what there is to remember, without the result.
    notes: Vec<Option<Note>>,
}

struct Note {
    /// The number of its text; 0: it is to be checked again.
    text: usize,
    /// Where it stood.
    start: usize,
    /// The modules that it uses.
    modules: Vec<usize>,
    /// Once the check has ended.
    facts: Option<Arc<NodeFacts>>,
}

/// Returns what calls rest on besides the calls they read from: the text of everything else, and what calls are called.
fn rests_on(units: &[Unit<'_>], names: &Names<'_>) -> u64 {
    let mut hasher = DefaultHasher::new();
    for (number, unit) in units.iter().enumerate() {
        unit.path.hash(&mut hasher);
        if number != PIPELINE {
            unit.text.hash(&mut hasher);
            continue;
        }
        for (decl, chunk) in unit.tree.decls.iter().zip(&unit.outline.chunks) {
            match &decl.kind {
                DeclKind::Call(call) => (0_u8, call.word(), call.name.text).hash(&mut hasher),
                DeclKind::Broken { keyword, name } => {
                    (1_u8, keyword, name.map(|name| name.text)).hash(&mut hasher);
                }
                _ => (2_u8, &unit.text[chunk.start..chunk.end]).hash(&mut hasher),
            }
        }
    }
    names.calls.iter().for_each(|call| call.name.hash(&mut hasher));
    hasher.finish()
}

impl Memo {
    pub fn forget(&mut self) {
        self.calls.clear();
    }

    pub fn begin(&mut self, units: &[Unit<'_>], names: &Names<'_>) -> Recall {
        let rests_on = rests_on(units, names);
        let n_calls = names.calls.len();
        let mut before = std::mem::take(&mut self.calls);
        if self.rests_on != rests_on {
            before.clear();
        }
        before.resize_with(n_calls, || None);
        let notes = std::iter::repeat_with(|| None).take(n_calls).collect();
        Recall { rests_on, before, is_changed: vec![true; n_calls], notes }
    }

    /// Remembers what a check has found out. Returns the facts of each call.
    pub fn end(
        &mut self,
        recall: Recall,
        results: Results,
        facts_of: impl Fn(&CallResult) -> NodeFacts,
    ) -> Vec<Option<Arc<NodeFacts>>> {
        self.rests_on = recall.rests_on;
        let calls = results.into_iter().zip(recall.notes).map(|(result, note)| {
            let (result, mut note) = (result?, note?);
            note.facts.get_or_insert_with(|| Arc::new(facts_of(&result)));
            Some(Remembered { note, result })
        });
        self.calls = calls.collect();
        self.calls.iter().map(|call| call.as_ref().and_then(|call| call.note.facts.clone())).collect()
    }
}

impl Recall {
    /// Returns what is remembered of a call, if that still holds.
    pub fn find(
        &mut self,
        scope: &Scope<'_>,
        index: usize,
        reads: impl IntoIterator<Item = usize>,
    ) -> Option<CallResult> {
        let inst = &scope.names.calls[index];
        let start = inst.decl.name.span.start;
        let is_known = |call: &Remembered| call.note.text != 0 && call.note.text == inst.decl.text;
        if !self.before[index].as_ref().is_some_and(is_known) || reads.into_iter().any(|read| self.is_changed[read]) {
            return None;
        }
        let Remembered { note, mut result } = self.before[index].take()?;
        result.moved(start.wrapping_sub(note.start));
        note.modules.iter().for_each(|module| scope.names.modules[*module].is_used.store(true, Ordering::Relaxed));
        self.is_changed[index] = false;
        self.notes[index] = Some(Note { start, ..note });
        Some(result)
    }

    /// Has a call checked, and notes what is to be remembered of it.
    pub fn check(
        &mut self,
        scope: &Scope<'_>,
        index: usize,
        check: impl FnOnce() -> Option<CallResult>,
    ) -> Option<CallResult> {
        let used_before: Vec<bool> =
            scope.names.modules.iter().map(|module| module.is_used.swap(false, Ordering::Relaxed)).collect();
        let n_before = scope.report.n_findings();
        let result = check();
        let is_right = scope.report.n_findings() == n_before;
        let modules =
            scope.names.modules.iter().enumerate().filter(|(_, module)| module.is_used.load(Ordering::Relaxed));
        let modules: Vec<usize> = modules.map(|(index, _)| index).collect();
        for (module, was_used) in scope.names.modules.iter().zip(used_before) {
            module.is_used.fetch_or(was_used, Ordering::Relaxed);
        }
        let result = result?;
        let inst = &scope.names.calls[index];
        let before = self.before[index].as_ref();
        self.is_changed[index] = !before.is_some_and(|before| gives_the_same(&before.result, &result));
        let text = if is_right && stands_alone(inst, &result) { inst.decl.text } else { 0 };
        self.notes[index] = Some(Note { text, start: inst.decl.name.span.start, modules, facts: None });
        Some(result)
    }
}

/// Whether nothing but its text and what it reads from decides about a call.
fn stands_alone(inst: &CallInst<'_>, result: &CallResult) -> bool {
    let is_own = inst.env == PIPELINE && inst.within.is_none() && inst.limits.is_empty() && inst.skip.is_none();
    let sees_files = result.call.inputs.values().any(|input| !matches!(input, Input::Output { .. }));
    is_own && !sees_files && !result.reads_champion
}

/// Whether those that read from a call can tell no difference.
fn gives_the_same(a: &CallResult, b: &CallResult) -> bool {
    fn reads(result: &CallResult) -> impl Iterator<Item = (usize, &Word)> {
        result.reads.iter().map(|(call, output, _)| (*call, output))
    }
    (&a.call.op, &a.call.outputs, a.schema, a.reads_champion)
        == (&b.call.op, &b.call.outputs, b.schema, b.reads_champion)
        && reads(a).eq(reads(b))
}

impl Moved for CallResult {
    fn moved(&mut self, by: usize) {
        self.reads.iter_mut().for_each(|(_, _, span)| span.moved(by));
        self.call.arg_spans.values_mut().for_each(|span| span.moved(by));
        let predictions = self.predictions.iter_mut().flat_map(|call| call.arg_spans.values_mut());
        predictions.for_each(|span| span.moved(by));
    }
}
