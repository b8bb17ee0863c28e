//! Whatever is typed, every request is answered, within the text.

mod support;

use mlp_dsl::Facts;
use mlp_dsl::analysis::*;
use proptest::prelude::*;
use support::catalogue;
use support::everything::{PIECES, ask_about_all, ask_all, facts_of};

const PIPELINES: [&str; 4] = [
    support::CHURN,
    include_str!("../../../pipelines/churn/churn.mlp"),
    include_str!("../../../pipelines/churn/logistic.mlp"),
    include_str!("../../../pipelines/demand/demand.mlp"),
];

#[test]
fn texts_cut_off_anywhere_are_answered_about() {
    let catalogue = catalogue();
    for text in PIPELINES {
        let facts = facts_of(text);
        for end in (0..=text.len()).filter(|end| text.is_char_boundary(*end)) {
            let document = Document::new(&text[..end]);
            let view = View::new(&document, &catalogue, &facts);
            ask_all(&view, end);
            if end % 16 == 0 {
                ask_about_all(&view);
            }
        }
    }
}

#[test]
fn deep_nesting_is_no_overflow() {
    let (catalogue, facts) = (catalogue(), Facts::default());
    for open in ["(", "[", "{", "f(", "a: [", "def x() {\nstep y = "] {
        let text = format!("step a = {}", open.repeat(100_000));
        let document = Document::new(text.as_str());
        let view = View::new(&document, &catalogue, &facts);
        ask_all(&view, text.len());
        ask_about_all(&view);
    }
}

fn edits() -> impl Strategy<Value = Vec<(usize, usize, String)>> {
    let new = prop::collection::vec(prop::sample::select(PIECES.to_vec()), 0..3).prop_map(|parts| parts.concat());
    prop::collection::vec((0_usize..10_000, 0_usize..12, new), 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]
    #[test]
    fn edited_texts_are_answered_about(which in 0..PIPELINES.len(), edits in edits(), deleted in prop::bool::ANY) {
        let catalogue = catalogue();
        let mut document = Document::new(PIPELINES[which]);
        let mut facts = facts_of(PIPELINES[which]);
        for (step, (at, length, new)) in edits.into_iter().enumerate() {
            let at = document.floor(at % (document.text().len() + 1));
            document.edit(at..at + if deleted { length } else { 0 }, &new);
            if step % 8 == 0 {
                facts = facts_of(document.text());
            }
            let view = View::new(&document, &catalogue, &facts);
            for place in [at, at + new.len(), document.text().len() / 2] {
                ask_all(&view, document.floor(place));
            }
        }
        ask_about_all(&View::new(&document, &catalogue, &facts));
    }
}
