//! What an editor is told about a file, without an editor: `<|>` marks the cursor.

mod support;

use mlp_dsl::Facts;
use mlp_dsl::analysis::*;
use support::known::{Known, place_of};

const CHURN: &str = r#"//! Who leaves?
pipeline churn

/// Passes over the rows.
param epochs: int = 30 in 1..=500
param goal: str = "Churn"
schema Customer {
  id: str key personal
  tenure: int in 0..=120
  "Store Name": str? in ["a", "b"]
  Churn: bool label
}
schema Extra { years: float }

/// All customers.
source raw   = csv.read("customers.csv", schema: Customer)
step clean   = wasm.map(raw, source: "clean.py", columns: [tenure, "Store Name"], adds: Extra)
step parts   = table.split(clean, test: 0.2, seed: 7)
step model   = torch.train(parts.train, target: Churn, net: torch.mlp([64], dropout: 0.1), epochs)
               with { retries: 2 }
step quality = eval.binary(model, parts.test)
step before  = eval.binary(champion.model, parts.test)
gate good {
  floor   quality.auc >= 0.80
  better  quality.auc >= before.auc - 0.005
  first   floor only
}
release churn_model = bundle { model, cut: epochs, step_of: step clean } when good
"#;

/// Returns the labels of what could stand at the cursor, in the churn pipeline with one place changed.
fn completed(from: &str, to: &str) -> Vec<String> {
    assert_eq!(CHURN.matches(from).count(), 1, "{from}");
    let (known, at) = Known::typing(CHURN, &CHURN.replace(from, to));
    complete(&known.view(), at).items.into_iter().map(|item| item.label).collect()
}

fn hovered(needle: &str, nth: usize) -> String {
    let known = Known::new(CHURN);
    hover(&known.view(), place_of(CHURN, needle, nth)).unwrap_or_else(|| panic!("nothing about `{needle}`")).markdown
}

#[test]
fn steps_show_types_columns_parameters_and_docs() {
    let raw = hovered("raw,", 0);
    assert!(raw.contains("source `raw` = `csv.read`: table of all rows, 4 columns"), "{raw}");
    assert!(raw.contains("\"Store Name\": str? in [\"a\", \"b\"]") && raw.contains("All customers."), "{raw}");
    let parts = hovered("parts.train", 0);
    assert!(parts.contains("`parts.train`: 5 columns, train rows"), "{parts}");
    let model = hovered("model,", 0);
    assert!(
        model.contains("binary model of flavour `torch`: predicts `Churn`") && model.contains("epochs: 30"),
        "{model}"
    );
    assert!(hovered("train,", 0).contains("table of train rows"));
}

#[test]
fn parameters_columns_arguments_and_words_explain_themselves() {
    let epochs = hovered("epochs)", 0);
    assert!(
        epochs.contains("param epochs: int = 30") && epochs.contains("value: `30`") && epochs.contains("Passes"),
        "{epochs}"
    );
    assert!(hovered("Churn, net", 0).contains("Churn: bool label"));
    assert!(hovered("dropout", 0).contains("dropout: float in 0.0..=1.0 = 0.0"));
    assert!(hovered("torch.mlp", 0).contains("hidden: [int in 1..=65536, ..]"));
    assert!(hovered("eval.binary", 0).contains("model: model,\n  data: table"));
    assert!(hovered("champion", 0).contains("release `churn_model`"));
    assert!(hovered("auc", 0).contains("metric of report `quality`"));
    assert!(hovered("personal", 0).contains("masked"));
    assert!(hovered("gate good", 0).contains("passes when all its checks do"));
    assert!(hovered("retries", 0).contains("int in 0..=100 = 0"));
}

#[test]
fn names_lead_to_their_declarations() {
    let known = Known::new(CHURN);
    let view = known.view();
    for (used, nth, declared) in [
        ("clean, test", 0, "clean   ="),
        ("parts.test)", 1, "parts   ="),
        ("test)", 0, "parts   ="),
        ("Churn, net", 0, "Churn: bool"),
        ("\"Store Name\"]", 0, "\"Store Name\": str"),
        ("tenure, ", 0, "tenure: int"),
        ("Customer)", 0, "Customer {"),
        ("epochs)", 0, "epochs: int"),
        ("auc", 0, "quality ="),
        ("champion", 0, "churn_model ="),
        ("model, parts.test)\ngate", 0, "model, cut"),
        ("floor only", 0, "floor   quality"),
        ("clean }", 0, "clean   ="),
    ] {
        let place = definition(&view, place_of(CHURN, used, nth)).unwrap_or_else(|| panic!("`{used}` leads nowhere"));
        assert_eq!((place.file, place.range.start), (0, place_of(CHURN, declared, 0)), "{used}");
    }
    // `bundle { good` after `when` leads to the gate.
    let gate = definition(&view, CHURN.rfind("good").expect("there")).expect("a gate");
    assert_eq!(gate.range.start, place_of(CHURN, "good {", 0));
}

#[test]
fn references_are_those_of_the_thing_and_not_of_its_name() {
    let known = Known::new(CHURN);
    let view = known.view();
    let lines = |at| -> Vec<usize> {
        references(&view, at, true).into_iter().map(|place| known.document.line_of(place.range.start) + 1).collect()
    };
    // `model:` as an argument, `model` as a part of the champion are other things.
    assert_eq!(lines(place_of(CHURN, "model   =", 0)), [19, 21, 28]);
    assert_eq!(lines(place_of(CHURN, "Churn: bool", 0)), [11, 19]);
    assert_eq!(lines(place_of(CHURN, "floor", 0)), [24, 26]);
    assert_eq!(lines(place_of(CHURN, "epochs", 0)), [5, 19, 28]);
    assert_eq!(lines(place_of(CHURN, "test)", 0)), [21, 22]);
    let without = references(&view, place_of(CHURN, "epochs", 0), false);
    assert_eq!(without.len(), 2);
}

fn renamed(needle: &str, nth: usize, new: &str) -> Result<String, RenameError> {
    let known = Known::new(CHURN);
    let edits = rename(&known.view(), place_of(CHURN, needle, nth), new)?;
    let mut text = CHURN.to_owned();
    edits.iter().rev().for_each(|(range, new)| text.replace_range(range.clone(), new));
    Ok(text)
}

#[test]
fn renaming_writes_out_what_a_bare_name_was_short_for() {
    let text = renamed("epochs: int", 0, "passes").expect("renamed");
    assert!(
        text.contains("param passes: int") && text.contains("epochs: passes)\n") && text.contains("cut: passes,"),
        "{text}"
    );
    let text = renamed("model   =", 0, "net_1").expect("renamed");
    assert!(text.contains("eval.binary(net_1, parts.test)") && text.contains("bundle { model: net_1, cut"), "{text}");
    assert!(text.contains("champion.model"), "{text}");
    let text = renamed("floor", 0, "least").expect("renamed");
    assert!(text.contains("first   least only"), "{text}");
    // The same meaning: the pipeline of the renamed text has the same calls.
    let (before, after) = (support::check(CHURN), support::check(&renamed("parts", 0, "halves").expect("renamed")));
    let ops = |checked: &mlp_dsl::Checked| checked.pipeline.as_ref().map(|pipeline| pipeline.nodes.len());
    assert!(ops(&before).is_some() && ops(&before) == ops(&after), "{:?}", after.diagnostics);
}

#[test]
fn renaming_is_refused_where_it_would_break_or_shadow() {
    assert_eq!(renamed("epochs: int", 0, "raw"), Err(RenameError::Taken("raw".into(), 16)));
    assert_eq!(renamed("epochs: int", 0, "step"), Err(RenameError::Reserved("step".into())));
    assert_eq!(renamed("epochs: int", 0, "1x"), Err(RenameError::NotAName("1x".into())));
    assert_eq!(renamed("tenure: int", 0, "months"), Err(RenameError::Column("tenure".into())));
    assert_eq!(renamed("train, target", 0, "x"), Err(RenameError::Output("train".into())));
    assert!(matches!(renamed("model, parts.test)\ngate", 0, "x"), Err(RenameError::Part(_))));
    // A parameter in the place of a column would become the column of that name.
    let text = CHURN.replace("target: Churn", "target: goal");
    let known = Known::new(&text);
    let refused = rename(&known.view(), place_of(&text, "goal", 0), "tenure");
    assert_eq!(refused, Err(RenameError::Shadowed { old: "goal".into(), new: "tenure".into(), line: 19 }));
}

#[test]
fn operations_complete_with_their_namespaces() {
    let all = completed("table.split(clean, test: 0.2, seed: 7)", "<|>");
    assert!(all.contains(&"table.split".to_owned()) && all.contains(&"csv.read".to_owned()), "{all:?}");
    assert_eq!(completed("table.split(clean, test: 0.2, seed: 7)", "torch.<|>"), ["predict", "train"]);
    assert_eq!(completed("table.split(clean, test: 0.2, seed: 7)", "torch.tr<|>("), ["train"]);
    assert_eq!(completed("torch.mlp([64], dropout: 0.1)", "torch.<|>"), ["logistic", "mlp"]);
}

#[test]
fn arguments_complete_with_what_fits_them() {
    let columns = completed("target: Churn,", "target: <|>,");
    for column in ["Churn", "Store Name", "id", "tenure", "years"] {
        assert!(columns.contains(&column.to_owned()), "{column} in {columns:?}");
    }
    assert!(columns.contains(&"goal".to_owned()) && !columns.contains(&"epochs".to_owned()), "{columns:?}");
    assert_eq!(completed("columns: [tenure, \"Store Name\"]", "columns: [tenure, \"St<|>\"]"), ["Store Name"]);
    assert_eq!(completed("schema: Customer)", "schema: <|>)"), ["Customer", "Extra"]);
    let named = completed("epochs)\n", "<|>)\n");
    assert!(named.contains(&"device:".to_owned()) && named.contains(&"epochs".to_owned()), "{named:?}");
    assert!(!named.contains(&"target:".to_owned()), "it is given already: {named:?}");
    assert_eq!(completed("epochs)\n", "device: c<|>)\n"), ["cpu", "cuda"]);
    assert_eq!(
        completed("quality = eval.binary(model, parts.test)", "quality = eval.binary(mo<|>"),
        ["model", "model:", "champion.model"]
    );
    let tables = completed("quality = eval.binary(model, parts.test)", "quality = eval.binary(model, pa<|>");
    assert_eq!(tables, ["parts.test", "parts.train"]);
    let options = [
        "backoff:",
        "cpu:",
        "gpu:",
        "gpu_mem:",
        "mem:",
        "on_failure:",
        "partition:",
        "retries:",
        "timeout:",
        "tokens:",
    ];
    assert_eq!(completed("with { retries: 2 }", "with { <|> }"), options);
    assert_eq!(completed("with { retries: 2 }", "with { on_failure: <|> }"), ["skip", "stop"]);
}

#[test]
fn points_lead_to_outputs_metrics_and_parts() {
    assert_eq!(
        completed("eval.binary(model, parts.test)\nstep before", "eval.binary(model, parts.<|>\nstep before"),
        ["test", "train"]
    );
    assert_eq!(completed("quality.auc >= 0.80", "quality.<|>"), ["auc", "log_loss", "positives", "precision"]);
    assert_eq!(completed("champion.model", "champion.<|>"), ["cut", "model", "step_of"]);
}

#[test]
fn declarations_gates_schemas_and_releases_complete() {
    let words = completed("schema Extra", "<|>\nschema Extra");
    assert!(words.contains(&"param".to_owned()) && words.contains(&"gate".to_owned()), "{words:?}");
    // Above all declarations, and above one that is wrong.
    assert_eq!(completed("pipeline churn", "<|>\npipeline churn"), words);
    let (known, at) = Known::typing("", "//! A,<|>\n , x");
    assert!(complete(&known.view(), at).items.is_empty());
    assert_eq!(completed("release churn_model", "rel<|>\nrelease churn_model"), ["release"]);
    let checks = completed("floor only", "<|>");
    assert_eq!(checks, ["better", "floor", "only", "refuse"]);
    let figures = completed("quality.auc >= 0.80", "quality.auc >= <|>");
    assert!(figures.contains(&"before".to_owned()) && figures.contains(&"epochs".to_owned()), "{figures:?}");
    assert_eq!(completed("when good", "when <|>"), ["good"]);
    let marks = completed("id: str key personal", "id: str key <|>");
    assert!(marks.contains(&"personal".to_owned()) && !marks.contains(&"key".to_owned()), "{marks:?}");
    assert!(completed("tenure: int in", "tenure: <|>\n  x: int in").contains(&"timestamp".to_owned()));
}

#[test]
fn nothing_completes_in_comments_and_texts() {
    assert!(completed("/// Passes over", "/// Pa<|>").is_empty());
    assert!(completed("csv.read(\"customers.csv\"", "csv.read(\"cu<|>\"").is_empty());
    assert!(completed("seed: 7", "seed: 7<|>").is_empty());
}

#[test]
fn the_call_at_hand_is_shown_with_its_argument() {
    let (known, at) = Known::typing(CHURN, &CHURN.replace("target: Churn, net", "target: Ch<|>urn, net"));
    let help = call_help(&known.view(), at).expect("in a call");
    assert!(help.head.starts_with("torch.train(data: table, target: column, net: torch.mlp(..)"), "{}", help.head);
    assert_eq!(help.active, Some(1));
    let (range, _) = &help.arguments[1];
    assert_eq!(&help.head[range.clone()], "target: column");
    let (known, at) =
        Known::typing(CHURN, &CHURN.replace("torch.mlp([64], dropout: 0.1), epochs)", "torch.mlp([64], <|>"));
    let help = call_help(&known.view(), at).expect("in a call");
    assert!(help.head.starts_with("torch.mlp(hidden"), "{}", help.head);
}

#[test]
fn hints_count_the_columns_of_tables() {
    let known = Known::new(CHURN);
    let hints = hints(&known.view(), 0..CHURN.len());
    let shown: Vec<_> = hints.iter().map(|hint| hint.text.as_str()).collect();
    assert_eq!(shown, [": 4 columns, all rows", ": 5 columns, all rows", ": 5 columns each, train and test rows"]);
}

#[test]
fn the_outline_has_columns_and_checks() {
    let known = Known::new(CHURN);
    let entries = outline(&known.view());
    let names: Vec<_> = entries.iter().map(|entry| entry.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "churn",
            "epochs",
            "goal",
            "Customer",
            "Extra",
            "raw",
            "clean",
            "parts",
            "model",
            "quality",
            "before",
            "good",
            "churn_model"
        ]
    );
    let columns: Vec<_> = entries[3].children.iter().map(|entry| entry.name.as_str()).collect();
    assert_eq!(columns, ["id", "tenure", "Store Name", "Churn"]);
    let checks: Vec<_> = entries[11].children.iter().map(|entry| entry.name.as_str()).collect();
    assert_eq!(checks, ["floor", "better", "first"]);
}

#[test]
fn colours_cover_the_text_in_order() {
    let known = Known::new(CHURN);
    let parts = colours(&known.view(), 0..CHURN.len());
    assert!(parts.windows(2).all(|pair| pair[0].range.end <= pair[1].range.start));
    let of = |needle: &str| {
        let at = place_of(CHURN, needle, 0);
        parts.iter().find(|part| part.range.start == at).map(|part| part.colour)
    };
    assert_eq!(of("\"Store Name\"]"), Some(Colour::Column));
    assert_eq!(of("\"customers.csv\""), Some(Colour::String));
    assert_eq!(of("torch.mlp"), Some(Colour::Constructor));
    assert_eq!(of("train, target"), Some(Colour::Output));
    assert_eq!(of("with {"), None, "`with` is a word of the grammar alone");
}

#[test]
fn what_a_file_uses_is_found_in_the_other_file() {
    let text = "use \"lib/clean.mlp\" as lib\nsource raw = csv.read(\"customers.csv\", schema: lib.Row)\nstep x = lib.tidy(raw)\n";
    let other = "schema Row { id: str }\n/// Makes it tidy.\ndef tidy(data: table) {\n  step done = lib.f(data)\n  result = done\n}\n";
    let (document, module) = (Document::new(text), Document::new(other));
    assert_eq!(document.uses(), [("lib".to_owned(), "lib/clean.mlp".to_owned())]);
    let (catalogue, facts) = (support::catalogue(), Facts::default());
    let mut view = View::new(&document, &catalogue, &facts);
    view.modules.push(Module::new("lib", 1, &module));
    let place = definition(&view, place_of(text, "tidy", 0)).expect("declared there");
    assert_eq!((place.file, &other[place.range]), (1, "tidy"));
    let place = definition(&view, place_of(text, "Row", 0)).expect("declared there");
    assert_eq!((place.file, &other[place.range]), (1, "Row"));
    assert!(hover(&view, place_of(text, "tidy", 0)).expect("known").markdown.contains("Makes it tidy."));
    let marked = text.replace("lib.tidy(raw)", "lib.");
    let document = Document::new(marked.as_str());
    let mut view = View::new(&document, &catalogue, &facts);
    view.modules.push(Module::new("lib", 1, &module));
    let labels: Vec<_> = complete(&view, marked.len() - 1).items.into_iter().map(|item| item.label).collect();
    assert_eq!(labels, ["Row", "tidy"]);
    // Its arguments are those of an operation.
    let marked = "use \"lib/clean.mlp\" as lib\nstep x = lib.tidy(raw, ";
    let document = Document::new(marked);
    let mut view = View::new(&document, &catalogue, &facts);
    let module =
        Document::new("def tidy(data: table, by: column, cap: float = 1.5 in 0.0..=2.0) {\n  step a = f(data)\n}\n");
    view.modules.push(Module::new("lib", 1, &module));
    let help = call_help(&view, marked.len()).expect("in a call");
    assert_eq!(help.head, "lib.tidy(data: table, by: column, cap: float = 1.5)");
    assert_eq!(help.active, Some(1));
    // Within a template its parameters and steps have meanings of their own.
    let inside = Known::new(other);
    let place = definition(&inside.view(), place_of(other, "data)\n", 0)).expect("a parameter");
    assert_eq!(place.range.start, place_of(other, "data: table", 0));
    let place = definition(&inside.view(), place_of(other, "done\n", 0)).expect("a step");
    assert_eq!(place.range.start, place_of(other, "done = lib", 0));
}

/// Applies the change that the first diagnostic with this code offers.
fn fixed(text: &str, code: &str) -> Option<String> {
    let checked = support::check(text);
    let diagnostic = checked
        .diagnostics
        .iter()
        .find(|d| d.code == code)
        .unwrap_or_else(|| panic!("no {code}: {:?}", checked.diagnostics));
    let fix = fix(diagnostic, &checked.sources)?;
    let mut text = text.to_owned();
    text.replace_range(fix.span.start..fix.span.end, &fix.new);
    Some(text)
}

#[test]
fn each_help_that_says_what_to_write_is_a_change_that_helps() {
    for (from, to, code) in [
        ("target: Churn", "target: Chrun", "E0312"),
        ("columns: [tenure, \"Store Name\"]", "columns: [tenure, \"Stroe Name\"]", "E0312"),
        ("torch.train", "torch.trian", "E0203"),
        ("quality.auc >= 0.80", "quality.uac >= 0.80", "E0501"),
        ("when good", "when god", "E0531"),
        ("param epochs: int", "param epochs: integer", "E0304"),
        ("source raw", "step raw", "E0215"),
        ("step parts", "source parts", "E0215"),
        ("  first   floor only\n", "", "E0521"),
        ("id: str key personal", "id: str key persnal", "E0321"),
        ("retries: 2", "retires: 2", "E0212"),
        ("champion.model", "champion", "E0217"),
        ("torch.mlp([64]", "torch.mpl([64]", "E0313"),
        ("eval.binary(model, parts.test)\nstep", "eval.binary(model.out1, parts.test)\nstep", "E0211"),
    ] {
        assert_eq!(CHURN.matches(from).count(), 1, "{from}");
        let wrong = CHURN.replace(from, to);
        let right = fixed(&wrong, code).unwrap_or_else(|| panic!("no change for {code}: `{to}`"));
        let still: Vec<_> = support::check(&right).diagnostics.into_iter().filter(|d| d.code == code).collect();
        assert!(still.is_empty(), "{code}: {still:?}\n{right}");
    }
    // A help that is only an example is no change.
    assert_eq!(fixed(&CHURN.replace("test: 0.2, seed: 7", "test: 0.2"), "E0205"), None);
}

/// What the analysis takes for a name, the checker takes for one too.
#[test]
fn the_checker_and_the_analysis_agree_about_names() {
    for text in
        [CHURN, include_str!("cases/names.mlp"), include_str!("cases/values.mlp"), include_str!("cases/learning.mlp")]
    {
        let unknown: Vec<String> = {
            let checked = support::check(text);
            let unknown = checked.diagnostics.iter().filter(|d| d.code == "E0202");
            unknown.filter_map(|d| d.primary().map(|l| text[l.span.start..l.span.end].to_owned())).collect()
        };
        let known = Known::new(text);
        let mentions = known.view().mentions_in(0..text.len());
        for name in unknown {
            let found = mentions.iter().find(|m| m.word.text == name && matches!(m.meaning, Meaning::Symbol(_)));
            assert!(found.is_none(), "`{name}` is not known, and taken for {found:?}");
        }
    }
}
