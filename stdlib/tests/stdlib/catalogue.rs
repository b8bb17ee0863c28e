//! The catalogue is whole and consistent.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use mlp_model::{ArgType, Argument, CallClass, InputType, ParamType, RoleRule, Signature, Value};
use mlp_stdlib::{BuiltinRunner, codes};

use crate::support::operations;

#[test]
fn operations_have_their_runner_and_class() {
    let operations = operations();
    let found: Vec<String> = operations
        .iter()
        .map(|s| {
            let class = match s.class {
                CallClass::Source => "source",
                CallClass::Step => "step",
                CallClass::Effect => "effect",
            };
            let args: Vec<String> = s.args.iter().map(|a| format!("{}{}", a.name, default(a))).collect();
            format!("{class} {} by {}: {}", s.name, s.runner, args.join(", "))
        })
        .collect();
    assert_eq!(
        found,
        [
            r#"source csv.read by builtin: file, schema, delimiter = ",", blank = [""]"#,
            "step csv.write by builtin: data",
            r#"effect effect.sh by process: command, inputs = none, at = {}, texts = {}, env = {}, pass_env = [], network = false, confine = "on""#,
            "step eval.binary by builtin: predictions, threshold = 0.5, on_train = false",
            "step eval.regression by builtin: predictions, on_train = false",
            "source file by builtin: path",
            "source folder by builtin: path",
            "source parquet.read by builtin: file, schema",
            "step parquet.write by builtin: data",
            "step pick.best by builtin: candidates, reports, metric, by, order = []",
            r#"step sh by process: command, inputs = none, outputs, at = {}, texts = {}, env = {}, pass_env = [], network = false, confine = "on""#,
            "step sql by builtin: query, tables",
            "step table.concat by builtin: tables",
            "step table.join by builtin: left, right, on, right_on = none, cardinality = none, unmatched = \"refuse\", \
             expect = 0.0, as_of = none, time = none, within = none, prefix = \"\"",
            "step table.split by builtin: data, test, seed, stratify = none, mixed_groups = false",
            "step table.split_groups by builtin: data, by, test, seed",
            "step table.split_rows by builtin: data, every, at, mixed_groups = false",
            "step table.split_time by builtin: data, by, test, mixed_groups = false",
            "step table.where by builtin: data, column, equals",
            "step torch.predict by torch: model, data, keep = []",
            "step torch.train by torch: data, target, net, features = none, although = [], one_hot = [], epochs = 30, \
             lr = 0.001, batch = 256, weight_decay = 0.0, loss = \"auto\", positive = none, seed = 0, device = \"auto\", threads = 1",
            r#"step wasm.map by wasm: data, source, columns, adds, params = {}, profile = "strict""#,
        ]
    );
    assert!(BuiltinRunner::OPS.iter().all(|op| operations.get(op).is_some_and(|s| s.runner == "builtin")));
}

fn default(argument: &Argument) -> String {
    argument.default.as_ref().map(|value| format!(" = {value}")).unwrap_or_default()
}

#[test]
fn every_operation_is_documented() {
    for signature in operations().iter() {
        let Signature { name, doc, .. } = signature;
        let first = doc.lines().next().unwrap_or_default();
        assert!(first.ends_with('.') && first.len() <= 100, "{name}: {first}");
        assert!(first.starts_with(char::is_uppercase), "{name}: {first}");
        // An effect is called like the step of its name.
        let called = name.strip_prefix("effect.").unwrap_or(name);
        assert!(doc.contains(&format!("= {called}(")), "{name} has no example");
        assert!(doc.lines().all(|line| line.len() <= 120), "{name} has a long line");
        for argument in &signature.args {
            check_doc(name, argument);
            if let ArgType::Param(ParamType::Call(constructors)) = &argument.ty {
                for constructor in constructors {
                    assert!(constructor.doc.ends_with('.'), "{}", constructor.name);
                    constructor.args.iter().for_each(|argument| check_doc(constructor.name, argument));
                }
            }
        }
    }
}

fn check_doc(of: &str, argument: &Argument) {
    let Argument { name, doc, .. } = argument;
    assert!(!doc.is_empty() && !doc.ends_with('.') && !doc.contains("  "), "{of}: {name}: {doc}");
}

#[test]
fn arguments_refer_to_each_other_by_names_that_exist() {
    for signature in operations().iter() {
        let is_input = |name: &str| signature.args.iter().any(|a| a.name == name && matches!(a.ty, ArgType::Input(_)));
        let is_flag = |name: &str| {
            signature.args.iter().any(|a| a.name == name && matches!(a.ty, ArgType::Param(ParamType::Bool)))
        };
        for argument in &signature.args {
            match &argument.ty {
                ArgType::Param(ParamType::Column { of } | ParamType::Columns { of }) => assert!(is_input(of), "{of}"),
                ArgType::Input(
                    InputType::Table(RoleRule::Not { allow: Some(flag), .. })
                    | InputType::Predictions { data_role: RoleRule::Not { allow: Some(flag), .. }, .. },
                ) => assert!(is_flag(flag), "{flag}"),
                _ => {}
            }
        }
        let mut names: Vec<_> = signature.args.iter().map(|argument| argument.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), signature.args.len(), "{}", signature.name);
    }
}

#[test]
fn defaults_have_the_type_of_their_argument() {
    for signature in operations().iter() {
        for argument in &signature.args {
            if let (ArgType::Param(ty), Some(default)) = (&argument.ty, &argument.default) {
                assert!(
                    *default == Value::Null || fits(ty, default),
                    "{} {}: {default}",
                    signature.name,
                    argument.name
                );
            }
        }
    }
}

fn fits(ty: &ParamType, value: &Value) -> bool {
    match (ty, value) {
        (ParamType::Int { min, max }, Value::Int(n)) => (min..=max).contains(&n),
        (ParamType::Float { min, max }, Value::Float(x)) => (min..=max).contains(&x),
        (ParamType::Bool, Value::Bool(_)) | (ParamType::Str, Value::Str(_)) => true,
        (ParamType::Choice(words), Value::Str(word)) => words.contains(&word.as_str()),
        (ParamType::Columns { .. }, Value::List(items)) => items.is_empty(),
        (ParamType::List(item), Value::List(items)) => items.iter().all(|value| fits(item, value)),
        (ParamType::Map(item), Value::Record(fields)) => fields.values().all(|value| fits(item, value)),
        _ => false,
    }
}

#[test]
fn every_code_is_listed_once_and_listed_codes_are_in_use() {
    let mut used = BTreeSet::new();
    let mut paths = vec![PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/src"))];
    while let Some(path) = paths.pop() {
        if path.is_dir() {
            paths.extend(fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
        } else if path.extension().is_some_and(|e| e == "rs") && path.file_name().is_some_and(|name| name != "codes.rs")
        {
            let text = fs::read_to_string(path).unwrap();
            let is_code = |text: &&str| text.len() == 5 && text[1..].bytes().all(|b| b.is_ascii_digit());
            used.extend(text.split('"').filter(is_code).map(str::to_owned));
        }
    }
    // These two are the language's.
    assert!(used.remove("E0301") && used.remove("E0312"));
    let listed: Vec<&str> = codes::ALL.iter().map(|(code, _)| *code).collect();
    assert_eq!(listed, used.iter().map(String::as_str).collect::<Vec<_>>());
}
