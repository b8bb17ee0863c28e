//! Whatever is typed, every request is answered, within the text.

mod support;

use std::path::Path;

use mlp_dsl::analysis::*;
use mlp_dsl::{CheckInput, Facts, inspect};
use proptest::prelude::*;
use support::{Customers, catalogue};

const PIPELINES: [&str; 4] = [
    support::CHURN,
    include_str!("../../../pipelines/churn/churn.mlp"),
    include_str!("../../../pipelines/churn/logistic.mlp"),
    include_str!("../../../pipelines/demand/demand.mlp"),
];

/// Asks everything at a place.
fn ask_all(view: &View<'_>, at: usize) {
    let length = view.document.text().len();
    let is_inside = |range: std::ops::Range<usize>| {
        assert!(range.start <= range.end && range.end <= length, "{range:?} of {length}");
        assert!(view.document.text().is_char_boundary(range.start) && view.document.text().is_char_boundary(range.end));
    };
    if let Some(hover) = hover(view, at) {
        is_inside(hover.range);
    }
    if let Some(place) = definition(view, at) {
        is_inside(place.range);
    }
    references(view, at, true).into_iter().for_each(|place| is_inside(place.range));
    for new in ["x1", "tenure"] {
        if let Ok(edits) = rename(view, at, new) {
            edits.into_iter().for_each(|(range, _)| is_inside(range));
        }
    }
    is_inside(complete(view, at).range);
    if let Some(help) = call_help(view, at) {
        help.arguments.iter().for_each(|(range, _)| assert!(help.head.get(range.clone()).is_some()));
    }
    hints(view, at..length).into_iter().for_each(|hint| is_inside(hint.at..hint.at));
}

fn ask_about_all(view: &View<'_>) {
    let length = view.document.text().len();
    let parts = colours(view, 0..length);
    assert!(parts.windows(2).all(|pair| pair[0].range.end <= pair[1].range.start), "colours overlap");
    let mut entries = outline(view);
    while let Some(entry) = entries.pop() {
        assert!(entry.range.start <= entry.name_range.start && entry.name_range.end <= entry.range.end, "{entry:?}");
        assert!(entry.range.end <= length);
        entries.extend(entry.children);
    }
}

fn facts_of(text: &str) -> Facts {
    struct Text<'a>(&'a str);
    impl mlp_dsl::World for Text<'_> {
        fn read(&self, _: &Path) -> Result<String, mlp_dsl::WorldError> {
            Ok(self.0.to_owned())
        }
        fn kind(&self, path: &Path) -> mlp_dsl::PathKind {
            Customers.kind(path)
        }
    }
    let (catalogue, mut facts) = (catalogue(), Facts::default());
    let (params, world) = (mlp_dsl::Assignments::default(), Text(text));
    let input =
        CheckInput { file: Path::new("flows/churn.mlp"), params: &params, catalogue: &catalogue, world: &world };
    let checked = inspect(&input, &mut facts);
    checked.diagnostics.iter().filter_map(|diagnostic| fix(diagnostic, &checked.sources)).for_each(|fix| {
        assert!(text.get(fix.span.start..fix.span.end).is_some(), "{fix:?}");
    });
    facts
}

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
        let text = format!("step a = {}", open.repeat(50_000));
        let document = Document::new(text.as_str());
        let view = View::new(&document, &catalogue, &facts);
        ask_all(&view, text.len());
        ask_about_all(&view);
    }
}

fn edits() -> impl Strategy<Value = Vec<(usize, usize, String)>> {
    let parts = [
        "\n",
        "\r\n",
        " ",
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
        ",",
        ":",
        ".",
        "=",
        "\"",
        "\"\"\"",
        "\\",
        "//",
        "///",
        "😀",
        "ß",
        "step ",
        "source x = ",
        "gate g {",
        "release r = ",
        "schema S {",
        "param p: ",
        "use \"a\" as b",
        "def d(",
        "with { ",
        "champion.",
        "parts.",
        "first ",
        "only",
        "when ",
        "bundle {",
        "torch.train(",
        "epochs",
        "Churn",
        "0.5",
        "..=",
        "\u{feff}",
    ];
    let new = prop::collection::vec(prop::sample::select(parts.to_vec()), 0..3).prop_map(|parts| parts.concat());
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
