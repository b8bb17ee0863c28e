//! `docs/language.md` is true: its examples check, and its table of codes is the compiler's.

mod support;

use std::path::Path;

/// What the examples that are parts of a pipeline refer to.
const AROUND: &str = r#"
schema AroundCustomer { customer: str key, tenure: int, day: date, Churn: bool label }
schema AroundExtra { years: float }
"#;

fn text() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/language.md");
    std::fs::read_to_string(path).expect("the document is there")
}

fn blocks(kind: &str) -> Vec<String> {
    let text = text();
    let fence = format!("```{kind}\n");
    let starts = text.split(&fence).skip(1);
    let blocks: Vec<_> = starts.map(|rest| rest.split("```").next().unwrap_or_default().to_owned()).collect();
    assert!(!blocks.is_empty(), "no {kind} block");
    blocks
}

#[test]
fn whole_examples_check() {
    for block in blocks("mlp") {
        let block = block.replace("data/telco.csv", "customers.csv");
        let checked = support::check(&block);
        assert!(checked.pipeline.is_some() && checked.diagnostics.is_empty(), "{block}\n{:#?}", checked.diagnostics);
    }
}

#[test]
fn partial_examples_follow_the_grammar_and_use_only_what_exists() {
    for block in blocks("mlp-part") {
        let block = block.replace("data/words.txt", "words.txt");
        let checked = support::check(&format!("pipeline example\n{AROUND}\n{block}"));
        for diagnostic in &checked.diagnostics {
            // A part names nodes that it does not show, and parameters that must be given.
            let is_expected = ["E0202", "E0214", "E0531"].contains(&&*diagnostic.code);
            assert!(is_expected, "{block}\n{diagnostic:#?}");
        }
    }
}

#[test]
fn the_table_of_codes_is_that_of_the_compiler() {
    let text = text();
    let rows: Vec<_> = text.lines().filter(|line| line.starts_with("| `E0")).collect();
    let expected: Vec<_> =
        mlp_dsl::codes::ALL.iter().map(|(code, meaning)| format!("| `{code}` | {meaning} |")).collect();
    assert_eq!(rows, expected);
}

#[test]
fn the_table_of_lints_is_that_of_the_linter() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/tools.md");
    let text = std::fs::read_to_string(path).expect("the document is there");
    let rows: Vec<_> = text.lines().filter(|line| line.starts_with("| `L0")).collect();
    let expected: Vec<_> =
        mlp_dsl::lint::ALL.iter().map(|(code, meaning)| format!("| `{code}` | {meaning} |")).collect();
    assert_eq!(rows, expected);
}
