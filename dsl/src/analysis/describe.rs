//! Says in words, for hovers and lists, what things are. Markdown.

use mlp_model::{Column, InputType, Marks, Output, ParamType, Rule, Type, Value};

use super::callee::{Callee, Formal, Takes};
use super::index::Symbol;
use super::view::View;
use crate::check::{NodeFacts, show, written};

/// More columns are only counted.
const MOST_COLUMNS: usize = 40;

/// Returns what can stand somewhere, in a few words.
pub fn takes(takes: Takes<'_>) -> String {
    match takes {
        Takes::Input(input) => match input {
            InputType::Table(_) | InputType::Predictions { .. } => "table",
            InputType::Model => "model",
            InputType::Report => "report",
            InputType::File => "file",
            InputType::Folder => "folder",
            InputType::Record => "record of artifacts",
        }
        .to_owned(),
        Takes::Param(ty) => param(ty),
        Takes::Column(_) => "column".to_owned(),
        Takes::Columns(_) => "[column, ..]".to_owned(),
        Takes::Artifact => "artifact".to_owned(),
        Takes::Value => "value".to_owned(),
    }
}

fn param(ty: &ParamType) -> String {
    match ty {
        ParamType::Int { min, max } => match (*min != i64::MIN, *max != i64::MAX) {
            (true, true) => format!("int in {min}..={max}"),
            (true, false) => format!("int >= {min}"),
            (false, true) => format!("int <= {max}"),
            (false, false) => "int".to_owned(),
        },
        ParamType::Float { min, max } => match (*min > f64::MIN, *max < f64::MAX) {
            (true, true) => format!("float in {min:?}..={max:?}"),
            (true, false) => format!("float >= {min:?}"),
            (false, true) => format!("float <= {max:?}"),
            (false, false) => "float".to_owned(),
        },
        ParamType::Bool => "bool".to_owned(),
        ParamType::Str => "str".to_owned(),
        ParamType::StrOrSecret => "str | secret(..)".to_owned(),
        ParamType::Duration => "duration".to_owned(),
        ParamType::Choice(words) => words.join(" | "),
        ParamType::Column { .. } => "column".to_owned(),
        ParamType::Columns { .. } => "[column, ..]".to_owned(),
        ParamType::Schema => "schema".to_owned(),
        ParamType::Call(constructors) => {
            constructors.iter().map(|constructor| format!("{}(..)", constructor.name)).collect::<Vec<_>>().join(" | ")
        }
        ParamType::List(item) => format!("[{}, ..]", param(item)),
        ParamType::Map(member) => format!("{{ name: {}, .. }}", param(member)),
        ParamType::Literal => "bool | int | float | str".to_owned(),
    }
}

/// Returns one argument as a list of them shows it: `lr: float = 0.001`.
pub fn formal(formal: &Formal<'_>) -> String {
    let takes = takes(formal.takes);
    if let Some(written) = formal.written {
        return format!("{}: {takes} = {written}", formal.name);
    }
    match &formal.default {
        None => format!("{}: {takes}", formal.name),
        Some(Value::Null) => format!("{}?: {takes}", formal.name),
        Some(default) => format!("{}: {takes} = {}", formal.name, value(default)),
    }
}

/// Returns a call's head on one line, with where each argument stands in it.
pub fn head(callee: &Callee<'_>, formals: &[Formal<'_>]) -> (String, Vec<(usize, usize)>) {
    let (open, close) = if matches!(callee, Callee::Options) { (" { ", " }") } else { ("(", ")") };
    let mut text = format!("{}{open}", callee.name());
    let mut places = Vec::with_capacity(formals.len());
    for (at, argument) in formals.iter().enumerate() {
        if at > 0 {
            text.push_str(", ");
        }
        let start = text.len();
        text.push_str(&formal(argument));
        places.push((start, text.len()));
    }
    text.push_str(close);
    (text, places)
}

/// Returns the head of a call and its documentation.
pub fn callee(callee: &Callee<'_>) -> String {
    let formals = callee.formals();
    let (open, close) = if matches!(callee, Callee::Options) { (" {", "}") } else { ("(", ")") };
    let lines: Vec<_> = formals.iter().map(|argument| format!("  {},\n", formal(argument))).collect();
    let head = if formals.is_empty() {
        format!("{}{open}{close}", callee.name())
    } else {
        format!("{}{open}\n{}{close}", callee.name(), lines.concat())
    };
    let mut text = format!("```mlp\n{head}\n```\n\n{}", doc(callee.doc()));
    let documented: Vec<_> = formals.iter().filter(|formal| !formal.doc.is_empty()).collect();
    if !documented.is_empty() {
        text.push_str("\n\n");
        documented.iter().for_each(|formal| text.push_str(&format!("- `{}`: {}\n", formal.name, formal.doc)));
    }
    text.trim_end().to_owned()
}

/// Returns a documentation text as Markdown: indented lines are examples.
pub fn doc(doc: &str) -> String {
    let mut text = String::new();
    let mut in_example = false;
    for line in doc.trim_matches('\n').lines() {
        let is_indented = line.starts_with("    ");
        if is_indented && !in_example {
            text.push_str("```mlp\n");
            in_example = true;
        } else if in_example && !is_indented && !line.trim().is_empty() {
            let kept = text.trim_end().len();
            text.truncate(kept);
            text.push_str("\n```\n\n");
            in_example = false;
        }
        text.push_str(line.strip_prefix("    ").unwrap_or(line));
        text.push('\n');
    }
    let mut text = text.trim_end().to_owned();
    if in_example {
        text.push_str("\n```");
    }
    text
}

/// Returns the first sentence of a documentation text.
pub fn first_line(doc: &str) -> &str {
    doc.trim().lines().next().unwrap_or_default()
}

/// Returns a type with what is in it.
pub fn ty(ty: &Type) -> String {
    match ty {
        Type::Table(table) => {
            let mut text = format!("table of {} rows, {}", table.role, plural(table.columns.len(), "column"));
            if table.open {
                text.push_str(" and further ones");
            }
            if !table.columns.is_empty() {
                text.push_str(&format!("\n\n```mlp\n{}\n```", columns(&table.columns)));
            }
            text
        }
        Type::Model(model) => format!(
            "{} model of flavour `{}`: predicts `{}` from {}\n\n{}",
            model.task,
            model.flavour,
            model.target.name,
            plural(model.features.len(), "column"),
            names(model.features.iter().map(|column| column.name.as_str())),
        ),
        Type::Report(report) => format!("report: {}", names(report.metrics.iter().map(String::as_str))),
        other => written(other),
    }
}

/// Returns what an output is, in a few words.
pub fn output(output: &Output) -> String {
    let may_be = if output.optional { ", may be left out" } else { "" };
    format!("{}{may_be}", short(&output.ty))
}

/// Returns a type in a few words, for lists and hints.
pub fn short(ty: &Type) -> String {
    match ty {
        Type::Table(table) => {
            let open = if table.open { "+" } else { "" };
            format!("{}{open} {}, {} rows", table.columns.len(), word(table.columns.len(), "column"), table.role)
        }
        Type::Model(model) => format!("{} model of `{}`", model.task, model.target.name),
        Type::Report(report) => format!("report, {}", plural(report.metrics.len(), "metric")),
        other => written(other),
    }
}

/// Returns columns as a schema writes them, the names in line.
pub fn columns(columns: &[Column]) -> String {
    let width = columns.iter().take(MOST_COLUMNS).map(|column| label(&column.name).chars().count()).max().unwrap_or(0);
    let shown = columns.iter().take(MOST_COLUMNS);
    let mut lines: Vec<String> = shown
        .map(|one| format!("{:width$} {}", format!("{}:", label(&one.name)), column(one), width = width + 1))
        .collect();
    if columns.len() > MOST_COLUMNS {
        lines.push(format!("// and {} more", columns.len() - MOST_COLUMNS));
    }
    lines.join("\n")
}

/// Returns a column's type, marks and rules.
pub fn column(column: &Column) -> String {
    let mut text = column.scalar.to_string();
    if column.optional {
        text.push('?');
    }
    column.rules.iter().for_each(|one| text.push_str(&format!(" {}", rule(one))));
    marks(&column.marks).iter().for_each(|mark| text.push_str(&format!(" {mark}")));
    text
}

/// Returns a rule as the language writes it.
pub fn rule(rule: &Rule) -> String {
    match rule {
        Rule::Min { value: least, inclusive } => format!(">{} {}", if *inclusive { "=" } else { "" }, value(least)),
        Rule::Max { value: most, inclusive } => format!("<{} {}", if *inclusive { "=" } else { "" }, value(most)),
        Rule::OneOf(values) => format!("in {}", value(&Value::List(values.clone()))),
    }
}

/// Returns the marks of a column, each as a schema writes it.
pub fn marks(marks: &Marks) -> Vec<String> {
    let set = [
        ("key", marks.key),
        ("group", marks.group),
        ("personal", marks.personal),
        ("protected", marks.protected),
        ("label", marks.label),
    ];
    let mut written: Vec<String> =
        set.iter().filter(|(_, is_set)| *is_set).map(|(name, _)| (*name).to_owned()).collect();
    written.extend(marks.known_at.iter().map(|time| format!("known_at {time}")));
    written.extend(marks.unusable.iter().map(|reason| format!("unusable {reason:?}")));
    written
}

/// Returns a value as the language writes it.
pub fn value(value: &Value) -> String {
    match value {
        Value::Null => "none".to_owned(),
        Value::Schema(schema) => schema.name.clone(),
        other => show(other),
    }
}

/// Says of which node something is told that stands in a body, and so for many; nothing where it is one and the same.
pub fn whose(node: &NodeFacts, place: &str) -> Option<String> {
    let of = node.of.as_deref().filter(|of| *of != place)?;
    Some(match node.n_nodes {
        1 => format!("as `{of}`"),
        n => format!("as `{of}`, the first of {n}; columns are those that all have"),
    })
}

/// Returns the type that a parameter is declared with, as it is written; nothing for what has none.
pub fn written_type<'a>(view: &View<'a>, symbol: &Symbol<'_>) -> &'a str {
    let of_symbol = view.document.text().get(symbol.name.end..symbol.end).unwrap_or_default();
    let Some(behind) = of_symbol.trim_start().strip_prefix(':') else { return "" };
    let end = ["=", " in ", " >", " <", "\n", "//"].into_iter().filter_map(|stop| behind.find(stop)).min();
    behind[..end.unwrap_or(behind.len())].trim()
}

/// Returns a value of a type, to see by it what a parameter of which only the type is known can stand for.
pub fn example(ty: &str) -> Option<Value> {
    Some(match ty.trim_end_matches('?') {
        "int" => Value::Int(0),
        "float" => Value::Float(0.0),
        "bool" => Value::Bool(false),
        "str" | "column" => Value::Str(String::new()),
        "duration" => Value::DurationMs(0),
        "columns" => Value::List(Vec::new()),
        list if list.starts_with("list(") => Value::List(Vec::new()),
        _ => return None,
    })
}

/// Returns a column's name as it can be written: a name, or a string.
pub fn label(name: &str) -> String {
    let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if is_name { name.to_owned() } else { format!("\"{}\"", name.replace('\\', "\\\\").replace('"', "\\\"")) }
}

/// Returns a suggested word as it can be written: a path of names as it is, any other as a string.
pub fn label_or_path(word: &str) -> String {
    if word.split('.').all(|part| label(part) == part) { word.to_owned() } else { label(word) }
}

fn names<'n>(names: impl Iterator<Item = &'n str>) -> String {
    names.map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

pub fn plural(n: usize, word: &str) -> String {
    format!("{n} {}", self::word(n, word))
}

fn word(n: usize, word: &str) -> String {
    if n == 1 { word.to_owned() } else { format!("{word}s") }
}
