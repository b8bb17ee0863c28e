//! Checks texts that follow each other, as an editor has them: what was parsed and found out for one is kept for the next.

use mlp_model::KnownValues;

use super::load::Unit;
use super::memo::Memo;
use super::{CheckInput, Checked, Facts, PIPELINE, check_parsed, read};
use crate::outline::{self, Outline};
use crate::parse::Kept;
use crate::shelf::Shelf;

/// Checks one text after the other, of any files.
pub struct Inspector<'s> {
    kept: Kept<'s>,
    /// Of the file that was checked last.
    memo: Memo,
}

/// Has `work` check texts. What was parsed is kept until it returns.
pub fn inspect_many<R>(work: impl FnOnce(&mut Inspector<'_>) -> R) -> R {
    let texts: Shelf<String> = Shelf::default();
    let outlines: Shelf<Outline<'_>> = Shelf::default();
    work(&mut Inspector { kept: Kept::new(&texts, &outlines), memo: Memo::default() })
}

impl Inspector<'_> {
    /// As [`super::inspect`].
    pub fn inspect(&mut self, input: &CheckInput<'_>, facts: &mut Facts) -> Checked {
        let text = match read(input) {
            Ok(text) => text,
            Err(unreadable) => return *unreadable,
        };
        let mut diagnostics = Vec::new();
        let outline = outline::cut(PIPELINE, &text, &mut diagnostics);
        let reading = self.kept.parse_file(PIPELINE, &text, &outline, &mut diagnostics);
        let root = Unit::root(input, &text, &outline, &reading.file);
        let checked = check_parsed(input, root, &KnownValues::new(), (Some(facts), Some(&mut self.memo)), diagnostics);
        self.kept.give_back(reading);
        checked
    }

    /// Whether it keeps more than is of use: then another one should go on.
    pub fn is_worn(&self) -> bool {
        self.kept.is_worn()
    }
}
