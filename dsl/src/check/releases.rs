//! Checks releases: what a bundle holds and which gates guard it.

use std::collections::{BTreeMap, HashMap};

use mlp_model::{CallClass, Input, Part, Release, Span, Type, Value};

use super::calls::Results;
use super::inputs::find_output;
use super::lists;
use super::names::{Entity, Followed};
use super::{Places, Scope};
use crate::ast::{Expr, ExprKind, Name, PartDecl, PartValue, ReleaseContent, ReleaseDecl};
use crate::diagnostic::Diagnostic;

/// Returns the release, or `None` after reporting what is wrong.
pub fn check(scope: &Scope<'_>, release: &ReleaseDecl<'_>, results: &Results, places: &Places) -> Option<Release> {
    let reader = Reader { scope, results, places };
    let gates = reader.gates(release);
    let parts = match &release.content {
        ReleaseContent::Model(expr) => reader.model(expr).map(|part| BTreeMap::from([("model".to_owned(), part)])),
        ReleaseContent::Bundle(parts) => reader.bundle(release, parts),
    };
    Some(Release { name: release.name.text.to_owned(), parts: parts?, gates: gates? })
}

struct Reader<'r, 'a> {
    scope: &'r Scope<'a>,
    results: &'r Results,
    places: &'r Places,
}

impl Reader<'_, '_> {
    fn gates(&self, release: &ReleaseDecl<'_>) -> Option<Vec<usize>> {
        let report = self.scope.report;
        if release.gates.is_empty() {
            let name = release.name.text;
            report.add(
                Diagnostic::warning("E0533", format!("`{name}` is released in every run, however good it is"))
                    .at(release.name.span, "no gate guards it")
                    .help("declare a gate and add `when GATE`"),
            );
        }
        let mut gates = Vec::new();
        let mut is_complete = true;
        for name in &release.gates {
            match self.scope.get(name.text) {
                Some(Entity::Gate(gate)) => {
                    let place = *self.places.gates.get(gate)?;
                    if !gates.contains(&place) {
                        gates.push(place);
                    }
                    continue;
                }
                Some(Entity::Broken) => {}
                Some(_) => {
                    let word = self.scope.word(name.text);
                    let message = format!("`{}` is a {word}, not a gate", name.text);
                    report.add(Diagnostic::error("E0531", message).at(name.span, "only gates guard a release"));
                }
                None => {
                    let gates = self.scope.names.gates.iter().map(|(gate, _)| gate.name.text);
                    report.add(
                        Diagnostic::error("E0531", format!("there is no gate `{}`", name.text))
                            .at(name.span, "")
                            .maybe_help(report.suggest(name.text, gates)),
                    );
                }
            }
            is_complete = false;
        }
        is_complete.then_some(gates)
    }

    fn model(&self, expr: &Expr<'_>) -> Option<Part> {
        let ExprKind::Path(path) = &expr.kind else {
            if !matches!(expr.kind, ExprKind::Wrong) {
                let problem = Diagnostic::error("E0532", "only a model is released by itself").at(expr.span, "");
                self.scope.report.add(problem.help("write `bundle { name: .. }` for other things"));
            }
            return None;
        };
        let (part, ty) = self.output(path, expr.span)?;
        if matches!(ty, Type::Model(_)) {
            return Some(part);
        }
        let message =
            format!("only a model is released by itself, `{}` is a {ty}", self.scope.source.written(expr.span));
        let problem = Diagnostic::error("E0532", message).at(expr.span, format!("a {ty}"));
        self.scope.report.add(problem.help("write `bundle { name: .. }` for other things"));
        None
    }

    fn bundle(&self, release: &ReleaseDecl<'_>, decls: &[PartDecl<'_>]) -> Option<BTreeMap<String, Part>> {
        let report = self.scope.report;
        if decls.is_empty() {
            let message = format!("the bundle of `{}` holds nothing", release.name.text);
            report.add(Diagnostic::error("E0534", message).at(release.name.span, ""));
            return None;
        }
        let mut parts = BTreeMap::new();
        let mut seen: HashMap<&str, Span> = HashMap::new();
        let mut is_complete = true;
        for decl in decls {
            let bare = match &decl.value {
                PartValue::Expr(expr) => expr.as_name(),
                PartValue::Transform(_) => None,
            };
            let Some(name) = decl.name.or(bare) else {
                let problem = Diagnostic::error("E0534", "a part of a bundle needs a name").at(decl.span, "");
                report.add(problem.help("write `name: value`; only a bare name can stand for itself"));
                is_complete = false;
                continue;
            };
            if let Some(first) = seen.insert(name.text, name.span) {
                let message = format!("`{}` has two parts called `{}`", release.name.text, name.text);
                report.add(Diagnostic::error("E0534", message).at(name.span, "again here").and(first, "first here"));
                is_complete = false;
            }
            let part = match &decl.value {
                PartValue::Transform(step) => self.transform(*step),
                PartValue::Expr(expr) => self.value(expr),
            };
            match part {
                Some(part) => drop(parts.insert(name.text.to_owned(), part)),
                None => is_complete = false,
            }
        }
        is_complete.then_some(parts)
    }

    fn value(&self, expr: &Expr<'_>) -> Option<Part> {
        let ExprKind::Path(path) = &expr.kind else {
            return self.scope.eval().value(expr).map(Part::Value);
        };
        let first = path.first()?;
        match self.scope.follow(path) {
            Followed::Found { entity: Entity::Schema(index), rest, .. } if rest.is_empty() => {
                let schema = self.scope.names.schemas.get(index)?.as_ref()?;
                return Some(Part::Value(Value::Schema(Box::new(schema.clone()))));
            }
            Followed::Found { entity: Entity::Value(_), .. } => return self.scope.eval().value(expr).map(Part::Value),
            _ => {}
        }
        let (part, ty) = self.output(path, expr.span)?;
        if matches!(ty, Type::Table(_)) {
            let written = self.scope.source.written(expr.span);
            let problem = Diagnostic::error("E0532", format!("`{written}` is a table, and rows are not released"));
            let transform = match self.scope.get(first.text) {
                Some(Entity::Call(call)) => self.transform_of(call),
                _ => None,
            };
            let help = transform.map(|_| format!("to release what the step does, write `step {}`", first.text));
            self.scope.report.add(problem.at(expr.span, "a table").maybe_help(help));
            return None;
        }
        Some(part)
    }

    fn output(&self, path: &[Name<'_>], span: Span) -> Option<(Part, &Type)> {
        let first = path.first()?;
        let report = self.scope.report;
        match self.scope.follow(path) {
            Followed::Found { entity: Entity::Call(call), rest, .. } => {
                let (output, ty) = find_output(self.scope, self.results, call, first.text, &rest, span)?;
                Some((Part::Output { node: *self.places.calls.get(call)?, output: output.to_string() }, ty))
            }
            Followed::Found { entity: Entity::Broken, .. } | Followed::Silent | Followed::Given { .. } => None,
            Followed::Found { entity: Entity::Loop(index), rest, .. } => {
                let items = lists::items(self.scope, index, &rest, span);
                report.add(items.err().map_or_else(|| lists::not_one(self.scope, span, None), |problem| *problem));
                None
            }
            Followed::Found { word, .. } => {
                let message = format!("`{}` is a {word}, which cannot be released", first.text);
                report.add(Diagnostic::error("E0532", message).at(span, ""));
                None
            }
            Followed::Champion { .. } => {
                report.add(Diagnostic::error("E0532", "the champion is released already").at(span, ""));
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

    /// Reads `step NAME`: a step that can be done again on other rows.
    fn transform(&self, step: Name<'_>) -> Option<Part> {
        let report = self.scope.report;
        let path = [step];
        let call = match self.scope.follow(&path) {
            Followed::Found { entity: Entity::Call(call), rest, .. } if rest.is_empty() => call,
            Followed::Found { entity: Entity::Broken, .. } | Followed::Silent => return None,
            Followed::Found { word, .. } => {
                let message = format!("`{}` is a {word}, not a step", step.text);
                report.add(Diagnostic::error("E0532", message).at(step.span, ""));
                return None;
            }
            Followed::Wrong(problem) => {
                report.add(*problem);
                return None;
            }
            _ => {
                let is_call = |name: &&str| matches!(self.scope.get(name), Some(Entity::Call(_) | Entity::Group(_)));
                let steps = self.scope.names.visible(self.scope.env).filter(is_call);
                report.add(
                    Diagnostic::error("E0202", format!("`{}` is not known", step.text))
                        .at(step.span, "no step has this name")
                        .maybe_help(report.suggest(step.text, steps)),
                );
                return None;
            }
        };
        self.results.get(call)?.as_ref()?;
        let transform = self.transform_of(call);
        if transform.is_none() {
            report.add(
                Diagnostic::error("E0532", format!("`{}` cannot be done again on other rows", step.text))
                    .at(step.span, "not a step that takes one table and gives one table"),
            );
        }
        transform
    }

    fn transform_of(&self, call: usize) -> Option<Part> {
        let result = self.results.get(call)?.as_ref()?;
        let n_nodes = result.call.inputs.values().filter(|input| !matches!(input, Input::Path { .. })).count();
        let gives_table = matches!(result.call.outputs.as_slice(), [only] if matches!(only.ty, Type::Table(_)));
        let is_transform =
            result.call.class == CallClass::Step && n_nodes == 1 && result.reads.len() == 1 && gives_table;
        is_transform.then_some(Part::Transform { node: *self.places.calls.get(call)? })
    }
}
