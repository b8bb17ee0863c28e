//! What an editor is told about the bodies of `def`s, loops, effects and tests: `<|>` marks the cursor.

mod support;

use mlp_dsl::analysis::*;
use support::known::{Known, place_of};

const STORES: &str = r#"pipeline stores

param region: str = "north"
param deep: int = 64
let seeds = [1, 2]

schema Customer { id: str key, tenure: int, store: int in 1..=9, Churn: bool label }
schema Slim { id: str key, tenure: int, Churn: bool label }

/// Learns, and judges.
def judged(data: table, goal: column, width: int = 8) {
  /// Both parts.
  step parts = table.split(data, test: 0.2, seed: 7)
  for size in [width, 128] as trials {
    step fitted = torch.train(parts.train, target: goal, net: torch.mlp([size]))
  }
  step model   = torch.train(parts.train, target: goal, net: torch.mlp([width]))
  step quality = eval.binary(model, parts.test)
  result { model, quality, rows: parts.test }
}

def unused(data: table, depth: int, level: str = "low") {
  step seen = demo.values(data, any: depth, level: level)
  result = seen
}

source raw  = csv.read("customers.csv", schema: Customer)
source slim = csv.read("customers.csv", schema: Slim)
step large  = judged(raw, goal: Churn, width: deep)
step small  = judged(slim, Churn)
step last   = csv.write(large.rows) with { retries: 1 } when region == "north"

for store in values(raw.store) tolerate 5 as network {
  step rows  = table.where(raw, column: store, equals: store)
  step model = torch.train(rows, target: Churn, net: torch.mlp([deep]))
  for seed in seeds as folds {
    step parts   = table.split(rows, test: 0.5, seed: seed)
    step quality = eval.binary(model, parts.test)
  }
}
step all  = sh("ls in", inputs: { m: network.model, q: network.folds.quality }, outputs: { o: file })
gate good {
  floor max(network.folds.quality.auc) >= 0.5
  least small.quality.auc >= 0.5
}

effect publish = sh("cat {all}", inputs: { all }, network: true) with { retries: 2 } when good and region == "north"

test "half of them" {
  param deep = 1
  given raw = """
    id, tenure, store, Churn
    a,  3,      1,     yes
    """
  given slim = """
    id, tenure, Churn
    b,  4,      no
    c,  5,      yes
    """
  given extra: Slim = """
    id, tenure, Churn
    b,  4,      no
    """
  expect rows(large.rows) == 1
  expect small.quality.auc >= 0.1
}
"#;

/// Returns the byte of the cursor in a part of the text, which stands there once.
fn cursor(marked: &str) -> usize {
    let part = marked.replace("<|>", "");
    assert_eq!(STORES.matches(&part).count(), 1, "{marked}");
    place_of(STORES, &part, 0) + marked.find("<|>").expect("a cursor")
}

/// Returns the labels of what could stand at the cursor, in the text with one place changed.
fn completed(from: &str, to: &str) -> Vec<String> {
    assert_eq!(STORES.matches(from).count(), 1, "{from}");
    let (known, at) = Known::typing(STORES, &STORES.replace(from, to));
    complete(&known.view(), at).items.into_iter().map(|item| item.label).collect()
}

#[test]
fn the_text_is_right() {
    let errors: Vec<_> = support::check(STORES).diagnostics;
    assert!(errors.iter().all(|found| found.severity == mlp_dsl::Severity::Warning), "{errors:#?}");
}

#[test]
fn words_explain_themselves() {
    let known = Known::new(STORES);
    for (marked, wanted) in [
        // What a def is given, its steps, and the loop in it.
        ("table.split(<|>data", "parameter `data`: table of all rows, 3 columns"),
        ("table.split(<|>data", "as `large.data`, the first of 2; columns are those that all have"),
        ("step <|>parts = table.split(data", "step `parts` = `table.split`"),
        ("step <|>parts = table.split(data", "Both parts."),
        ("net: torch.mlp([<|>size])", "value in the first round: `64`"),
        ("= eval.binary(<|>model, parts.test)\n  result", "binary model of flavour `torch`"),
        ("step fitted = torch.train(parts.train, target: <|>goal", "goal: column"),
        ("step model   = torch.train(parts.<|>train", "`parts.train`: table of train rows, 3 columns"),
        ("<|>width: int = 8", "value in the first call: `64`"),
        ("demo.values(<|>data", "data: table"),
        ("result { model, <|>quality", "report: `auc`"),
        ("rows: parts.<|>test }", "`parts.test`: table of test rows, 3 columns"),
        ("any: <|>depth", "depth: int"),
        ("level: <|>level)", "level: str = \"low\""),
        ("step <|>seen", "its type is known where the `def` is called"),
        // Calls, and what they give.
        ("step <|>large", "step `large` = `judged`"),
        ("csv.write(large.<|>rows)", "`large.rows`: table of test rows, 4 columns"),
        ("judged(raw, <|>goal:", "goal: column"),
        ("least small.quality.<|>auc", "metric"),
        // Loops: in a round, and from outside.
        ("<|>for store in", "the steps once for each value"),
        ("<|>tolerate 5", "rounds of the loop may fail"),
        ("in <|>values(raw", "each value of the column"),
        ("values(raw.<|>store)", "store: int >= 1 <= 9"),
        ("column: store, equals: <|>store", "value in the first round: `1`"),
        ("step <|>rows  =", "as `network[..].rows`"),
        ("test: 0.5, seed: <|>seed", "value in the first round: `1`"),
        ("table.split(<|>rows", "step `rows` = `table.where`: table of all rows, 4 columns"),
        ("m: <|>network.model", "for store in values(raw.store) tolerate 5 as network {"),
        ("m: network.<|>model", "step `model` = `torch.train`"),
        ("network.folds.quality.<|>auc", "metric of report `quality`"),
        // Effects and tests.
        ("effect <|>publish", "effect `publish` = `sh`"),
        ("publish = <|>sh(", "network: bool = false"),
        ("with { <|>retries: 2", "int in 0..=100"),
        ("good and <|>region", "value: `\"north\"`"),
        ("given <|>raw", "source `raw` = `csv.read`"),
        ("param <|>deep = 1", "value: `64`"),
        ("rows(large.<|>rows)", "`large.rows`"),
    ] {
        let found = hover(&known.view(), cursor(marked)).unwrap_or_else(|| panic!("nothing about `{marked}`")).markdown;
        assert!(found.contains(wanted), "`{marked}`: {found}");
    }
}

#[test]
fn names_lead_to_their_declarations() {
    let known = Known::new(STORES);
    for (used, declared) in [
        ("table.split(<|>data", "judged(<|>data: table"),
        ("torch.train(<|>parts.train, target: goal, net: torch.mlp([size", "step <|>parts = table.split(data"),
        ("mlp([<|>size", "for <|>size in"),
        ("in [<|>width, 128]", "<|>width: int = 8"),
        ("rows: parts.<|>test }", "step <|>parts = table.split(data"),
        ("{ <|>model, quality, rows", "step <|>model   ="),
        ("<|>judged(slim", "def <|>judged"),
        ("judged(raw, <|>goal:", "judged(data: table, <|>goal: column"),
        ("csv.write(large.<|>rows)", "quality, <|>rows: parts.test }"),
        ("small.<|>quality.auc >= 0.5", "result { model, <|>quality"),
        ("values(<|>raw.store", "source <|>raw "),
        ("values(raw.<|>store", "<|>store: int in 1..=9"),
        ("where(raw, column: <|>store", "<|>store: int in 1..=9"),
        ("equals: <|>store", "for <|>store in"),
        ("in <|>seeds as", "let <|>seeds"),
        ("table.split(<|>rows", "step <|>rows  ="),
        ("m: <|>network.model", "as <|>network"),
        ("m: network.<|>model", "step <|>model = torch.train(rows"),
        ("q: network.<|>folds.quality", "as <|>folds"),
        ("q: network.folds.<|>quality", "step <|>quality = eval.binary(model, parts.test)\n  }"),
        ("and <|>region", "param <|>region"),
        ("when <|>good", "gate <|>good"),
        ("{ <|>all }, network", "step <|>all  ="),
        ("given <|>raw", "source <|>raw "),
        ("param <|>deep = 1", "param <|>deep: int"),
        ("extra: <|>Slim", "schema <|>Slim"),
        ("rows(<|>large.rows)", "step <|>large"),
    ] {
        let place = definition(&known.view(), cursor(used)).unwrap_or_else(|| panic!("`{used}` leads nowhere"));
        assert_eq!((place.file, place.range.start), (0, cursor(declared)), "{used}");
    }
}

#[test]
fn references_are_those_of_the_thing() {
    let known = Known::new(STORES);
    let n_of = |marked: &str| references(&known.view(), cursor(marked), true).len();
    for (marked, n) in [
        ("step <|>model   =", 3),
        ("step <|>model = torch.train(rows", 3),
        ("for <|>store in", 2),
        ("def <|>judged", 3),
        // The parameter with the argument of one call.
        ("judged(data: table, <|>goal: column", 4),
        ("source <|>raw ", 5),
        ("param <|>region", 3),
        ("as <|>network", 4),
        ("as <|>folds", 3),
        ("param <|>deep: int", 4),
    ] {
        assert_eq!(n_of(marked), n, "{marked}");
    }
}

fn renamed(marked: &str, new: &str) -> Result<String, RenameError> {
    let known = Known::new(STORES);
    let edits = rename(&known.view(), cursor(marked), new)?;
    let mut text = STORES.to_owned();
    edits.iter().rev().for_each(|(range, new)| text.replace_range(range.clone(), new));
    let found = support::check(&text).diagnostics;
    assert!(found.iter().all(|found| found.severity == mlp_dsl::Severity::Warning), "{found:#?}");
    Ok(text)
}

#[test]
fn renaming_reaches_bodies_calls_and_tests_and_changes_no_meaning() {
    for (marked, new, wanted) in [
        ("step <|>model   =", "net_1", "result { model: net_1, quality, rows"),
        ("step <|>rows  =", "part", "table.split(part, test: 0.5"),
        ("step <|>model = torch.train(rows", "fit", "inputs: { m: network.fit, q: network.folds.quality }"),
        ("as <|>network", "stores_", "max(stores_.folds.quality.auc)"),
        ("as <|>folds", "cv", "q: network.cv.quality"),
        ("for <|>store in", "shop", "table.where(raw, column: store, equals: shop)"),
        ("for <|>size in", "units", "torch.mlp([units])"),
        ("judged(data: table, <|>goal: column", "aim", "judged(raw, aim: Churn, width: deep)"),
        ("<|>data: table, goal", "given_rows", "table.split(given_rows, test: 0.2"),
        ("source <|>raw ", "customers", "given customers = "),
        ("param <|>deep: int", "depth", "  param depth = 1"),
        ("param <|>region", "place", "when good and place == \"north\""),
        ("def <|>judged", "learned", "large  = learned(raw"),
    ] {
        let text = renamed(marked, new).unwrap_or_else(|e| panic!("`{marked}`: {e}"));
        assert!(text.contains(wanted), "`{marked}`: {text}");
    }
    // Names of a def may repeat those of the file; those of a loop may not.
    assert!(renamed("step <|>model   =", "raw").is_ok());
    assert!(matches!(renamed("step <|>rows  =", "raw"), Err(RenameError::Taken(..))));
    assert!(matches!(renamed("step <|>model   =", "seeds"), Err(RenameError::Taken(..))));
    // A loop within another would see two of that name.
    assert!(matches!(renamed("source <|>slim", "folds"), Err(RenameError::Taken(..))));
}

#[test]
fn what_fits_can_be_completed() {
    for (from, to, there, not_there) in [
        // In a def: its parameters and steps, and of the file only what lasts.
        ("table.split(data, test: 0.2", "table.split(<|>, test: 0.2", "data", "raw"),
        ("eval.binary(model, parts.test)\n  result", "eval.binary(m<|>)\n  result", "model", "champion.model"),
        ("target: goal, net: torch.mlp([size])", "target: <|>, net: torch.mlp([size])", "tenure", "store"),
        ("target: goal, net: torch.mlp([size])", "target: <|>, net: torch.mlp([size])", "goal", "region"),
        ("torch.mlp([size])", "torch.mlp([<|>])", "size", "deep"),
        ("torch.mlp([size])", "torch.mlp([<|>])", "width", "goal"),
        ("rows: parts.test }", "rows: parts.<|> }", "test", "model"),
        ("rows: parts.test }", "rows: <|> }", "parts.test", "raw"),
        ("  result { model, quality", "  <|>\n  result { model, quality", "step", "param"),
        ("any: depth", "any: <|>", "depth", "level"),
        ("judged(data: table", "judged(data: <|>", "table", "raw"),
        ("step seen = demo.values(data, any: depth, level: level)", "step seen = jud<|>", "judged", "unused"),
        // Calls and what they give.
        ("csv.write(large.rows)", "csv.write(large.<|>)", "rows", "parts"),
        ("csv.write(large.rows)", "csv.write(l<|>)", "large.rows", "large.model"),
        ("judged(raw, goal: Churn, width: deep)", "judged(raw, goal: <|>, width: deep)", "store", "data"),
        ("judged(raw, goal: Churn, width: deep)", "judged(raw, goal: Churn, <|>)", "width:", "goal:"),
        // Loops, inside and out.
        ("equals: store", "equals: <|>", "store", "seed"),
        ("column: store", "column: <|>", "tenure", "goal"),
        ("table.split(rows, test: 0.5", "table.split(<|>, test: 0.5", "rows", "large.model"),
        ("seed: seed", "seed: <|>", "seed", "size"),
        ("in values(raw.store)", "in values(raw.<|>)", "store", "raw"),
        ("in values(raw.store)", "in values(<|>)", "raw", "values"),
        ("in seeds as", "in <|> as", "seeds", "deep"),
        ("    step quality = eval.binary(model, parts.test)\n  }", "    <|>\n  }", "step", "result"),
        ("m: network.model", "m: network.<|>", "model", "store"),
        ("q: network.folds.quality", "q: network.folds.<|>", "quality", "model"),
        ("q: network.folds.quality", "q: <|>", "network.folds.quality", "network.folds"),
        ("network.folds.quality.auc", "network.folds.quality.<|>", "precision", "quality"),
        // Effects and tests.
        ("{ all }, network: true", "{ all }, <|>", "network:", "outputs:"),
        ("= sh(\"cat {all}\", inputs: { all }, network: true)", "= <|>", "sh", "table.split"),
        ("good and region", "good and <|>", "region", "all"),
        ("given raw", "given <|>", "raw", "data"),
        ("param deep = 1", "param <|> = 1", "deep", "width"),
        ("extra: Slim", "extra: <|>", "Slim", "raw"),
        ("rows(large.rows)", "rows(large.<|>)", "rows", "parts"),
        ("expect small.quality.auc", "expect small.quality.<|>", "auc", "quality"),
    ] {
        let found = completed(from, to);
        assert!(found.contains(&there.to_owned()), "`{to}` has no `{there}`: {found:?}");
        assert!(!found.contains(&not_there.to_owned()), "`{to}` has `{not_there}`: {found:?}");
    }
}

#[test]
fn the_call_at_hand_is_shown() {
    for (from, to, head, active) in [
        ("goal, net: torch.mlp([size", "go<|>al, net: torch.mlp([size", "torch.train(", Some(1)),
        ("torch.mlp([size", "torch.mlp([<|>size", "torch.mlp(hidden", Some(0)),
        ("judged(raw, goal", "judged(<|>raw, goal", "judged(data: table, goal: column, width: int = 8", Some(0)),
        ("column: store, equals", "column: <|>store, equals", "table.where(", Some(1)),
        ("inputs: { all }, network: true", "inputs: { all }, network: <|>true", "sh(command: str", Some(3)),
        ("with { retries: 2", "with { retries: <|>2", "with { ", Some(1)),
    ] {
        assert_eq!(STORES.matches(from).count(), 1, "{from}");
        let (known, at) = Known::typing(STORES, &STORES.replace(from, to));
        let help = call_help(&known.view(), at).unwrap_or_else(|| panic!("no call at `{to}`"));
        assert!(help.head.starts_with(head), "`{to}`: {}", help.head);
        assert_eq!(help.active, active, "`{to}`: {}", help.head);
    }
}

#[test]
fn hints_and_colours_reach_into_bodies() {
    let known = Known::new(STORES);
    let hints = hints(&known.view(), 0..STORES.len());
    let shown = |marked: &str| {
        let at = cursor(marked);
        hints.iter().find(|hint| hint.at == at).map_or("", |hint| hint.text.as_str())
    };
    assert_eq!(shown("step parts<|> = table.split(data"), ": 3 columns each, train and test rows");
    assert_eq!(shown("step rows<|>  ="), ": 4 columns, all rows");
    assert_eq!(shown("step parts<|>   ="), ": 4 columns each, train and test rows");
    let all = colours(&known.view(), 0..STORES.len());
    for (marked, colour) in [
        ("<|>size in [", Colour::Param),
        ("table.split(<|>data", Colour::Node),
        ("column: <|>store", Colour::Column),
        ("equals: <|>store", Colour::Param),
        ("m: network.<|>model", Colour::Node),
        ("in <|>values", Colour::Keyword),
        ("<|>tolerate 5", Colour::Keyword),
        ("and <|>region", Colour::Param),
        ("given <|>raw", Colour::Node),
    ] {
        let at = cursor(marked);
        let found = all.iter().find(|part| part.range.start == at).map(|part| part.colour);
        assert_eq!(found, Some(colour), "{marked}");
    }
}

#[test]
fn the_outline_is_as_deep_as_the_text() {
    let known = Known::new(STORES);
    let entries = outline(&known.view());
    let names = |entries: &[Entry]| entries.iter().map(|entry| entry.name.clone()).collect::<Vec<_>>();
    let network = entries.iter().find(|entry| entry.name == "network").expect("a loop");
    assert_eq!(names(&network.children), ["store", "rows", "model", "folds"]);
    assert_eq!(names(&network.children[3].children), ["seed", "parts", "quality"]);
    let judged = entries.iter().find(|entry| entry.name == "judged").expect("a def");
    assert_eq!(names(&judged.children), ["data", "goal", "width", "parts", "trials", "model", "quality"]);
}

/// A body of which the first line is half typed is still a body.
#[test]
fn half_typed_bodies_keep_what_was_known() {
    let half = STORES.replace("  step rows  =", "  st\n  step rows  =");
    let known = Known::new(&half);
    let at = place_of(&half, "table.split(rows", 0) + "table.split(".len();
    let place = definition(&known.view(), at).expect("a step");
    assert_eq!(place.range.start, place_of(&half, "rows  =", 0));
    // On one line.
    let text = "pipeline p\nfor a in [1] as one { step x = demo.values(raw, any: a) }\n";
    let known = Known::new(text);
    let place = definition(&known.view(), place_of(text, "a) }", 0)).expect("a value");
    assert_eq!(place.range.start, place_of(text, "a in", 0));
}

const EXPERIMENTS: &str = r#"pipeline experiments

schema Config { name: str key, lr: float, width: int, card: str personal }
source configs = csv.read("customers.csv", schema: Config)
for c in rows(configs) as tried {
  step seen = demo.values(configs, any: c.width, ratio: c.lr)
}
"#;

#[test]
fn columns_of_a_row_are_values() {
    let known = Known::new(EXPERIMENTS);
    let at = place_of(EXPERIMENTS, "c.width", 0) + 2;
    let found = hover(&known.view(), at).expect("a column").markdown;
    assert!(found.contains("width: int") && found.contains("column of schema `Config`"), "{found}");
    let place = definition(&known.view(), at).expect("declared");
    assert_eq!(place.range.start, place_of(EXPERIMENTS, "width: int", 0));
    let completed = |from: &str, to: &str| -> Vec<String> {
        let (known, at) = Known::typing(EXPERIMENTS, &EXPERIMENTS.replace(from, to));
        complete(&known.view(), at).items.into_iter().map(|item| item.label).collect()
    };
    assert_eq!(completed("c.width", "c.<|>"), ["lr", "name", "width"]);
    assert_eq!(completed("any: c.width", "any: c<|>"), ["c.width"]);
    assert!(completed("rows(configs)", "r<|>").contains(&"rows".to_owned()));
}
