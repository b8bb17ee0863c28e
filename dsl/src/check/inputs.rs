//! Finds what an input argument refers to: an output of a node, a part of the champion, or a path.

use std::collections::BTreeMap;

use mlp_model::{Input, InputType, Span, Type, Value};

use super::bind;
use super::calls::Results;
use super::champion::{Champion, ChampionPart};
use super::names::Entity;
use super::value::kind;
use super::{Places, Scope};
use crate::ast::{CallDecl, CallExpr, Expr, ExprKind, Name};
use crate::diagnostic::Diagnostic;
use crate::suggest::listed;
use crate::world::PathKind;

static FILE: Type = Type::File;
static FOLDER: Type = Type::Folder;

/// An artifact that an argument names.
#[derive(Clone)]
pub struct Found<'r> {
    pub ty: &'r Type,
    pub input: Input,
    /// As it is written: `parts.train`.
    pub shown: &'r str,
    /// The call and output it comes from.
    pub from: Option<(usize, &'r str)>,
    pub reads_champion: bool,
    /// The schema that its columns come from.
    pub schema: Option<usize>,
}

/// Reads the input arguments of one call. What is wrong is reported, and `None` returned.
pub struct Inputs<'r, 'a> {
    pub scope: &'r Scope<'a>,
    pub champion: &'r Champion<'a>,
    pub results: &'r Results,
    pub places: &'r Places,
    pub decl: &'r CallDecl<'a>,
    pub op: &'r str,
}

impl<'r, 'a> Inputs<'r, 'a> {
    pub fn input(&self, argument: &str, ty: &InputType, expr: &Expr<'a>) -> Option<Found<'r>> {
        let (needed, is_path) = match ty {
            InputType::Table(_) | InputType::Predictions { .. } => ("a table", false),
            InputType::Model => ("a model", false),
            InputType::Report => ("a report", false),
            InputType::File => ("a file", true),
            InputType::Folder => ("a folder", true),
            InputType::Record => ("named artifacts", false),
        };
        let is_folder = matches!(ty, InputType::Folder);
        if let ExprKind::Call(call) = &expr.kind {
            return match self.path_call(argument, call)? {
                found if is_path && matches!(found.ty, Type::Folder) == is_folder => Some(found),
                found => self.mismatch(argument, needed, &format!("a {}", found.ty), expr.span, None),
            };
        }
        let path = match &expr.kind {
            ExprKind::List(_) => return self.mismatch(argument, needed, "a list", expr.span, None),
            ExprKind::Record(_) => return self.mismatch(argument, needed, "a record", expr.span, None),
            ExprKind::Path(path) if !is_path || self.is_node(expr) => path,
            _ => {
                return match self.scope.eval().value(expr)? {
                    Value::Str(path) if is_path => self.path(argument, &path, is_folder, expr.span),
                    other => self.mismatch(argument, needed, kind(&other), expr.span, None),
                };
            }
        };
        let found = self.node(path, expr.span, Some(needed))?;
        let fits = matches!(
            (ty, found.ty),
            (InputType::Table(_) | InputType::Predictions { .. }, Type::Table(_))
                | (InputType::Model, Type::Model(_))
                | (InputType::Report, Type::Report(_))
                | (InputType::File, Type::File)
                | (InputType::Folder, Type::Folder)
        );
        if fits {
            return Some(found);
        }
        let help = self.better(path, &found, ty);
        let got = format!("the {} `{}`", found.ty, found.shown);
        self.mismatch(argument, needed, &got, expr.span, help)
    }

    /// Reads a record of artifacts: bound as `ARGUMENT.NAME` each.
    pub fn record(
        &self,
        argument: &str,
        expr: &Expr<'a>,
        spans: &mut BTreeMap<String, Span>,
    ) -> Option<Vec<(String, Found<'r>)>> {
        let mut members: Vec<(String, Found<'r>)> = Vec::new();
        let mut is_complete = true;
        match &expr.kind {
            ExprKind::Record(fields) => {
                for field in fields {
                    let name = bind::field_name(self.scope.report, field);
                    let found = self.member(argument, &field.value);
                    let (Some(name), Some(found)) = (name, found) else {
                        is_complete = false;
                        continue;
                    };
                    let key = format!("{argument}.{}", name.text);
                    if spans.insert(key.clone(), field.value.span).is_some() {
                        let message = format!("`{argument}` has two members called `{}`", name.text);
                        self.scope.report.add(Diagnostic::error("E0207", message).at(name.span, "again here"));
                        is_complete = false;
                    }
                    members.push((key, found));
                }
            }
            ExprKind::Path(path) => {
                let found = self.member(argument, expr)?;
                let key = format!("{argument}.{}", path.first().map_or("", |name| name.text));
                spans.insert(key.clone(), expr.span);
                members.push((key, found));
            }
            ExprKind::Wrong => return None,
            _ => {
                let message = format!("argument `{argument}` of `{}` must be a record of artifacts", self.op);
                let problem = Diagnostic::error("E0301", message).at(expr.span, "");
                let example = format!("write `{argument}: {{ name: node, words: file(\"..\") }}`");
                self.scope.report.add(problem.help(example));
                return None;
            }
        }
        is_complete.then_some(members)
    }

    fn member(&self, argument: &str, expr: &Expr<'a>) -> Option<Found<'r>> {
        match &expr.kind {
            ExprKind::Call(call) => self.path_call(argument, call),
            ExprKind::Path(path) => self.node(path, expr.span, Some("an artifact")),
            ExprKind::Wrong => None,
            _ => {
                let value = self.scope.eval().value(expr)?;
                let message = format!("a member of `{argument}` is {}, not an artifact", kind(&value));
                let problem = Diagnostic::error("E0301", message).at(expr.span, "");
                let help = matches!(value, Value::Str(_)).then(|| "a file is written `file(\"..\")`".to_owned());
                self.scope.report.add(problem.maybe_help(help));
                None
            }
        }
    }

    /// Reads `file("..")` or `folder("..")`.
    fn path_call(&self, argument: &str, call: &CallExpr<'a>) -> Option<Found<'r>> {
        let is_folder = match call.path.text {
            "file" => false,
            "folder" => true,
            other => {
                let problem = Diagnostic::error("E0218", format!("`{other}(..)` stands inside another call"));
                let problem = problem.at(call.path.span, "operations do not nest");
                self.scope.report.add(problem.help(format!("give it a step of its own: `step NAME = {other}(..)`")));
                return None;
            }
        };
        let formals = [bind::Formal { name: "path", required: true }];
        let bound = bind::bind(call, &formals, self.scope.report);
        let expr = bound.values.first().copied().flatten().filter(|_| bound.is_complete)?;
        match self.scope.eval().value(expr)? {
            Value::Str(path) => self.path(argument, &path, is_folder, expr.span),
            other => {
                let message = format!("`{}` takes a path as a string, got {}", call.path.text, kind(&other));
                self.scope.report.add(Diagnostic::error("E0301", message).at(expr.span, ""));
                None
            }
        }
    }

    /// Makes an input of a path beside the pipeline. One that cannot be read is reported, its type is known all the same.
    fn path(&self, argument: &str, shown: &str, folder: bool, span: Span) -> Option<Found<'r>> {
        let base = self.scope.file.parent();
        let path = base.map_or_else(|| shown.into(), |base| base.join(shown));
        let problem = match self.scope.world.kind(&path) {
            _ if shown.is_empty() => Some("it is empty"),
            PathKind::Missing if folder => Some("folder not found"),
            PathKind::Missing => Some("file not found"),
            PathKind::File if folder => Some("it is a file, not a folder"),
            PathKind::Folder if !folder => Some("it is a folder, not a file"),
            PathKind::File | PathKind::Folder => None,
        };
        if let Some(problem) = problem {
            let (word, name) = (self.decl.word(), self.decl.name.text);
            let what = if shown.is_empty() { "the path".to_owned() } else { format!("`{shown}`") };
            let message = format!("cannot read {what}, argument `{argument}` of {word} `{name}`: {problem}");
            let here = self.scope.file.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
            self.scope.report.add(
                Diagnostic::error("E0219", message)
                    .at(span, "")
                    .help(format!("paths are relative to the folder of `{here}`")),
            );
        }
        Some(Found {
            ty: if folder { &FOLDER } else { &FILE },
            input: Input::Path { path, shown: shown.to_owned(), folder },
            shown: self.scope.source.slice(span),
            from: None,
            reads_champion: false,
            schema: None,
        })
    }

    fn is_node(&self, expr: &Expr<'_>) -> bool {
        let ExprKind::Path(path) = &expr.kind else { return false };
        let Some(first) = path.first() else { return false };
        !matches!(self.scope.names.get(first.text), Some(Entity::Param(_)))
    }

    /// Finds the output that a path names. `needed` says what is expected, for the message.
    fn node(&self, path: &[Name<'a>], span: Span, needed: Option<&str>) -> Option<Found<'r>> {
        let (first, rest) = path.split_first()?;
        if first.text == "champion" {
            return self.champion(path, span);
        }
        let report = self.scope.report;
        match self.scope.names.get(first.text) {
            Some(Entity::Call(call)) => {
                let (output, ty) = self.output(call, first.text, rest, span)?;
                let result = self.results.get(call)?.as_ref()?;
                Some(Found {
                    ty,
                    input: Input::Output { node: *self.places.calls.get(call)?, output: output.to_owned() },
                    shown: self.scope.source.slice(span),
                    from: Some((call, output)),
                    reads_champion: result.reads_champion,
                    schema: result.schema,
                })
            }
            Some(Entity::Broken) => None,
            Some(_) => {
                let word = self.scope.names.word(first.text);
                let needed = needed.map_or(String::new(), |needed| format!(", not {needed}"));
                let message = format!("`{}` is a {word}{needed}", first.text);
                report.add(Diagnostic::error("E0301", message).at(span, ""));
                None
            }
            None => {
                let names = self.scope.names.order.iter().copied();
                report.add(
                    Diagnostic::error("E0202", format!("`{}` is not known", first.text))
                        .at(first.span, "nothing in this file has this name")
                        .maybe_help(report.suggest(first.text, names)),
                );
                None
            }
        }
    }

    fn champion(&self, path: &[Name<'a>], span: Span) -> Option<Found<'r>> {
        let Some((release, part, found)) = self.champion.part(path) else {
            if let Some(problem) = self.champion.why_not(path, span, self.scope) {
                self.scope.report.add(problem);
            }
            return None;
        };
        let (call, output) = match found {
            ChampionPart::Output { call, output } => (call, output),
            ChampionPart::NotAnArtifact => {
                let message = format!("part `{}` of release `{release}` is not an artifact", part.text);
                self.scope.report.add(Diagnostic::error("E0217", message).at(part.span, "no step can read it"));
                return None;
            }
            ChampionPart::Unknown => return None,
        };
        // What is wrong with the part itself is reported where the release is checked.
        let result = self.results.get(call)?.as_ref()?;
        let output = match output {
            Some(output) => result.call.output(output.text)?,
            None => match result.call.outputs.as_slice() {
                [only] => only,
                _ => return None,
            },
        };
        Some(Found {
            ty: &output.ty,
            input: Input::Champion { release: release.to_owned(), part: part.text.to_owned() },
            shown: self.scope.source.slice(span),
            from: None,
            reads_champion: true,
            schema: result.schema,
        })
    }

    fn output(&self, call: usize, node: &str, rest: &[Name<'a>], span: Span) -> Option<(&'r str, &'r Type)> {
        find_output(self.scope, self.results, call, node, rest, span)
    }

    fn mismatch(&self, argument: &str, needed: &str, got: &str, span: Span, help: Option<String>) -> Option<Found<'r>> {
        let message = format!("argument `{argument}` of `{}` must be {needed}, got {got}", self.op);
        self.scope.report.add(Diagnostic::error("E0301", message).at(span, format!("not {needed}")).maybe_help(help));
        None
    }

    /// Suggests another output of the same node that would fit.
    fn better(&self, path: &[Name<'a>], found: &Found<'_>, ty: &InputType) -> Option<String> {
        let (call, _) = found.from?;
        let outputs = &self.results.get(call)?.as_ref()?.call.outputs;
        let fits = |other: &Type| match ty {
            InputType::Table(_) | InputType::Predictions { .. } => matches!(other, Type::Table(_)),
            InputType::Model => matches!(other, Type::Model(_)),
            InputType::Report => matches!(other, Type::Report(_)),
            InputType::File => matches!(other, Type::File),
            InputType::Folder => matches!(other, Type::Folder),
            InputType::Record => false,
        };
        let other = outputs.iter().find(|output| fits(&output.ty))?;
        Some(format!("did you mean `{}.{}`?", path.first()?.text, other.name))
    }
}

/// Finds output `rest` of a call, or its only one. `None` when that is reported, or the call is wrong.
pub fn find_output<'r>(
    scope: &Scope<'_>,
    results: &'r Results,
    call: usize,
    node: &str,
    rest: &[Name<'_>],
    span: Span,
) -> Option<(&'r str, &'r Type)> {
    let outputs = &results.get(call)?.as_ref()?.call.outputs;
    let names = || outputs.iter().map(|output| output.name.as_str());
    match (rest, outputs.as_slice()) {
        ([], [only]) => Some((&only.name, &only.ty)),
        ([], _) => {
            let problem =
                Diagnostic::error("E0211", format!("`{node}` has several outputs: {}", listed(names(), "and")))
                    .at(span, "which one?")
                    .maybe_help(names().next().map(|name| format!("write `{node}.{name}`, for example")));
            scope.report.add(problem);
            None
        }
        ([name], _) => match outputs.iter().find(|output| output.name == name.text) {
            Some(output) => Some((&output.name, &output.ty)),
            None => {
                let problem = Diagnostic::error("E0211", format!("`{node}` has no output `{}`", name.text));
                let (label, help) = match outputs.as_slice() {
                    [_] => ("it has one output".to_owned(), Some(format!("write `{node}` alone"))),
                    _ => (
                        format!("its outputs are {}", listed(names(), "and")),
                        scope.report.suggest(name.text, names()),
                    ),
                };
                scope.report.add(problem.at(name.span, label).maybe_help(help));
                None
            }
        },
        ([_, part, ..], _) => {
            let message = format!("an output of `{node}` has no parts");
            scope.report.add(Diagnostic::error("E0211", message).at(part.span, ""));
            None
        }
    }
}
