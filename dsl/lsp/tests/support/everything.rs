//! All questions an editor can ask about a text, asked at once; every answer must lie within the text.

use std::path::Path;

use mlp_dsl::analysis::*;
use mlp_dsl::{CheckInput, Facts, inspect};

use super::{Customers, catalogue};

/// What is typed more often than it is found by chance.
pub const PIECES: [&str; 52] = [
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
    "for x in [",
    "if ",
    "let a = ",
    "\u{feff}",
    "for x in [1, 2] as l {",
    "random(2, seed: 1)",
    "1..=3",
    "def f(x: int) {",
    "result = ",
    "sql(\"select 1\"",
    ": table",
    "raw",
];

/// Asks everything at a place.
pub fn ask_all(view: &View<'_>, at: usize) {
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

pub fn ask_about_all(view: &View<'_>) {
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

/// Checks the text, and that each fix offered lies within it.
pub fn facts_of(text: &str) -> Facts {
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
