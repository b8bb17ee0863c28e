//! Whatever stands in a file, the compiler answers: no panic, no stack overflow, no pipeline with errors, no words of
//! the parser in a message.

mod support;

use mlp_dsl::{Severity, render, to_json};
use proptest::prelude::*;

const VALID: &str = r#"//! Doc.
pipeline churn
use std.evaluation as evaluation
/// Doc.
param epochs: int = 30 in 1..=most
param lr: float = 1e-3 > 0 <= 1
param memory: size? = 8 GiB
let most = if lr > 0.5 then len([1, 2]) else 500
let sizes = ([64] + [most / 2 * 0 + 1])[0]
param day: date = 2026-09-01
schema Customer open {
  id: str key personal, "Store Name": str? in ["a", "b"]
  price: decimal(10, 2) >= 0
  casual: int unusable "is the answer"
  Churn: bool label
}
schema Extra { years: float }
def counted(data: table, by: column, n: int = 3 in [1, 3]) {
  /// Doc.
  step rows = sql("select id", tables: { data })
  step same = nested(rows)
  result { rows, same }
}
def nested(data: table) { result = data }
source raw   = csv.read("customers.csv", schema: Customer)
step clean   = wasm.map(raw, source: "clean.py", columns: [id, "Store Name"], adds: Extra)
step picked  = sql("""
    select id
    from raw
    """, tables: { raw, words: file("words.txt") })
step parts   = table.split(clean, test: 0.2, seed: 7)
step model   = torch.train(parts.train, target: Churn, net: torch.mlp([64, 32], dropout: 1 / 4), epochs, lr)
               with { timeout: 1h30m, retries: 2 }
step few     = counted(parts.test, Churn, n: 1)
step judged  = evaluation.binary(model, champion.model, parts.test)
gate good {
  floor   judged.quality.auc >= 0.80
  better  judged.quality.auc >= judged.before.auc - 0.005
  first   floor only
}
release churn = bundle { model, threshold: (0.5), schema: Customer, transform: step clean } when good
"#;

const TOKENS: [&str; 86] = [
    "pipeline",
    "param",
    "schema",
    "source",
    "step",
    "gate",
    "release",
    "with",
    "when",
    "bundle",
    "champion",
    "first",
    "only",
    "refuse",
    "open",
    "key",
    "unusable",
    "in",
    "and",
    "or",
    "not",
    "true",
    "none",
    "use",
    "for",
    "let",
    "def",
    "result",
    "if",
    "then",
    "else",
    "table",
    "std.evaluation",
    "as",
    "??",
    "GiB",
    "\n  step",
    "churn",
    "raw",
    "parts.train",
    "model",
    "x",
    "csv.read",
    "torch.mlp",
    "eval.binary",
    "file",
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    ",",
    ":",
    "=",
    "==",
    ">=",
    "<",
    "+",
    "-",
    "*",
    "/",
    "%",
    "?",
    "..=",
    "..",
    ".",
    "\"",
    "\"\"\"",
    "\\",
    "\"text\"",
    "//",
    "///",
    "//!",
    "0",
    "1_000",
    "1e999",
    "30m",
    "2026-09-01",
    "2026-09-01T10:00:00Z",
    "ß",
    "\u{feff}",
    "\n",
    "\r\n",
    " ",
    "\t",
];

/// Checks the text and renders all that is found.
fn survives(text: &str) {
    let checked = support::check(text);
    let has_errors = checked.diagnostics.iter().any(|d| d.severity == Severity::Error);
    assert_eq!(checked.pipeline.is_none(), has_errors);
    for diagnostic in &checked.diagnostics {
        let shown = render(diagnostic, &checked.sources, false, 100);
        assert!(!shown.contains("_decl") && !shown.contains("EOI") && !shown.contains("Failed to read"), "{shown}");
        to_json(diagnostic, &checked.sources);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_tokens_are_survived(picks in prop::collection::vec((0..TOKENS.len(), any::<bool>()), 0..120)) {
        let mut text = String::new();
        for (token, blank) in picks {
            text.push_str(TOKENS[token]);
            text.push_str(if blank { " " } else { "" });
        }
        survives(&text);
    }

    #[test]
    fn any_text_is_survived(text in any::<String>()) {
        survives(&text);
    }

    #[test]
    fn a_valid_file_is_survived_with_any_pieces_cut_replaced_and_moved(
        edits in prop::collection::vec((0..VALID.len(), 0_usize..30, 0..TOKENS.len(), any::<bool>()), 1..6)
    ) {
        let mut text = VALID.to_owned();
        for (at, len, token, insert) in edits {
            let at = at.min(text.len());
            let end = (at + len).min(text.len());
            if text.is_char_boundary(at) && text.is_char_boundary(end) {
                text.replace_range(at..end, if insert { TOKENS[token] } else { "" });
            }
        }
        survives(&text);
    }

    #[test]
    fn any_value_for_a_parameter_is_survived(value in any::<String>(), token in 0..TOKENS.len()) {
        let text = "pipeline p\nparam a: int = 1\nparam b: list(date?) = []\nparam c: timestamp? = none\nparam d: str = \"\"\n";
        for value in [value.as_str(), TOKENS[token]] {
            for name in ["a", "b", "c", "d"] {
                let checked = support::check_in(&support::Memory(Ok(text)), &[(name, value)]);
                assert_eq!(checked.pipeline.is_none(), !checked.diagnostics.is_empty());
            }
        }
    }
}

#[test]
fn a_file_typed_letter_by_letter_is_survived_at_every_one() {
    for (end, _) in VALID.char_indices() {
        survives(&VALID[..end]);
    }
    assert!(support::check(VALID).pipeline.is_some());
}

/// What is found in a text of equal parts, each with a number: codes, places from the beginning of the part on, and messages without
/// the number.
fn found_in_parts(n_parts: usize) -> Vec<Vec<(String, usize, String)>> {
    let head = "pipeline churn\nschema Customer {\n  id: str key\n  tenure: int\n  Churn: bool label\n}\n\
                source raw = csv.read(\"customers.csv\", schema: Customer)\n";
    let part = |n: usize| {
        format!(
            "step parts{n} = table.split(raw, test: 0.2, seed: {n})\n\
             step model{n} = torch.train(parts{n}.train, target: Churn, net: torch.mlp([64]))\n\
             step quality{n} = eval.binary(model{n}, parts{n}.test)\n\
             step column{n} = torch.train(parts{n}.train, target: Chrun, net: torch.mlp([64]))\n\
             step behind{n} = eval.binary(column{n}, parts{n}.test)\n\
             step leak{n} = torch.train(parts{n}.test, target: Churn, net: torch.mlp([64]))\n\
             step missing{n} = torch.train(parts{n}.train, target: Churn)\n\
             step name{n} = eval.binary(model{n}, partz{n}.test)\n"
        )
    };
    // All numbers have as many digits.
    let numbers = 1000..1000 + n_parts;
    let text: String = [head.to_owned()].into_iter().chain(numbers.clone().map(part)).collect();
    let mut found = vec![Vec::new(); n_parts];
    let part_len = part(1000).len();
    for diagnostic in support::check(&text).diagnostics {
        let start = diagnostic.primary().expect("each has a place").span.start - head.len();
        let message = diagnostic.message.replace(&(1000 + start / part_len).to_string(), "N");
        found[start / part_len].push((diagnostic.code.into_owned(), start % part_len, message));
    }
    found
}

#[test]
fn threads_find_in_each_part_of_a_long_file_what_is_found_in_the_part_alone() {
    let alone = found_in_parts(1).remove(0);
    let codes: Vec<&str> = alone.iter().map(|(code, _, _)| code.as_str()).collect();
    assert_eq!(codes, ["E0312", "E0401", "E0205", "E0202"], "{alone:?}");
    // So many that calls are bound, sorted and checked on several threads.
    for (n, found) in found_in_parts(2500).into_iter().enumerate() {
        assert_eq!(found, alone, "part {n}");
    }
}

#[test]
fn nesting_of_any_depth_is_an_error_and_no_stack_overflow() {
    let n = 100_000;
    let repeated = |text: &str| text.repeat(n);
    let texts = [
        format!("param a: int = {}1{}", repeated("("), repeated(")")),
        format!("param a: int = {}", repeated("(")),
        format!("param a: int = {}", repeated("[")),
        format!("param a: int = {}1", repeated("-")),
        format!("param a: bool = ({}true)", repeated("not ")),
        format!("param a: int = 1{}", repeated(" + 1")),
        format!("param a: {}int{} = 1", repeated("list("), repeated(")")),
        format!("step a = {}1{}", repeated("f("), repeated(")")),
        format!("step a = f({}1{})", repeated("{ x: "), repeated("}")),
        format!("let a = {}1", repeated("if true then 1 else ")),
        format!("let a = [1]{}", repeated("[0]")),
        format!("let a = a{}", repeated("[0]")),
        format!("let a = none{}", repeated(" ?? none")),
        format!("def f(a: table) {}", repeated("{")),
        format!("gate g {{ c 1 > {}1{} }}", repeated("("), repeated(")")),
        format!("gate g {{ c 1 > 1{} }}", repeated(" * 2")),
    ];
    for text in texts {
        let checked = support::check(&format!("pipeline p\n{text}\n"));
        let codes: Vec<_> = checked.diagnostics.iter().map(|d| d.code.as_ref()).collect();
        assert!(
            codes.iter().all(|code| ["E0103", "E0105", "E0106", "E0107"].contains(code)),
            "{codes:?}: {}",
            &text[..40]
        );
        assert!(!codes.is_empty());
        assert!(mlp_dsl::format(&format!("pipeline p\n{text}\n")).is_err(), "{}", &text[..40]);
    }
    for given in [repeated("["), repeated("if true then 1 else ")] {
        let text = "pipeline p\nparam a: list(int) = []\n";
        let checked = support::check_in(&support::Memory(Ok(text)), &[("a", &given)]);
        assert_eq!(checked.diagnostics[0].code, "E0308");
    }
    // Within the limits, brackets and operators together may still be as deep as allowed.
    let deep = format!("{}1{}", "(".repeat(60), " + 1)".repeat(60));
    assert!(support::check(&format!("pipeline p\nparam a: int = {deep}\n")).pipeline.is_some());
}

#[test]
fn long_chains_of_steps_and_wide_files_are_checked_whole() {
    let n = 20_000;
    let mut text =
        "pipeline p\nschema S { id: str, a: str }\nsource s0 = csv.read(\"customers.csv\", schema: S)\n".to_owned();
    for i in 1..n {
        text.push_str(&format!("step s{i} = sql(\"select id\", tables: {{ before: s{} }})\n", i - 1));
    }
    let pipeline = support::check(&text).pipeline.expect("checks");
    assert_eq!(pipeline.nodes.len(), n);
    // The same chain closed to a circle, and with every name wrong: still one answer for each mistake.
    let circle =
        text.replace("source s0 = csv.read(\"customers.csv\", schema: S)", &format!("step s0 = csv.write(s{})", n - 1));
    let codes: Vec<_> = support::check(&circle).diagnostics.iter().map(|d| d.code.to_string()).collect();
    assert_eq!(codes, ["E0209"]);
    let wrong = text.replace("before: s", "before: t");
    assert_eq!(support::check(&wrong).diagnostics.len(), n - 1);
}

#[test]
fn defs_that_multiply_stop_at_a_limit() {
    let mut text = "pipeline p\nschema S { id: str }\nsource raw = csv.read(\"customers.csv\", schema: S)\n".to_owned();
    text.push_str("def d0(data: table) {\n  step a = csv.write(data)\n  result = data\n}\n");
    for i in 1..60 {
        let j = i - 1;
        text.push_str(&format!(
            "def d{i}(data: table) {{\n  step a = d{j}(data)\n  step b = d{j}(a)\n  step c = d{j}(b)\n  result = c\n}}\n"
        ));
    }
    for (last, code) in [(5, None), (59, Some("E0226"))] {
        let checked = support::check(&format!("{text}step all = d{last}(raw)\n"));
        let codes: Vec<_> = checked.diagnostics.iter().map(|d| d.code.as_ref()).collect();
        assert_eq!(codes, Vec::from_iter(code));
    }
    // Nothing but nesting.
    let mut text = "pipeline p\nschema S { id: str }\nsource raw = csv.read(\"customers.csv\", schema: S)\n".to_owned();
    text.push_str("def d0(data: table) { result = data }\n");
    for i in 1..2_000 {
        let j = i - 1;
        text.push_str(&format!("def d{i}(data: table) {{\n  step a = d{j}(data)\n  result = a\n}}\n"));
    }
    text.push_str("step all = d1999(raw)\nstep few = d50(raw)\n");
    let codes: Vec<_> = support::check(&text).diagnostics.iter().map(|d| d.code.to_string()).collect();
    assert_eq!(codes, ["E0226"]);
}

#[test]
fn many_calls_of_a_def_are_checked_in_time_that_grows_with_them() {
    let mut text = "pipeline p\nschema S { id: str }\nsource s0 = csv.read(\"customers.csv\", schema: S)\n".to_owned();
    text.push_str("def copy(data: table) {\n  step rows = sql(\"select id\", tables: { data })\n  result = rows\n}\n");
    let n = 20_000;
    for i in 1..n {
        text.push_str(&format!("step s{i} = copy(s{})\n", i - 1));
    }
    let pipeline = support::check(&text).pipeline.expect("checks");
    assert_eq!(pipeline.nodes.len(), n);
    // A mistake in all of them is one mistake.
    let wrong = text.replace("select id", "select x");
    assert_eq!(support::check(&wrong).diagnostics.len(), 1);
}
