//! Checks schemas: columns, marks and value rules.

use std::collections::HashMap;

use mlp_model::{Column, Marks, Scalar, Schema, Span, Type};

use super::names::Names;
use super::report::Report;
use super::types::{TYPE_NAMES, read_rules, read_type, written};
use super::value::Eval;
use crate::ast::{ColumnDecl, SchemaDecl};
use crate::diagnostic::Diagnostic;
use crate::suggest::listed;

/// The words that mark a column.
pub const MARKS: [&str; 7] = ["key", "group", "personal", "protected", "label", "known_at", "unusable"];

/// Computes the schemas of all files, by index.
pub fn check_all(names: &Names<'_>, report: Report<'_>) -> Vec<Option<Schema>> {
    let schemas = names.schema_decls.iter();
    schemas.map(|(decl, env)| check(decl, &Eval { report, names, env: Some(*env) })).collect()
}

/// Returns the schema, or `None` when something is wrong with it.
fn check(decl: &SchemaDecl<'_>, eval: &Eval<'_, '_>) -> Option<Schema> {
    let report = eval.report;
    let mut columns = Vec::with_capacity(decl.columns.len());
    let mut is_complete = !decl.incomplete;
    let mut seen: HashMap<&str, Span> = HashMap::new();
    let mut key: Option<&ColumnDecl<'_>> = None;
    for column in &decl.columns {
        let name = column.name.text.as_ref();
        if let Some(first) = seen.get(name) {
            let message = format!("schema `{}` has column `{name}` twice", decl.name.text);
            report
                .add(Diagnostic::error("E0320", message).at(column.name.span, "again here").and(*first, "first here"));
            is_complete = false;
        } else if name.is_empty() {
            report.add(Diagnostic::error("E0321", "a column needs a name").at(column.name.span, "empty"));
            is_complete = false;
        }
        seen.entry(name).or_insert(column.name.span);
        match check_column(column, eval) {
            Some(checked) => {
                if checked.marks.key {
                    if let Some(first) = key {
                        report.add(
                            Diagnostic::error("E0321", format!("schema `{}` has two keys", decl.name.text))
                                .at(column.name.span, "a second key")
                                .and(first.name.span, "the first one")
                                .help("a key is unique by itself; mark the column that is"),
                        );
                        is_complete = false;
                    }
                    key = key.or(Some(column));
                }
                columns.push(checked);
            }
            None => is_complete = false,
        }
    }
    is_complete &= check_times(decl, &columns, report);
    is_complete.then(|| Schema { name: decl.name.text.to_owned(), open: decl.open, columns })
}

/// Checks that what `known_at` names is a time of the same row.
fn check_times(decl: &SchemaDecl<'_>, columns: &[Column], report: Report<'_>) -> bool {
    let mut is_right = true;
    for column in &decl.columns {
        let Some(i) = column.marks.iter().position(|mark| mark.name.text == "known_at") else { continue };
        let mark = &column.marks[i];
        let written = match (&mark.reason, column.marks.get(i + 1)) {
            (Some(text), _) => Some((text.value.trim(), text.span)),
            (None, next) => next.map(|next| (next.name.text, next.name.span)),
        };
        let Some((name, span)) = written.filter(|(name, _)| !name.is_empty()) else { continue };
        let problem = match columns.iter().find(|column| column.name == name) {
            Some(time) if matches!(time.scalar, Scalar::Date | Scalar::Timestamp) => continue,
            Some(time) => Diagnostic::error("E0326", format!("`{name}` is {}, which is no time", time.scalar))
                .at(span, "a date or timestamp column tells when a value became known"),
            // One that is wrong itself has been told of.
            None if decl.columns.iter().any(|column| column.name.text == name) => continue,
            None => {
                let names = columns.iter().map(|column| column.name.as_str());
                Diagnostic::error("E0326", format!("schema `{}` has no column `{name}`", decl.name.text))
                    .at(span, "the time at which the value became known")
                    .maybe_help(report.suggest(name, names))
            }
        };
        report.add(problem);
        is_right = false;
    }
    is_right
}

fn check_column(column: &ColumnDecl<'_>, eval: &Eval<'_, '_>) -> Option<Column> {
    let report = eval.report;
    let marks = check_marks(column, report);
    let ty = read_type(&column.ty, report)?;
    let (scalar, optional) = match &ty {
        Type::Scalar(scalar) => (*scalar, false),
        Type::Optional(inner) => match **inner {
            Type::Scalar(scalar) => (scalar, true),
            _ => return refuse_type(&ty, column, report),
        },
        _ => return refuse_type(&ty, column, report),
    };
    let rules = read_rules(&column.rules, &ty, eval);
    let marks = marks?;
    if marks.key && optional {
        report.add(
            Diagnostic::error("E0322", format!("key `{}` may be blank", column.name.text))
                .at(column.ty.span, "allows blank values")
                .help(format!("a key is never blank: write `{scalar}`")),
        );
        return None;
    }
    if marks.key && matches!(scalar, Scalar::Float | Scalar::Bool) {
        report.add(
            Diagnostic::error("E0322", format!("key `{}` is a {scalar}", column.name.text))
                .at(column.ty.span, "values of this type identify nothing"),
        );
        return None;
    }
    Some(Column { name: column.name.text.clone().into_owned(), scalar, optional, marks, rules: rules? })
}

fn refuse_type(ty: &Type, column: &ColumnDecl<'_>, report: Report<'_>) -> Option<Column> {
    let message = format!("column `{}` cannot be of type `{}`", column.name.text, written(ty));
    report.add(Diagnostic::error("E0323", message).at(column.ty.span, "a column holds one plain value a row"));
    None
}

fn check_marks(column: &ColumnDecl<'_>, report: Report<'_>) -> Option<Marks> {
    let mut marks = Marks::default();
    let mut is_complete = true;
    let mut refuse = |problem: Diagnostic| {
        report.add(problem);
        is_complete = false;
    };
    // Set when the name behind a mark belongs to it: the column of `known_at`, or the type of a column without a colon.
    let mut is_taken = false;
    for (i, mark) in column.marks.iter().enumerate() {
        let name = mark.name.text;
        if std::mem::take(&mut is_taken) {
            continue;
        }
        let next = column.marks.get(i + 1).map(|next| next.name.text);
        if !MARKS.contains(&name) && next.is_some_and(|next| TYPE_NAMES.contains(&next)) {
            is_taken = true;
            refuse(Diagnostic::error("E0103", format!("expected `:` after `{name}`")).at(mark.name.span, "a column?"));
            continue;
        }
        let reason = mark.reason.as_ref().map(|text| text.value.trim());
        let is_set = match name {
            "key" => Some(std::mem::replace(&mut marks.key, true)),
            "personal" => Some(std::mem::replace(&mut marks.personal, true)),
            "protected" => Some(std::mem::replace(&mut marks.protected, true)),
            "label" => Some(std::mem::replace(&mut marks.label, true)),
            "group" => Some(std::mem::replace(&mut marks.group, true)),
            "known_at" => {
                let named = reason.or(next.filter(|_| mark.reason.is_none()));
                is_taken = reason.is_none() && named.is_some();
                if named.is_none_or(str::is_empty) {
                    refuse(
                        Diagnostic::error(
                            "E0321",
                            format!("`known_at` of column `{}` names no column", column.name.text),
                        )
                        .at(mark.name.span, "")
                        .help("write behind it the column that tells when the value became known: `known_at booked`"),
                    );
                }
                Some(marks.known_at.replace(named.unwrap_or_default().to_owned()).is_some())
            }
            "unusable" => {
                let reason = reason.filter(|reason| !reason.is_empty());
                if reason.is_none() {
                    refuse(
                        Diagnostic::error(
                            "E0321",
                            format!("`unusable` of column `{}` says no reason", column.name.text),
                        )
                        .at(mark.name.span, "")
                        .help("write it behind: `unusable \"known only after the label\"`"),
                    );
                }
                Some(marks.unusable.replace(reason.unwrap_or("no reason").to_owned()).is_some())
            }
            _ => None,
        };
        match is_set {
            None => {
                let problem = Diagnostic::error("E0321", format!("`{name}` is not a mark of a column"));
                let problem = problem.at(mark.name.span, format!("the marks are {}", listed(MARKS, "and")));
                refuse(problem.maybe_help(report.suggest(name, MARKS)));
            }
            Some(true) => {
                let message = format!("column `{}` is marked `{name}` twice", column.name.text);
                refuse(Diagnostic::error("E0321", message).at(mark.name.span, "again here"));
            }
            Some(false) => {}
        }
        if let Some(text) =
            mark.reason.as_ref().filter(|_| MARKS.contains(&name) && !matches!(name, "unusable" | "known_at"))
        {
            refuse(Diagnostic::error("E0321", format!("`{name}` takes no text")).at(text.span, ""));
        }
    }
    is_complete.then_some(marks)
}
