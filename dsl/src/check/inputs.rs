//! Finds what an input argument refers to: an output of a node, a part of the champion, or a path.

use mlp_model::{Input, InputType, Named, Span, Type, Value, Word};

use super::bind;
use super::calls::Results;
use super::champion::{Champion, ChampionPart};
use super::lists;
use super::names::{Entity, Followed};
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
    pub from: Option<(usize, &'r Word)>,
    pub reads_champion: bool,
    /// The schema that its columns come from.
    pub schema: Option<usize>,
}

/// Reads the input arguments of one call. What is wrong is reported, and `None` returned.
#[derive(Clone, Copy)]
pub struct Inputs<'r, 'a> {
    pub scope: Scope<'a>,
    pub champion: &'r Champion<'a>,
    pub results: &'r Results,
    pub places: &'r Places,
    /// `None` where no call is checked, but what a `def` is given.
    pub decl: Option<&'r CallDecl<'a>>,
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
        let found = match self.scope.follow(path) {
            // What a `def` is given as a path or as a call, is read as its caller would read it.
            Followed::Given { bound, expr } => {
                let found = self.of_caller(bound).given(bound, expr)?;
                return match found.ty {
                    Type::Folder if is_folder => Some(found),
                    Type::File if is_path && !is_folder => Some(found),
                    ty => self.mismatch(argument, needed, &format!("the {ty} {}", found.shown), expr.span, None),
                };
            }
            followed => self.node(followed, path, expr.span, Some(needed))?,
        };
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
    pub fn record(&self, argument: &str, expr: &Expr<'a>, spans: &mut Named<Span>) -> Option<Vec<(Word, Found<'r>)>> {
        let mut members: Vec<(Word, Found<'r>)> = Vec::new();
        let mut is_complete = true;
        match &expr.kind {
            ExprKind::Record(fields) => {
                for field in fields {
                    if self.is_list(&field.value) {
                        let name = bind::field_name(self.scope.report, field);
                        let listed = name.and_then(|name| self.list(argument, &name.text, &field.value, spans));
                        is_complete &= listed.is_some();
                        members.extend(listed.into_iter().flatten());
                        continue;
                    }
                    let name = bind::field_name(self.scope.report, field);
                    let found = self.member(argument, &field.value);
                    let (Some(name), Some(found)) = (name, found) else {
                        is_complete = false;
                        continue;
                    };
                    let key = Word::from(format!("{argument}.{}", name.text));
                    if spans.insert(key.clone(), field.value.span).is_some() {
                        let message = format!("`{argument}` has two members called `{}`", name.text);
                        self.scope.report.add(Diagnostic::error("E0207", message).at(name.span, "again here"));
                        is_complete = false;
                    }
                    members.push((key, found));
                }
            }
            ExprKind::Path(path) if self.is_list(expr) => {
                let name = path.last().map_or("", |name| name.text);
                return self.list(argument, name, expr, spans);
            }
            ExprKind::Path(path) => {
                let found = self.member(argument, expr)?;
                let key = Word::from(format!("{argument}.{}", path.first().map_or("", |name| name.text)));
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

    fn is_list(&self, expr: &Expr<'a>) -> bool {
        let ExprKind::Path(path) = &expr.kind else { return false };
        let entity = path.first().and_then(|first| self.scope.get(first.text));
        matches!(entity, Some(Entity::Loop(_) | Entity::Group(_)))
            && matches!(self.scope.follow(path), Followed::Found { entity: Entity::Loop(_), .. })
    }

    /// Reads what the rounds of a loop give: one member for each, called after its value.
    fn list(
        &self,
        argument: &str,
        name: &str,
        expr: &Expr<'a>,
        spans: &mut Named<Span>,
    ) -> Option<Vec<(Word, Found<'r>)>> {
        let ExprKind::Path(path) = &expr.kind else { return None };
        let Followed::Found { entity: Entity::Loop(index), rest, .. } = self.scope.follow(path) else { return None };
        let info = &self.scope.names.loops[index];
        if info.rounds.is_none() && !info.is_template {
            // What it goes over is wrong, which has been told.
            return None;
        }
        let items =
            lists::items(&self.scope, index, &rest, expr.span).map_err(|problem| self.scope.report.add(*problem));
        let mut members = Vec::new();
        let mut is_complete = true;
        for item in items.ok()? {
            let Some(found) = self.node(item.followed, path, expr.span, Some("an artifact")) else {
                is_complete = false;
                continue;
            };
            let member = format!("{name}_{}", item.key);
            let key = Word::from(format!("{argument}.{member}"));
            if spans.insert(key.clone(), expr.span).is_some() {
                let message = format!("`{argument}` has two members called `{member}`");
                let problem = Diagnostic::error("E0207", message).at(expr.span, "one for each value of the loop");
                self.scope.report.add(problem.help("values that differ only in signs need other names"));
                is_complete = false;
            }
            members.push((key, found));
        }
        is_complete.then_some(members)
    }

    fn member(&self, argument: &str, expr: &Expr<'a>) -> Option<Found<'r>> {
        match &expr.kind {
            ExprKind::Call(call) => self.path_call(argument, call),
            ExprKind::Path(path) => match self.scope.follow(path) {
                Followed::Given { bound, expr } => self.of_caller(bound).given(bound, expr),
                followed => self.node(followed, path, expr.span, Some("an artifact")),
            },
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
        let file = self.scope.source.path(span);
        let base = file.parent();
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
            let (word, name) = self.decl.map_or(("step", ""), |decl| (decl.word(), decl.name.text));
            let what = if shown.is_empty() { "the path".to_owned() } else { format!("`{shown}`") };
            let message = format!("cannot read {what}, argument `{argument}` of {word} `{name}`: {problem}");
            let here = file.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
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

    pub fn is_node(&self, expr: &Expr<'_>) -> bool {
        let ExprKind::Path(path) = &expr.kind else { return false };
        let Some(first) = path.first() else { return false };
        !matches!(self.scope.get(first.text), Some(Entity::Value(_)))
    }

    /// Returns the reader of what the caller of a `def` writes.
    pub fn of_caller(&self, bound: usize) -> Self {
        let bound = &self.scope.names.bounds[bound];
        let scope = Scope { env: bound.env, report: bound.report, ..self.scope };
        Self { scope, decl: Some(bound.caller), ..*self }
    }

    /// Reads what a `def` is given where that is no name: a path beside the file that writes it. Anything else has
    /// been, or will be, reported with the call.
    pub fn given(&self, bound: usize, expr: &Expr<'a>) -> Option<Found<'r>> {
        let bound = &self.scope.names.bounds[bound];
        let is_folder = bound.word == "folder";
        let found = match &expr.kind {
            ExprKind::Call(call) if ["file", "folder"].contains(&call.path.text) => {
                self.path_call(bound.param, call)?
            }
            ExprKind::Text(text) if is_folder || bound.word == "file" => {
                self.path(bound.param, &text.value, is_folder, expr.span)?
            }
            ExprKind::Path(_) if is_folder || bound.word == "file" => match self.scope.eval().value(expr)? {
                Value::Str(path) => self.path(bound.param, &path, is_folder, expr.span)?,
                _ => return None,
            },
            _ => return None,
        };
        (found.ty.to_string() == bound.word).then_some(found)
    }

    /// Finds the output that a path leads to. `needed` says what is expected, for the message.
    pub fn node(
        &self,
        followed: Followed<'_, 'a>,
        path: &[Name<'a>],
        span: Span,
        needed: Option<&str>,
    ) -> Option<Found<'r>> {
        let first = path.first()?;
        let report = self.scope.report;
        match followed {
            Followed::Champion { .. } if first.text == "champion" && self.scope.is_in_def() => {
                let problem =
                    Diagnostic::error("E0216", "a def does not know the champion of the pipeline that calls it");
                let problem = problem.at(span, "which pipeline's?");
                let help = "give the def a parameter `current: model`, and `champion.model` where it is called";
                report.add(problem.help(help));
                None
            }
            Followed::Champion { path } => self.champion(&path, span),
            Followed::Found { entity: Entity::Call(call), rest, .. } => {
                let (output, ty) = self.output(call, first.text, &rest, span)?;
                let result = self.results.get(call)?.as_ref()?;
                if !self.is_as_declared(first, ty) {
                    return None;
                }
                Some(Found {
                    ty,
                    input: Input::Output { node: *self.places.calls.get(call)?, output: output.clone() },
                    shown: self.shown(path, span),
                    from: Some((call, output)),
                    reads_champion: result.reads_champion,
                    schema: result.schema,
                })
            }
            Followed::Found { entity: Entity::Broken, .. } | Followed::Silent | Followed::Given { .. } => None,
            Followed::Found { entity: Entity::Loop(index), rest, .. } => {
                let items = lists::items(&self.scope, index, &rest, span);
                report.add(items.err().map_or_else(|| lists::not_one(&self.scope, span, needed), |problem| *problem));
                None
            }
            Followed::Found { word, .. } => {
                let needed = needed.map_or(String::new(), |needed| format!(", not {needed}"));
                let written = self.scope.source.written(span);
                let message = format!("`{written}` is a {word}{needed}");
                report.add(Diagnostic::error("E0301", message).at(span, ""));
                None
            }
            Followed::Wrong(problem) => {
                report.add(*problem);
                None
            }
            Followed::Unknown(name) => {
                report.add(self.scope.unknown(name));
                None
            }
        }
    }

    /// Returns whether what a `def` is given is of the kind that its parameter declares. What is not has been, or will
    /// be, reported with the call.
    fn is_as_declared(&self, first: &Name<'a>, ty: &Type) -> bool {
        match self.scope.entry(first.text) {
            Some(entry) if matches!(entry.entity, Entity::Bound(_)) => ty.to_string() == entry.word,
            _ => true,
        }
    }

    /// Returns how the artifact is written; what a `def` is given, as its caller writes it.
    fn shown(&self, path: &[Name<'a>], span: Span) -> &'r str {
        let mut at = path.first().and_then(|first| self.scope.get(first.text));
        let mut shown = self.scope.source.slice(span);
        while let Some(Entity::Bound(bound)) = at {
            let bound = &self.scope.names.bounds[bound];
            shown = self.scope.source.slice(bound.expr.span);
            at = bound.expr.as_name().and_then(|name| self.scope.names.get(bound.env, name.text)).map(|e| e.entity);
        }
        shown
    }

    fn champion(&self, path: &[Name<'a>], span: Span) -> Option<Found<'r>> {
        let Some((release, part, found)) = self.champion.part(path) else {
            if let Some(problem) = self.champion.why_not(path, span, &self.scope) {
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

    fn output(&self, call: usize, node: &str, rest: &[Name<'a>], span: Span) -> Option<(&'r Word, &'r Type)> {
        find_output(&self.scope, self.results, call, node, rest, span)
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
) -> Option<(&'r Word, &'r Type)> {
    let outputs = &results.get(call)?.as_ref()?.call.outputs;
    let names = || outputs.iter().map(|output| output.name.as_ref());
    if outputs.is_empty() {
        let problem = Diagnostic::error("E0211", format!("`{node}` is an effect, which gives nothing"));
        scope.report.add(problem.at(span, "nothing depends on an effect"));
        return None;
    }
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
