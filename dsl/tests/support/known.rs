//! A text as an editor has it, with what the checker finds out about it.

use std::path::Path;

use mlp_dsl::analysis::{Document, View};
use mlp_dsl::{Assignments, CheckInput, Facts, World, inspect};
use mlp_model::Catalogue;

use super::Memory;

/// A text with what the checker finds out about it.
pub struct Known {
    pub document: Document,
    pub facts: Facts,
    pub catalogue: Catalogue,
}

impl Known {
    pub fn new(text: &str) -> Self {
        let world = Memory(Ok(text));
        let catalogue = super::catalogue();
        let mut facts = Facts::default();
        let params = Assignments::default();
        let file = Path::new("flows/churn.mlp");
        inspect(&CheckInput { file, params: &params, catalogue: &catalogue, world: &world as &dyn World }, &mut facts);
        Self { document: Document::new(text), facts, catalogue }
    }

    pub fn view(&self) -> View<'_> {
        View::new(&self.document, &self.catalogue, &self.facts)
    }

    /// Takes the text apart from the cursor; types are known from `before`, as while a line is being typed.
    pub fn typing(before: &str, marked: &str) -> (Self, usize) {
        let at = marked.find("<|>").expect("a cursor");
        let text = marked.replace("<|>", "");
        let mut known = Self::new(&text);
        let declared: Vec<String> = known.document.declared().map(str::to_owned).collect();
        known.facts.remember(&Self::new(before).facts, |name| declared.iter().any(|other| other == name));
        (known, at)
    }
}

/// Returns the byte at which a text has `needle` for the `nth` time, counted from 0.
pub fn place_of(text: &str, needle: &str, nth: usize) -> usize {
    text.match_indices(needle).nth(nth).unwrap_or_else(|| panic!("no {nth}. `{needle}`")).0
}
