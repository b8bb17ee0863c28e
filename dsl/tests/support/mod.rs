//! A small catalogue and a world in memory, for tests of the compiler. The operations resemble real ones in what they
//! take and infer; none of them can run.

#![allow(dead_code)]

pub mod formatting;
pub mod known;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use mlp_dsl::{Assignments, CheckInput, Checked, Listed, PathKind, World, WorldError};
use mlp_model::{
    ArgError, ArgType, Argument, CallClass, Catalogue, CheckedCall, Column, Constructor, Inferred, InputType,
    ModelType, Named, ParamType, ReportType, Role, RoleRule, Scalar, Signature, TableType, Task, Type, Value, Word,
};

/// A world with one text, `churn.mlp`, and a few files beside it.
pub struct Memory<'a>(pub Result<&'a str, WorldError>);

impl World for Memory<'_> {
    fn read(&self, path: &Path) -> Result<String, WorldError> {
        if path == Path::new("flows/churn.mlp") { self.0.clone().map(str::to_owned) } else { Err(WorldError::NotFound) }
    }

    fn kind(&self, path: &Path) -> PathKind {
        match path.to_str() {
            Some("flows/customers.csv" | "flows/clean.py" | "flows/words.txt") => PathKind::File,
            Some("flows/images") => PathKind::Folder,
            Some(path) if path.starts_with("flows/days/2026-") => PathKind::File,
            _ => PathKind::Missing,
        }
    }

    fn list(&self, path: &Path) -> Result<Vec<Listed>, WorldError> {
        let names = match path.to_str() {
            Some("flows" | "flows/") => &["customers.csv", "clean.py", "words.txt", "images"][..],
            Some("flows/images/") => return Err(WorldError::Other("permission denied".to_owned())),
            _ => return Err(WorldError::NotFound),
        };
        let listed =
            |name: &&str| Listed { name: (*name).to_owned(), kind: self.kind(&path.join(name)), is_link: false };
        Ok(names.iter().map(listed).collect())
    }

    fn line_of(&self, _: &Path, _: usize) -> Option<usize> {
        Some(3)
    }
}

/// A world with a pipeline, `churn.mlp`, modules beside it, and another pipeline somewhere else.
pub struct Modules<'a> {
    pub pipeline: Memory<'a>,
    /// By their path from the pipeline's folder.
    pub modules: BTreeMap<&'a str, &'a str>,
}

impl World for Modules<'_> {
    fn read(&self, path: &Path) -> Result<String, WorldError> {
        let module = path.strip_prefix("flows").ok().and_then(Path::to_str).and_then(|path| self.modules.get(path));
        match module {
            Some(text) => Ok((*text).to_owned()),
            None if path == Path::new("flows/churn.mlp") => self.pipeline.read(path),
            None if path.ends_with("binary.mlp") => Err(WorldError::NotUtf8 { offset: 3 }),
            None => Err(WorldError::NotFound),
        }
    }

    fn kind(&self, path: &Path) -> PathKind {
        if path == Path::new("flows/lib/clean.py") { PathKind::File } else { self.pipeline.kind(path) }
    }

    fn list(&self, path: &Path) -> Result<Vec<Listed>, WorldError> {
        self.pipeline.list(path)
    }

    fn another_has(&self, is_it: &dyn Fn(&str) -> bool) -> bool {
        is_it("pipeline demand\nparam horizon: int = 28\n")
    }

    fn line_of(&self, path: &Path, offset: usize) -> Option<usize> {
        self.pipeline.line_of(path, offset)
    }
}

pub fn check(text: &str) -> Checked {
    check_in(&Memory(Ok(text)), &[])
}

pub fn check_in(world: &dyn World, params: &[(&str, &str)]) -> Checked {
    check_given(world, &Assignments::of_arguments(params.iter().copied()))
}

pub fn check_given(world: &dyn World, params: &Assignments) -> Checked {
    let catalogue = catalogue();
    mlp_dsl::check(&CheckInput { file: Path::new("flows/churn.mlp"), params, catalogue: &catalogue, world })
}

fn required(name: &'static str, ty: ArgType) -> Argument {
    Argument { name, ty, default: None, doc: "" }
}

fn optional(name: &'static str, ty: ParamType, default: Value) -> Argument {
    Argument { name, ty: ArgType::Param(ty), default: Some(default), doc: "" }
}

fn table(name: &'static str) -> Argument {
    required(name, ArgType::Input(InputType::Table(RoleRule::Any)))
}

fn op(
    name: &'static str,
    class: CallClass,
    args: Vec<Argument>,
    infer: impl Fn(&CheckedCall<'_>) -> Result<Inferred, Vec<ArgError>> + Send + Sync + 'static,
) -> Signature {
    Signature { name, version: 1, runner: "builtin", class, doc: "", args, infer: Arc::new(infer) }
}

fn gives(ty: Type) -> Result<Inferred, Vec<ArgError>> {
    Ok(Inferred { outputs: vec![("out".into(), ty)], ..Inferred::default() })
}

fn data<'a>(call: &CheckedCall<'a>, name: &str) -> &'a TableType {
    match call.inputs.get(name) {
        Some(Type::Table(table)) => table,
        other => panic!("`{name}` should be a table, is {other:?}"),
    }
}

fn strings(values: &[&str]) -> Value {
    Value::List(values.iter().map(|value| Value::Str((*value).into())).collect())
}

const PERCENT: ParamType = ParamType::Float { min: 0.0, max: 1.0 };
const ANY_FLOAT: ParamType = ParamType::Float { min: f64::NEG_INFINITY, max: f64::INFINITY };
const ANY_INT: ParamType = ParamType::Int { min: i64::MIN, max: i64::MAX };

pub fn catalogue() -> Catalogue {
    let evaluation = include_str!("../../../stdlib/modules/evaluation.mlp");
    operations().with_modules([("evaluation", evaluation), ("demo", "def copy(data: table) { result = data }\n")])
}

fn operations() -> Catalogue {
    let (source, step) = (CallClass::Source, CallClass::Step);
    let file = || required("file", ArgType::Input(InputType::File));
    let read_args = vec![
        file(),
        required("schema", ArgType::Param(ParamType::Schema)),
        optional("delimiter", ParamType::Str, Value::Str(",".into())),
        optional("blank", ParamType::List(Box::new(ParamType::Str)), strings(&[""])),
    ];
    let values_args = vec![
        table("data"),
        optional("any", ANY_INT, Value::Int(0)),
        optional("least", ParamType::Int { min: 1, max: i64::MAX }, Value::Int(1)),
        optional("ratio", ANY_FLOAT, Value::Float(0.0)),
        optional("flag", ParamType::Bool, Value::Bool(false)),
        optional("wait", ParamType::Duration, Value::DurationMs(0)),
        optional("level", ParamType::Choice(&["low", "high"]), Value::Str("low".into())),
        optional("by", ParamType::Column { of: "data" }, Value::Null),
        optional("widths", ParamType::List(Box::new(ANY_INT)), Value::List(Vec::new())),
        optional(
            "kinds",
            ParamType::Map(Box::new(ParamType::Choice(&["file", "folder"]))),
            Value::Record(Named::new()),
        ),
        optional("label", ParamType::Literal, Value::Null),
    ];
    Catalogue::new([
        op("file", source, vec![required("path", ArgType::Input(InputType::File))], |_| gives(Type::File)),
        op("folder", source, vec![required("path", ArgType::Input(InputType::Folder))], |_| gives(Type::Folder)),
        op("csv.read", source, read_args, |call| {
            let schema = call.params["schema"].as_schema().expect("checked");
            gives(Type::Table(TableType { columns: schema.columns.clone().into(), open: schema.open, role: Role::All }))
        }),
        op("csv.write", step, vec![table("data")], |_| gives(Type::File)),
        op("sql", step, sql_args(), infer_sql),
        op("table.split", step, split_args(), |call| {
            let part = |role| Type::Table(TableType { role, ..data(call, "data").clone() });
            let outputs = vec![("train".into(), part(Role::Train)), ("test".into(), part(Role::Test))];
            Ok(Inferred { outputs, ..Inferred::default() })
        }),
        op("table.concat", step, vec![required("tables", ArgType::Input(InputType::Record))], |call| {
            let first = call.inputs.values().next().cloned();
            gives(first.ok_or_else(|| vec![ArgError::new("E0349", "tables", "there are no tables")])?)
        }),
        op("table.where", step, where_args(), |call| gives(Type::Table(data(call, "data").clone()))),
        op("pick.best", step, pick_args(), |call| {
            let candidates = call.inputs.iter().find(|(name, _)| name.starts_with("candidates."));
            gives(candidates.expect("the example has some").1.clone())
        }),
        op("wasm.map", step, map_args(), |call| {
            let mut table = data(call, "data").clone();
            let adds = call.params["adds"].as_schema().expect("checked");
            table.columns.retain(|column| adds.columns.iter().all(|added| added.name != column.name));
            table.columns.extend(adds.columns.clone());
            gives(Type::Table(table))
        }),
        op("effect.sh", CallClass::Effect, effect_args(), |call| {
            if call.params["network"] == Value::Bool(false) {
                let message = "the effect has no network to write to";
                return Err(vec![ArgError::new("E0359", "command", message).with_help("add `network: true`")]);
            }
            Ok(Inferred::default())
        }),
        op("sh", step, sh_args(), |call| {
            let kinds = call.params["outputs"].as_record().expect("checked");
            let kind = |value: &Value| value.as_str().expect("checked").to_owned();
            let ty = |value: &Value| if kind(value).starts_with("file") { Type::File } else { Type::Folder };
            let outputs = kinds.iter().map(|(name, value)| (Word::from(name.to_owned()), ty(value))).collect();
            let optional = kinds.iter().filter(|(_, value)| kind(value).ends_with('?'));
            let optional = optional.map(|(name, _)| name.to_owned()).collect();
            Ok(Inferred { outputs, optional, ..Inferred::default() })
        }),
        op("torch.train", step, train_args(), infer_train),
        op("torch.predict", step, vec![required("model", ArgType::Input(InputType::Model)), table("data")], |call| {
            let mut columns = Vec::new();
            if let Some(Type::Model(model)) = call.inputs.get("model") {
                for feature in &model.features {
                    if data(call, "data").column(&feature.name).is_none() {
                        let message = format!("the model needs column `{}`", feature.name);
                        return Err(vec![ArgError::new("E0360", "data", message)]);
                    }
                }
                columns.push(Column::plain("actual", Scalar::Float));
            }
            columns.push(Column::plain("score", Scalar::Float));
            gives(Type::Table(TableType { columns: columns.into(), open: false, role: data(call, "data").role }))
        }),
        op("eval.binary", step, eval_args(), |call| {
            assert!(data(call, "predictions").column("score").is_some());
            let metrics = ["auc", "log_loss", "precision", "positives"].map(str::to_owned).to_vec();
            gives(Type::Report(ReportType { metrics }.into()))
        }),
        op("eval.regression", step, eval_args(), |_| {
            gives(Type::Report(ReportType { metrics: vec!["mae".into()] }.into()))
        }),
        op("demo.values", step, values_args, |_| gives(Type::File)),
        op("demo.report", step, vec![required("report", ArgType::Input(InputType::Report))], |_| gives(Type::File)),
        op("demo.folder", step, vec![required("folder", ArgType::Input(InputType::Folder))], |_| gives(Type::File)),
        op("demo.exotic", step, vec![table("data")], |_| {
            let target = Column::plain("y", Scalar::Float);
            let flavour = "exotic".to_owned();
            gives(Type::Model(ModelType { flavour, task: Task::Regression, target, features: Vec::new() }.into()))
        }),
    ])
}

fn where_args() -> Vec<Argument> {
    let column = ArgType::Param(ParamType::Column { of: "data" });
    vec![table("data"), required("column", column), required("equals", ArgType::Param(ParamType::Literal))]
}

fn pick_args() -> Vec<Argument> {
    let record = |name| required(name, ArgType::Input(InputType::Record));
    let by = required("by", ArgType::Param(ParamType::Choice(&["max", "min"])));
    vec![record("candidates"), record("reports"), required("metric", ArgType::Param(ParamType::Str)), by]
}

fn sql_args() -> Vec<Argument> {
    let query = required("query", ArgType::Param(ParamType::Str));
    vec![query, required("tables", ArgType::Input(InputType::Record))]
}

/// Knows only `select COLUMN`, to tell a place within the text.
fn infer_sql(call: &CheckedCall<'_>) -> Result<Inferred, Vec<ArgError>> {
    let query = call.params["query"].as_str().expect("checked");
    let tables = call.inputs.iter().filter(|(name, _)| name.starts_with("tables."));
    let mut columns = tables.filter_map(|(_, ty)| if let Type::Table(table) = ty { Some(table) } else { None });
    let known = columns.next().map(|table| table.columns.clone().into_inner()).unwrap_or_default();
    let start = query.find("select ").map_or(0, |n| n + 7);
    let word = query[start..].split_whitespace().next().unwrap_or_default();
    match known.into_iter().find(|column| column.name == word) {
        Some(column) => gives(Type::Table(TableType { columns: vec![column].into(), open: false, role: Role::All })),
        None => {
            let mut error = ArgError::new("E0361", "query", format!("no table has a column `{word}`"));
            error.within = Some(start..start + word.len());
            Err(vec![error])
        }
    }
}

fn split_args() -> Vec<Argument> {
    vec![
        table("data"),
        required("test", ArgType::Param(PERCENT)),
        required("seed", ArgType::Param(ParamType::Int { min: 0, max: i64::MAX })),
        optional("stratify", ParamType::Column { of: "data" }, Value::Null),
    ]
}

fn map_args() -> Vec<Argument> {
    vec![
        table("data"),
        required("source", ArgType::Input(InputType::File)),
        required("columns", ArgType::Param(ParamType::Columns { of: "data" })),
        required("adds", ArgType::Param(ParamType::Schema)),
        optional("params", ParamType::Map(Box::new(ParamType::Literal)), Value::Record(Named::new())),
        optional("profile", ParamType::Choice(&["strict", "fast"]), Value::Str("strict".into())),
    ]
}

fn effect_args() -> Vec<Argument> {
    let mut args: Vec<Argument> = sh_args().into_iter().filter(|arg| arg.name != "outputs").collect();
    args.push(optional("network", ParamType::Bool, Value::Bool(false)));
    args
}

fn sh_args() -> Vec<Argument> {
    let empty = Value::Record(Named::new());
    let inputs = ArgType::Input(InputType::Record);
    let kinds = ParamType::Map(Box::new(ParamType::Choice(&["file", "folder", "file?", "folder?"])));
    // As in the catalogue, strings or secrets.
    vec![
        required("command", ArgType::Param(ParamType::Str)),
        Argument { name: "inputs", ty: inputs, default: Some(empty.clone()), doc: "" },
        required("outputs", ArgType::Param(kinds)),
        optional("env", ParamType::Map(Box::new(ParamType::StrOrSecret)), empty),
    ]
}

fn train_args() -> Vec<Argument> {
    let rule =
        RoleRule::Not { roles: &[Role::Valid, Role::Test], allow: None, why: "a model must not learn from them" };
    let nets = vec![
        Constructor {
            name: "torch.mlp",
            doc: "",
            args: vec![
                required("hidden", ArgType::Param(ParamType::List(Box::new(ParamType::Int { min: 1, max: 65_536 })))),
                optional("dropout", PERCENT, Value::Float(0.0)),
            ],
        },
        Constructor { name: "torch.logistic", doc: "", args: vec![optional("c", ANY_FLOAT, Value::Float(1.0))] },
    ];
    vec![
        required("data", ArgType::Input(InputType::Table(rule))),
        required("target", ArgType::Param(ParamType::Column { of: "data" })),
        required("net", ArgType::Param(ParamType::Call(nets))),
        optional("features", ParamType::Columns { of: "data" }, Value::Null),
        optional("epochs", ParamType::Int { min: 1, max: 100_000 }, Value::Int(30)),
        optional("lr", ANY_FLOAT, Value::Float(1e-3)),
        optional("device", ParamType::Choice(&["cpu", "cuda", "auto"]), Value::Str("auto".into())),
    ]
}

fn infer_train(call: &CheckedCall<'_>) -> Result<Inferred, Vec<ArgError>> {
    let table = data(call, "data");
    let target = table.column(call.params["target"].as_str().expect("checked")).expect("checked").clone();
    let written = call.params["features"].as_strings();
    let names: Vec<String> = match &written {
        Some(names) => names.iter().map(|name| (*name).to_owned()).collect(),
        None => {
            let usable =
                table.columns.iter().filter(|c| c.marks.why_not_a_feature().is_none() && c.name != target.name);
            usable.map(|column| column.name.clone()).collect()
        }
    };
    let mut errors = Vec::new();
    for (i, name) in names.iter().enumerate() {
        let why = table.column(name).and_then(|column| column.marks.why_not_a_feature());
        if let Some(why) = why {
            let mut error = ArgError::new("E0405", "features", format!("`{name}` {why}"));
            error.element = Some(i);
            errors.push(error);
        }
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    let features = names.iter().filter_map(|name| table.column(name).cloned()).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let params = Named::from([("features", strings(&names))]);
    let model = ModelType { flavour: "torch".into(), task: Task::Binary, target, features };
    Ok(Inferred { outputs: vec![("out".into(), Type::Model(model.into()))], params, ..Inferred::default() })
}

fn eval_args() -> Vec<Argument> {
    let why = "a model is judged on rows it has not seen";
    let data_role = RoleRule::Not { roles: &[Role::Train], allow: Some("on_train"), why };
    let predictions = InputType::Predictions { model: "model", data: "data", data_role };
    vec![
        required("predictions", ArgType::Input(predictions)),
        optional("threshold", PERCENT, Value::Float(0.5)),
        optional("on_train", ParamType::Bool, Value::Bool(false)),
    ]
}
