//! Lints look into the bodies of `def`s and loops, and tell each place of the text once.

mod support;

use mlp_dsl::lint::lint;

/// Returns each doubt as its code and what is written where it is told.
fn doubts(text: &str) -> Vec<String> {
    let checked = support::check(text);
    let pipeline = checked.pipeline.unwrap_or_else(|| panic!("{:#?}", checked.diagnostics));
    let found = lint(&pipeline, &checked.diagnostics, &support::catalogue()).diagnostics;
    let told = found.iter().map(|doubt| {
        let span = doubt.primary().expect("a place").span;
        format!("{} {}", doubt.code, &text[span.start..span.end])
    });
    told.collect()
}

const HEAD: &str = "pipeline p
schema S { id: str key personal, tenure: int, store: int, Churn: bool label }
source raw = csv.read(\"customers.csv\", schema: S)
step parts = table.split(raw, test: 0.2, seed: 7)
";

#[test]
fn a_step_of_a_loop_is_told_once() {
    let text = format!(
        "{HEAD}for width in [8, 16, 32] as tried {{
  step test_rows = table.where(parts.train, column: store, equals: width)
  step model     = torch.train(test_rows, target: Churn, net: torch.mlp([width]))
  step unread    = sql(\"select id\", tables: {{ raw }})
  step quality   = eval.binary(model, parts.test)
}}
for store in values(raw.store) as network {{ step lost = table.where(raw, column: store, equals: store) }}
"
    );
    assert_eq!(doubts(&text), ["L0612 test_rows", "L0603 unread", "L0603 lost"]);
}

#[test]
fn a_step_of_a_def_is_unused_where_no_call_uses_it() {
    let def = "def judged(data: table, width: int) {
  step halves  = table.split(data, test: 0.2, seed: 7)
  step model   = torch.train(halves.train, target: Churn, net: torch.mlp([width]))
  step written = csv.write(data)
  result { model, written }
}
step small = judged(parts.train, 8)
step large = judged(parts.train, 64)
";
    // One call's model is used, which is enough; the rows that nobody reads are told once.
    let text = format!("{HEAD}{def}step quality = eval.binary(small.model, parts.test)\n");
    assert_eq!(doubts(&text), ["L0604 halves"]);
    let text = format!(
        "{HEAD}{def}step quality = sh(\"cat {{t}} > {{o}}\", inputs: {{ t: csv }}, outputs: {{ o: file }})\nstep csv = sh(\"ls > {{o}}\", outputs: {{ o: file }})\n"
    );
    assert_eq!(doubts(&text), ["L0604 parts", "L0604 halves", "L0603 model"]);
}

#[test]
fn an_allow_in_a_body_silences_all_its_nodes() {
    let text = format!(
        "{HEAD}for width in [8, 16] as tried {{
  step unread = sql(\"select id\", tables: {{ raw }})  // lint: allow L0603 looked at by hand
  step model  = torch.train(parts.train, target: Churn, net: torch.mlp([width]))
  step judged = eval.binary(model, parts.test)
}}
"
    );
    assert_eq!(doubts(&text), Vec::<String>::new());
}
