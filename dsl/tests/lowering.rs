//! What a checked pipeline holds: nodes, inputs, parameters, spans, gates and releases.

mod support;

use std::path::PathBuf;
use std::time::Duration;

use mlp_dsl::{Checked, Span};
use mlp_model::{
    Call, CallClass, Comparison, Demand, FirstRelease, Gate, GpuDemand, Input, Node, NodeKind, NumExpr, Part, Pipeline,
    Release, Role, Rule, Scalar, Type, Value,
};

const CHURN: &str = r#"//! Retrains the churn model.
//! Weekly.
/// Said here too.
pipeline churn

/// Passes over the rows.
param epochs: int = 30 in 1..=500
param lr: float = 1

schema Customer open {
  id:     str   key personal
  tenure: int   in 0..=120
  charge: float? >= 0
  Churn:  bool  label
}
schema Extra { years: float }

/// The raw rows.
source raw   = csv.read("customers.csv", schema: Customer)
step clean   = wasm.map(raw, source: "clean.py", columns: [tenure], adds: Extra, params: { cap: 2, "a b": "x" })
step parts   = table.split(clean, test: 0.2, seed: 7)
step model   = torch.train(parts.train, target: Churn, net: torch.mlp([64, 32]), epochs, lr)
               with { timeout: 30m, retries: 2 }
step quality = eval.binary(model, parts.test)
step before  = eval.binary(champion.model, parts.test, 0.7)
step bundled = sh("cat", inputs: { words: file("words.txt"), clean, part: parts.test }, outputs: { b: file, a: folder })
step alone   = sh("cat", inputs: parts.test, outputs: { out: file })

gate good_enough {
  floor   quality.auc >= 0.80
  better  quality.auc -   // a comment
          before.auc >= -(0.005)
  first   floor only
}
gate other { few quality.positives * 2 < epochs / 3 }
release churn = bundle { model, threshold: 1 / 2, schema: Customer, transform: step clean, text: bundled.b }
  when good_enough and other
"#;

fn pipeline() -> Pipeline {
    let Checked { pipeline, diagnostics, .. } = support::check(CHURN);
    pipeline.unwrap_or_else(|| panic!("{diagnostics:#?}"))
}

fn call<'p>(pipeline: &'p Pipeline, name: &str) -> &'p Call {
    match &pipeline.node(name).expect(name).1.kind {
        NodeKind::Call(call) => call,
        other => panic!("{name} is {other:?}"),
    }
}

fn output(pipeline: &Pipeline, node: &str, output: &str) -> Input {
    Input::Output { node: pipeline.node(node).expect(node).0, output: output.to_owned().into() }
}

fn written(span: Span) -> &'static str {
    &CHURN[span.start..span.end]
}

#[test]
fn nodes_keep_the_order_of_declaration_and_implicit_steps_stand_before_theirs() {
    let pipeline = pipeline();
    let names: Vec<_> = pipeline.nodes.iter().map(|node| node.name.as_str()).collect();
    let expected = [
        "raw",
        "clean",
        "parts",
        "model",
        "quality.predictions",
        "quality",
        "before.predictions",
        "before",
        "bundled",
        "alone",
        "good_enough",
        "other",
        "churn",
    ];
    assert_eq!(names, expected);
    assert_eq!(
        (pipeline.name.as_str(), pipeline.doc.as_str()),
        ("churn", "Retrains the churn model.\nWeekly.\nSaid here too.")
    );
    let (_, Node { doc, span, .. }) = pipeline.node("raw").expect("declared");
    assert_eq!((doc.as_str(), written(*span)), ("The raw rows.", "raw"));
    assert_eq!(pipeline.sources[0].text, CHURN);
}

#[test]
fn parameters_have_values_of_their_type_and_an_origin() {
    let pipeline = pipeline();
    assert_eq!(pipeline.params["lr"].value, Value::Float(1.0));
    assert_eq!(pipeline.params["epochs"].origin, "default");
    let given = support::check_in(&support::Memory(Ok(CHURN)), &[("epochs", "60")]).pipeline.expect("checks");
    assert_eq!((&given.params["epochs"].value, given.params["epochs"].origin), (&Value::Int(60), "--param"));
    assert_eq!(call(&given, "model").params["epochs"], Value::Int(60));
}

#[test]
fn a_source_has_its_file_its_schema_and_its_defaults() {
    let pipeline = pipeline();
    let raw = call(&pipeline, "raw");
    assert_eq!((raw.class, raw.op.as_ref(), raw.op_version), (CallClass::Source, "csv.read", 1));
    let path = PathBuf::from("flows/customers.csv");
    assert_eq!(raw.inputs["file"], Input::Path { path, shown: "customers.csv".into(), folder: false });
    assert_eq!(raw.params["delimiter"], Value::Str(",".into()));
    let schema = raw.params["schema"].as_schema().expect("a schema");
    assert!(schema.open && schema.columns[0].marks.key && schema.columns[0].marks.personal);
    assert_eq!((schema.columns[2].scalar, schema.columns[2].optional), (Scalar::Float, true));
    assert_eq!(schema.columns[2].rules, [Rule::Min { value: Value::Float(0.0), inclusive: true }]);
    let bounds = [(0, true), (120, true)].map(|(n, inclusive)| (Value::Int(n), inclusive));
    let [(min, _), (max, _)] = bounds;
    let expected = [Rule::Min { value: min, inclusive: true }, Rule::Max { value: max, inclusive: true }];
    assert_eq!(schema.columns[1].rules, expected);
    assert_eq!(written(raw.arg_spans["file"]), "\"customers.csv\"");
    assert!(!raw.arg_spans.contains_key("delimiter"));
}

#[test]
fn types_flow_through_the_steps() {
    let pipeline = pipeline();
    let Type::Table(train) = &call(&pipeline, "parts").output("train").expect("declared").ty else { panic!("a table") };
    let columns: Vec<_> = train.columns.iter().map(|column| column.name.as_str()).collect();
    assert_eq!(
        (columns.as_slice(), train.role),
        (["id", "tenure", "charge", "Churn", "years"].as_slice(), Role::Train)
    );
    let model = call(&pipeline, "model");
    let features = ["tenure", "charge", "years"].map(|name| Value::Str(name.into())).to_vec();
    assert_eq!(model.params["features"], Value::List(features));
    assert_eq!(model.params["target"], Value::Str("Churn".into()));
    let hidden = Value::List(vec![Value::Int(64), Value::Int(32)]);
    let args = [("hidden".to_owned(), hidden), ("dropout".to_owned(), Value::Float(0.0))].into();
    assert_eq!(model.params["net"], Value::Call { name: "torch.mlp".into(), args });
    assert_eq!((model.options.timeout, model.options.retries), (Some(Duration::from_secs(1800)), 2));
    assert_eq!(model.inputs["data"], output(&pipeline, "parts", "train"));
}

#[test]
fn options_say_how_to_run_and_what_is_needed_and_where_that_is_written() {
    let text = r#"pipeline p
schema S { id: str }
source raw = csv.read("customers.csv", schema: S)
step out = csv.write(raw) with {
  cpu: 2, mem: 8 GiB, gpu: 0.25, gpu_mem: 1 GiB, tokens: { licence: 1 }, retries: 3, backoff: 10s
}
"#;
    let Checked { pipeline, diagnostics, .. } = support::check(text);
    let pipeline = pipeline.unwrap_or_else(|| panic!("{diagnostics:#?}"));
    let out = call(&pipeline, "out");
    let demand = Demand {
        cpu: Some(2),
        mem_bytes: 8 << 30,
        tokens: [("licence".to_owned(), 1)].into(),
        gpu: Some(GpuDemand::Share(250)),
        gpu_mem_bytes: 1 << 30,
    };
    assert_eq!((&out.options.demand, out.options.backoff), (&demand, Some(Duration::from_secs(10))));
    let span = out.arg_spans["with.gpu"];
    assert_eq!(&text[span.start..span.end], "0.25");
}

#[test]
fn an_evaluation_reads_the_predictions_of_its_implicit_step() {
    let pipeline = pipeline();
    let quality = call(&pipeline, "quality");
    assert_eq!(quality.inputs, [("predictions".to_owned(), output(&pipeline, "quality.predictions", "out"))].into());
    let predictions = call(&pipeline, "quality.predictions");
    assert_eq!((predictions.op.as_ref(), predictions.class), ("torch.predict", CallClass::Step));
    assert_eq!(predictions.inputs["model"], output(&pipeline, "model", "out"));
    assert_eq!(predictions.inputs["data"], output(&pipeline, "parts", "test"));
    assert_eq!(written(predictions.arg_spans["data"]), "parts.test");
    let champion = Input::Champion { release: "churn".into(), part: "model".into() };
    assert_eq!(call(&pipeline, "before.predictions").inputs["model"], champion);
    assert_eq!(call(&pipeline, "before").params["threshold"], Value::Float(0.7));
}

#[test]
fn members_of_a_record_are_inputs_of_their_own() {
    let pipeline = pipeline();
    let bundled = call(&pipeline, "bundled");
    let path = PathBuf::from("flows/words.txt");
    let words = Input::Path { path, shown: "words.txt".into(), folder: false };
    let expected = [
        ("inputs.words".to_owned(), words),
        ("inputs.clean".to_owned(), output(&pipeline, "clean", "out")),
        ("inputs.part".to_owned(), output(&pipeline, "parts", "test")),
    ];
    assert_eq!(bundled.inputs, expected.into());
    assert_eq!(written(bundled.arg_spans["inputs.part"]), "parts.test");
    assert_eq!(
        call(&pipeline, "alone").inputs,
        [("inputs.parts".to_owned(), output(&pipeline, "parts", "test"))].into()
    );
    let outputs: Vec<_> = bundled.outputs.iter().map(|output| output.name.as_ref()).collect();
    assert_eq!(outputs, ["a", "b"]);
}

#[test]
fn gates_hold_their_checks_as_numbers() {
    let pipeline = pipeline();
    let NodeKind::Gate(Gate { checks, first }) = &pipeline.node("good_enough").expect("declared").1.kind else {
        panic!("a gate")
    };
    assert_eq!(*first, Some(FirstRelease::Only(vec!["floor".into()])));
    let metric =
        |node: &str| Box::new(NumExpr::Metric { node: pipeline.node(node).expect(node).0, metric: "auc".into() });
    assert_eq!(checks[1].text, "quality.auc - before.auc >= -(0.005)");
    assert_eq!(checks[1].left, NumExpr::Subtract(metric("quality"), metric("before")));
    assert_eq!(checks[1].right, NumExpr::Negate(Box::new(NumExpr::Number(0.005))));
    assert_eq!(checks[1].comparison, Comparison::GreaterOrEqual);
    let NodeKind::Gate(Gate { checks, first: None }) = &pipeline.node("other").expect("declared").1.kind else {
        panic!("a gate without a rule")
    };
    let third = NumExpr::Divide(Box::new(NumExpr::Number(30.0)), Box::new(NumExpr::Number(3.0)));
    assert_eq!(checks[0].right, third);
}

#[test]
fn a_release_holds_artifacts_values_and_transforms() {
    let pipeline = pipeline();
    let NodeKind::Release(Release { name, parts, gates }) = &pipeline.node("churn").expect("declared").1.kind else {
        panic!("a release")
    };
    let place = |node: &str| pipeline.node(node).expect(node).0;
    assert_eq!((name.as_str(), gates), ("churn", &vec![place("good_enough"), place("other")]));
    assert_eq!(parts["model"], Part::Output { node: place("model"), output: "out".into() });
    assert_eq!(parts["text"], Part::Output { node: place("bundled"), output: "b".into() });
    assert_eq!(parts["transform"], Part::Transform { node: place("clean") });
    assert_eq!(parts["threshold"], Part::Value(Value::Float(0.5)));
    assert!(matches!(&parts["schema"], Part::Value(Value::Schema(schema)) if schema.name == "Customer"));
}

#[test]
fn layout_and_comments_do_not_change_what_is_meant() {
    let text = "pipeline p\nsource f = file(\"words.txt\")\nstep s = sh(\"\"\"\n  a \\n \"b\"\n\n    c\n  \"\"\", f, { o: file })";
    let other = "pipeline p // x\nsource f = \n file(\n\"words.txt\"\r\n ,)\nstep s = sh( inputs : f ,\n  outputs: {\"o\":\"file\",}, // y\n\
                 command: \"\"\"\n        a \\n \"b\"\n \n          c\n  \t\"\"\" )\n";
    let call_of = |text| {
        let checked = support::check(text);
        let pipeline = checked.pipeline.unwrap_or_else(|| panic!("{:#?}", checked.diagnostics));
        let Call { arg_spans: _, inputs, params, outputs, .. } = call(&pipeline, "s").clone();
        (inputs, params, outputs)
    };
    assert_eq!(call_of(text).1["command"], Value::Str("a \\n \"b\"\n\n  c".into()));
    assert_eq!(call_of(text), call_of(other));
}

/// The calls of a pipeline by name, without what no key has: where they are written and what they are called.
fn keyed(pipeline: &Pipeline) -> Vec<(String, Call)> {
    let mut calls: Vec<_> = pipeline
        .nodes
        .iter()
        .filter_map(|node| match &node.kind {
            NodeKind::Call(call) => {
                let call = Call { arg_spans: Default::default(), ..Call::clone(call) };
                Some((node.name.clone(), call))
            }
            _ => None,
        })
        .collect();
    // Inputs refer to nodes by place; a pipeline written otherwise may have them elsewhere.
    let names: Vec<_> = pipeline.nodes.iter().map(|node| node.name.rsplit('.').next().unwrap_or_default()).collect();
    let order: Vec<_> = names.iter().map(|name| name.len() + name.bytes().map(usize::from).sum::<usize>()).collect();
    for (_, call) in &mut calls {
        for input in call.inputs.values_mut() {
            if let Input::Output { node, .. } = input {
                *node = order[*node];
            }
        }
    }
    calls
}

const HEAD: &str = "pipeline churn
schema Customer { id: str key, tenure: int, Churn: bool label }
schema Extra { years: float }
source raw = csv.read(\"customers.csv\", schema: Customer)
";

const BODY: &str = "(data: table, columns: columns, cap: float = 2.5) {
  step filled = wasm.map(data, source: \"clean.py\", columns: columns, adds: Extra, params: { cap })
  step parts  = table.split(filled, test: 0.2, seed: 7) with { retries: 2 }
  result = parts
}
";

#[test]
fn a_step_does_the_same_in_a_def_in_a_module_and_written_out() {
    let by_hand = format!(
        "{HEAD}step filled = wasm.map(raw, source: \"clean.py\", columns: [tenure], adds: Extra, params: {{ cap: 2.5 }})
step parts = table.split(filled, test: 0.2, seed: 7) with {{ retries: 2 }}
step model = torch.train(parts.train, target: Churn, net: torch.mlp([4]))
"
    );
    let train = "step model = torch.train(clean.train, target: Churn, net: torch.mlp([4]))\n";
    let as_def = format!("{HEAD}def prepare{BODY}step clean = prepare(raw, [tenure])\n{train}");
    let renamed = format!("{HEAD}{train}step clean = tidy(raw, cap: 5 / 2, columns: [\"tenure\"])\ndef tidy{BODY}");
    let as_module = format!("{HEAD}use \"m.mlp\" as m\nstep clean = m.prepare(raw, [tenure])\n{train}");
    let nested = format!(
        "{HEAD}use \"m.mlp\" as m\ndef outer(rows: table) {{\n  step inner = m.prepare(rows, [tenure])\n  result = inner\n}}\nstep clean = outer(raw)\n{train}"
    );
    let module = format!("schema Extra {{ years: float }}\ndef prepare{BODY}");
    let calls = |text: &str| {
        let modules = [("m.mlp", module.as_str())].into();
        let world = support::Modules { pipeline: support::Memory(Ok(text)), modules };
        let checked = support::check_in(&world, &[]);
        let pipeline = checked.pipeline.unwrap_or_else(|| panic!("{:#?}", checked.diagnostics));
        let keyed = keyed(&pipeline);
        let names: Vec<_> = keyed.iter().map(|(name, _)| name.clone()).collect();
        let mut calls: Vec<_> = keyed.into_iter().map(|(_, call)| call).collect();
        calls.sort_by_key(|call| call.op.clone());
        (names, calls, checked.sources.len())
    };
    let (names, expected, n_sources) = calls(&by_hand);
    assert_eq!((names, n_sources), (["raw", "filled", "parts", "model"].map(str::to_owned).to_vec(), 1));
    for (text, expected_names, n_sources) in [
        (&as_def, ["raw", "clean.filled", "clean.parts", "model"], 1),
        (&renamed, ["raw", "model", "clean.filled", "clean.parts"], 1),
        (&as_module, ["raw", "clean.filled", "clean.parts", "model"], 2),
        (&nested, ["raw", "clean.inner.filled", "clean.inner.parts", "model"], 2),
    ] {
        let (names, calls, n) = calls(text);
        assert_eq!((names, n), (expected_names.map(str::to_owned).to_vec(), n_sources));
        assert_eq!(calls, expected, "{text}");
    }
}

#[test]
fn rounds_that_may_fail_are_known_and_so_is_who_goes_on_without_them() {
    let text = r#"pipeline churn
for a in [1, 2] tolerate 3 as outer {
  for b in ["x", "y z"] tolerate 0 as inner { step made = sh("make", outputs: { o: file }) }
  step all = sh("cat", inputs: inner.made, outputs: { o: file })
}
for a in [1] as plain { step made = sh("make", outputs: { o: file }) }
step every = sh("cat", inputs: { inner: outer.inner.made, outer: outer.all, plain: plain.made }, outputs: { o: file })
"#;
    let Checked { pipeline, diagnostics, .. } = support::check(text);
    let pipeline = pipeline.unwrap_or_else(|| panic!("{diagnostics:#?}"));
    let rounds = |name: &str| -> Vec<(String, String, u32)> {
        let rounds = &call(&pipeline, name).options.rounds;
        rounds.iter().map(|round| (round.of.clone(), round.key.clone(), round.tolerated)).collect()
    };
    let outer = ("outer".to_owned(), "1".to_owned(), 3);
    let inner = ("outer[1].inner".to_owned(), r#""y z""#.to_owned(), 0);
    assert_eq!(rounds(r#"outer[1].inner["y z"].made"#), [inner, outer.clone()]);
    assert_eq!((rounds("outer[1].all"), rounds("plain[1].made")), (vec![outer], vec![]));
    let collects = |name: &str| call(&pipeline, name).options.collects.iter().cloned().collect::<Vec<_>>();
    assert_eq!(collects("outer[2].all"), ["inputs.made_x", "inputs.made_y_z"]);
    let members = ["inner_1_x", "inner_1_y_z", "inner_2_x", "inner_2_y_z", "outer_1", "outer_2"];
    assert_eq!(collects("every"), members.map(|member| format!("inputs.{member}")));
    assert_eq!(collects("plain[1].made"), Vec::<String>::new());
}

#[test]
fn outputs_that_may_be_left_out_are_marked() {
    let text = "pipeline churn\nstep a = sh(\"make\", outputs: { model: file, notes: file?, \"log dir\": folder ? })\n\
                step b = sh(\"cat\", inputs: { notes: a.notes }, outputs: { o: \"folder?\" })\n";
    let Checked { pipeline, diagnostics, .. } = support::check(text);
    let pipeline = pipeline.unwrap_or_else(|| panic!("{diagnostics:#?}"));
    let outputs = |name: &str| -> Vec<(String, bool)> {
        call(&pipeline, name).outputs.iter().map(|output| (output.name.to_string(), output.optional)).collect()
    };
    let expected = [("log dir".to_owned(), true), ("model".to_owned(), false), ("notes".to_owned(), true)];
    assert_eq!((outputs("a"), outputs("b")), (expected.to_vec(), vec![("o".to_owned(), true)]));
    // It is part of the key, since it decides what a result can be.
    let declared = call(&pipeline, "a").params["outputs"].as_record().expect("a record");
    assert_eq!((&declared["model"], &declared["notes"]), (&Value::Str("file".into()), &Value::Str("file?".into())));
}
