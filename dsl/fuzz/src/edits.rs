//! Any edits of a text, and all questions an editor can ask about it after each of them.

#![no_main]

mod stream;
#[path = "../../lsp/tests/support/mod.rs"]
mod support;
mod watch;

use libfuzzer_sys::fuzz_target;
use mlp_dsl::analysis::{Document, View};
use support::everything::{ask_about_all, ask_all, facts_of};
use watch::in_time;

fuzz_target!(|bytes: &[u8]| {
    let (text, edits) = stream::read(bytes);
    let catalogue = support::catalogue();
    let mut document = Document::new(text);
    let mut facts = facts_of(document.text());
    for (n, edit) in edits.into_iter().enumerate() {
        let start = document.floor(edit.at % (document.text().len() + 1));
        let end = document.floor((start + edit.len).min(document.text().len())).max(start);
        in_time("an edit", || document.edit(start..end, &edit.new));
        if n % 4 == 3 {
            facts = in_time("a check", || facts_of(document.text()));
        }
        let view = View::new(&document, &catalogue, &facts);
        for place in [start, start + edit.new.len()] {
            in_time("all questions about a place", || ask_all(&view, document.floor(place)));
        }
        // Read edit by edit, a text is what it is when read at once.
        let again = Document::new(document.text());
        let again = View::new(&again, &catalogue, &facts);
        let outlines = [&view, &again].map(|view| format!("{:?}", mlp_dsl::analysis::outline(view)));
        assert_eq!(outlines[0], outlines[1]);
    }
    ask_about_all(&View::new(&document, &catalogue, &facts));
});
