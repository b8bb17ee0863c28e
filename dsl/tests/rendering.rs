//! How diagnostics look, as whole texts.

mod support;

use mlp_dsl::{Diagnostic, SourceText, Span, render, to_json};
use serde_json::json;

const THREE_MISTAKES: &str = r#"//! Retrains the churn model whenever customers change.
pipeline churn

param epochs: int   = 30   in 1..=500
param lr:     float = 1e-3

schema Customer open {
  customerID: str  key personal
  tenure:     int  in 0..=120
  Churn:      bool label
}

source raw   = csv.read("customers.csv", schema: Customer)
step parts   = table.split(raw, test: 0.2, seed: 7)
step first   = torch.train(parts.train, target: "Chrun", net: torch.mlp([64, 32]), epochs, lr)
step model   = torch.train(parts.train, target: Churn, net: torch.mlp([64, 32]), epochs, lr)
step quality = eval.binary(model, parts.train)
step before  = eval.binary(champion.model, parts.test)
step current = eval.binary(model, parts.test)

gate good_enough {
  floor   current.auc >= 0.80
  better  current.auc >= before.auc - 0.005
}
release churn = model when good_enough
"#;

const SHOWN: &str = r#"error[E0312]: `Chrun` is not a column of `parts.train`
    ╭─[flows/churn.mlp:15:49]
 15 │ step first   = torch.train(parts.train, target: "Chrun", net: torch.mlp([64, 32]), epochs, lr)
    ·                                                 ───┬───
    ·                                                    ╰── the columns come from schema `Customer`, line 7
    ╰────
  help: did you mean `Churn`?

error[E0407]: `model` is evaluated on rows it was trained on
    ╭─[flows/churn.mlp:17:35]
 16 │ step model   = torch.train(parts.train, target: Churn, net: torch.mlp([64, 32]), epochs, lr)
    ·                            ─────┬─────
    ·                                 ╰── trained on these rows
 17 │ step quality = eval.binary(model, parts.train)
    ·                                   ─────┬─────
    ·                                        ╰── and evaluated on them
    ╰────
  help: use `parts.test`; if you mean it, write `eval.binary(model, parts.train, on_train: true)`

error[E0521]: gate `good_enough` does not say what happens before the first release
    ╭─[flows/churn.mlp:23:26]
 23 │   better  current.auc >= before.auc - 0.005
    ·                          ─────┬────
    ·                               ╰── absent until `churn` is released once
    ╰────
  help: add `first floor only`
"#;

#[test]
fn three_mistakes_are_shown_each_with_cause_and_way_out() {
    let checked = support::check(THREE_MISTAKES);
    let shown: Vec<_> = checked.diagnostics.iter().map(|d| render(d, &checked.sources, false, 120)).collect();
    assert_eq!(shown.join("\n"), SHOWN);
}

#[test]
fn colour_is_only_there_when_asked_for() {
    let checked = support::check(THREE_MISTAKES);
    let diagnostic = &checked.diagnostics[0];
    assert!(!render(diagnostic, &checked.sources, false, 120).contains('\u{1b}'));
    let coloured = render(diagnostic, &checked.sources, true, 120);
    assert!(coloured.starts_with("\u{1b}[1;31merror[E0312]\u{1b}[0m"), "{coloured}");
}

#[test]
fn a_diagnostic_without_a_place_is_its_message() {
    let diagnostic = Diagnostic::error("D1104", "11 values of `x` are blank").help("write `float?`").note("a\nb");
    let shown = "error[D1104]: 11 values of `x` are blank\n  help: write `float?`\n  note: a\n        b\n";
    assert_eq!(render(&diagnostic, &[], false, 80), shown);
    let json = to_json(&diagnostic, &[]);
    assert_eq!((&json["file"], &json["line"], &json["labels"]), (&json!(null), &json!(null), &json!([])));
}

#[test]
fn labels_in_two_files_are_shown_file_by_file() {
    let source = |path: &str, text: &str| SourceText { path: path.into(), text: text.into() };
    let sources = [source("a.mlp", "one two\n"), source("b.mlp", "three four\n")];
    let span = |source, start, end| Span { source, start, end };
    let diagnostic = Diagnostic::warning("E0000", "odd").and(span(0, 0, 3), "this").at(span(1, 6, 10), "that");
    let shown = "warning[E0000]: odd
   ╭─[b.mlp:1:7]
 1 │ three four
   ·       ──┬─
   ·         ╰── that
   ╰────
   ╭─[a.mlp:1:1]
 1 │ one two
   · ─┬─
   ·  ╰── this
   ╰────
";
    assert_eq!(render(&diagnostic, &sources, false, 80), shown);
}

#[test]
fn columns_of_json_count_characters_from_one() {
    let text = "pipeline p\nparam ä: int = 3\nparam a: str = \"ääää\" + x\n";
    let checked = support::check(text);
    let json = to_json(&checked.diagnostics[1], &checked.sources);
    assert_eq!(json["code"], "E0202");
    assert_eq!((&json["line"], &json["column"]), (&json!(3), &json!(25)));
    assert_eq!(json["end"], json!({ "line": 3, "column": 26 }));
    let expected = json!([{
        "file": "flows/churn.mlp", "line": 3, "column": 25, "end": { "line": 3, "column": 26 },
        "text": "no value has this name", "primary": true,
    }]);
    assert_eq!(json["labels"], expected);
    assert_eq!((&json["severity"], &json["help"], &json["notes"]), (&json!("error"), &json!(null), &json!([])));
}

#[test]
fn a_span_that_lies_outside_its_text_is_moved_into_it() {
    let sources = [SourceText { path: "a.mlp".into(), text: "ä\n".into() }];
    let spans = [(1, 2), (0, 99), (50, 60), (2, 1), (3, 3)].map(|(start, end)| Span { source: 0, start, end });
    for span in spans {
        let diagnostic = Diagnostic::error("E0000", "odd").at(span, "here");
        assert!(render(&diagnostic, &sources, false, 80).contains("here"), "{span:?}");
        assert_eq!(to_json(&diagnostic, &sources)["file"], "a.mlp");
    }
    let elsewhere = Diagnostic::error("E0000", "odd").at(Span { source: 7, start: 0, end: 1 }, "here");
    assert_eq!(render(&elsewhere, &sources, false, 80), "error[E0000]: odd\n");
    assert_eq!(to_json(&elsewhere, &sources)["file"], json!(null));
}
